"""Intensity windows: the range of values that is displayed and passed to the models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Pixels
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.settings import Modality
    from napari_scsam.core.volume import Around, Volume

Limits = tuple[float, float]

# Percentiles of a volume that become black and white in the automatic window. Arbitrary.
VOLUME_PERCENTILES = (1.0, 99.0)
# Percentiles of a volume are computed on about this number of its pixels. Arbitrary.
SAMPLE = 3e5


@dataclass(frozen=True)
class Window:
    """An intensity window: the values that become black and white.

    It is applied before a plane goes to a model, in the dock and in training. The models then
    stretch their input to the plane's own extremes, as in SAM's training.

    Attributes
    ----------
    name : str
        Name stored in the project: a preset, or ``"LEVEL/WIDTH"``.
    kind : {'plane', 'volume', 'fixed'}
        Whether the limits are percentiles of each plane (0.5 and 99.5, computed by the models),
        percentiles of the whole volume (1 and 99), or fixed values.
    limits : (float, float), optional
        Values that become 0 and 1; None if they are not computed yet.
    """

    name: str
    kind: Literal["plane", "volume", "fixed"]
    limits: Limits | None = None

    def on(self, volume: Volume) -> Window:
        """Return the window with its limits on one volume."""
        if self.kind != "volume":
            return self
        return replace(self, limits=_percentiles(volume))

    def over(self, volume: Volume) -> Volume:
        """Apply the window to a whole volume."""
        limits = self.on(volume).limits
        if limits is None or volume.rgb:
            return volume
        return replace(volume, data=_cut(volume.data, limits))

    def apply(self, pixels: Pixels) -> Pixels:
        """Apply the window to pixels, as input for the models.

        Parameters
        ----------
        pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
            Original values of the file.

        Returns
        -------
        ndarray of the same shape
            float32 in 0..1 if there are limits. Colours are unchanged, and so is a plane whose
            limits are its own percentiles. NaN stays NaN.
        """
        if self.limits is None or pixels.ndim == 3:
            return pixels
        return _cut(pixels, self.limits)

    def around(self, volume: Volume, plane: Plane) -> Around | None:
        """Return the planes before and after a plane of a grey volume, windowed.

        At the ends of the volume the plane itself replaces the missing one. None for colour and
        two-dimensional images.
        """
        if volume.ndim == 2 or volume.rgb:
            return None
        last = volume.plane_count(plane.axis) - 1
        before, after = max(plane.index - 1, 0), min(plane.index + 1, last)
        return (
            self.apply(volume.plane(replace(plane, index=before))),
            self.apply(volume.plane(replace(plane, index=after))),
        )

    def check(self, pixels: Pixels) -> None:
        """Raise InputError if the window hides all values of a plane."""
        if self.hides(pixels):
            raise InputError(
                f"Nothing to see in the window {self.title}: this slice's values are "
                f"{pixels.min():g} to {pixels.max():g}. Choose another window."
            )

    def hides(self, pixels: Pixels) -> bool:
        """Whether a plane that is not constant becomes constant in this window."""
        if self.limits is None or pixels.ndim == 3:
            return False
        low, high = float(pixels.min()), float(pixels.max())
        return low < high and (high <= self.limits[0] or low >= self.limits[1])

    @property
    def title(self) -> str:
        """Title for display, such as ``"Lung (-600/1500)"``."""
        return _TITLES.get(self.name, f"Level/width {self.name}")


def window_of(level: float, width: float, name: str = "") -> Window:
    """Return the window of `width` around `level`, in the scan's own values (CT: HU).

    Raises
    ------
    InputError
        If one is not finite, or the width is not above 0.
    """
    if not (np.isfinite(level) and np.isfinite(width) and width > 0):
        raise InputError(
            f"A window is LEVEL/WIDTH with a width above 0, such as 40/400; got {level}/{width}."
        )
    limits = (level - width / 2, level + width / 2)
    return Window(name or f"{level:g}/{width:g}", "fixed", limits)


AUTO = Window("auto", "plane")
WHOLE_VOLUME = Window("volume", "volume")
PRESETS = {
    window.name: window
    for window in (
        AUTO,
        WHOLE_VOLUME,
        window_of(40, 400, "soft-tissue"),
        window_of(-600, 1500, "lung"),
        window_of(400, 1800, "bone"),
        window_of(40, 80, "brain"),
        window_of(60, 160, "liver"),
    )
}
_TITLES = {
    "auto": "Each slice by itself",
    "volume": "Whole volume",
    "soft-tissue": "Soft tissue (40/400)",
    "lung": "Lung (\N{MINUS SIGN}600/1500)",
    "bone": "Bone (400/1800)",
    "brain": "Brain (40/80)",
    "liver": "Liver (60/160)",
}


def parse_window(text: str) -> Window:
    """Parse a window's name, or ``"LEVEL/WIDTH"``.

    Raises
    ------
    InputError
        If it is neither of them.
    """
    if text in PRESETS:
        return PRESETS[text]
    try:
        level, width = (float(part) for part in text.split("/"))
    except ValueError:
        raise InputError(
            f"A window is {', '.join(PRESETS)}, or LEVEL/WIDTH such as 40/400; got {text!r}."
        ) from None
    return window_of(level, width)


def default_window(modality: Modality) -> Window:
    """Return the initial window of a new project of a modality."""
    return PRESETS["soft-tissue"] if modality == "ct" else AUTO


def window_choices(modality: Modality) -> tuple[Window, ...]:
    """Return the windows offered for a modality, its default first; colour has one."""
    if modality == "rgb":
        return (AUTO,)
    relative = (AUTO, WHOLE_VOLUME)
    if modality != "ct":
        return relative
    return (*(w for w in PRESETS.values() if w.kind == "fixed"), *relative)


def _cut(pixels: Pixels, limits: Limits) -> Pixels:
    low, high = limits
    unit: Pixels = np.clip((pixels.astype(np.float32) - low) / (high - low), 0, 1)
    return unit


def _percentiles(volume: Volume) -> Limits | None:
    """Return percentiles of a volume's finite values; None for a constant volume."""
    if volume.rgb:
        return None
    data = volume.data
    step = max(1, round((data.size / SAMPLE) ** (1 / data.ndim)))
    sample = data[(slice(None, None, step),) * data.ndim]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    low, high = (float(v) for v in np.percentile(finite, VOLUME_PERCENTILES))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else None
