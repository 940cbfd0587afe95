"""Words that the captions never used: which pairs count, and how the lists they find are compared."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from helpers.data_set import DATA_SET
from helpers.labelled_photos import write_labelled_photos, write_labels
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.words import (
    PAIRS_FILE,
    AsTyped,
    TrainingWords,
    WithUnknownWord,
    WordPair,
    broken_pairs,
    compare,
    main,
    overlap,
    random_overlaps,
    read_pairs,
    read_training_words,
    summarize,
    table,
    top_photographs,
    with_shares,
)
from search.searcher import Searcher

SETTEE, POOCH = WordPair("couch", "settee"), WordPair("dog", "pooch")


def test_the_shipped_pairs_are_enough_and_no_second_word_is_asked_twice() -> None:
    synonyms, slips, named = read_pairs(PAIRS_FILE)
    assert len(synonyms) >= 60 and len(slips) >= 20 and named
    for pairs in (synonyms, slips, named):
        assert len({pair.other for pair in pairs}) == len(pairs)
        assert all(pair.other != pair.known and (pair.known + pair.other).islower() for pair in pairs)


@pytest.mark.skipif(DATA_SET is None, reason="needs the training data")
def test_the_shipped_pairs_fit_the_training_data() -> None:
    synonyms, slips, _ = read_pairs(PAIRS_FILE)
    assert broken_pairs([*synonyms, *slips], read_training_words(DATA_SET / "train")) == {}


def test_words_of_phrases_are_counted_and_those_of_captions_noted(tmp_path: Path) -> None:
    box = (0, 0, 9, 9)
    labels = {1: [(box, "A red couch!"), (box, "the couch")], 2: [(box, "a dog")]}
    words = read_training_words(write_labels(tmp_path, labels, captions={2: ["A dog on a settee ."]}))
    assert words.in_phrases == Counter({"a": 2, "couch": 2, "red": 1, "the": 1, "dog": 1})
    assert words.everywhere == {"a", "couch", "red", "the", "dog", "on", "settee"}
    (tmp_path / "captions.json").unlink()
    assert "settee" not in read_training_words(tmp_path).everywhere
    with pytest.raises(EvaluationError, match="name the training data with --training"):
        read_training_words(tmp_path / "nowhere")
    (tmp_path / "region_descriptions.json").write_text('[{"id": 1}]')
    with pytest.raises(EvaluationError, match="does not hold annotations"):
        read_training_words(tmp_path)


def test_pairs_need_a_frequent_word_and_one_that_is_nowhere() -> None:
    words = TrainingWords(Counter(couch=40, dog=39), frozenset({"couch", "dog", "sofa"}))
    pairs = [SETTEE, WordPair("couch", "sofa"), POOCH, WordPair("lamp", "lantern")]
    assert broken_pairs(pairs, words) == {
        WordPair("couch", "sofa"): "the training data have sofa",
        POOCH: "the training phrases have dog only 39 times",
        WordPair("lamp", "lantern"): "the training phrases have lamp only 0 times",
    }


def test_a_file_that_holds_no_pairs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.toml"
    with pytest.raises(EvaluationError, match="name a file with --pairs"):
        read_pairs(path)
    for content in ('synonyms = ["couch"]\n[slips]', "[synonyms]\n", "couch"):
        path.write_text(content)
        with pytest.raises(EvaluationError, match="not a file of word pairs"):
            read_pairs(path)
    path.write_text('[synonyms]\ndog = ["pooch"]\ncouch = ["settee", "loveseat"]\n[slips]\n[named]\ncouch = ["sofa"]\n')
    assert read_pairs(path) == ([POOCH, SETTEE, WordPair("couch", "loveseat")], [], [WordPair("couch", "sofa")])


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [([1, 2, 3, 4], [4, 3, 9, 8], 0.5), ([1, 2], [1, 2, 3, 4], 0.5), ([1], [], 0), ([], [], 0), ([5, 6], [6, 5], 1)],
)
def test_the_overlap_is_the_share_in_common(a: list[int], b: list[int], share: float) -> None:
    assert overlap(a, b) == overlap(b, a) == share


def test_pairs_are_compared_with_what_their_known_word_found() -> None:
    found = {"couch": [1, 2], "settee": [2, 3], "dog": [4, 1], "pooch": [1, 4]}
    assert compare([SETTEE, POOCH], found, as_unknown={"settee": [1, 2], "pooch": [7, 8]}) == [
        {"known": "couch", "other": "settee", "overlap": 0.5, "as_unknown": 1.0},
        {"known": "dog", "other": "pooch", "overlap": 1.0, "as_unknown": 0.0},
    ]


def test_what_is_found_is_compared_with_what_people_say() -> None:
    pairs = [{"known": "baby", "other": "infant"}]
    words = {1: frozenset({"two", "babies"}), 2: frozenset({"infants"}), 3: frozenset({"man"}), 4: frozenset({"baby"})}
    (pair,) = with_shares(pairs, {"baby": [1, 2, 3, 4], "infant": [3, 2]}, words)
    assert pair == {"known": "baby", "other": "infant", "known_shows_it": 0.75, "other_shows_it": 0.5}
    (pair,) = with_shares(pairs, {"baby": [], "infant": [1]}, words)  # a search that refuses the word finds nothing
    assert (pair["known_shows_it"], pair["other_shows_it"]) == (0, 1)


def test_random_pairs_are_every_two_different_known_words() -> None:
    found = {"couch": [1, 2], "dog": [2, 3], "man": [7, 3], "settee": [1, 2], "loveseat": [1, 2]}
    pairs = [SETTEE, WordPair("couch", "loveseat"), POOCH, WordPair("man", "dude")]
    assert random_overlaps(pairs, found) == [0.5, 0, 0.5]  # couch dog, couch man, dog man


def test_means_over_the_pairs() -> None:
    synonyms = [
        {"known": "couch", "other": "settee", "overlap": 0.5, "as_typed": 0.1, "as_unknown": 0.25, "read_as": "sofa"},
        {"known": "dog", "other": "pooch", "overlap": 1.0, "as_typed": 0.3, "as_unknown": 0.0, "read_as": None},
    ]
    slips = [{"known": "lamp", "other": "lampp", "overlap": 1.0, "as_typed": 0.5, "read_as": "lamp"}]
    result = summarize(synonyms, [0.0, 0.0, 0.3], slips)
    means = {
        "synonyms": 0.75,
        "synonyms_as_typed": 0.2,
        "as_unknown": 0.125,
        "random": 0.1,
        "slips": 1.0,
        "as_typed": 0.5,
    }
    assert {name: result[name] for name in means} == pytest.approx(means)
    # Of two values a and b: |a - b| / 2.
    assert result["standard_error"] == pytest.approx(
        {"synonyms": 0.25, "synonyms_as_typed": 0.1, "as_unknown": 0.125, "slips": None, "as_typed": None}
    )
    named = {"known": "baby", "other": "infant", "overlap": 0.5, "read_as": None}
    named |= {"known_shows_it": 0.4, "other_shows_it": 0.2}
    lines = table({**result, "named_pairs": [named], "images": 8, "scoring": "fused"}).splitlines()
    assert "| baby | infant | typed | 0.5 | 0.4 | 0.2 |" in lines
    assert "| couch | settee | sofa | 0.5 | 0.1 | 0.2 |" in lines
    assert "| dog | pooch | typed | 1.0 | 0.3 | 0.0 |" in lines
    assert "| lamp | lampp | lamp | 1.0 | 0.5 |" in lines
    assert "| 2 synonyms | 0.750 ± 0.250 |" in lines and "| the same, as typed | 0.500 |" in lines
    assert "| every two of their frequent words | 0.100 |" in lines
    with pytest.raises(EvaluationError, match="do these training data fit"):
        summarize(synonyms, [], slips)


def test_a_word_can_be_encoded_as_the_unknown_piece(tiny_predictor: Predictor) -> None:
    unknown = tiny_predictor.encode_phrases([""])  # nothing at all is the unknown piece
    reader = WithUnknownWord(tiny_predictor, "couch")
    assert np.array_equal(reader.encode_phrases(["couch"]), unknown)
    assert not np.array_equal(tiny_predictor.encode_phrases(["couch"]), unknown)
    others = ["dog", "a red lamp"]
    assert np.array_equal(reader.encode_phrases(others), tiny_predictor.encode_phrases(others))
    assert not np.allclose(reader.encode_phrases(["a couch"]), unknown)  # the article is still there


def test_a_search_may_take_words_as_they_are_typed(tmp_path: Path, tiny_predictor: Predictor) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 12)
    with labelled_collection(load_annotations(photos, annotations), tiny_predictor, max_regions=20) as labelled:
        searcher = Searcher(labelled.collection, tiny_predictor)
        right = top_photographs(searcher, "couch")
        assert len(right) == 10
        assert top_photographs(searcher, "cuoch") == right
        assert top_photographs(searcher, "zorblax") == []  # refused
        typed = Searcher(labelled.collection, tiny_predictor, lexicon=AsTyped.of(tiny_predictor))
        ranking = typed.rank(["cuoch"]).photo_ids[:10].tolist()
        assert top_photographs(typed, "cuoch") == ranking != right
        assert len(top_photographs(typed, "zorblax")) == 10


def test_the_command_asks_for_the_pairs_that_prove_something(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 12)
    box = (0, 0, 9, 9)
    labels = {1: [(box, "the dog on a couch")] * 40 + [(box, "a red lamp")]}
    write_labels(tmp_path / "train", labels, captions={1: ["A divan ."]})
    pairs = tmp_path / "pairs.toml"
    pairs.write_text('[synonyms]\ncouch = ["sofa", "divan"]\ndog = ["hound"]\nlamp = ["light"]\n'
                     '[slips]\ncouch = ["cuoch"]\n[named]\nlamp = ["sofa"]')  # fmt: skip
    command = f"--photos {photos} --annotations {annotations} --weights {tiny_checkpoint} --device cpu --pairs {pairs}"
    result = CliRunner().invoke(main, f"{command} --json --collection {tmp_path / 'kept'}")
    assert result.exit_code == 0, result.output
    assert "Left out couch and divan: the training data have divan." in result.stderr
    figures = json.loads(result.stdout)
    means = ["synonyms", "synonyms_as_typed", "as_unknown", "random", "slips", "as_typed"]
    others = ["standard_error", "synonym_pairs", "slip_pairs", "named_pairs", "images", "scoring", "left_out"]
    assert list(figures) == means + others
    assert [pair["other"] for pair in figures["synonym_pairs"]] == ["sofa", "hound"]
    assert [pair["read_as"] for pair in figures["synonym_pairs"]] == ["couch", "dog"]
    assert [pair["read_as"] for pair in figures["slip_pairs"]] == ["couch"]
    assert figures["synonyms"] == 1 > figures["synonyms_as_typed"]
    assert (figures["slips"], figures["images"], figures["scoring"]) == (1.0, 12, "embedding")
    (named,) = figures["named_pairs"]
    assert (named["known"], named["other"], named["read_as"]) == ("lamp", "sofa", "couch")
    assert 0 <= named["other_shows_it"] <= 1
    assert [left[:2] for left in figures["left_out"]] == [["couch", "divan"], ["lamp", "light"]]

    result = CliRunner().invoke(main, f"{command} --training {tmp_path / 'nowhere'}")
    assert result.exit_code == 1 and "name the training data with --training" in result.output
