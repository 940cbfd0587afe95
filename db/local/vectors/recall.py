"""How much of what exact search finds the FAISS files find, on vectors drawn from the collection itself."""

from collections.abc import Iterator

import numpy as np

from db.local.extents import Extents
from db.local.segments import PART_ROWS, SegmentFolder
from db.local.sqlite.snapshot import Snapshot
from db.local.vectors.faiss_index import VectorIndex, Vectors
from db.recall import DEPTH, QUERIES, SEED, exact_limits, least_probes, share
from db.records import IndexReport

TOLERANCE = 1e-6  # between two sums of the same products
LEAST_DEPTH = 10
# The length of a random vector that is added to a region's unit one: its cosine to that region is 0.55 then, as that of
# a phrase to the region that is nearest to it (0.52, median of 64). Of the first 25 in 250,000 regions with 4,096 lists
# are found in 16, 32, 64 and 128 of them: for phrases .912, .958, .984, .990; for such vectors of length 1.33 .940,
# .973, .989, .996 and of length 1.75 .929, .958, .970, .979; for the regions themselves .978, .988, .998, .999.
PHRASE_DISTANCE = 1.5


def measure(vectors: Vectors, snapshot: Snapshot, segments: SegmentFolder) -> IndexReport:
    """Measure the saved FAISS files of a snapshot. vectors: their content."""
    queries = sample_queries(snapshot.extents, snapshot, segments)
    parts = all_of(snapshot.extents, snapshot, segments)
    at_10, at_100 = recall(vectors, queries, parts) if len(queries) else (1.0, 1.0)
    return IndexReport(
        regions=snapshot.region_count,
        files=len(snapshot.files),
        lists=sum(file.nlist for file in snapshot.files),
        bytes=sum(file.size for file in snapshot.files),
        queries=len(queries),
        recall_at_10=at_10,
        recall_at_100=at_100,
    )


def sample_queries(extents: Extents, snapshot: Snapshot, segments: SegmentFolder) -> np.ndarray:
    """One region each of up to QUERIES of these photos: (Q, embedding_size) float32. The same photos, the same ones."""
    rng = np.random.default_rng(SEED)
    some = extents.take(np.sort(rng.permutation(len(extents.photo_ids))[:QUERIES]))
    rows = np.cumsum(some.counts) - some.counts + rng.integers(some.counts)
    return segments.read("embeddings", some, snapshot.segments)[rows].astype(np.float32)


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
    counts: list[int] = []

    def counted() -> Iterator[np.ndarray]:
        for ids, some in parts:
            counts.append(len(ids))
            yield some

    limits = exact_limits(queries, counted())
    found = [scores for _, scores in vectors.search(queries, DEPTH)]
    at_10, at_100 = (share(found, limits[k], k, tolerance=TOLERANCE, total=sum(counts)) for k in (10, DEPTH))
    return at_10, at_100


def probes_and_recall(
    index: VectorIndex, extents: Extents, snapshot: Snapshot, segments: SegmentFolder, nprobe: int | None
) -> tuple[int, float]:
    """How many lists of an index of these photos' regions a question has to look into, and what it finds so.

    Of the exact first 100 of the collection this file has its share: so many of its own count. The questions are
    regions as far away as phrases are.

    nprobe: of its other files; None: to be chosen.
    """
    queries = as_far_as_phrases(sample_queries(extents, snapshot, segments))
    depth = max(LEAST_DEPTH, round(DEPTH * extents.region_count / snapshot.region_count))
    limits = exact_limits(queries, (some for _, some in all_of(extents, snapshot, segments)), [depth])[depth]
    embeddings = segments.mapped(snapshot.segments)
    vectors = Vectors([index], lambda ids: embeddings.read(extents.rows_of(ids)))

    def found(probes: int) -> float:
        index.nprobe = probes
        some = [scores for _, scores in vectors.search(queries, depth)]
        return share(some, limits, depth, tolerance=TOLERANCE, total=extents.region_count)

    chosen = least_probes(found, index.nlist) if nprobe is None else nprobe
    return chosen, found(chosen)


def as_far_as_phrases(regions: np.ndarray) -> np.ndarray:
    """Unit vectors (N, E) float32 in the neighbourhood of regions (N, E)."""
    noise = np.random.default_rng(SEED).standard_normal(regions.shape)
    far = regions + PHRASE_DISTANCE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (far / np.linalg.norm(far, axis=1, keepdims=True)).astype(np.float32)


def all_of(extents: Extents, snapshot: Snapshot, segments: SegmentFolder) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The id and the embedding of every region of these photos, piece by piece."""
    for part in extents.parts(PART_ROWS):
        yield part.region_ids(), segments.read("embeddings", part, snapshot.segments).astype(np.float32)
