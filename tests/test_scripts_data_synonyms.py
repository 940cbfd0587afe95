"""WordNet's files, and the list of synonyms that is made of them."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from scripts.data.synonyms import find_related, frequent_words, synonym_lines
from scripts.data.wordnet import Synset, WordNet

LICENCE = "  1 This software and database is being provided to you\n"
# Offset, file, kind, words and their numbers, pointers, gloss. A sofa is a seat; a settee is a sofa, or, less often, a
# bench; furry things have fur.
NOUNS = """\
00000001 06 n 01 seat 0 000 | what one sits on
00000002 06 n 02 sofa 0 couch 0 001 @ 00000001 n 0000 | an upholstered seat
00000003 06 n 01 settee 0 001 @ 00000002 n 0000 | a small sofa
00000004 06 n 02 bench 0 settee 1 002 @ 00000001 n 0000 ~ 00000003 n 0000 | a long seat
00000005 06 n 0a person 0 individual 0 someone 0 somebody 0 mortal 0 soul 0 being 0 human 0 life_form 0 Man 0 000 | ten
00000006 06 n 01 man 1 001 @i 00000005 n 0000 | an adult
"""
NOUN_INDEX = """\
seat n 1 0 1 1 00000001
sofa n 1 1 @ 1 1 00000002
couch n 1 1 @ 1 1 00000002
settee n 2 2 @ ~ 2 1 00000003 00000004
bench n 1 1 @ 1 1 00000004
man n 2 1 @i 2 1 00000006 00000005
person n 1 0 1 1 00000005
life_form n 1 0 1 1 00000005
"""
VERBS = "00000011 38 v 03 run 0 sprint 0 bench 0 000 01 + 02 00 | move fast\n"
VERB_INDEX = "run v 1 0 1 1 00000011\nsprint v 1 0 1 1 00000011\nbench v 1 0 1 1 00000011\n"
ADJECTIVES = """\
00000021 00 a 01 wet(a) 0 001 & 00000022 a 0000 | covered with a liquid
00000022 00 s 02 damp 0 moist 0 001 & 00000021 s 0000 | slightly wet
"""
ADJECTIVE_INDEX = "wet a 1 1 & 1 1 00000021\ndamp a 1 1 & 1 1 00000022\nmoist a 1 1 & 1 1 00000022\n"


@pytest.fixture
def net(tmp_path: Path) -> WordNet:
    files = {
        "noun": (NOUNS, NOUN_INDEX, "men man\n"),
        "verb": (VERBS, VERB_INDEX, "ran run\n"),
        "adj": (ADJECTIVES, ADJECTIVE_INDEX, ""),
    }
    for name, (data, index, irregular) in files.items():
        (tmp_path / f"data.{name}").write_text(LICENCE + data)
        (tmp_path / f"index.{name}").write_text(LICENCE + index)
        (tmp_path / f"{name}.exc").write_text(irregular)
    return WordNet(tmp_path)


def test_senses_and_what_means_more(net: WordNet) -> None:
    sofa, bench = net.senses("n", "settee")
    assert sofa == Synset(("settee",), (("n", "00000002"),))
    assert bench.words == ("bench", "settee")
    assert [synset.words for synset in net.broader(sofa)] == [("sofa", "couch")]
    assert [synset.words for synset in net.broader(bench)] == [("seat",)]  # "~" is what means less
    # Ten words are 0a in hexadecimal; an instance ("@i") is no kind of what it is an instance of.
    man, person = net.senses("n", "man")
    assert (len(person.words), person.words[-2:], net.broader(man)) == (10, ("life_form", "man"), [])
    (wet,) = net.senses("a", "wet")
    assert (wet.words, [synset.words for synset in net.broader(wet)]) == (("wet",), [("damp", "moist")])
    assert net.senses("v", "run")[0].broader == ()
    assert net.senses("n", "run") == []
    assert {"life_form", "sprint", "damp"} <= net.words()


@pytest.mark.parametrize(
    ("word", "lemmas"),
    [
        ("couches", [("n", "couch")]),
        ("benches", [("n", "bench"), ("v", "bench")]),
        ("men", [("n", "man")]),
        ("ran", [("v", "run")]),
        ("sprinting", [("v", "sprint")]),
        ("sprinted", [("v", "sprint")]),
        ("wetter", []),  # the doubled letter is in the list of exceptions, which lacks it here
        ("damper", [("a", "damp")]),
        ("zorblax", []),
    ],
)
def test_forms_have_lemmas(net: WordNet, word: str, lemmas: list[tuple[str, str]]) -> None:
    assert net.lemmas(word) == lemmas


def test_a_missing_file_is_an_error(net: WordNet, tmp_path: Path) -> None:
    (tmp_path / "verb.exc").unlink()
    with pytest.raises(OSError, match=r"verb\.exc"):
        WordNet(tmp_path)


def test_distances(net: WordNet) -> None:
    others = ["couch", "couches", "bench", "seat", "running", "wet"]
    related = find_related(net, ["settee", "settees", "sprinting", "damp", "zorblax"], others)
    # The first meaning's broader words, the second meaning itself and its broader one.
    assert related["settee"] == pytest.approx({"couch": 1, "couches": 2, "bench": 0.3, "seat": 1.6})
    assert related["settees"] == pytest.approx({"couch": 2, "couches": 1, "bench": 1.3, "seat": 2.6})
    assert related["damp"] == {"wet": 1}
    assert "zorblax" not in related
    assert related["sprinting"] == {"bench": 1}  # not "running", which these endings do not make of "run"
    # A bench is a thing, whatever a verb of that name may mean.
    assert "bench" in net.words() and find_related(net, ["bench"], ["run", "seat"]) == {"bench": {"seat": 1}}
    assert find_related(net, ["sprints"], ["runs", "run", "sprints"]) == {"sprints": {"runs": 0, "run": 1}}


def test_lines_hold_the_nearest_first_in_tenths() -> None:
    angle = math.radians(60)
    vectors = {
        "settee": np.array([1.0, 0]), "couch": np.array([1.0, 0]),
        "bench": np.array([math.cos(angle), math.sin(angle)]),
        "seat": np.array([-1.0, 0]), "zebra": np.array([0, 1.0]),
    }  # fmt: skip
    related = {"settee": {"bench": 0.2, "couch": 1.0, "seat": -9.0}, "zebra": {"bench": 3.6, "settee": 0.0}}
    # bench: 0.2 + 4 (1 - 0.5) = 2.2. Of a seat the cosine is too low, of a zebra and a bench the distance too long:
    # 3.6 + 4 (1 - 0.866).
    assert synonym_lines(related, vectors) == ["settee couch 10 bench 22\n"]


def test_words_that_describe_photographs(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "phrases.tsv.gz", "wt") as file:
        file.write("4\tA couch\n9\tthe dog's 2 T-shirts\n")
    with gzip.open(tmp_path / "captions.txt.gz", "wt") as file:
        file.write("A couch , a lamp .\n" + "lamp\n" * 3)
    assert frequent_words(tmp_path) == ["couch", "dogs", "the", "tshirts"]  # a lamp: four times; single letters: never
