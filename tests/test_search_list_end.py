"""Lists that stop by their probabilities, through the real commands."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.scoring import AnswerCalibration
from helpers.labelled_photos import write_photo
from search.cli.answers import tell_nothing_found
from search.exclusion import Excluded
from search.hits import HitRegion
from search.likely import ListEnd
from search.searcher import Answer


def run(arguments, *, check: bool = False) -> subprocess.CompletedProcess:
    return subprocess.run([str(a) for a in arguments], check=check, capture_output=True, text=True)


@pytest.fixture
def calibrated(tiny_checkpoint, tmp_path):
    """Weights that know how likely a photograph answers: log-odds of 8 times the similarity, less 2."""
    path = tmp_path / "calibrated.safetensors"
    checkpoint = load_checkpoint(tiny_checkpoint)
    size = checkpoint.model.config.embedding_size
    answers = AnswerCalibration(-2.0, 8.0, 0.0, 0.0, (0.0,) * (size + 1), (0.0,) * (size + 1), 0.1)
    save_checkpoint(path, replace(checkpoint, scoring=replace(checkpoint.scoring, answers=answers)))
    return path


def test_lists_stop_by_their_probabilities(calibrated, tmp_path):
    folder = tmp_path / "some"
    for number in range(6):
        write_photo(folder / f"{number}.jpg", seed=number)
    with_weights = ["--weights", calibrated, "--device", "cpu", "--collection", tmp_path / "collection"]
    run([sys.executable, "-m", "indexer", "build", folder, *with_weights], check=True)
    asked = [sys.executable, "-m", "search", "query", "a dog", *with_weights]
    everything = json.loads(run([*asked, "-k", "6", "--json"], check=True).stdout)
    probabilities = [hit["probability"] for hit in everything["hits"]]
    assert len(probabilities) == 6 and probabilities == sorted(probabilities, reverse=True)
    for hit in everything["hits"]:
        assert hit["probability"] == pytest.approx(1 / (1 + math.exp(2 - 8 * hit["score"])), abs=1e-3)
    least = (probabilities[1] + probabilities[2]) / 2
    if probabilities[1] > probabilities[2]:
        some = json.loads(run([*asked, "--min-score", str(least), "--json"], check=True).stdout)
        assert [hit["path"] for hit in some["hits"]] == [hit["path"] for hit in everything["hits"][:2]]
    listed = run([*asked, "--json"], check=True)
    document = json.loads(listed.stdout)
    assert document["hits"] == everything["hits"][: len(document["hits"])]
    assert document["convincing"] == (probabilities[0] >= 0.25)
    if not document["convincing"]:
        assert "Nothing convincing: the closest are these 3 photographs" in listed.stderr
    none = run([*asked, "--min-score", "1"])
    assert none.returncode == 1 and none.stdout == ""
    assert none.stderr.startswith("Nothing found with at least 100%: the closest answers with ")
    refused = run([*asked, "--min-score", "0.5", "--scoring", "likelihood"])
    assert refused.returncode == 2 and "embedding scoring only" in refused.stderr


@pytest.mark.parametrize(
    ("end", "excluded", "least", "sentence"),
    [
        # As where all that is likely shows what is not wanted.
        (ListEnd(0, 0.17), True, None, " that convinces: the closest answers with 17%; -k 20 shows more."),
        (ListEnd(0, 0.17), True, 0.5, " with at least 50%: the closest answers with 17%."),
        (ListEnd(0, None), True, 0.5, ": every photograph looked at was left out."),
        (None, True, None, ": every photograph looked at was left out."),
        (None, False, 0.5, ": /nas/c holds no photographs; `indexer build FOLDER` adds them."),
    ],
)
def test_why_nothing_is_found_is_one_sentence(capsys, end, excluded, least, sentence):
    region = HitRegion(1, (0, 0, 9, 9), "a leash", 0.9, "a leash", 0.9)
    fallen = [Excluded(1, Path("a.jpg"), region)] if excluded else []
    tell_nothing_found(Answer(["a dog"], "embedding", [], excluded=fallen, end=end), least, Path("/nas/c"))
    assert capsys.readouterr().err == f"Nothing found{sentence}\n"
