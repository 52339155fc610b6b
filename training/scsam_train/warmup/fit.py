"""Training of the point adapter on batches of simulated annotation."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_scsam.core.errors import InputError
from napari_scsam.models import trainable_parameters
from scsam_train.decoding import Decoder
from scsam_train.episode_loss import decode, episode_loss, frozen_decoder
from scsam_train.episodes import Episode, advance, begin
from scsam_train.schedules import MovingAverage
from scsam_train.warmup import curriculum
from scsam_train.warmup.curriculum import part_at, rate_at
from scsam_train.warmup.evaluation import HeldOutObjects, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peft import PeftModel

    from scsam_train.warmup.corpus import Embedded

# Episodes in progress at a time, so that consecutive steps see different objects. Arbitrary.
CONCURRENT = 6
# Maximum norm of the gradient. Arbitrary.
CLIP = 1.0
# Decay of the moving average of the weights (docs/explanation/warm-up.md). Arbitrary.
DECAY = 0.995
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
    """The adapter in training; resumes from ``state.pt`` if there is one.

    Parameters
    ----------
    model : PeftModel
        The released SAM with a fresh adapter.
    corpus : sequence of Embedded
    held_out : HeldOutObjects
    plan : Plan
    folder : Path
        For its state and log.
    """

    def __init__(
        self,
        model: PeftModel,
        corpus: Sequence[Embedded],
        held_out: HeldOutObjects,
        plan: Plan,
        folder: Path,
    ) -> None:
        self.model = model
        self._released = frozen_decoder(model)
        self._decoder = Decoder(model)
        self._corpus, self._held_out, self._plan, self._folder = corpus, held_out, plan, folder
        self._parameters = trainable_parameters(model)
        self._average = MovingAverage(self._parameters, DECAY)
        self._optimiser = torch.optim.AdamW(_groups(self._parameters, plan), weight_decay=0.01)
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
            average = self._average.state()["average"]
            self._finished.append({name: tensor.clone() for name, tensor in average.items()})
            self._save()
        self._average.restore({"average": _mean(self._finished), "steps": self.step})
        figures = self._record([])
        on_event(figures)
        self._average.copy_to_network()
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
        logits, iou = decode(self._decoder, episode)
        loss = episode_loss(episode, logits, iou, self._released, self._plan.distil)
        self._descend(loss)
        if episode.left > 1:
            self._episodes.append(advance(episode, (logits, iou), self._rng))
        self.step += 1
        return float(loss.detach())

    def _descend(self, loss: Tensor) -> None:
        factor = rate_at(self._fraction())
        for group in self._optimiser.param_groups:
            group["lr"] = group["full_rate"] * factor
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(self._parameters.values()), CLIP)
        self._optimiser.step()
        self._average.update()

    def _record(self, losses: list[float]) -> dict[str, Any]:
        with self._average.in_place():
            result = evaluate(self._decoder, self._held_out)
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
        state = {
            "step": self.step,
            "spent_s": self.spent_s,
            "live": {name: p.detach() for name, p in self._parameters.items()},
            "average": self._average.state()["average"],
            "optimiser": self._optimiser.state_dict(),
        }
        return copy.deepcopy(state)

    def _go_to(self, snapshot: Snapshot) -> None:
        snapshot = copy.deepcopy(snapshot)
        self.step, self.spent_s = snapshot["step"], snapshot["spent_s"]
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(snapshot["live"][name])
        self._average.restore({"average": snapshot["average"], "steps": self.step})
        self._optimiser.load_state_dict(snapshot["optimiser"])
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


def _groups(parameters: dict[str, nn.Parameter], plan: Plan) -> list[dict[str, Any]]:
    lora = [p for name, p in parameters.items() if "lora_" in name]
    whole = [p for name, p in parameters.items() if "lora_" not in name]
    return [
        {"params": lora, "full_rate": plan.lora_rate, "lr": plan.lora_rate},
        {"params": whole, "full_rate": plan.whole_rate, "lr": plan.whole_rate},
    ]
