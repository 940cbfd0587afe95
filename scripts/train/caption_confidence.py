"""Fit how sure it is of a region and of what is said of it (`fcln.caption_confidence` has the formula), and judge it.

\b
    python -m scripts.train.caption_confidence --photos PHOTOS --annotations VAL

Of each region that the network finds in a labelled photograph the target is the share of dense captioning's thirty
pairs of thresholds (an overlap, a METEOR) by which it is right: none, if a region of a higher score has its labelled
box. Every second photograph fits the weights that judge the others, and the other way round: mean AP and localization
AP of all of them, ranked by the score and so. The weights that are printed are those of all photographs: they go into
fcln/caption_confidence.py.

Needs Java and the package pycocoevalcap: pip install -e '.[eval]'.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from decoding.errors import PhotoError
from decoding.files import decode_file
from fcln.caption_confidence import WEIGHTS, confidence_features, confidences_of
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from scripts.evaluate.captions import labelled_captions
from scripts.evaluate.command import errors_as_sentences, network_options, show
from scripts.evaluate.dense_captioning_metric import (
    IOUS,
    METEORS,
    CaptionScorer,
    Labels,
    Prediction,
    evaluate,
    match,
    merge,
    remembered,
)
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.meteor import Meteor
from scripts.train.choose_confidence import fit_logistic

_MAX_REGIONS = 300  # as scripts.evaluate.captions judges


@dataclass(frozen=True)
class Example:
    """A photograph: what people and the network say, and what tells the right regions, N of them."""

    labels: Labels
    predicted: Prediction
    features: np.ndarray  # (N, F)


@click.command(help=__doc__)
@network_options
@click.option("--images", type=click.IntRange(4), help="The first of the photographs; default: all.")
def main(photos: Path, annotations: Path, weights: Path | None, device: str, as_json: bool, images: int | None) -> None:
    with errors_as_sentences(), Meteor() as meteor:
        photographs = load_annotations(photos, annotations)[:images]
        predictor = Predictor.load(weights, device=device)
        examples = []
        for photograph in tqdm(photographs, unit="photo", desc="Describing", mininterval=5):
            meteor.check()
            try:
                image = decode_file(photograph.path).image
            except PhotoError as error:
                click.echo(f"Left out: {photograph.path}: {error}", err=True)
                continue
            boxes, captions = labelled_captions(photograph, image.size)
            if captions:
                (found,) = predictor.describe([image], max_regions=_MAX_REGIONS)
                features = confidence_features(found.boxes, found.scores, found.phrases, image.size)
                predicted = Prediction(found.boxes, found.scores, found.phrases)
                examples.append(Example(merge(boxes, captions), predicted, features))
        if len(examples) < 4:
            raise EvaluationError("There are too few labelled photographs: four are needed.")
        report = fit_and_judge(examples, remembered(meteor))
    show(report, lambda: table(report), as_json=as_json)


def fit_and_judge(examples: Sequence[Example], closeness: CaptionScorer) -> dict:
    """The weights that all examples fit, and how halves of them judge each other's."""
    targets = [rightness(example, closeness) for example in examples]
    halves = [fit(examples[half::2], targets[half::2]) for half in (0, 1)]
    ranked = [by_confidence(example, halves[1 - number % 2]) for number, example in enumerate(examples)]
    figures = {
        name: evaluate([(example.labels, example.predicted) for example in some], closeness)
        for name, some in (("score", examples), ("confidence", ranked))
    }
    return {
        "weights": fit(examples, targets).tolist(),
        "now": list(WEIGHTS),
        "mean_ap": {name: found.mean_ap for name, found in figures.items()},
        "localization_ap": {name: found.localization_ap for name, found in figures.items()},
        "photographs": len(examples),
    }


def rightness(example: Example, closeness: CaptionScorer) -> np.ndarray:
    """The share of pairs of thresholds by which each region is right, ranked by their scores: (N,) in [0, 1]."""
    labels, predicted = example.labels, example.predicted
    found = match(predicted.boxes, predicted.scores, labels.boxes)
    candidates = np.flatnonzero(found.first & (found.overlaps >= min(IOUS)))
    said = [predicted.captions[region] for region in found.regions[candidates]]
    close = np.array(closeness(said, [labels.captions[label] for label in found.labels[candidates]]))
    located = (found.overlaps[candidates, None] >= np.array(IOUS)).mean(axis=1)
    right = np.zeros(len(predicted.captions))
    right[found.regions[candidates]] = located * (close[:, None] > np.array(METEORS)).mean(axis=1)
    return right


def fit(examples: Sequence[Example], targets: Sequence[np.ndarray]) -> np.ndarray:
    """The most likely weights, (F,)."""
    return fit_logistic(np.concatenate([example.features for example in examples]), np.concatenate(targets))


def by_confidence(example: Example, weights: np.ndarray) -> Example:
    """Ranked by what these weights say."""
    scores = confidences_of(example.features, example.predicted.captions, weights)
    return replace(example, predicted=replace(example.predicted, scores=scores))


def table(report: dict) -> str:
    """The report for people."""
    lines = [f"{report['photographs']} photographs", "", f"{'ranked by':<14}{'mean AP':>9}{'localization AP':>17}"]
    for name in ("score", "confidence"):
        lines.append(f"{name:<14}{report['mean_ap'][name]:9.2f}{report['localization_ap'][name]:17.2f}")
    fitted, now = (", ".join(f"{value:.3f}" for value in report[name]) for name in ("weights", "now"))
    return "\n".join([*lines, "", f"weights ({fitted})", f"now     ({now})"])


if __name__ == "__main__":
    main()
