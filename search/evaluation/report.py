"""An evaluation as a table, as JSON, and as a page or a picture of the questions answered worst."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.boxes import xywh
from commands.text import printable
from search.evaluation.judge import Evaluation, Judged, found_region
from search.evaluation.question_file import Line
from search.hits import Hit, HitRegion

if TYPE_CHECKING:
    from PIL import Image

    from db.collection import Collection
    from search.searcher import Searcher

LABELLED, FOUND = "labelled", "found"
CONFIDENCE = "beside ranks: the confidence of the region found"
_COLORS = {LABELLED: "#0072b2", FOUND: "#d55e00"}
# Photographs shown beside the one that answers: those that came before it.
_BEFORE = 3
# Photographs that answer, of a question that several do.
_ANSWERS = 3


@dataclass(frozen=True)
class _Shown:
    """What a sheet needs of an answer."""

    query: list[str]
    hits: list[Hit]
    scored: str = CONFIDENCE

    def label(self, region: HitRegion) -> str:
        return region.phrase or region.for_phrase


def as_table(evaluation: Evaluation, worst: int) -> str:
    """Each figure with its interval, and the questions answered worst."""
    count = len(evaluation.judged)
    lines = [f"{count:,} question{'s' if count != 1 else ''} over {evaluation.photographs:,} photographs"]
    for name, figure in evaluation.figures().items():
        digits = 1 if name == "median rank" else 3
        value, low, high = (f"{figure[part]:.{digits}f}" for part in ("value", "low", "high"))
        lines.append(f"{name:<17} {value:>8}   ({low} to {high})")
    lines.append(f"{'AP by chance':<17} {evaluation.chance:8.3f}")
    shown = evaluation.worst(worst)
    if shown:
        lines += ["", f"{'rank':>6} {'AP':>6} {'IoU':>5}  answered worst"]
    for judged in shown:
        overlaps = [overlap for _, overlap in judged.places.values()]
        told = f"{min(overlaps):5.2f}" if overlaps else "    -"
        lines.append(f"{judged.rank:6} {judged.average_precision:6.3f} {told}  {printable(judged.question.phrase)}")
    return "\n".join(lines)


def as_json(evaluation: Evaluation, missing: Sequence[Line], collection: "Collection") -> str:
    """{"questions", "photographs", "figures": {name: {"value", "low", "high"}}, "chance", "judged": [...], ...}.

    judged, the worst first: {"phrase", "rank", "average_precision", "answers": [{"path", "found_box", "iou"}]}; of
    these, found_box ([x, y, width, height]) and iou are null where no box is labelled. refused: {phrase: sentence}.
    missing: [{"line", "photograph"}].
    """
    paths = _paths(collection, [i for judged in evaluation.judged for i in judged.question.answers])

    def answer(judged: Judged, photo_id: int) -> dict[str, Any]:
        box, overlap = judged.places.get(photo_id, (None, None))
        found = None if box is None else xywh(box)
        return {"path": paths[photo_id], "found_box": found, "iou": overlap}

    document = {
        "questions": len(evaluation.judged),
        "photographs": evaluation.photographs,
        "figures": evaluation.figures(),
        "chance": evaluation.chance,
        "judged": [
            {
                "phrase": judged.question.phrase,
                "rank": judged.rank,
                "average_precision": judged.average_precision,
                "answers": [answer(judged, photo_id) for photo_id in judged.question.answers],
            }
            for judged in evaluation.worst(len(evaluation.judged))
        ],
        "refused": evaluation.refused,
        "missing": [{"line": line.number, "photograph": line.photograph} for line in missing],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def worst_page(evaluation: Evaluation, collection: "Collection", searcher: "Searcher", worst: int) -> str:
    """A page of the questions answered worst: the photographs that answer, and those that came first instead."""
    from search.web_page import Section, page

    sections = [
        Section(judged.question.phrase, _told(judged), _hits(judged, collection, searcher), _COLORS)
        for judged in evaluation.worst(worst)
    ]
    figures = ", ".join(f"{name} {figure['value']:.3f}" for name, figure in evaluation.figures().items())
    figures += f"; {CONFIDENCE}"
    title = f"The {len(sections)} of {len(evaluation.judged)} questions that are answered worst"
    return page(sections, title=title, text=figures)


def draw_worst(evaluation: Evaluation, collection: "Collection", searcher: "Searcher", worst: int) -> "Image.Image":
    """The same as a picture: a row of photographs for each question."""
    from PIL import Image

    from search.drawing import draw_hits

    sheets = []
    for judged in evaluation.worst(worst):
        hits = _hits(judged, collection, searcher)
        sheets.append(draw_hits(_Shown([f"{judged.question.phrase}: {_told(judged)}"], hits)))  # type: ignore[arg-type]
    picture = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "#ffffff")
    y = 0
    for sheet in sheets:
        picture.paste(sheet, (0, y))
        y += sheet.height
    return picture


def _told(judged: Judged) -> str:
    overlaps = [overlap for _, overlap in judged.places.values()]
    where = f", IoU {min(overlaps):.2f}" if overlaps else ""
    return f"rank {judged.rank}, average precision {judged.average_precision:.3f}{where}"


def _hits(judged: Judged, collection: "Collection", searcher: "Searcher") -> list[Hit]:
    """Photographs that answer, with the labelled boxes and the one found, then those that came before them."""
    answers = list(judged.question.answers)[:_ANSWERS]
    before = [photo_id for photo_id in judged.first if photo_id not in judged.question.answers][:_BEFORE]
    places = {photo_id: place + 1 for place, photo_id in enumerate(judged.first)}
    hits = []
    for row in collection.photos([*answers, *before]):
        labelled = judged.question.answers.get(row.photo_id, [])
        region = found_region(searcher, judged.question.phrase, row.photo_id, None)
        regions = [HitRegion(None, box, 1.0, "", LABELLED) for box in labelled]
        regions.append(HitRegion(region.region_id, region.box, region.score, region.phrase, FOUND))
        rank = places.get(row.photo_id, judged.rank)
        hits.append(Hit(rank, row.photo_id, row.path, region.score, row.width, row.height, regions))
    return hits


def _paths(collection: "Collection", photo_ids: Sequence[int]) -> dict[int, str]:
    ids = list(dict.fromkeys(photo_ids))
    return {row.photo_id: _text(row.path) for row in collection.photos(ids)}


def _text(path: Path) -> str:
    return printable(path) if any("\udc80" <= letter <= "\udcff" for letter in str(path)) else str(path)
