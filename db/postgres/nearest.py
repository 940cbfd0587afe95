"""What a question asks of the vectors, computed by the server: only ids and cosines travel."""

from collections.abc import Iterable

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.errors import UnknownId
from db.postgres.server import driver_connection
from db.postgres.vectors import as_halfvec, as_ids, as_vector, copy_out
from db.records import AreaRange, Features, ModelIdentity, RegionScores

Found = tuple[np.ndarray, np.ndarray]  # photo ids and their best cosines, best first


def cosines(session: Session, vectors: np.ndarray, photo_ids: Iterable[int] | None) -> RegionScores:
    """The cosine of each phrase, (Q, E) float32, and each region of these photos, or of all.

    Raises:
        UnknownId: an id that is not known or was not described.
    """
    # Widened once a region, and compared with the phrase as it is: halves of both would cost four digits.
    regions = _regions_of(photo_ids, "id, photo_id, embedding::vector AS embedding")
    scores = ", ".join(f"-(embedding <#> {as_vector(vector)}) AS s{row}" for row, vector in enumerate(vectors))
    found = copy_out(
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


def nearest(session: Session, vectors: np.ndarray, depth: int, condition: str = "true") -> list[Found]:
    """The photos of the `depth` regions nearest to each phrase, as far as the indexes find them.

    condition: SQL about a region that may be found.

    Returns:
        For each phrase photo ids and cosines, descending. The last entry is the last region's cosine: a photo that is
        not among them has at most that.
    """
    parts = [
        f"SELECT {row}::bigint AS phrase, photo_id, max(score) AS best, min(score) AS least FROM ("
        f"SELECT photo_id, -(embedding <#> {as_halfvec(vector)}) AS score FROM region WHERE {condition} "
        f"ORDER BY embedding <#> {as_halfvec(vector)} LIMIT {depth}) AS region GROUP BY photo_id"
        for row, vector in enumerate(vectors)
    ]
    found = copy_out(
        driver_connection(session),
        " UNION ALL ".join(f"({part})" for part in parts),
        [("phrase", "i8"), ("photo_id", "i8"), ("best", "f8"), ("least", "f8")],
    )
    lists = []
    for row in range(len(vectors)):
        ours = np.flatnonzero(found["phrase"] == row)
        ours = ours[np.lexsort((found["photo_id"][ours], -found["best"][ours]))]
        last = ours[np.argmin(found["least"][ours])] if len(ours) else ours
        ids = np.append(found["photo_id"][ours], found["photo_id"][last])
        lists.append((ids, np.append(found["best"][ours], found["least"][last])))
    return lists


def prepare_search(session: Session, *, filtered: bool) -> None:
    """Set how an index is searched in this transaction.

    filtered: a condition leaves regions out, so it may take more lists than the probes to find enough of them.
    """
    session.execute(
        text(
            "SELECT set_config('ivfflat.probes', coalesce(max(probes), 1)::text, true), "
            "set_config('ivfflat.iterative_scan', :scan, true) FROM vector_index"
        ),
        {"scan": "relaxed_order" if filtered else "off"},
    )


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
    found = copy_out(
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
