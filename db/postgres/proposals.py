"""Which photos may answer several phrases: all by the mean of their regions, the better ones by groups of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pgvector import HalfVector
from sqlalchemy.orm import Session

from db.postgres.crew import Crew
from db.postgres.server import driver_connection
from db.postgres.summaries import group_columns
from db.postgres.vectors import fetch_columns


@dataclass(frozen=True)
class Proposed:
    """Photos that may answer, best first by what their summaries tell."""

    photo_ids: np.ndarray  # (P,) int64
    late: np.ndarray  # (P,) bool: by its mean it is in the second half, so that more like it may follow


def propose(
    crew: Crew, vectors: np.ndarray, tables: Mapping[str, str], limit: int, condition: str = "true"
) -> Proposed:
    """Of each table, the `limit` photos whose mean is closest to the mean of the phrases.

    In the order of the mean over phrases of their best group.

    Args:
        vectors: (Q, E) float32, the phrases.
        tables: tables of means, and that of the groups of the same photos.
        condition: SQL about `photo_id` of a photo that may be proposed.
    """
    phrases = {f"phrase_{row}": HalfVector(vector) for row, vector in enumerate(vectors)}
    parameters: dict[str, Any] = {**phrases, "together": HalfVector(vectors.mean(axis=0))}
    best = " + ".join(
        "greatest(" + ", ".join(f"-({column} <#> %({name})b::halfvec)" for column in group_columns()) + ")"
        for name in phrases
    )
    means = list(tables)

    def ask(session: Session, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        parts = [
            f"(SELECT {number}::bigint, photo_id, distance, {best} FROM ("
            f"SELECT id, photo_id, embedding <#> %(together)b::halfvec AS distance FROM {means[number]} "
            f"WHERE {condition} ORDER BY distance LIMIT {limit}) AS mean JOIN {tables[means[number]]} USING (id))"
            for number in numbers
        ]
        columns = [("number", "i8"), ("photo_id", "i8"), ("distance", "f8"), ("score", "f8")]
        return fetch_columns(driver_connection(session), " UNION ALL ".join(parts), columns, parameters)

    found = crew.gather(ask, range(len(means)))
    late = np.zeros(len(found["photo_id"]), bool)
    for number in range(len(means)):
        rows = np.flatnonzero(found["number"] == number)
        if len(rows) == limit:  # else it has no more
            late[rows[np.argsort(found["distance"][rows])[limit // 2 :]]] = True
    order = np.lexsort((found["photo_id"], -found["score"]))
    return Proposed(found["photo_id"][order], late[order])
