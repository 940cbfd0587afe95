"""What a question asks of the vectors, computed by the server: only ids and cosines travel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pgvector import HalfVector
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.errors import UnknownId
from db.postgres.crew import Crew
from db.postgres.server import driver_connection
from db.postgres.vectors import as_ids, as_vector, copy_out, fetch_columns, ids_parameter
from db.records import AreaRange, Features, ModelIdentity, RegionScores

# Of the lists that a question looks into: 40,000 regions take 5 MB.
SORT_MEMORY = "32MB"


def cosines(session: Session, vectors: np.ndarray, photo_ids: Iterable[int] | None) -> RegionScores:
    """The cosine of each phrase, (Q, E) float32, and each region of these photos, or of all.

    Raises:
        UnknownId: an id that is not known or was not described.
    """
    # Widened once a region, and compared with the phrase as it is: halves of both would cost four digits.
    regions = _regions_of(photo_ids, "id, photo_id, embedding::vector AS embedding")
    scores = ", ".join(f"-(embedding <#> {as_vector(vector)}) AS s{row}" for row, vector in enumerate(vectors))
    found = (fetch_columns if photo_ids is not None else copy_out)(
        driver_connection(session),
        f"SELECT id, photo_id{', ' if scores else ''}{scores} FROM ({regions}) AS region ORDER BY id",
        [("id", "i8"), ("photo_id", "i8"), *((f"s{row}", "f8") for row in range(len(vectors)))],
    )
    _require_all(photo_ids, found["photo_id"])
    table = np.empty((len(vectors), len(found["id"])), np.float32)
    for row in range(len(vectors)):
        table[row] = found[f"s{row}"]
    return RegionScores(found["id"], found["photo_id"], table)


def codes(session: Session, region_ids: np.ndarray, model: ModelIdentity) -> np.ndarray:
    """(N, C) float16: the codes of (N,) regions, in the order asked. Raises UnknownId."""
    asked = np.unique(region_ids)
    found = copy_out(
        driver_connection(session),
        f"SELECT id, code FROM region_code WHERE id = ANY({as_ids(asked)}) ORDER BY id",
        [("id", "i8"), ("code", model.code_size)],
    )
    if len(found["id"]) != len(asked):
        raise UnknownId(f"region {np.setdiff1d(asked, found['id'])[0]}")
    return found["code"][np.searchsorted(found["id"], region_ids)]


def features(session: Session, photo_ids: Iterable[int] | None, model: ModelIdentity) -> Features:
    """Codes and embeddings of these photos, or of all. Raises UnknownId."""
    connection = driver_connection(session)
    found = copy_out(
        connection,
        f"SELECT * FROM ({_regions_of(photo_ids, 'id, photo_id, embedding')}) AS region ORDER BY id",
        [("id", "i8"), ("photo_id", "i8"), ("embedding", model.embedding_size)],
    )
    _require_all(photo_ids, found["photo_id"])
    their_codes = copy_out(
        connection,
        f"SELECT * FROM ({_regions_of(photo_ids, 'id, code', 'region_code')}) AS region ORDER BY id",
        [("id", "i8"), ("code", model.code_size)],
    )
    if not np.array_equal(found["id"], their_codes["id"]):
        lacking = np.setxor1d(found["id"], their_codes["id"])
        raise UnknownId(f"region {lacking[0]} with its code")
    return Features(found["id"], found["photo_id"], their_codes["code"], found["embedding"].astype(np.float32))


@dataclass(frozen=True)
class Nearest:
    """The photos of the regions nearest to a phrase, as far as the indexes find them."""

    photo_ids: np.ndarray  # (P,) int64, ascending
    best: np.ndarray  # (P,) float64, the cosine of the photo's best region
    unmet: float  # a photo that was not met has at most that


def nearest(
    crew: Crew, phrase: HalfVector, tables: Sequence[str], depth: int, how: "HowToSearch", condition: str = "true"
) -> Nearest:
    """The photos of the `depth` regions nearest to a phrase in each table.

    condition: SQL about a region that may be found.
    """

    def ask(session: Session, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        how.prepare(session)
        parts = [
            f"(SELECT {number}::bigint, photo_id, -min(distance), -max(distance) FROM ("
            f"SELECT photo_id, embedding <#> %(phrase)b::halfvec AS distance FROM {tables[number]} WHERE {condition} "
            f"ORDER BY distance LIMIT {depth}) AS region GROUP BY photo_id)"
            for number in numbers
        ]
        columns = [("number", "i8"), ("photo_id", "i8"), ("best", "f8"), ("least", "f8")]
        return fetch_columns(driver_connection(session), " UNION ALL ".join(parts), columns, {"phrase": phrase})

    found = crew.gather(ask, range(len(tables)))
    photo_ids, owner = np.unique(found["photo_id"], return_inverse=True)
    best = np.full(len(photo_ids), -np.inf)
    np.maximum.at(best, owner, found["best"])
    last = [found["least"][found["number"] == number].min(initial=1.0) for number in np.unique(found["number"])]
    return Nearest(photo_ids, best, float(max(last, default=-1.0)))


@dataclass(frozen=True)
class HowToSearch:
    """How indexes are searched."""

    probes: int
    filtered: bool  # a condition leaves regions out: more lists than the probes, until enough of them are found

    def prepare(self, session: Session) -> None:
        """Set that for the transaction of a session, if it was not."""
        if session.info.get("search") != self:
            session.execute(
                text(
                    "SELECT set_config('ivfflat.probes', :probes, true), "
                    "set_config('ivfflat.iterative_scan', :scan, true), set_config('work_mem', :memory, true)"
                ),
                {
                    "probes": str(self.probes),
                    "scan": "relaxed_order" if self.filtered else "off",
                    "memory": SORT_MEMORY,
                },
            )
            session.info["search"] = self


def best_of(crew: Crew, phrases: Sequence[HalfVector], photo_ids: np.ndarray, condition: str = "true") -> np.ndarray:
    """(Q, P) float64: the cosine of each phrase and the best region of each of (P,) photos, ascending ids.

    By the index's own distance: half floats of the phrase too, which costs 2e-5. -1 where no region may answer.
    condition: as of `nearest`, about the regions of a photo that is named.
    """
    scores = ", ".join(f"max(-(embedding <#> %b::halfvec)) AS s{row}" for row in range(len(phrases)))
    names = [f"s{row}" for row in range(len(phrases))]

    def ask(session: Session, some: np.ndarray) -> dict[str, np.ndarray]:
        query = (
            f"SELECT photo.id, best.* FROM photo, LATERAL (SELECT {scores} FROM region "
            "WHERE region.id >= photo.first_region_id AND region.id < photo.first_region_id + photo.region_count "
            f"AND {condition}) AS best WHERE photo.id = ANY(%b::bigint[]) AND photo.reason IS NULL "
            "AND best.s0 IS NOT NULL"
        )
        columns = [("photo_id", "i8"), *((name, "f8") for name in names)]
        return fetch_columns(driver_connection(session), query, columns, [*phrases, ids_parameter(some)])

    best = np.full((len(phrases), len(photo_ids)), -1.0)
    for answer in crew.share(ask, photo_ids):
        best[:, np.searchsorted(photo_ids, answer["photo_id"])] = [answer[name] for name in names]
    return best


def may_answer(allowed: Iterable[int] | None, area: AreaRange | None) -> str:
    """A condition of `nearest`: the region is of one of these photos, and covers such a share of it."""
    conditions = []
    if allowed is not None:
        conditions.append(f"photo_id = ANY({as_ids(allowed)})")
    if area is not None:
        conditions.append(f"(SELECT {of_area(area)} FROM photo WHERE photo.id = photo_id)")
    return " AND ".join(conditions) or "true"


def best_cosines(
    session: Session, vectors: np.ndarray, photo_ids: Iterable[int] | None, condition: str = "true"
) -> RegionScores:
    """The cosine of each phrase and the best region of each of these photos, or of all, in the place of that region.

    condition: as of `nearest`.
    """
    regions = _regions_of(photo_ids, "id, photo_id, embedding::vector AS embedding", condition=condition)
    scores = ", ".join(f"max(-(embedding <#> {as_vector(vector)})) AS s{row}" for row, vector in enumerate(vectors))
    found = (fetch_columns if photo_ids is not None else copy_out)(
        driver_connection(session),
        f"SELECT min(id), photo_id, {scores} FROM ({regions}) AS region GROUP BY photo_id ORDER BY photo_id",
        [("id", "i8"), ("photo_id", "i8"), *((f"s{row}", "f8") for row in range(len(vectors)))],
    )
    table = np.array([found[f"s{row}"] for row in range(len(vectors))], np.float32)
    return RegionScores(found["id"], found["photo_id"], table.reshape(len(vectors), -1))


def of_area(area: AreaRange) -> str:
    """A condition of `best_cosines` for photos that are named: the region covers such a share of its photo."""
    pixels, photo = "(x2 - x1) * (y2 - y1)", "(photo.width * photo.height)"
    return f"{pixels} >= {float(area.least)!r} * {photo} AND {pixels} <= {float(area.most)!r} * {photo}"


def _regions_of(
    photo_ids: Iterable[int] | None, columns: str, table: str = "region", *, condition: str = "true"
) -> str:
    """SQL: columns of the regions of these photos, or of all.

    A photo's regions are a range of ids, and so of one partition or two: looked up photo by photo (OFFSET 0 keeps the
    planner from joining whatever it thinks of ranges), and nothing of the others is touched.
    """
    if photo_ids is None:
        return f"SELECT {columns} FROM {table} WHERE {condition}"
    return (
        f"SELECT region.* FROM photo, LATERAL (SELECT {columns} FROM {table} "
        "WHERE id >= photo.first_region_id AND id < photo.first_region_id + photo.region_count "
        f"AND {condition} OFFSET 0) AS region WHERE photo.id = ANY({as_ids(photo_ids)}) AND photo.reason IS NULL"
    )


def _require_all(photo_ids: Iterable[int] | None, found: np.ndarray) -> None:
    if photo_ids is not None and (unknown := {int(photo_id) for photo_id in photo_ids} - set(found.tolist())):
        raise UnknownId(f"described photograph {min(unknown)}")
