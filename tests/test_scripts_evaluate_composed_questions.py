"""Questions of several parts from captions: their words, which photographs answer, and the program itself."""

import json

import pytest
from click.testing import CliRunner

from scripts.evaluate.composed_questions import composed_questions, main, questions_of, words_asked
from scripts.evaluate.questions import Question, read_questions


def texts(caption, *phrases):
    return [text for text, _ in questions_of(caption.split(), phrases)]


@pytest.mark.parametrize(
    ("caption", "phrases", "found"),
    [
        ("a black dog is running through the snow", ["A black dog", "the snow"],
         ["black dog", "black dog running", "black dog running through the snow"]),
        ("a boy playing soccer", ["a boy", "soccer"], ["boy playing soccer"]),
        ("the man in a blue hat is fishing", ["the man", "a blue hat"], ["man in a blue hat", "blue hat"]),
        ("a dog swims in the water", ["a dog", "the water"], []),  # nobody asks so
        ("a group of men on a field", ["a group of men", "a field"], []),
        ("a dog on a couch", ["a dog"], []),  # what is labelled alone
        ("two dogs playing", ["two dogs"], ["two dogs playing"]),
        ("a dog catching a ball", ["a dog"], []),  # catching what
    ],
)  # fmt: skip
def test_questions_are_what_stands_in_captions(caption, phrases, found):
    assert texts(caption, *phrases) == found


def test_the_words_of_an_answer():
    assert words_asked(["a", "young", "black", "dog"]) == [("black", False), ("dog", False)]
    assert words_asked(["two", "dogs"]) == [("two", False), ("dogs", True)]
    assert words_asked(["another", "one"]) == []


CAPTIONS = {
    1: ["A man is surfing on a wave .", "Two dogs playing on a couch"],
    2: ["A surfer on big waves ."],
    3: ["The lady wears sunglasses .", "Three dogs and two cats on the sofa"],
    4: ["A woman wearing sunglasses .", "two puppies"],
}
PHRASES = {
    1: ["A man", "a wave", "Two dogs", "a couch"],
    2: ["A surfer", "big waves"],
    3: [],
    4: ["A woman", "sunglasses"],
}


def asked(**options):
    found = composed_questions(CAPTIONS, PHRASES, options.pop("besides", []), least=1, most=9, seed=0)
    return {
        question.text: [number for number in CAPTIONS if question.is_answered(CAPTIONS[number])] for question in found
    }


def test_captions_that_say_it_otherwise_answer_too():
    found = asked()
    assert found["man surfing on a wave"] == [1]
    assert found["surfer on big waves"] == [1, 2]
    assert found["woman wearing sunglasses"] == [3, 4]
    assert found["two dogs playing on a couch"] == [1, 3]  # a caption says two of something: captions are read as sets


def test_questions_that_judge_in_the_end_are_not_among_them():
    besides = [Question("woman with sunglasses on a beach"), Question("surfer on waves")]
    found = asked(besides=besides)
    assert "surfer on big waves" not in found and "man surfing" in found
    assert "woman wearing sunglasses" not in found  # asks for a part of the other
    assert "woman wearing sunglasses" not in asked(besides=[Question("", (frozenset({"lady"}),))])
    assert "woman wearing sunglasses" in asked(besides=[Question("woman on a couch"), Question("two dogs")])


def test_numbers_of_answers_are_kept_to():
    found = composed_questions(CAPTIONS, PHRASES, [], least=2, most=2, seed=0)
    assert {question.text for question in found} >= {"surfer on big waves"}
    assert "man surfing on a wave" not in {question.text for question in found}


def test_the_program_writes_questions_that_are_read(tmp_path):
    captions = [{"image_id": number, "captions": some} for number, some in CAPTIONS.items()]
    regions = [{"id": number, "regions": [{"phrase": p} for p in some]} for number, some in PHRASES.items()]
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    (tmp_path / "region_descriptions.json").write_text(json.dumps(regions))
    result = CliRunner().invoke(main, ["--annotations", str(tmp_path), "--least", "2"])
    assert result.exit_code == 0, result.output
    (tmp_path / "questions.json").write_text(result.stdout)
    questions = read_questions(tmp_path / "questions.json")
    assert "surfer on big waves" in [question.text for question in questions]
    again = CliRunner().invoke(
        main, ["--annotations", str(tmp_path), "--least", "2", "--besides", str(tmp_path / "questions.json")]
    )
    assert json.loads(again.stdout) == []
    (tmp_path / "captions.json").unlink()
    failed = CliRunner().invoke(main, ["--annotations", str(tmp_path)])
    assert failed.exit_code != 0 and "holds no captions" in failed.output
