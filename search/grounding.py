"""Where a photograph answers a phrase: pure functions over the scores of its regions.

How well a photograph answers is its best region's score (`search.ranking`). Where, the scores alone say less well: half
a dog is as similar to "a dog" as the whole one is. The objectness knows better which of the two is a thing, so both
choose the region together. On `val`, of all phrases of three words or more: localization@0.5 0.650 instead of 0.581.
"""

from dataclasses import replace

import numpy as np

from search.ranking import RegionScores

# How many of a score's units one unit of the objectness' log-odds is worth: about what `scripts.choose_confidence` fits
# for similarities (0.043; from 0.02 to 0.06 localization@0.5 differs by 0.01). For likelihoods, natural logarithms too:
# P(it is a thing) P(phrase | region).
OBJECTNESS_WEIGHT = {"embedding": 0.04, "likelihood": 1.0, "fused": 0.04}

# Objectness closer to 0 or 1 says no more than this; float32 rounds some to exactly 1.
_LEAST = 1e-4


def log_odds(objectness: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of probabilities of any shape, float64."""
    certain = np.clip(np.asarray(objectness, dtype=np.float64), _LEAST, 1 - _LEAST)
    return np.log(certain / (1 - certain))


def grounded(regions: RegionScores, objectness: np.ndarray, scoring: str) -> RegionScores:
    """The same regions, chosen by their objectness too. objectness: (N,) in [0, 1], of the regions."""
    return replace(regions, grounding=regions.scores + OBJECTNESS_WEIGHT[scoring] * log_odds(objectness))
