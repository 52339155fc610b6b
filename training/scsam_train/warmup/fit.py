"""Training of the point adapter on batches of simulated annotation."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_scsam.core.errors import InputError
from scsam_train.episode_loss import decode, episode_loss
from scsam_train.episodes import Episode, advance, begin
from scsam_train.warmup import curriculum
from scsam_train.warmup.curriculum import part_at, rate_at
from scsam_train.warmup.evaluation import HeldOutObjects, evaluate
from scsam_train.warmup.learner import Learner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peft import PeftModel

    from scsam_train.warmup.corpus import Embedded

# Episodes in progress at a time, so that consecutive steps see different objects. Arbitrary.
CONCURRENT = 6
STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
# Raise it when a saved state would be resumed differently.
VERSION = 2

# Step, seconds, weights, their average, and the optimiser state.
Snapshot = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Duration and learning rates of the training.

    Attributes
    ----------
    seed : int
    steps : int or None
        Steps of one pass through the curriculum; exactly reproducible. None: only time counts.
    minutes : float
        Time limit of one pass through the curriculum; its last part is repeated
        (`curriculum.TIMES`).
    batch : int
        Objects per step.
    lora_rate, whole_rate : float
        AdamW's learning rates of the LoRA layers and of the fully trained parts.
    distil : float
        Weight of the released model's prediction for a box, relative to the truth.
    judge_every_s, save_every_s : float
    """

    seed: int
    steps: int | None = None
    minutes: float = 40.0
    batch: int = 8
    lora_rate: float = 5e-4
    whole_rate: float = 2e-4
    distil: float = 0.5
    judge_every_s: float = 480.0
    save_every_s: float = 120.0


class WarmUp:
    """Training of the adapter; resumes from ``state.pt`` if there is one.

    Parameters
    ----------
    model : PeftModel
        The released SAM with a fresh adapter.
    corpus : sequence of Embedded
    held_out : HeldOutObjects
    plan : Plan
    folder : Path
        For its state and log.

    Attributes
    ----------
    learner : Learner
        The adapter with its optimiser and average.
    step : int
        Steps of the current pass through the curriculum.
    spent_s : float
        Seconds of training of the current pass.
    """

    def __init__(
        self,
        model: PeftModel,
        corpus: Sequence[Embedded],
        held_out: HeldOutObjects,
        plan: Plan,
        folder: Path,
    ) -> None:
        self.learner = Learner(model, plan.lora_rate, plan.whole_rate)
        self._corpus, self._held_out, self._plan, self._folder = corpus, held_out, plan, folder
        self._rng = np.random.default_rng(plan.seed)
        self.step = 0
        self.spent_s = 0.0
        self._episodes: list[Episode] = []
        # Start of the last part, and the averaged weights after each repeat of it.
        self._last_part: Snapshot | None = None
        self._finished: list[dict[str, Tensor]] = []
        self._before_s = 0.0
        self._resume()

    @property
    def total_s(self) -> float:
        """Seconds of training, including all repeats of the last part."""
        return self._before_s + self.spent_s

    def run(self, on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Train to the end of the plan; the model gets the averaged weights. Returns figures."""
        while len(self._finished) < curriculum.TIMES:
            if self._finished and self._last_part is not None:
                self._go_back(self._last_part)
            losses = self._to_the_end(on_event)
            on_event(self._record(losses))
            self._finished.append(self.learner.averaged())
            self._save()
        average = self.learner.average
        average.restore({"average": _mean(self._finished), "steps": self.step})
        figures = self._record([])
        on_event(figures)
        average.copy_to_network()
        return figures

    def _to_the_end(self, on_event: Callable[[dict[str, Any]], None]) -> list[float]:
        """Train until the last part ends; return the losses since the last event."""
        evaluated = saved = self.spent_s
        losses: list[float] = []
        began = time.monotonic() - self.spent_s
        while self._fraction() < 1:
            if self._last_part is None and part_at(self._fraction()) is curriculum.CURRICULUM[-1]:
                self._last_part = self._snapshot()
            losses.append(self._update())
            self.spent_s = time.monotonic() - began
            if self.spent_s - evaluated > self._plan.judge_every_s:
                on_event(self._record(losses))
                evaluated, losses = self.spent_s, []
            if self.spent_s - saved > self._plan.save_every_s:
                self._save()
                saved = self.spent_s
        return losses

    def _fraction(self) -> float:
        done = self.spent_s / (60 * self._plan.minutes)
        return max(done, self.step / self._plan.steps) if self._plan.steps else done

    def _update(self) -> float:
        part = part_at(self._fraction())
        scenes = self._corpus[: part.scenes]
        while len(self._episodes) < CONCURRENT:
            self._episodes.append(begin(scenes, self._plan.batch, self._rng, part.episodes))
        which = int(self._rng.integers(CONCURRENT))
        episode = self._episodes.pop(which)
        logits, iou = decode(self.learner.decoder, episode)
        loss = episode_loss(episode, logits, iou, self.learner.released, self._plan.distil)
        self.learner.descend(loss, rate_at(self._fraction()))
        if episode.left > 1:
            self._episodes.append(advance(episode, (logits, iou), self._rng))
        self.step += 1
        return float(loss.detach())

    def _record(self, losses: list[float]) -> dict[str, Any]:
        with self.learner.average.in_place():
            result = evaluate(self.learner.decoder, self._held_out)
        record = {
            "step": self.step,
            "minutes": round(self.total_s / 60, 1),
            "loss": round(float(np.mean(losses)), 4) if losses else None,
            "held_out": result,
        }
        with (self._folder / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        return record

    def _snapshot(self) -> Snapshot:
        return {"step": self.step, "spent_s": self.spent_s, **self.learner.snapshot()}

    def _go_to(self, snapshot: Snapshot) -> None:
        self.step, self.spent_s = snapshot["step"], snapshot["spent_s"]
        self.learner.go_to(snapshot, self.step)
        self._episodes = []

    def _go_back(self, last_part: Snapshot) -> None:
        """Return to the start of the last part, with a new random stream."""
        if self._fraction() >= 1:
            self._before_s += self.spent_s - last_part["spent_s"]
            self._go_to(last_part)
            self._rng = np.random.default_rng([self._plan.seed, len(self._finished)])

    def _save(self) -> None:
        state = {
            "version": VERSION,
            "now": self._snapshot(),
            "last_part": self._last_part,
            "finished": self._finished,
            "before_s": self._before_s,
        }
        partial = self._folder / f"{STATE_FILE}.partial"
        torch.save(state, partial)
        partial.replace(self._folder / STATE_FILE)

    def _resume(self) -> None:
        path = self._folder / STATE_FILE
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if state.get("version") != VERSION:
            raise InputError(
                f"The training in {self._folder} was begun by another version of this command. "
                "Finish it with that one, or choose an empty folder."
            )
        self._go_to(state["now"])
        self._last_part, self._finished = state["last_part"], state["finished"]
        self._before_s = state["before_s"]
        self._rng = np.random.default_rng([self._plan.seed, len(self._finished), self.step])


def _mean(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([w[name] for w in weights]).mean(0) for name in weights[0]}
