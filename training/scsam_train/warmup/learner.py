"""The adapter in training: its optimiser, its moving average, and the released decoder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_scsam.models import trainable_parameters
from scsam_train.decoding import Decoder
from scsam_train.episode_loss import frozen_decoder
from scsam_train.schedules import MovingAverage

if TYPE_CHECKING:
    from peft import PeftModel

# Maximum norm of the gradient. Arbitrary.
CLIP = 1.0
# Decay of the moving average of the weights (docs/explanation/warm-up.md). Arbitrary.
DECAY = 0.995


class Learner:
    """An adapter, its optimiser and its moving average.

    Parameters
    ----------
    model : PeftModel
        The released SAM with a fresh adapter.
    lora_rate, whole_rate : float
        AdamW's learning rates of the LoRA layers and of the fully trained parts.

    Attributes
    ----------
    model : PeftModel
    decoder : Decoder
        Decodes with the adapter.
    released : Decoder
        Decodes without it.
    average : MovingAverage
    """

    def __init__(self, model: PeftModel, lora_rate: float, whole_rate: float) -> None:
        self.model = model
        self.released = frozen_decoder(model)
        self.decoder = Decoder(model)
        self._parameters = trainable_parameters(model)
        self.average = MovingAverage(self._parameters, DECAY)
        groups = _groups(self._parameters, lora_rate, whole_rate)
        self._optimiser = torch.optim.AdamW(groups, weight_decay=0.01)

    def descend(self, loss: Tensor, rate: float) -> None:
        """Take an optimiser step; `rate` is the share of the full learning rates, 0..1."""
        for group in self._optimiser.param_groups:
            group["lr"] = group["full_rate"] * rate
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(self._parameters.values()), CLIP)
        self._optimiser.step()
        self.average.update()

    def averaged(self) -> dict[str, Tensor]:
        """Return a copy of the averaged weights."""
        return {name: tensor.clone() for name, tensor in self.average.state()["average"].items()}

    def snapshot(self) -> dict[str, Any]:
        """Return copies of the weights, their average and the optimiser state."""
        state = {
            "live": {name: p.detach() for name, p in self._parameters.items()},
            "average": self.average.state()["average"],
            "optimiser": self._optimiser.state_dict(),
        }
        return copy.deepcopy(state)

    def go_to(self, snapshot: dict[str, Any], steps: int) -> None:
        """Continue from a `snapshot` that was made after so many steps; it is not changed."""
        kept = copy.deepcopy({name: snapshot[name] for name in ("live", "average", "optimiser")})
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(kept["live"][name])
        self.average.restore({"average": kept["average"], "steps": steps})
        self._optimiser.load_state_dict(kept["optimiser"])


def _groups(
    parameters: dict[str, nn.Parameter], lora_rate: float, whole_rate: float
) -> list[dict[str, Any]]:
    lora = [p for name, p in parameters.items() if "lora_" in name]
    whole = [p for name, p in parameters.items() if "lora_" not in name]
    return [
        {"params": lora, "full_rate": lora_rate, "lr": lora_rate},
        {"params": whole, "full_rate": whole_rate, "lr": whole_rate},
    ]
