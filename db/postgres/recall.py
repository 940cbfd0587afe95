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

# Of the exact first 100, the share that must be found. Towards 0.99 it takes ever more lists, and how many is chance.
WANTED = 0.975
# Phrases lie further from regions than regions from each other: so many times the lists are looked into. Of the ten
# best photographs for a phrase 0.97 came with 60 lists of 2,000, 0.98 with 75, 0.993 with 90 and more, where 20 to 24
# find what is wanted of regions (1e6 regions in two partitions; scripts.benchmark.server, docs/results.md).
FOR_PHRASES = 4.5
TOLERANCE = 1e-5  # between two sums of the same products: copies of a photo are equally good answers
_PART = 100_000  # regions in memory at one time


@dataclass(frozen=True)
class Recall:
    """How well an index finds with so many probes."""

    probes: int
    at_10: float
    at_100: float
    queries: int


def measure(session: Session, partition: Partition, lists: int) -> Recall:
    """FOR_PHRASES times the least probes that find WANTED, and what an index finds with them."""
    queries = sample(session, partition)
    limits = exact_limits(queries, _parts(session, partition, queries.shape[1]))

    def found(probes: int) -> Recall:
        some = [_search(session, partition, query, probes) for query in queries]
        at_10, at_100 = (share(some, limits[k], k, tolerance=TOLERANCE) for k in (10, DEPTH))
        return Recall(probes, at_10, at_100, len(queries))

    enough = least_probes(lambda probes: found(probes).at_100, lists, WANTED)
    too_few = enough // 2
    while enough - too_few > max(1, enough // 16):
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if found(middle).at_100 >= WANTED else (middle, enough)
    return found(min(round(FOR_PHRASES * enough), lists))


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
