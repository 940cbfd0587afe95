"""A photo's regions in a few vectors, by which photos for several phrases are proposed (`db.postgres.proposals`).

`photo_mean` has the direction of the mean of a photo's regions, a narrow row that is scanned; `photo_group` those of
GROUPS groups of regions that are alike.
"""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.postgres.server import driver_connection
from db.postgres.vectors import Column, copy_in, copy_out
from db.records import ModelIdentity

# As many as fit twice into a page of 8 KB, with 256 half floats each. In the order of the best group of each of four
# phrases, of the ten best photos of 20,000 the first 200 have 0.95 with 4 groups, 0.97 with 6, 0.98 with 7, 0.99 with
# 8.
GROUPS = 7
_PHOTOS_AT_ONCE = 500
_TOLERANCE = 0.01
_ROUNDS = 5  # of k-means


def group_columns() -> list[str]:
    """The vectors of a row of `photo_group`."""
    return [f"embedding_{number}" for number in range(1, GROUPS + 1)]


def summary(embeddings: np.ndarray) -> np.ndarray:
    """(N >= 1, E) of unit length -> (1 + GROUPS, E) float32 of unit length: the mean's direction, those of the groups.

    Groups of k-means by angle that starts with regions far from each other. With fewer regions some are there twice.
    """
    regions = embeddings.astype(np.float32)
    mean = _unit(regions.mean(axis=0, keepdims=True))
    centres = np.empty((GROUPS, regions.shape[1]), np.float32)
    closest = regions @ mean[0]
    chosen = closest.argmax()
    closest[:] = -np.inf
    for number in range(GROUPS):
        centres[number] = regions[chosen]
        closest = np.maximum(closest, regions @ centres[number])
        chosen = closest.argmin()
    for _ in range(_ROUNDS):
        members = (regions @ centres.T).argmax(axis=1) == np.arange(GROUPS)[:, None]
        some = members.any(axis=1)
        centres[some] = _unit(members[some].astype(np.float32) @ regions)
    return np.concatenate([mean, centres])


def add_summaries(
    session: Session, first_region_ids: Sequence[int], photo_ids: Sequence[int], embeddings: Sequence[np.ndarray]
) -> None:
    """Add those of photos, whose regions' embeddings are (N, E) each; a photo that has lost its regions gets none."""
    described = [row for row, of_photo in enumerate(embeddings) if len(of_photo)]
    if not described:
        return
    found = np.stack([summary(embeddings[row].astype(np.float16)) for row in described])  # as they are stored
    ids = np.asarray(first_region_ids, np.int64)[described]
    connection, size = driver_connection(session), found.shape[2]
    copy_in(
        connection,
        "photo_mean",
        [("id", "i8"), ("photo_id", "i8"), ("embedding", size)],
        {"id": ids, "photo_id": np.asarray(photo_ids, np.int64)[described], "embedding": found[:, 0]},
    )
    names = group_columns()
    columns: list[Column] = [("id", "i8"), *((name, size) for name in names)]
    groups = {name: found[:, 1 + number] for number, name in enumerate(names)}
    copy_in(connection, "photo_group", columns, {"id": ids, **groups})


def summarize_all(session: Session, model: ModelIdentity) -> None:
    """Add those of all photos that there are."""
    photos = session.execute(
        text(
            "SELECT id, first_region_id, region_count FROM photo WHERE reason IS NULL AND region_count > 0 "
            "ORDER BY first_region_id"
        )
    ).all()
    for start in range(0, len(photos), _PHOTOS_AT_ONCE):
        some = photos[start : start + _PHOTOS_AT_ONCE]
        first, end = some[0].first_region_id, max(photo.first_region_id + photo.region_count for photo in some)
        regions = copy_out(
            driver_connection(session),
            f"SELECT id, embedding FROM region WHERE id >= {first} AND id < {end} ORDER BY id",
            [("id", "i8"), ("embedding", model.embedding_size)],
        )
        firsts = [photo.first_region_id for photo in some]
        ends = [photo.first_region_id + photo.region_count for photo in some]
        of_photos = [slice(*rows) for rows in np.searchsorted(regions["id"], np.column_stack([firsts, ends])).tolist()]
        add_summaries(session, firsts, [photo.id for photo in some], [regions["embedding"][rows] for rows in of_photos])


def find_summaries(session: Session, where: str, model: ModelIdentity) -> dict[int, tuple[int | None, np.ndarray]]:
    """By the id of the photo's first region: photo id, (1 + GROUPS, E) float32; None and NaN for a row that is missing.

    where: SQL about that id.
    """
    connection, size, names = driver_connection(session), model.embedding_size, group_columns()
    means = copy_out(
        connection,
        f"SELECT id, photo_id, embedding FROM photo_mean {where}",
        [("id", "i8"), ("photo_id", "i8"), ("embedding", size)],
    )
    groups = copy_out(
        connection,
        f"SELECT id, {', '.join(names)} FROM photo_group {where}",
        [("id", "i8"), *((name, size) for name in names)],
    )
    firsts = np.union1d(means["id"], groups["id"]).tolist()
    vectors = {first: np.full((1 + GROUPS, size), np.nan, np.float32) for first in firsts}
    owners = dict(zip(means["id"].tolist(), means["photo_id"].tolist()))
    for row, first in enumerate(means["id"].tolist()):
        vectors[first][0] = means["embedding"][row]
    for row, first in enumerate(groups["id"].tolist()):
        vectors[first][1:] = [groups[name][row] for name in names]
    return {first: (owners.get(first), of_photo) for first, of_photo in vectors.items()}


def summarizes(found: tuple[int | None, np.ndarray] | None, photo_id: int, embeddings: np.ndarray) -> bool:
    """Whether what `find_summaries` found is a summary of a photo with these regions, (N >= 1, E) float16.

    Another computer may have grouped them otherwise: then the groups are as close to the regions.
    """
    if found is None or found[0] != photo_id:
        return False
    regions, expected = embeddings.astype(np.float32), summary(embeddings)
    there, wanted = ((regions @ vectors[1:].T).max(axis=1).mean() for vectors in (found[1], expected))
    return bool(there > wanted - _TOLERANCE and np.allclose(found[1][0], expected[0], atol=_TOLERANCE))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(N, E) of unit length; where regions cancel each other out, zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
