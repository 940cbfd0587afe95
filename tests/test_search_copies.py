"""One hit a content, and what looks the same beside it."""

from pathlib import Path

import pytest

from db.collection import open_collection
from helpers.word_predictor import SixWords, WordPredictor, new_photo
from search.copies import fold
from search.searcher import Searcher

DOG, COUCH, LAMP = ["a dog", "dog"], ["a couch", "couch"], ["a red lamp", "lamp"]


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def collection_of(tmp_path, root, *photos, there=()):
    """photos: (name, regions, content); there: the names of files that exist."""
    path = tmp_path / "collection"
    with open_collection(path, write=True, create=True, model=WordPredictor.identity) as collection:
        root_id = collection.add_root(root)
        new = [new_photo(root_id, name, regions) for name, regions, _ in photos]
        for photo, (_, _, content) in zip(new, photos):
            object.__setattr__(photo, "digest", content * 64)
        collection.commit(new=new)
    for name in there:
        (root / name).touch()
    return open_collection(path)


def names(paths) -> list[str]:
    return [path.name for path in paths]


def test_files_of_one_content_are_one_hit(tmp_path, root):
    photos = [("1.jpg", DOG, "a"), ("2.jpg", DOG, "a"), ("3.jpg", COUCH, "b"), ("4.jpg", DOG, "a"), ("5.jpg", DOG, "c")]
    with collection_of(tmp_path, root, *photos, there=["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]) as collection:
        groups = fold(collection, [2, 1, 5, 3, 4], 10)
        assert names(group.photo.path for group in groups) == ["2.jpg", "5.jpg", "3.jpg"]
        assert [names(group.copies) for group in groups] == [["1.jpg", "4.jpg"], [], []]
        assert [group.rank for group in groups] == [0, 2, 3]
        assert fold(collection, [2, 1, 5, 3, 4], 2) == groups[:2]
        assert fold(collection, [], 5) == []


def test_a_file_that_is_gone_never_stands_beside_its_living_copy(tmp_path, root):
    photos = [("1.jpg", DOG, "a"), ("2.jpg", DOG, "a"), ("3.jpg", DOG, "a"), ("4.jpg", COUCH, "b")]
    with collection_of(tmp_path, root, *photos, there=["2.jpg"]) as collection:
        group, dead = fold(collection, [1, 4, 2, 3], 10)
        assert (group.photo.path.name, group.copies) == ("2.jpg", [])
        assert (dead.photo.path.name, dead.copies) == ("4.jpg", [])  # no copy lives


def test_as_many_hits_as_asked_for_though_copies_come_between(tmp_path, root):
    photos = [(f"{n:02}.jpg", DOG, "a") for n in range(30)] + [(f"x{n}.jpg", COUCH, c) for n, c in enumerate("bcdef")]
    with collection_of(tmp_path, root, *photos) as collection:
        groups = fold(collection, list(range(1, 36)), 3)
        assert names(group.photo.path for group in groups) == ["00.jpg", "x0.jpg", "x1.jpg"]


def test_what_looks_the_same_is_folded_if_asked_for(tmp_path, root):
    photos = [("1.jpg", DOG, "a"), ("2.jpg", LAMP, "b"), ("3.jpg", DOG, "c"), ("4.jpg", DOG, "a"), ("5.jpg", DOG, "d")]
    there = [name for name, *_ in photos]
    with collection_of(tmp_path, root, *photos, there=there) as collection:
        groups = fold(collection, [1, 2, 3, 4, 5], 10, similar=True)
        assert names(group.photo.path for group in groups) == ["1.jpg", "2.jpg"]
        assert (names(groups[0].copies), names(groups[0].similar)) == (["4.jpg"], ["3.jpg", "5.jpg"])
        assert len(fold(collection, [1, 2, 3, 4, 5], 10)) == 4


def test_an_answer_has_each_content_once(tmp_path, root):
    photos = [("1.jpg", COUCH, "b"), ("2.jpg", DOG, "a"), ("3.jpg", DOG, "a"), ("4.jpg", LAMP, "c")]
    with collection_of(tmp_path, root, *photos, there=["3.jpg"]) as collection:
        answer = Searcher(collection, WordPredictor(), lexicon=SixWords()).search(["dog"], scoring="embedding")
        assert [hit.rank for hit in answer.hits] == [1, 2, 3]
        first = answer.hits[0]
        assert (first.path.name, first.photo_id, first.copies) == ("3.jpg", 3, ())
        assert {region.region_id for region in first.regions} <= {3, 4, 5, 6}
        assert (
            len(
                Searcher(collection, WordPredictor(), lexicon=SixWords()).search(["dog"], k=2, scoring="embedding").hits
            )
            == 2
        )
