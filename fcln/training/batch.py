"""Batch: photographs and what is known of them, as the losses read it."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B photographs and what is known of them. Boxes in pixels of the network's input.

    G: the most boxes of a photograph; Q: phrases; M: terms (see terms.Terms); T: the most words or word pieces.
    """

    images: Tensor | None  # (B, 3, H, W) uint8 RGB, padded right and below; None if features are given
    features: list[Tensor] | None  # of a frozen backbone: maps by stride, (B, C, h, w) each
    sizes: Tensor  # (B, 2) float32 width, height without padding
    boxes: Tensor  # (B, G, 4) float32, filled up with zeros
    is_box: Tensor  # (B, G) bool, which are boxes
    is_weak: Tensor  # (B, G) bool, which of them come from a detector
    complete: Tensor  # (B,) bool: people boxed what matters, so that what lies outside all boxes is background
    captions: Tensor  # (B, G, T) int64: one phrase of each box as words, padded with 0; all 0: none short enough
    whole_captions: Tensor  # (B, T) int64: a phrase of all of the photograph; all 0: none
    phrases: Tensor  # (Q, T) int64 word pieces of the batch's phrases, padded with 0
    phrase_photo: Tensor  # (Q,) int64, photograph of each phrase, 0..B-1
    phrase_boxes: Tensor  # (Q, G) bool, the boxes of each phrase in its photograph
    phrase_whole: Tensor  # (Q,) bool, phrases of all of their photograph; with neither: of something somewhere in it
    phrase_group: Tensor  # (Q,) bool, phrases that make up their photograph's query of several phrases
    also_true: Tensor  # (Q, B) bool, other photographs that are known, or likely, to have the same phrase
    names: list[str]  # B photographs' names, for messages
    tints: Tensor | None = None  # (B, 3) float32, factors of brightness, contrast and colour; None: as they are
    # From a sentence-embedding teacher, if there is one: unit vectors (zeros: not known) of the batch's phrases, and
    # more texts without photographs.
    phrase_vectors: Tensor | None = None  # (Q, D)
    texts: Tensor | None = None  # (N, T) int64 word pieces
    text_vectors: Tensor | None = None  # (N, D)
    # Names of things, if there are terms:
    terms: Tensor | None = None  # (M, T) int64 word pieces of one form of each term
    photo_terms: Tensor | None = None  # (B, M) int8: 1 it shows that, -1 it may, 0 nothing says that it does
    box_terms: Tensor | None = None  # (B, G, K) int64, terms of each box, 0..M-1, filled up with -1
    main_term: Tensor | None = None  # (B,) int64: what whole_captions names, -1: nothing
    class_terms: Tensor | None = (
        None  # (C,) int64: the term of each class of the image classifier, 0..M-1, -1: not here
    )
    # Rows of RegionTargets, if an image classifier teaches: of each box and, last, the photograph; -1: none.
    target_rows: Tensor | None = None  # (B, G + 1) int64

    def only(self, photo: int) -> "Batch":
        """The batch of one of its photographs."""
        mine = self.phrase_photo == photo
        one = slice(photo, photo + 1)

        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[one]

        return replace(
            self,
            images=cut(self.images),
            features=None if self.features is None else [maps[one] for maps in self.features],
            sizes=self.sizes[one],
            boxes=self.boxes[one],
            is_box=self.is_box[one],
            is_weak=self.is_weak[one],
            complete=self.complete[one],
            captions=self.captions[one],
            whole_captions=self.whole_captions[one],
            phrases=self.phrases[mine],
            phrase_photo=torch.zeros_like(self.phrase_photo[mine]),
            phrase_boxes=self.phrase_boxes[mine],
            phrase_whole=self.phrase_whole[mine],
            phrase_group=self.phrase_group[mine],
            also_true=self.also_true[mine, one],
            names=[self.names[photo]],
            tints=cut(self.tints),
            phrase_vectors=None if self.phrase_vectors is None else self.phrase_vectors[mine],
            photo_terms=cut(self.photo_terms),
            box_terms=cut(self.box_terms),
            main_term=cut(self.main_term),
            target_rows=cut(self.target_rows),
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device."""

        def move(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            if isinstance(value, list) and value and isinstance(value[0], Tensor):
                return [move(tensor) for tensor in value]
            return value

        return Batch(**{field.name: move(getattr(self, field.name)) for field in fields(self)})  # type: ignore[arg-type]

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, which a GPU fetches while it computes (torch's DataLoader calls this)."""
        pinned = {
            field.name: value.pin_memory()
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **pinned)  # type: ignore[arg-type]
