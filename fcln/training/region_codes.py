"""Region codes of a trained network with what is said of the regions: all that its language model learns from.

The network above the language model need not run again: an epoch takes a minute instead of an hour.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from fcln.backbone_runner import BackboneRunner
from fcln.boxes import iou
from fcln.checkpoint import Checkpoint
from fcln.errors import DatasetError
from fcln.modeling.fcln import FCLN, whole_boxes
from fcln.modeling.normalization import normalize
from fcln.precision import autocast
from fcln.predictor import regions_precision
from fcln.training.annotations import WHOLE, AnnotatedImage, cut, read_pixels
from fcln.training.augmentation import tint
from fcln.training.loader import mirror
from fcln.training.terms import Terms

# Who says a region's phrases: people who drew its box, a detector, a name of the photograph.
PEOPLE, DETECTOR, NAME = range(3)
# A region that the network finds is called what a labelled one is called if it overlaps it by that much, as in the
# network's own training.
_SAME = 0.5
# The surest regions of a photograph that are looked at.
_REGIONS = 100
# A photograph with at most so many names shows little else.
_FEW_NAMES = 2


@dataclass(frozen=True)
class RegionCodes:
    """N regions of photographs."""

    codes: np.ndarray  # (N, code_size) float16
    phrases: Sequence[Sequence[str]]  # N, one or more each: any of them is right
    kinds: np.ndarray  # (N,) uint8: PEOPLE, DETECTOR or NAME
    overlaps: np.ndarray  # (N,) float16 IoU with the labelled box; 1: that box itself, or a name's region
    network: str  # see `network_digest`

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def read(cls, path: Path) -> "RegionCodes":
        """Raises DatasetError if the file is not one of `write`."""
        try:
            with h5py.File(path) as file:
                phrases = [json.loads(said) for said in file["phrases"].asstr()[()]]
                network = str(file.attrs["network"])
                return cls(file["codes"][()], phrases, file["kinds"][()], file["overlaps"][()], network)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path} is not a file of scripts.train.region_codes ({error}).") from error

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with h5py.File(temporary, "w") as file:
            file["codes"] = self.codes.astype(np.float16)
            file.create_dataset("phrases", data=[json.dumps(said) for said in self.phrases], dtype=h5py.string_dtype())
            file["kinds"] = self.kinds.astype(np.uint8)
            file["overlaps"] = self.overlaps.astype(np.float16)
            file.attrs["network"] = self.network
        os.replace(temporary, path)

    @classmethod
    def joined(cls, parts: Sequence["RegionCodes"]) -> "RegionCodes":
        """The regions of one or more, in that order. Raises DatasetError if they are of several networks."""
        if len({part.network for part in parts}) > 1:
            raise DatasetError("Region codes of different networks: make all of them with the same --weights.")
        return cls(
            np.concatenate([part.codes for part in parts]),
            [said for part in parts for said in part.phrases],
            np.concatenate([part.kinds for part in parts]),
            np.concatenate([part.overlaps for part in parts]),
            parts[0].network,
        )


@dataclass(frozen=True)
class View:
    """How a photograph is looked at."""

    mirrored: bool = False
    window: tuple[float, float, float, float] = WHOLE  # see read_photo
    tints: tuple[float, float, float] = (1.0, 1.0, 1.0)  # see tint


def network_digest(model: FCLN) -> str:
    """sha256, hexadecimal, of all that region codes depend on, and more: the weights outside the language model."""
    digest = hashlib.sha256(json.dumps(model.config.to_json()).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("language."):
            digest.update(np.ascontiguousarray(tensor.half().cpu().numpy()).tobytes())
    return digest.hexdigest()


class CodeReader:
    """Photographs with labels -> RegionCodes, computed as at test time."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, terms: Terms | None = None):
        """terms: names train too, and bare ones become phrases ("pizza": "a pizza")."""
        self._checkpoint = checkpoint
        self._model = checkpoint.model.eval().to(device)
        self._device = device
        self._terms = terms
        self._network = network_digest(checkpoint.model)
        self._backbone = BackboneRunner(self._model, device)
        if device.type == "cpu":
            self._model.prepare_inference(getattr(torch, regions_precision(device)))

    @torch.inference_mode()
    def __call__(self, photo: AnnotatedImage, view: View) -> RegionCodes:
        """The labelled boxes, the found regions that overlap one, and the regions that show a photograph's name.

        Of a photograph that people boxed a detector's boxes say nothing: people box what they would speak of.
        Raises DatasetError if the photograph cannot be decoded.
        """
        pixels, size = read_pixels(photo, self._model.config.image_size, window=view.window)
        if photo.window == WHOLE and view.window != WHOLE:
            photo = cut(photo, view.window)
        used = [n for n, weak in enumerate(photo.weak) if not (weak and photo.complete)]
        boxes = photo.boxes[used] / np.array([photo.width, photo.height] * 2, np.float32)
        if view.mirrored:
            pixels = pixels.flip(2)
            boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)
        boxes = boxes * np.array([*size, *size], np.float32)
        tinted = tint(pixels[None].to(self._device), self._tints(view))
        codes, found_boxes, found_codes = self._read(tinted, boxes, size)

        said = [[self._say(phrase, view.mirrored) for phrase in photo.phrases[n]] for n in used]
        kinds = [DETECTOR if photo.weak[n] else PEOPLE for n in used]
        rows, overlaps = [codes[: len(used)]], [1.0] * len(used)
        if used:
            overlap = iou(found_boxes, boxes)
            best = overlap.argmax(1)
            near = np.flatnonzero(overlap.max(1) >= _SAME)
            rows.append(found_codes[near])
            said += [said[n] for n in best[near]]
            kinds += [kinds[n] for n in best[near]]
            overlaps += overlap.max(1)[near].tolist()
        if (name := self._name(photo)) is not None:
            answer = self._answer(name, found_codes)
            rows += [codes[len(used) :], found_codes[answer : answer + 1]]
            said += [[name], [name]]
            kinds += [NAME, NAME]
            overlaps += [1.0, 1.0]
        return RegionCodes(
            torch.cat(rows).half().cpu().numpy(),
            said,
            np.array(kinds, np.uint8),
            np.array(overlaps, np.float16),
            self._network,
        )

    def _tints(self, view: View) -> Tensor:
        return torch.tensor([view.tints], device=self._device)

    def _read(self, pixels: Tensor, boxes: np.ndarray, size: tuple[int, int]) -> tuple[Tensor, np.ndarray, Tensor]:
        """Codes of boxes and of the whole, boxes of found regions, their codes; boxes in pixels of the input."""
        model, sizes = self._model, torch.tensor([size], dtype=torch.float32, device=self._device)
        with autocast(self._device):
            features = self._backbone(normalize(pixels))
            given = torch.cat([torch.from_numpy(boxes).to(sizes)[None], whole_boxes(sizes)], 1)
            codes = model.codes(model.maps(features), sizes, given)[0].float()
            (found,) = model.detect(features, sizes, max_regions=_REGIONS)
        return codes, found.boxes.float().cpu().numpy(), found.codes

    def _say(self, phrase: str, mirrored: bool) -> str:
        if self._terms is not None and (term := self._terms.of_phrase(phrase)) is not None:
            forms = self._terms.forms[term]
            phrase = forms[0] if phrase in forms else phrase
        return mirror(phrase) if mirrored else phrase

    def _name(self, photo: AnnotatedImage) -> str | None:
        """What is said of the whole photograph, and of the region that answers to it; None: nothing."""
        if self._terms is None or not photo.names or len(photo.names) > _FEW_NAMES:
            return None
        if photo.window != WHOLE and len(photo.names) > 1:  # the window may not show the first
            return None
        named = self._terms.of_image.get(photo.image_id)
        return self._terms.forms[named[0]][0] if named else None

    def _answer(self, name: str, codes: Tensor) -> int:
        pieces = torch.from_numpy(self._checkpoint.pieces.encode([name])).to(self._device)
        return int((self._model.embed(codes) @ self._model.phrases(pieces)[0]).argmax())
