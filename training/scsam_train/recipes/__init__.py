"""The recipes: how the networks of a round are trained; one file for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsam_train.recipes.cps import Cps
from scsam_train.recipes.mean_teacher import MeanTeacher
from scsam_train.recipes.sam_only import SamOnly
from scsam_train.recipes.scsam import ScSam
from scsam_train.recipes.scsam_paper import ScSamPaper
from scsam_train.recipes.supervised import Supervised

if TYPE_CHECKING:
    from napari_scsam.core.settings import Recipe as RecipeName
    from scsam_train.recipe_context import Recipe

RECIPES: dict[RecipeName, type[Recipe]] = {
    "scsam": ScSam,
    "scsam-paper": ScSamPaper,
    "supervised": Supervised,
    "sam-only": SamOnly,
    "cps": Cps,
    "mean-teacher": MeanTeacher,
}
