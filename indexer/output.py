"""What the commands print for people, as text."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.text import counted, printable

if TYPE_CHECKING:
    from db.collection import Collection
    from db.maintenance import Verified
    from db.records import CompactionReport, IndexReport
    from indexer.build.report import BuildReport
    from indexer.disk_check import DiskReport
    from indexer.duplicates import DuplicateGroup

_SHOWN_FAILURES = 20


def summary(report: "BuildReport") -> str:
    """What a build did."""
    text = f"{_counts(report.counts)} in {report.seconds:.1f} s"
    if report.described:
        text += f" ({report.described / report.seconds:.1f} photographs described a second)"
    if report.failed_before:
        text += f"; {report.failed_before:,} failed before and did not change (--retry)"
    if report.without_regions:
        text += f"; {report.without_regions:,} have no given regions and stay as they are"
    if report.given_lost:
        text += (
            f"; {report.given_lost:,} changed that had given regions, and have the network's now "
            "(`indexer build FOLDER --regions FILE` gives them theirs)"
        )
    if report.incomplete:
        text += f"; {report.incomplete:,} {'is' if report.incomplete == 1 else 'are'} incomplete (`indexer errors`)"
    if report.left_out:
        text += f"\nleft out: {left_out(report.left_out)}"
    return text


def total(each: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sums of some counts, kind by kind."""
    return dict(sum(map(Counter, each), Counter[str]()))


def left_out(counts: dict[str, int]) -> str:
    """How many files of each kind cannot be described."""
    return ", ".join(f"{count:,} {_of_one(kind) if count == 1 else kind}" for kind, count in sorted(counts.items()))


def _of_one(kind: str) -> str:
    """A kind of files, one of them."""
    return re.sub(r"s\b", "", kind, count=1).replace("folder that ask ", "folder that asks ")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in ("new", "changed", "moved", "gone", "unchanged", "failed"))


def contents(collection: "Collection") -> str:
    """What a collection holds now."""
    photographs, regions = collection.photo_count(), collection.region_count()
    return (
        f"{counted(photographs, 'photograph')}, {counted(regions, 'region')} in {printable(str(collection.location))}"
    )


def failure(file: dict[str, Any]) -> str:
    """A failed file and why."""
    described = "; described as it is" if file["described"] else ""
    return f"{printable(file['path'])}: {file['reason']}{described}"


def status(document: dict[str, Any]) -> str:
    """The document of `indexer status --json`."""
    last = document["last_build"]
    lines = [
        f"collection   {printable(document['collection'])}",
        f"photographs  {document['photographs']:,}",
        f"regions      {document['regions']:,}",
        f"failed       {counted(document['failed'], 'file')}",
        f"incomplete   {counted(document['incomplete'], 'photograph')}",
        f"left out     {left_out(document['left_out']) or 'nothing'}",
        f"checkpoint   {document['checkpoint']}",
        *(f"with         {each}" for each in document["described_with"]),
        f"last build   {last['finished_at'] + ', ' + _counts(last) if last else 'none'}",
    ]
    for root in document["roots"]:
        missing = "" if root["present"] else " (missing)"
        holds = counted(root["photographs"], "photograph")
        lines.append(f"root         {printable(root['path'])}{missing}: {holds}")
    failures = document["failures"]
    lines += [f"failed       {failure(file)}" for file in failures[:_SHOWN_FAILURES]]
    if len(failures) > _SHOWN_FAILURES:
        lines.append(f"             and {len(failures) - _SHOWN_FAILURES:,} more (`indexer errors`)")
    return "\n".join(lines)


def duplicates(groups: "Sequence[DuplicateGroup]") -> str:
    """Groups of paths, an empty line between two."""
    if not groups:
        return "Every photograph is there once."
    marks = {True: "", False: "~ "}
    return "\n\n".join(
        "\n".join(f"{marks[group.same_content]}{printable(row.path)}{_absence(row.path)}" for row in group.photos)
        for group in groups
    )


def _absence(path: Path) -> str:
    return "" if path.exists() else "  (not there)"


def duplicates_as_dicts(groups: "Sequence[DuplicateGroup]") -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "same_content": group.same_content,
            "photographs": [
                {
                    "path": str(row.path),
                    "present": row.path.exists(),
                    "width": row.width,
                    "height": row.height,
                    "digest": row.digest,
                }
                for row in group.photos
            ],
        }
        for group in groups
    ]


def verification(report: "Verified", disk: "DiskReport", holds: bool) -> str:
    """What holds and what does not."""
    lines = [f"{name:<12} {printable(text)}" for name, text in report.summary().items()]
    if disk.found_again is not None:
        again = f"{disk.found_again:.1%} of the regions of {disk.described_again} photographs"
        lines.append(f"found again  {again}")
    problems = [*report.problems, *disk.problems]
    lines += [f"problem      {problem.what}" for problem in problems]
    if report.to_describe:
        again = "by the next `indexer build` (with --regions FILE, if their regions were given)"
        lines.append(f"to describe  {counted(report.to_describe, 'photograph')}, {again}")
    if problems:
        lines.append("All holds again." if holds else "It does not hold.")
    else:
        lines.append("All holds.")
    return "\n".join(lines)


def compaction(report: "CompactionReport") -> str:
    """What compacting did."""
    room = f"{report.bytes_before / 1e6:,.1f} MB", f"{report.bytes_after / 1e6:,.1f} MB"
    dropped = f"{report.rows_dropped:,} regions of photographs that are gone were dropped"
    if report.segments_before is None:
        return f"{room[0]} of tables and indexes are now {room[1]}\n{dropped}"
    return (
        f"features: {counted(report.segments_before, 'file')}, {room[0]}; now {report.segments_after:,}, {room[1]}\n"
        f"{dropped}"
    )


def rebuild(report: "IndexReport") -> str:
    """What the new index is and how well it finds."""
    kind = f"{report.lists:,} inverted lists" if report.lists else "every vector is looked at"
    return (
        f"{report.regions:,} regions in {counted(report.files, report.kind)}, {report.bytes / 1e6:,.1f} MB: {kind}\n"
        f"recall@10 {report.recall_at_10:.4f}, recall@100 {report.recall_at_100:.4f} against exact search, "
        f"{report.queries} queries"
    )
