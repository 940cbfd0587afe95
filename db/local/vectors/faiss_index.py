"""Nearest embeddings: the only file that knows FAISS.

Small collections: every vector is compared (`IDMap2,SQfp16`). Measured on 350,000 clustered unit vectors of 256, one
query, k = 100, one core, faiss 1.15.1:

    Flat     344 MiB   11.1 ms   recall@100 1
    SQfp16   174 MiB    6.0 ms   recall@100 1.000
    SQ8       88 MiB    5.5 ms   recall@100 0.996   recall@10 0.985

SQ8 is smaller but has to be trained, and then answers depend on what it was trained on. Half floats are what the
segments hold: the index is the segments bit for bit, and rebuilt or brought up to date it gives the same answers.

Large ones: inverted lists with their own ids (`IVF<lists>,SQ8`; never inside an IDMap, whose ids go wrong when vectors
are removed). 2,000,000 such vectors, 4,096 lists, one in eight of them searched: 7 ms against 41 ms for comparing all,
recall@10 0.987, recall@100 0.965, 508 MiB against 1 GB; SQfp16 lists give 0.993 and 0.972 for twice the size.

Which of them a file gets, index_files.py decides.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from db.local.files import HashedStream

TRAINING_VECTORS_PER_LIST = 64  # FAISS asks for at least 39; 2,048 lists train in 14 s on one core
NLIST_PER_PROBE = 8  # nprobe is nlist divided by this


class UnreadableIndex(Exception):
    """FAISS cannot make sense of a file."""


def nlist_for(region_count: int) -> int:
    """How many inverted lists suit a number of regions: the power of two next to 4 * sqrt(n)."""
    return 2 ** round(math.log2(4 * math.sqrt(region_count)))


class AllowedIds:
    """The only ids that a search may find."""

    def __init__(self, ids: np.ndarray, total: int):
        """ids: (A >= 1,) int64. total: how many ids there are."""
        bits = np.zeros(int(ids.max()) + 1, bool)
        bits[ids] = True
        self.share = min(1.0, len(ids) / total)
        self.selector = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))


class VectorIndex:
    """Vectors by id, found by inner product."""

    def __init__(self, index: Any):
        self._index = index

    @classmethod
    def exact(cls, size: int) -> "VectorIndex":
        """An empty index for vectors of `size` numbers that compares all of them."""
        return cls(faiss.index_factory(size, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT))

    @classmethod
    def inverted(cls, nlist: int, sample: np.ndarray) -> "VectorIndex":
        """An empty index of inverted lists trained on `sample`, (N, size) float32. The same sample, the same lists."""
        index = faiss.index_factory(sample.shape[1], f"IVF{nlist},SQ8", faiss.METRIC_INNER_PRODUCT)
        index.train(np.ascontiguousarray(sample))
        return cls(index)

    @classmethod
    def read(cls, path: Path, *, mapped: bool = False) -> "VectorIndex":
        """Load a file that `write` wrote. Mapped: its vectors stay on the disk, and may be searched only.

        (To change a mapped index ends the process: "viewed vector" is an abort.)

        Raises:
            UnreadableIndex: it is cut off or something else.
        """
        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0))
        except (RuntimeError, MemoryError) as error:
            raise UnreadableIndex(str(error)) from error

    def write(self, stream: HashedStream) -> None:
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(stream.write))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self._index.d)

    @property
    def nlist(self) -> int:
        """Inverted lists; 0: none, every vector is compared."""
        return int(self._index.nlist) if isinstance(self._index, faiss.IndexIVF) else 0

    def ids(self) -> np.ndarray:
        """(N,) int64, in no particular order."""
        if not self.nlist:
            return faiss.vector_to_array(self._index.id_map)
        inverted = self._index.invlists
        ids = [np.empty(0, np.int64)]
        for index in range(self.nlist):
            if count := inverted.list_size(index):
                ids.append(faiss.rev_swig_ptr(inverted.get_ids(index), count).copy())
        return np.concatenate(ids)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Add (N, size) float32 vectors under (N,) int64 ids that it does not hold yet (FAISS would hold both)."""
        self._index.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64))

    def remove(self, ids: np.ndarray) -> None:
        """Remove (N,) int64 ids."""
        self._index.remove_ids(np.ascontiguousarray(ids, np.int64))

    def search(
        self, queries: np.ndarray, k: int, allowed: "AllowedIds | None" = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k nearest of each query, (Q, size) float32.

        allowed: the only ids that may be found; None: all may. Returns for each query (ids int64, inner products
        float32), best first, equal ones by id; fewer than k where the index holds fewer (or inverted lists find fewer).
        """
        k = min(k, len(self))
        if k < 1:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        selector = allowed and allowed.selector
        if self.nlist:
            # Parameters of this search; `index.nprobe` would be state that all searches share. Where few may be found,
            # more lists are searched for the same number of comparisons.
            share = allowed.share if allowed else 1.0
            nprobe = min(self.nlist, math.ceil(self.nlist / NLIST_PER_PROBE / share))
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        scores, ids = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        found = []
        for some_ids, some_scores in zip(ids, scores):
            there = some_ids >= 0  # FAISS fills up with -1; this is the only place that meets it
            some_ids, some_scores = some_ids[there], some_scores[there]
            order = np.lexsort((some_ids, -some_scores))
            found.append((some_ids[order], some_scores[order]))
        return found


class Vectors:
    """Several indexes of different regions, searched as one."""

    def __init__(self, indexes: Sequence[VectorIndex]):
        self.indexes = indexes

    def __len__(self) -> int:
        return sum(len(index) for index in self.indexes)

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `VectorIndex.search`. allowed: (A,) int64, the only ids that may be found."""
        if not self.indexes or (allowed is not None and not len(allowed)):
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        among = None if allowed is None else AllowedIds(allowed, len(self))
        merged = []
        for found in zip(*(index.search(queries, k, among) for index in self.indexes)):
            ids, scores = (np.concatenate(arrays) for arrays in zip(*found))
            order = np.lexsort((ids, -scores))[:k]
            merged.append((ids[order], scores[order]))
        return merged
