"""Intensity windows: what they make of pixels, how they are named, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import (
    AUTO,
    PRESETS,
    WHOLE_VOLUME,
    default_window,
    parse_window,
    window_choices,
)

HU = np.array([[-1000, -160, 40], [240, 1000, 140]], np.int16)


def test_a_fixed_window_maps_its_limits_to_0_and_1_and_cuts() -> None:
    seen = PRESETS["soft-tissue"].apply(HU)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, [[0, 0, 0.5], [1, 1, 0.75]])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("soft-tissue", -160, 240),
        ("lung", -1350, 150),
        ("bone", -500, 1300),
        ("brain", 0, 80),
        ("liver", -20, 140),
        ("40/350", -135, 215),
        ("-40.5/1", -41, -40),
    ],
)
def test_names_stand_for_level_and_width(name: str, low: float, high: float) -> None:
    window = parse_window(name)
    assert window.limits == (low, high)
    assert window.name == name
    assert parse_window(window.name) == window


@pytest.mark.parametrize(
    "text", ["", "abdomen", "40", "40/0", "40/-1", "nan/10", "40/inf", "1/2/3"]
)
def test_what_is_no_window_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="LEVEL/WIDTH") as caught:
        parse_window(text)
    assert "\n" not in str(caught.value)


def test_the_slice_s_own_window_leaves_its_values_to_the_models() -> None:
    assert AUTO.on(Volume(HU[None])).apply(HU) is HU
    colours = np.zeros((2, 3, 3), np.uint8)
    assert PRESETS["lung"].apply(colours) is colours


def test_a_volume_s_window_is_the_same_on_each_of_its_slices() -> None:
    data = np.random.default_rng(0).normal(0, 1, (4, 50, 50)) * np.arange(1, 5)[:, None, None]
    window = WHOLE_VOLUME.on(Volume(data))
    low, high = np.percentile(data, (1, 99))
    assert window.limits == pytest.approx((low, high))
    np.testing.assert_allclose(
        window.apply(data[1]), np.clip((data[1] - low) / (high - low), 0, 1), atol=1e-6
    )


def test_a_volume_s_window_survives_odd_values() -> None:
    flat = np.zeros((3, 30, 30), np.float32)
    assert WHOLE_VOLUME.on(Volume(flat)).limits is None
    flat[1, 2, 2] = 5  # a single voxel is beyond both percentiles
    assert WHOLE_VOLUME.on(Volume(flat)).limits == (0, 5)
    flat[0, 0, 0] = np.nan
    assert WHOLE_VOLUME.on(Volume(flat)).limits == (0, 5)
    assert WHOLE_VOLUME.on(Volume(np.full((3, 4, 4), np.nan))).limits is None
    assert WHOLE_VOLUME.on(Volume(np.ones((3, 4, 5, 3)), rgb=True)).limits is None


def test_a_window_that_hides_a_slice_says_so() -> None:
    air = np.array([[-1000, -990], [-995, -1000]], np.int16)
    PRESETS["lung"].check(air)
    with pytest.raises(InputError, match=r"Soft tissue \(40/400\).* -1000 to -990\. Choose") as e:
        PRESETS["soft-tissue"].check(air)
    assert "\n" not in str(e.value)
    AUTO.check(air)
    # A plane of one value is told of as such by the models: no window would help.
    PRESETS["brain"].check(np.full((4, 4), -1000))


def test_a_modality_offers_its_default_first() -> None:
    for modality in ("mr", "ct", "us", "rgb", "other"):
        assert window_choices(modality)[0] == default_window(modality)  # type: ignore[arg-type]
    assert default_window("ct").name == "soft-tissue"
    assert default_window("mr") == AUTO
    assert len(window_choices("ct")) == len(PRESETS)
