"""Photographs like a photograph: examples, their ranking, and the real command."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from fcln.scoring import Calibration, Scoring
from helpers.small_album import write_noise
from helpers.word_predictor import SixWords, WordPredictor, new_photo
from search.cli import main
from search.errors import ExampleError
from search.example import find_example, main_regions
from search.filters import Filters
from search.likeness import balanced
from search.searcher import Searcher

REPOSITORY = Path(__file__).parents[1]


def unused():
    raise AssertionError("the network is not needed")


# -- what stands for a photograph


def test_the_main_regions_are_large_sure_and_apart():
    boxes = np.array(
        [
            [0, 0, 100, 100],
            [0, 0, 100, 90],
            [10, 10, 14, 14],
            [50, 50, 90, 90],
            [0, 0, 1, 1],
            [5, 60, 25, 80],
            [60, 0, 99, 9],
        ]
    )
    objectness = np.array([0.5, 0.6, 0.9, 0.8, 0.1, 0.5, 0.3])
    # By objectness times the root of the area: 50, 57, 3.6, 32, 0.1, 10, 5.6; the first overlaps the second.
    assert main_regions(boxes, objectness).tolist() == [1, 3, 5, 6, 2]
    assert main_regions(boxes[4:5], objectness[4:5]).tolist() == [0]


def test_vectors_for_candidates_weigh_both_alike():
    example, words = np.eye(5)[:4], np.eye(5)[4:]
    assert np.array_equal(balanced(example, words[:0]), example)
    assert balanced(example, words).sum(axis=0).tolist() == [1, 1, 1, 1, 4]
    assert balanced(example[:1], np.eye(5)[2:]).sum(axis=0).tolist() == [3, 0, 1, 1, 1]


# -- ranking

PHOTOS = {
    "dog.jpg": ["a dog", "tree"],
    "same.jpg": ["a dog", "tree"],
    "half.jpg": ["a dog", "red lamp"],
    "couch.jpg": ["a couch"],
    "all.jpg": ["a dog", "tree", "red lamp"],
    "copy.jpg": ["a dog", "tree"],
}


@pytest.fixture
def collection(tmp_path):
    path, root = tmp_path / "collection", tmp_path / "photos"
    with open_collection(path, write=True, create=True, model=WordPredictor.identity) as opened:
        root_id = opened.add_root(root)
        new = [apart(new_photo(root_id, name, regions)) for name, regions in PHOTOS.items()]
        new[-1] = replace(new[-1], digest=new[0].digest)
        opened.commit(new=new)
        yield opened


def apart(photo):
    """The photograph, its regions side by side."""
    i = np.arange(len(photo.phrases), dtype=np.float32)
    return replace(photo, boxes=np.stack([50 * i, 0 * i, 50 * i + 40, 0 * i + 90], axis=1))


@pytest.fixture
def searcher(collection):
    return Searcher(collection, WordPredictor(), lexicon=SixWords())


def names(answer):
    return [hit.path.name for hit in answer.hits]


def example_of(collection, name, **options):
    path = next(row.path for row in collection.photos(collection.photo_ids()) if row.path.name == name)
    return find_example(collection, unused, path=path, **options)


def test_a_photograph_is_compared_by_the_best_match_of_each_of_its_regions(searcher, collection):
    example = example_of(collection, "dog.jpg")
    assert sorted(example.phrases) == ["a dog", "tree"] and example.overlap is None
    answer = searcher.like(example)
    assert names(answer) == ["same.jpg", "all.jpg", "half.jpg", "couch.jpg"]  # neither itself nor its copy
    assert [hit.score for hit in answer.hits] == pytest.approx([1, 1, 0.5, 0.25], abs=1e-3)
    assert answer.query == ["like dog.jpg"] and answer.example is example
    assert {(region.phrase, region.for_phrase) for region in answer.hits[1].regions} == {
        ("a dog", "like a dog"),
        ("tree", "like tree"),
    }


def test_a_part_of_a_photograph(searcher, collection):
    example = example_of(collection, "half.jpg", box=(45, 0, 90, 90))
    assert (example.phrases, example.boxes) == (["red lamp"], [(50, 0, 90, 90)])
    assert example.overlap == round(40 * 90 / (45 * 90), 2)
    answer = searcher.like(example, k=1)
    assert names(answer) == ["all.jpg"]
    assert answer.hits[0].regions[0].phrase == "red lamp"


def test_a_phrase_counts_as_much_as_the_photograph(searcher, collection):
    answer = searcher.like(example_of(collection, "dog.jpg"), ["red lamp", "red lamp"])
    scores = dict(zip(names(answer), (hit.score for hit in answer.hits)))
    assert scores == pytest.approx({"all.jpg": 1, "half.jpg": 0.75, "same.jpg": 0.5, "couch.jpg": 0.125}, abs=1e-3)
    assert answer.query == ["like dog.jpg", "red lamp", "red lamp"]
    assert ("red lamp", "red lamp") in {(region.phrase, region.for_phrase) for region in answer.hits[0].regions}


def test_filters_and_what_is_not_wanted(collection):
    predictor = WordPredictor()
    calibration = Calibration(presence=(-90.0, 100.0, 0.0), place=(-9.0, 20.0, 0.0, 0.0), prevalence=0.02)
    predictor.scoring = Scoring("embedding", calibration=calibration)
    searcher = Searcher(collection, predictor, lexicon=SixWords())
    example = example_of(collection, "dog.jpg")
    answer = searcher.like(example, excluded=["red lamp"])
    assert names(answer) == ["same.jpg", "couch.jpg"]
    assert {photo.path.name for photo in answer.excluded} == {"all.jpg", "half.jpg"}
    answer = searcher.like(example, filters=Filters(max_area=0.2, formats=("jpeg",)), sort="date")
    assert answer.selection.allowed == 6 and len(answer.hits) == 4
    assert searcher.like(example, filters=Filters(after="2023")).hits == []
    # Only itself may answer.
    with open_collection(collection.path, write=False) as reader:
        own = Filters(under=tuple(row.path for row in reader.photos(sorted(example.photo_ids))))
    assert searcher.like(example, filters=own).selection.allowed == 2
    assert searcher.like(example, filters=own).hits == []


def test_a_short_answer_is_the_start_of_a_long_one(searcher, collection):
    example = example_of(collection, "half.jpg")
    long = searcher.like(example, ["a couch"], k=5).hits
    assert len(long) == 4  # the copy is one with the original
    for k in (1, 2, 3):
        assert searcher.like(example, ["a couch"], k=k).hits == long[:k]


# -- finding the example


def test_what_is_no_example(collection, tmp_path):
    for photo_id in (99, 10**30):
        with pytest.raises(ExampleError, match=f"holds no photograph {photo_id}"):
            find_example(collection, unused, photo_id=photo_id)
    with pytest.raises(ExampleError, match=r"There is no photograph .*nowhere\.jpg, and the collection .* knows none"):
        find_example(collection, unused, path=tmp_path / "nowhere.jpg")
    with pytest.raises(ExampleError, match="is a folder"):
        find_example(collection, unused, path=tmp_path)
    (tmp_path / "text.jpg").write_text("no photograph")
    with pytest.raises(ExampleError, match=r"text\.jpg cannot be looked at: "):
        find_example(collection, unused, path=tmp_path / "text.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ExampleError, match=r"pipe\.jpg cannot be read \(it is a pipe or a device\)"):
        find_example(collection, unused, path=tmp_path / "pipe.jpg")
    for box in ((200, 0, 250, 90), (0, -50, 90, 0), (float("nan"), 0, 10, 10), (10, 10, 10.5, 20)):
        with pytest.raises(ExampleError, match="holds nothing of a photograph of 200x100 pixels"):
            find_example(collection, unused, photo_id=1, box=box)


def test_a_photograph_is_known_by_its_content_wherever_it_is(album, tmp_path):
    with open_collection(album.collection) as collection:
        elsewhere = tmp_path / "other name.jpg"
        elsewhere.write_bytes((album.photos / "2.jpg").read_bytes())
        by_path = find_example(collection, unused, path=album.photos / "2.jpg")
        by_content = find_example(collection, unused, path=elsewhere)
        by_id = find_example(collection, unused, photo_id=next(iter(by_path.photo_ids)))
        assert by_path.photo_ids == by_content.photo_ids == by_id.photo_ids and len(by_id.photo_ids) == 1
        assert np.array_equal(by_path.embeddings, by_content.embeddings)


def test_a_photograph_outside_is_described(album, tiny_predictor, tmp_path):
    write_noise(tmp_path / "new.png", 9, (200, 120))
    with open_collection(album.collection) as collection:
        example = find_example(collection, lambda: tiny_predictor, path=tmp_path / "new.png")
        with Image.open(tmp_path / "new.png") as image:
            (regions,) = tiny_predictor.describe([image.convert("RGB")], max_regions=50)
        rows = main_regions(regions.boxes, regions.scores)
        assert np.allclose(example.embeddings, regions.embeddings[rows], atol=1e-5)
        assert example.photo_ids == frozenset()
        # exactly the box, which no region is
        box = find_example(collection, lambda: tiny_predictor, path=tmp_path / "new.png", box=(11, 12, 73, 94))
        assert (box.boxes, box.overlap) == ([(11, 12, 73, 94)], None)


def test_a_changed_photograph_is_looked_at_anew_and_still_left_out(album, tiny_predictor, tmp_path):
    photo = album.photos / "2.jpg"
    before = photo.read_bytes()
    try:
        write_noise(photo, 77, (80, 120))
        with open_collection(album.collection) as collection:
            example = find_example(collection, lambda: tiny_predictor, path=photo)
            (own,) = example.photo_ids
            assert collection.photos([own])[0].path == photo
            assert not np.array_equal(example.embeddings, find_example(collection, unused, photo_id=own).embeddings)
    finally:
        photo.write_bytes(before)


def test_a_box_that_is_no_known_region_is_looked_at_in_the_file(album, tiny_predictor):
    with open_collection(album.collection) as collection:
        path = album.photos / "1.jpg"
        (photo_id,) = find_example(collection, unused, path=path).photo_ids
        row = collection.regions(collection.features([photo_id]).region_ids)[0]
        known = find_example(collection, unused, path=path, box=row.box)
        assert (known.boxes, known.overlap) == ([row.box], 1.0)
        sliver = (0.0, 0.0, 3.0, 3.0)
        exact = find_example(collection, lambda: tiny_predictor, path=path, box=sliver)
        assert (exact.boxes, exact.overlap, exact.photo_ids) == ([sliver], None, frozenset({photo_id}))


# -- the command


@pytest.fixture
def like(album, tiny_checkpoint, monkeypatch, capfdbinary):
    def run(*arguments):
        options = ["--collection", str(album.collection), "--weights", str(tiny_checkpoint), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["search", "like", *map(str, arguments), *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfdbinary.readouterr()
        return exit_.value.code, out, err.decode()

    return run


def test_the_command_answers_in_every_form(like, album):
    others = sorted(os.fsencode(album.photos / name) for name in ("1.jpg", "sub/3.jpg"))
    code, out, err = like(album.photos / "2.jpg")
    assert (code, sorted(out.splitlines()), err) == (0, others, "")
    code, out, _ = like(album.photos / "2.jpg", "-0")
    assert sorted(out.split(b"\0")) == [b"", *others]
    code, out, _ = like(album.photos / "2.jpg", "and a dog", "--json", "-k", 1)
    document = json.loads(out)
    assert document["query"] == ["like 2.jpg", "a dog"] and len(document["hits"]) == 1
    assert document["like"]["path"] == str(album.photos / "2.jpg") and document["like"]["overlap"] is None
    assert 1 <= len(document["like"]["regions"]) <= 5
    code, out, _ = like("--photo-id", 1, "--csv")
    assert out.count(b"\n") > 2 and code == 0
    code, out, _ = like("--photo-id", 1, "--table")
    with open_collection(album.collection) as collection:
        name = collection.photos([1])[0].path.name
    assert out.startswith(f'"like {name}": 2 photographs'.encode())


def test_the_command_takes_filters_and_draws(like, album, tmp_path):
    code, out, _ = like(album.photos / "1.jpg", "--orientation", "portrait", "--draw", tmp_path / "drawn.png")
    assert (code, out) == (0, os.fsencode(album.photos / "2.jpg") + b"\n")
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.format == "PNG"
    code, out, err = like(album.photos / "2.jpg", "--orientation", "portrait")
    assert (code, out) == (1, b"")
    assert err == f"Nothing found: {album.collection} holds no other photograph that may answer.\n"
    code, _, err = like(album.photos / "1.jpg", "--camera", "leica")
    assert code == 1 and "the filter camera leica allows none of the 3 photographs" in err


def test_what_the_command_refuses(like, album, tmp_path):
    for arguments, message in [
        ([], "Name a photograph, as in `search like photo.jpg`, or give --photo-id."),
        ([tmp_path / "none.jpg"], "There is no photograph"),
        (["--photo-id", 999], "holds no photograph 999"),
        ([album.photos / "1.jpg", "--not", "no dog"], '"no dog" is negated twice: name the thing alone, "a dog".'),
        ([album.photos / "1.jpg", "--box", "1,2,3"], "1,2,3 is no box: x, y, width and height in pixels"),
        ([album.photos / "1.jpg", "--box", "1,2,0,5"], "is no box"),
        ([album.photos / "1.jpg", "--box", "5000,0,10,10"], "The box 5000,0,10,10 holds nothing of a photograph of"),
    ]:
        code, out, err = like(*arguments)
        assert (code, out) == (2, b""), arguments
        assert message in err


def test_known_photographs_need_no_torch(album, tiny_checkpoint):
    code = (
        "import sys; sys.argv = ['search', 'like', '--photo-id', '1', 'a dog', '--collection', sys.argv[1], "
        "'--weights', sys.argv[2]]\n"
        "from search.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    run = [sys.executable, "-c", code, str(album.collection), str(tiny_checkpoint)]
    result = subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert result.stdout.splitlines()[-1] == "0 False", result.stderr
