"""Intensity windows: which values of a scan are told apart, by the person and by the models."""

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

VOLUME_PERCENTILES = (1.0, 99.0)
# Percentiles of a volume are taken from about this many of its pixels.
SAMPLE = 3e5


@dataclass(frozen=True)
class Window:
    """What is black, what is white, and what is told apart between them.

    It is applied before a model sees a plane, in the dock as in training. The models then
    stretch what they get to a plane's own extremes, as SAM was trained.

    Attributes
    ----------
    name : str
        As a project keeps it: the name of a preset, or ``"LEVEL/WIDTH"``.
    kind : {'plane', 'volume', 'fixed'}
        Whether the limits are percentiles of each plane (0.5 and 99.5, which every model
        finds for itself), of the whole volume (1 and 99), or always the same.
    limits : (float, float), optional
        Values that become 0 and 1; None where they are still to be found.
    """

    name: str
    kind: Literal["plane", "volume", "fixed"]
    limits: Limits | None = None

    def on(self, volume: Volume) -> Window:
        """The same window with the limits that it has on one volume."""
        if self.kind != "volume":
            return self
        return replace(self, limits=_percentiles(volume))

    def over(self, volume: Volume) -> Volume:
        """A whole volume as the models get its planes."""
        limits = self.on(volume).limits
        if limits is None or volume.rgb:
            return volume
        return replace(volume, data=_cut(volume.data, limits))

    def apply(self, pixels: Pixels) -> Pixels:
        """Pixels as the models get them.

        Parameters
        ----------
        pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
            The file's own values.

        Returns
        -------
        ndarray of the same shape
            float32 in 0..1 where there are limits. Colours, and a plane whose limits are
            its own percentiles, come back as they are. NaN stays NaN.
        """
        if self.limits is None or pixels.ndim == 3:
            return pixels
        return _cut(pixels, self.limits)

    def around(self, volume: Volume, plane: Plane) -> Around | None:
        """The planes before and after one of a grey volume, as the models get them.

        At the volume's ends the plane itself takes the missing one's place. None where there
        is nothing before or after: for colours and two-dimensional images.
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
        """Raise InputError when the window hides everything that a plane shows."""
        if self.hides(pixels):
            raise InputError(
                f"Nothing to see in the window {self.title}: this slice's values are "
                f"{pixels.min():g} to {pixels.max():g}. Choose another window."
            )

    def hides(self, pixels: Pixels) -> bool:
        """Whether a plane that is not of one value is so in this window."""
        if self.limits is None or pixels.ndim == 3:
            return False
        low, high = float(pixels.min()), float(pixels.max())
        return low < high and (high <= self.limits[0] or low >= self.limits[1])

    @property
    def title(self) -> str:
        """For display, such as ``"Lung (-600/1500)"``."""
        return _TITLES.get(self.name, f"Level/width {self.name}")


def window_of(level: float, width: float, name: str = "") -> Window:
    """The window of `width` round `level`, in the scan's own values (CT: HU).

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
    """Read a window's name, or ``"LEVEL/WIDTH"``.

    Raises
    ------
    InputError
        If it is neither.
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
    """The window that a new project of a modality begins with."""
    return PRESETS["soft-tissue"] if modality == "ct" else AUTO


def window_choices(modality: Modality) -> tuple[Window, ...]:
    """Windows that are worth offering for a modality, its default first; colour has one."""
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
    """Percentiles of a volume's finite values; None where there is nothing between them."""
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
