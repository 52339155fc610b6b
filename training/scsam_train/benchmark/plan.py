"""Plan of `semi`: candidates, budget, and tested cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from napari_scsam.core.errors import InputError
from napari_scsam.core.settings import MAX_PICTURES, Ablation, Recipe, TrainSettings, UNetKind
from scsam_train.recipes import RECIPES

if TYPE_CHECKING:
    from pathlib import Path

# Settings are chosen on cases of the training set. The validation cases are used once per finished
# state, because data that influenced a choice can't validate it.
EvaluateOn = Literal["training", "validation"]
INDEPENDENT = "independent-pair"
# Recipes, `scsam` without each of its parts, and a pair with separately trained members.
NAMES = (
    *get_args(Recipe),
    *(f"scsam-without-{part}" for part in get_args(Ablation) if part != "nothing"),
    INDEPENDENT,
)
# More than any data set has.
ALL_PLANES = 100_000
# The first trains no U-Net, the second one from scratch as published.
ALWAYS_SCRATCH = ("sam-only", "scsam-paper")


@dataclass(frozen=True)
class Candidate:
    """A recipe with a kind of U-Net.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    unet : {'scratch', 'pretrained', 'pretrained+sam'}
    """

    name: str
    unet: UNetKind

    @property
    def title(self) -> str:
        """Title for tables and reports."""
        return self.name if self.name == "sam-only" else f"{self.name}, {self.unet}"

    @property
    def parts(self) -> tuple[Candidate, ...]:
        """The rounds that it consists of."""
        if self.name != INDEPENDENT:
            return (self,)
        return Candidate("supervised", self.unet), Candidate("sam-only", "scratch")

    def settings(self, plan: Plan, base: TrainSettings, seed: int) -> TrainSettings:
        """Return the settings of its round, based on those of a set; not for two rounds."""
        recipe, _, without = self.name.partition("-without-")
        settings = replace(
            base,
            seed=seed,
            holdout=0.0,
            device="cpu",
            recipe=cast("Recipe", recipe),
            without=cast("Ablation", without or "nothing"),
            unet=self.unet,
            pictures=plan.pictures or MAX_PICTURES,  # without a budget the minutes end it
            minutes=plan.minutes,
        )
        # Without embeddings, all unlabelled planes can be used at no cost.
        return settings if embeds(settings) else replace(settings, unlabelled_planes=ALL_PLANES)


def embeds(settings: TrainSettings) -> bool:
    """Whether a round with these settings uses SAM's embeddings."""
    return "sam" in RECIPES[settings.recipe].members or settings.unet == "pretrained+sam"


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    set : str
        Key of `semi_sets.SEMI_SETS`.
    labels : int
        Number of labelled cases.
    seeds : tuple of int
        Seeds of the choice of labelled cases and of the training.
    recipes : tuple of str
        From `NAMES`.
    unets : tuple of {'scratch', 'pretrained', 'pretrained+sam'}
        Each recipe is run with each of them, except those with a fixed kind.
    pictures : int or None
        Budget of each run: training samples of the U-Net; for ``sam-only``, objects that SAM is
        prompted for.
    minutes : float or None
        Time limit of each run, embedding included.
    threads : int or None
        Torch threads per run.
    evaluate_on : {'training', 'validation'}
        Whether to test on unlabelled cases of the training set or on the validation cases.

    Raises
    ------
    InputError
        If there is neither a budget nor a time limit.
    """

    set: str
    labels: int
    seeds: tuple[int, ...]
    recipes: tuple[str, ...]
    unets: tuple[UNetKind, ...]
    pictures: int | None = None
    minutes: float | None = None
    threads: int | None = None
    evaluate_on: EvaluateOn = "training"

    def __post_init__(self) -> None:
        if self.pictures is None and self.minutes is None:
            raise InputError(
                "The runs have no end: give --pictures N, so that recipes are compared at equal "
                "pictures seen, or --minutes M."
            )

    def candidates(self) -> list[Candidate]:
        """Return all candidates without duplicates."""
        found = {
            Candidate(name, "scratch" if name in ALWAYS_SCRATCH else unet): None
            for name in self.recipes
            for unet in self.unets
        }
        return list(found)


@dataclass(frozen=True)
class Places:
    """Folders of a benchmark.

    Attributes
    ----------
    data : Path
        Data sets.
    out : Path
        Embeddings and rounds.
    results : Path
        Records of runs, one small file each; they can be copied to another machine.
    """

    data: Path
    out: Path
    results: Path
