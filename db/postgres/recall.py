"""How many lists of a server's index a question looks into (`db.recall`), and how well it finds so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.postgres.partitions import Partition
from db.postgres.server import driver_connection
from db.postgres.vectors import as_halfvec, as_ids, copy_out
from db.recall import DEPTH, QUERIES, SEED, exact_limits, least_probes, share

# Of the exact first 100, the share that must be found for questions that lie where phrases do: then 0.985 of the ten
# best photographs for a phrase are found.
WANTED = 0.98
# So close a question lies to the region that it was made of. The hundredth region is at 0.48 from a phrase and at 0.37
# from these (at 0.77 from a region itself), and of both as many are found with as many lists: 0.93 with 28 of 2,000,
# 0.97 with 56 (of regions themselves 0.975 with 15 to 24, which is chance).
PHRASE_COSINE = 0.45
TOLERANCE = 1e-5  # between two sums of the same products: copies of a photo are equally good answers
_PART = 100_000  # regions in memory at one time


@dataclass(frozen=True)
class Recall:
    """How well an index finds with so many probes what lies near its own vectors."""

    probes: int
    at_10: float
    at_100: float
    queries: int


def measure(session: Session, partition: Partition, lists: int) -> Recall:
    """The least probes that find WANTED for questions as phrases ask them, and how many of what lies near regions."""
    regions = sample(session, partition)
    both = [like_phrases(regions), regions]
    limits = exact_limits(np.concatenate(both), _parts(session, partition, regions.shape[1]))

    def found(asked: int, probes: int, k: int) -> float:
        some = [_search(session, partition, query, probes) for query in both[asked]]
        of_them = slice(asked * len(regions), (asked + 1) * len(regions))
        return share(some, limits[k][of_them], k, tolerance=TOLERANCE)

    enough = least_probes(lambda probes: found(0, probes, DEPTH), lists, WANTED)
    too_few = enough // 2
    while enough - too_few > max(1, enough // 16):
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if found(0, middle, DEPTH) >= WANTED else (middle, enough)
    return Recall(enough, found(1, enough, 10), found(1, enough, DEPTH), len(regions))


def like_phrases(regions: np.ndarray) -> np.ndarray:
    """(Q, E) float32 of unit length -> as many that are as far from these, anywhere, as phrases are; half floats."""
    noise = np.random.default_rng(SEED).normal(size=regions.shape)
    noise -= (noise * regions).sum(axis=1, keepdims=True) * regions
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return (PHRASE_COSINE * regions + np.sqrt(1 - PHRASE_COSINE**2) * noise).astype(np.float16).astype(np.float32)


def sample(session: Session, partition: Partition) -> np.ndarray:
    """(Q <= QUERIES, E) float32: embeddings drawn from a partition; of the same one the same ones."""
    ends: Any = session.execute(text(f"SELECT min(id), max(id) FROM {partition.name}")).one()
    ids = np.random.default_rng(SEED).integers(ends[0], ends[1] + 1, 20 * QUERIES)
    size = session.scalar(text("SELECT embedding_size FROM meta"))
    assert isinstance(size, int)
    found = copy_out(
        driver_connection(session),
        f"SELECT id, embedding FROM {partition.name} WHERE id = ANY({as_ids(np.unique(ids))}) LIMIT {QUERIES}",
        [("id", "i8"), ("embedding", size)],
    )
    return found["embedding"].astype(np.float32)


def _parts(session: Session, partition: Partition, size: int) -> Iterator[np.ndarray]:
    for first in range(partition.first_id, partition.last_id + 1, _PART):
        found = copy_out(
            driver_connection(session),
            f"SELECT id, embedding FROM {partition.name} WHERE id >= {first} AND id < {first + _PART}",
            [("id", "i8"), ("embedding", size)],
        )
        if len(found["id"]):
            yield found["embedding"].astype(np.float32)


def _search(session: Session, partition: Partition, query: np.ndarray, probes: int) -> np.ndarray:
    session.execute(text("SELECT set_config('ivfflat.probes', :probes, true)"), {"probes": str(probes)})
    session.execute(text("SET LOCAL enable_seqscan = off"))
    found = copy_out(
        driver_connection(session),
        f"SELECT -(embedding <#> {as_halfvec(query)}) AS score FROM {partition.name} "
        f"ORDER BY embedding <#> {as_halfvec(query)} LIMIT {DEPTH}",
        [("score", "f8")],
    )
    return found["score"]
