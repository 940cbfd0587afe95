"""The command `indexer`: what it prints and where, its exit codes, and what signals do to it."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from db.collection import open_collection
from db.errors import CollectionMissing
from db.records import ModelIdentity
from fcln.checkpoint import Scoring, load_checkpoint, save_checkpoint
from fcln.weights_file import checkpoint_digest
from indexer.cli import main
from indexer.lazy_predictor import LazyPredictor
from indexer.progress import BarProgress, LineProgress

PROJECT = Path(__file__).parent.parent
# The command with a network that takes its time: from the given photograph on so many seconds for a batch. Whoever is
# to stop it comes in time, however busy the computer is.
SLOW = """
import runpy, sys, time
from fcln.predictor import Predictor
describe, given = Predictor.describe, []
def slowly(self, images, **options):
    given.extend(images)
    if len(given) >= {first}:
        time.sleep({seconds})
    return describe(self, images, **options)
Predictor.describe = slowly
runpy.run_module("indexer", run_name="__main__")
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "indexer", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def noise(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path) -> Path:
    for number in range(3):
        noise(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "collection"


def assert_error(result: Result | subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2 and one sentence on stderr, nothing on stdout."""
    code = result.exit_code if isinstance(result, Result) else result.returncode
    assert code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


# -- help


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in main.commands), ["--version"]])
def test_help_is_instant(arguments):
    heavy = ["torch", "faiss", "sqlalchemy", "h5py", "numpy", "PIL"]
    code = (
        "import sys, indexer.cli\n"
        f"try: indexer.cli.main({arguments!r})\n"
        f"finally: print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_version_names_the_project():
    assert invoke("--version").stdout.startswith("densecap-search ")


def test_build_needs_a_folder():
    result = invoke("build")
    assert result.exit_code == 2
    assert "FOLDERS" in result.stderr


@pytest.mark.parametrize("option", ["--commit-seconds", "--lease-seconds"])
def test_a_time_is_a_number(option):
    result = invoke("build", ".", option, "nan")
    assert result.exit_code == 2 and f"Invalid value for '{option}': nan is no number." in result.stderr


# -- building


def test_the_real_command_from_nothing_to_status(photos, place, tiny_checkpoint):
    (photos / "text.jpg").write_text("Dear diary")
    build = run("build", photos, "--collection", place, "--weights", tiny_checkpoint, "--device", "cpu")
    assert build.returncode == 0, build.stderr
    first, second = build.stdout.splitlines()
    assert first.startswith("3 new, 0 changed, 0 moved, 0 gone, 0 unchanged, 1 failed in ")
    assert second.startswith("3 photographs, ")
    assert second.endswith(f" regions in {place}")
    assert build.stderr.splitlines() == [
        "4 files to look at",
        f"{photos / 'text.jpg'}: a text file, not a photograph",
    ]

    status = run("status", "--json", "--collection", place)
    assert status.returncode == 0, status.stderr
    document = json.loads(status.stdout)
    assert document["photographs"] == 3
    assert document["regions"] >= 3
    assert document["failed"] == 1
    assert document["roots"] == [{"path": str(photos), "present": True, "photographs": 3, "left_out": {}}]
    (failure,) = document["failures"]
    assert (failure["path"], failure["reason"]) == (
        str(photos / "text.jpg"), "a text file, not a photograph"
    )  # fmt: skip
    assert document["last_build"]["new"] == 3
    assert document["checkpoint"] == open_collection(place).model.digest
    (described_with,) = document["described_with"]
    assert described_with.startswith("backbone ") and ", regions " in described_with


def test_running_it_again_and_the_readable_status(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "--quiet"]
    (photos / "text.jpg").write_text("Dear diary")
    first = invoke("build", photos, *options)
    assert first.stderr == f"{photos / 'text.jpg'}: a text file, not a photograph\n"
    again = invoke("build", photos, *options)
    assert again.exit_code == 0
    assert again.stderr == ""
    assert again.stdout.startswith("0 new, 0 changed, 0 moved, 0 gone, 3 unchanged, 0 failed in ")
    assert "1 failed before and did not change (--retry)" in again.stdout

    photos.rename(photos.with_name("away"))
    lines = invoke("status", "--collection", place).stdout.splitlines()
    assert f"collection   {place}" in lines
    assert "photographs  3" in lines
    assert len([line for line in lines if line.startswith("with         backbone ")]) == 1
    assert "failed       1 file" in lines
    assert f"root         {photos} (missing): 3 photographs" in lines
    assert f"failed       {photos / 'text.jpg'}: a text file, not a photograph" in lines


def test_the_collection_can_be_named_by_the_environment(photos, place, tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", str(place))
    assert invoke("build", photos, "--weights", tiny_checkpoint, "--device", "cpu").exit_code == 0
    assert json.loads(invoke("status", "--json").stdout)["collection"] == str(place)
    monkeypatch.setenv("HOME", str(place.parent))
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", f"~/{place.name}")  # as `search` reads it
    assert json.loads(invoke("status", "--json").stdout)["collection"] == str(place)


def test_what_cannot_be_written_is_told(photos, place, tiny_checkpoint):
    assert invoke("build", photos, "--collection", place, "--weights", tiny_checkpoint).exit_code == 0
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "indexer", "status", "--collection", str(place)],
            cwd=Path(__file__).parents[1], stdout=full, stderr=subprocess.PIPE, text=True, timeout=300,
        )  # fmt: skip
    assert (run.returncode, run.stderr) == (2, "Error: No space left on device.\n")


def test_exclude(photos, place, tiny_checkpoint):
    noise(photos / "thumbs" / "3.png", 3)
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "-q"]
    result = invoke("build", photos, *options, "--exclude", "thumbs", "--exclude", "[1-2].*")
    assert result.stdout.startswith("1 new, ")
    # not remembered, and excluded means absent
    assert invoke("build", photos, *options).stdout.startswith("3 new, 0 changed, 0 moved, 0 gone, 1 unchanged, ")
    result = invoke("build", photos, *options, "--exclude", "thumbs")
    assert result.stdout.startswith("0 new, 0 changed, 0 moved, 1 gone, 3 unchanged, ")
    assert_error(invoke("build", photos, *options, "--exclude", "*.png"), "holds no photographs", "--prune")


def test_errors(photos, place, tiny_checkpoint):
    (photos / "text.jpg").write_text("Dear diary")
    (photos / "new\nline.jpg").touch()
    invoke("build", photos, "--collection", place, "--weights", tiny_checkpoint, "--device", "cpu")
    assert invoke("errors", "--collection", place).stdout.splitlines() == [
        f"{photos}/new\\nline.jpg: the file is empty",
        f"{photos}/text.jpg: a text file, not a photograph",
    ]
    document = json.loads(invoke("errors", "--json", "--collection", place).stdout)
    assert document[0] == {
        "path": str(photos / "new\nline.jpg"),
        "reason": "the file is empty",
        "described": False,
        "size": 0,
        "digest": hashlib.sha256(b"").hexdigest(),
    }
    (photos / "text.jpg").unlink()
    (photos / "new\nline.jpg").unlink()
    invoke("build", photos, "--collection", place, "--weights", tiny_checkpoint)
    assert invoke("errors", "--collection", place).stdout == ""
    assert json.loads(invoke("errors", "--json", "--collection", place).stdout) == []


def test_remove(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "-q"]
    invoke("build", photos, *options)
    result = invoke("remove", photos / "1.png", "--collection", place)
    first, second = result.stdout.splitlines()
    assert (result.exit_code, first) == (0, "1 photograph and 0 failed files removed")
    assert second.startswith("2 photographs, ")
    assert (photos / "1.png").exists()
    assert_error(invoke("remove", photos / "1.png", "--collection", place), "knows no photograph in", "1.png")
    assert invoke("build", photos, *options).stdout.startswith("1 new, 0 changed, 0 moved, 0 gone, 2 unchanged, ")


def test_a_run_with_nothing_to_describe_does_not_load_the_network(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "-q"]
    invoke("build", photos, *options)
    shutil.copy(photos / "0.png", photos / "copy.png")
    (photos / "1.png").rename(photos / "moved.png")
    code = (
        "import sys, indexer.cli\n"
        "try: indexer.cli.main(sys.argv[1:])\n"
        "finally: print([name for name in ('torch', 'faiss', 'h5py') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, "build", *map(str, [photos, *options])]
    first = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert first.stdout.startswith("1 new, 0 changed, 1 moved, 0 gone, 2 unchanged, 0 failed "), first.stderr
    assert first.stdout.splitlines()[-1] == "['faiss', 'h5py']"  # the copy's regions are written
    second = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert second.stdout.startswith("0 new, 0 changed, 0 moved, 0 gone, 4 unchanged, 0 failed "), second.stderr
    assert second.stdout.splitlines()[-1] == "[]"


def test_max_regions(photos, place, tiny_checkpoint):
    invoke("build", photos, "--collection", place, "--weights", tiny_checkpoint, "--max-regions", 1)
    assert json.loads(invoke("status", "--json", "--collection", place).stdout)["regions"] == 3


# -- errors: one sentence, exit code 2


def test_a_folder_that_does_not_exist(tmp_path, place):
    assert_error(run("build", tmp_path / "nowhere", "--collection", place), "nowhere does not exist")
    assert not place.exists()


def test_a_file_in_the_place_of_a_folder(photos, place):
    assert_error(invoke("build", photos / "0.png", "--collection", place), "0.png is not a directory")
    assert not place.exists()


def test_a_folder_without_photographs(tmp_path, place):
    (tmp_path / "notes.txt").write_text("x")
    assert_error(invoke("build", tmp_path, "--collection", place), "holds no photographs (JPEG, PNG")
    assert not place.exists()


def test_a_known_folder_that_is_suddenly_empty_loses_nothing(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu"]
    invoke("build", photos, *options)
    photos.rename(photos.with_name("away"))
    assert_error(invoke("build", photos, *options, "-q"), "does not exist", "stay there (--prune removes them): 3")
    assert json.loads(invoke("status", "--json", "--collection", place).stdout)["photographs"] == 3
    pruned = invoke("build", photos, *options, "--prune")
    assert (pruned.exit_code, pruned.stdout.split(" in ")[0]) == (
        0, "0 new, 0 changed, 0 moved, 3 gone, 0 unchanged, 0 failed"
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_a_folder_without_read_permission(photos, place):
    photos.chmod(0)
    try:
        assert_error(invoke("build", photos, "--collection", place), "cannot be read (Permission denied)")
    finally:
        photos.chmod(0o755)


def test_status_of_a_collection_that_does_not_exist(place):
    assert_error(invoke("status", "--collection", place), str(place))
    assert not place.exists()


def test_a_collection_of_another_checkpoint(photos, place, tiny_checkpoint):
    other = ModelIdentity("0" * 64, embedding_size=4, code_size=4)
    open_collection(place, write=True, create=True, model=other).close()
    assert_error(invoke("build", photos, "--collection", place, "--weights", tiny_checkpoint), "checkpoint")


def test_weights_that_are_missing_or_damaged(photos, place, tiny_checkpoint, tmp_path):
    assert_error(invoke("build", photos, "--collection", place, "--weights", tmp_path / "no.safetensors"), "no.safe")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny_checkpoint.read_bytes()[:1000])
    assert_error(invoke("build", photos, "--collection", place, "--weights", damaged), "damaged.safetensors")
    assert not place.exists()


def test_weights_that_cannot_be_used_are_one_sentence_also_when_they_are_needed_late(photos, place, tiny_checkpoint):
    """The header is whole and the collection exists: the damage shows with the first photograph to describe."""
    damaged = place.with_name("damaged.safetensors")
    content = tiny_checkpoint.read_bytes()
    damaged.write_bytes(content[:-100] + bytes([content[-100] ^ 64]) + content[-99:])
    model = LazyPredictor(damaged).model
    open_collection(place, write=True, create=True, model=model).close()
    assert_error(invoke("build", photos, "--collection", place, "--weights", damaged, "-q"), "is damaged (its checksum")


def test_a_second_writer_is_refused(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu"]
    invoke("build", photos, *options)
    with open_collection(place, write=True):
        for command in (["build", photos, *options], ["remove", photos, "--collection", place]):
            assert_error(invoke(*command), f"is being written by process {os.getpid()}, started 20")


def test_a_second_writer_waits(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "-q"]
    invoke("build", photos, *options)
    command = [sys.executable, "-m", "indexer", "build", photos, *options, "--wait"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with open_collection(place, write=True) as first:
        second = subprocess.Popen(command, cwd=PROJECT, text=True, **pipes)
        third = subprocess.Popen(command, cwd=PROJECT, text=True, **pipes)
        for process in (second, third):
            line = process.stderr.readline()
            assert line.startswith("Waiting: ") and f"is being written by process {os.getpid()}, started 20" in line
        third.send_signal(signal.SIGINT)
        assert third.communicate(timeout=300)[0] == ""
        assert (third.returncode, second.poll()) == (130, None)
        first.commit(gone=first.photo_ids()[:1].tolist())
    stdout, _ = second.communicate(timeout=300)
    assert stdout.startswith("1 new, 0 changed, 0 moved, 0 gone, 2 unchanged, ")


def test_two_processes_that_add_different_folders_in_turn_lose_nothing(photos, place, tiny_checkpoint):
    """The first two of them make the collection, and each of the later ones finds the other at work."""
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "-q", "--wait"]
    roots = [photos, photos.with_name("more photos")]
    for seed in (10, 20):
        for number, root in enumerate(roots):
            noise(root / f"{seed}.png", seed + number)
        commands = [[sys.executable, "-m", "indexer", "build", str(root), *map(str, options)] for root in roots]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes = [subprocess.Popen(command, cwd=PROJECT, text=True, **pipes) for command in commands]
        for process in processes:
            _, stderr = process.communicate(timeout=300)
            assert process.returncode == 0 and all(line.startswith("Waiting: ") for line in stderr.splitlines()), stderr
    with open_collection(place) as collection:
        known = {root.name: sorted(collection.known(root_id)) for root_id, root in collection.roots().items()}
        assert known == {
            "photos": ["0.png", "1.png", "10.png", "2.png", "20.png"],
            "more photos": ["10.png", "20.png"],
        }
        assert collection.photo_count() == 7
    assert invoke("verify", "--collection", place).exit_code == 0


# -- looking after a collection


def test_verify_and_repair(photos, place, tiny_checkpoint):
    options = ["--weights", tiny_checkpoint, "--device", "cpu", "--collection", place]
    invoke("build", photos, *options)
    result = run("verify", "--collection", place)
    assert (result.returncode, result.stderr.splitlines()) == (0, ["3 files to look at"])
    assert result.stdout.splitlines()[-1] == "All holds."
    assert "photographs  3" in result.stdout.splitlines()
    result = invoke("verify", "--deep", "--json", *options)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["holds"], document["problems"], document["photographs"]) == (0, True, [], 3)
    assert (document["disk"]["described_again"], document["disk"]["found_again"]) == (3, 1.0)

    (segment,) = (place / "features").glob("*.h5")
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    result = invoke("verify", "--collection", place)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "It does not hold.")
    assert f"problem      {segment}, the features of 3 photographs, is damaged" in result.stdout
    result = invoke("verify", "--repair", "--json", "--collection", place)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["holds"], document["repaired"], document["to_describe"]) == (0, True, True, 3)
    assert invoke("build", photos, *options).stdout.startswith("3 new, ")
    assert invoke("verify", "--deep", *options).exit_code == 0


def test_verify_looks_at_the_photographs_too(photos, place, tiny_checkpoint):
    options = ["--weights", tiny_checkpoint, "--device", "cpu", "--collection", place]
    invoke("build", photos, *options)
    content = bytearray((photos / "0.png").read_bytes())
    content[-1] ^= 1
    stat = (photos / "0.png").stat()
    (photos / "0.png").write_bytes(content)
    os.utime(photos / "0.png", ns=(0, stat.st_mtime_ns))
    assert invoke("verify", "--collection", place).exit_code == 0
    result = invoke("verify", "--deep", *options)
    assert result.exit_code == 1
    assert "problem      1 photograph is altered, though not in size and time" in result.stdout
    result = invoke("verify", "--deep", "--repair", *options)
    assert (result.exit_code, result.stdout.splitlines()[-2:]) == (
        0,
        [
            f"to describe  1 photograph, by the next `indexer build --collection {place}` "
            "(with --regions FILE, if their regions were given)",
            "All holds again.",
        ],
    )
    (photos / "1.png").unlink()
    result = invoke("verify", "--repair", "--json", "--collection", place)  # which removes nothing: it may have moved
    document = json.loads(result.stdout)
    assert (result.exit_code, document["holds"], document["disk"]["missing"]) == (1, False, [str(photos / "1.png")])


def test_verify_deep_needs_the_weights_of_the_collection(photos, place, tiny_checkpoint):
    open_collection(place, write=True, create=True, model=ModelIdentity("0" * 64, 4, 4)).close()
    result = invoke("verify", "--deep", "--weights", tiny_checkpoint, "--collection", place)
    assert_error(result, "was described by the checkpoint 000000000000")


def test_verify_without_a_database_that_can_be_read(photos, place, tiny_checkpoint):
    options = ["--weights", tiny_checkpoint, "--device", "cpu", "--collection", place]
    invoke("build", photos, *options)
    (place / "photos.db").write_bytes(b"no database " * 1000)
    result = invoke("verify", "--collection", place)
    assert result.exit_code == 1
    assert "photos.db is damaged" in result.stdout
    result = invoke("verify", "--repair", "--collection", place)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "All holds again.")
    assert invoke("build", photos, *options).stdout.startswith("0 new, 0 changed, 0 moved, 0 gone, 3 unchanged, ")


def test_compact_and_rebuild(photos, place, tiny_checkpoint):
    options = ["--weights", tiny_checkpoint, "--device", "cpu", "--collection", place, "-q"]
    invoke("build", photos, *options)
    noise(photos / "3.png", 3)
    (photos / "0.png").unlink()
    invoke("build", photos, *options)
    result = invoke("compact", "--collection", place)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("features: 2 files, ") and "; now 1, " in first
    assert second.endswith(" regions of photographs that are gone were dropped") and not second.startswith("0 ")
    document = json.loads(invoke("compact", "--json", "--collection", place).stdout)
    assert (document["segments_before"], document["segments_after"], document["rows_dropped"]) == (1, 1, 0)

    result = invoke("rebuild", "--collection", place)
    regions = json.loads(invoke("status", "--json", "--collection", place).stdout)["regions"]
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{regions} regions in 1 FAISS file, ") and first.endswith(": every vector is looked at")
    assert second == "recall@10 1.0000, recall@100 1.0000 against exact search, 3 queries"
    document = json.loads(invoke("rebuild", "--json", "--collection", place).stdout)
    assert (document["regions"], document["lists"], document["recall_at_10"]) == (regions, 0, 1.0)
    assert invoke("verify", "--collection", place).exit_code == 0


def test_redescribe(photos, place, tiny_checkpoint):
    options = ["--device", "cpu", "--collection", place, "-q"]
    other = place.with_name("other.safetensors")
    checkpoint = load_checkpoint(tiny_checkpoint)
    save_checkpoint(other, replace(checkpoint, scoring=Scoring("likelihood")))
    invoke("build", photos, "--weights", tiny_checkpoint, *options)
    assert_error(
        invoke("build", photos, "--weights", other, *options), f"`indexer build --redescribe --collection {place}`"
    )
    photos.rename(photos.with_name("away"))
    assert_error(invoke("build", "--redescribe", "--weights", other, *options), "photos does not exist")
    photos.with_name("away").rename(photos)
    result = invoke("build", "--redescribe", "--weights", other, *options)
    assert result.exit_code == 0, result.stderr
    first, second, third = result.stdout.splitlines()
    assert first == f"The collection is of the checkpoint {checkpoint_digest(other)} now."
    assert second.startswith("3 new, ") and third.startswith("3 photographs, ")
    # once more: nothing to move, and nothing to describe
    result = invoke("build", "--redescribe", "--weights", other, *options)
    assert result.stdout.startswith("0 new, 0 changed, 0 moved, 0 gone, 3 unchanged, 0 failed")
    assert invoke("verify", "--deep", "--weights", other, *options).exit_code == 0


def test_redescribe_killed_in_the_middle_is_searched_as_before_and_goes_on(photos, place, tiny_checkpoint):
    for seed in range(3, 30):
        noise(photos / f"{seed}.png", seed)
    options = ["--device", "cpu", "--collection", place, "-q"]
    other = place.with_name("other.safetensors")
    save_checkpoint(other, replace(load_checkpoint(tiny_checkpoint), scoring=Scoring("likelihood")))
    invoke("build", photos, "--weights", tiny_checkpoint, *options)
    before = boxes(place)
    command = ["build", "--redescribe", "--weights", other, *options, "--batch-size", 1, "--commit-seconds", 0]
    slow = SLOW.format(first=7, seconds=600)
    process = subprocess.Popen([sys.executable, "-c", slow, *map(str, command)], cwd=PROJECT)
    done = 0
    while done < 3:  # of 30
        assert process.poll() is None
        if (place / "next" / "readers").exists():
            with suppress(CollectionMissing), open_collection(place / "next") as successor:
                done = successor.photo_count()
    process.kill()
    process.wait()

    with open_collection(place) as collection:
        assert collection.model.digest == checkpoint_digest(tiny_checkpoint)
        ((found, _),) = collection.nearest(collection.features().embeddings[:1], 1000)
        assert len(found) == collection.region_count()
    after = boxes(place)
    assert after.keys() == before.keys() and all((after[name] == before[name]).all() for name in before)
    assert invoke("verify", "--collection", place).exit_code == 0
    with open_collection(place / "next") as successor:
        done = successor.photo_count()
    result = invoke(*command)
    assert result.exit_code == 0, result.stderr
    first, second, _ = result.stdout.splitlines()
    assert first == f"The collection is of the checkpoint {checkpoint_digest(other)} now."
    assert 3 <= done < 30 and second.startswith(f"{30 - done} new, 0 changed, 0 moved, 0 gone, {done} unchanged, ")
    assert len(boxes(place)) == 30 and not (place / "next").exists()
    assert invoke("verify", "--collection", place).exit_code == 0


def test_redescribe_says_what_it_waits_for(photos, place, tiny_checkpoint):
    options = ["--device", "cpu", "--collection", place, "-q"]
    other = place.with_name("other.safetensors")
    save_checkpoint(other, replace(load_checkpoint(tiny_checkpoint), scoring=Scoring("likelihood")))
    noise(photos.with_name("disk") / "3.png", 3)
    invoke("build", photos, photos.with_name("disk"), "--weights", tiny_checkpoint, *options)
    photos.with_name("disk").rename(photos.with_name("unplugged"))
    result = invoke("build", "--redescribe", "--weights", other, *options)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(
        f"Error: 1 photograph, the first is {photos.with_name('disk') / '3.png'}, could not be described with the"
    )
    assert json.loads(invoke("status", "--json", "--collection", place).stdout)["checkpoint"] == checkpoint_digest(
        tiny_checkpoint
    )


# -- interrupts


def boxes(place: Path) -> dict[str, np.ndarray]:
    """File name -> (N, 4) boxes of everything in a collection."""
    with open_collection(place) as collection:
        regions = collection.regions(collection.features().region_ids)
        return {
            photo.path.name: np.array([region.box for region in regions if region.photo_id == photo.photo_id])
            for photo in collection.photos(collection.photo_ids())
        }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done_and_the_next_run_goes_on(tmp_path, place, tiny_checkpoint, number):
    photos = tmp_path / "photos"
    for seed in range(40):
        noise(photos / f"{seed:02}.png", seed)
    # Files are reported in order: with batches of one, a few photographs are described when this one is named.
    (photos / "08_bad.png").write_text("Dear diary")
    options = ["--weights", tiny_checkpoint, "--device", "cpu", "--batch-size", "1"]
    slow = SLOW.format(first=1, seconds=0.1)
    command = [sys.executable, "-c", slow, "build", photos, "--collection", place, *options]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        for line in process.stderr:
            if "08_bad.png" in line:
                os.killpg(process.pid, number)  # as a terminal does: to all its processes
                break
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Stopping after the photographs in work" in stderr
    assert "Interrupted: what was done is kept" in stderr
    done = len(boxes(place))
    assert 4 <= done < 40
    assert stdout.startswith(f"{done} new, ")

    again = invoke("build", photos, "--collection", place, *options)
    assert again.exit_code == 0, again.stderr
    assert again.stdout.startswith(f"{40 - done} new, 0 changed, 0 moved, 0 gone, {done} unchanged, 0 failed in ")
    assert invoke("build", photos, "--collection", tmp_path / "at once", *options).exit_code == 0
    resumed, at_once = boxes(place), boxes(tmp_path / "at once")
    assert resumed.keys() == at_once.keys()
    for name in resumed:
        np.testing.assert_allclose(resumed[name], at_once[name], atol=0.01)


# -- progress


def test_lines_for_log_files(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("indexer.progress.time.monotonic", lambda: now[0])
    progress = LineProgress(seconds=30)
    progress.start(1300)
    now[0] += 29
    progress.advance(100, regions=5000)
    progress.failed(Path("a\nb.jpg"), "not a photograph")
    now[0] += 1
    progress.advance(20, regions=100)
    progress.advance(20, regions=100)  # too soon for another line
    assert capsys.readouterr().err.splitlines() == [
        "1,300 files to look at",
        "a\\nb.jpg: not a photograph",
        "120 of 1,300 photographs, 4.0/s, 5,100 regions, 1 error, 04:55 left",  # 1180 / 4 s
    ]


def test_the_bar_of_terminals(capsys):
    progress = BarProgress()
    progress.looking(1000)
    progress.start(20)
    progress.advance(16, regions=800)
    progress.failed(Path("a.jpg"), "not a photograph")
    progress.advance()
    progress.close()
    written = capsys.readouterr().err
    assert "a.jpg: not a photograph\n" in written
    last = written.rstrip().split("\r")[-1]
    assert "17/20" in last
    assert "photographs/s" in last
    assert "800 regions, 1 error" in last


def test_relocate(photos, place, tiny_checkpoint, tmp_path):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "--quiet"]
    invoke("build", photos, *options)
    new = tmp_path / "elsewhere"
    photos.rename(new)
    assert_error(invoke("relocate", photos, tmp_path / "nowhere", "--collection", place), "is no folder")
    result = invoke("relocate", photos, new, "--collection", place)
    assert result.stdout.splitlines()[0] == f"3 photographs are known in {new}"
    again = invoke("build", new, *options)
    assert again.stdout.startswith("0 new, 0 changed, 0 moved, 0 gone, 3 unchanged, 0 failed in ")


def test_what_is_left_out_and_what_is_incomplete_is_said(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "--quiet"]
    (photos / "film.mov").touch()
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    Image.fromarray(noise).save(photos / "cut.jpg")
    (photos / "cut.jpg").write_bytes((photos / "cut.jpg").read_bytes()[:-1500])
    built = invoke("build", photos, *options)
    assert f"; 1 is incomplete (`indexer errors --collection {place}`)\nleft out: 1 video\n" in built.stdout
    (line,) = invoke("errors", "--collection", place).stdout.splitlines()
    assert re.fullmatch(
        re.escape(str(photos)) + r"/cut\.jpg: the file ends early, 9\d % of the picture is there; described as it is",
        line,
    )
    (entry,) = json.loads(invoke("errors", "--json", "--collection", place).stdout)
    assert entry["described"] is True
    document = json.loads(invoke("status", "--json", "--collection", place).stdout)
    assert (document["photographs"], document["failed"], document["incomplete"]) == (4, 0, 1)
    assert document["left_out"] == document["roots"][0]["left_out"] == {"videos": 1}
    lines = invoke("status", "--collection", place).stdout.splitlines()
    assert "incomplete   1 photograph" in lines and "left out     1 video" in lines


def test_a_build_of_nothing_but_failures_is_an_error(tmp_path, place, tiny_checkpoint):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("Dear diary")
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "--quiet"]
    result = invoke("build", tmp_path / "bad", *options)
    assert result.exit_code == 2
    assert f"No photograph could be described: 1 file failed (`indexer errors --collection {place}`)." in result.stderr
    (tmp_path / "bad" / "b.jpg").write_text("Dear diary, again")
    assert (
        f"described: 2 files failed (`indexer errors --collection {place}`; --retry tries again)."
        in invoke("build", tmp_path / "bad", *options).stderr
    )
    again = invoke("build", tmp_path / "bad", *options)
    assert (again.exit_code, "2 files failed" in again.stderr) == (2, True)


def test_without_folders_all_that_were_built_are_built_again(photos, place, tiny_checkpoint):
    options = ["--collection", place, "--weights", tiny_checkpoint, "--device", "cpu", "--quiet"]
    assert invoke("build", *options).exit_code == 2
    assert not place.exists()
    invoke("build", photos, *options)
    (photos / "1.png").unlink()
    again = invoke("build", *options)
    assert again.stdout.startswith("0 new, 0 changed, 0 moved, 1 gone, 2 unchanged, 0 failed in ")


def test_so_is_one_of_given_regions_whose_photographs_all_fail(tmp_path, place, tiny_checkpoint):
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (40, 30), "red").save(folder / "not_given.jpg")
    given = {"images": [{"id": 1, "file_name": "broken.jpg", "width": 40, "height": 30}],
             "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 20, 20], "caption": "a dog"}]}  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(given))
    options = ["--regions", tmp_path / "boxes.json", "--collection", place, "--weights", tiny_checkpoint]
    result = invoke("build", folder, *options)
    assert result.exit_code == 2 and "No photograph could be described: 1 file failed" in result.stderr


def test_a_collection_is_not_copied_into_itself(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "link").symlink_to("c")
    for target, sentence in (("c", "is the collection to be copied"), ("link", "is the"), ("c/inside", "lies in ")):
        result = invoke("copy", tmp_path / "c", tmp_path / target)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1) and sentence in result.stderr
    assert list((tmp_path / "c").iterdir()) == []
    assert "There is no collection in" in invoke("copy", tmp_path / "c", tmp_path / "cc").stderr
