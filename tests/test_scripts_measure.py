"""What goes between the markers of the documents, and what is asked for it."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts import measure
from scripts.evaluate import captions, proposals, questions, retrieval, retrieval_table, shortlist, words
from scripts.evaluate.retrieval_table import FIGURES
from scripts.measure import figures, headline, main, question_tables, replace_between
from scripts.train import calibrate_answers, choose_confidence

PROGRAMS = {
    module.__name__: module.main
    for module in (
        calibrate_answers,
        choose_confidence,
        captions,
        proposals,
        questions,
        retrieval,
        shortlist,
        words,
        retrieval_table,
    )
}
ROW = {name: number / 10 for number, name in enumerate(FIGURES, 1)} | {"standard_error": dict.fromkeys(FIGURES, 0.012)}
PAIRS = [("bald", "hairless", "bald", 1.0), ("beer", "ale", "drink", 0.3), ("dog", "cur", None, 0.15)]
ASKED = {
    "retrieval": {**ROW, "images": 1000, "queries": 100, "scoring": "embedding"},
    "questions": {
        "mean_ap": 0.345,
        "precision@5": 0.456,
        "chance": 0.05,
        "questions": [
            {"question": f"question {n}", "average_precision": n / 100, "precision@5": 0.2, "answers": n}
            for n in range(23)
        ],
    },
    "as_one_phrase": {"mean_ap": 0.234},
    "proposals": {"found@0.3": 0.888, "found@0.5": 0.777},
    "captions": {
        "predicted_boxes": {"mean_ap": 5.394, "meteor": 0.2734, "localization_ap": 25.25},
        "labelled_boxes": {"mean_ap": 27.032, "meteor": 0.3054, "localization_ap": 100.0},
        "box_recall": {"10": {"0.5": 0.4321}, "300": {"0.5": 0.8765}},
    },
    "words": {
        "synonyms": 0.511,
        "synonyms_as_typed": 0.159,
        "as_unknown": 0.022,
        "random": 0.013,
        "slips": 0.944,
        "as_typed": 0.155,
        "synonym_pairs": [{"known": k, "other": o, "read_as": r, "overlap": s} for k, o, r, s in PAIRS],
        "slip_pairs": [{}] * 21,
        "named_pairs": [
            {"known": "couch", "other": "sofa", "overlap": 0.7, "known_shows_it": 0.4, "other_shows_it": 0.3}
        ]
        * 2,
    },
    "shortlist": {
        "default_size": 200,
        "curves": [
            {"points": [{"size": 100, "places": 0.1}, {"size": 200, "places": places}]} for places in (1.0, 0.987)
        ],
    },
    "confidence": {"calibration_error": 0.0123, "calibration_error_from_0.1": 0.0234, "average_precision": 0.567},
    "answers": {
        "calibration_error_from_0.1": 0.0412,
        "pairs_calibration_error_from_0.1": 0.0231,
        "sets": [{"calibration_error_from_0.1": 0.0351}, {"calibration_error_from_0.1": 0.0779}],
    },
}
WIDE = {
    "mean_ap": 0.512,
    "precision@5": 0.613,
    "chance": 0.011,
    "questions": [
        {"question": "a cup", "average_precision": 0.25, "precision@5": 0.4, "answers": 3},
        {"question": "a cat", "average_precision": 0.75, "precision@5": 1.0, "answers": 12},
    ],
}
BASELINES = {
    "rows": {"FCLN, embedding": ROW},
    "left_out": [],
    "recall@1_against_full_image": 6.44,
    "images": 1000,
    "draws": 10,
    "queries": 100,
    "max_regions": 50,
    "crops": 10,
}


def test_figures_go_between_the_markers():
    document = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n<!-- table -->\n<!-- /table -->\n"
    changed = document.replace("old", "new")
    assert replace_between(document, "figures", "new") == changed
    assert "<!-- table -->\nnew\n<!-- /table -->" in replace_between(document, "table", "new")
    with pytest.raises(ValueError, match="<!-- words -->"):
        replace_between(document, "words", "new")


def test_every_figure_is_in_a_table():
    text = figures(ASKED)
    assert "on 1000 photographs" in text and "10 draws of 100 queries" in text
    cells = " | ".join(f"{n / 10:.1f} ± 0.0" if n == 4 else f"{n / 10:.3f} ± 0.012" for n in range(1, 9))
    assert f"\n| embedding | {cells} |\n" in text
    dense = ("| 5.39 / 0.273 / 25.25 |", "| 27.03 / 0.305 |", "among 10 / 300 proposals | 0.432 / 0.876 |")
    rare = ("(3 pairs) | 0.511", "0.159 / 0.022 / 0.013", "21 misspelt words", "0.944 / 0.155")
    words = (
        "without the 1 synonyms that are read as the very word | 0.225 |",
        "sofa for couch",
        "| 0.7 / 0.7 |",
        "0.3 (0.4) / 0.3 (0.4) |",
    )
    others = ("a shortlist of 200 photographs: one phrase / four | 1.000 / 0.987 |", "| 0.012 / 0.023 |", "| 0.567 |")
    for figure in ("23 questions", "0.345", "0.456", "0.234", "0.888 / 0.777", *dense, *rare, *words, *others):
        assert figure in text
    assert "everyday things of all kinds" not in text
    assert "| 0.041 / 0.035 / 0.078 / 0.023 |" in text and "lists that stop" not in text
    text = figures({**ASKED, "questions": ASKED["questions"] | {"list_f1": 0.3, "counted_f1": 0.32, "best_f1": 0.4}})
    assert "| 0.300 / 0.400 / 0.75 / 0.80 |" in text
    text = figures({**ASKED, "wide": WIDE})
    assert "(2 questions; " in text and "| 0.512 / 0.011 |" in text and "precision@5 | 0.613 |" in text
    # "a cup" has three answers: at most 3 / 5 of its first five are right.
    assert (
        "1 questions that five photographs or more answer (of all, no search reaches more than 0.800) | 1.000" in text
    )


def test_five_figures_are_the_headline():
    lines = headline({**ASKED, "wide": WIDE}).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == [
        "0.61 / 0.51",
        "0.10 / 0.20 / 0.30",
        "0.70 / 0.80",
        "0.78",
        "5.4",
    ]
    assert "2 questions" in lines[2] and "of 1,000" in lines[3]
    assert headline(ASKED).splitlines() == lines[:2] + lines[3:]


def test_every_question_has_a_line_the_best_first():
    text = question_tables({**ASKED, "wide": WIDE})
    wide, flickr = text.split("\n\nFlickr8k:\n\n")
    assert wide.splitlines()[-2:] == ["| a cat | 12 | 0.75 | 1.0 |", "| a cup | 3 | 0.25 | 0.4 |"]
    assert flickr.splitlines()[2] == "| question 22 | 22 | 0.22 | 0.2 |" and len(flickr.splitlines()) == 2 + 23
    assert question_tables(ASKED).startswith("Flickr8k:")


@pytest.mark.parametrize(
    ("path", "markers"),
    [
        (measure.README, ["headline"]),
        (measure.RESULTS, ["figures", "questions", "baselines"]),
        (measure.MODEL_CARD, ["figures"]),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_documents_have_the_markers_and_no_others(path: Path, markers: list[str]):
    text = path.read_text(encoding="utf-8")
    assert [word for word in text.split() if word.startswith("<!--")] == ["<!--"] * 2 * len(markers)
    for marker in markers:
        assert f"\n<!-- {marker} -->\n" in replace_between(text, marker, "")


def test_the_results_page_and_the_model_card_say_the_same():
    def between(path: Path) -> str:
        return path.read_text(encoding="utf-8").partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]

    assert between(measure.RESULTS) == between(measure.MODEL_CARD) != ""


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A README, a results page, a model card and a plot to write."""
    paths = {name: tmp_path / name for name in ("README", "RESULTS", "MODEL_CARD", "SHORTLIST_PLOT")}
    for name, path in paths.items():
        monkeypatch.setattr(measure, name, path)
    paths["README"].write_text("<!-- headline --><!-- /headline -->")
    paths["RESULTS"].write_text(
        "<!-- figures --><!-- /figures -->\n<!-- questions --><!-- /questions -->\n"
        "<!-- baselines -->\nold\n<!-- /baselines -->"
    )
    paths["MODEL_CARD"].write_text("<!-- figures --><!-- /figures -->")
    return paths


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that were run, none of them really: Click reads their options, and they say what ASKED or WIDE has.

    "break" among them lets the next ones fail.
    """
    programs: list[str] = []

    def run(command: list[str], *, check: bool, stdout: int) -> subprocess.CompletedProcess:
        assert (command[1], check, stdout) == ("-m", False, subprocess.PIPE)
        _, _, program, *options = command
        values = PROGRAMS[program].make_context(program, list(options)).params
        photos = values["photos"][-1] if isinstance(values["photos"], tuple) else values["photos"]
        assert values["as_json"] is True and photos.is_dir()
        programs.append(program)
        if program == "scripts.evaluate.shortlist":
            values["plot"].write_bytes(b"a plot")
        name = "as_one_phrase" if values.get("as_one_phrase") else program.split(".")[-1].split("_")[-1]
        said = BASELINES if name == "table" else WIDE if photos.name == "wide" else ASKED[name]
        return subprocess.CompletedProcess(command, programs.count("break"), json.dumps(said))

    monkeypatch.setattr(subprocess, "run", run)
    return programs


def test_every_program_is_asked_as_it_can_be(documents: dict[str, Path], ran: list[str], tmp_path: Path):
    folders = ["--photos", str(tmp_path), "--annotations", str(tmp_path)]
    done = CliRunner().invoke(main, folders)
    assert done.exit_code == 0, done.output
    # All of them, the questions twice; the first is the one that may lack Java.
    assert sorted(ran) == sorted([*set(PROGRAMS) - {"scripts.evaluate.retrieval_table"}, "scripts.evaluate.questions"])
    assert ran[0] == "scripts.evaluate.captions"
    block = f"<!-- figures -->\n{figures(ASKED)}\n<!-- /figures -->"
    results = f"{block}\n<!-- questions -->\n{question_tables(ASKED)}\n<!-- /questions -->\n<!-- baselines -->\n"
    assert documents["RESULTS"].read_text() == f"{results}old\n<!-- /baselines -->"
    assert documents["MODEL_CARD"].read_text() == block
    assert documents["README"].read_text() == f"<!-- headline -->\n{headline(ASKED)}\n<!-- /headline -->"
    assert documents["SHORTLIST_PLOT"].read_bytes() == b"a plot"

    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    done = CliRunner().invoke(main, [*folders, "--full-image", str(weights), "--region", str(weights)])
    assert done.exit_code == 0, done.output
    table = retrieval_table.table(BASELINES)
    assert documents["RESULTS"].read_text() == f"{results}{table}\n<!-- /baselines -->"


def test_the_second_kind_of_photographs_is_asked_too(documents: dict[str, Path], ran: list[str], tmp_path: Path):
    wide = tmp_path / "wide"
    wide.mkdir()
    folders = ["--photos", str(tmp_path), "--annotations", str(tmp_path)]
    both = ["--wide-photos", str(wide), "--wide-annotations", str(wide)]
    done = CliRunner().invoke(main, [*folders, *both])
    assert done.exit_code == 0, done.output
    assert ran.count("scripts.evaluate.questions") == 3
    asked = {**ASKED, "wide": WIDE}
    assert headline(asked) in documents["README"].read_text()
    assert question_tables(asked) in documents["RESULTS"].read_text()
    assert figures(asked) in documents["RESULTS"].read_text() and figures(asked) in documents["MODEL_CARD"].read_text()
    done = CliRunner().invoke(main, [*folders, *both[:2]])
    assert done.exit_code == 2 and "--wide-photos and --wide-annotations go together" in done.output


def test_nothing_is_written_unless_all_is_measured(documents: dict[str, Path], ran: list[str], tmp_path: Path):
    before = {name: path.read_bytes() for name, path in documents.items() if path.exists()}
    ran.append("break")
    folders = ["--photos", str(tmp_path), "--annotations", str(tmp_path)]
    done = CliRunner().invoke(main, folders)
    assert done.exit_code == 1
    assert "Error: scripts.evaluate.captions failed, as it says above; no document was changed." in done.output
    done = CliRunner().invoke(main, [*folders, "--region", "weights.safetensors"])
    assert done.exit_code == 2 and "go together" in done.output
    assert {name: path.read_bytes() for name, path in documents.items() if path.exists()} == before
