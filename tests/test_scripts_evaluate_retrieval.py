"""The paper's retrieval experiment: what is drawn, how it is judged, what is reported."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.training.annotations import AnnotatedImage
from helpers.labelled_photos import write_labelled_photos
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledPhoto
from scripts.evaluate.retrieval import (
    LabelledPhrase,
    Outcome,
    RetrievalQuery,
    draw_queries,
    find_candidates,
    judge,
    main,
    summarize,
    table,
)
from search.likelihood import JUDGED_REGIONS
from search.ranking import Ranking
from search.searcher import Searcher


def photo_with(photo_id: int, *phrases_of_boxes: tuple[str, ...]) -> LabelledPhoto:
    """A photograph whose n-th box is (n, 0, n + 1, 1)."""
    boxes = np.array([[n, 0, n + 1, 1] for n in range(len(phrases_of_boxes))], np.float32)
    weak = (False,) * len(boxes)
    labels = AnnotatedImage(100 + photo_id, Path("x.jpg"), 50, 50, boxes, phrases_of_boxes, (), weak)
    return LabelledPhoto(photo_id, labels, boxes)


def test_phrases_are_different_if_their_words_are_and_have_all_their_boxes() -> None:
    photo = photo_with(
        7,
        ("A red dog", "a red dog!", "it", "the big cat"),
        ("an old man", "a Red Dog"),
        ("the blue sky above", "two words"),
    )
    ((photo_id, phrases),) = find_candidates([photo], 3)
    assert photo_id == 7
    assert {phrase.text: phrase.boxes[:, 0].tolist() for phrase in phrases} == {
        "A red dog": [0, 1],
        "the big cat": [0],
        "an old man": [1],
        "the blue sky above": [2],
    }


def test_only_photographs_with_four_long_phrases_that_can_be_asked_are_candidates() -> None:
    three = photo_with(1, ("a b c", "d e f", "g h i", "A B C"))
    four = photo_with(2, ("a b c", "d e f", "g h i", "j k l"))
    assert [photo_id for photo_id, _ in find_candidates([three, four], 3)] == [2]
    assert find_candidates([three, four], 4) == []
    assert find_candidates([three, four], 3, lambda phrase: phrase != "j k l") == []


def test_draws_are_of_different_photographs_and_the_same_for_a_seed() -> None:
    box = np.zeros((1, 4), np.float32)
    candidates = [(n, [LabelledPhrase(f"{n} {m}", box) for m in range(6)]) for n in range(30)]

    def drawn(seed: str) -> list[tuple[int, list[str]]]:
        return [(q.photo_id, [p.text for p in q.phrases]) for q in draw_queries(candidates, 20, seed)]

    queries = drawn("1/0")
    assert len({photo_id for photo_id, _ in queries}) == 20
    for photo_id, phrases in queries:
        assert len(set(phrases)) == 4 and all(phrase.startswith(f"{photo_id} ") for phrase in phrases)
    assert drawn("1/0") == queries
    assert drawn("1/1") != queries
    assert len(draw_queries(candidates, 100, "1/0")) == 30
    with pytest.raises(EvaluationError, match="lower --min-words"):
        draw_queries([], 100, "1/0")


def test_groundings_are_judged_by_the_best_box_of_their_phrase() -> None:
    boxes = {
        "a": [[0, 0, 10, 10], [0, 0, 10, 4]],  # the better of the two: 4/4
        "b": [[0, 0, 10, 4]],  # 2/4
        "c": [[0, 0, 5, 10]],  # 15/(30 + 50 - 15)
        "d": [[20, 20, 30, 30]],
    }
    query = RetrievalQuery(8, tuple(LabelledPhrase(t, np.array(b, np.float32)) for t, b in boxes.items()))
    ranking = Ranking(list(boxes), photo_ids=np.array([5, 8, 6]), scores=np.array([0.9, 0.8, 0.1]))
    found = [(0.0, 0.0, 10.0, float(height)) for height in (4, 2, 3, 4)]
    outcome = judge(query, ranking, found)
    assert outcome.rank == 2
    assert outcome.ious == pytest.approx((1.0, 0.5, 15 / 65, 0.0))
    assert judge(query, ranking, []) == Outcome(2, ())


def test_figures_are_means_over_draws_with_their_standard_errors() -> None:
    first = [Outcome(1, (1.0, 0.5)), Outcome(3, (0.2, 0.0))]
    second = [Outcome(6, (0.3, 0.3)), Outcome(20, (0.05, 0.3))]
    figures = summarize([first, second])
    error = figures.pop("standard_error")
    assert figures == pytest.approx(
        {
            "recall@1": 0.25,
            "recall@5": 0.5,
            "recall@10": 0.75,
            "median_rank": (2 + 13) / 2,
            "localization@0.1": 0.75,
            "localization@0.3": (2 / 4 + 3 / 4) / 2,
            "localization@0.5": 0.25,
            "median_iou": (0.35 + 0.3) / 2,
        }
    )
    # Of two values a and b: |a - b| / sqrt(2) / sqrt(2).
    assert error["recall@1"] == pytest.approx(0.5 / 2)
    assert error["median_rank"] == pytest.approx(11 / 2)
    assert error["median_iou"] == pytest.approx(0.05 / 2)


def test_a_single_draw_has_no_standard_error() -> None:
    figures = summarize([[Outcome(2, (0.4,))]])
    assert set(figures["standard_error"].values()) == {None}
    lines = table({**figures, "images": 3, "queries": 1, "scoring": "fused"}, 1).splitlines()
    assert lines[0] == "3 images, 1 queries of 4 phrases, 1 draws, fused scoring"
    assert "recall@5           1.000" in lines


def test_the_command_measures_an_indexed_folder(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 6)
    options = ["--photos", photos, "--annotations", annotations, "--weights", tiny_checkpoint, "--device", "cpu"]
    command = [sys.executable, "-m", "scripts.evaluate.retrieval", *options, "--draws", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Only 6 photographs have 4 phrases" in done.stderr
    figures = json.loads(done.stdout)
    names = [
        *("recall@1", "recall@5", "recall@10", "median_rank"),
        *("localization@0.1", "localization@0.3", "localization@0.5", "median_iou"),
    ]
    assert list(figures) == [*names, "standard_error", "images", "queries", "scoring"]
    assert list(figures["standard_error"]) == names
    assert (figures["images"], figures["queries"], figures["scoring"]) == (6, 6, "embedding")
    # Every photograph is asked for with the same phrases, so all queries have one ranking: ranks 1 to 6, once each.
    assert figures["recall@1"] == pytest.approx(1 / 6)
    assert figures["recall@5"] == pytest.approx(5 / 6)
    assert figures["recall@10"] == 1
    assert figures["median_rank"] == 3.5
    assert all(math.isclose(error, 0) for name, error in figures["standard_error"].items() if "rec" in name)


def test_scorings_are_measured_as_asked(tmp_path: Path, tiny_checkpoint: Path, monkeypatch) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 5)
    command = f"--photos {photos} --annotations {annotations} --weights {tiny_checkpoint} --device cpu --draws 1 --json"
    asked = []
    rank = Searcher.rank

    def spy(searcher, phrases, **options):
        asked.append((options["scoring"], options["judged_regions"]))
        return rank(searcher, phrases, **options)

    monkeypatch.setattr(Searcher, "rank", spy)
    for options in ("--scoring embedding", "--scoring likelihood", "--scoring likelihood --exact"):
        result = CliRunner().invoke(main, f"{command} --collection {tmp_path / 'kept'} {options}")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["scoring"] == options.split()[1]
    # The exact one looks at more regions than the closest ones.
    assert list(dict.fromkeys(asked)) == [
        ("embedding", JUDGED_REGIONS), ("likelihood", JUDGED_REGIONS), ("likelihood", None),
    ]  # fmt: skip


def test_too_short_phrases_are_a_sentence_not_a_traceback(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 2)
    command = f"--photos {photos} --annotations {annotations} --weights {tiny_checkpoint} --device cpu"
    result = CliRunner().invoke(main, f"{command} --min-words 9")
    assert result.exit_code == 1
    assert "Error: No photograph has 4 different phrases that are long enough" in result.output
    result = CliRunner().invoke(main, f"{command} --weights {tmp_path / 'nowhere'}")
    assert result.exit_code == 1 and "does not exist" in result.output
