"""Figures of questions with several parts: what is drawn, what is counted, and the programs on a small world."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.training.annotations import AnnotatedImage
from helpers.labelled_photos import write_labels, write_photo
from helpers.word_predictor import SixWords
from scripts.evaluate import agreement, negation, relations, several_things
from scripts.evaluate.labelled_collection import LabelledPhoto
from search.wording.parse import parse_query

LEFT, RIGHT, WHOLE = (0, 0, 30, 60), (60, 0, 30, 60), (0, 0, 96, 64)


def labelled(photo_id, boxes, *, captions=(), names=()):
    """A photograph of 96x64 pixels. boxes: (x1 y1 x2 y2) -> phrases."""
    found = np.array(list(boxes), np.float32).reshape(-1, 4)
    image = AnnotatedImage(
        photo_id, Path(f"{photo_id}.jpg"), 96, 64, found, tuple(map(tuple, boxes.values())), captions,
        (False,) * len(found), names=names,
    )  # fmt: skip
    return LabelledPhoto(photo_id, image, found)


def test_pairs_are_of_phrases_that_name_one_box_each_apart():
    photo = labelled(
        1,
        {
            (0, 0, 30, 60): ["a dog", "a red dog"],
            (60, 0, 90, 60): ["a tree dog", "a lamp"],
            (61, 0, 90, 60): ["a lamp", "a couch"],
            (0, 0, 31, 60): ["a red lamp"],
        },
    )
    pairs = several_things.draw_pairs([photo] * 50, SixWords(), seed=1)
    asked = {frozenset(pair.phrases) for pair in pairs}
    # "a lamp" names two boxes; "a dog" and "a red dog" one and the same.
    assert all("a lamp" not in pair for pair in asked)
    assert frozenset(("a dog", "a red dog")) not in asked and frozenset(("a red dog", "a red lamp")) not in asked
    assert frozenset(("a dog", "a couch")) in asked
    shared = several_things.draw_pairs([photo], SixWords(), seed=1, shared=5)
    assert {frozenset(pair.phrases) for pair in shared} == {
        frozenset(("a dog", "a tree dog")), frozenset(("a red dog", "a tree dog"))
    }  # fmt: skip


def test_both_boxes_have_to_be_right():
    labels = np.array([(0, 0, 10, 10), (20, 0, 30, 10)], np.float32)
    assert several_things.are_right([(0, 0, 10, 8), (20, 0, 30, 10)], labels)
    assert not several_things.are_right([(0, 0, 10, 4), (20, 0, 30, 10)], labels)
    assert not several_things.are_right([(20, 0, 30, 10), (0, 0, 10, 10)], labels)


def test_shares_of_pairs():
    outcomes = [several_things.Outcome(True, False, True, False), several_things.Outcome(True, True, False, False)]
    figures = several_things.summarize(outcomes)
    assert figures == {
        "pairs": 2, "recall@1": 1, "recall@1 averaged": 0.5, "both right": 0.5, "both right alone": 0
    }  # fmt: skip
    assert several_things.table({"any nouns": figures}).splitlines()[1].split()[-4:] == [
        "1.000",
        "0.500",
        "0.500",
        "0.000",
    ]


@pytest.mark.parametrize(
    ("ones", "others", "kinds"),
    [
        ([(0, 0, 10, 10)], [(50, 0, 60, 10)], ["left of"]),
        ([(0, 0, 10, 10)], [(5, 0, 15, 10)], []),  # hardly apart
        ([(0, 0, 10, 10), (80, 0, 90, 10)], [(50, 0, 60, 10)], []),  # one of them is right of it
        ([(0, 0, 10, 10)], [(0, 50, 10, 60)], ["above"]),
        ([(0, 0, 40, 40)], [(10, 10, 30, 30)], ["bigger than"]),
        ([(0, 0, 11, 11)], [(0, 0, 10, 10)], []),
    ],
)
def test_a_relation_is_held_by_all_boxes_clearly(ones, others, kinds):
    boxes = [[np.array(box, np.float32) for box in some] for some in (ones, others)]
    assert list(relations.held(*boxes, np.array([100, 100]))) == kinds


def test_pairs_of_photographs_have_the_relation_and_its_opposite(monkeypatch):
    monkeypatch.setattr(relations, "_PHOTOS", 1)
    first = {(0, 0, 30, 60): ["the dog", "a red dog"], (60, 0, 90, 60): ["a couch"]}
    second = {(0, 0, 30, 60): ["couch"], (60, 0, 90, 60): ["two dogs"]}
    pairs = relations.draw_pairs([labelled(1, first), labelled(2, second)], seed=1)
    assert len(pairs) == 2  # the couch left of the dog, and the other way round
    for pair in pairs:
        one, other = pair.question.split(f" {pair.kind} ")
        assert {one, other} == {"dog", "couch"}
        dog_is_left = (pair.kind == "left of") == (one == "dog")
        assert (pair.right, pair.wrong) == ((1, 2) if dog_is_left else (2, 1))
        query = parse_query([pair.question.replace(" right of ", " on ").replace(" left of ", " on ")], SixWords())
        assert len(query.relations) == 1
    figures = relations.summarize([("left of", True), ("left of", False), ("above", True)])
    assert figures["right"] == pytest.approx(2 / 3) and figures["relations"]["left of"] == {"pairs": 2, "right": 0.5}


def test_what_is_named_and_what_people_agree_on():
    class Nouns(SixWords):
        def noun_phrases(self, question):
            return [question]

    photos = [
        labelled(1, {(0, 0, 9, 9): ["two dogs", "red dog"]}, captions=("A dog .", "Two dogs .", "a tree")),
        labelled(2, {(0, 0, 9, 9): ["a tree"]}, captions=("a dog", "a lamp .", "a couch", "a rug", "Trees .")),
        labelled(3, {}, names=("table lamp",)),
    ]
    assert negation.named_things(photos[0]) >= {"dog", "dogs", "tree", "red"}
    assert negation.frequent_things(photos, Nouns()) == ["dog", "tree", "lamp"]
    # a dog: two thirds and a fifth; a tree: a third and a fifth; a lamp: a fifth
    assert negation.agreed_things(photos, Nouns()) == ["dog"]


def test_who_remains_and_who_stays():
    named = {1: frozenset({"dog"}), 2: frozenset(), 3: frozenset({"dog"}), 4: frozenset()}
    counts = negation.count("dog", {1, 2}, named, {"dog": [1, 2], "tree": [1, 2, 3], "lamp": [4]})
    assert counts == Counter({
        "named first": 2, "named first there": 1, "unnamed first": 2, "unnamed first there": 1,
        "unnamed": 2, "unnamed there": 1,
    })  # fmt: skip
    figures = negation.summarize({"dog": counts, "cat": Counter()})
    assert (figures["remain"], figures["stay"], figures["stay first"]) == (0.5, 0.5, 0.5)
    assert figures["things"]["cat"]["remain"] is None
    assert negation.table(figures).splitlines()[2].split()[:3] == ["cat", "0", "-"]


def test_forms_and_their_agreement():
    assert agreement.forms("dish") == ["dish", "a dish", "the dish", "dishes", "the dishes"]
    assert agreement.forms("ox")[1] == "an ox"
    assert agreement.agreement([[1, 2], [2, 1], [1, 3]]) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert agreement.agreement([[], []]) == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Photographs with a dog and a couch, the one left of the other in every second one."""
    folder = tmp_path_factory.mktemp("world")
    labels, captions = {}, {}
    for image_id in range(1, 25):
        write_photo(folder / "photos" / f"{image_id}.jpg", seed=image_id)
        one, other = ("a brown dog", "a red couch") if image_id % 2 else ("a red couch", "a brown dog")
        labels[image_id] = [(LEFT, one), (RIGHT, other), (WHOLE, "the dog")]
        captions[image_id] = ["A dog on a couch .", "a dog and a couch"] if image_id % 3 else ["A dog ."]
    return folder / "photos", write_labels(folder / "annotations", labels, captions=captions)


@pytest.mark.parametrize("program", [several_things, relations, negation, agreement])
def test_the_programs_write_json_and_a_table(world, program, tiny_checkpoint, tmp_path, monkeypatch):
    from fcln.checkpoint import load_checkpoint, save_checkpoint
    from fcln.scoring import Calibration

    checkpoint = load_checkpoint(tiny_checkpoint)
    calibration = Calibration(presence=(0.0, 1.0, 0.0), place=(0.0, 1.0, 0.0, 0.0), prevalence=0.5)
    from dataclasses import replace

    weights = tmp_path / "weights.safetensors"
    save_checkpoint(weights, replace(checkpoint, scoring=replace(checkpoint.scoring, calibration=calibration)))
    photos, annotations = world
    if program is relations:  # the whole photograph is a dog too: no relation holds clearly
        labels = json.loads((annotations / "region_descriptions.json").read_text())
        for entry in labels:
            entry["regions"].pop()
        annotations = tmp_path / "annotations"
        annotations.mkdir()
        for name in ("image_data.json", "captions.json"):
            (annotations / name).write_text((world[1] / name).read_text())
        (annotations / "region_descriptions.json").write_text(json.dumps(labels))
    command = f"--photos {photos} --annotations {annotations} --weights {weights} --device cpu --max-regions 10"
    command += f" --collection {tmp_path / 'kept'}"
    result = CliRunner().invoke(program.main, f"{command} --json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    table = CliRunner().invoke(program.main, command)
    assert table.exit_code == 0, table.output
    if program is several_things:
        assert figures["any nouns"]["pairs"] == 24
        assert "any nouns" in table.stdout and 0 <= figures["any nouns"]["both right"] <= 1
    elif program is relations:
        assert figures["pairs"] == 6 and 0 <= figures["right"] <= 1  # three of each two things
        assert table.stdout.splitlines()[-1].split()[:2] == ["all", "6"]
    elif program is negation:
        assert set(figures["things"]) == {"dog", "couch"}
        assert table.stdout.splitlines()[-1].startswith("all")
    else:
        assert figures["things"] == 2 and 0 <= figures["agreement"] <= 1
        assert "of the first 10 in common" in table.stdout
