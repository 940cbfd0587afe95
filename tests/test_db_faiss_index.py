import faiss
import numpy as np
import pytest

from db.local.files import atomic_write
from db.local.vectors import faiss_index as vectors
from db.local.vectors.faiss_index import (
    QUESTION_PHRASES,
    Quantizer,
    UnreadableIndex,
    VectorIndex,
    Vectors,
    nlist_for,
)

IDS = np.array([7, 3, 900_000_000_000])
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], dtype=np.float32)


def found(index, query, k):
    ((ids, scores),) = index.search(np.array([query], dtype=np.float32), k)
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    return {region_id: round(score, 3) for region_id, score in zip(ids.tolist(), scores.tolist())}


def clusters(count, size=16, seed=0):
    """Unit vectors around a hundred centres, in half precision as segments hold them."""
    rng = np.random.default_rng(seed)
    some = rng.normal(size=(100, size))[rng.integers(0, 100, count)] + 0.5 * rng.normal(size=(count, size))
    return (some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


@pytest.fixture
def exact():
    index = VectorIndex.exact(3)
    index.add(IDS, VECTORS)
    return index


@pytest.fixture
def listed():
    index = VectorIndex.inverted(Quantizer.train(8, clusters(1000)))
    index.add(np.arange(1000) * 3 + 5, clusters(1000))
    return index


def saved(index, path):
    with atomic_write(path) as stream:
        index.write(stream)
    return path


def test_inner_products_best_first(exact):
    assert list(found(exact, [1, 0, 0], 3).items()) == [(7, 1.0), (900_000_000_000, 0.6), (3, 0.0)]
    assert found(exact, [0, 1, 0], 2) == {3: 1.0, 900_000_000_000: 0.8}


def test_asking_for_more_than_there_is_gives_what_there_is(exact):
    assert len(found(exact, [1, 0, 0], 100)) == 3
    assert found(VectorIndex.exact(3), [1, 0, 0], 5) == {}
    assert found(exact, [np.nan, 0, 0], 3) == {}  # here FAISS answers -1, -1, -1


def test_inverted_lists_that_find_too_few_do_not_fill_up(listed):
    listed.nprobe = 1
    # One list of eight is searched: some of the 1,000 that are asked for are not found, and none is -1.
    ids = found(listed, clusters(1)[0], 1000)
    assert 0 < len(ids) < 1000 and min(ids) >= 5


def test_equal_scores_come_by_id():
    index = VectorIndex.exact(2)
    index.add(np.array([5, 2, 9]), np.array([[1, 0]] * 3, dtype=np.float32))
    assert list(found(index, [1, 0], 3)) == [2, 5, 9]


@pytest.mark.parametrize("kind", ["exact", "listed"])
def test_removed_vectors_are_gone_and_others_keep_their_ids(kind, listed):
    index, ids, some = listed, np.arange(1000) * 3 + 5, clusters(1000)
    if kind == "exact":
        index = VectorIndex.exact(16)
        index.add(ids, some)
    index.remove(ids[::2])
    assert len(index) == 500
    assert sorted(index.ids().tolist()) == ids[1::2].tolist()
    again = Vectors([index], lambda wanted: some[(wanted - 5) // 3])  # short codes confuse neighbours
    nearest = [found_ids[0] for found_ids, _ in again.search(some[1::2], 1)]
    assert np.mean(np.array(nearest) == ids[1::2]) > 0.99


def test_half_precision_vectors_are_scored_as_exactly_as_numpy_does():
    some, queries = clusters(2000), clusters(20, seed=1)
    index = VectorIndex.exact(16)
    index.add(np.arange(2000), some)
    for query, (ids, scores) in zip(queries, index.search(queries, 100)):
        products = some @ query
        np.testing.assert_allclose(scores, products[ids], atol=1e-6)
        np.testing.assert_allclose(scores, np.sort(products)[::-1][:100], atol=1e-6)


def shared_with_exact(quantizer, some):
    index, queries = VectorIndex.inverted(quantizer, nprobe=4), clusters(20, seed=1)
    index.add(np.arange(len(some)), some)
    best = np.argsort(-(queries @ some.T), axis=1)[:, :10]
    again = Vectors([index], some.__getitem__)
    return np.mean([len(set(ids) & set(of)) for (ids, _), of in zip(again.search(queries, 10), best.tolist())])


def test_inverted_lists_find_nearly_what_looking_at_all_finds():
    some = clusters(2000)
    assert shared_with_exact(Quantizer.train(8, some), some) > 8


@pytest.fixture
def lent(monkeypatch):
    """A GPU in which FAISS compares, which is another index of the processor's: those that were asked for."""
    indexes = []

    def as_of_a_gpu(index):
        indexes.append(index)
        return index

    monkeypatch.setattr(vectors, "GPU_NLIST", 8)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", as_of_a_gpu, raising=False)  # faiss-cpu has none
    return indexes


def centres(quantizer):
    return faiss.rev_swig_ptr(quantizer.centres.get_xb(), quantizer.nlist * quantizer.size).copy()


def test_many_lists_are_trained_on_a_gpu_which_is_given_back(lent, monkeypatch):
    some = clusters(2000)
    with monkeypatch.context() as without:
        without.setattr(vectors, "GPU_NLIST", 1000)
        expected = centres(Quantizer.train(8, some))
    assert not lent
    quantizer = Quantizer.train(8, some)
    (comparing,) = lent
    assert comparing.ntotal == 8  # it was asked: k-means left the centres there
    assert comparing.thisown  # else its memory would never be freed
    np.testing.assert_array_equal(centres(quantizer), expected)
    Quantizer.train(4, some)
    assert len(lent) == 1  # few are sooner trained than sent there


def test_a_gpu_without_memory_leaves_the_training_to_the_processor(lent, monkeypatch, caplog):
    def full(index):
        raise RuntimeError("out of memory")

    expected = centres(Quantizer.train(8, clusters(2000)))
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", full)
    np.testing.assert_array_equal(centres(Quantizer.train(8, clusters(2000))), expected)
    assert "trained on the processor" in caplog.text and "out of memory" in caplog.text


@pytest.mark.cuda
@pytest.mark.skipif(not faiss.get_num_gpus(), reason="FAISS finds no GPU")
def test_lists_of_a_gpu_find_as_much(monkeypatch):
    some = clusters(4000)
    on_cpu = shared_with_exact(Quantizer.train(16, some), some)
    monkeypatch.setattr(vectors, "GPU_NLIST", 16)
    assert shared_with_exact(Quantizer.train(16, some), some) > on_cpu - 0.5


def test_what_inverted_lists_find_is_compared_again():
    """By other embeddings than were added, so that it shows: those decide, of the nearest RERANKED."""
    some, queries = clusters(3000), clusters(5, seed=1)
    index, exact = VectorIndex.inverted(Quantizer.train(8, some)), VectorIndex.exact(16)
    index.add(np.arange(0, 2000), some[:2000])
    exact.add(np.arange(2000, 3000), some[2000:])
    asked = []

    def embeddings_of(ids):
        asked.append(ids)
        return some[ids].astype(np.float16)

    for query, (ids, scores) in zip(queries, Vectors([index, exact], embeddings_of).search(queries, 20), strict=True):
        products = some[ids].astype(np.float16).astype(np.float32) @ query
        np.testing.assert_allclose(scores, products, atol=1e-6)
        assert len(ids) == 20 and (np.diff(scores) <= 0).all()
    (read,) = asked  # once for all phrases, in the order of ids
    assert (np.diff(read) > 0).all() and vectors.RERANKED <= len(read) <= 3000
    alone = Vectors([exact], lambda ids: pytest.fail("what is exact is not compared again"))
    assert len(alone.search(queries, 20)[0][0]) == 20


def test_a_vector_takes_84_bytes_and_its_id(tmp_path):
    """The sizes of two files of different numbers of vectors of 256 numbers."""
    some = np.random.default_rng(0).normal(size=(2000, 256)).astype(np.float32)
    sizes = []
    for count in (1000, 2000):
        index = VectorIndex.inverted(Quantizer.train(8, some))
        index.add(np.arange(count), some[:count])
        sizes.append(saved(index, tmp_path / str(count)).stat().st_size)
    assert (sizes[1] - sizes[0]) / 1000 == 84 + 8


def test_a_file_holds_everything(exact, listed, tmp_path):
    read = VectorIndex.read(saved(exact, tmp_path / "exact"))
    assert (read.nlist, read.size, len(read), sorted(read.ids())) == (0, 3, 3, sorted(IDS))
    assert found(read, [1, 0, 0], 3) == found(exact, [1, 0, 0], 3)
    for mapped in (False, True):
        read = VectorIndex.read(saved(listed, tmp_path / "listed"), mapped=mapped, quantizer=listed.quantizer)
        assert (read.nlist, read.size, len(read), sorted(read.ids())) == (8, 16, 1000, sorted(listed.ids()))
        assert found(read, clusters(1)[0], 9) == found(listed, clusters(1)[0], 9)


def test_training_is_repeatable(tmp_path):
    files = [saved(VectorIndex.inverted(Quantizer.train(8, clusters(1000))), tmp_path / name) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("content", [b"", b"IxM2", b"not an index at all, but long enough to be one" * 9])
def test_a_file_that_is_no_index_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnreadableIndex):
        VectorIndex.read(tmp_path / "file")


def test_what_the_disk_says_while_writing_comes_through(exact):
    class FullDisk:
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        exact.write(FullDisk())


def test_lists_by_number_of_regions():
    # 4 * sqrt(n) is 2,000, 2,828 and 4,472.
    assert [nlist_for(count) for count in (250_000, 500_000, 1_250_000)] == [2048, 2048, 4096]


def test_a_question_is_searched_in_one_thread_and_nothing_else_is(exact, monkeypatch):
    threads = []
    find = VectorIndex.find
    monkeypatch.setattr(VectorIndex, "find", lambda *args: threads.append(faiss.omp_get_max_threads()) or find(*args))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        vectors = Vectors([exact])
        for queries in (1, QUESTION_PHRASES, QUESTION_PHRASES + 1):
            vectors.search(np.ones((queries, exact.size), np.float32), 1)
            assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
    assert threads == [1, 1, 2]


def test_only_the_first_are_compared_again_if_so_asked():
    """What the embeddings say of the others is not looked up."""
    rng = np.random.default_rng(2)
    embeddings = rng.normal(size=(400, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    index = VectorIndex.inverted(Quantizer.train(2, embeddings), nprobe=2)
    index.add(np.arange(400), embeddings)
    asked = []
    vectors = Vectors([index], lambda ids: asked.append(ids) or embeddings[ids])
    ((ids, scores),) = vectors.search(embeddings[:1], 100, again=30)
    (first,) = asked
    assert len(first) == 30 and set(ids[:30].tolist()) == set(first.tolist())
    assert len(set(ids.tolist())) == 100
    exact = embeddings @ embeddings[0]
    assert ids[:30].tolist() == sorted(first.tolist(), key=lambda i: (-exact[i], i))
    assert scores[:30] == pytest.approx(exact[ids[:30]], abs=1e-6)
    assert np.abs(scores[30:] - exact[ids[30:]]).max() > 1e-4
