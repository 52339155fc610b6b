"""What `semi` measures: candidates, a budget, and which cases are measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from napari_scsam.core.errors import InputError
from napari_scsam.core.settings import MAX_PICTURES, Ablation, Recipe, TrainSettings, UNetKind
from scsam_train.recipes import RECIPES

if TYPE_CHECKING:
    from pathlib import Path

# Who is measured: choose settings on training cases; look at the validation ones once per
# finished state, since what has chosen says nothing any more.
EvaluateOn = Literal["training", "validation"]
INDEPENDENT = "independent-pair"
# Recipes, `scsam` without each of its parts, and a pair whose members were trained apart.
NAMES = (
    *get_args(Recipe),
    *(f"scsam-without-{part}" for part in get_args(Ablation) if part != "nothing"),
    INDEPENDENT,
)
# More than any set has.
MOST_PLANES = 100_000
# What these say of themselves: one trains no U-Net, the other one as it was published.
ALWAYS_SCRATCH = ("sam-only", "scsam-paper")


@dataclass(frozen=True)
class Candidate:
    """A recipe with a kind of U-Net.

    Attributes
    ----------
    name : str
        Of `NAMES`.
    unet : {'scratch', 'pretrained', 'pretrained+sam'}
    """

    name: str
    unet: UNetKind

    @property
    def title(self) -> str:
        """For tables and reports."""
        return self.name if self.name == "sam-only" else f"{self.name}, {self.unet}"

    @property
    def parts(self) -> tuple[Candidate, ...]:
        """The rounds that it is made of."""
        if self.name != INDEPENDENT:
            return (self,)
        return Candidate("supervised", self.unet), Candidate("sam-only", "scratch")

    def settings(self, plan: Plan, base: TrainSettings, seed: int) -> TrainSettings:
        """Those of its round, from those of a set; not for a pair of two rounds."""
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
        # Who needs no embeddings has all unlabelled planes for nothing.
        return settings if embeds(settings) else replace(settings, unlabelled_planes=MOST_PLANES)


def embeds(settings: TrainSettings) -> bool:
    """Whether a round of these settings learns from SAM's embeddings."""
    return "sam" in RECIPES[settings.recipe].members or settings.unet == "pretrained+sam"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes
    ----------
    set : str
        Of `semi_sets.SEMI_SETS`.
    labels : int
        Labelled cases.
    seeds : tuple of int
        Of the choice of labelled cases, and of the training.
    recipes : tuple of str
        Of `NAMES`.
    unets : tuple of {'scratch', 'pretrained', 'pretrained+sam'}
        Each recipe is run with each, but for those that know only one.
    pictures : int or None
        Budget of each run: pictures that the U-Net learns from; for ``sam-only``, objects
        that SAM is asked for.
    minutes : float or None
        Cap of each run, embedding included.
    threads : int or None
        Of torch in each run.
    evaluate_on : {'training', 'validation'}
        Whether unlabelled cases of the training set are measured, or the validation cases.

    Raises
    ------
    InputError
        If there is neither a budget nor a cap.
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
        """All, each once."""
        found = {
            Candidate(name, "scratch" if name in ALWAYS_SCRATCH else unet): None
            for name in self.recipes
            for unet in self.unets
        }
        return list(found)


@dataclass(frozen=True)
class Places:
    """Where a benchmark finds and leaves things.

    Attributes
    ----------
    data : Path
        The developers' scans.
    out : Path
        For embeddings and rounds.
    results : Path
        For what runs gave, one small file each, which another machine can go on from.
    """

    data: Path
    out: Path
    results: Path
