"""The pair trained by a round, its U-Net and its adapted SAM, for separate or joint prediction."""

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
# Smallest probability before a logarithm. Arbitrary.
_TINY = 1e-6
# SAM output that is mixed with the U-Net's: by class tokens, or prompted by the U-Net.
Partner = Literal["sam", "prompted"]
_PARTNERS: dict[str, Partner] = {"sam": "sam", "prompted": "prompted"}
TITLES = {"unet": "U-Net", "sam": "SAM"}
# Embedding key of a slice, and hashes of its neighbours.
_SliceKey = tuple[str, tuple[int, ...]]


class Pair:
    """`RoundModels` in memory.

    Parameters
    ----------
    unet : UNet
    sam : SamBackend
        Has class tokens for the U-Net's classes.
    unet_shares : sequence of float, optional
        Weight of the U-Net in the pair, 0..1, per class; default 0.5.
    base : SamBackend, optional
        `sam` without its adapter, used for clicks if `sam` was not trained with points.
    trained : sequence of {'unet', 'sam'}
        Members that the round's recipe trained; a single one predicts for the pair.
    guided : sequence of bool, optional
        Whether SAM is prompted once more by the mixture of both members, and its prediction is
        the pair's (`self_prompting.refined`), per class; default False.
    unknown : collection of int, optional
        Ids of classes without any label in its round, which are never predicted.
    partner : {'sam', 'prompted'}
        SAM output that is mixed with the U-Net's: by class tokens, or prompted by the U-Net's map,
        for which SAM must have been trained.
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
        self.unknown = frozenset(unknown)
        self.partner = partner
        self._set_weights(unet_shares, guided)
        self._number: int | None = None
        # Of the latest slice, which is the displayed one.
        self._latest: tuple[_SliceKey, FloatArray] | None = None
        self._latest_unet: tuple[_SliceKey, FloatArray] | None = None

    def _set_weights(self, unet_shares: Sequence[float] | None, guided: Sequence[bool]) -> None:
        classes = len(self._unet.class_ids)
        shares = [0.5] * classes if unet_shares is None else list(unet_shares)
        self._shares = np.array([np.mean(shares), *shares], np.float32)[:, None, None]
        self._guided = tuple(guided) or (False,) * classes

    def weighed(
        self, unet_shares: Sequence[float] | None = None, guided: Sequence[bool] = ()
    ) -> Pair:
        """Return a pair of the same members with other weights."""
        other = copy.copy(self)
        other._set_weights(unet_shares, guided)
        other._latest = None
        return other

    def of_round(self, number: int | None) -> Pair:
        """Return the same pair with the number of its round in the project."""
        other = copy.copy(self)
        other._number = number
        return other

    def without_views(self, *, on_own_grid: bool = False) -> Pair:
        """Return the same pair whose U-Net predicts one view of a plane, not several (faster).

        With `on_own_grid` what it predicts alone is not resampled to the plane's pixels either.
        """
        other = copy.copy(self)
        other._unet = copy.copy(self._unet)
        other._unet.mirrored = other._unet.turned = False
        other._unet.on_own_grid = on_own_grid
        other._latest = other._latest_unet = None
        return other

    @property
    def sam(self) -> SamBackend:
        """The adapted SAM."""
        return self._sam

    @property
    def base(self) -> SamBackend:
        """The SAM without its adapter, on the same embeddings; `sam` if there is none."""
        return self._base

    @property
    def trained(self) -> tuple[str, ...]:
        """Members that the round's recipe trained: 'unet', 'sam'."""
        return self._trained

    @property
    def joins_sam(self) -> bool:
        """Whether its U-Net takes SAM's embedding of the plane as additional input."""
        return self._unet.sees_sam

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Its classes, ascending."""
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
        """Predict class probabilities of one plane; see `RoundModels.probabilities`.

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
            return self._pair_probabilities(image, embedding or self._sam.embed(image), around)
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
        """Segment one object of a class; see `RoundModels.decode`.

        A round's U-Net often segments a structure before its SAM can follow clicks. Until then,
        inside clicks select components of the pair's own mask, the base SAM is prompted for what
        that mask misses, and outside clicks cut parts off.
        """
        known = class_id in self.class_ids and class_id not in self.unknown
        if self._sam.understands_points and not proposed:
            return self._sam.decode(embedding, prompts, class_id=class_id if known else None)
        if not known:
            return self._base.decode(embedding, prompts)
        if prompts.box is not None or prompts.mask is not None or not prompts.points:
            by_base = bool(prompts.points) and self._base.understands_points
            sam = self._base if by_base else self._sam
            return sam.decode(embedding, prompts, class_id=class_id)
        probabilities = self.probabilities(image, embedding, around=around)
        return self._select_components(probabilities, embedding, prompts, class_id)

    def _select_components(
        self, probabilities: FloatArray, embedding: Embedding, prompts: Prompts, class_id: int
    ) -> Decoded:
        """Return the components of the pair's own mask of a class that clicks select and cut."""
        prompts.check_inside(embedding.shape)
        own = log_odds(probabilities, 1 + self.class_ids.index(class_id))
        logits, missed = picked_parts(own, prompts)
        if missed.points:
            logits = np.maximum(logits, self._base.decode(embedding, missed).logits)
        mask = logits > 0
        excluded = mask & ~carve(mask, embedding.view, prompts)
        logits[excluded] = -np.abs(logits[excluded])
        mask = logits > 0
        return Decoded(mask, logits, expected_iou(logits, mask), "outline")

    def _pair_probabilities(
        self, image: NDArray[Any], embedding: Embedding, around: Around | None
    ) -> FloatArray:
        """Predict with both; once for the proposals of a slice and all clicks on it."""
        key, latest = _key_of(embedding, around), self._latest
        if latest is None or latest[0] != key:
            unet = self._unet_probabilities(image, around, embedding)
            joined = self.joined(unet, self.partners(unet, embedding), embedding)
            self._latest = latest = (key, joined)
        return latest[1]

    def members(
        self, image: NDArray[Any], embedding: Embedding | None, around: Around | None = None
    ) -> dict[str, FloatArray]:
        """Predict class probabilities by each trained member of the pair.

        ``unet``; ``sam``, by class tokens alone; ``prompted``, SAM prompted by the U-Net's map;
        ``pair``, the mixture of the U-Net and its `partner`. Each as from `probabilities`.
        A missing `embedding` is computed if it is needed.
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
        """Return the SAM probabilities that those of the U-Net, `unet`, are mixed with."""
        if self.partner == "prompted":
            return self._prompted(unet, embedding)
        return self._sam_probabilities(embedding)

    def _prompted(self, unet: FloatArray, embedding: Embedding) -> FloatArray:
        """Predict class probabilities with SAM, prompted by the U-Net's."""
        return self._refined(unet, embedding, [True] * len(self.class_ids))

    def joined(self, unet: FloatArray, sam: FloatArray, embedding: Embedding) -> FloatArray:
        """Return the pair's class probabilities from those of its members."""
        mixed = self._shares * unet + (1 - self._shares) * sam
        return self._refined(mixed / mixed.sum(axis=0), embedding, self._guided)

    def _refined(
        self, maps: FloatArray, embedding: Embedding, wanted: Sequence[bool]
    ) -> FloatArray:
        """Replace the probabilities of the wanted classes by SAM's, prompted by them."""
        if not any(wanted):
            return maps
        logits = np.log(np.clip(maps, _TINY, 1))
        logits -= logits[0]
        for position, (class_id, is_wanted) in enumerate(
            zip(self.class_ids, wanted, strict=True), start=1
        ):
            if is_wanted and class_id not in self.unknown:
                odds = log_odds(maps, position)
                again = refined(self._sam, embedding, odds, class_id)
                logits[position] = logits[position] if again is None else again
        return np.asarray(softmax(logits, axis=0), dtype=np.float32)

    def _unet_probabilities(
        self, image: NDArray[Any], around: Around | None, embedding: Embedding | None
    ) -> FloatArray:
        """Predict with the U-Net, once for the proposals and the pair of the same slice."""
        if embedding is None:
            return self._by_unet(image, around, None)
        key = _key_of(embedding, around)
        latest = self._latest_unet
        if latest is None or latest[0] != key:
            self._latest_unet = latest = (key, self._by_unet(image, around, embedding))
        return latest[1]

    def _by_unet(
        self, image: NDArray[Any], around: Around | None, embedding: Embedding | None
    ) -> FloatArray:
        """Predict with the U-Net; unknown classes, which it can't distinguish, are background."""
        found = self._unet.probabilities(image, around, embedding)
        for position, class_id in enumerate(self.class_ids, start=1):
            if class_id in self.unknown:
                found[0] += found[position]
                found[position] = 0
        return found

    def _sam_probabilities(self, embedding: Embedding) -> FloatArray:
        """Return the softmax over SAM's logits of each class, with 0 for the background.

        Prompted by class tokens and class priors only: before SAM is trained with points, an
        additional point from the U-Net lowers Dice on the MNI152 brain from 0.99 to 0.16.
        """
        logits = [np.zeros(embedding.shape, np.float32)]
        for class_id in self.class_ids:
            if class_id in self.unknown:
                logits.append(np.full(embedding.shape, -np.inf, np.float32))
                continue
            logits.append(self._sam.decode(embedding, Prompts(), class_id=class_id).logits)
        return np.asarray(softmax(np.stack(logits), axis=0), dtype=np.float32)


def _key_of(embedding: Embedding, around: Around | None) -> _SliceKey:
    return embedding.key, tuple(hash(np.asarray(plane).tobytes()) for plane in around or ())


def load_round(folder: str | Path, *, device: Device = "auto") -> Pair:
    """Load the pair of a finished round folder; see `napari_scsam.models.load_round`."""
    folder = Path(folder)
    manifest = _read_json(folder / MANIFEST_FILE)
    _verify(folder, manifest)
    config = _read_json(folder / CONFIG_FILE)
    try:
        name, checkpoint = _sam_of(config["settings"])
        shares = [float(share) for share in config["unet_shares"]]
        trained = [str(member) for member in config.get("trained", MEMBERS)]
        guided = [bool(value) for value in config.get("guided", ())]
        unknown = [int(class_id) for class_id in config.get("unknown_classes", ())]
        partner = _PARTNERS[config.get("partner", "sam")]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as exc:
        raise ModelError(f"{folder / CONFIG_FILE} is not the config of a round.") from exc
    if not trained or not set(trained) <= set(MEMBERS):
        raise ModelError(f"{folder / CONFIG_FILE} names no trained model: {', '.join(trained)}.")
    sam = load_sam(name, device=device, checkpoint=checkpoint, adapter=folder / ADAPTER_FOLDER)
    unet = UNet.load(folder / UNET_FILE, resolve_device(device))
    classes = len(unet.class_ids)
    if len(shares) != classes or len(guided) not in (0, classes):
        raise ModelError(f"{folder / CONFIG_FILE} does not fit the {classes} classes of its U-Net.")
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


def _sam_of(settings: dict[str, Any]) -> tuple[str, str | None]:
    """Name and checkpoint of the base SAM."""
    name, checkpoint = settings["sam"], settings["sam_checkpoint"]
    if not isinstance(name, str) or not isinstance(checkpoint, str | None):
        raise TypeError(f"no names: {name!r}, {checkpoint!r}")
    return name, checkpoint


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(path)
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelError(f"{path.parent} is not a finished round: no valid {path.name}.") from exc
    if not isinstance(content, dict):
        raise ModelError(f"{path.parent} is not a finished round: no valid {path.name}.")
    return content


def _background(image: NDArray[Any], classes: int) -> FloatArray:
    probabilities = np.zeros((classes + 1, *image.shape[:2]), np.float32)
    probabilities[0] = 1
    return probabilities
