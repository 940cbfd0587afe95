"""Predictor and Regions: PIL images in, numpy out. Owns the device, resizing and batching."""

import os
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fcln.agreement import Precision
from fcln.backbone_runner import BackboneRunner
from fcln.checkpoint import Checkpoint, load_checkpoint
from fcln.device import resolved
from fcln.errors import DeviceError
from fcln.lanes import Lanes
from fcln.modeling.backbone import STRIDE
from fcln.modeling.boxes import resize_shape
from fcln.modeling.fcln import whole_boxes
from fcln.modeling.int8_linear import can_multiply_int8
from fcln.modeling.language_model import LanguageModel
from fcln.modeling.neutral_words import NeutralWords
from fcln.modeling.normalization import normalize
from fcln.naming import SHARE_OF_TERMS, Naming
from fcln.precision import autocast, has_bfloat16
from fcln.vocabulary import MAX_PHRASE_WORDS, SPECIAL
from fcln.weights_file import checkpoint_digest

# Log-likelihoods are computed for this many regions at a time: on a CPU as many as leave their 3,000 words' scores in
# its cache (512 take half again as long), on a GPU as many as keep it busy.
_CHUNK = {"cpu": 256, "cuda": 8192}
# Photographs that go through the network together on a CPU: more gain nothing (97 ms of CPU a photograph in fours and
# in sixteens, 102 in twos) and take memory.
CPU_BATCH = 4
# And on a GPU: as many as keep it busy, in few enough for others to be resized and named meanwhile.
GPU_BATCH = 32
# Groups of them that are on the way at one moment: one is resized, one is in the network, one is put into words.
_GPU_LANES = 3
# Images that are regions themselves go through the network this many at a time: bounds memory.
_IMAGES = {"cpu": 16, "cuda": GPU_BATCH}
# Threads that resize photographs for a GPU.
_RESIZING = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class Regions:
    """Regions of one photograph, N >= 1 of them."""

    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2, pixels of the image given, 0 <= x1 < x2 <= width
    scores: np.ndarray  # (N,) float32, final objectness in [0, 1]
    codes: np.ndarray  # (N, code_size) float16, region codes: what log_likelihood takes
    embeddings: np.ndarray  # (N, embedding_size) float32, unit length
    phrases: list[str]  # N generated phrases, may be ""


class Predictor:
    """A trained network, ready to describe photographs and to score phrases. Safe to share between threads."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        digest: str,
        *,
        device: str = "auto",
        runtime: str = "auto",
        regions: str = "auto",
    ):
        device = resolved(device)
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("PyTorch finds no CUDA GPU here: use --device cpu, or auto.")
        self.device = torch.device(device)
        self.digest = digest
        self.config = checkpoint.model.config
        self.embedding_size = self.config.embedding_size
        self.code_size = self.config.code_size
        self.vocabulary = checkpoint.vocabulary
        self.pieces = checkpoint.pieces
        self.word_uses = checkpoint.word_uses
        self.scoring = checkpoint.scoring
        self.names = checkpoint.names
        self._terms = checkpoint.terms
        answers = checkpoint.scoring.answers
        usual = answers.usual_similarities if answers else None
        self._naming = Naming(
            checkpoint.names,
            partial(self.encode_phrases, term_share=0),
            self.device,
            usual,
            partial(self.encode_phrases, term_share=SHARE_OF_TERMS),
        )
        words = self.vocabulary.words
        self._neutral = NeutralWords.of(words, size=len(self.vocabulary), first=len(SPECIAL)).to(self.device)
        self._model = checkpoint.model.eval().to(self.device)
        self._backbone = BackboneRunner(self._model, self.device, runtime=runtime)
        if regions == "auto":
            regions = regions_precision(self.device)
        self.precision = Precision(self._backbone.precision, self._backbone.runtime, regions)
        # A GPU has done with a photograph before one thread has resized the next; Pillow works beside other threads.
        self._resizing = ThreadPoolExecutor(_RESIZING, "resize")
        on_cpu = self.device.type == "cpu"
        dtype = getattr(torch, self.precision.regions)
        self._lanes = Lanes(torch.get_num_threads() if on_cpu else _GPU_LANES)
        self._at_once = CPU_BATCH if on_cpu else GPU_BATCH
        self._streams = threading.local()  # of a GPU: each thread has its own
        if on_cpu:
            self._model.prepare_inference(dtype)
        if not on_cpu or dtype == torch.int8:
            self._model.language.prepare_inference(dtype)
        if not on_cpu:
            torch.cuda.synchronize(self.device)  # other streams do not wait for the weights

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        device: str = "auto",
        describes: bool = True,
        runtime: str = "auto",
        regions: str = "auto",
    ) -> "Predictor":
        """The network of a weights file; None: the embedded default. device: "auto", "cpu" or "cuda".

        describes: False for one that is only asked about phrases, and ready in half the time.
        runtime, regions: see `BackboneRunner` and `Precision`; "auto": the fastest that is as good.

        Raises CheckpointError, one sentence, if the file is missing, damaged or of another version; DeviceError if the
        device or the runtime that is asked for is not there.
        """
        checkpoint = load_checkpoint(path, backbone=describes)
        return cls(checkpoint, checkpoint_digest(path), device=device, runtime=runtime, regions=regions)

    @torch.inference_mode()
    def describe(self, images: Sequence[Image.Image], *, max_regions: int = 50) -> list[Regions]:
        """The regions of upright RGB images of any sizes, at most max_regions each, in the order given.

        Of each photograph the best score comes first, and the whole photograph is always a region.
        Photographs that the network sees at one size go through it together, a few on a CPU and more on a GPU, and
        several such groups side by side, each in a thread.
        """
        if max_regions < 1:
            raise ValueError("max_regions must be at least 1")
        result: dict[int, Regions] = {}

        def describe(size: tuple[int, int], numbers: list[int]) -> None:
            with torch.inference_mode(), self._stream():  # which each thread enters by itself
                found = self._describe([images[n] for n in numbers], size, max_regions)
            result.update(zip(numbers, found, strict=True))

        most = min(self._at_once, -(-len(images) // self._lanes.count))
        parts = [
            (size, numbers[n : n + most])
            for size, numbers in self._by_size(images).items()
            for n in range(0, len(numbers), most)
        ]
        self._lanes.run(describe, sorted(parts, key=lambda part: len(part[1]), reverse=True))
        return [result[number] for number in range(len(images))]

    @property
    def batch_size(self) -> int:
        """How many photographs to give to `describe` at a time: with more it is no faster."""
        return 16 if self.device.type == "cpu" else 6 * GPU_BATCH

    @property
    def batches_at_once(self) -> int:
        """How many calls of `describe` to have at one time: while the last photographs of one are in their threads, the
        other threads are at the next."""
        return 2 if self.device.type == "cpu" and self._lanes.count > 1 else 1

    @property
    def precisions(self) -> list[str]:
        """In which ways it describes: one, as a collection remembers it."""
        return [str(self.precision)]

    @torch.inference_mode()
    def image_codes(self, images: Sequence[Image.Image]) -> np.ndarray:
        """The region codes of upright RGB images of any sizes, each as a whole: (N, code_size) float16.

        What the paper's Image RNNs see (FCLNConfig.image_rnn), of photographs or of crops, and what tells embeddings
        what is around a region (`fcln.training.scene`).
        """
        codes = np.empty((len(images), self.code_size), np.float16)
        most = _IMAGES[self.device.type]
        for size, numbers in self._by_size(images).items():
            for start in range(0, len(numbers), most):
                some = numbers[start : start + most]
                with self._autocast():
                    features, sizes = self._features([images[n] for n in some], size)
                    found = self._model.codes(self._model.maps(features), sizes, whole_boxes(sizes))
                codes[some] = found[:, 0].float().cpu().numpy()
        return codes

    def _stream(self) -> AbstractContextManager:
        """On a GPU: what this thread computes stands in a queue of its own, beside those of other threads."""
        if self.device.type != "cuda":
            return nullcontext()
        if not hasattr(self._streams, "own"):
            self._streams.own = torch.cuda.Stream(self.device)
        return torch.cuda.stream(self._streams.own)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, enabled=self.precision.regions != "float32")

    def _by_size(self, images: Sequence[Image.Image]) -> dict[tuple[int, int], list[int]]:
        """The numbers of the images that the network sees at one size, by that size (width, height)."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, image in enumerate(images):
            by_size[resize_shape(*image.size, self.config.image_size, STRIDE)].append(number)
        return by_size

    def _describe(self, images: Sequence[Image.Image], size: tuple[int, int], max_regions: int) -> list[Regions]:
        with self._autocast():
            features, sizes = self._features(images, size)
            detections = self._model.detect(features, sizes, max_regions=max_regions)
        codes = torch.cat([d.codes for d in detections])
        counts = [len(d.codes) for d in detections]
        whole = torch.cat([d.whole.expand(count, -1) for d, count in zip(detections, counts, strict=True)])
        embeddings, phrases = self._read(codes, whole)
        # One way from a GPU for all of them: each of its own would be waited for.
        all_boxes = torch.cat([d.boxes for d in detections]).cpu().numpy()
        scores = torch.cat([d.scores for d in detections]).cpu().numpy()
        halves = codes.to(torch.float16).cpu().numpy()
        found, start = [], 0
        for image, detection in zip(images, detections, strict=True):
            rows = slice(start, start + len(detection.boxes))
            found.append(
                Regions(
                    boxes=_full_boxes(all_boxes[rows], image, size),
                    scores=scores[rows],
                    codes=halves[rows],
                    embeddings=embeddings[rows],
                    phrases=phrases[rows],
                )
            )
            start = rows.stop
        return found

    @torch.inference_mode()
    def describe_boxes(self, image: Image.Image, boxes: np.ndarray) -> Regions:
        """The regions that given boxes of an upright RGB image make, in the order given; no box is moved.

        boxes: (N, 4) floats, N >= 1, x1 y1 x2 y2, pixels of the image, 0 <= x1 < x2 <= width.
        """
        boxes = np.asarray(boxes, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
            raise ValueError(f"boxes must be (N, 4) with N >= 1, not {boxes.shape}")
        size = resize_shape(*image.size, self.config.image_size, STRIDE)
        seen = torch.from_numpy(boxes / _scale(image, size)).to(self.device)
        with self._autocast():
            features, sizes = self._features([image], size)
            both = torch.cat([whole_boxes(sizes), seen[None]], dim=1)
            codes = self._model.codes(self._model.maps(features), sizes, both)[0]
            scores, _ = self._model.recognition.score_and_offset(codes[1:])
        whole, codes = codes[:1].float(), codes[1:].float()
        embeddings, phrases = self._read(codes, whole.expand(len(codes), -1))
        return Regions(
            boxes=boxes,
            scores=scores.sigmoid().cpu().numpy(),
            codes=codes.cpu().numpy().astype(np.float16),
            embeddings=embeddings,
            phrases=phrases,
        )

    @torch.inference_mode()
    def propose(self, image: Image.Image, *, count: int) -> np.ndarray:
        """What the localization layer would have looked at (paper 3.2): boxes before they are judged and refined.

        Returns (N, 4) float32, N <= count, best first, x1 y1 x2 y2, pixels of the image, 0 <= x1 < x2 <= width. The
        whole photograph, which `describe` always adds, is not among them.
        """
        size = resize_shape(*image.size, self.config.image_size, STRIDE)
        with self._autocast():
            features, sizes = self._features([image], size)
            anchors = self._model.localize(self._model.maps(features))
            (boxes,), _ = self._model.proposals(anchors, sizes, count=count)
        return _full_boxes(boxes.cpu().numpy(), image, size)

    def _features(self, images: Sequence[Image.Image], size: tuple[int, int]) -> tuple[list[Tensor], Tensor]:
        """The model's features of images seen at one size, and (B, 2) float32 of that size."""
        batch = normalize(self._upload(self._resized(images, size)).permute(0, 3, 1, 2))
        sizes = torch.full((len(images), 2), size[0], dtype=torch.float32, device=self.device)
        sizes[:, 1] = size[1]  # filled there: numbers from here would be waited for
        maps = self._backbone(batch)
        if self.precision.regions == "float32":  # whatever the backbone computes in
            maps = [each.float() for each in maps]
        return maps, sizes

    def _resized(self, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
        """Images at the size that the network sees, (B, height, width, 3) uint8, where a GPU can fetch them itself."""
        on_gpu = self.device.type == "cuda"
        pixels = torch.empty((len(images), size[1], size[0], 3), dtype=torch.uint8, pin_memory=on_gpu)
        rows = pixels.numpy()

        def resize(number: int) -> None:
            image = images[number]
            image = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
            rows[number] = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))

        # On a CPU other photographs are described beside these: see Lanes.
        list((self._resizing.map if on_gpu else map)(resize, range(len(images))))
        return pixels

    def _upload(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, non_blocking=True)

    def _read(self, codes: Tensor, whole: Tensor) -> tuple[np.ndarray, list[str]]:
        """Embeddings (N, embedding_size) float32 and phrases of regions.

        codes, whole: (N, code_size) float32, of the regions and of each one's whole photograph.
        """
        with self._autocast():
            tokens = self._model.language.generate(codes, length=self.config.max_words, neutral=self._neutral).cpu()
        alone = self._model.embed(codes)
        embeddings = self._model.embed_in_scene(alone, whole).cpu().numpy()
        # A region is called what it shows itself, whatever else the photograph shows.
        phrases = self._naming([self.vocabulary.decode(row) for row in tokens.tolist()], alone.cpu().numpy())
        return embeddings, phrases

    @torch.inference_mode()
    def encode_phrases(self, phrases: Sequence[str], *, term_share: float = 1.0) -> np.ndarray:
        """Phrases in the space of region embeddings: (Q, embedding_size) float32, unit length.

        Those that ask for a thing which has a vector of its own (`fcln.term_vectors`) get that. term_share: its share
        beside what the phrase encoder says; 0: that alone.
        """
        if not phrases:
            return np.zeros((0, self.embedding_size), np.float32)
        encoded = self._model.phrases(torch.from_numpy(self.pieces.encode(phrases)).to(self.device)).cpu().numpy()
        return self._terms.put_into(encoded, phrases, share=term_share) if term_share else encoded

    @torch.inference_mode()
    def log_likelihood(self, phrases: Sequence[str], codes: np.ndarray) -> np.ndarray:
        """log P(phrase | region), END included, words outside the vocabulary as UNK (paper, retrieval section).

        codes: (N, code_size) float16 or float32. Returns (Q, N) float32, natural logarithms.

        Raises ValueError for a phrase without a word, or of more than MAX_PHRASE_WORDS.
        """
        tokens = [self.tokens(phrase) for phrase in phrases]
        scores = np.empty((len(phrases), len(codes)), np.float32)
        size = _CHUNK[self.device.type]
        for start in range(0, len(codes) if phrases else 0, size):
            rows = slice(start, start + size)
            chunk = torch.from_numpy(codes[rows].astype(np.float32)).to(self.device)
            scores[:, rows] = self.language.log_likelihood(chunk, tokens).cpu().numpy()
        return scores

    def word_log_likelihoods(self, phrase: str, code: np.ndarray) -> np.ndarray:
        """log p(w_t | w_<t, region) of each word of a phrase, END last: the terms of `log_likelihood`.

        code: (code_size,) float16 or float32. Returns (T + 1,) float32, natural logarithms. Raises ValueError as that
        does.
        """
        tokens = torch.tensor([self.tokens(phrase)], dtype=torch.int64, device=self.device)
        codes = torch.from_numpy(code.astype(np.float32))[None].to(self.device)
        with torch.no_grad():
            return self.language(codes, tokens)[0].cpu().numpy()

    @property
    def language(self) -> LanguageModel:
        """The language model behind `log_likelihood`, on this predictor's device."""
        return self._model.language

    def tokens(self, phrase: str) -> list[int]:
        """The word ids of a phrase that the language model is to score, words outside the vocabulary as UNK.

        Raises ValueError for one without a word, or of more than MAX_PHRASE_WORDS.
        """
        tokens = self.vocabulary.encode(phrase)
        if not tokens:
            raise ValueError(f"{phrase!r} holds no word")
        if len(tokens) > MAX_PHRASE_WORDS:
            raise ValueError(f"a phrase of {len(tokens)} words: at most {MAX_PHRASE_WORDS} are scored")
        return tokens


def regions_precision(device: torch.device) -> str:
    """In what the recognition network runs on a device unless told otherwise: int8, bfloat16 or float32."""
    if device.type == "cpu" and can_multiply_int8():
        return "int8"
    return "bfloat16" if has_bfloat16(device.type) else "float32"


def _scale(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """(4,) float32: pixels of the image to one of the network's input, for x1 y1 x2 y2."""
    return np.array([*image.size, *image.size], np.float32) / np.array([*size, *size], np.float32)


def _full_boxes(boxes: np.ndarray, image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Boxes of the network's input as boxes of the image, (N, 4) float32 each."""
    # float32 rounds some widths up on the way to the network's frame and back
    return np.minimum(boxes * _scale(image, size), np.array([*image.size, *image.size], np.float32))
