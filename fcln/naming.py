"""What a region is called: the language model's phrase, unless a name is much closer to what the region shows.

Our addition. The language model learnt its words from phrases with boxes, which people wrote for few kinds of things;
names of whole photographs teach the space of embeddings many more. So a phrase that is far from its region in that
space gives way to the nearest name, and where no name is near either, nothing is said. Some phrases are close to
everything, so half of what is usual for one is taken off its cosine (`AnswerCalibration.usual_similarities`). And
"a man" gives way to "a person" where that is closer: the language model is surer of such words than it is right.

On held-out photographs the phrase of the region with the highest score names what a photograph of one or two names
shows in 34 of 100 as the language model writes it and in 40 so (docs/experiments.md, which also says what counts and
what it costs dense captioning of Flickr8k).
"""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fcln.modeling.neutral_words import neutral_phrases

# A name is taken if its cosine is greater than the phrase's by more than this, each less half of what is usual for it.
# At 0.08 as many are right; at 0.12 to 0.15 fewer (38 to 37 of 100).
CLOSER = 0.1
_USUAL = 0.5
# Phrases below that cosine are hardly ever right (of labelled regions of Flickr8k 6 %, from there to 0.25 15 %).
LEAST = 0.2
# And names below this one: what is far from all names is near to odd ones, a crowd to "a red-breasted merganser".
LEAST_OF_NAMES = 0.3
# Of a thing's own vector (`fcln.term_vectors`) in that of its name. It tells photographs apart, and with more of it
# regions are called what lies around them: of 1,568 labelled boxes of everyday things 0.647 are called right without
# it and 0.648 so, of the regions with the highest scores 0.398 and 0.409 (by it alone, before calibration, 0.598 and
# 0.446). Not in those of the phrases: whether "a man" or "a person" is closer is for the encoder to say.
SHARE_OF_TERMS = 0.35
# Names that are encoded at a time: 2,000 at once take 140 MB.
_AT_ONCE = 256
# "a man" becomes "a person", "a boy" a child or a person, if that is closer by more.
NEUTRAL_CLOSER = 0.1
# Phrases whose vectors are kept: most regions say what others have said.
_KEPT = 20_000
_neutral_phrases = lru_cache(_KEPT)(neutral_phrases)


_PEOPLE = frozenset({"person", "people", "man", "men", "woman", "women", "child", "children", "boy", "girl", "baby"})
# Kinds of kinds ("superordinate categories": Rosch et al., Basic objects in natural categories, 1976): who sees a dog
# says so. They are near to everything of their kind: of 69,500 regions of Flickr8k 6,800 became "an animal", black dogs
# among them, and 2,500 "a container".
_TOO_BROAD = frozenset({"animal", "container", "vehicle", "plant", "seat", "formation", "craft", "watercraft"})


def _head(name: str) -> str:
    """The last word of a name: what it is."""
    return name.split()[-1]


def _is_broad(name: str) -> bool:
    """Whether it names a kind of kinds: "an animal", but not "a stuffed animal"."""
    words = [word for word in name.split() if word not in ("a", "an")]
    return len(words) == 1 and words[0] in _TOO_BROAD


class Naming:
    """Chooses what to say of regions. Safe to share between threads."""

    def __init__(
        self,
        names: Sequence[str],
        encode: Callable[[Sequence[str]], np.ndarray],
        device: torch.device | str = "cpu",
        usual: Callable[[np.ndarray], np.ndarray] | None = None,
        encode_names: Callable[[Sequence[str]], np.ndarray] | None = None,
    ):
        """
        Args:
            names: phrases that name things ("a giraffe").
            encode: phrases -> (Q, E) float32, unit length.
            usual: such vectors -> (Q,) the cosine that is usual for each; None: the same for all.
            encode_names: as `encode`, of the names; None: the same.
            device: where regions are compared with names. On a GPU: in a build its processors have enough to do.
        """
        self._device = device
        # Of people the language model has learnt to say more than what they are called.
        self._names = tuple(name for name in names if _head(name) not in _PEOPLE and not _is_broad(name))
        self._heads = [_head(name) for name in self._names]
        self._encode, self._encode_names = encode, encode_names or encode
        self._usual = usual or (lambda vectors: np.zeros(len(vectors)))
        # Of the names, from the first use on: (E, Q), and (Q,) what is taken off their cosines.
        self._vectors: tuple[Tensor, Tensor] | None = None
        self._first_use = threading.Lock()
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, phrases: Sequence[str], embeddings: np.ndarray) -> list[str]:
        """The phrases to keep of N regions, "" where nothing is near enough.

        phrases: N, of the language model. embeddings: (N, E) float32, unit length, of the regions.
        """
        if not self._names or not len(phrases):
            return list(phrases)
        phrases, own = self._neutral(phrases, embeddings)
        nearest, named, unusual = self._nearest(embeddings)
        closer = unusual > own - _USUAL * self._usual(self._of(phrases)) + CLOSER
        taken, near = closer & (named >= LEAST_OF_NAMES), own >= LEAST
        chosen = []
        rows = zip(phrases, nearest.tolist(), taken.tolist(), near.tolist(), strict=True)
        for phrase, name, is_taken, is_near in rows:
            # "a brown dog" says more than "a dog", however near that is.
            if is_taken and self._heads[name] not in phrase.split():
                chosen.append(self._names[name])
            else:
                chosen.append(phrase if is_near else "")
        return chosen

    @torch.inference_mode()
    def _nearest(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The index of each region's nearest name, its cosine, and that less what is usual for it: (N,) each.

        By torch, not NumPy: of several threads that describe photographs each has a core, and NumPy would multiply in
        all cores and have its threads spin for 20 ms after it.
        """
        vectors, usual = self._vectors_of_names()
        cosines = torch.from_numpy(embeddings).to(self._device) @ vectors
        best = (cosines - usual).max(1)
        named = cosines.gather(1, best.indices[:, None])[:, 0]
        return best.indices.cpu().numpy(), named.cpu().numpy(), best.values.cpu().numpy()

    def _vectors_of_names(self) -> tuple[Tensor, Tensor]:
        with self._first_use:
            if self._vectors is None:
                parts = [self._names[start : start + _AT_ONCE] for start in range(0, len(self._names), _AT_ONCE)]
                vectors = np.concatenate([self._encode_names(part) for part in parts])
                usual = torch.from_numpy((_USUAL * self._usual(vectors)).astype(np.float32))
                self._vectors = torch.from_numpy(vectors).to(self._device).T, usual.to(self._device)
            return self._vectors

    def _neutral(self, phrases: Sequence[str], embeddings: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Phrases that say no more of people than their regions show, and their cosines, (N,) float32."""
        own = np.einsum("ne,ne->n", self._of(phrases), embeddings)
        kept = list(phrases)
        others = [(n, other) for n, phrase in enumerate(phrases) for other in _neutral_phrases(phrase)]
        if others:
            rows = [n for n, _ in others]
            similarities = np.einsum("ne,ne->n", self._of([other for _, other in others]), embeddings[rows])
            enough = own + NEUTRAL_CLOSER
            for (n, other), similarity in zip(others, similarities, strict=True):
                if similarity > enough[n]:
                    kept[n], own[n], enough[n] = other, similarity, similarity
        return kept, own

    def _of(self, phrases: Sequence[str]) -> np.ndarray:
        known = self._known
        if len(known) > _KEPT:
            known = self._known = {}  # another thread may still read the full one
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in known]
        if new:
            known.update(zip(new, self._encode([phrase or "?" for phrase in new])))
        return np.stack([known[phrase] for phrase in phrases])
