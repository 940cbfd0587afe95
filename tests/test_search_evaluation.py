"""Questions on one's own photographs, by a predictor that knows six words: every rank is known."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from helpers.word_predictor import SixWords, WordPredictor, build, new_photo
from search.errors import EvaluationError
from search.evaluation import report
from search.evaluation.judge import evaluate
from search.evaluation.question_file import Question, match, read_lines
from search.metrics import bootstrap_interval, expected_by_chance
from search.searcher import Searcher

REPOSITORY = Path(__file__).parents[1]
PHOTOS = {
    "dog.jpg": ["a dog", "tree"],
    "album/both.jpg": ["a red", "a couch", "a dog"],
    "lamp.jpg": ["a lamp"],
    "tree.jpg": ["tree"],
    "album/tree.jpg": ["tree", "red"],
}


@pytest.fixture
def collection(tmp_path):
    build(tmp_path / "collection", tmp_path / "photos", PHOTOS)
    with open_collection(tmp_path / "collection") as opened:
        yield opened


@pytest.fixture
def searcher(collection):
    return Searcher(collection, WordPredictor(), lexicon=SixWords())


@pytest.fixture
def questions(tmp_path):
    """Write a file of questions and read it."""

    def make(*lines):
        (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
        return read_lines(tmp_path / "q.jsonl")

    return make


def line(phrase, photograph, box=None):
    return {"phrase": phrase, "photograph": photograph} | ({"box": box} if box else {})


def judged(collection, searcher, lines, folder):
    return evaluate(searcher, collection, match(lines, collection, folder).questions)


def test_figures_are_what_the_ranking_says(collection, searcher, questions, tmp_path):
    lines = questions(
        line("a lamp", "lamp.jpg", [0, 0, 50, 25]),  # first, and its box is the region's
        line("a lamp", "tree.jpg"),  # and one that only a person would see
        line("a couch", "album/both.jpg", [100, 50, 50, 25]),  # first; the region is elsewhere: 1, 2, 51, 27
    )
    found = judged(collection, searcher, lines, tmp_path)
    lamp, couch = found.judged
    ranked = searcher.rank(["a lamp"]).photo_ids.tolist()
    rows = {row.path.name: row.photo_id for row in collection.photos(ranked) if row.path.parent.name == "photos"}
    second = ranked.index(rows["tree.jpg"]) + 1
    assert second > 1
    assert (lamp.rank, couch.rank) == (1, 1)
    assert lamp.average_precision == pytest.approx((1 + 2 / second) / 2)
    figures = found.figures()
    assert figures["recall@1"]["value"] == 1 and figures["median rank"]["value"] == 1
    assert figures["mean AP"]["value"] == pytest.approx((1 + (1 + 2 / second) / 2) / 2)
    assert figures["localization@0.5"]["value"] == 0.5
    assert found.chance == pytest.approx(expected_by_chance(5, [2, 1]))
    ((box, overlap),) = lamp.places.values()
    assert box == (0, 0, 50, 25) and overlap == 1
    assert [j.question.phrase for j in found.worst(2)] == ["a lamp", "a couch"]


def test_a_question_answered_last_counts_as_such(collection, searcher, questions, tmp_path):
    found = judged(collection, searcher, questions(line("tree", "lamp.jpg")), tmp_path)
    rank = found.judged[0].rank
    assert rank > 3 and found.judged[0].average_precision == pytest.approx(1 / rank)
    assert found.figures()["recall@1"] == {"value": 0, "low": 0, "high": 0}
    assert "localization@0.5" not in found.figures()


def test_copies_of_a_photograph_count_once(tmp_path, questions):
    build(tmp_path / "c", tmp_path / "photos", PHOTOS)
    with open_collection(tmp_path / "c", write=True) as writer:
        original = new_photo(1, "dog.jpg", ["a dog", "tree"])
        for name in ("x.jpg", "y.jpg", "z.jpg"):
            copy = new_photo(1, name, ["a dog", "tree"])
            writer.commit(new=[type(copy)(**{**vars(copy), "digest": original.digest})])
    with open_collection(tmp_path / "c") as opened:
        searcher = Searcher(opened, WordPredictor(), lexicon=SixWords())
        found = judged(opened, searcher, questions(line("a dog", "album/both.jpg"), line("a lamp", "z.jpg")), tmp_path)
        assert found.photographs == 5
        assert found.judged[0].rank <= 2  # four copies of dog.jpg are one place
        lamp = found.judged[1]
        first = [row.path.name for row in opened.photos(lamp.first)]
        assert len(set(first) & {"dog.jpg", "x.jpg", "y.jpg", "z.jpg"}) == 1
        assert lamp.rank == 1 + next(
            i for i, name in enumerate(first) if name in ("dog.jpg", "x.jpg", "y.jpg", "z.jpg")
        )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("dog.jpg", "dog.jpg"),  # a file name that one has; also below the root
        ("album/tree.jpg", "album/tree.jpg"),
        ("{photos}/album/both.jpg", "album/both.jpg"),
        ("both.jpg", "album/both.jpg"),
        ("tree.jpg", "tree.jpg"),  # relative to the root, though two have the name
        ("photos/lamp.jpg", "lamp.jpg"),  # relative to the folder of the file
        ("./photos/../photos/lamp.jpg", "lamp.jpg"),
        ("nope.jpg", None),
        ("album", None),
    ],
)
def test_photographs_are_named_as_people_name_them(collection, questions, tmp_path, name, found):
    lines = questions(line("a dog", name.format(photos=tmp_path / "photos")))
    matched = match(lines, collection, tmp_path)
    if found is None:
        assert matched.questions == [] and matched.missing == lines
    else:
        ((photo_id, boxes),) = matched.questions[0].answers.items()
        assert collection.photos([photo_id])[0].path == tmp_path / "photos" / found and boxes == []


def test_a_file_name_that_two_have_names_neither(tmp_path, questions):
    build(tmp_path / "c", tmp_path / "photos", {"a/x.jpg": ["tree"], "b/x.jpg": ["tree"]})
    with open_collection(tmp_path / "c") as opened:
        assert match(questions(line("tree", "x.jpg")), opened, tmp_path).questions == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "There is no file"),
        (b"", "has no question"),
        (b"\n \n", "has no question"),
        (b'{"phrase": "a dog", "photograph": "a.jpg"}\n{nope}', "line 2 is not JSON"),
        (b'["a dog"]', "line 1 is no {"),
        (b'\n{"photograph": "a.jpg"}', 'line 2 has no "phrase"'),
        (b'{"phrase": "a dog", "photograph": 3}', 'no "photograph"'),
        (b'{"phrase": "a dog", "photograph": "a\\u0000.jpg"}', 'no "photograph"'),
        (b'{"phrase": "a dog", "photograph": "a.jpg", "box": [1, 2, 3]}', "not [x, y, width, height]"),
        (b'{"phrase": "a dog", "photograph": "a.jpg", "box": [1, 2, 0, 3]}', "not [x, y, width, height]"),
        (b'{"phrase": "a dog", "photograph": "a.jpg", "box": [NaN, 2, 3, 3]}', "not [x, y, width, height]"),
        (b"\xff\xfe", "is no UTF-8"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "q.jsonl").write_bytes(text)
    with pytest.raises(EvaluationError, match=re.escape(sentence)):
        read_lines(tmp_path / "q.jsonl")


def test_what_cannot_be_asked_is_left_out(collection, searcher, questions, tmp_path):
    lines = questions(line("xyzzy", "lamp.jpg"), line("a lamp", "lamp.jpg"))
    found = judged(collection, searcher, lines, tmp_path)
    assert len(found.judged) == 1 and list(found.refused) == ["xyzzy"]
    with pytest.raises(EvaluationError, match="No question can be asked"):
        evaluate(searcher, collection, [Question("xyzzy", {1: []})])


def test_the_worst_are_shown_with_what_came_first_instead(collection, searcher, questions, tmp_path):
    for name in PHOTOS:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100), (30, 160, 60)).save(path)
    lines = questions(line("tree", "lamp.jpg", [10, 10, 20, 20]), line("a dog", "dog.jpg"))
    found = judged(collection, searcher, lines, tmp_path)
    text = report.worst_page(found, collection, searcher, 1)
    assert "<h2>tree</h2>" in text and "<h2>a dog</h2>" not in text
    figures = text.split("<figure>")[1:]
    assert len(figures) == 4 and "lamp.jpg" in figures[0] and "labelled" in figures[0]
    assert 'x="10" y="10" width="20" height="20"' in figures[0]
    assert all("lamp.jpg" not in figure for figure in figures[1:])
    picture = np.asarray(report.draw_worst(found, collection, searcher, 2))
    assert (picture == (30, 160, 60)).all(axis=2).sum() > 50_000
    table = report.as_table(found, 1)
    assert "recall@10" in table and "tree" in table and "a dog" not in table


def test_intervals_hold_what_draws_give():
    values = [0] * 50 + [1] * 50
    low, high = bootstrap_interval(values, lambda drawn: float(np.mean(drawn)))
    # A share of a half over 100 questions: 1.96 standard errors of 0.05.
    assert (low, high) == (pytest.approx(0.4, abs=0.02), pytest.approx(0.6, abs=0.02))
    assert bootstrap_interval(values, lambda drawn: float(np.mean(drawn))) == (low, high)
    assert bootstrap_interval([3], lambda drawn: float(np.median(drawn))) == (3, 3)


# -- the command


@pytest.fixture
def command(album, tiny_checkpoint, tmp_path):
    def run(*arguments, lines=(("a dog", "1.jpg"), ("a red lamp", "sub/3.jpg"))):
        (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(line(*each)) for each in lines))
        options = ["--collection", str(album.collection), "--weights", str(tiny_checkpoint)]
        return subprocess.run(
            [sys.executable, "-m", "search", "evaluate", "q.jsonl", *arguments, *options],
            cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "PATH": "", "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


def test_the_command_prints_figures_and_draws_the_worst(command, tmp_path):
    result = command("--html", "w.html", "--draw", "w.png")
    assert result.returncode == 0, result.stderr
    assert "2 questions over 3 photographs" in result.stdout and "recall@1" in result.stdout
    assert (tmp_path / "w.html").exists()
    with Image.open(tmp_path / "w.png") as picture:
        assert picture.width >= 800
    document = json.loads(command("--json").stdout)
    assert document["questions"] == 2 and len(document["judged"]) == 2
    figure = document["figures"]["recall@10"]
    assert figure == {"value": 1, "low": 1, "high": 1}


def test_lines_without_a_photograph_are_told_and_none_at_all_is_an_error(command):
    result = command("--json", lines=(("a dog", "1.jpg"), ("a dog", "nope.jpg")))
    assert result.returncode == 0
    assert "Left out line 2: the collection has no photograph nope.jpg." in result.stderr
    assert json.loads(result.stdout)["missing"] == [{"line": 2, "photograph": "nope.jpg"}]
    result = command(lines=(("a dog", "nope.jpg"),))
    assert result.returncode == 2 and "has none of the photographs that q.jsonl names" in result.stderr
    assert result.stdout == ""
