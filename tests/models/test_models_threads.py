"""Small networks run with one thread, and leave the others as they were."""

from __future__ import annotations

import pytest
import torch

from napari_scsam.models import one_thread


def test_threads_come_back_also_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="nothing"), one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("nothing")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
