"""scripts.data.terms: names, what is broader by a small WordNet, and the file that training reads."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fcln.training.terms import Terms as TermsFile
from helpers.small_world import write_json
from scripts.data import terms as command
from scripts.data.terms import Terms, forms, main, split_name
from scripts.data.wordnet import WordNet

# Offset and words with what is broader: a mouse is a rodent, or, as its second meaning, a device; a plant is a factory
# first, and flora as its second meaning; "idea" is nothing that one can see.
SYNSETS = {
    1: (("physical_entity",), ()),
    2: (("animal", "beast"), (1,)),
    3: (("rodent",), (2,)),
    4: (("mouse",), (3,)),
    5: (("device",), (1,)),
    6: (("mouse", "computer_mouse"), (5,)),
    7: (("factory", "plant"), (1,)),
    8: (("plant", "flora"), (1,)),
    9: (("idea",), ()),
    10: (("lizard",), (2,)),
    11: (("iguana", "common_iguana"), (10,)),
    12: (("glasses", "spectacles"), (5,)),
    13: (("lamp",), (5,)),
}
SENSES = {"mouse": (6, 4), "plant": (7, 8), **{
    word: (number,) for number, (words, _) in SYNSETS.items() for word in words if word not in ("mouse", "plant")
}}  # fmt: skip


def write_wordnet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = [
        f"{number:08d} 06 n {len(words):02x} {' '.join(f'{w} 0' for w in words)} {len(broader):03d} "
        + "".join(f"@ {b:08d} n 0000 " for b in broader)
        + "| a thing"
        for number, (words, broader) in SYNSETS.items()
    ]
    index = [
        f"{word} n {len(numbers)} 1 @ {len(numbers)} 1 " + " ".join(f"{n:08d}" for n in numbers)
        for word, numbers in SENSES.items()
    ]
    for name, lines in (("noun", (data, index)), ("verb", ((), ())), ("adj", ((), ()))):
        (folder / f"data.{name}").write_text("\n".join(lines[0]) + "\n")
        (folder / f"index.{name}").write_text("\n".join(lines[1]) + "\n")
        (folder / f"{name}.exc").write_text("mice mouse\n" if name == "noun" else "")
    return folder


@pytest.fixture
def terms(tmp_path) -> Terms:
    return Terms(WordNet(write_wordnet(tmp_path / "wordnet")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iguana", ["an iguana", "iguana", "iguanas"]),
        ("dish", ["a dish", "dish", "dishes"]),
        ("berry", ["a berry", "berry", "berries"]),
        ("toy", ["a toy", "toy", "toys"]),
        ("woman", ["a woman", "woman", "women"]),
        ("human", ["a human", "human", "humans"]),
        ("unicycle", ["a unicycle", "unicycle", "unicycles"]),
        ("umbrella", ["an umbrella", "umbrella", "umbrellas"]),
        ("pocket knife", ["a pocket knife", "pocket knife", "pocket knives"]),
        ("house mouse", ["a house mouse", "house mouse", "house mice"]),
        ("goldfish", ["a goldfish", "goldfish", "goldfish"]),
        ("potato", ["a potato", "potato", "potatoes"]),
        ("hourglass", ["an hourglass", "hourglass", "hourglasses"]),
        ("giraffe", ["a giraffe", "giraffe", "giraffes"]),
        ("rice", ["rice", "some rice", "rice"]),
        ("chest of 4 drawers", ["a chest of 4 drawers", "chest of 4 drawers", "chests of 4 drawers"]),
        ("cabinet with doors", ["a cabinet with doors", "cabinet with doors", "cabinets with doors"]),
        (
            "curtains with tie-backs",
            ["curtains with tie-backs", "some curtains with tie-backs", "curtains with tie-backs"],
        ),
        ("2 sections", ["2 sections", "some 2 sections", "2 sections"]),
        ("bus", ["a bus", "bus", "buses"]),
        ("cactus", ["a cactus", "cactus", "cactuses"]),
        ("great pyrenees", ["a great pyrenees", "great pyrenees", "great pyrenees"]),
        ("s-hook", ["an s-hook", "s-hook", "s-hooks"]),
        ("cabinetry", ["cabinetry", "some cabinetry", "cabinetry"]),
        ("swimming trousers", ["swimming trousers", "some swimming trousers", "swimming trousers"]),
    ],
)
def test_forms(name, expected):
    assert forms(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cup or mug", ["cup", "mug"]),
        ("wine_glass", ["wine glass"]),
        ("Sofa, three seats", ["sofa"]),
        ("tap (for water)", ["tap"]),
        ("rice + beans", ["rice beans"]),
        ("door", ["door"]),  # holds an "or" that is none
    ],
)
def test_split_name(name, expected):
    assert split_name(name) == expected


def test_a_term_is_made_once_and_singular(terms):
    assert [terms.add(name) for name in ("iguana", "iguanas", "mice", "mouse", "glasses")] == [0, 0, 1, 1, 2]
    assert terms.names == ["iguana", "mouse", "glasses"]  # WordNet has glasses as they are


def test_what_is_broader_without_what_says_nothing(terms):
    terms.add("iguana")
    assert terms.broader_names == [["common iguana", "lizard", "animal", "beast"]]  # no physical entity


def test_the_sense_that_people_photograph_is_meant(terms):
    for name in ("mouse", "plant"):
        terms.add(name)
    assert terms.broader_names == [["rodent", "animal", "beast"], ["flora"]]
    assert terms.meaning("idea") is None
    terms.add("idea")
    assert terms.broader_names[-1] == []


def test_a_name_that_wordnet_lacks_is_a_kind_of_its_last_word(terms):
    terms.add("pendant lamps")
    assert terms.broader_names[-1] == ["lamp"]  # a lamp is a device, which says nothing
    terms.add("thingummy")
    assert terms.broader_names[-1] == []


def run(tmp_path: Path, monkeypatch, out: Path) -> dict:
    monkeypatch.setattr(command, "_MIN_PHOTOS", 2)
    annotations = write_json(
        tmp_path / "a",
        names=[
            {"image_id": 5, "names": ["common iguana or iguana"], "wnid": "n00000011"},
            {"image_id": 6, "names": ["mice", "Lamps"]},
        ],
        objects=[{"image_id": 6, "objects": [{"name": "Pendant lamp"}]}],
    )
    other = tmp_path / "b"
    other.mkdir(exist_ok=True)  # neither file is there: nothing to read
    options = ["--wordnet", write_wordnet(tmp_path / "wordnet"), "--annotations", annotations, "--annotations", other]
    result = CliRunner().invoke(main, [str(out), *map(str, options)])
    assert result.exit_code == 0, result.output
    assert "2 photographs named" in result.output
    return json.loads(out.read_text())


def test_the_file_that_training_reads(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, tmp_path / "runs" / "terms.json")
    names = [row["name"] for row in found["terms"]]
    index = {name: number for number, name in enumerate(names)}
    assert len(names) == len(set(names))
    assert [[names[n] for n in found["images"][key]] for key in ("5", "6")] == [
        ["common iguana", "iguana"], ["mouse", "lamp"],
    ]  # fmt: skip
    assert "pendant lamp" in index and "animal" in index  # boxes' names; two photographs show an animal
    assert len(found["classes"]) == 1000 and names[found["classes"][1]] == "goldfish"  # ImageNet's second
    assert index["animal"] in found["terms"][index["iguana"]]["broader"]
    assert all(number not in row["broader"] for number, row in enumerate(found["terms"]))  # none is broader than itself
    read = TermsFile(tmp_path / "runs" / "terms.json")
    assert read.of_phrase("a small iguana") == index["iguana"] and read.exactly("two iguanas") == index["iguana"]
    assert read.closure([index["iguana"]]) >= {index["iguana"], index["animal"]}


def test_what_regions_may_be_called(tmp_path, monkeypatch):
    """What WordNet or the detector knows; a photograph's other names train, and are not said."""
    found = run(tmp_path, monkeypatch, tmp_path / "terms.json")
    read = TermsFile(tmp_path / "terms.json")
    assert list(read.names) == found["names"] == ["a common iguana", "an iguana", "a mouse", "a lamp", "a pendant lamp"]
    assert read.of_phrase("a goldfish") is not None  # of the classes this WordNet has none
    del found["names"]
    (tmp_path / "old.json").write_text(json.dumps(found))
    assert {"a mouse", "a goldfish"} < set(TermsFile(tmp_path / "old.json").names)
    assert "an animal" not in TermsFile(tmp_path / "old.json").names


def test_the_same_file_from_run_to_run(tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, tmp_path / "one.json")
    run(tmp_path, monkeypatch, tmp_path / "other.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()
