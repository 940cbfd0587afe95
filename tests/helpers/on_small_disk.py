"""The commands on a disk that is full and on one that is write-protected, which test_indexer_small_disk.py makes.

Not collected with the other tests: `pytest` is given this file inside of a mount namespace.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from db.collection import open_collection
from indexer.cli import main

DISK = Path(os.environ["SMALL_DISK"])


def fill() -> None:
    with open(DISK / "ballast", "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


def write_protected(folder: Path, view: Path) -> Path:
    """The same folder under another path, where nothing can be written."""
    view.mkdir()
    subprocess.run(["mount", "--bind", folder, view], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
    return view


def noise(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def contents(place: Path) -> list[tuple]:
    with open_collection(place) as collection:
        features = collection.features()
        regions = collection.regions(features.region_ids)
        ((nearest, _),) = collection.nearest(features.embeddings[:1], 1000)
        return [sorted(nearest.tolist()), regions, features.codes.tolist(), collection.revision]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return DISK / tmp_path.name


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        noise(folder / f"{seed}.png", seed)
    return folder


@pytest.fixture
def options(place: Path, photos: Path, tiny_checkpoint: Path) -> list[object]:
    """Those of a build; and a collection that has something to do for each command."""
    options = ["--weights", tiny_checkpoint, "--device", "cpu", "-q"]
    for number in range(2):
        result = invoke("build", photos, "--collection", place, *options)
        assert result.exit_code == 0, result.stderr
        noise(photos / f"later {number}.png", 10 + number)
    return options


def writing_commands(place: Path, photos: Path, options: list[object]) -> dict[str, list[object]]:
    commands = {"build": [photos, *options], "compact": [], "rebuild": [], "remove": [photos / "0.png"]}
    return {name: [name, *arguments, "--collection", place] for name, arguments in commands.items()}


def test_a_full_disk_is_said_in_a_sentence_and_loses_nothing(place, photos, options):
    commands = writing_commands(place, photos, options)
    before = contents(place)
    fill()
    for name, command in commands.items():
        result = invoke(*command)
        assert (result.exit_code, result.stdout) == (2, ""), name
        *warnings, error = result.stderr.splitlines()
        assert error.startswith("Error: ") and error.endswith("."), (name, result.stderr)
        assert "full" in error or "No space left" in error or "disk I/O error" in error, error
        assert all(line.startswith("Warning: ") for line in warnings), (name, result.stderr)
    (DISK / "ballast").unlink()
    assert contents(place) == before
    assert json.loads(invoke("verify", "--json", "-q", "--collection", place).stdout)["problems"] == []
    assert invoke(*commands["build"]).stdout.startswith("1 new, 0 changed, 0 moved, 0 gone, 4 unchanged, 0 failed")
    for name in ("compact", "rebuild", "remove"):
        assert invoke(*commands[name]).exit_code == 0, name
    assert not [path for path in place.rglob("*") if ".tmp" in path.name]
    assert invoke("verify", "--collection", place).exit_code == 0


def test_a_write_protected_collection_can_be_read_and_nothing_else(place, photos, options, tmp_path):
    before = contents(place)
    view = write_protected(place, tmp_path / "view")
    assert contents(view) == before
    assert json.loads(invoke("status", "--json", "--collection", view).stdout)["photographs"] == 4
    assert invoke("verify", "-q", "--collection", view).exit_code == 0
    commands = {**writing_commands(view, photos, options), "repair": ["verify", "--repair", "--collection", view]}
    for name, command in commands.items():
        result = invoke(*command)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), (name, result.stderr)
        assert result.stderr.startswith("Error: ") and "Read-only file system" in result.stderr, name
    assert contents(place) == before
