"""The benchmark of few labels on a made-up set, through the command and the rounds' own process."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_scsam.core.errors import InputError
from napari_scsam.core.settings import TrainSettings
from scsam_train.benchmark import common, records, rounds, semi_table
from scsam_train.benchmark.__main__ import main
from scsam_train.benchmark.embedded import embed_all, own_copy
from scsam_train.benchmark.machines import ORDINARY
from scsam_train.benchmark.plan import NAMES, Candidate, Places, Plan
from scsam_train.benchmark.records import read_record, write_record
from scsam_train.benchmark.rounds import Job
from scsam_train.benchmark.semi_sets import SEMI_SETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from forked_child import ForkedChildren

POLYPS = SEMI_SETS["polyps_kvasir"]
KEPT = Path(__file__).parents[2] / "benchmarks" / "results"


def write_set(folder: Path, train: int = 8, validation: int = 3) -> None:
    (folder / "polyps_kvasir" / "images").mkdir(parents=True)
    (folder / "polyps_kvasir" / "masks").mkdir()
    rows, cols = np.mgrid[:64, :72]
    rng = np.random.default_rng(0)
    counts = {"train": train, "validation": validation}
    names = [f"{part}_{i:03d}" for part, count in counts.items() for i in range(count)]
    for name in names:
        row, col = rng.integers(16, 48), rng.integers(16, 56)
        mask = (rows - row) ** 2 + (cols - col) ** 2 < 120
        picture = (60 + 120 * mask[..., None] + rng.normal(0, 8, (64, 72, 3))).clip(0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(
            folder / "polyps_kvasir" / "images" / f"{name}.png"
        )
        Image.fromarray(mask.astype(np.uint8)).save(
            folder / "polyps_kvasir" / "masks" / f"{name}.png"
        )


def command_line(data: Any, out: Path, *recipes: Any) -> list[str]:
    command = ["semi", "--data", str(data), "--out", str(out), "--labels", "2", "--seeds", "0"]
    return [*command, "--pictures", "48", "--unet", "scratch", "--recipes", *recipes]


def measure(data: Any, out: Path, *recipes: Any, more: Any = ()) -> Any:
    """As a process."""
    command = [sys.executable, "-P", "-m", "scsam_train.benchmark"]
    command += command_line(data, out, *recipes)
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_runs_are_kept_and_the_table_says_what_was_measured(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    forks: ForkedChildren,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In this module alone: `platform` starts a process, too, when it is first asked.
    monkeypatch.setattr(common, "subprocess", SimpleNamespace(run=forks.run))

    def measure(*arguments: Any, more: Any = ()) -> str:
        """Here; the rounds are processes all the same."""
        assert main([*command_line(*arguments), *more]) == 0
        return capfd.readouterr().out

    write_set(tmp_path / "data")
    out = tmp_path / "out"
    validation = ["--evaluate-on", "validation"]
    printed = measure(tmp_path / "data", out, "supervised", more=validation)
    (result,) = out.glob("results/*.json.gz")
    found = read_record(result)
    assert set(found["dice"]) == {"unet"} and found["steps"] > 0
    assert 48 <= found["pictures"] < 96  # whole batches
    assert len(found["cases"]) == 3 and len(found["chosen_by"]) == 1
    (case,) = list(found["cases"].values())[:1]
    (scores,) = case.values()
    assert set(scores["unet"]["polyp"]) == {"dice", "iou", "hd95", "assd"}
    assert [point["fraction"] for point in found["curve"]][-1] == 1.0
    assert found["curve"][-1]["dice"]["unet"] is not None
    assert "| supervised, scratch | " in printed
    assert found["machine"]["cores"] and found["machine"]["torch"]
    # On another machine, with the same scans elsewhere, it is read and not run again.
    before = result.stat().st_mtime_ns
    write_set(tmp_path / "elsewhere")
    other = tmp_path / "other"
    known = [*validation, "--results", str(out / "results")]
    again = measure(tmp_path / "elsewhere", other, "supervised", "mean-teacher", more=known)
    assert result.stat().st_mtime_ns == before
    assert "| mean-teacher, scratch | " in again
    assert len(list(out.glob("results/*.json.gz"))) == 2
    (made,) = other.glob("runs/*")
    assert made.name.startswith("polyps_kvasir-2-mean-teacher-scratch-0")
    report = json.loads((other / "semi-polyps_kvasir-2-validation.json").read_text())
    assert report["plan"]["labels"] == 2 and report["machine"]["cores"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_pair_of_two_rounds_is_measured_as_on_an_ordinary_processor(tmp_path: Path) -> None:
    write_set(tmp_path / "data", train=6)
    out = tmp_path / "out"
    measure(tmp_path / "data", out, "supervised", "independent-pair", more=["--ordinary"])
    kept = {record["recipe"]: record for record in map(read_record, out.glob("results/*.gz"))}
    alone, pair = kept["supervised"], kept["independent-pair"]
    assert pair["machine"]["ordinary"] and pair["machine"]["isa"] in ("AVX2", "DEFAULT")
    assert not pair["machine"]["bfloat16"]
    assert not (out / "cache").exists() and (out / "cache-ordinary").is_dir()
    each = json.loads((out / "embedded-polyps_kvasir-ordinary.json").read_text())
    assert each["machine"]["ordinary"]
    assert pair["charged"] == 2  # SAM's, of the labelled pictures; the other needs none
    assert pair["charged_s"] == pytest.approx(2 * each["seconds"], abs=1e-3)
    # Two of the four unlabelled pictures are measured, and one of those chooses.
    assert len(pair["cases"]) == 2 and len(pair["chosen_by"]) == 1
    assert pair["chosen_by"] == alone["chosen_by"]
    assert all(case.startswith("train_") for case in pair["cases"])
    # The U-Net in it is the one of the round that was there: it answers the same.
    assert pair["dice"]["unet"] == alone["dice"]["unet"]
    assert {"unet", "sam", "pair"} <= set(pair["dice"])
    assert [path.name.rsplit("-", 2)[0] for path in sorted(out.glob("runs/*"))] == [
        "polyps_kvasir-2-sam-only",
        "polyps_kvasir-2-supervised-scratch",
    ]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_second_round_is_compared_case_by_case(tmp_path: Path) -> None:
    write_set(tmp_path / "data", train=4)
    out = tmp_path / "out"
    command = [sys.executable, "-P", "-m", "scsam_train.benchmark", "again", "--out", str(out)]
    command += ["--data", str(tmp_path / "data"), "--labels", "2", "--more", "1"]
    done = subprocess.run(
        [*command, "--minutes", "0.1"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (one,) = out.glob("runs/again-*/0001")
    inputs = json.loads((one.with_name("0002") / "inputs.json").read_text())
    assert inputs["parent_round"] == {"number": 1, "folder": str(one)}
    labelled = [
        sum(image["label"] is not None for image in content["images"])
        for content in (json.loads((one / "inputs.json").read_text()), inputs)
    ]
    assert labelled == [3, 4]  # two, then three, and one of those that are measured chooses
    found = json.loads((out / "again-polyps_kvasir.json").read_text())["runs"]["0"]
    assert {group: len(found[group]["pair"]["change"]) for group in found} == {
        "unseen": 2,
        "first": 2,
    }
    for member, row in found["unseen"].items():
        mean = np.mean(list(row["change"].values()))
        assert mean == pytest.approx(row["after"] - row["before"], abs=1e-6), member
    assert done.stdout.count("| unseen (2) |") == 4


def test_ablations_and_the_pair_of_two_rounds_are_recipes_of_the_benchmark() -> None:
    assert {"scsam", "cps", "scsam-without-points", "independent-pair"} <= set(NAMES)


def plan_of(**changes: Any) -> Plan:
    given = {"labels": 2, "seeds": (0,), "recipes": ("supervised",), "unets": ("scratch",)}
    return Plan(**{"set": "polyps_kvasir", "pictures": 96, **given, **changes})


def test_each_recipe_is_run_with_each_kind_of_u_net_that_it_can_have() -> None:
    kinds = ("scratch", "pretrained", "pretrained+sam")
    plan = plan_of(recipes=("scsam", "scsam-paper", "sam-only"), unets=kinds)
    assert [candidate.title for candidate in plan.candidates()] == [
        "scsam, scratch",
        "scsam, pretrained",
        "scsam, pretrained+sam",
        "scsam-paper, scratch",
        "sam-only",
    ]
    base, pictures = POLYPS.settings, {}
    for candidate in plan.candidates():
        settings = candidate.settings(plan, base, seed=5)
        assert (settings.unet, settings.pictures, settings.seed) == (candidate.unet, 96, 5)
    # Who needs no embeddings has all unlabelled planes; features of SAM's need them.
    for unet in kinds:
        settings = Candidate("mean-teacher", unet).settings(plan, base, 0)
        pictures[unet] = settings.unlabelled_planes
    assert pictures == {"scratch": 100_000, "pretrained": 100_000, "pretrained+sam": 400}
    assert [part.title for part in Candidate("independent-pair", "pretrained").parts] == [
        "supervised, pretrained",
        "sam-only",
    ]


def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"--pictures N.* --minutes M"):
        plan_of(pictures=None)


def test_the_tested_training_cases_are_drawn_by_the_seed_and_not_learned_from(
    tmp_path: Path,
) -> None:
    write_set(tmp_path, train=20)
    splits = [POLYPS.split(tmp_path, 4, seed, "training") for seed in (0, 0, 1)]
    labelled, _, tested = splits[0]
    assert splits[1] == splits[0] and splits[2][2] != tested
    assert [len(part) for part in splits[0]] == [4, 8, 8]
    names = [{member.name for member in part} for part in splits[0]]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert labelled == POLYPS.split(tmp_path, 4, 0, "validation")[0]
    assert all(name.startswith("train_") for name in names[2])
    with pytest.raises(InputError, match="2 unlabelled cases of polyps_kvasir are too few"):
        POLYPS.split(tmp_path, 18, 0, "training")
    with pytest.raises(InputError, match="has 20 training cases"):
        POLYPS.split(tmp_path, 21, 0)


def test_minutes_that_the_embeddings_alone_would_take_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path)
    monkeypatch.setattr(rounds, "embed_all", lambda *args: 60.0)
    plan = plan_of(recipes=("scsam",), minutes=4.0)
    job = Job(Places(tmp_path, tmp_path, tmp_path), plan, Candidate("scsam", "scratch"), 0)
    with pytest.raises(InputError, match=r"4 minutes are too few: 5 embeddings .* 5\.0 minutes"):
        rounds.train(job, lambda text: None)


@pytest.fixture
def key(tmp_path: Path) -> Callable[..., str]:
    """The key of a run, with changes of its plan, seed, U-Net or recipe."""
    write_set(tmp_path / "data")

    def key(
        recipe: str = "scsam",
        unet: str = "scratch",
        seed: int = 0,
        data: Any = tmp_path / "data",
        **changes: Any,
    ) -> Any:
        places = Places(data, tmp_path, tmp_path)
        stem = Job(places, plan_of(**changes), Candidate(recipe, unet), seed).stem
        return stem.rpartition("-")[2]

    return key


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": "cps"},
        {"unet": "pretrained"},
        {"seed": 1},
        {"pictures": 97},
        {"minutes": 5.0},
        {"threads": 1},
        {"labels": 3},
        {"evaluate_on": "validation"},
    ],
)
def test_another_run_has_another_key(key: Callable[..., str], changes: Any) -> None:
    assert key(**changes) != key()


def test_a_key_changes_with_the_engine_the_files_and_the_mode_and_not_with_a_place(
    key: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, alone = key(), key("supervised")
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    assert key(data=tmp_path / "elsewhere") == known
    for role, which in (("labelled", 0), ("unlabelled", 1), ("tested", 2)):
        data = tmp_path / role
        shutil.copytree(tmp_path / "data", data)
        member = POLYPS.split(data, 2, 0, "training")[which][0]
        Image.fromarray(np.zeros((64, 72, 3), np.uint8)).save(member.image)
        assert key(data=data) != known
    with monkeypatch.context() as patch:
        patch.setattr(records, "ENGINE_VERSION", 1)
        assert key() != known
    with monkeypatch.context() as patch:
        patch.setattr(records, "weights_hash", lambda: "others")
        assert key() != known and key("supervised") == alone
        assert key("supervised", unet="pretrained+sam") != alone
    for name, value in ORDINARY.items():
        monkeypatch.setenv(name, value)
    assert key() != known


def test_a_new_setting_at_its_default_outdates_nothing(
    key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, to_dict = key(), TrainSettings.to_dict
    monkeypatch.setattr(TrainSettings, "to_dict", lambda self: {**to_dict(self), "later": 1})
    assert key() == known


def test_a_record_is_small_and_always_the_same_bytes(tmp_path: Path) -> None:
    content = {"dice": {"unet": 0.123456789}, "hd95": float("inf"), "steps": 3, "cases": [1, None]}
    for name in ("one", "two"):
        write_record(tmp_path / f"{name}.json.gz", content)
    one, two = ((tmp_path / f"{name}.json.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    assert json.loads(gzip.decompress(one)) == {
        **{"dice": {"unet": 0.1235}, "hd95": None, "steps": 3},
        "cases": [1, None],
    }
    (tmp_path / "two.json.gz").write_bytes(two[:-20])
    with pytest.raises(InputError, match=r"two.json.gz is not a record .*delete it"):
        read_record(tmp_path / "two.json.gz")


def test_the_kept_records_are_of_this_engine_and_take_at_most_500_kb() -> None:
    kept = sorted(KEPT.glob("*"))
    assert sum(path.stat().st_size for path in kept) <= 500_000
    assert {path.name for path in kept if path.suffix != ".md"} == {
        path.name for path in kept if path.name.endswith(".json.gz")
    }
    old = [
        path.name
        for path in kept
        if path.suffix == ".gz" and read_record(path)["engine"] != records.ENGINE_VERSION
    ]
    assert not old, "these are of an earlier engine: delete them"


MACHINE = {"processor": "a", "ordinary": True}


def run_of(
    dice: Any,
    best: str = "unet",
    recipe: str = "scsam",
    *,
    minutes: float = 1.0,
    each: float = 0.02,
) -> dict[str, Any]:
    """A record of two cases that chose nothing, `.1` apart, and of one that did."""
    curve = [{"fraction": 0.5, "dice": {"unet": 0.3}}, {"fraction": 1.0, "dice": dice}]
    offsets = {"a": -0.05, "b": 0.05, "judge": 0.4}
    cases = {
        case: {case: {m: {"polyp": {"dice": d + off}} for m, d in dice.items()}}
        for case, off in offsets.items()
    }
    return {
        **{"dice": dice, "best": best, "recipe": recipe, "unet": "scratch", "curve": curve},
        **{"cases": cases, "chosen_by": ["judge"], "steps": 10, "pictures": 960},
        **{"seconds": 60 * minutes, "charged_s": 12.0, "machine": MACHINE},
        "seconds_per_picture": each,
    }


def test_the_table_pairs_seeds_with_the_supervised_ones() -> None:
    alone = {"recipe": "supervised"}
    runs = {
        "supervised, scratch": {
            "0": run_of({"unet": 0.5}, **alone),
            "1": run_of({"unet": 0.7}, **alone),
        },
        "scsam, scratch": {
            "0": run_of({"unet": 0.6, "sam": 0.5, "pair": 0.65}, "pair", each=0.05),
            "1": run_of({"unet": 0.9, "sam": 0.5, "prompted": 0.8, "pair": 0.95}, "pair"),
        },
    }
    plan = {"set": "polyps_kvasir", "labels": 2, "minutes": None, "seeds": [0, 1]}
    plan |= {"pictures": 960, "evaluate_on": "training"}
    table = semi_table.markdown({"plan": plan, "runs": runs})
    assert "2 labelled, 960 pictures a run" in table
    line = next(line for line in table.splitlines() if line.startswith("| scsam, scratch |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:6] == [
        "0.750 ± 0.212 (2)",
        "0.500 ± 0.000 (2)",
        "0.800 (1)",
        "0.800 ± 0.212 (2)",
        "0.800 ± 0.212 (2)",  # chosen both times
    ]
    # The quieter of both took 960 pictures at .02 s, and 12 s for embeddings.
    assert cells[6:] == ["960", "10", "1.0", f"{(960 * 0.02 + 12) / 60:.1f}"]
    # .1 and .2 more than supervised with the same seed: .15 ± t(.975, 1) x .05, and in each case.
    start = "| scsam, scratch | supervised, scratch | unet "
    assert f"{start}| +0.150 ± 0.071 (2) | -0.485 to +0.785 | +0.150 to +0.150 (2) |" in table
    # The pair is held against the one member that supervised has: .15 and .25.
    assert "| scsam, scratch | supervised, scratch | pair | +0.200 ± 0.071 (2) |" in table
    assert "| supervised, scratch | scsam, scratch |" not in table
    assert "| recipe | member | 50 % | 100 % |" in table
    assert "| scsam, scratch | unet | 0.300 ± 0.000 (2) | 0.750 ± 0.212 (2) |" in table


@pytest.mark.exhaustive
def test_an_embedding_that_was_lost_is_made_again_and_the_measured_time_kept(
    tmp_path: Path,
) -> None:
    write_set(tmp_path / "data", train=2, validation=1)
    places = tmp_path, "polyps_kvasir", POLYPS.members(tmp_path / "data")
    told = []
    each = embed_all(*places, told.append)
    before = sorted((tmp_path / "cache").iterdir())
    assert len(before) == 3 and told == ["polyps_kvasir: 3 of 3 planes embedded"]
    before[2].unlink()  # no run makes it again in its own time, which would pay for it twice
    assert embed_all(*places, told.append) == each
    assert sorted((tmp_path / "cache").iterdir()) == before


def test_a_run_sees_no_embedding_that_another_run_added(tmp_path: Path) -> None:
    shared = tmp_path / "cache"
    (shared / "ab").mkdir(parents=True)
    (shared / "ab" / "known").write_bytes(b"1")
    with own_copy(shared, tmp_path / "one" / "cache") as own:
        assert (own / "ab" / "known").read_bytes() == b"1"
        (own / "ab" / "made").write_bytes(b"2")
        with own_copy(shared, tmp_path / "other" / "cache") as other:
            assert [path.name for path in other.rglob("*") if path.is_file()] == ["known"]
    assert not own.exists() and not other.exists()
    assert [path.name for path in shared.rglob("*") if path.is_file()] == ["known"]


def test_an_interrupted_run_goes_on_with_what_it_had_embedded(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    with (
        pytest.raises(KeyboardInterrupt),
        own_copy(tmp_path / "cache", tmp_path / "run" / "cache") as own,
    ):
        (own / "made").write_bytes(b"2")
        raise KeyboardInterrupt
    with own_copy(tmp_path / "cache", own) as again:
        assert (again / "made").read_bytes() == b"2"
