"""Dense captioning (paper, Table 1): how good the regions are that the network finds, and what it writes of them.

    python -m scripts.evaluate.captions --photos PHOTOS --annotations VAL

mean AP: a region is right if its box overlaps a labelled one by IoU 0.3, 0.4, 0.5, 0.6 or 0.7 and its caption has a
METEOR of more than 0, 0.05, 0.1, 0.15, 0.2 or 0.25 with what people wrote of that box; average precision, per cent,
over the 30 pairs (dense_captioning_metric.py). localization AP: the same for the boxes alone. METEOR: the captions
alone, the mean over all regions of each against all that people wrote of its photograph; the surest regions read best,
so it falls with --max-regions. All that twice: with the boxes that the network finds, and with the labelled ones (boxes
of one thing merged) given to it. box recall: the share of labelled boxes that one of the first k proposals of the
localization layer overlaps.

Regions are ranked as `search describe` ranks them (fcln.caption_confidence); the paper and its code rank by the score
of the box alone, as --rank-by score does. Labelled boxes that are given are ranked by their scores: none is another's
duplicate.

--suppression judges the network as another than search uses it: of two regions that overlap by more, only the one of
the higher score is left. The weights' own (0.48) is what search wants, things that overlap; the released code judges at
0.3. Ranked by score, fewer regions of one thing mean a higher mean AP (0.3: 15.0 in place of 14.3 on `val`).

People label a few of the things in a photograph, and a region of something else counts as wrong: figures compare
networks on one data set, and say nothing between data sets. References are lower-case words without punctuation, as the
released code's, but words that the network does not know stay what they are: its <UNK> would make them depend on it.

Needs Java and the package pycocoevalcap: pip install -e '.[eval]'.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from decoding.errors import PhotoError
from decoding.files import decode_file
from fcln.boxes import iou
from fcln.caption_confidence import caption_confidences
from fcln.checkpoint import load_checkpoint
from fcln.predictor import Predictor
from fcln.training.annotations import AnnotatedImage, load_annotations
from fcln.vocabulary import words_of
from fcln.weights_file import checkpoint_digest
from scripts.evaluate.command import errors_as_sentences, network_options, show
from scripts.evaluate.dense_captioning_metric import (
    METEORS,
    CaptionScorer,
    Figures,
    Labels,
    Prediction,
    evaluate,
    merge,
)
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.meteor import Meteor
from search.metrics import localization_recall

PROPOSALS = (10, 50, 100, 300)
RECALL_IOUS = (0.3, 0.5, 0.7)
MAX_WORDS = 15  # longer phrases are left out, as the released preprocess.py does


@dataclass(frozen=True)
class Described:
    """One photograph: what people and the network say about it."""

    labels: Labels
    predicted: Prediction  # boxes found by the network
    given: Prediction  # of the labelled boxes
    proposal_overlaps: dict[int, np.ndarray]  # by number of proposals: (B,) the best overlap of each labelled box


@click.command(help=__doc__)
@network_options
@click.option("--images", type=click.IntRange(1), help="The first of the photographs; default: all.")
@click.option(
    "--max-regions", type=click.IntRange(1), default=300, show_default=True, help="That are judged, of a photograph."
)
@click.option("--suppression", type=click.FloatRange(0, 1), help="IoU; default: the weights' own.")
@click.option("--rank-by", type=click.Choice(["confidence", "score"]), default="confidence", show_default=True)
def main(photos: Path, annotations: Path, weights: Path | None, device: str, as_json: bool, images: int | None,
         max_regions: int, suppression: float | None, rank_by: str) -> None:  # fmt: skip
    with errors_as_sentences(), Meteor() as meteor:
        photographs = load_annotations(photos, annotations)[:images]
        checkpoint = load_checkpoint(weights)
        if suppression is not None:
            checkpoint.model.config = replace(checkpoint.model.config, final_nms_iou=suppression)
        predictor = Predictor(checkpoint, checkpoint_digest(weights), device=device)
        described = []
        for photograph in tqdm(photographs, unit="photo", desc="Describing", mininterval=5):
            meteor.check()  # describing takes long, and would be for nothing
            try:
                described.append(describe(photograph, predictor, max_regions, by_score=rank_by == "score"))
            except (PhotoError, EvaluationError) as error:
                click.echo(f"Left out: {photograph.path}: {error}", err=True)
        if not described:
            raise EvaluationError("No photograph is left to judge by.")
        summary = summarize(described, meteor)
    show(summary, lambda: table(summary), as_json=as_json)


def describe(photograph: AnnotatedImage, predictor: Predictor, max_regions: int, *, by_score: bool) -> Described:
    """What people and the network say about a photograph. by_score: how found regions are ranked.

    Raises PhotoError if its file cannot be decoded, EvaluationError if people said nothing that can be compared.
    """
    image = decode_file(photograph.path).image
    boxes, captions = labelled_captions(photograph, image.size)
    if not captions:
        raise EvaluationError(f"it has no phrase of 1 to {MAX_WORDS} words.")
    labels = merge(boxes, captions)
    (regions,) = predictor.describe([image], max_regions=max_regions)
    proposals = predictor.propose(image, count=max(PROPOSALS))
    overlaps = iou(np.unique(boxes, axis=0), proposals)
    ranks = regions.scores
    if not by_score:
        ranks = caption_confidences(regions.boxes, regions.scores, regions.phrases, image.size)
    given = predictor.describe_boxes(image, labels.boxes)
    return Described(
        labels,
        Prediction(regions.boxes, ranks, regions.phrases),
        Prediction(given.boxes, given.scores, given.phrases),
        {count: overlaps[:, :count].max(axis=1) for count in PROPOSALS},
    )


def labelled_captions(photograph: AnnotatedImage, size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """What people labelled, a row for each phrase: boxes (R, 4) float32 in pixels of an image of that size, words."""
    scale = np.array([size[0] / photograph.width, size[1] / photograph.height] * 2, np.float32)
    rows = [
        (box * scale, " ".join(words))
        for box, phrases in zip(photograph.boxes, photograph.phrases, strict=True)
        for words in map(words_of, phrases)
        if 0 < len(words) <= MAX_WORDS
    ]
    return np.array([box for box, _ in rows], np.float32).reshape(-1, 4), [caption for _, caption in rows]


def summarize(described: Sequence[Described], closeness: CaptionScorer) -> dict:
    """The figures of the predicted and of the labelled boxes, and the recall of proposals, as the JSON says them."""
    overlaps = {k: np.concatenate([photo.proposal_overlaps[k] for photo in described]) for k in PROPOSALS}
    return {
        "predicted_boxes": _named(evaluate([(photo.labels, photo.predicted) for photo in described], closeness)),
        "labelled_boxes": _named(evaluate([(photo.labels, photo.given) for photo in described], closeness)),
        "box_recall": {str(k): {str(t): localization_recall(overlaps[k], t) for t in RECALL_IOUS} for k in PROPOSALS},
        "images": len(described),
        "boxes": len(overlaps[PROPOSALS[0]]),
    }


def _named(figures: Figures) -> dict:
    """With the thresholds as strings, which is what JSON's keys are."""
    ap = {str(t): {str(m): value for m, value in row.items()} for t, row in figures.ap.items()}
    located = {str(t): value for t, value in figures.localization_ap_at.items()}
    return {**asdict(figures), "ap": ap, "localization_ap_at": located}


def table(summary: dict) -> str:
    """The figures for people."""
    predicted, labelled = summary["predicted_boxes"], summary["labelled_boxes"]
    lines = [
        f"{summary['images']} images, {summary['boxes']} labelled boxes, {predicted['labels']} merged ones, "
        f"{predicted['regions']} regions found",
        "",
        f"{'':<20}{'mean AP':>9}{'METEOR':>9}{'localization AP':>17}",
    ]
    for name, figures in (("predicted boxes", predicted), ("labelled boxes", labelled)):
        lines.append(f"{name:<20}{figures['mean_ap']:9.2f}{figures['meteor']:9.3f}{figures['localization_ap']:17.2f}")
    lines += ["", "predicted boxes' AP " + "".join(f"{f'METEOR>{m:g}':>13}" for m in METEORS) + f"{'boxes alone':>13}"]
    for t, row in predicted["ap"].items():
        cells = [*row.values(), predicted["localization_ap_at"][t]]
        lines.append(f"{f'IoU>={t}':<20}" + "".join(f"{value:13.2f}" for value in cells))
    lines += ["", f"{'box recall':<20}" + "".join(f"{f'IoU>={t:g}':>13}" for t in RECALL_IOUS)]
    for k, recall in summary["box_recall"].items():
        lines.append(f"{f'{k} proposals':<20}" + "".join(f"{value:13.3f}" for value in recall.values()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
