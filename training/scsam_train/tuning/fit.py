"""Trains copies of the adapter by simulated annotation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from napari_scsam.core.errors import ModelError
from napari_scsam.models import trainable_parameters
from scsam_train.decoding import Decoder
from scsam_train.episode_loss import answer, episode_loss, frozen_decoder
from scsam_train.episodes import Embedded, Episode, Habits, advance, begin
from scsam_train.schedules import WARM_UP, learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from peft import PeftModel

    from napari_scsam.core.settings import TuneSettings

# Few steps: most of them are about the first clicks, and some about boxes, which must stay. Most
# come with what is known of the class; one that nothing is known of will be clicked on, too.
HABITS = Habits(
    starts={"click": 0.74, "box": 0.18, "several": 0.04, "scribble": 0.04},
    lengths=((1, 0.35), (2, 0.3), (4, 0.35)),
    box_alone=0.7,
    primed=0.8,
)
UNDER_WAY = 3
CLIP = 1.0
DISTIL = 0.5
LEAST_STEPS = 3


class Tuner:
    """One network and the copies of its adapter that are trained in it by turns.

    Parameters
    ----------
    model : PeftModel
        The shipped SAM with a fresh adapter.
    settings : TuneSettings
    check : callable
        Called before each step; raises Cancelled.
    """

    def __init__(self, model: PeftModel, settings: TuneSettings, check: Callable[[], None]) -> None:
        self.decoder = Decoder(model)
        self.shipped = frozen_decoder(model)
        self._settings, self._check = settings, check
        self._parameters = trainable_parameters(model)
        self._fresh = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._learned = dict(self._fresh)
        self._sum = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._copies = 0
        self.steps = 0

    def train_copy(self, corpus: Sequence[Embedded], seconds: float) -> None:
        """Train a new copy, which takes the place of the one before in the network.

        Parameters
        ----------
        corpus : sequence of Embedded
        seconds : float
            Ends after so many, or after the settings' steps.
        """
        self._load(self._fresh)
        self._train(corpus, seconds)
        for name, learned in self._learned.items():
            self._sum[name] += learned

    def train_last(self, corpus: Sequence[Embedded], seconds: float) -> None:
        """Go on from the mean of the copies so far, which together have seen all planes.

        The mean of models tuned from the same weights is mostly better than each of them
        (Wortsman et al., ICML 2022).
        """
        self._load({name: total / self._copies for name, total in self._sum.items()})
        self._train(corpus, seconds)

    def _train(self, corpus: Sequence[Embedded], seconds: float) -> None:
        rng = np.random.default_rng([self._settings.seed, self._copies])
        optimiser = torch.optim.AdamW(self._parameters.values(), weight_decay=0.0)
        under_way: list[Episode] = []
        began, step, done = time.monotonic(), 0, 0.0
        while done < 1 or step < LEAST_STEPS:
            self._check()
            while len(under_way) < UNDER_WAY:
                under_way.append(begin(corpus, self._settings.batch, rng, HABITS))
            episode = under_way.pop(int(rng.integers(UNDER_WAY)))
            logits, iou = answer(self.decoder, episode)
            loss = episode_loss(episode, logits, iou, self.shipped, DISTIL)
            self._descend(loss, optimiser, done)
            if episode.left > 1:
                under_way.append(advance(episode, (logits, iou), rng))
            step += 1
            done = max(step / self._settings.steps, (time.monotonic() - began) / max(seconds, 1e-3))
        self._learned = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._copies += 1
        self.steps += step

    @torch.no_grad()
    def soften(self, strength: float) -> None:
        """Keep `strength` (0..1) of what the last copy learned, and the shipped model else.

        Weights between those of a model and of its tuned copy often keep what the one could
        and what the other learned (Wortsman et al., CVPR 2022, section 3).
        """
        for name, parameter in self._parameters.items():
            # LoRA's change is the product B A, and B begins at 0: scaling B scales it.
            if "lora_A" not in name:
                parameter.copy_(torch.lerp(self._fresh[name], self._learned[name], strength))

    @torch.no_grad()
    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])

    def _descend(self, loss: torch.Tensor, optimiser: torch.optim.Optimizer, done: float) -> None:
        if not torch.isfinite(loss):
            raise ModelError(
                "Tuning diverged: its loss is no longer a number. Clicks stay as they were."
            )
        for group in optimiser.param_groups:
            group["lr"] = self._settings.rate * learning_rate(min(max(done, WARM_UP), 1.0))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(self._parameters.values()), CLIP)
        optimiser.step()
