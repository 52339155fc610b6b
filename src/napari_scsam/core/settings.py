"""All parameters, each defined once with default, bounds, unit and help text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args, get_type_hints

from napari_scsam.core.errors import InputError

Device = Literal["auto", "cpu", "cuda", "mps"]
Recipe = Literal["scsam", "scsam-paper", "supervised", "sam-only", "cps", "mean-teacher"]
# Parts that can be left out of `scsam`, to measure their contribution.
Ablation = Literal["nothing", "sam-to-unet", "unet-to-sam", "points", "agreement", "prior"]
Modality = Literal["mr", "ct", "us", "rgb", "other"]
PredictWith = Literal["unet", "sam", "pair"]
ExportFormat = Literal["nifti", "tiff", "png"]
RankStrategy = Literal[
    "hybrid",
    "sequential",
    "random",
    "foreground-random",
    "entropy",
    "disagreement",
    "core-set",
]
SamName = Literal["lite-medsam", "lite-medsam-released", "vit_b", "vit_l", "vit_h"]
TrainProfile = Literal["auto", "frozen-encoder", "adapted-encoder"]
AdapterMethod = Literal["lora", "dora"]
# Initialisation of a round's U-Net: random weights, an ImageNet encoder, or an ImageNet encoder
# with SAM's embedding of the slice as additional input.
UNetKind = Literal["scratch", "pretrained", "pretrained+sam"]

# Default number of training samples of a round: per labelled slice, within bounds. On Kvasir-SEG,
# 40 labels, 192 px, a U-Net had Dice 0.79 after 1,600 pictures, 0.81 after 2,400 and 0.81 after
# 3,200 (one seed, training cases); on the sample, eight labelled slices, 0.89 for the ventricles
# after 544. With fewer labels training converges sooner.
PICTURES_EACH, MIN_BUDGET, MAX_BUDGET = 60, 480, 3200
# Upper bounds of both settings, which only catch typing errors. Arbitrary.
MAX_STEPS, MAX_PICTURES = 1_000_000, 100_000_000

# Default size limit of a project's embedding cache, in GB of 10^9 bytes; an embedding of LiteMedSAM
# takes 4.3 MB.
CACHE_GB = 2.0
# Bounds of this setting; 0 means no cache. Arbitrary.
CACHE_GB_BOUNDS = (0.0, 10_000.0)

# Absolute tolerance of "not worse": a round with equal Dice is promoted.
DICE_TIE = 1e-6


# Titles of choices in the dock; short enough for a width of 320 px.
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


STRATEGY_TITLES: dict[RankStrategy, str] = {
    "hybrid": "Variety and doubt",
    "sequential": "As added",
    "random": "Random",
    "foreground-random": "Random, foreground",
    "entropy": "Most unsure",
    "disagreement": "Models disagree",
    "core-set": "Variety",
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
    """Return a dataclass field of settings.

    Parameters
    ----------
    default : object
    help : str
        One sentence.
    low, high : float, optional
        Inclusive bounds.
    unit : str
    title : str
        Name in the dock. Empty: the setting is only available on the command line.
    choices : mapping of str to str, optional
        Titles of the choices.
    unset : str
        Title of None.
    """
    known = {"help": help, "low": low, "high": high, "unit": unit}
    shown = {"title": title, "choices": choices or {}, "unset": unset}
    return field(default=default, metadata={**known, **shown})


@dataclass(frozen=True)
class _Settings:
    """Base of settings whose fields are made by `_setting`; validated on creation."""

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
        """Return all settings by name, JSON-serialisable."""
        return asdict(self)


@dataclass(frozen=True)
class TrainSettings(_Settings):
    """Settings of one round; the defaults are for a laptop's CPU."""

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
        f"{PICTURES_EACH} for each labelled slice, {MIN_BUDGET} to {MAX_BUDGET}, where no "
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
        "Initialisation of the U-Net: random weights, an encoder trained on ImageNet, or that and "
        "SAM's embedding of the slice as a second input.",
    )
    image_size: int = _setting(
        192, "Longest side of the U-Net's input.", low=32, high=1024, unit="px"
    )
    context: bool = _setting(False, "Give the U-Net the slices before and after, too.")
    labelled_batch: int = _setting(4, "Labelled images per step.", low=1, high=256)
    unlabelled_batch: int = _setting(4, "Unlabelled images per step.", low=0, high=256)
    sam_batch: int = _setting(4, "Objects per step of SAM.", low=1, high=256)
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
        "Unlabelled slices that are used for training.",
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
        False,
        "Rotate slices by quarter turns, too; for scans without a fixed orientation.",
        title="Turn by quarters",
    )
    without: Ablation = _setting("nothing", "Part of the recipe scsam to leave out.")
    sam: str = _setting("lite-medsam", "The base SAM.")
    sam_checkpoint: str | None = _setting(None, "Its weights, if they are not included.")
    sam_size: int | None = _setting(
        None,
        "Side of SAM's square input, a multiple of 16; its own by default. "
        "Smaller is faster; for ViT only.",
        low=64,
        high=1024,
        unit="px",
    )

    @property
    def max_steps(self) -> int:
        """Maximum number of steps of a round."""
        return MAX_STEPS if self.steps is None else self.steps

    def budget(self, labelled: int) -> int | None:
        """Return the maximum number of training samples for this number of labelled slices.

        None if steps are counted.
        """
        if self.pictures is None and self.steps is None:
            return min(MAX_BUDGET, max(MIN_BUDGET, PICTURES_EACH * labelled))
        return self.pictures


@dataclass(frozen=True)
class TuneSettings(_Settings):
    """Settings of the tuning of SAM's decoder between rounds."""

    seconds: float = _setting(
        60.0, "Time budget from start to end.", low=1.0, high=36_000.0, unit="s"
    )
    steps: int = _setting(
        60, "Maximum number of steps of each copy.", low=1, high=MAX_STEPS, unit="steps"
    )
    batch: int = _setting(4, "Objects per step.", low=1, high=256)
    rate: float = _setting(1e-4, "Learning rate (AdamW).", low=1e-7, high=1.0)
    lora_rank: int = _setting(8, "Rank of the LoRA adapter.", low=1, high=256)
    seed: int = _setting(0, "Seed of every random choice.", low=0, high=2**31 - 1)
    device: Device = _setting("auto", "Where to tune.")
    sam: str = _setting("lite-medsam", "The SAM that decodes clicks.")
    sam_checkpoint: str | None = _setting(None, "Its weights, if they are not included.")


def check_cache_gb(value: Any) -> float:
    """Validate the size limit of an embedding cache, in GB.

    Raises
    ------
    InputError
        If it is not a number between 0 and 10,000.
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
    # Written so that NaN, for which all comparisons are false, is refused.
    if low is not None and value is not None and not low <= value <= high:
        raise InputError(f"{name} is between {low} and {high} {meta['unit']}; got {value}.")
