"""How many of the boxes that people labelled are among the regions of their photographs.

    python -m scripts.evaluate.proposals --photos PHOTOS --annotations VAL

Indexes the photographs with the product's own pipeline, at most --max-regions regions each. found@t: the share of
labelled boxes (different boxes of a photograph; a box with several phrases counts once) that some region overlaps by at
least t, intersection over union. What is not found there can be found by no words.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from fcln.boxes import iou
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.labelled_collection import LabelledCollection, labelled_collection
from search.metrics import localization_recall

THRESHOLDS = (0.3, 0.5)


@click.command(help=__doc__)
@collection_options
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            overlaps = best_overlaps(labelled)
            regions = labelled.collection.region_count()
    summary = summarize(overlaps, regions)
    show(summary, lambda: table(summary), as_json=as_json)


def best_overlaps(labelled: LabelledCollection) -> list[np.ndarray]:
    """For each photograph, (G,) float64 in [0, 1]: the greatest overlap of each labelled box with a region."""
    result = []
    for photo in labelled.photos:
        (regions,) = labelled.collection.regions_of([photo.photo_id])
        boxes = [region.box for region in regions]
        result.append(iou(photo.boxes, boxes).max(axis=1))
    return result


def summarize(overlaps: Sequence[np.ndarray], regions: int) -> dict:
    """Shares of the boxes found, and how many boxes, images and regions there are."""
    every = np.concatenate(overlaps)
    return {
        **{f"found@{threshold}": localization_recall(every, threshold) for threshold in THRESHOLDS},
        "boxes": len(every),
        "images": len(overlaps),
        "regions": regions,
    }


def table(summary: dict) -> str:
    """The shares for people."""
    counts = f"{summary['boxes']} labelled boxes and {summary['regions']} regions in {summary['images']} images"
    return "\n".join([counts, "", *(f"found@{t}  {summary[f'found@{t}']:.3f}" for t in THRESHOLDS)])


if __name__ == "__main__":
    main()
