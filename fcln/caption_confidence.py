"""How sure it is of a region and of what is said of it: what dense captioning ranks by.

Our addition: the paper ranks regions by their score alone, which says how well a box fits a thing. Of several boxes
that lie on one another people want one, and the more a photograph shows, the smaller the share of it that they speak
of. So each region is judged beside the others of its photograph (rescoring by context: Felzenszwalb et al., Object
Detection with Discriminatively Trained Part-Based Models, 2010):

    confidence = sigmoid(w . (1, log-odds of its score, logarithm of its share of the photograph,
                              its largest overlap with a region of a higher score, the same with one of the same phrase,
                              logarithm of the sum of the 50 highest scores))

What search ranks by stays the score: a question may ask for what nobody would point out.
"""

from collections.abc import Sequence

import numpy as np

from fcln.boxes import iou

# Fitted on the 1,000 photographs of Flickr8k's validation set (scripts.train.caption_confidence, which judges it too).
WEIGHTS = (-0.049, 0.786, 0.109, -1.847, -2.199, -0.825)
# A build keeps so many regions of a photograph: where more are asked for, the same region is as sure.
_SUMMED = 50
_LEAST_SCORE = 1e-6
_LEAST_SHARE = 1e-4


def caption_confidences(
    boxes: np.ndarray, scores: np.ndarray, phrases: Sequence[str], size: tuple[int, int]
) -> np.ndarray:
    """Confidences of the N >= 1 regions of one photograph, (N,) float64 in [0, 1]; 0 where nothing is said.

    They estimate the share of the paper's thirty pairs of thresholds (`scripts.evaluate.dense_captioning_metric`) by
    which a region is right, on photographs whose people label six things.

    boxes: (N, 4) x1 y1 x2 y2, pixels of an image of that size (width, height). scores: (N,) in [0, 1].
    """
    return confidences_of(confidence_features(boxes, scores, phrases, size), phrases)


def confidences_of(
    features: np.ndarray, phrases: Sequence[str], weights: Sequence[float] | np.ndarray = WEIGHTS
) -> np.ndarray:
    """What `caption_confidences` says, of features (N, 6) and by other weights if they are given."""
    confidences = 1 / (1 + np.exp(-(features @ weights)))
    return np.where([bool(phrase) for phrase in phrases], confidences, 0.0)


def confidence_features(
    boxes: np.ndarray, scores: np.ndarray, phrases: Sequence[str], size: tuple[int, int]
) -> np.ndarray:
    """What a confidence is computed from, (N, 6) float64; arguments as those of `caption_confidences`."""
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    score = np.clip(scores, _LEAST_SCORE, 1 - _LEAST_SCORE)
    sides = boxes[:, 2:] - boxes[:, :2]
    share = np.maximum(sides.prod(axis=1) / (size[0] * size[1]), _LEAST_SHARE)
    place = np.empty(len(scores), np.int64)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    overlaps = np.where(place[None] < place[:, None], iou(boxes, boxes), 0.0)  # with regions of a higher score
    said = np.array(phrases)
    of_same = np.where(said[None] == said[:, None], overlaps, 0.0)
    return np.stack(
        [
            np.ones(len(scores)),
            np.log(score / (1 - score)),
            np.log(share),
            overlaps.max(axis=1),
            of_same.max(axis=1),
            np.full(len(scores), np.log(np.sort(score)[-_SUMMED:].sum())),
        ],
        axis=1,
    )
