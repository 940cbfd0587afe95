"""What every back end has to do, whatever is behind a Collection. Add a back end to BACK_ENDS and it is tested."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from db.collection import open_collection
from db.errors import CheckpointMismatch, CollectionError
from db.records import FailedFile, FileState, ModelIdentity, NewPath, PhotoHeaders
from helpers.db_photos import LIFE, MODEL, OTHER_MODEL, contents, live, photo
from helpers.db_server import new_url

# Where an empty collection may be made, given a folder of the test's own.
BACK_ENDS = {"folder": lambda tmp_path: tmp_path / "collection", "server": lambda tmp_path: new_url()}


@pytest.fixture(params=BACK_ENDS)
def location(request, tmp_path):
    return BACK_ENDS[request.param](tmp_path)


@pytest.fixture
def writer(location):
    with create(location) as collection:
        collection.add_root(Path("/photos"))
        yield collection


def create(location):
    return open_collection(location, write=True, create=True, model=MODEL)


def names(collection, root_id=1):
    return {name: stat.photo_id for name, stat in collection.known(root_id).items()}


def nearest(collection, vectors, k):
    """For each vector the ids and cosines of the k nearest regions, best first."""
    scores = collection.cosines(vectors)
    order = np.argsort(-scores.scores, axis=1, kind="stable")[:, :k]
    return [(scores.region_ids[some], row[some]) for some, row in zip(order, scores.scores)]


# -- what goes in comes out


def test_a_photograph_comes_out_as_it_went_in(location, writer):
    one, two = photo(1, "one.jpg", count=2), photo(1, "deep/er/two.jpg", count=3)
    writer.commit(new=[one, two])
    with open_collection(location) as reader:
        for collection in (writer, reader):
            assert collection.model == MODEL
            assert (collection.photo_count(), collection.region_count(), collection.revision) == (2, 5, 1)
            assert collection.photo_ids().tolist() == [1, 2] and collection.photo_ids().dtype == np.int64
            rows = collection.photos([2, 1])
            assert [(row.photo_id, row.path, row.width, row.height) for row in rows] == [
                (2, Path("/photos/deep/er/two.jpg"), 100, 80),
                (1, Path("/photos/one.jpg"), 100, 80),
            ]
            (region,) = collection.regions([4])
            assert (region.region_id, region.photo_id, region.phrase) == (4, 2, two.phrases[1])
            assert region.box == tuple(two.boxes[1].tolist()) and region.score == two.scores[1]
            features = collection.features()
            assert features.region_ids.tolist() == [1, 2, 3, 4, 5]
            assert features.photo_ids.tolist() == [1, 1, 2, 2, 2]
            assert features.codes.dtype == np.float16 and features.embeddings.dtype == np.float32
            np.testing.assert_array_equal(features.codes, np.concatenate([one.codes, two.codes]))
            embeddings = np.concatenate([one.embeddings, two.embeddings])
            np.testing.assert_array_equal(features.embeddings, embeddings.astype(np.float16))
            for region_id, embedding in enumerate(embeddings, 1):
                ((ids, scores),) = nearest(collection, embedding[None], 5)
                assert ids[0] == region_id and len(ids) == 5
                np.testing.assert_allclose(scores[0], 1, atol=1e-3)


def test_features_of_some_photographs(writer):
    writer.commit(new=[photo(1, "a.jpg"), photo(1, "b.jpg", count=1)])
    writer.commit(new=[photo(1, "c.jpg", count=2)])
    features = writer.features([3, 1])
    assert features.photo_ids.tolist() == [1, 1, 1, 3, 3]
    assert features.region_ids.tolist() == [1, 2, 3, 5, 6]
    np.testing.assert_array_equal(features.codes[3:], photo(1, "c.jpg", count=2).codes)
    assert writer.features(np.array([2])).region_ids.tolist() == [4]
    assert writer.features([]).codes.shape == (0, MODEL.code_size)


def test_cosines_and_codes_are_those_of_the_features(writer):
    writer.commit(new=[photo(1, f"{number}.jpg", count=1 + number % 3) for number in range(5)])
    writer.commit(new=[photo(1, "last.jpg", count=4)], gone=[2])
    vectors = photo(1, "asked", count=2).embeddings
    for photo_ids in (None, [6, 1, 4], np.array([3]), []):
        features = writer.features(photo_ids)
        scores = writer.cosines(vectors, photo_ids)
        assert scores.region_ids.tolist() == features.region_ids.tolist()
        assert scores.photo_ids.tolist() == features.photo_ids.tolist()
        assert scores.scores.dtype == np.float32
        np.testing.assert_allclose(scores.scores, vectors @ features.embeddings.T, atol=1e-6)
    features = writer.features()
    asked = features.region_ids[[5, 0, 5, 2]]
    np.testing.assert_array_equal(writer.codes(asked), features.codes[[5, 0, 5, 2]])
    assert writer.codes([]).shape == (0, MODEL.code_size)


def test_phrases_with_words(writer):
    given = [
        "a red shirt",
        "red-haired man",
        "A RED shirt",
        "the reddish wall",
        "a shirt of a man",
        "100% red_",
        "caf\u00e9",
    ]
    writer.commit(
        new=[
            replace(photo(1, "one.jpg", count=len(given)), phrases=given),
            replace(photo(1, "two.jpg", count=2), phrases=["a red shirt", "a red shirt"]),
        ]
    )
    assert list(writer.phrases_with(["red"]).items()) == [("a red shirt", 2), ("A RED shirt", 1), ("red-haired man", 1)]
    assert writer.phrases_with(["Shirt", "red"]).keys() == {"a red shirt", "A RED shirt"}
    assert writer.phrases_with(["man shirt"]) == {"a shirt of a man": 1}
    assert writer.phrases_with(["red-haired"]) == {"red-haired man": 1}
    assert writer.phrases_with(["café"]) == {"café": 1}
    for nothing in (["re"], ["%"], ["red", "wall"], [], ["' OR 1=1"]):
        assert writer.phrases_with(nothing) == {}


def test_phrases_are_counted_by_photograph(writer):
    writer.commit(
        new=[
            replace(photo(1, "one.jpg", count=3), phrases=["a dog", "a dog", "a cat"]),
            replace(photo(1, "two.jpg", count=2), phrases=["a dog", "a bird"]),
        ]
    )
    assert list(writer.phrase_counts(10).items()) == [("a dog", 2), ("a bird", 1), ("a cat", 1)]
    assert list(writer.phrase_counts(2)) == ["a dog", "a bird"]
    writer.commit(gone=[1])
    assert list(writer.phrase_counts(10).items()) == [("a bird", 1), ("a dog", 1)]


def test_regions_come_in_the_order_asked_however_many(writer):
    writer.commit(new=[photo(1, f"{number}.jpg", count=100) for number in range(20)])
    asked = np.random.default_rng(0).permutation(2000) + 1
    assert [region.region_id for region in writer.regions(asked)] == asked.tolist()
    assert [region.region_id for region in writer.regions([7, 3, 7])] == [7, 3, 7]
    boxes = [[*region.box, region.score] for region in writer.regions(asked)]
    assert writer.boxes(asked).tolist() == boxes and writer.boxes(asked[:0]).shape == (0, 5)
    assert writer.boxes([7, 3, 7]).tolist() == writer.boxes([7, 3, 7, 9]).tolist()[:3]


def test_regions_of_photos_come_as_they_were_written_in_the_order_asked(writer):
    writer.commit(new=[photo(1, f"{number}.jpg", count=count) for number, count in enumerate((3, 1, 5))])
    every = {row.region_id: row for row in writer.regions(np.arange(1, 10))}
    by_photo = [[every[i] for i in ids] for ids in ((1, 2, 3), (4,), (5, 6, 7, 8, 9))]
    first, second, third = writer.photo_ids().tolist()
    assert writer.regions_of([first, second, third]) == by_photo
    assert writer.regions_of(np.array([third, first])) == [by_photo[2], by_photo[0]]
    assert writer.regions_of([]) == []


def test_an_empty_collection_answers_with_nothing(location):
    create(location).close()
    with open_collection(location, model=MODEL) as reader:
        assert (reader.photo_count(), reader.region_count(), reader.revision) == (0, 0, 0)
        assert reader.photo_ids().tolist() == [] and reader.roots() == {} and reader.known(1) == {}
        assert reader.photos([]) == [] and reader.regions([]) == [] and reader.last_build() is None
        assert reader.features().codes.shape == (0, MODEL.code_size)
        assert reader.features().embeddings.shape == (0, MODEL.embedding_size)
        ((ids, scores),) = nearest(reader, np.zeros((1, MODEL.embedding_size), np.float32), 10)
        assert len(ids) == len(scores) == 0


@pytest.mark.parametrize("unknown", [0, 4, -1])
def test_unknown_ids_are_key_errors(writer, unknown):
    writer.commit(new=[photo(1, "a.jpg")], failed=[FailedFile(1, "b.jpg", 1, 1, None, "why")])
    for ask in (
        writer.photos,
        writer.regions,
        writer.boxes,
        writer.regions_of,
        writer.features,
        writer.codes,
        lambda ids: writer.cosines(np.eye(1, 8, dtype=np.float32), ids),
    ):
        with pytest.raises(KeyError):
            ask([1, unknown])
    with pytest.raises(KeyError):  # known, but not described
        writer.photos([2])
    for ask in (writer.features, writer.regions_of):
        with pytest.raises(KeyError):
            ask([2])


def test_every_file_name_that_linux_allows(location, tmp_path):
    odd = ["new\nline", "\udcff\udc80 not UTF-8", "-rf", "\u202ertl", "ä" * 120, "a\u0308", "ä", "%_'\"\\", " "]
    folder = tmp_path / "\udcfe folder"
    with create(location) as writer:
        root = writer.add_root(folder)
        writer.commit(new=[photo(root, name) for name in odd])
    with open_collection(location) as reader:
        assert reader.roots() == {root: folder}
        assert set(reader.known(root)) == set(odd) and len(odd) == 9
        assert [row.path for row in reader.photos(reader.photo_ids())] == [folder / name for name in odd]


# -- what happens to photographs later


def test_the_life_of_a_collection(writer):
    history = []
    for revision in range(1, len(LIFE) + 1):
        live(writer, revision)
        history.append((names(writer), writer.features().region_ids.tolist()))
    assert history == [
        ({"a.jpg": 1, "b.jpg": 2, "c\udcff.jpg": 3}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        # One more, and one that failed.
        ({"a.jpg": 1, "b.jpg": 2, "c\udcff.jpg": 3, "d/e.jpg": 4, "broken.jpg": 5}, [*range(1, 10), 10, 11]),
        # a.jpg was moved over b.jpg, c.jpg is gone.
        ({"b.jpg": 1, "d/e.jpg": 4, "broken.jpg": 5}, [1, 2, 3, 10, 11]),
        # b.jpg changed, broken.jpg was repaired, d/e.jpg is broken now: new ids for all three.
        ({"b.jpg": 6, "broken.jpg": 7, "d/e.jpg": 8}, [12, 13, 14, 15, 16, 17]),
        ({"b.jpg": 6, "d/e.jpg": 8, "f.jpg": 9}, [12, 13, 14, 15, 18, 19, 20, 21, 22, 23]),
    ]
    queries = np.eye(MODEL.embedding_size, dtype=np.float32)
    for ids, _ in nearest(writer, queries, 100):
        assert sorted(ids.tolist()) == history[-1][1]
    with pytest.raises(KeyError):
        writer.regions([1])


def test_a_moved_photograph_keeps_its_regions(writer):
    other = writer.add_root(Path("/more photos"))
    writer.commit(new=[photo(1, "a.jpg")])
    before = writer.features()
    writer.commit(moved={1: NewPath(other, "b/c.jpg", 11, 22)})
    assert names(writer) == {}
    stat = writer.known(other)["b/c.jpg"]
    assert (stat.photo_id, stat.size, stat.mtime_ns, stat.digest) == (1, 11, 22, photo(1, "a.jpg").digest)
    assert writer.photos([1])[0].path == Path("/more photos/b/c.jpg")
    assert writer.features().region_ids.tolist() == before.region_ids.tolist()


def test_two_photographs_that_change_places(writer):
    writer.commit(new=[photo(1, "a.jpg"), photo(1, "b.jpg"), photo(1, "c.jpg")])
    writer.commit(
        moved={1: NewPath(1, "b.jpg", 1, 1), 2: NewPath(1, "a.jpg", 2, 2), 3: NewPath(1, "d.jpg", 3, 3)},
        new=[photo(1, "c.jpg", version=1)],
    )
    assert names(writer) == {"b.jpg": 1, "a.jpg": 2, "d.jpg": 3, "c.jpg": 4}


def test_the_same_path_in_two_roots_is_two_photographs(writer):
    other = writer.add_root(Path("/more photos"))
    writer.commit(new=[photo(1, "a.jpg"), photo(other, "a.jpg")])
    writer.commit(new=[photo(other, "a.jpg", version=1)])
    assert names(writer) == {"a.jpg": 1} and names(writer, other) == {"a.jpg": 3}


def test_known_tells_what_changed_and_what_failed(writer):
    writer.commit(
        new=[photo(1, "a.jpg")],
        failed=[FailedFile(1, "b.jpg", 3, 4, "cc", "cut off after \udcff"), FailedFile(1, "c", 5, 6, None, "a fifo")],
    )
    writer.commit(touched={1: (70, 80), 3: (7, 8)})
    assert {
        name: (stat.photo_id, stat.size, stat.mtime_ns, stat.digest, stat.failed, stat.reason)
        for name, stat in writer.known(1).items()
    } == {
        "a.jpg": (1, 70, 80, photo(1, "a.jpg").digest, False, None),
        "b.jpg": (2, 3, 4, "cc", True, "cut off after \\udcff"),
        "c": (3, 7, 8, None, True, "a fifo"),
    }
    assert (writer.photo_count(), writer.region_count(), writer.photo_ids().tolist()) == (1, 3, [1])


def test_a_photograph_is_found_by_its_content(writer):
    writer.commit(
        new=[photo(1, "a.jpg"), photo(1, "copy.jpg", digest=photo(1, "a.jpg").digest)],
        failed=[FailedFile(1, "b.jpg", 1, 1, "bb", "why")],
    )
    assert writer.find_digest(photo(1, "a.jpg").digest) == 1
    assert writer.find_digest("bb") is None
    assert writer.find_digest("no such") is None


def test_roots_are_absolute_and_each_is_there_once(writer, tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert writer.add_root(Path("link")) == writer.add_root(tmp_path / "real") == 2
    assert writer.roots() == {1: Path("/photos"), 2: (tmp_path / "real").resolve()}


def test_builds_are_recorded(location, writer):
    writer.record_build({"new": 1}, seconds=1)
    writer.record_build({"new": 5, "gone": 2}, seconds=1.5)
    with open_collection(location) as reader:
        last = reader.last_build()
    assert last is not None and (last.seconds, last.counts) == (1.5, {"new": 5, "gone": 2})
    assert timedelta(0) <= datetime.now(UTC) - last.finished_at < timedelta(minutes=5)


# -- what a commit refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phrases": []}, "a photograph without regions"),
        ({"phrases": ["one"]}, r"boxes are \(3, 4\) instead of \(1, 4\)"),
        ({"scores": np.zeros(2, np.float32)}, r"scores are \(2,\) instead of \(3,\)"),
        ({"codes": np.zeros((3, 6), np.float16)}, r"codes are \(3, 6\) instead of \(3, 5\)"),
        ({"codes": np.full((3, 5), np.inf, np.float16)}, "codes are not finite"),
        ({"embeddings": np.full((3, 8), np.nan, np.float32)}, "embeddings are not finite"),
        ({"embeddings": np.ones((3, 8), np.float32)}, "embeddings are not of unit length"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused(writer, changes, message):
    with pytest.raises(ValueError, match=f"bad.jpg: .*{message}"):
        writer.commit(new=[photo(1, "good.jpg"), photo(1, "bad.jpg", **changes)])
    assert writer.revision == 0 and names(writer) == {}


def test_contradictions_are_refused_whole(writer):
    writer.commit(new=[photo(1, "a.jpg"), photo(1, "b.jpg")])
    before = contents(writer)
    here = NewPath(1, "c.jpg", 1, 1)
    for wrong in (
        {"new": [photo(1, "c.jpg"), photo(1, "c.jpg", version=1)]},
        {"new": [photo(1, "c.jpg")], "failed": [FailedFile(1, "c.jpg", 1, 1, None, "why")]},
        {"moved": {1: here, 2: here}},
        {"moved": {1: here}, "gone": [1]},
        {"touched": {1: (1, 1)}, "gone": [1]},
    ):
        with pytest.raises(ValueError, match="one commit"):
            writer.commit(**wrong)
    for wrong in ({"gone": [1, 3]}, {"touched": {3: (1, 1)}}, {"moved": {3: here}}):
        with pytest.raises(KeyError, match="knows no photograph 3"):
            writer.commit(**wrong)
    assert contents(writer) == before


def test_a_commit_of_nothing_is_none(writer):
    writer.commit()
    assert writer.revision == 0


def test_ways_of_describing_are_remembered_once_each(location, writer):
    assert writer.precisions() == []
    for precision in ("in float32", "in bfloat16", "in float32"):
        writer.note_precision(precision)
    assert writer.precisions() == ["in float32", "in bfloat16"]
    with open_collection(location) as reader:
        assert reader.precisions() == ["in float32", "in bfloat16"]


# -- opening


def test_creating_needs_a_model_and_the_lock(location):
    with pytest.raises(ValueError, match="needs write=True and model"):
        open_collection(location, write=True, create=True)
    with pytest.raises(ValueError, match="needs write=True and model"):
        open_collection(location, create=True, model=MODEL)


def test_another_checkpoint_is_refused_with_both_digests_and_a_way_out(location):
    create(location).close()
    for write in (False, True):
        said = r"by the checkpoint a{12}, not by b{12}: .*`indexer build --redescribe --collection .*`"
        with pytest.raises(CheckpointMismatch, match=said):
            open_collection(location, write=write, model=OTHER_MODEL)
    with pytest.raises(CheckpointMismatch):
        open_collection(location, write=True, create=True, model=OTHER_MODEL)
    for model in (MODEL, ModelIdentity(**vars(MODEL)), None):
        with open_collection(location, write=True, model=model) as collection:
            assert collection.model == MODEL
    with pytest.raises(CheckpointMismatch):
        open_collection(location, model=replace(MODEL, code_size=6))


def test_a_reader_does_not_write(location, writer):
    with open_collection(location) as reader:
        for write in (
            lambda: reader.commit(gone=[1]),
            lambda: reader.add_root(Path("/photos")),
            lambda: reader.record_build({}, seconds=0),
            lambda: reader.note_precision("in float32"),
        ):
            with pytest.raises(CollectionError, match="opened for reading"):
                write()


def test_a_reader_sees_one_commit_until_it_refreshes(location, writer):
    live(writer, 1)
    with open_collection(location) as reader:
        before = contents(reader)
        live(writer, 3)
        assert reader.revision == 1
        assert contents(reader) == before
        reader.refresh()
        assert reader.revision == 3
        assert contents(reader) == contents(writer) != before


def test_what_headers_tell_is_kept(writer):
    full = PhotoHeaders("2019-06-23T14:05:06", 120, "NIKON", "D90", "35 mm", -33.875, 151.21, 4, ("a", "caf\u00e9"))
    writer.commit(
        new=[
            photo(1, "a.jpg", headers=full, incomplete="the file ends early", ctime_ns=7),
            photo(1, "b.jpg", headers=PhotoHeaders()),
            photo(1, "c.jpg"),
        ]
    )
    first, second, third = writer.photos([1, 2, 3])
    assert (first.headers, first.incomplete) == (full, "the file ends early")
    assert (second.headers, second.incomplete) == (PhotoHeaders(), None)
    assert third.headers is None
    known = writer.known(1)
    assert [known[name].headers_read for name in ("a.jpg", "b.jpg", "c.jpg")] == [True, True, False]
    assert (known["a.jpg"].ctime_ns, known["a.jpg"].incomplete) == (7, "the file ends early")
    revision = writer.revision
    writer.set_headers({3: full, 99: full})
    assert writer.photos([3])[0].headers == full
    assert writer.revision == revision + 1


def test_change_times_move_and_are_touched_with_the_others(writer):
    writer.commit(new=[photo(1, "a.jpg", ctime_ns=1), photo(1, "b.jpg", ctime_ns=2)])
    writer.commit(touched={1: FileState(3, 4, 5)}, moved={2: NewPath(1, "c.jpg", 6, 7, 8)})
    known = writer.known(1)
    assert [(*known[name][2:4], known[name].ctime_ns) for name in ("a.jpg", "c.jpg")] == [(3, 4, 5), (6, 7, 8)]


def test_copies_have_one_content(writer):
    same = photo(1, "a.jpg").digest
    writer.commit(
        new=[photo(1, "a.jpg"), photo(1, "b.jpg"), photo(1, "c.jpg", digest=same)],
        failed=[FailedFile(1, "d.jpg", 1, 1, same, "why")],
    )
    assert writer.copies([1, 2]) == {1: [1, 3], 2: [2]}
    assert writer.copies([]) == {}
    assert writer.contents([2, 1]) == {1: writer.photos([1, 3]), 2: writer.photos([2])}
    assert writer.contents([3]) == {3: writer.photos([1, 3])}
    assert writer.contents([]) == {} == writer.contents([4, 7])  # failed, unknown
    assert writer.repeated() == [[1, 3]]
    assert [row.digest for row in writer.photos([1, 3])] == [same, same]


def test_what_was_left_out_of_a_root_is_remembered(writer):
    assert writer.left_out() == {1: {}}
    writer.set_left_out(1, {"videos": 3})
    assert writer.left_out() == {1: {"videos": 3}}
