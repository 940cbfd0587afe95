"""Everyday questions: which photographs answer, and how a ranking of them is judged."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from helpers.labelled_photos import write_labelled_photos, write_photo
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.questions import (
    Question,
    expected_by_chance,
    judge,
    judge_list,
    main,
    read_questions,
    summarize,
    table,
)
from search.hits import Hit
from search.likely import ListEnd
from search.searcher import Answer, Searcher
from search.wording.lexicon import Lexicon

DOG_ON_COUCH = Question("dog on couch", (frozenset({"dog", "dogs"}), frozenset({"couch", "sofa"})))


@pytest.mark.parametrize(
    ("captions", "answers"),
    [
        (["A dog .", "Something on a Sofa"], True),
        (["Dogs, on the couch."], True),
        (["A dog on the grass ."], False),
        (["A hotdog on a couch ."], False),
        ([], False),
    ],
)
def test_captions_together_need_a_word_of_each_group(captions: list[str], answers: bool) -> None:
    assert DOG_ON_COUCH.is_answered(captions) == answers


def test_a_ranking_is_judged_by_where_the_answers_are() -> None:
    # Answers at ranks 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3; two of the first five.
    assert judge(DOG_ON_COUCH, [4, 8, 2, 9, 1, 3], {2, 3, 4}) == {
        "question": "dog on couch",
        "average_precision": pytest.approx((1 + 2 / 3 + 1 / 2) / 3),
        "precision@5": pytest.approx(0.4),
        "answers": 3,
    }


def test_a_list_that_stops_is_judged_beside_two_that_know_more() -> None:
    hits = [Hit(n, photo, Path(f"{photo}.jpg"), 0.5, 96, 64, []) for n, photo in enumerate((4, 8), 1)]
    answer = Answer(["dog on couch"], "embedding", hits, end=ListEnd(2, 0.1))
    # Answers at ranks 1, 3 and 4. Listed: one of two. Three as there are answers: two of them. Best: all four, three.
    assert judge_list(answer, [4, 8, 2, 3, 1], {2, 3, 4}) == {
        "listed": 2,
        "list_f1": pytest.approx(2 * 1 / (2 + 3)),
        "counted_f1": pytest.approx(2 * 2 / (3 + 3)),
        "best_f1": pytest.approx(2 * 3 / (4 + 3)),
    }
    assert judge_list(replace(answer, end=None), [4, 8, 2, 3, 1], {2, 3, 4}) == {}


def test_chance_is_what_random_orders_reach() -> None:
    # Of two photographs one answers: AP is 1 or 1/2. Of three two answer: orders 110, 101, 011.
    assert expected_by_chance(2, [1]) == pytest.approx(0.75)
    assert expected_by_chance(3, [2]) == pytest.approx((1 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 3)
    assert expected_by_chance(2, [1, 2]) == pytest.approx((0.75 + 1) / 2)


def test_answers_may_be_listed_and_photographs_without_boxes_count(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 3)
    write_photo(photos / "9.jpg", seed=9)
    images = json.loads((annotations / "image_data.json").read_text())
    (annotations / "image_data.json").write_text(json.dumps([*images, {"image_id": 9, "width": 96, "height": 64}]))
    (annotations / "region_descriptions.json").unlink()
    asked = [{"question": "a lamp", "answers": [9, 77]}, {"question": "a dog", "answers": [55]}]
    (annotations / "questions.json").write_text(json.dumps(asked))
    arguments = [
        "--photos",
        str(photos),
        "--annotations",
        str(annotations),
        "--weights",
        str(tiny_checkpoint),
        "--json",
    ]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [q["answers"] for q in report["questions"]] == [1]  # of the second question no photograph answers
    assert report["chance"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert report["mean_ap"] in [pytest.approx(1 / rank) for rank in (1, 2, 3, 4)]


def test_means_over_the_questions() -> None:
    results = [
        {"question": "a", "average_precision": 1.0, "precision@5": 0.2, "answers": 1},
        {"question": "b", "average_precision": 0.5, "precision@5": 0.0, "answers": 2},
    ]
    summary = summarize(results, chance=0.25)
    assert summary == {"mean_ap": 0.75, "precision@5": 0.1, "chance": 0.25, "questions": results}
    lines = table(summary).splitlines()
    assert len(lines) == 5 and lines[4].split() == ["chance", "0.250"]
    assert lines[1].split() == ["a", "1", "1.000", "0.20"] and lines[3].split() == ["mean", "0.750", "0.10"]
    with pytest.raises(EvaluationError, match=r"captions\.json"):
        summarize([], chance=0.0)


def test_a_question_asked_twice_over_is_read_as_one_phrase(tmp_path: Path, tiny_predictor: Predictor) -> None:
    """What --as-one-phrase relies on."""
    photos, annotations = write_labelled_photos(tmp_path, 4)
    question = "dog on couch"
    assert Lexicon.of(tiny_predictor).noun_phrases(question) not in ([], [question])
    with labelled_collection(load_annotations(photos, annotations), tiny_predictor, max_regions=20) as labelled:
        ranking = Searcher(labelled.collection, tiny_predictor).rank([question, question], scoring="embedding")
        features = labelled.collection.features()
        cosines = features.embeddings @ tiny_predictor.encode_phrases([question])[0]
        best = {photo_id: cosines[features.photo_ids == photo_id].max() for photo_id in ranking.photo_ids}
    assert ranking.scores == pytest.approx(np.array(list(best.values())), abs=1e-5)


def test_the_command_asks_the_questions_that_have_answers(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 4)  # captions of 1 and 3 say "dog" and "couch"
    questions = [
        {"question": "dog on couch", "all_of": [["dog"], ["couch", "sofa"]]},
        {"question": "red lamp", "all_of": [["LAMP"]]},
        {"question": "two men", "all_of": [["men"]]},
    ]
    (annotations / "questions.json").write_text(json.dumps(questions))
    command = f"--photos {photos} --annotations {annotations} --weights {tiny_checkpoint} --device cpu"
    result = CliRunner().invoke(main, f"{command} --json")
    assert result.exit_code == 0, result.output
    assert "1 of 3 questions are answered by no photograph here" in result.stderr
    summary = json.loads(result.stdout)
    assert list(summary) == ["mean_ap", "precision@5", "chance", "questions"]
    assert [(q["question"], q["answers"]) for q in summary["questions"]] == [("dog on couch", 2), ("red lamp", 2)]
    assert summary["precision@5"] == pytest.approx(2 / 5)  # all four photographs are among the first five
    assert summary["mean_ap"] == pytest.approx(np.mean([q["average_precision"] for q in summary["questions"]]))

    other = tmp_path / "other.json"
    other.write_text(json.dumps(questions[:1]))
    result = CliRunner().invoke(main, f"{command} --questions {other} --as-one-phrase")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["question", "dog", "mean", "chance"]


def test_a_file_that_is_no_list_of_questions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    with pytest.raises(EvaluationError, match="name a file with --questions"):
        read_questions(path)
    path.write_text('[{"question": "dog"}]')
    with pytest.raises(EvaluationError, match="not a list of questions"):
        read_questions(path)


def test_the_old_name_still_runs():
    command = [sys.executable, "-m", "scripts.evaluate_questions", "--help"]
    old = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert "--as-one-phrase" in old.stdout
