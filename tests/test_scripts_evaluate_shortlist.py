"""How much of the exact answer a shortlist finds: what is compared, and with what."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from db.collection import Collection, open_collection
from helpers.labelled_photos import write_labelled_photos
from helpers.word_predictor import SixWords, WordPredictor, build
from scripts.benchmark import query as benchmark_query
from scripts.evaluate.shortlist import (
    agreement,
    default_size,
    default_sizes,
    draw,
    made_up_queries,
    main,
    make_searcher,
    measure,
    table,
)
from search.likelihood import JUDGED_PAIRS
from search.shortlist import SHORTLIST_PHOTOS


def test_places_agree_one_by_one_and_photographs_wherever_they_are() -> None:
    wanted = [[1, 2, 3, 4], [5, 6]]
    # Of six places the first two and the fifth; of six photographs all but 4 and 6.
    assert agreement(wanted, [[1, 2, 9, 3], [5, 8]]) == {"places": 3 / 6, "photographs": 4 / 6}
    assert agreement(wanted, [[1], []]) == {"places": 1 / 6, "photographs": 1 / 6}  # a shorter answer misses the rest
    assert agreement(wanted, wanted) == {"places": 1, "photographs": 1}


def test_the_default_size_is_among_the_sizes_and_none_is_shorter_than_the_answer() -> None:
    assert (default_size("embedding"), default_size("fused")) == (SHORTLIST_PHOTOS, JUDGED_PAIRS)
    for scoring in ("embedding", "likelihood"):
        sizes = default_sizes(scoring)
        assert default_size(scoring) in sizes and min(sizes) >= 10 and list(sizes) == sorted(set(sizes))


def test_made_up_queries_are_four_different_questions_each() -> None:
    queries = made_up_queries(30)
    assert len(queries) == 30 and queries == made_up_queries(30)
    assert all(len(set(query)) == 4 and set(query) <= set(benchmark_query.QUESTIONS) for query in queries)


@pytest.fixture
def six_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the predictor of these tests knows."""
    monkeypatch.setattr("search.searcher.Lexicon.of", lambda model: SixWords())


@pytest.fixture
def collection(tmp_path: Path, six_words: None):
    """Twelve photographs with "red lamp", the first of them with "red" and "lamp" apart; and a tree each."""
    photos = {f"{n:02}.jpg": ["red lamp", "tree"] for n in range(2, 13)}
    build(tmp_path / "collection", tmp_path, {"01.jpg": ["red", "lamp"], **photos})
    with open_collection(tmp_path / "collection") as opened:
        yield opened


def test_a_curve_says_what_each_size_finds(collection: Collection) -> None:
    predictor = WordPredictor()
    # The mean over both phrases: 01 1.0, all others cos 45 degrees. A shortlist of one to nine still gives ten hits.
    curve = measure("two", collection, predictor, [["red", "lamp"], ["red", "lamp"]], "embedding", [3, 12])  # type: ignore[arg-type]
    times = [curve.pop("exact_ms"), *(point.pop("ms") for point in curve["points"])]
    assert all(0 < ms < 10_000 for ms in times)
    assert curve == {
        "name": "two",
        "photographs": 12,
        "regions": 24,
        "queries": 2,
        "points": [{"size": size, "places": 1.0, "photographs": 1.0} for size in (3, 12)],
    }


def test_a_curve_says_what_a_short_list_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, six_words: None
) -> None:
    monkeypatch.setattr("scripts.evaluate.shortlist.TOP", 2)
    monkeypatch.setattr("db.local.reader.SCANNED_REGIONS", 0)  # as in a large collection
    monkeypatch.setattr("db.candidates.FIRST_DEPTH", 2)
    # FAISS's first two for each phrase are the photographs 1 to 4, all of which may be perfect; really the last is the
    # best one (cos 45 degrees for both phrases), and 1 the next (mean of 1 and 0).
    words = ["red", "red", "lamp", "lamp", "red lamp"]
    build(tmp_path / "collection", tmp_path, {f"{n}.jpg": [word] for n, word in enumerate(words, 1)})
    with open_collection(tmp_path / "collection") as opened:
        curve = measure("two", opened, WordPredictor(), [["red", "lamp"]], "embedding", [2, 5])  # type: ignore[arg-type]
    assert [(point["places"], point["photographs"]) for point in curve["points"]] == [(0, 0.5), (1, 1)]


def test_where_the_language_model_judges_the_size_is_its_pairs(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.likelihood.MIN_JUDGED_PHOTOS", 1)
    judged = {}
    for pairs in (8, 44):
        predictor = WordPredictor()
        searcher = make_searcher(collection, predictor, "likelihood", pairs)  # type: ignore[arg-type]
        searcher.search(["a tree", "red lamp"], k=1, scoring="likelihood")
        judged[pairs] = predictor.judged
    assert judged == {8: 8, 44: 44}  # two regions for each of two phrases in two photographs and in eleven


def test_the_table_and_the_picture_show_every_point(tmp_path: Path) -> None:
    points = [{"size": 10, "places": 0.5, "photographs": 0.75, "ms": 2.0}]
    points.append({"size": 200, "places": 0.98, "photographs": 0.99, "ms": 8.0})
    counts = {"photographs": 1000, "regions": 50000, "queries": 7, "exact_ms": 40.04}
    curves = [{"name": "one phrase", **counts, "points": points}]
    result = {"scoring": "embedding", "default_size": 200, "curves": curves}
    lines = table(result).splitlines()
    assert lines[0] == "embedding scoring; the default is 200 photographs"
    assert lines[2] == "One phrase: 7 queries, 50000 regions of 1000 photographs"
    assert lines[4] == "| photographs | places | photographs | ms |"
    assert lines[6:] == [
        "| 10 | 0.500 | 0.750 | 2.0 |",
        "| 200 | 0.980 | 0.990 | 8.0 |",
        "| exact | 1.000 | 1.000 | 40.0 |",
    ]
    assert "pairs judged" in table({"scoring": "fused", "default_size": 240, "curves": curves})
    draw(result, tmp_path / "below" / "curve.png")
    assert (tmp_path / "below" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_measures_photographs_and_a_made_up_collection(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = ("dog on couch", "red lamp", "brown dog", "two red lamp", "man in the lamp")  # words that it knows
    monkeypatch.setattr(benchmark_query, "QUESTIONS", questions)
    monkeypatch.setattr("scripts.evaluate.shortlist.QUESTIONS", questions)
    monkeypatch.setattr("scripts.evaluate.shortlist.MADE_UP_REGIONS", 5)
    photos, annotations = write_labelled_photos(tmp_path, 4)
    command = f"--photos {photos} --annotations {annotations} --weights {tiny_checkpoint} --device cpu --json"
    command += f" --images 3 --queries 2 --sizes 100 --sizes 10 --made-up 30 --plot {tmp_path / 'curve.png'}"
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["scoring"], figures["default_size"]) == ("embedding", SHORTLIST_PHOTOS)
    assert [(curve["name"], curve["photographs"], curve["queries"]) for curve in figures["curves"]] == [
        ("photographs, one phrase", 3, 2),
        ("photographs, four phrases", 3, 2),
        ("made up, one phrase", 30, 2),
        ("made up, four phrases", 30, 2),
    ]
    for curve in figures["curves"]:
        assert [point["size"] for point in curve["points"]] == [10, 100]
        assert curve["points"][1]["places"] == 1  # all photographs are scored
    assert (tmp_path / "curve.png").exists()
