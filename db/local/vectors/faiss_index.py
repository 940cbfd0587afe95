"""Nearest embeddings: the only file that knows FAISS.

Small collections: every vector is compared (`IDMap2,SQfp16`). Measured on 350,000 clustered unit vectors of 256, one
query, k = 100, one core, faiss 1.15.1:

    Flat     344 MiB   11.1 ms   recall@100 1
    SQfp16   174 MiB    6.0 ms   recall@100 1.000
    SQ8       88 MiB    5.5 ms   recall@100 0.996   recall@10 0.985

SQ8 is smaller but has to be trained, and then answers depend on what it was trained on. Half floats are what the
segments hold: the index is the segments bit for bit, and rebuilt or brought up to date it gives the same answers.

Large ones: inverted lists with their own ids (`IVF<lists>,RaBitQ2`; never inside an IDMap, whose ids go wrong when
vectors are removed), whose nearest 1,000 are compared again as the segments hold them. 1,000,000 embeddings of real
photographs, each of 82,000 changed a little, asked with 64 phrases, one core of a busy machine; how many of the exact
answer's ten and 200 nearest are among the 1,000 that are compared again:

    lists searched             16     32     64    128    64: ms   bytes a vector, its id left out
    2,048, RaBitQ2  of 10    .953   .980   .994   .998     0.85    84
                    of 200   .910   .953   .982   .990
    2,048, RaBitQ   of 10    .953   .978   .989   .992     0.61    40
                    of 200   .883   .913   .930   .932
    4,096, RaBitQ2  of 10    .938   .978   .989   .998     0.67    84
                    of 200   .915   .958   .980   .991
    4,096, RaBitQ   of 10    .938   .978   .989   .998     0.55    40
                    of 200   .901   .934   .947   .952

Without comparing again RaBitQ2 has 0.70 of the ten in their places. SQ8 finds what RaBitQ2 does in as much time, with
256 bytes a vector. RaBitQ would find as much if 2,000 were compared again.

The centres of the lists (`Quantizer`) are trained once for many files, which leave them out. Files of one quantizer are
searched as one index: a list of it is then visited once, not once a file (0.74 ms in place of 0.92 with two files).

Which of them a file gets, index_files.py decides.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from db.local.files import HashedStream
from db.local.segments import as_float32, products

logger = logging.getLogger(__name__)

TRAINING_VECTORS_PER_LIST = 40  # FAISS asks for at least 39; 2,048 lists train in 9 s on one core, 4,096 in 37 s
# So many lists are trained on the GPUs that FAISS finds. The work grows with their square: 16,384 take ten minutes.
GPU_NLIST = 4096
NPROBE = 64  # lists searched of files that have lists of their own, as earlier versions wrote them
_CODE_BITS = 2  # RaBitQ2
# The nearest by their short codes that are compared again as half floats: 1,000 rows take 3 ms to read.
RERANKED = 1000
# So few vectors are searched in one thread. Three phrases among 1,000,000 take 3.6 ms so. A second thread would save 1
# ms on quiet cores; where another program has its core, the first one waits for it: 14 ms.
QUESTION_PHRASES = 16


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


class Quantizer:
    """The centres of inverted lists."""

    def __init__(self, centres: Any):
        self.centres = centres

    @classmethod
    def train(cls, nlist: int, sample: np.ndarray) -> "Quantizer":
        """Centres for vectors like `sample`, (N, size) float32. The same sample, the same centres.

        Those that a GPU finds are others, as good.
        """
        index = faiss.index_factory(sample.shape[1], f"IVF{nlist},Flat", faiss.METRIC_INNER_PRODUCT)
        vectors = np.ascontiguousarray(sample)
        if nlist < GPU_NLIST or not faiss.get_num_gpus() or not _train_on_gpus(index, vectors):
            index.train(vectors)
        index.own_fields = False  # the centres outlive it
        return cls(faiss.downcast_index(index.quantizer))

    @classmethod
    def read(cls, path: Path) -> "Quantizer":
        """Load a file that `write` wrote.

        Raises:
            UnreadableIndex: it is cut off or something else.
        """
        centres = _read(path)
        if not isinstance(centres, faiss.IndexFlat):
            raise UnreadableIndex("it holds no centres of lists")
        return cls(centres)

    def write(self, stream: HashedStream) -> None:
        _write(self.centres, stream)

    @property
    def nlist(self) -> int:
        return int(self.centres.ntotal)

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self.centres.d)


def _train_on_gpus(index: Any, vectors: np.ndarray) -> bool:
    """Train an index's lists, k-means' comparisons on GPUs. False: it is not trained, for they lack the memory."""
    try:
        comparing = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(vectors.shape[1]))
        index.clustering_index = comparing
        index.train(vectors)
    except RuntimeError as error:
        logger.warning("Lists are trained on the processor, for the GPU could not: %s", error)
        return False
    finally:
        if index.clustering_index is not None:
            index.clustering_index = None
            comparing.this.own(True)  # FAISS took it over and would never free it
    return True


class VectorIndex:
    """Vectors by id, found by inner product."""

    def __init__(self, index: Any, quantizer: Quantizer | None = None, nprobe: int = NPROBE):
        """quantizer: of the index's lists, if it does not own them. nprobe: lists searched, if it has any."""
        self._index = index
        self.quantizer = quantizer
        self.nprobe = nprobe
        self._parts: tuple[Any, ...] = ()  # what FAISS points to and does not own
        if quantizer is not None:
            index.own_fields = False
            index.quantizer = quantizer.centres

    @classmethod
    def exact(cls, size: int) -> "VectorIndex":
        """An empty index for vectors of `size` numbers that compares all of them."""
        return cls(faiss.index_factory(size, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT))

    @classmethod
    def inverted(cls, quantizer: Quantizer, nprobe: int = NPROBE) -> "VectorIndex":
        """An empty index of inverted lists around these centres."""
        index = faiss.IndexIVFRaBitQ(
            quantizer.centres, quantizer.size, quantizer.nlist, faiss.METRIC_INNER_PRODUCT, True, _CODE_BITS
        )
        index.is_trained = True  # RaBitQ itself learns nothing
        return cls(index, quantizer, nprobe)

    @classmethod
    def stacked(cls, indexes: "Sequence[VectorIndex]") -> "VectorIndex":
        """Indexes of one quantizer as one, to search only."""
        first = indexes[0]
        assert first.quantizer is not None
        pointers = faiss.InvertedListsPtrVector()
        for index in indexes:
            pointers.push_back(index._index.invlists)
        lists = faiss.HStackInvertedLists(pointers.size(), pointers.data())
        whole = cls.inverted(first.quantizer, first.nprobe)
        whole._index.replace_invlists(lists, False)
        whole._index.ntotal = sum(len(index) for index in indexes)
        whole._parts = (lists, *indexes)  # FAISS only points to them
        return whole

    @classmethod
    def read(
        cls, path: Path, *, mapped: bool = False, quantizer: Quantizer | None = None, nprobe: int = NPROBE
    ) -> "VectorIndex":
        """Load a file that `write` wrote. Mapped: its vectors stay on the disk, and may be searched only.

        (To change a mapped index ends the process: "viewed vector" is an abort.)

        quantizer: that of its lists; None: it has lists of its own, or none.

        Raises:
            UnreadableIndex: it is cut off or something else.
        """
        index = _read(path, mapped=mapped)
        if isinstance(index, faiss.IndexIVF):
            own = index.quantizer.ntotal == index.nlist
            if quantizer is None and not own:
                raise UnreadableIndex("its lists are in another file")
            if quantizer is not None and (quantizer.nlist, quantizer.size) != (index.nlist, index.d):
                raise UnreadableIndex("its lists are others")
        elif quantizer is not None:
            raise UnreadableIndex("it has no lists")
        return cls(index, quantizer, nprobe)

    def write(self, stream: HashedStream) -> None:
        """Without the centres of its lists, if they are another's."""
        if self.quantizer is None:
            return _write(self._index, stream)
        none = faiss.IndexFlatIP(self.size)
        self._index.quantizer = none
        try:
            _write(self._index, stream)
        finally:
            self._index.quantizer = self.quantizer.centres

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
        return [_best(ids, scores, k) for ids, scores in self.find(queries, k, allowed)]

    def find(
        self, queries: np.ndarray, k: int, allowed: "AllowedIds | None" = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """`search` in no particular order."""
        k = min(k, len(self))
        if k < 1:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        selector = allowed and allowed.selector
        if self.nlist:
            # Parameters of this search; `index.nprobe` would be state that all searches share. Where few may be found,
            # more lists are searched for the same number of comparisons.
            share = allowed.share if allowed else 1.0
            nprobe = min(self.nlist, math.ceil(self.nprobe / share))
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        scores, ids = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        # FAISS fills up with -1; this is the only place that meets it.
        return [(some_ids[some_ids >= 0], some[some_ids >= 0]) for some_ids, some in zip(ids, scores)]


def _read(path: Path, *, mapped: bool = False) -> Any:
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except (RuntimeError, MemoryError) as error:
        raise UnreadableIndex(str(error)) from error


def _write(index: Any, stream: HashedStream) -> None:
    faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))


class Vectors:
    """Several indexes of different regions, searched as one."""

    def __init__(self, indexes: Sequence[VectorIndex], embeddings_of: Callable[[np.ndarray], np.ndarray] | None = None):
        """embeddings_of: (N,) int64 ascending ids -> (N, size), by which what inverted lists find is compared again;
        None: their scores count."""
        self.indexes = indexes
        self._embeddings_of = embeddings_of
        by_quantizer: dict[int, list[VectorIndex]] = {}
        for index in indexes:
            by_quantizer.setdefault(id(index.quantizer or index), []).append(index)
        self._searched = [some[0] if len(some) == 1 else VectorIndex.stacked(some) for some in by_quantizer.values()]

    def __len__(self) -> int:
        return sum(len(index) for index in self.indexes)

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, *, again: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `VectorIndex.search`.

        allowed: (A,) int64, the only ids that may be found. again: so many of the nearest that inverted lists find are
        compared again by their embeddings, those that follow keep the inner products of their short codes; None: as
        many as k needs.
        """
        if not self.indexes or (allowed is not None and not len(allowed)):
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        among = None if allowed is None else AllowedIds(allowed, len(self))
        inexact = self._embeddings_of is not None and any(index.nlist for index in self.indexes)
        depth = max(k, RERANKED) if inexact and again is None else k
        merged = []
        with _in_one_thread(len(queries) <= QUESTION_PHRASES):
            for found in zip(*(index.find(queries, depth, among) for index in self._searched)):
                ids, scores = (np.concatenate(arrays) for arrays in zip(*found))
                merged.append(_best(ids, scores, depth))
        if not inexact:
            return merged
        if again is None:
            return self._compared_again(queries, merged, k)
        first = self._compared_again(queries, [(ids[:again], scores[:again]) for ids, scores in merged], again)
        return [
            (np.concatenate([some, ids[again:]]), np.concatenate([their_scores, scores[again:]]))
            for (some, their_scores), (ids, scores) in zip(first, merged, strict=True)
        ]

    def _compared_again(
        self, queries: np.ndarray, found: list[tuple[np.ndarray, np.ndarray]], k: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k best by the embeddings themselves."""
        assert self._embeddings_of is not None
        all_ids = np.unique(np.concatenate([ids for ids, _ in found]))
        scores = products(queries.astype(np.float32), as_float32(self._embeddings_of(all_ids)))
        return [
            _best(ids, some[np.searchsorted(all_ids, ids)], k) for some, (ids, _) in zip(scores, found, strict=True)
        ]


@contextmanager
def _in_one_thread(alone: bool) -> Iterator[None]:
    """FAISS computes in the caller's thread; not alone: in as many as it would."""
    before = faiss.omp_get_max_threads()
    if alone:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _best(ids: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k with the highest scores, best first, equal ones by id."""
    order = np.argsort(-scores, kind="stable")  # FAISS's are in order but for a few: quicker than by both
    best = scores[order]
    if (best[1:] == best[:-1]).any():
        order = np.lexsort((ids, -scores))
    return ids[order[:k]], best[:k]
