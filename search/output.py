"""An answer as bytes for stdout: a table for people; JSON, JSON lines, CSV and paths for programs."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.boxes import xywh
from commands.csv_lines import csv_line
from commands.text import printable
from search.explanation_text import excluded_lines, explanation_document, explanation_lines, won_line

if TYPE_CHECKING:
    from search.detector import Detections
    from search.example import Example
    from search.file_description import Unreadable
    from search.filters import Selection
    from search.hits import DescribedPhoto, Hit, HitRegion
    from search.searcher import Answer
    from search.wording.parse import Query

# A region of less confidence is mostly a second box of what is there already: pictures leave it out, the page folds it.
LEAST_SURE = 0.03

_CSV_COLUMNS = (
    "rank path score width height scoring region_id x y region_width region_height region_score phrase for "
    "probability region_probability"
)


def as_table(answer: "Answer | Detections", *, color: bool, encoding: str = "utf-8", explain: bool = False) -> bytes:
    """Rank, score and path of each hit, and below it the regions that answer; explain: and why, in sentences."""
    asked = ", ".join(f'"{phrase}"' for phrase in answer.query)
    count = f"{len(answer.hits)} photograph{'s' if len(answer.hits) != 1 else ''}"
    lines = [click.style(f"{asked}: {count}, {answer.scored}", dim=True)]
    regions = [region for hit in answer.hits for region in hit.regions]
    asks = max((len(region.for_phrase) for region in regions), default=0)
    phrases = max((len(printable(region.phrase)) for region in regions), default=0)
    for hit in answer.hits:
        score = click.style(_sure(hit.probability, hit.score), fg="green")
        lines.append(
            f"{hit.rank:4} {score}  {click.style(shown(hit.path), bold=True)}{_won(hit)}{_beside(hit)}"
            f"{_date(hit, answer.sort)}"
        )
        for region in hit.regions:
            x, y, width, height = (round(side) for side in xywh(region.box))
            ask = click.style(f"{region.for_phrase:{asks}}", fg="cyan")
            where = f"{f'{width}x{height}':>9} at {x},{y}"
            lines.append(
                f"     {_sure(region.probability, region.score)}  {ask}  {printable(region.phrase):{phrases}}  {where}"
            )
        if explain and hit.explanation is not None:
            lines += [f"               {line}" for line in explanation_lines(hit.explanation, hit.score)]
    if explain and isinstance(excluded := getattr(answer, "excluded", None), list):
        lines += excluded_lines(excluded, shown)
    text = "\n".join(lines) + "\n"
    return (text if color else click.unstyle(text)).encode(encoding, "backslashreplace")


def as_json(answer: "Answer", *, explain: bool = False) -> bytes:
    """One document: {"query", "readings", "unknown_words", "scoring", "hits": [...]}.

    Boxes are [x, y, width, height] in upright pixels. readings: {word of the query: the word that it was read as}. With
    filters, also "filters": {name: value}, "allowed": how many photographs they leave, "of": how many there are,
    "silent": {"date", "camera" or "place": how many do not say theirs}, "unread": of how many of these the headers were
    not read yet, if there are any. If something was not wanted, also "without": [phrase], "excluded": [{"path",
    "region"}], before the hits. Of what is like a photograph, also "like": {"path", "regions": [{"box", "phrase"}],
    "overlap": with the box asked for, null if it is exactly that or if the whole photograph is meant}. A hit has its
    "probability": that it answers, in somebody's eyes, and its regions that they show it; where that is known, also
    "convincing": false if the hits are only the closest photographs, "next": how likely the one after them answers,
    null if there is none. A hit has those of "taken", "utc_offset" (minutes), "make", "model", "lens", "latitude",
    "longitude" (degrees), "rating" (-1 rejected, 0 to 5 stars) and "keywords" that its headers tell.
    """
    excluded = [{"path": str(photo.path), "region": _region(photo.region)} for photo in answer.excluded]
    left_out = {"without": answer.without, "excluded": excluded} if answer.without else {}
    said = {**_said(answer), **_example(answer.example), **_end(answer)}
    return _json({**_asked(answer), **said, **left_out, "hits": [_hit(hit, explain=explain) for hit in answer.hits]})


def detections_as_json(answer: "Detections") -> bytes:
    """As `as_json`, regions' scores being confidences, with what the answer depends on and what was not looked at.

    {"query", "readings", "unknown_words", "scoring", "threshold", "prior", "photographs",
    "unreadable": [{"path", "reason"}], "hits": [...]}.
    """
    return _json(
        {
            **_asked(answer),
            "threshold": answer.threshold,
            "prior": answer.prior,
            "photographs": answer.photographs,
            "unreadable": [{"path": str(file.path), "reason": file.reason} for file in answer.unreadable],
            "hits": [_hit(hit) for hit in answer.hits],
        }
    )


def descriptions_as_table(photos: "Sequence[DescribedPhoto]", count: int | None, *, encoding: str = "utf-8") -> bytes:
    """The path of each photograph, and below it its `count` (None: all) surest regions: confidence, phrase, box."""
    lines = []
    for photo in photos:
        surest = photo.surest(count)
        lines.append(f"{shown(photo.path)}  ({photo.width}x{photo.height}, {_regions(len(photo.phrases))})")
        phrases = {row: printable(photo.phrases[row]) for row, _ in surest}
        longest = max(map(len, phrases.values()))
        for row, confidence in surest:
            x, y, width, height = (round(side) for side in xywh(photo.regions.boxes[row].tolist()))
            where = f"{f'{width}x{height}':>9} at {x},{y}"
            lines.append(f"  {confidence:5.2f}  {phrases[row]:{longest}}  {where}")
    return ("\n".join(lines) + "\n").encode(encoding, "backslashreplace")


def descriptions_as_json(
    photos: "Sequence[DescribedPhoto]", unreadable: "Sequence[Unreadable]", count: int | None
) -> bytes:
    """{"photographs": [{"path", "photo_id", "width", "height", "regions": [...]}], "unreadable": [{"path", "reason"}]}.

    Regions are {"region_id", "box", "confidence", "score", "phrase"}, the surest `count` (None: all) of each
    photograph, boxes [x, y, width, height] in upright pixels. confidence: of box and phrase together; score: that the
    box holds a thing. Ids are null where a photograph is in no collection.
    """
    described = [
        {
            "path": str(photo.path),
            "photo_id": photo.photo_id,
            "width": photo.width,
            "height": photo.height,
            "regions": [
                {
                    "region_id": photo.region_ids[row],
                    "box": xywh(photo.regions.boxes[row].tolist()),
                    "confidence": round(confidence, 6),
                    "score": round(float(photo.regions.objectness[row]), 6),
                    "phrase": photo.phrases[row],
                }
                for row, confidence in photo.surest(count)
            ],
        }
        for photo in photos
    ]
    skipped = [{"path": str(file.path), "reason": file.reason} for file in unreadable]
    return _json({"photographs": described, "unreadable": skipped})


def _regions(count: int) -> str:
    return f"{count} region{'s' if count != 1 else ''}"


def as_json_lines(answer: "Answer | Detections", *, explain: bool = False) -> bytes:
    """One hit a line, each as in `as_json` and with the scoring."""
    return b"".join(_json({**_hit(hit, explain=explain), "scoring": answer.scoring}) for hit in answer.hits)


def as_csv(answer: "Answer | Detections") -> bytes:
    """One region a line, with its photograph's columns, below a line of column names."""
    lines = [csv_line(_CSV_COLUMNS.split())]
    for hit in answer.hits:
        photo = [hit.rank, hit.path, hit.score, hit.width, hit.height, answer.scoring]
        for region in hit.regions:
            said = [region.score, region.phrase, region.for_phrase, hit.probability, region.probability]
            lines.append(csv_line([*photo, region.region_id, *xywh(region.box), *said]))
    return b"".join(lines)


def as_paths(answer: "Answer | Detections") -> bytes:
    """One path a line, in the file system's bytes."""
    return b"".join(path_line(hit.path) for hit in answer.hits)


def as_paths0(answer: "Answer | Detections") -> bytes:
    """The paths, each ended by a zero byte: any file name comes through, for `xargs -0`."""
    return b"".join(os.fsencode(hit.path) + b"\0" for hit in answer.hits)


def path_line(path: Path) -> bytes:
    """A path in the file system's bytes, as one line.

    Line breaks inside it are escaped, or `| xargs rm` would meet a file that is no hit.
    """
    return os.fsencode(path).replace(b"\n", b"\\n").replace(b"\r", b"\\r") + b"\n"


def shown(path: Path) -> str:
    """A path as a person would type it from here."""
    here = Path.cwd()
    return printable(path.relative_to(here) if path.is_relative_to(here) else path)


def _sure(probability: float | None, score: float) -> str:
    """How likely, in hundredths; the score where that is not known."""
    return f"{score:8.3f}" if probability is None else f"{probability:7.0%} "


def _end(answer: "Answer") -> dict[str, Any]:
    """Where the list stopped, if it is known how likely photographs answer."""
    if answer.end is None:
        return {}
    following = None if answer.end.next is None else round(answer.end.next, 4)
    return {"convincing": answer.end.convincing, "next": following}


def _won(hit: "Hit") -> str:
    """Which reading of the question won, and how surely what is said of its things holds."""
    told = won_line(hit.explanation) if hit.explanation is not None else ""
    return click.style(f"  [{told}]", dim=True) if told else ""


def _said(answer: "Answer") -> dict[str, Any]:
    """What a question says of its things, where it does."""
    return said_document(answer.reading) if answer.reading is not None else {}


def said_document(query: "Query") -> dict[str, Any]:
    """{"relations": [{"subject", "relation", "object"}], "counts": {thing: number}} where a question says so, and
    {"untold": [words]} for what no box can tell: "behind"."""
    relations = [{"subject": said.subject, "relation": said.kind, "object": said.object} for said in query.relations]
    counts = {thing: count.number for thing, count in query.counts.items()}
    told = {"relations": relations, "counts": counts} if relations or counts else {}
    return {**told, **({"untold": query.untold} if query.untold else {})}


def _beside(hit: "Hit") -> str:
    """How many other files a hit stands for."""
    kinds = ((len(hit.copies), "copy", "copies"), (len(hit.similar), "similar one", "similar ones"))
    told = [f"+{count} {one if count == 1 else several}" for count, one, several in kinds if count]
    return f"  ({', '.join(told)})" if told else ""


def _date(hit: "Hit", sort: str) -> str:
    """When it was taken, where that is the order."""
    return f"  {hit.taken[:10] if hit.taken else 'no date'}" if sort == "date" else ""


def _asked(answer: "Answer | Detections") -> dict[str, Any]:
    return {
        "query": answer.query,
        "readings": answer.substitutions,
        "unknown_words": answer.unknown_words,
        "scoring": answer.scoring,
        **_selected(answer.selection),
    }


def _example(example: "Example | None") -> dict[str, Any]:
    if example is None:
        return {}
    regions = [{"box": xywh(box), "phrase": phrase} for box, phrase in zip(example.boxes, example.phrases)]
    return {"like": {"path": str(example.path), "regions": regions, "overlap": example.overlap}}


def _selected(selection: "Selection | None") -> dict[str, Any]:
    if selection is None:
        return {}
    return {
        "filters": selection.filters.as_dict(),
        "allowed": selection.allowed,
        "of": selection.photographs,
        "silent": dict(selection.silent),
        **({"unread": selection.unread} if selection.unread else {}),
    }


def _hit(hit: "Hit", *, explain: bool = False) -> dict[str, Any]:
    photo = {"rank": hit.rank, "path": str(hit.path), "score": hit.score}
    if hit.probability is not None:
        photo["probability"] = hit.probability
    photo |= {"width": hit.width, "height": hit.height}
    headers = asdict(hit.headers) if hit.headers else {}
    told = {name: value for name, value in headers.items() if value not in (None, ())}
    beside = {"copies": [str(path) for path in hit.copies], "similar": [str(path) for path in hit.similar]}
    found: dict[str, Any] = {**photo, **told, **beside}
    if hit.explanation is not None and hit.explanation.won is not None:
        found["reading"] = hit.explanation.won
    found["regions"] = [_region(region) for region in hit.regions]
    if explain and hit.explanation is not None:
        found["explanation"] = explanation_document(hit.explanation, _region)
    return found


def _region(region: "HitRegion") -> dict[str, Any]:
    told = {} if region.probability is None else {"probability": region.probability}
    return {
        "region_id": region.region_id,
        "box": xywh(region.box),
        "score": region.score,
        **told,
        "phrase": region.phrase,
        "for": region.for_phrase,
    }


def _json(value: Any) -> bytes:
    # A byte of a path that is no text is a lone surrogate in Python and leaves as \udcXX, which JSON can say; reading
    # it back and os.fsencode give the same byte.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
