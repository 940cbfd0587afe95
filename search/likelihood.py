"""Scores of regions for phrases: cosine similarity, the paper's log-likelihood, and the two fused.

A region's log-likelihood costs an LSTM step and a softmax over the vocabulary for every word: about 0.3 ms a region and
phrase of three words on two cores, a cosine a thousandth of that. A search therefore lets the language model judge what
the cosine proposes (`JUDGED_PAIRS`), and `--exact` lets it judge everything.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from db.records import RegionScores

if TYPE_CHECKING:
    from search.model import Model

# Pairs of region and phrase that the language model may judge: 240 of 0.3 ms are half of the 150 ms that a query may
# take. A question and its two noun phrases: 40 photographs.
JUDGED_PAIRS = 240
# Of each photograph, the language model judges this many regions a phrase: the closest ones by cosine.
JUDGED_REGIONS = 2
# Photographs judged however many phrases there are.
MIN_JUDGED_PHOTOS = 20


def judged_photos(phrases: int, k: int, pairs: int = JUDGED_PAIRS) -> int:
    """How many photographs the language model judges for a query of this many phrases and k hits."""
    return max(pairs // (JUDGED_REGIONS * phrases), MIN_JUDGED_PHOTOS, k)


def closest_regions(cosines: RegionScores, count: int) -> np.ndarray:
    """The regions to judge, (Q, N) bool: for each phrase, the `count` closest regions of each photograph."""
    sizes, place = cosines.sizes(), cosines.places()
    photo = np.repeat(np.arange(len(sizes)), sizes)  # (N,)
    farness = np.full((len(sizes), len(cosines.scores), sizes.max(initial=0)), np.inf, np.float32)  # side by side
    farness[photo, :, place] = -cosines.scores.T
    closest = np.argsort(farness, axis=2, kind="stable")[..., :count]
    judged = np.zeros(farness.shape, bool)
    np.put_along_axis(judged, closest, True, axis=2)
    return judged[photo, :, place].T


def log_likelihoods(
    model: "Model", phrases: Sequence[str], codes: np.ndarray, judged: np.ndarray | None = None
) -> np.ndarray:
    """log P(phrase | region) with END (paper, image retrieval), natural logarithm; -inf where a region is not judged.

    codes: (N, code_size) float16. judged: (Q, N) bool, None for all. Returns (Q, N) float32.
    """
    if judged is None:
        return model.log_likelihood(phrases, codes)
    scores = np.full(judged.shape, -np.inf, dtype=np.float32)
    for phrase, row, wanted in zip(phrases, scores, judged):
        row[wanted] = model.log_likelihood([phrase], codes[wanted])[0]
    return scores


def fuse(cosines: np.ndarray, likelihoods: np.ndarray, tokens: Sequence[int], weight: float) -> np.ndarray:
    """cosine + weight * log-likelihood / number of tokens (words and END): (Q, N) float32.

    cosines, likelihoods: (Q, N) float32; regions that were not judged stay at -inf. tokens: Q counts, so that long
    phrases do not drown the cosine.
    """
    judged = likelihoods > -np.inf
    per_token = np.where(judged, likelihoods, 0) / np.asarray(tokens, dtype=np.float32)[:, None]
    return np.where(judged, cosines + np.float32(weight) * per_token, np.float32(-np.inf))
