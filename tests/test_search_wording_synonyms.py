import gzip
from pathlib import Path

import pytest

from fcln.checkpoint import load_checkpoint
from search.wording.synonyms import SYNONYMS_FILE, Synonyms

LINES = "divan sofa 10 couch 12\nloveseat couch 63 bench 30\nsettee bench 15 couch 20 sofa 22\nsofa couch 1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "synonyms.txt.gz"
    path.write_bytes(gzip.compress(LINES.encode()))
    return path


def test_the_nearest_learnt_word(path: Path) -> None:
    synonyms = Synonyms(["the", "couch", "bench"], path)
    assert synonyms.nearest("settee") == "bench"
    assert synonyms.nearest("divan") == "couch"  # nobody has learnt "sofa"
    assert synonyms.nearest("bench") is None  # learnt itself
    assert synonyms.nearest("zorblax") is None
    assert synonyms.nearest("ettee") is None  # not a whole word of the list
    for word in ("", "x-ray", "café", "couch 20", "\nsettee"):
        assert synonyms.nearest(word) is None


def test_a_frequent_word_wins_over_a_rare_one(path: Path) -> None:
    # bench: 1.5 + 0.7 log(20 + 999) = 6.35; couch: 2.0 + 0.7 log(20 + 0) = 4.10
    rare = [f"word{n}" for n in range(998)]
    assert Synonyms(["couch", *rare, "bench"], path).nearest("settee") == "couch"
    assert Synonyms([*rare, "couch", "bench"], path).nearest("settee") == "bench"


def test_words_that_are_too_far_stand_for_nothing(path: Path) -> None:
    # couch: 6.3 + 0.7 log(20) = 8.40 of 8.5; eight places later 8.63
    assert Synonyms(["couch"], path).nearest("loveseat") == "couch"
    assert Synonyms(["couch"], path).nearest("loveseat", is_piece=True) is None
    assert Synonyms(["couch"], path).nearest("settee", is_piece=True) == "couch"  # 4.10 of 7.0
    assert Synonyms([*(f"word{n}" for n in range(8)), "couch"], path).nearest("loveseat") is None


def test_the_file_of_the_project() -> None:
    synonyms = Synonyms(load_checkpoint(backbone=False).vocabulary.words)
    read = {word: synonyms.nearest(word) for word in ("automobiles", "rucksack", "frock", "lasses", "dog", "zebra")}
    assert read == {
        "automobiles": "cars", "rucksack": "backpack", "frock": "dress", "lasses": "girls", "dog": None, "zebra": None,
    }  # fmt: skip
    lines = gzip.decompress(SYNONYMS_FILE.read_bytes()).decode("ascii").splitlines()
    words = [line.split()[0] for line in lines]
    assert words == sorted(set(words)) and len(words) > 20_000
    for line in lines:
        word, *fields = line.split(" ")
        others, distances = fields[::2], [int(distance) for distance in fields[1::2]]
        assert word not in others and distances == sorted(distances) and 0 <= distances[0] <= distances[-1] <= 40
