"""The pair that a round trained: its U-Net and its adapted SAM, asked separately or together."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from scipy.special import softmax

from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.core.round_contract import ADAPTER_FOLDER, CONFIG_FILE, MANIFEST_FILE, UNET_FILE
from napari_scsam.models.checkpoint import sha256_of_file
from napari_scsam.models.clicks_to_box import carve
from napari_scsam.models.device import resolve_device
from napari_scsam.models.outline import expected_iou, log_odds, picked_parts
from napari_scsam.models.protocols import Decoded, Embedding, SamBackend
from napari_scsam.models.sam import load_sam
from napari_scsam.models.self_prompting import refined
from napari_scsam.models.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.core.settings import Device, PredictWith
    from napari_scsam.core.volume import Around

MEMBERS = ("unet", "sam")
_TINY = 1e-6
# What the U-Net's answer is mixed with: SAM's by its class tokens, or prompted by the U-Net.
Partner = Literal["sam", "prompted"]
_PARTNERS: dict[str, Partner] = {"sam": "sam", "prompted": "prompted"}
TITLES = {"unet": "U-Net", "sam": "SAM"}


class Pair:
    """A `RoundModels` in memory.

    Parameters
    ----------
    unet : UNet
    sam : SamBackend
        With class tokens for the U-Net's classes.
    unet_shares : sequence of float, optional
        For each class 0..1, the U-Net's share in the pair's probabilities; half by default.
    base : SamBackend, optional
        `sam` without its adapter: who is asked about clicks while `sam` can't follow them.
    trained : sequence of {'unet', 'sam'}
        The members that the round's recipe trained; one alone answers for the pair.
    guided : sequence of bool, optional
        For each class, whether SAM is asked once more for what the two found together, and
        its answer is the pair's (`self_prompting.refined`); for none by default.
    unknown : collection of int, optional
        Ids of classes that its round was told nothing of: neither member ever answers one.
    partner : {'sam', 'prompted'}
        Which answer of SAM's the U-Net's is mixed with: by its class tokens, or prompted by the
        U-Net's map, which a round's SAM has to have learned.
    """

    def __init__(
        self,
        unet: UNet,
        sam: SamBackend,
        unet_shares: Sequence[float] | None = None,
        base: SamBackend | None = None,
        trained: Sequence[str] = MEMBERS,
        guided: Sequence[bool] = (),
        unknown: Collection[int] = (),
        partner: Partner = "sam",
    ) -> None:
        self._unet = unet
        self._sam = sam
        self._base = base or sam
        self._trained = tuple(trained)
        self._unknown = frozenset(unknown)
        self.partner = partner
        self._weigh(unet_shares, guided)
        self._number: int | None = None
        self._latest: tuple[tuple[str, tuple[int, ...]], FloatArray] | None = None

    def _weigh(self, unet_shares: Sequence[float] | None, guided: Sequence[bool]) -> None:
        classes = len(self._unet.class_ids)
        shares = [0.5] * classes if unet_shares is None else list(unet_shares)
        self._shares = np.array([np.mean(shares), *shares], np.float32)[:, None, None]
        self._guided = tuple(guided) or (False,) * classes

    def weighed(
        self, unet_shares: Sequence[float] | None = None, guided: Sequence[bool] = ()
    ) -> Pair:
        """The same members, whose answers are joined in another way."""
        other = copy.copy(self)
        other._weigh(unet_shares, guided)
        other._latest = None
        return other

    def of_round(self, number: int | None) -> Pair:
        """The same pair, known as that of a round."""
        other = copy.copy(self)
        other._number = number
        return other

    @property
    def sam(self) -> SamBackend:
        """The adapted SAM."""
        return self._sam

    @property
    def trained(self) -> tuple[str, ...]:
        """The members that its round's recipe trained: 'unet', 'sam'."""
        return self._trained

    @property
    def joins_sam(self) -> bool:
        """Whether its U-Net answers better where it is given SAM's embedding of the plane."""
        return self._unet.sees_sam

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Classes that it knows, ascending."""
        return self._unet.class_ids

    @property
    def number(self) -> int | None:
        """Its round number in the project, if it has one."""
        return self._number

    def probabilities(
        self,
        image: NDArray[Any],
        embedding: Embedding | None = None,
        which: PredictWith = "pair",
        around: Around | None = None,
    ) -> FloatArray:
        """Class probabilities of one plane; see `RoundModels.probabilities`.

        A constant plane, such as an empty slice at the end of a volume, is background.
        """
        if np.ptp(image) == 0:
            return _background(image, len(self.class_ids))
        if which == "pair" and len(self._trained) == 1:
            which = cast("PredictWith", self._trained[0])
        if which != "pair" and which not in self._trained:
            raise ModelError(
                f"This round trained no {TITLES[which]}, only its {TITLES[self._trained[0]]}: "
                f"ask for {self._trained[0]}."
            )
        if which == "unet":
            return self._unet_probabilities(image, around, embedding)
        if which == "pair" and len(self._trained) > 1:
            embedding = embedding or self._sam.embed(image)
            unet = self._unet_probabilities(image, around, embedding)
            return self.joined(unet, self.partners(unet, embedding), embedding)
        if which == "sam":
            return self._sam_probabilities(embedding or self._sam.embed(image))
        return self.members(image, embedding, around)["pair"]

    def decode(
        self,
        image: NDArray[Any],
        embedding: Embedding,
        prompts: Prompts,
        class_id: int,
        around: Around | None = None,
        *,
        proposed: bool = False,
    ) -> Decoded:
        """Mask for one object of a class; see `RoundModels.decode`.

        A round's U-Net often knows a structure before its SAM can follow a click. Until it
        can, inside clicks pick the parts of the pair's own outline that they lie on, the base
        SAM is asked for what that outline leaves out, and outside clicks cut off.
        """
        known = class_id in self.class_ids and class_id not in self._unknown
        if self._sam.understands_points and not proposed:
            return self._sam.decode(embedding, prompts, class_id=class_id if known else None)
        if not known:
            return self._base.decode(embedding, prompts)
        if prompts.box is not None or prompts.mask is not None or not prompts.points:
            by_base = bool(prompts.points) and self._base.understands_points
            sam = self._base if by_base else self._sam
            return sam.decode(embedding, prompts, class_id=class_id)
        probabilities = self._probabilities_of(image, embedding, around)
        return self._picked(probabilities, embedding, prompts, class_id)

    def _picked(
        self, probabilities: FloatArray, embedding: Embedding, prompts: Prompts, class_id: int
    ) -> Decoded:
        """Parts of the pair's own outline of a class, as clicks pick and cut them."""
        prompts.check_inside(embedding.shape)
        own = log_odds(probabilities, 1 + self.class_ids.index(class_id))
        logits, missed = picked_parts(own, prompts)
        if missed.points:
            logits = np.maximum(logits, self._base.decode(embedding, missed).logits)
        mask = logits > 0
        spilt = mask & ~carve(mask, embedding.view, prompts)
        logits[spilt] = -np.abs(logits[spilt])
        mask = logits > 0
        return Decoded(mask, logits, expected_iou(logits, mask), "outline")

    def _probabilities_of(
        self, image: NDArray[Any], embedding: Embedding, around: Around | None
    ) -> FloatArray:
        # Every click on a slice needs them again; the latest slice is the one in view.
        key = embedding.key, tuple(hash(np.asarray(plane).tobytes()) for plane in around or ())
        if self._latest is None or self._latest[0] != key:
            self._latest = (key, self.probabilities(image, embedding, around=around))
        return self._latest[1]

    def members(
        self, image: NDArray[Any], embedding: Embedding | None, around: Around | None = None
    ) -> dict[str, FloatArray]:
        """Class probabilities by each member of the pair, as far as they were trained.

        ``unet``; ``sam``, by its class tokens alone; ``prompted``, SAM prompted by the U-Net's
        map; ``pair``, what the U-Net and its `partner` say together.
        Each as `probabilities` gives them. Without `embedding` one is made where it is needed.
        """
        found: dict[str, FloatArray] = {}
        if embedding is None and ("sam" in self._trained or self.joins_sam):
            embedding = self._sam.embed(image)
        if "unet" in self._trained:
            found["unet"] = self._unet_probabilities(image, around, embedding)
        if "sam" not in self._trained or embedding is None:
            return found | {"pair": found["unet"]}
        found["sam"] = self._sam_probabilities(embedding)
        if "unet" not in self._trained:
            return found | {"pair": found["sam"]}
        found["prompted"] = self._prompted(found["unet"], embedding)
        return found | {"pair": self.joined(found["unet"], found[self.partner], embedding)}

    def partners(self, unet: FloatArray, embedding: Embedding) -> FloatArray:
        """SAM's class probabilities that the U-Net's, `unet`, are mixed with."""
        if self.partner == "prompted":
            return self._prompted(unet, embedding)
        return self._sam_probabilities(embedding)

    def _prompted(self, unet: FloatArray, embedding: Embedding) -> FloatArray:
        """SAM's class probabilities, prompted by the U-Net's."""
        return self._refined(unet, embedding, [True] * len(self.class_ids))

    def joined(self, unet: FloatArray, sam: FloatArray, embedding: Embedding) -> FloatArray:
        """The pair's class probabilities, of its members'."""
        mixed = self._shares * unet + (1 - self._shares) * sam
        return self._refined(mixed / mixed.sum(axis=0), embedding, self._guided)

    def _refined(
        self, maps: FloatArray, embedding: Embedding, wanted: Sequence[bool]
    ) -> FloatArray:
        """Class probabilities with SAM's answers, prompted by them, for the wanted classes."""
        if not any(wanted):
            return maps
        logits = np.log(np.clip(maps, _TINY, 1))
        logits -= logits[0]
        for position, (class_id, is_wanted) in enumerate(
            zip(self.class_ids, wanted, strict=True), start=1
        ):
            if is_wanted and class_id not in self._unknown:
                odds = log_odds(maps, position)
                again = refined(self._sam, embedding, odds, class_id)
                logits[position] = logits[position] if again is None else again
        return np.asarray(softmax(logits, axis=0), dtype=np.float32)

    def _unet_probabilities(
        self, image: NDArray[Any], around: Around | None, embedding: Embedding | None
    ) -> FloatArray:
        """The U-Net's, an unknown class being background: it was never told the two apart."""
        found = self._unet.probabilities(image, around, embedding)
        for position, class_id in enumerate(self.class_ids, start=1):
            if class_id in self._unknown:
                found[0] += found[position]
                found[position] = 0
        return found

    def _sam_probabilities(self, embedding: Embedding) -> FloatArray:
        """Softmax over SAM's logits of each class, the background's being 0.

        Asked by its class tokens and what is known of the class's looks alone: while SAM has not
        learned points, one from the U-Net beside them lowers Dice on the MNI152 brain from 0.99 to
        0.16.
        """
        logits = [np.zeros(embedding.shape, np.float32)]
        for class_id in self.class_ids:
            if class_id in self._unknown:
                logits.append(np.full(embedding.shape, -np.inf, np.float32))
                continue
            logits.append(self._sam.decode(embedding, Prompts(), class_id=class_id).logits)
        return np.asarray(softmax(np.stack(logits), axis=0), dtype=np.float32)


def load_round(folder: str | Path, *, device: Device = "auto") -> Pair:
    """Load the pair of a finished round folder; see `napari_scsam.models.load_round`."""
    folder = Path(folder)
    manifest = _read_json(folder / MANIFEST_FILE)
    _verify(folder, manifest)
    config = _read_json(folder / CONFIG_FILE)
    try:
        name, checkpoint = config["settings"]["sam"], config["settings"]["sam_checkpoint"]
        shares = [float(share) for share in config["unet_shares"]]
        trained = [str(member) for member in config.get("trained", MEMBERS)]
        guided = [bool(value) for value in config.get("guided", ())]
        unknown = [int(class_id) for class_id in config.get("unknown_classes", ())]
        partner = _PARTNERS[config.get("partner", "sam")]
    except (KeyError, TypeError, ValueError) as exc:
        raise ModelError(f"{folder / CONFIG_FILE} is not the config of a round.") from exc
    sam = load_sam(name, device=device, checkpoint=checkpoint, adapter=folder / ADAPTER_FOLDER)
    unet = UNet.load(folder / UNET_FILE, resolve_device(device))
    number = int(folder.name) if folder.name.isdecimal() else None
    pair = Pair(unet, sam, shares, sam.shipped, trained, guided, unknown, partner)
    return pair.of_round(number)


def _verify(folder: Path, manifest: dict[str, Any]) -> None:
    files = manifest.get("files")
    needed = {UNET_FILE, CONFIG_FILE, f"{ADAPTER_FOLDER}/adapter_model.safetensors"}
    if not isinstance(files, dict) or not needed <= set(files):
        raise ModelError(f"{folder / MANIFEST_FILE} does not list the weights of a round.")
    for name, expected in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{folder / MANIFEST_FILE} names a file outside its folder: {name}.")
        if sha256_of_file(path) != expected:
            raise ModelError(
                f"{path} is not the file that the round wrote: it was changed or damaged. "
                "Roll back to another round, or train a new one."
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path.parent} is not a finished round: no valid {path.name}.") from exc
    if not isinstance(content, dict):
        raise ModelError(f"{path.parent} is not a finished round: no valid {path.name}.")
    return content


def _background(image: NDArray[Any], classes: int) -> FloatArray:
    probabilities = np.zeros((classes + 1, *image.shape[:2]), np.float32)
    probabilities[0] = 1
    return probabilities
