"""How good rounds get from few labels: every recipe on the same real scans, through its process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

import napari_scsam
import scsam_train
from napari_scsam import io
from napari_scsam.core.geometry import Plane
from napari_scsam.core.memory import keep_freed_memory
from napari_scsam.core.settings import Ablation, Recipe, TrainSettings
from napari_scsam.core.windows import AUTO
from napari_scsam.models import evaluate, open_cache
from napari_scsam.models.pair import Pair, load_round
from scsam_train.benchmark.common import machine, run_round
from scsam_train.benchmark.embedded import CACHE_GB, embed_all, found_embedded, own_copy
from scsam_train.benchmark.semi_sets import SEMI_SETS, Member, SemiSet
from scsam_train.judging import MEMBERS
from scsam_train.recipes import RECIPES

# Recipes, and `scsam` without each of its parts.
NAMES = (
    *get_args(Recipe),
    *(f"scsam-without-{part}" for part in get_args(Ablation) if part != "nothing"),
)
# More than any set has.
MOST_PLANES = 100_000
MEASURES = ("dice", "iou", "hd95", "assd")
# What neither trains nor answers here: a kept run outlives its changes.
ELSEWHERE = {
    *("benchmark", "warmup"),
    *("propagation.py", "stopping.py", "ways.py", "look.py", "motion.py"),
}
# What only rounds with SAM run.
OF_SAM = {"exam.py", "pseudo.py"}


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes
    ----------
    set : str
        Of `semi_sets.SEMI_SETS`.
    labels : int
        Labelled cases.
    minutes : float
        Of each run, embedding included.
    seeds : tuple of int
        Of the choice of labelled cases, and of the training.
    recipes : tuple of str
        Recipes, or ``scsam-without-PART``.
    threads : int or None
        Of torch in each run.
    """

    set: str
    labels: int
    minutes: float
    seeds: tuple[int, ...]
    recipes: tuple[str, ...]
    threads: int | None = None


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


def measure(
    places: Places, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Run each recipe with each seed, or read what is kept of it, and write the report.

    A run is kept by the hash of its inputs, its settings and the code that trains and
    answers; one that was interrupted is gone on with.

    Returns
    -------
    dict
        ``plan``, and ``runs``: by recipe and seed what `_run` returns.
    """
    places.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()  # as the rounds do: an embedding is timed here
    chosen = SEMI_SETS[plan.set]
    runs: dict[str, dict[str, Any]] = {name: {} for name in plan.recipes}
    for seed in plan.seeds:
        for name in plan.recipes:
            runs[name][str(seed)] = _run(places, chosen, plan, name, seed, on_done)
            on_done(f"{plan.set}: {name}, seed {seed}: {_told(runs[name][str(seed)])}")
    return {"plan": asdict(plan), "runs": runs}


def _told(run: dict[str, Any]) -> str:
    means = ", ".join(f"{m} {run['dice'][m]:.3f}" for m in MEMBERS if m in run["dice"])
    return f"{means}; {run['seconds']:.0f} s"


def _run(
    places: Places,
    chosen: SemiSet,
    plan: Plan,
    name: str,
    seed: int,
    on_done: Callable[[str], None],
) -> dict[str, Any]:
    """One recipe with one seed.

    Returns
    -------
    dict
        ``cases``: by case, member and class the measures of `evaluate`; ``dice``: by member
        the mean over the cases that nothing was chosen by; ``best``: the member with the
        best Dice on the cases that it was chosen by; ``steps``, ``seconds``, ``charged_s``,
        ``machine``.
    """
    labelled, unlabelled, test = chosen.split(places.data, plan.labels, seed)
    judges = judges_of(chosen, test, seed)
    settings = settings_of(chosen, name, seed)

    def inputs(minutes: float, cache: Path | None = None) -> str:
        timed = replace(settings, minutes=round(minutes, 2))
        return inputs_of(chosen, labelled, unlabelled, judges, timed, cache)

    with_sam = "sam" in RECIPES[settings.recipe].members
    code = code_hash(settings.recipe)
    known_by = f"{code}{_without_paths(inputs(plan.minutes))}{plan.threads}"
    key = hashlib.sha256(known_by.encode()).hexdigest()[:16]
    stem = f"{chosen.name}-{plan.labels}-{name}-{seed}-{key}"
    kept = places.results / f"{stem}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    charged = 0.0
    if with_sam:
        each = embed_all(places.data, places.out, chosen, on_done)
        charged = each * found_embedded(settings, labelled, unlabelled)
    folder, cache = places.out / "runs" / stem / "0001", places.out / "cache"
    with own_copy(cache, folder.with_name("cache")) as own:
        train_in(folder, inputs(plan.minutes - charged / 60, own), plan.threads)
    models = load_round(folder, device="cpu")
    result = _judged(score(models, chosen, test, cache), judges)
    metrics = json.loads((folder / "metrics.json").read_text())
    result |= {"steps": metrics["steps"], "charged_s": round(charged, 1)}
    result |= {"seconds": round(metrics["seconds"] + charged, 1), "curve": _curve(folder)}
    result |= {"plan": asdict(plan), "machine": machine()}
    places.results.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _without_paths(inputs: str) -> str:
    """The same round's inputs wherever its files lie: they are known by their hashes."""
    known = json.loads(inputs)
    del known["cache"]
    for image in known["images"]:
        del image["path"]
        if image["label"]:
            del image["label"]["path"]
    return json.dumps(known)


def judges_of(chosen: SemiSet, test: Sequence[Member], seed: int) -> list[Member]:
    """Members of the tested cases that weigh and choose the members of a pair."""
    cases = np.random.default_rng([seed, 7]).permutation(sorted({m.case for m in test})).tolist()
    drawn = set(cases[: max(1, round(chosen.to_choose * len(cases)))])
    return [member for member in test if member.case in drawn]


def _curve(folder: Path) -> list[dict[str, Any]]:
    """Mean Dice by member on the choosing cases, and the fraction of the round that was done."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [
        {"fraction": event["fraction"], "dice": {m: s["mean"] for m, s in event["dice"].items()}}
        for event in events
        if event["event"] == "validation"
    ]


def settings_of(chosen: SemiSet, name: str, seed: int) -> TrainSettings:
    """Those of a recipe, or of one of ``scsam-without-PART``, but for its time."""
    recipe, _, without = name.partition("-without-")
    settings = replace(
        chosen.settings,
        seed=seed,
        holdout=0.0,
        device="cpu",
        recipe=cast(Recipe, recipe),
        without=cast(Ablation, without or "nothing"),
    )
    if "sam" in RECIPES[settings.recipe].members:
        return settings
    # Who needs no embeddings has all unlabelled planes for nothing.
    return replace(settings, unlabelled_planes=MOST_PLANES)


def code_hash(recipe: Recipe) -> str:
    """Hash of the code that trains and answers; the benchmark itself is not in it.

    With SAM's weights and with what weighs its answers where SAM takes part, and of the recipes'
    files with those that make up this one: what others gave outlives their changes.
    """
    kind = RECIPES[recipe]
    with_sam = "sam" in kind.members
    recipes = Path(scsam_train.__file__).parent / "recipes"
    own = {f"{base.__module__.rpartition('.')[2]}.py" for base in kind.__mro__}
    not_run = {path.name for path in recipes.glob("[!_]*.py")} - own
    not_run |= ELSEWHERE if with_sam else ELSEWHERE | OF_SAM
    folders = [Path(napari_scsam.__file__).parent / "models", Path(scsam_train.__file__).parent]
    folders.append(Path(napari_scsam.__file__).parent / "core")
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            known = path.suffix == ".py" or (with_sam and path.suffix == ".safetensors")
            if known and not not_run & set(path.parts):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def inputs_of(
    chosen: SemiSet,
    labelled: Sequence[Member],
    unlabelled: Sequence[Member],
    judges: Sequence[Member],
    settings: TrainSettings,
    cache: Path | None,
    parent: Path | None = None,
) -> str:
    """``inputs.json`` of a round, of the first one or of one that goes on from `parent`."""
    images = [member.as_input(labelled=True) for member in labelled]
    images += [member.as_input(labelled=True) for member in judges]
    images += [member.as_input(labelled=False) for member in unlabelled]
    classes = [{"id": id, "name": name, "colour": "#ff0000"} for id, name in chosen.classes.items()]
    return json.dumps(
        {
            "schema": 1,
            "round": 1 if parent is None else 2,
            "project": chosen.name,
            "modality": "other",
            "classes": classes,
            "images": images,
            "held_out": [member.name for member in judges],
            "parent_round": parent and {"number": 1, "folder": str(parent)},
            "cache": str(cache),
            "cache_gb": CACHE_GB,
            "settings": settings.to_dict(),
        }
    )


def train_in(folder: Path, inputs: str, threads: int | None) -> Path:
    """The round's own process; one that was interrupted before goes on. Returns its folder."""
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "inputs.json").write_text(inputs)
        run_round(partial, threads)
    return folder


def score(models: Pair, chosen: SemiSet, members: Sequence[Member], cache: Path) -> dict[str, Any]:
    """Measures of `evaluate` by case, image, member of the pair and class."""
    found: dict[str, Any] = {case: {} for case in sorted({member.case for member in members})}
    for member in members:
        found[member.case][member.name] = _score_image(models, chosen, member, cache)
    return found


def _judged(found: dict[str, Any], judges: Sequence[Member]) -> dict[str, Any]:
    """Choose the best member by some cases, and report the others."""
    to_choose = sorted({member.case for member in judges})
    by_choice = mean_dice(found, to_choose)
    return {
        "cases": found,
        "chosen_by": to_choose,
        "best": max(by_choice, key=lambda member: by_choice[member]),
        "dice": mean_dice(found, sorted(set(found) - set(to_choose))),
    }


def _score_image(models: Pair, chosen: SemiSet, member: Member, cache: Path) -> dict[str, Any]:
    volume, truth = io.read_volume(member.image), io.read_label_volume(member.mask).data
    store = open_cache(cache, memory_items=1, max_gb=CACHE_GB)
    ids = np.array([0, *models.class_ids], np.uint8)
    maps: dict[str, list[Any]] = {}
    names = _members(models)
    for index in range(volume.plane_count()):
        place = Plane(0, index)
        pixels, around = np.array(volume.plane(place)), AUTO.around(volume, place)
        if pixels.min() == pixels.max():
            blank = np.zeros(pixels.shape[:2], np.uint8)
            for which in names:
                maps.setdefault(which, []).append(blank)
            continue
        embedding = store.get_or_embed(models.sam, pixels) if "sam" in names else None
        found = models.members(pixels, embedding, around)
        for which in names:
            maps.setdefault(which, []).append(ids[found[which].argmax(0)])
    truth = truth.reshape(-1, *truth.shape[-2:]).astype(np.uint8)
    scores = {}
    for which, planes in maps.items():
        guess = np.stack(planes)
        if len(guess) == 1:
            guess, true = guess[0], truth[0]
        else:
            true = truth
        result = evaluate(guess, true, class_names=chosen.classes)
        scores[which] = {
            one.name: {name: getattr(one, name) for name in MEASURES} for one in result.classes
        }
    return scores


def _members(models: Pair) -> tuple[str, ...]:
    trained = tuple(models.trained)
    return (*trained, "pair") if len(trained) > 1 else trained


def mean_dice(found: dict[str, Any], cases: Sequence[str]) -> dict[str, float]:
    """Mean Dice by member: over classes, then a case's images, then cases."""
    values: dict[str, list[float]] = {}
    for case in cases:
        per_image: dict[str, list[float]] = {}
        for scores in found[case].values():
            for member, classes in scores.items():
                mean = np.mean([measures["dice"] for measures in classes.values()])
                per_image.setdefault(member, []).append(float(mean))
        for member, image_means in per_image.items():
            values.setdefault(member, []).append(float(np.mean(image_means)))
    return {member: float(np.mean(means)) for member, means in values.items()}
