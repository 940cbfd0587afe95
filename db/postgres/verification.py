"""`verify`: whether a collection on a server holds together, row by row; `discard` of what does not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from db import queries, writes
from db.checksums import features_crc32, regions_crc32
from db.errors import CollectionError
from db.postgres import indexes
from db.postgres.address import Address
from db.postgres.collection import PostgresCollection
from db.postgres.server import driver_connection
from db.postgres.successor import Successor, address_of_successor, find_successor
from db.postgres.summaries import find_summaries, summarizes
from db.postgres.vectors import as_ids, copy_out
from db.postgres.writes import finish
from db.records import ModelIdentity, Problem

_PHOTOS_AT_ONCE = 500
_ROUNDS = 3  # of repair: what is left when rows are removed may show more
_ALTERED = "What the collection knew of it was damaged: the next build describes it again."


@dataclass
class ServerReport:
    """What there is, what does not hold, and what was done about it."""

    collection: str
    photographs: int = 0
    regions: int = 0
    partitions: int = 0
    indexed: int = 0  # partitions with an index
    unindexed: int = 0  # partitions that have grown to need one, which the next build or `indexer rebuild` makes
    recall_at_10: float = 1.0  # as measured when the indexes were made
    to_describe: int = 0
    problems: list[Problem] = field(default_factory=list)
    repaired: bool = False
    successor: Successor | None = None

    @property
    def holds(self) -> bool:
        return self.repaired or not self.problems

    def summary(self) -> dict[str, str]:
        partitions = f"{self.partitions:,} partition{'' if self.partitions == 1 else 's'}"
        lines = {
            "collection": self.collection,
            "photographs": f"{self.photographs:,}",
            "regions": f"{self.regions:,} in {partitions}",
            "index": f"{self.indexed:,} indexed, the others are scanned",
        }
        if self.indexed:
            lines["index"] += f"; recall@10 {self.recall_at_10:.4f}"
        if self.unindexed:
            lines["index"] += f"; {self.unindexed:,} to be made (`indexer rebuild`)"
        if self.successor is not None:
            lines["beside it"] = str(self.successor)
        return lines

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


@dataclass
class _Findings:
    damaged: dict[int, str] = field(default_factory=dict)  # photo id -> why it is to be described again
    orphan_regions: list[int] = field(default_factory=list)  # of no photo
    orphan_codes: list[int] = field(default_factory=list)
    orphan_summaries: list[int] = field(default_factory=list)  # ids of regions with which no photo begins
    cut_off: bool = False  # an index that was not finished


def verify(location: str, *, repair: bool = False) -> ServerReport:
    """Compare all rows of a collection with each other and with their checksums, in one snapshot.

    Dangling and missing regions, codes and summaries, photos that share regions, checksums of every photo's rows and
    features, indexes that are not valid or wanted; and all rows of a successor that was begun. What PostgreSQL stores
    is for its own checks (`data_checksums`, amcheck).

    Args:
        repair: see `db.maintenance.verify`.
    """
    with PostgresCollection.open(location, write=repair) as collection:
        report = _verify(collection, repair)
        address = collection.server.address  # a replica's, it may be; commands are for the one that was named
        named = replace(Address.parse(location), schema=address.schema)
        successor = collection.server.read(find_successor, named)
    if successor is not None and successor.checkpoint is not None:
        try:
            with PostgresCollection.open_at(address_of_successor(address), write=repair, indexed=False) as beside:
                theirs = _verify(beside, repair)
        except CollectionError:
            with PostgresCollection.open(location) as collection:
                if collection.server.read(find_successor, named) is not None:
                    raise
            return report  # it has just taken the collection's place
        successor.photographs = theirs.photographs
        report.to_describe += theirs.to_describe
        report.repaired = report.holds and theirs.holds and (report.repaired or theirs.repaired)
        report.problems += [Problem("successor", f"Schema {successor.schema}: {each.what}") for each in theirs.problems]
    report.successor = successor
    return report


def _verify(collection: PostgresCollection, repair: bool) -> ServerReport:
    """`verify` without the successor."""
    report, findings = collection.server.read(_inspect, collection.location, collection.model)
    if repair and report.problems:
        for _ in range(_ROUNDS):
            report.to_describe += len(findings.damaged)
            discard(
                collection,
                findings.damaged,
                findings.orphan_regions,
                findings.orphan_codes,
                findings.orphan_summaries,
            )
            if findings.cut_off:
                indexes.rebuild(collection.server, all_of_them=False)
            again, findings = collection.server.read(_inspect, collection.location, collection.model)
            if not again.problems:
                report.repaired = True
                break
    return report


def discard(
    collection: PostgresCollection,
    reasons: Mapping[int, str],
    orphan_regions: Iterable[int] = (),
    orphan_codes: Iterable[int] = (),
    orphan_summaries: Iterable[int] = (),
) -> None:
    """Have the next build describe some photos again, and delete rows of none.

    reasons: photo id -> why. orphan_regions, orphan_codes, orphan_summaries: ids.
    """
    collection.require_writer()

    def change(session: Session) -> None:
        for table, owner in (("region_code", "region"), ("photo_group", "photo_mean")):
            session.execute(
                text(
                    f"DELETE FROM {table} USING {owner} "
                    f"WHERE {owner}.id = {table}.id AND {owner}.photo_id = ANY({as_ids(reasons)})"
                )
            )
        session.execute(text(f"DELETE FROM photo_mean WHERE photo_id = ANY({as_ids(reasons)})"))
        for reason in sorted(set(reasons.values())):
            writes.describe_again(session, [some_id for some_id, why in reasons.items() if why == reason], reason)
        session.execute(text(f"DELETE FROM region WHERE id = ANY({as_ids(orphan_regions)})"))
        session.execute(text(f"DELETE FROM region_code WHERE id = ANY({as_ids(orphan_codes)})"))
        for table in ("photo_mean", "photo_group"):
            session.execute(text(f"DELETE FROM {table} WHERE id = ANY({as_ids(orphan_summaries)})"))
        finish(session, collection.model)

    collection.server.write_once(change)


def _inspect(session: Session, name: str, model: ModelIdentity) -> tuple[ServerReport, _Findings]:
    report = ServerReport(name, queries.photo_count(session), queries.region_count(session))
    findings = _Findings()
    _inspect_photos(session, model, findings)
    _inspect_indexes(session, report, findings)
    for ids, what in (
        (list(findings.damaged), "photograph{s} whose rows do not match their checksums or each other"),
        (findings.orphan_regions, "region{s} of no photograph"),
        (findings.orphan_codes, "code{s} of no region"),
        (findings.orphan_summaries, "summar{ies} of no photograph"),
    ):
        if ids:
            which = what.format(s="" if len(ids) == 1 else "s", ies="y" if len(ids) == 1 else "ies")
            report.problems.append(Problem("rows", f"{len(ids):,} {which}; the lowest id is {min(ids)}."))
    return report, findings


def _inspect_photos(session: Session, model: ModelIdentity, findings: _Findings) -> None:
    """Photos by their regions' ids, some hundreds at a time, with everything that has such ids."""
    photos: Iterator[Any] = iter(
        session.execute(
            text(
                "SELECT id, digest, width, height, first_region_id, region_count, regions_crc32, features_crc32 "
                "FROM photo WHERE reason IS NULL ORDER BY first_region_id"
            )
        )
    )
    last = 0
    while batch := list(islice(photos, _PHOTOS_AT_ONCE)):
        # What an earlier photo has is not looked at again: its second owner then lacks it.
        end = max(last, *(photo.first_region_id + photo.region_count - 1 for photo in batch))
        _inspect_range(session, batch, last + 1, end, model, findings)
        last = end
    _inspect_range(session, [], last + 1, 2**63 - 1, model, findings)


def _inspect_range(
    session: Session, photos: list[Any], first: int, last: int, model: ModelIdentity, findings: _Findings
) -> None:
    connection = driver_connection(session)
    where = f"WHERE id BETWEEN {first} AND {last} ORDER BY id"
    regions = session.execute(text(f"SELECT id, photo_id, x1, y1, x2, y2, score, phrase FROM region {where}")).all()
    ids = np.array([row.id for row in regions], np.int64)
    embeddings = copy_out(
        connection, f"SELECT id, embedding FROM region {where}", [("id", "i8"), ("embedding", model.embedding_size)]
    )["embedding"]
    found = copy_out(connection, f"SELECT id, code FROM region_code {where}", [("id", "i8"), ("code", model.code_size)])
    codes, code_ids = found["code"], found["id"]
    summaries = find_summaries(session, where, model)
    owned = np.zeros(len(ids), bool)
    for photo in photos:
        ends = photo.first_region_id, photo.first_region_id + photo.region_count
        wanted = np.arange(*ends)
        rows, code_rows = (slice(*np.searchsorted(some, ends)) for some in (ids, code_ids))
        ours = [row for row in regions[rows] if row.photo_id == photo.id]
        owned[rows] |= np.array([row.photo_id == photo.id for row in regions[rows]], bool)
        sound = (
            [row.id for row in ours] == wanted.tolist()
            and np.array_equal(code_ids[code_rows], wanted)
            and photo.features_crc32 in (None, features_crc32(codes[code_rows], embeddings[rows]))
            and photo.regions_crc32 in (None, _rows_crc32(photo, ours))
            and (not ours or summarizes(summaries.get(photo.first_region_id), photo.id, embeddings[rows]))
        )
        if not sound:
            findings.damaged[photo.id] = _ALTERED
    findings.orphan_regions += ids[~owned].tolist()
    owners = np.concatenate([np.arange(p.first_region_id, p.first_region_id + p.region_count) for p in photos] or [ids])
    findings.orphan_codes += np.setdiff1d(code_ids, owners).tolist()
    findings.orphan_summaries += sorted(
        summaries.keys() - {photo.first_region_id for photo in photos if photo.region_count}
    )


def _rows_crc32(photo: Any, regions: list[Any]) -> int:
    boxes_and_scores = np.array([row[2:7] for row in regions], np.float64)
    phrases = [row.phrase.encode() for row in regions]
    digest = (photo.digest or "").encode()
    return regions_crc32(digest, photo.width, photo.height, photo.first_region_id, boxes_and_scores, phrases)


def _inspect_indexes(session: Session, report: ServerReport, findings: _Findings) -> None:
    found = indexes.indexes(session)
    measured = indexes.report(session)
    report.partitions = len(indexes.partitions(session))
    report.indexed = len({index.partition for index in found if index.valid})
    report.recall_at_10 = measured.recall_at_10
    cut_off = [index.name for index in found if not index.valid]
    report.unindexed = len(indexes.needed(session))
    if cut_off:
        what = f"The index {cut_off[0]} was not finished: `indexer rebuild` makes it again."
        report.problems.append(Problem("index", what))
    findings.cut_off = bool(cut_off)
