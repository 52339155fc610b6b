"""Every parameter once: default, bounds, unit and help, read by UI, CLI, config and docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args, get_type_hints

from napari_scsam.core.errors import InputError

Device = Literal["auto", "cpu", "cuda", "mps"]
Recipe = Literal["scsam", "scsam-paper", "supervised", "sam-only", "cps", "mean-teacher"]
# What `scsam` can be trained without, to see what it is worth.
Ablation = Literal["nothing", "sam-to-unet", "unet-to-sam", "points", "agreement", "prior"]
Modality = Literal["mr", "ct", "us", "rgb", "other"]
PredictWith = Literal["unet", "sam", "pair"]
ExportFormat = Literal["nifti", "tiff", "png"]
SamName = Literal["lite-medsam", "lite-medsam-released", "vit_b", "vit_l", "vit_h"]
TrainProfile = Literal["auto", "frozen-encoder", "adapted-encoder"]
AdapterMethod = Literal["lora", "dora"]
# Where a round's U-Net starts: from random weights, from an encoder trained on ImageNet, or from
# that and with SAM's embedding of the slice beside its pixels.
UNetKind = Literal["scratch", "pretrained", "pretrained+sam"]

# Pictures that a round learns from where nobody says how many: so many for each labelled slice,
# within bounds. On Kvasir-SEG, 40 labels, 192 px, a U-Net had Dice .79 after 1,600 pictures, .81
# after 2,400 and .81 after 3,200 (one seed, training cases); on the sample, eight labelled slices,
# .89 of the ventricles after 544. What fewer labels can teach is learned sooner.
PICTURES_EACH, LEAST_PICTURES, MOST_PICTURES = 60, 480, 3200
MAX_STEPS, MAX_PICTURES = 1_000_000, 100_000_000

# Size that a project's folder of embeddings is kept under, in GB of 10^9 bytes; one of
# LiteMedSAM's takes 4.3 MB.
CACHE_GB = 2.0
CACHE_GB_BOUNDS = (0.0, 10_000.0)

# Absolute tolerance of "not worse": a round that ties is promoted.
DICE_TIE = 1e-6


# What a person reads in place of a choice's own word; short enough for a dock of 320 px.
RECIPE_TITLES: dict[str, str] = {
    "scsam": "U-Net + SAM",
    "scsam-paper": "As published",
    "supervised": "U-Net alone",
    "sam-only": "SAM alone",
    "cps": "Two U-Nets",
    "mean-teacher": "Mean teacher",
}
DEVICE_TITLES: dict[str, str] = {
    "auto": "Automatic",
    "cpu": "CPU",
    "cuda": "NVIDIA GPU",
    "mps": "Apple GPU",
}


def _setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    title: str = "",
    choices: Mapping[str, str] | None = None,
    unset: str = "Automatic",
) -> Any:
    """A field of settings.

    Parameters
    ----------
    default : object
    help : str
        One sentence.
    low, high : float, optional
        Bounds, both included.
    unit : str
    title : str
        Its name in the dock. Without one it is for research, from the command line only.
    choices : mapping of str to str, optional
        What a person reads in place of each choice's own word.
    unset : str
        And in place of None.
    """
    known = {"help": help, "low": low, "high": high, "unit": unit}
    shown = {"title": title, "choices": choices or {}, "unset": unset}
    return field(default=default, metadata={**known, **shown})


@dataclass(frozen=True)
class _Settings:
    """Fields made by `_setting`, checked when an object is made."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):
            _check(item.name, getattr(self, item.name), hints[item.name], item.metadata)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a config file; an unknown name raises InputError."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                f"Unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}."
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True)
class TrainSettings(_Settings):
    """How one round is trained; the defaults are for a laptop's CPU."""

    recipe: Recipe = _setting(
        "scsam", "How the two models teach each other.", title="Method", choices=RECIPE_TITLES
    )
    steps: int | None = _setting(
        None,
        "Training steps, in place of a number of pictures.",
        low=1,
        high=MAX_STEPS,
        unit="steps",
    )
    minutes: float | None = _setting(
        None,
        "Time limit; the round ends sooner when it has seen its pictures.",
        low=0.05,
        high=10_000,
        unit="min",
        title="Time limit",
        unset="None",
    )
    pictures: int | None = _setting(
        None,
        "Pictures that the U-Net learns from, each view counted; "
        f"{PICTURES_EACH} for each labelled slice, {LEAST_PICTURES} to {MOST_PICTURES}, where no "
        "steps are given either.",
        low=1,
        high=MAX_PICTURES,
        unit="pictures",
        title="Length",
    )
    seed: int = _setting(0, "Seed of every random choice.", low=0, high=2**31 - 1)
    device: Device = _setting("auto", "Where to train.", title="Train on", choices=DEVICE_TITLES)
    unet: UNetKind = _setting(
        "pretrained+sam",
        "What the U-Net starts from: random weights, an encoder trained on ImageNet, or that and "
        "SAM's view of the slice beside its pixels.",
    )
    image_size: int = _setting(
        192, "Longest side that the U-Net sees.", low=32, high=1024, unit="px"
    )
    context: bool = _setting(False, "The U-Net sees the slices before and after, too.")
    labelled_batch: int = _setting(4, "Labelled images in a step.", low=1, high=256)
    unlabelled_batch: int = _setting(4, "Unlabelled images in a step.", low=0, high=256)
    sam_batch: int = _setting(4, "Objects in a step of SAM's.", low=1, high=256)
    unet_lr: float = _setting(
        2e-3, "U-Net learning rate; ten times that for its kernels.", low=1e-6, high=1.0
    )
    sam_lr: float = _setting(1e-3, "SAM adapter learning rate (AdamW).", low=1e-6, high=1.0)
    profile: TrainProfile = _setting(
        "auto", "Whether SAM's image encoder is trained, too; auto: only on a GPU."
    )
    adapter: AdapterMethod = _setting("lora", "How SAM's layers are adapted.")
    lora_rank: int = _setting(8, "Rank of SAM's adapter.", low=1, high=256)
    holdout: float = _setting(
        0.2, "Share of labelled cases kept for validation.", low=0.0, high=0.9, title="Held out"
    )
    unlabelled_planes: int = _setting(
        24,
        "Unlabelled slices that are embedded and learned from.",
        low=0,
        high=100_000,
        title="Unlabelled slices",
    )
    mirror: bool = _setting(
        True,
        "Mirror slices left to right; off when classes differ by their side.",
        title="Mirror left-right",
    )
    turn: bool = _setting(
        False, "Turn slices by quarters, too; for scans without an up.", title="Turn by quarters"
    )
    without: Ablation = _setting("nothing", "Part of the recipe scsam that is left out.")
    sam: str = _setting("lite-medsam", "The base SAM.")
    sam_checkpoint: str | None = _setting(None, "Its weights, where it does not bring its own.")
    sam_size: int | None = _setting(
        None,
        "Side of the square that SAM sees, a multiple of 16; its own by default. "
        "Smaller is faster; for ViT only.",
        low=64,
        high=1024,
        unit="px",
    )

    @property
    def max_steps(self) -> int:
        """Steps after which a round ends in any case."""
        return MAX_STEPS if self.steps is None else self.steps

    def budget(self, labelled: int) -> int | None:
        """Pictures after which a round on so many labelled slices ends in any case.

        None where its steps are counted.
        """
        if self.pictures is None and self.steps is None:
            return min(MOST_PICTURES, max(LEAST_PICTURES, PICTURES_EACH * labelled))
        return self.pictures


@dataclass(frozen=True)
class TuneSettings(_Settings):
    """How SAM's decoder learns from what was committed, between rounds."""

    seconds: float = _setting(
        60.0, "Time budget from start to end.", low=1.0, high=36_000.0, unit="s"
    )
    steps: int = _setting(60, "Most steps of each copy.", low=1, high=MAX_STEPS, unit="steps")
    batch: int = _setting(4, "Objects in a step.", low=1, high=256)
    rate: float = _setting(1e-4, "Learning rate (AdamW).", low=1e-7, high=1.0)
    lora_rank: int = _setting(8, "Rank of the LoRA adapter.", low=1, high=256)
    seed: int = _setting(0, "Seed of every random choice.", low=0, high=2**31 - 1)
    device: Device = _setting("auto", "Where to tune.")
    sam: str = _setting("lite-medsam", "The SAM that answers clicks.")
    sam_checkpoint: str | None = _setting(None, "Its weights, where it does not bring its own.")


def check_cache_gb(value: Any) -> float:
    """Check the size of a cache of embeddings, in GB.

    Raises
    ------
    InputError
        If it is no number between 0 and 10,000.
    """
    low, high = CACHE_GB_BOUNDS
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise InputError(f"The cache's size is between {low:g} and {high:g} GB; got {value!r}.")
    return float(value)


def _check(name: str, value: Any, hint: Any, meta: Mapping[str, Any]) -> None:
    choices = get_args(hint)
    if choices and all(isinstance(c, str) for c in choices):
        if value not in choices:
            raise InputError(f"{name} is one of {', '.join(choices)}; got {value!r}.")
        return
    kinds = choices or (hint,)
    fits = type(value) in kinds or (type(value) is int and float in kinds)
    if not fits:
        names = " or ".join("none" if k is type(None) else k.__name__ for k in kinds)
        raise InputError(f"{name} is of type {names}; got {value!r}.")
    low, high = meta["low"], meta["high"]
    # Written so that NaN, which compares with nothing, is refused.
    if low is not None and value is not None and not low <= value <= high:
        raise InputError(f"{name} is between {low} and {high} {meta['unit']}; got {value}.")
