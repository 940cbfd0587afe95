"""Which photos may answer several phrases: all by the mean of their regions, the better ones by groups of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pgvector import HalfVector
from sqlalchemy.orm import Session

from db.postgres.crew import Crew
from db.postgres.server import driver_connection
from db.postgres.summaries import group_columns
from db.postgres.vectors import fetch_columns


def propose(
    crew: Crew, vectors: np.ndarray, tables: Mapping[str, str], limit: int, condition: str = "true"
) -> np.ndarray:
    """Photos by how well their summaries answer, best first: (P,) int64.

    Of each table, the `limit` photos whose mean is closest to the mean of the phrases, in the order of the mean over
    phrases of their best group.

    Args:
        vectors: (Q, E) float32, the phrases.
        tables: tables of means, and that of the groups of the same photos.
        condition: SQL about `photo_id` of a photo that may be proposed.
    """
    phrases = {f"phrase_{row}": HalfVector(vector) for row, vector in enumerate(vectors)}
    together = {"together": HalfVector(vectors.mean(axis=0))}
    best = " + ".join(
        "greatest(" + ", ".join(f"-({column} <#> %({name})b::halfvec)" for column in group_columns()) + ")"
        for name in phrases
    )

    def ask(session: Session, means: Sequence[str]) -> dict[str, np.ndarray]:
        parts = [
            f"(SELECT photo_id, {best} FROM (SELECT id, photo_id FROM {mean} WHERE {condition} "
            f"ORDER BY embedding <#> %(together)b::halfvec LIMIT {limit}) AS mean JOIN {tables[mean]} USING (id))"
            for mean in means
        ]
        columns = [("photo_id", "i8"), ("score", "f8")]
        parameters: dict[str, Any] = {**phrases, **together}
        return fetch_columns(driver_connection(session), " UNION ALL ".join(parts), columns, parameters)

    answers = crew.share(ask, list(tables))
    photo_ids, scores = (np.concatenate([answer[name] for answer in answers]) for name in ("photo_id", "score"))
    return photo_ids[np.lexsort((photo_ids, -scores))]
