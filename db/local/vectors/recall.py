"""How much of what exact search finds the FAISS files find, on vectors drawn from the collection itself."""

from collections.abc import Iterator

import numpy as np

from db.local.segments import PART_ROWS, SegmentFolder
from db.local.sqlite.snapshot import Snapshot
from db.local.vectors.faiss_index import Vectors
from db.records import IndexReport

QUERIES = 100
DEPTH = 100
SEED = 4321
TOLERANCE = 1e-6  # between two sums of the same products: copies of a photo are equally good answers


def measure(vectors: Vectors, snapshot: Snapshot, segments: SegmentFolder) -> IndexReport:
    """Measure the saved FAISS files of a snapshot. vectors: their content."""
    queries = sample_queries(snapshot, segments)
    at_10, at_100 = recall(vectors, queries, _all(snapshot, segments)) if len(queries) else (1.0, 1.0)
    return IndexReport(
        regions=snapshot.region_count,
        files=len(snapshot.files),
        lists=sum(file.nlist for file in snapshot.files),
        bytes=sum(file.size for file in snapshot.files),
        queries=len(queries),
        recall_at_10=at_10,
        recall_at_100=at_100,
    )


def sample_queries(snapshot: Snapshot, segments: SegmentFolder) -> np.ndarray:
    """One region each of up to QUERIES photos: (Q, embedding_size) float32. The same collection, the same ones."""
    rng = np.random.default_rng(SEED)
    count = len(snapshot.extents.photo_ids)
    extents = snapshot.extents.take(np.sort(rng.permutation(count)[:QUERIES]))
    rows = np.cumsum(extents.counts) - extents.counts + rng.integers(extents.counts)
    return segments.read("embeddings", extents, snapshot.segments)[rows].astype(np.float32)


def recall(
    vectors: Vectors, queries: np.ndarray, parts: Iterator[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """Mean recall@10 and recall@100 of an index.

    An answer counts if its inner product is as high as that of the k-th best region of all.

    Args:
        vectors: the index.
        queries: (Q, E) float32, Q >= 1.
        parts: all regions, piece by piece: ids (N,) ascending, vectors (N, E) float32.
    """
    found = [ids for ids, _ in vectors.search(queries, DEPTH)]
    scores = [np.full(len(ids), -np.inf, np.float32) for ids in found]  # exact ones of what was found
    best = np.empty((len(queries), 0), np.float32)  # of all regions so far
    for ids, some in parts:
        products = queries @ some.T  # (Q, N)
        best = np.concatenate([best, products], axis=1)
        best = np.partition(best, -min(DEPTH, best.shape[1]), axis=1)[:, -DEPTH:]
        for row, found_ids in enumerate(found):
            position = np.minimum(np.searchsorted(ids, found_ids), len(ids) - 1)
            here = ids[position] == found_ids
            scores[row][here] = products[row, position[here]]
    best.sort(axis=1)
    shares = []
    for k in (10, DEPTH):
        wanted = min(k, best.shape[1])
        enough = best[:, -wanted] - TOLERANCE
        shares.append([np.count_nonzero(some[:k] >= limit) / wanted for some, limit in zip(scores, enough)])
    return float(np.mean(shares[0])), float(np.mean(shares[1]))


def _all(snapshot: Snapshot, segments: SegmentFolder) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every region's id and embedding, piece by piece."""
    for part in snapshot.extents.parts(PART_ROWS):
        yield part.region_ids(), segments.read("embeddings", part, snapshot.segments).astype(np.float32)
