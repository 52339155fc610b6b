"""``python -m scsam_train.benchmark COMMAND --out DIR``: measure the models on real scans."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.settings import Device, TrainSettings, UNetKind
from napari_scsam.models import load_sam
from scsam_train.benchmark import (
    after_tuning,
    from_outlines,
    interactive,
    label_curve,
    propagation,
    scale,
    second_round,
    semi,
    semi_table,
    speed,
    steps,
    unknown_class,
)
from scsam_train.benchmark.machines import is_ordinary, run_as_ordinary
from scsam_train.benchmark.plan import NAMES, EvaluateOn, Places, Plan
from scsam_train.benchmark.semi_sets import SEMI_SETS
from scsam_train.benchmark.sets import SETS, TUNING_SETS

MODEL, MODEL_HELP = "lite-medsam", "a name for load_sam"


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; return 0, or 2 after a one-line error if the inputs are unusable."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    if options.ordinary and not is_ordinary():
        return run_as_ordinary(arguments)
    try:
        return int(options.run(options))
    except ScsamError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2


def _interactive(options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    if options.tuned is not None:
        return _after_tuning(options, console)
    sam = load_sam(options.model, device=options.device, adapter=options.adapter)
    report: dict[str, Any] = {
        "model": options.model,
        "adapter": options.adapter,
        "base_hash": sam.base_hash,
        "seeds": options.seeds,
        "limit": options.limit,
        "feed_back": options.feed_back,
        "sets": {},
    }
    for name in options.sets:
        report["sets"][name] = interactive.measure(
            sam,
            name,
            Path(options.data),
            limit=options.limit,
            seeds=options.seeds,
            feed_back=options.feed_back,
            on_case=lambda name, done: console.log(f"{name}: {done}") if done % 10 == 0 else None,
        )
        interactive.write(Path(options.out), report)
    sys.stdout.write(interactive.markdown(report))
    return 0


def _after_tuning(options: argparse.Namespace, console: Console) -> int:
    plan = after_tuning.Plan(
        options.model, options.tuned, tuple(options.seeds), options.limit, options.device
    )
    out = Path(options.out)
    sets = [name for name in options.sets if name in TUNING_SETS]
    report = after_tuning.measure(Path(options.data), out, sets, plan, on_done=console.log)
    sys.stdout.write(after_tuning.markdown(report))
    return 0


def _propagation(options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    sam = load_sam(options.model, device=options.device, adapter=options.adapter)
    report: dict[str, Any] = {
        "model": options.model,
        "adapter": options.adapter,
        "base_hash": sam.base_hash,
        "understands_points": sam.understands_points,
        "limit": options.limit,
    }
    report |= propagation.measure(sam, Path(options.data), limit=options.limit, on_done=console.log)
    propagation.write(Path(options.out), report)
    sys.stdout.write(propagation.markdown(report))
    return 0


def _speed(options: argparse.Namespace) -> int:
    report = speed.measure_speed(options.model, options.repeats, options.encoder_repeats)
    if options.data is not None:
        report["agreement"] = speed.measure_agreement(
            options.model, Path(options.data), options.limit, options.sets
        )
    speed.write_speed(Path(options.out), report)
    sys.stdout.write(speed.speed_table(report))
    return 0


def _semi(options: argparse.Namespace) -> int:
    plan = Plan(
        options.set,
        options.labels,
        tuple(options.seeds),
        tuple(options.recipes),
        tuple(options.unet),
        options.pictures,
        options.minutes,
        options.threads,
        options.evaluate_on,
    )
    console = Console(stderr=True)
    out = Path(options.out)
    places = Places(Path(options.data), out, Path(options.results or out / "results"))
    report = semi.measure(places, plan, on_done=console.log)
    semi_table.write(out, report)
    sys.stdout.write(semi_table.markdown(report))
    return 0


def _second_round(options: argparse.Namespace) -> int:
    plan = second_round.Plan(
        options.set,
        options.labels,
        options.more,
        options.minutes,
        tuple(options.seeds),
        options.threads,
    )
    out = Path(options.out)
    report = second_round.measure(Path(options.data), out, plan, on_done=Console(stderr=True).log)
    second_round.write(out, report)
    sys.stdout.write(second_round.markdown(report))
    return 0


def _unknown_class(options: argparse.Namespace) -> int:
    plan = unknown_class.Plan(
        options.set,
        options.labels,
        options.pictures,
        tuple(options.seeds),
        options.judged,
        options.threads,
        options.evaluate_on,
    )
    out = Path(options.out)
    report = unknown_class.measure(Path(options.data), out, plan, Console(stderr=True).log)
    unknown_class.write(out, report)
    sys.stdout.write(unknown_class.markdown(report))
    return 0


def _label_curve(options: argparse.Namespace) -> int:
    plan = label_curve.Plan(
        options.set,
        tuple(options.labels),
        tuple(options.seeds),
        tuple(options.strategies),
        options.evaluate_on,
        options.pictures,
        options.threads,
    )
    out = Path(options.out)
    report = label_curve.measure(Path(options.data), out, plan, Console(stderr=True).log)
    label_curve.write(out, report)
    sys.stdout.write(label_curve.markdown(report))
    return 0


def _from_outlines(options: argparse.Namespace) -> int:
    plan = from_outlines.Plan(options.set, options.outlines, options.tested, options.seed)
    out = Path(options.out)
    report = from_outlines.measure(Path(options.data), out, plan, Console(stderr=True).log)
    from_outlines.write(out, report)
    sys.stdout.write(from_outlines.markdown(report))
    return 0


def _steps(options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    report = steps.measure_steps(options.repeats, options.only, on_done=console.log)
    steps.write_steps(Path(options.out), report)
    sys.stdout.write(steps.steps_table(report))
    return 0


def _scale(options: argparse.Namespace) -> int:
    plan = scale.Plan(
        tuple(options.references),
        options.steps,
        options.unlabelled,
        options.device,
        options.threads,
    )
    out = Path(options.out)
    report = scale.measure(out, plan, on_done=Console(stderr=True).log)
    scale.write(out, report)
    sys.stdout.write(scale.markdown(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scsam_train.benchmark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_interactive(commands)
    _add_propagation(commands)
    _add_speed(commands)
    _add_semi(commands)
    _add_second_round(commands)
    _add_unknown_class(commands)
    _add_label_curve(commands)
    _add_from_outlines(commands)
    _add_scale(commands)
    _add_steps(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--ordinary",
            action="store_true",
            help="use only instructions of a processor with AVX2 and without bfloat16",
        )
    return parser


def _add_model(add: Any) -> None:
    add("--model", default=MODEL, help=MODEL_HELP)
    add("--adapter", default=None, help="folder of an adapter")
    add("--device", default="auto", choices=get_args(Device))


def _add_semi(commands: Any) -> None:
    command = commands.add_parser("semi", help="Dice of rounds from few labels, by recipe")
    command.set_defaults(run=_semi)
    add: Any = command.add_argument
    _add_rounds(add)
    add("--pictures", type=int, default=None, help="training samples of each U-Net")
    add("--minutes", type=float, default=None, help="time limit of each run, embedding included")
    add("--recipes", nargs="+", default=["supervised", "scsam"], choices=NAMES)
    kinds = {"nargs": "+", "choices": get_args(UNetKind), "default": [TrainSettings().unet]}
    add("--unet", help="initialisation of each U-Net", **kinds)
    _add_evaluate_on(add)
    add("--results", default=None, help="folder of the records; default OUT/results")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])


def _add_evaluate_on(add: Any) -> None:
    add(
        "--evaluate-on",
        choices=get_args(EvaluateOn),
        default="training",
        help="unlabelled cases of the training set, or the validation cases, which are used "
        "once per finished state",
    )


def _add_rounds(add: Any) -> None:
    """Add the options for folders and rounds."""
    add("--data", required=True, help="folder with polyps_kvasir and cardiac_acdc")
    add("--out", required=True, help="folder for the report, the rounds and their embeddings")
    add("--set", choices=list(SEMI_SETS), default="polyps_kvasir")
    add("--labels", type=int, required=True, help="labelled pictures or patients, at first")
    add("--threads", type=int, default=None, help="torch threads in each round")


def _add_second_round(commands: Any) -> None:
    command = commands.add_parser("again", help="forgetting in a second round")
    command.set_defaults(run=_second_round)
    add: Any = command.add_argument
    _add_rounds(add)
    add("--more", type=int, required=True, help="additional labelled cases of the second round")
    add("--minutes", type=float, default=5.0, help="duration of each round, without embedding")
    add("--seeds", nargs="+", type=int, default=[0])


def _add_unknown_class(commands: Any) -> None:
    command = commands.add_parser("unknown-class", help="cost of a class without any label")
    command.set_defaults(run=_unknown_class)
    add: Any = command.add_argument
    _add_rounds(add)
    add("--pictures", type=int, required=True, help="training samples of each U-Net")
    add("--judged", action="store_true", help="the class is absent; default: it is unknown")
    _add_evaluate_on(add)
    add("--seeds", nargs="+", type=int, default=[0])


def _add_label_curve(commands: Any) -> None:
    command = commands.add_parser("label-curve", help="Dice by number of labels and by strategy")
    command.set_defaults(run=_label_curve)
    add: Any = command.add_argument
    add("--data", required=True, help="folder of the data sets")
    add("--out", required=True, help="folder for the report and the embeddings")
    add("--set", choices=label_curve.SETS, default="polyps_kvasir")
    add("--labels", nargs="+", type=int, default=[5, 10, 20, 40, 80], help="labelled slices")
    add("--strategies", nargs="+", choices=label_curve.STRATEGIES, default=label_curve.STRATEGIES)
    add("--pictures", type=int, help="train a whole round of so many pictures at each number, too")
    add("--threads", type=int, help="torch threads in each round")
    add("--seeds", nargs="+", type=int, default=list(range(10)))
    _add_evaluate_on(add)


def _add_from_outlines(commands: Any) -> None:
    command = commands.add_parser("from-outlines", help="suggestions before the first round")
    command.set_defaults(run=_from_outlines)
    add: Any = command.add_argument
    add("--data", required=True, help="folder with polyps_kvasir and cardiac_acdc")
    add("--out", required=True, help="folder for the report and the embeddings")
    add("--set", choices=list(SEMI_SETS), default="polyps_kvasir")
    add("--outlines", type=int, default=3, help="pictures, or slices of one volume")
    add("--tested", type=int, default=40, help="tested pictures, or volumes")
    add("--seed", type=int, default=0)


def _add_steps(commands: Any) -> None:
    command = commands.add_parser("steps", help="seconds and memory of a training step")
    command.set_defaults(run=_steps)
    add: Any = command.add_argument
    add("--out", required=True, help="folder for steps.json and steps.md")
    add("--repeats", type=int, default=5, help="timed steps of each, after one warm-up step")
    names = list(steps.CONFIGURATIONS)
    add("--only", nargs="+", choices=names, default=names, help="configurations to measure")


def _add_scale(commands: Any) -> None:
    command = commands.add_parser("scale", help="time and memory of a step as a project grows")
    command.set_defaults(run=_scale)
    add: Any = command.add_argument
    add("--out", required=True, help="folder for scale.json, scale.md, the images and the runs")
    add("--references", nargs="+", type=int, default=[100, 1_000, 10_000], help="images per run")
    add("--steps", type=int, default=60, help="steps of each run")
    add("--unlabelled", type=int, default=64, help="setting unlabelled_planes")
    add("--device", default="cpu", choices=get_args(Device))
    add("--threads", type=int, default=None, help="torch threads in each run")


def _add_speed(commands: Any) -> None:
    command = commands.add_parser("speed", help="time against segment-anything's predictor")
    command.set_defaults(run=_speed)
    add: Any = command.add_argument
    add("--data", default=None, help="folder of real scans: adds the agreement of the masks")
    add("--out", required=True, help="folder for speed.json and speed.md")
    add("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    add("--limit", type=int, default=10, help="planes of each set")
    add("--model", default=MODEL, help=MODEL_HELP)
    add("--repeats", type=int, default=20, help="repeats of decoding")
    add("--encoder-repeats", type=int, default=5, help="repeats of the encoders")


def _add_propagation(commands: Any) -> None:
    command = commands.add_parser("propagation", help="Dice of volumes from 1, 3 and 5 slices")
    command.set_defaults(run=_propagation)
    add: Any = command.add_argument
    add("--data", required=True, help="folder with atrium_la2018")
    add("--out", required=True, help="folder for propagation.json and propagation.md")
    add("--limit", type=int, default=None, help="only the first N volumes")
    _add_model(add)


def _add_interactive(commands: Any) -> None:
    command = commands.add_parser("interactive", help="Dice by clicks and by box")
    command.set_defaults(run=_interactive)
    add: Any = command.add_argument
    add("--data", required=True, help="folder with polyps_kvasir, cardiac_acdc, atrium_la2018")
    add("--out", required=True, help="folder for interactive.json and interactive.md")
    add("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    add("--limit", type=int, default=None, help="only the first N planes of each set")
    add("--no-feed-back", dest="feed_back", action="store_false", help="clicks without mask prompt")
    _add_model(add)
    add("--seeds", nargs="+", type=int, default=[0], help="inaccuracy of clicks; 0 is exact")
    add(
        "--tuned",
        type=int,
        default=None,
        metavar="N",
        help="instead, tune on N pictures of each set, chosen by each seed, and compare; resumes "
        "an interrupted run",
    )


if __name__ == "__main__":
    sys.exit(main())
