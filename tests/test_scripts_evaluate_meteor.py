"""METEOR: the Java program itself where there is one, and a stand-in that speaks its protocol elsewhere."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.meteor import Meteor

STAND_IN = f"""#!{sys.executable}
import sys
with open(sys.argv[0] + ".options", "w") as options:
    options.write(" ".join(sys.argv[1:]))
for number, line in enumerate(sys.stdin):
    with open(sys.argv[0] + ".log", "a", encoding="utf-8") as log:
        log.write(line)
    print("1.0 2.0" if line.startswith("SCORE") else f"0.{{number}}\\n0.{{number}}", flush=True)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package pycocoevalcap, whether it is installed or not."""
    (tmp_path / "site" / "pycocoevalcap").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")


def write_java(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called java, the only one there is."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


@pytest.mark.skipif(
    shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None,
    reason="needs Java and the package pycocoevalcap: pip install -e '.[eval]'",
)
def test_the_real_program() -> None:
    """Denkowski and Lavie's parameters for English: alpha 0.85, beta 0.2, gamma 0.6, delta 0.75 for content words."""
    with Meteor() as meteor:
        scores = meteor(
            ["a red dog", "zebra", "", "a dog", "the couch", "a dog", "dog"],
            [["a red dog"], ["a man"], ["a man"], ["the dog"], ["the sofa"], ["zebra", "a dog"], ["dog"]],
        )
    # Of "a dog" and "the dog", only the content word agrees: precision and recall 0.75. One chunk of one word: 0.6 off.
    # "couch" is a synonym of "sofa", worth 0.8; one chunk of all words: nothing off.
    assert scores == pytest.approx([1, 0, 0, 0.75 * 0.4, 0.75 * 0.8 + 0.25, 1, 1])


def test_a_caption_and_its_references_are_one_line(
    package: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_java(tmp_path, STAND_IN, monkeypatch)
    with Meteor() as meteor:
        assert meteor(["a dog", "ein Kälbchen"], [["the dog", "a red dog"], ["a calf"]]) == [0.1, 0.3]
        assert meteor(["a lamp"], [["lamp"]]) == [0.5]
        assert meteor([], []) == []
    options = (tmp_path / "bin" / "java.options").read_text()
    assert options.endswith("pycocoevalcap/meteor/meteor-1.5.jar - - -stdio -l en -norm")  # as the authors of DenseCap
    assert (tmp_path / "bin" / "java.log").read_text(encoding="utf-8").splitlines() == [
        "SCORE ||| the dog ||| a red dog ||| a dog",
        "EVAL ||| 1.0 2.0",
        "SCORE ||| a calf ||| ein Kälbchen",
        "EVAL ||| 1.0 2.0",
        "SCORE ||| lamp ||| a lamp",
        "EVAL ||| 1.0 2.0",
    ]


def test_a_program_that_stops_is_named(package: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_java(tmp_path, "#!/bin/sh\nexit 1\n", monkeypatch)
    with pytest.raises(EvaluationError, match="has stopped"), Meteor() as meteor:
        meteor(["a dog"], [["a dog"]])
    with Meteor() as meteor:
        meteor._process.wait()
        with pytest.raises(EvaluationError, match="has stopped"):
            meteor.check()  # without asking it anything
    write_java(tmp_path / "running", STAND_IN, monkeypatch)
    with Meteor() as meteor:
        meteor.check()


def test_no_java(package: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvaluationError, match="install Java"):
        Meteor()


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(EvaluationError, match=r"pip install -e '\.\[eval\]'"):
        Meteor()
