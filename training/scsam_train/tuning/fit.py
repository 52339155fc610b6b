"""Training of adapter copies on simulated annotation episodes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from napari_scsam.core.errors import ModelError
from napari_scsam.models import trainable_parameters
from scsam_train.decoding import Decoder
from scsam_train.episode_loss import decode, episode_loss, frozen_decoder
from scsam_train.episodes import Embedded, Episode, EpisodeSettings, advance, begin
from scsam_train.schedules import WARM_UP, learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from peft import PeftModel

    from napari_scsam.core.settings import TuneSettings

# Few steps: most train the first clicks, some train boxes, which must keep their quality. Most come
# with a class prior; a new class without one will be clicked as well. Arbitrary.
EPISODES = EpisodeSettings(
    starts={"click": 0.74, "box": 0.18, "several": 0.04, "scribble": 0.04},
    lengths=((1, 0.35), (2, 0.3), (4, 0.35)),
    box_alone=0.7,
    with_prior=0.8,
)
# Episodes in progress at a time, so that consecutive steps have different objects. Arbitrary.
CONCURRENT = 3
# Maximum norm of the gradient. Arbitrary.
CLIP = 1.0
# Weight of distillation from the shipped model in the loss of a box alone. Arbitrary.
DISTIL = 0.5
# Minimum number of steps, whatever the time limit. Arbitrary.
MIN_STEPS = 3


class Tuner:
    """One network, in which copies of its adapter are trained one after the other.

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
        """Train a new copy, which replaces the previous one in the network.

        Parameters
        ----------
        corpus : sequence of Embedded
        seconds : float
            Maximum duration; the settings limit the number of steps.
        """
        self._load(self._fresh)
        self._train(corpus, seconds)
        for name, learned in self._learned.items():
            self._sum[name] += learned

    def train_last(self, corpus: Sequence[Embedded], seconds: float) -> None:
        """Train on from the mean of the copies, which together were trained on all planes.

        The mean of models tuned from the same weights is mostly better than a single one
        (Wortsman et al., ICML 2022).
        """
        self._load({name: total / self._copies for name, total in self._sum.items()})
        self._train(corpus, seconds)

    def _train(self, corpus: Sequence[Embedded], seconds: float) -> None:
        rng = np.random.default_rng([self._settings.seed, self._copies])
        optimiser = torch.optim.AdamW(self._parameters.values(), weight_decay=0.0)
        episodes: list[Episode] = []
        began, step, done = time.monotonic(), 0, 0.0
        while done < 1 or step < MIN_STEPS:
            self._check()
            while len(episodes) < CONCURRENT:
                episodes.append(begin(corpus, self._settings.batch, rng, EPISODES))
            episode = episodes.pop(int(rng.integers(CONCURRENT)))
            logits, iou = decode(self.decoder, episode)
            loss = episode_loss(episode, logits, iou, self.shipped, DISTIL)
            self._descend(loss, optimiser, done)
            if episode.left > 1:
                episodes.append(advance(episode, (logits, iou), rng))
            step += 1
            done = max(step / self._settings.steps, (time.monotonic() - began) / max(seconds, 1e-3))
        self._learned = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._copies += 1
        self.steps += step

    @torch.no_grad()
    def soften(self, strength: float) -> None:
        """Keep the share `strength` (0..1) of what the last copy learned.

        Weights between those of a model and of its tuned copy often keep the abilities of both
        (Wortsman et al., CVPR 2022, section 3).
        """
        for name, parameter in self._parameters.items():
            # LoRA's change is the product B A, and B starts at 0: scaling B scales the change.
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
