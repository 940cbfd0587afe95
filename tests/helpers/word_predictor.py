"""A predictor that knows six words, for tests of `search`: numpy only, every score computable by hand.

A region is a set of words. Its embedding is their unit-length sum, its code their counts; the language model gives each
word of the region the probability 0.8 / (words of the region), each other known word 0.2 / (other words), and ends for
certain.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from db.collection import open_collection
from db.records import ModelIdentity, NewPhoto
from fcln.scoring import Scoring

WORDS = ("a", "dog", "couch", "red", "lamp", "tree")


class WordPredictor:
    digest = "d" * 64
    embedding_size = code_size = len(WORDS)
    scoring = Scoring("embedding", fused_weight=0.5)
    identity = ModelIdentity(digest, embedding_size, code_size)

    def __init__(self) -> None:
        self.judged = 0  # pairs of region and phrase that the language model scored

    def encode_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        return np.stack([embedding_of(phrase) for phrase in phrases])

    def log_likelihood(self, phrases: Sequence[str], codes: np.ndarray) -> np.ndarray:
        self.judged += len(phrases) * len(codes)
        inside = codes.astype(np.float32) > 0  # (N, words)
        size = inside.sum(axis=1, keepdims=True)
        probability = np.where(inside, 0.8 / np.maximum(size, 1), 0.2 / np.maximum(len(WORDS) - size, 1))
        ids = [[WORDS.index(word) for word in phrase.split() if word in WORDS] for phrase in phrases]
        return np.stack([np.log(probability[:, i]).sum(axis=1) for i in ids]).astype(np.float32)


class SixWords:
    """The `Lexicon` of somebody who knows WORDS, and "on"; "lampp" is read as "lamp"."""

    max_phrase_words = 30

    def unknown_words(self, phrase: str) -> list[str]:
        return [word for word in phrase.split() if word not in WORDS and word != "on"]

    def substitutions(self, phrase: str) -> dict[str, str]:
        return {word: word[:-1] for word in self.unknown_words(phrase) if word[:-1] in WORDS}

    def canonical(self, phrase: str) -> str:
        return phrase

    def noun_phrases(self, question: str) -> list[str]:
        return [f"a {part}" for part in question.removeprefix("a ").split(" on ")] if question else []


def code_of(phrase: str) -> np.ndarray:
    return np.array([phrase.split().count(word) for word in WORDS], dtype=np.float16)


def embedding_of(phrase: str) -> np.ndarray:
    counts = code_of(phrase).astype(np.float32)
    return counts / max(float(np.linalg.norm(counts)), 1e-6)


def new_photo(root_id: int, path: str, regions: Sequence[str], *, width: int = 200, height: int = 100) -> NewPhoto:
    """A photograph whose regions are words; region number i is the box i, 2 i, i + 50, 2 i + 25."""
    i = np.arange(len(regions), dtype=np.float32)
    return NewPhoto(
        root_id=root_id,
        path=path,
        size=1000,
        mtime_ns=1,
        digest=hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest(),
        width=width,
        height=height,
        boxes=np.stack([i, 2 * i, i + 50, 2 * i + 25], axis=1),
        scores=np.full(len(regions), 0.5, dtype=np.float32),
        phrases=list(regions),
        codes=np.stack([code_of(region) for region in regions]),
        embeddings=np.stack([embedding_of(region) for region in regions]),
    )


def build(path: Path, root: Path, photos: Mapping[str, Sequence[str]]) -> None:
    """Make a collection, or add to one: photographs by path, each a list of regions."""
    with open_collection(path, write=True, create=True, model=WordPredictor.identity) as collection:
        root_id = collection.add_root(root)
        collection.commit(new=[new_photo(root_id, name, regions) for name, regions in photos.items()])
