"""Which tests may run side by side."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and those that open windows in one altogether."""
    for item in items:
        windowed = item.get_closest_marker("gui") is not None
        item.add_marker(pytest.mark.xdist_group("gui" if windowed else item.path.name))
