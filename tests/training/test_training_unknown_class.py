"""The benchmark of a class without any label: what differs between its two projects, its table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from test_training_semi import write_set

from napari_scsam.core.errors import InputError
from scsam_train.benchmark.__main__ import main
from scsam_train.benchmark.unknown_class import Plan, differences, markdown, with_class
from scsam_train.config import read_inputs

if TYPE_CHECKING:
    from pathlib import Path


def inputs(*ids: int) -> str:
    labelled, unlabelled = {"label": {"path": "a"}}, {"label": None}
    return json.dumps({"classes": [{"id": i} for i in ids], "images": [labelled, unlabelled]})


@pytest.mark.parametrize("judged", [False, True])
def test_one_class_is_added_and_unknown_or_absent(judged: bool) -> None:
    found = json.loads(with_class(inputs(1, 3), judged=judged))
    assert [one["id"] for one in found["classes"]] == [1, 3, 4]
    labelled, unlabelled = found["images"]
    assert unlabelled == {"label": None}
    expected = {} if judged else {"judged": {"classes": [1, 3], "planes": {}}}
    assert labelled["label"] == {"path": "a", **expected}


def test_a_full_table_takes_no_further_class() -> None:
    with pytest.raises(InputError, match="at most 254 classes"):
        with_class(inputs(254), judged=False)


def scored(**dice: list[float]) -> dict[str, Any]:
    """A run of three cases, the first of which chose the member."""
    cases = {
        f"case{at}": {"image": {m: {"disc": {"dice": d[at]}} for m, d in dice.items()}}
        for at in range(3)
    }
    means = {member: (values[1] + values[2]) / 2 for member, values in dice.items()}
    return {"cases": cases, "chosen_by": ["case0"], "dice": means}


def test_the_table_gives_the_difference_on_cases_that_chose_nothing() -> None:
    runs = {
        "without": {"0": scored(unet=[0.1, 0.80, 0.90]), "1": scored(unet=[0.1, 0.70, 0.80])},
        "with": {"0": scored(unet=[0.9, 0.79, 0.88]), "1": scored(unet=[0.9, 0.70, 0.79])},
    }
    found = differences(runs)
    assert set(found) == {"unet"}
    row = found["unet"]
    assert (row["without"], row["with"]) == (pytest.approx(0.8), pytest.approx(0.79))
    assert row["mean"] == pytest.approx(-0.01)
    low, high = row["over_cases"]
    assert low == pytest.approx(-0.015) and high == pytest.approx(-0.005)  # the two cases' means
    assert row["over_seeds"][0] < row["mean"] < row["over_seeds"][1]
    plan = Plan("polyps_kvasir", 2, 96, (0, 1))
    table = markdown({"plan": vars(plan), "differences": found})
    assert "one more class, judged in no image" in table
    assert "| unet | 0.800 | 0.790 | -0.010 | -0.015 to -0.005 | " in table


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_rounds_that_differ_in_a_class_are_compared(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "data", train=6)
    out = tmp_path / "out"
    command = ["unknown-class", "--data", str(tmp_path / "data"), "--out", str(out)]
    assert main([*command, "--labels", "2", "--pictures", "32", "--seeds", "0"]) == 0
    assert capfd.readouterr().out.count("| pair | ") == 1
    found = json.loads((out / "unknown-class-polyps_kvasir.json").read_text())
    runs = {project: found["runs"][project]["0"] for project in ("without", "with")}
    assert runs["without"]["unknown_classes"] == [] and runs["with"]["unknown_classes"] == ["added"]
    assert runs["without"]["chosen_by"] == runs["with"]["chosen_by"]
    classes = [len(read_inputs(path).class_ids) for path in sorted(out.glob("runs/*/0001"))]
    assert sorted(classes) == [1, 2]
    assert set(found["differences"]) == {"unet", "sam", "prompted", "pair"}
