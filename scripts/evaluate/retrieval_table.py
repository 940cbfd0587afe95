"""The paper's retrieval table (Table 2): the network against the paper's baselines, the same queries for all.

\b
    python -m scripts.evaluate.retrieval_table --photos PHOTOS --annotations VAL \\
        --full-image runs/full-image/weights.safetensors --region runs/region/weights.safetensors

Queries are drawn, judged and summarized as in scripts.evaluate.retrieval. The rows:

\b
Full Image RNN              whole photographs, by the network of `scripts.train --baseline full-image`; no boxes
proposals + Full Image RNN  the same network reads crops of each photograph: the regions that FCLN finds there
                            (the paper: EdgeBoxes)
Region RNN                  the same crops, by the network of `scripts.train --baseline region`
FCLN, likelihood            the paper's own: log P(phrase | region) of every region
FCLN, embedding             cosine of phrase and region
FCLN, fused                 both

The ranks are those of all regions, as with `scripts.evaluate.retrieval --exact`; no region is scored further than they
need (`exact_ranking.py`). FCLN's rows ground a phrase as `search query` does (`search.grounding`), the baselines'
by their score alone. The baselines' networks see each crop by itself, which takes long where there are many: --regions
takes fewer, and a row of FCLN that ranks by these few regions says what they are worth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from db.collection import Collection
from db.records import Features
from decoding.files import decode_file
from decoding.photos import Photograph
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import token_count
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.exact_ranking import Question, RankedQuestion, Scorer, rank_all
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.pruned_likelihood import pruned_log_likelihood
from scripts.evaluate.retrieval import PHRASES, Outcome, RetrievalQuery, draw_all, judge, query_options, summarize
from search.grounding import PhotoRegions, ground
from search.likelihood import fuse
from search.wording.lexicon import Lexicon
from search.wording.parse import parse_query

FULL_IMAGE, CROPS, REGION = "Full Image RNN", "proposals + Full Image RNN", "Region RNN"
FCLN = {scoring: f"FCLN, {scoring}" for scoring in ("likelihood", "embedding", "fused")}
SAME_REGIONS = "FCLN, embedding, cropped regions only"
FIGURES = ("recall@1", "recall@5", "recall@10", "median_rank", "localization@0.1", "localization@0.3",
           "localization@0.5", "median_iou")  # fmt: skip

_WEIGHTS_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# Photographs decoded and cut at a time: bounds memory.
_PHOTOS = 8

_T = TypeVar("_T")


@click.command(help=__doc__)
@collection_options
@query_options
@click.option("--full-image", type=_WEIGHTS_FILE, help="The Full Image RNN's weights; else its rows are left out.")
@click.option("--region", type=_WEIGHTS_FILE, help="The Region RNN's weights; else its row is left out.")
@click.option(
    "--scoring", "scorings", multiple=True, type=click.Choice(list(FCLN)), default=list(FCLN),
    help="FCLN's rows; default: all three. The language model takes most of the time.",
)  # fmt: skip
@click.option(
    "--regions", type=click.IntRange(0), default=50, show_default=True,
    help="Crops of a photograph that the baselines read: its best regions. 0 leaves the rows of crops out.",
)  # fmt: skip
@click.option(
    "--bfloat16/--float32", default=True, show_default=True,
    help="Of the language models' matrix products, where the machine has it: a third of the time for hundredths of a "
    "log-likelihood.",
)  # fmt: skip
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, draws: int, queries: int, min_words: int, seed: int, full_image: Path | None,
         region: Path | None, scorings: tuple[str, ...], regions: int, bfloat16: bool) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)
        predictor = Predictor.load(weights, device=device)
        if predictor.config.image_rnn:
            raise EvaluationError(f"{weights} is an Image RNN, which finds no regions: --weights is for the FCLN.")
        full_image_rnn = load_image_rnn(full_image, "full-image", device) if full_image else None
        region_rnn = load_image_rnn(region, "region", device) if region else None
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            lexicon = Lexicon.of(predictor)
            drawn = draw_all(labelled.photos, lexicon, draws=draws, queries=queries, min_words=min_words, seed=seed)
            asked = [[as_read(query, lexicon) for query in draw] for draw in drawn]
            phrases = list(dict.fromkeys(phrase.text for draw in asked for query in draw for phrase in query.phrases))
            number = {phrase: row for row, phrase in enumerate(phrases)}
            questions = [
                Question([number[phrase.text] for phrase in query.phrases], query.photo_id)
                for draw in asked
                for query in draw
            ]
            rows: dict[str, dict] = {}

            def measure(name: str, features: Features, scorer: Scorer, boxes: Collection | None) -> None:
                ranked = iter(rank_all(questions, phrases, features, scorer, desc=name))
                rows[name] = summarize([[outcome(query, next(ranked), boxes) for query in draw] for draw in asked])
                click.echo(line(name, as_json_row(rows[name])), err=True)  # the run is long, and may be stopped

            described = labelled.collection.features()
            if full_image_rnn:
                whole = read_photographs(labelled.collection, full_image_rnn)
                measure(FULL_IMAGE, whole, by_likelihood(full_image_rnn, phrases, bfloat16=bfloat16), None)
            readers = {name: rnn for name, rnn in ((CROPS, full_image_rnn), (REGION, region_rnn)) if rnn and regions}
            crops = read_crops(labelled.collection, first_regions(described, regions), list(readers.values()))
            for (name, rnn), seen in zip(readers.items(), crops, strict=True):
                measure(name, seen, by_likelihood(rnn, phrases, bfloat16=bfloat16), labelled.collection)
            for scoring in scorings:
                scorer = by_fcln(predictor, phrases, labelled.collection, scoring, bfloat16=bfloat16)
                measure(FCLN[scoring], described, scorer, labelled.collection)
                if scoring == "embedding" and 0 < regions < max_regions:
                    measure(SAME_REGIONS, first_regions(described, regions), scorer, labelled.collection)
    result = {
        "rows": {name: as_json_row(figures) for name, figures in rows.items()},
        "recall@1_against_full_image": ratio(rows),
        "left_out": [name for name in (FULL_IMAGE, CROPS, REGION) if name not in rows],
        "images": len(labelled.photos),
        "draws": draws,
        "queries": len(drawn[0]),
        "phrases": len(phrases),
        "max_regions": max_regions,
        "crops": min(regions, max_regions),
    }
    show(result, lambda: table(result), as_json=as_json)
    if as_json:  # the run is long: both forms of one
        click.echo(table(result), err=True)


def load_image_rnn(path: Path, kind: str, device: str) -> Predictor:
    """A baseline's network. Raises EvaluationError if it is none, and what Predictor.load raises."""
    predictor = Predictor.load(path, device=device)
    if not predictor.config.image_rnn:
        raise EvaluationError(f"{path} is no Image RNN: train one with `scripts.train --baseline {kind}`.")
    return predictor


def as_read(query: RetrievalQuery, lexicon: Lexicon) -> RetrievalQuery:
    """The query with its phrases as the search reads them (slips corrected), for all rows alike."""
    read = parse_query([phrase.text for phrase in query.phrases], lexicon).phrases
    return replace(
        query, phrases=tuple(replace(phrase, text=text) for phrase, text in zip(query.phrases, read, strict=True))
    )


def first_regions(features: Features, count: int) -> Features:
    """At most `count` regions of each photograph: the best ones, since `describe` gives them best first."""
    return features.take(features.places() < count)


def read_photographs(collection: Collection, rnn: Predictor) -> Features:
    """Every photograph as one region, whose id is the photograph's, with the code that an Image RNN makes of it."""
    photos = collection.photos(collection.photo_ids().tolist())
    codes = [
        rnn.image_codes([decode_file(photo.path).image for photo in some])
        for some in _batches(photos, desc="Reading photographs")
    ]
    ids = np.array([photo.photo_id for photo in photos])
    return Features(ids, ids, np.concatenate(codes), np.zeros((len(ids), 0), np.float32))


def read_crops(collection: Collection, regions: Features, rnns: Sequence[Predictor]) -> list[Features]:
    """The regions with the codes that each Image RNN makes of them, cut out of their photographs."""
    if not rnns:
        return []
    begins = regions.starts()
    photos = collection.photos(regions.photo_ids[begins].tolist())
    boxes = np.array([region.box for region in collection.regions(regions.region_ids.tolist())], np.float32)
    codes: list[list[np.ndarray]] = [[] for _ in rnns]
    for some in _batches(list(zip(photos, np.split(boxes, begins[1:]), strict=True)), desc="Reading crops"):
        crops = [crop for photo, its_boxes in some for crop in cut(decode_file(photo.path), its_boxes)]
        for found, rnn in zip(codes, rnns, strict=True):
            found.append(rnn.image_codes(crops))
    return [replace(regions, codes=np.concatenate(found)) for found in codes]


def cut(photo: Photograph, boxes: np.ndarray) -> list[Image.Image]:
    """Boxes cut out, on whole pixels of the decoded image. boxes: (N, 4) x1 y1 x2 y2, pixels of the photograph."""
    image = photo.image
    inside = (boxes - np.array([*photo.origin, *photo.origin])) / photo.scale
    crops = []
    for left, top, right, bottom in np.rint(inside).astype(int).tolist():
        left, top = min(left, image.width - 1), min(top, image.height - 1)
        crops.append(image.crop((left, top, max(right, left + 1), max(bottom, top + 1))))
    return crops


def by_likelihood(rnn: Predictor, phrases: Sequence[str], *, bfloat16: bool) -> Scorer:
    """A baseline: log P(phrase | region), and the likeliest region answers."""

    def score(regions: Features, floors: np.ndarray) -> np.ndarray:
        return pruned_log_likelihood(rnn, phrases, regions.codes, floors, bfloat16=bfloat16)

    return Scorer(score, lambda photo, scores: scores.argmax(axis=1))


def by_fcln(
    predictor: Predictor, phrases: Sequence[str], collection: Collection, scoring: str, *, bfloat16: bool
) -> Scorer:
    """The network in one of its scorings. collection: that the regions are of."""
    vectors = predictor.encode_phrases(phrases)
    tokens = [token_count(phrase) for phrase in phrases]
    weight = predictor.scoring.fused_weight

    def cosine(regions: Features, _floors: np.ndarray) -> np.ndarray:
        return vectors @ regions.embeddings.T

    def fused(regions: Features, floors: np.ndarray) -> np.ndarray:
        cosines = cosine(regions, floors)
        floors = (floors - cosines) * np.array(tokens, np.float32)[:, None] / np.float32(weight)
        return fuse(cosines, likelihood.score(regions, floors), tokens, weight)

    def ground_in(photo: Features, scores: np.ndarray) -> np.ndarray:
        rows = collection.regions(photo.region_ids.tolist())
        return ground(scores, PhotoRegions.from_rows(rows), scoring)

    likelihood = by_likelihood(predictor, phrases, bfloat16=bfloat16)
    scores = {"embedding": cosine, "likelihood": likelihood.score, "fused": fused if weight else cosine}
    return Scorer(scores[scoring], ground_in)


def outcome(query: RetrievalQuery, ranked: RankedQuestion, regions: Collection | None) -> Outcome:
    """How a query goes. regions: the collection that the regions are of, None if they are photographs."""
    found = regions.regions(ranked.region_ids) if regions else []
    return judge(query, ranked.ranking, [region.box for region in found])


def _batches(photos: Sequence[_T], *, desc: str) -> Iterator[Sequence[_T]]:
    with tqdm(total=len(photos), desc=desc, unit="photo", mininterval=5) as bar:
        for start in range(0, len(photos), _PHOTOS):
            yield photos[start : start + _PHOTOS]
            bar.update(len(photos[start : start + _PHOTOS]))


def ratio(rows: Mapping[str, dict]) -> float | None:
    """recall@1 of the best FCLN row to the Full Image RNN's; None without that, or if it is 0."""
    if not rows.get(FULL_IMAGE, {}).get("recall@1"):
        return None
    return max(rows[name]["recall@1"] for name in FCLN.values() if name in rows) / rows[FULL_IMAGE]["recall@1"]


def as_json_row(figures: dict) -> dict:
    """A row's figures: None for those that it does not have."""
    errors = {name: figures["standard_error"].get(name) for name in FIGURES}
    return {**{name: figures.get(name) for name in FIGURES}, "standard_error": errors}


def table(result: dict) -> str:
    """The table, Markdown."""
    lines = [
        f"Retrieval (paper, Table 2) among {result['images']} photographs, {result['queries']} queries of {PHRASES} "
        f"phrases a draw, {result['draws']} draws, ± standard error over draws; at most {result['max_regions']} "
        f"regions a photograph"
        + (f", of which the baselines read {result['crops']} as crops." if result["crops"] else "."),
        "",
        "| model | recall@1 | @5 | @10 | median rank | localization@0.1 | @0.3 | @0.5 | median IoU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [line(name, row) for name, row in result["rows"].items()]
    if result["left_out"]:
        lines += ["", f"Left out, for want of weights or crops: {', '.join(result['left_out'])}."]
    if result["recall@1_against_full_image"] is not None:
        against = result["recall@1_against_full_image"]
        lines += ["", f"recall@1 of the best FCLN row is {against:.2f} times the Full Image RNN's."]
    return "\n".join(lines)


def line(name: str, row: dict) -> str:
    """A row of the table."""
    cells = [_cell(row[figure], row["standard_error"][figure], figure == "median_rank") for figure in FIGURES]
    return f"| {name} | " + " | ".join(cells) + " |"


def _cell(value: float | None, error: float | None, is_rank: bool) -> str:
    if value is None:
        return "–"
    digits = 1 if is_rank else 3
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


if __name__ == "__main__":
    main()
