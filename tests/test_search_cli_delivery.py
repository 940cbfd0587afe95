"""What `search query` and `search detect` make of an answer beside printing it: the real command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# The command, for computers that are busy: it waits for xdg-open until that has ended.
PATIENT = "from search import viewer; viewer._FAILS_WITHIN_SECONDS = 300; from search.__main__ import run; run()"


@pytest.fixture
def search(album, tiny_checkpoint, tmp_path):
    """Run it in an empty folder; xdg-open is a program that notes what it is asked to open."""
    programs = tmp_path / "bin"
    programs.mkdir()
    opener = programs / "xdg-open"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/opened"\n[ ! -e "{tmp_path}/fail" ]\n')
    opener.chmod(0o755)

    def run(*arguments, path=programs):
        environment = {"PYTHONPATH": str(REPOSITORY), "PATH": str(path), "HOME": str(tmp_path)}
        environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        options = ["--collection", album.collection, "--weights", tiny_checkpoint]
        return subprocess.run(
            [sys.executable, "-c", PATIENT, *map(str, [*arguments, *options])],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


def test_a_page_and_copies_beside_what_is_printed(search, album, tmp_path):
    result = search("query", "a dog", "--html", "a.html", "--copy", "dogs", "--json")
    assert result.returncode == 0, result.stderr
    hits = json.loads(result.stdout)["hits"]
    text = (tmp_path / "a.html").read_text()
    assert all(Path(hit["path"]).as_uri() in text for hit in hits)
    names = {path.name: path.read_bytes() for path in (tmp_path / "dogs").iterdir()}
    assert names == {Path(hit["path"]).name: Path(hit["path"]).read_bytes() for hit in hits}
    assert f"Copied {len(hits)} photographs: dogs" in result.stderr
    again = search("query", "a dog", "--link", "links")
    assert again.returncode == 0
    assert {os.readlink(path) for path in (tmp_path / "links").iterdir()} == {hit["path"] for hit in hits}


def test_open_shows_the_page_the_picture_or_a_page_among_the_caches(search, tmp_path):
    assert search("query", "a dog", "--html", "a.html", "--draw", "a.png", "--open").returncode == 0
    assert (tmp_path / "opened").read_text() == str(tmp_path / "a.html")
    assert search("query", "a dog", "--draw", "a.png", "--open").returncode == 0
    assert (tmp_path / "opened").read_text() == str(tmp_path / "a.png")
    assert search("query", "a dog", "--open").returncode == 0
    shown = Path((tmp_path / "opened").read_text())
    assert shown == tmp_path / "cache" / "densecap-search" / "answer.html" and "a dog" in shown.read_text()


def test_what_cannot_be_opened_is_one_sentence(search, tmp_path):
    (tmp_path / "fail").touch()
    result = search("query", "a dog", "--html", "a.html", "--open")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "Error: xdg-open cannot open a.html (exit status 1)."
    (tmp_path / "nothing").mkdir()
    result = search("query", "a dog", "--html", "a.html", "--open", path=tmp_path / "nothing")
    assert result.returncode == 2 and "There is no program here that opens files" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--copy", "x", "--link", "y"], "--copy and --link both fill a folder: give one of them."),
        (["--html", "a.png"], "ends in .html"),
        (["--html", "mine.html"], "is no page of this program"),
        (["--copy", "mine.html"], "is a file: name a folder"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_asked(search, tmp_path, options, sentence):
    (tmp_path / "mine.html").write_text("<p>diary")
    result = search("query", "a dog", *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert (tmp_path / "mine.html").read_text() == "<p>diary"
