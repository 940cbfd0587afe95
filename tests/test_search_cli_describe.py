"""`search describe`: the real command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from helpers.small_album import write_noise

REPOSITORY = Path(__file__).parents[1]
TORCH = (
    "import sys; from search.__main__ import run\ntry: run()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
)


@pytest.fixture
def describe(album, tiny_checkpoint, tmp_path):
    """Run it in a process of its own, in an empty folder."""

    def run(*arguments, collection=album.collection, weights=None):
        options = ["--collection", collection] if collection else []
        options += ["--weights", weights] if weights else []
        return subprocess.run(
            [sys.executable, "-c", TORCH, "describe", *map(str, [*arguments, *options]), "--device", "cpu"],
            cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "PATH": "", "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


def test_what_the_collection_knows_is_told_without_torch(album, describe, tmp_path):
    renamed = shutil.copy(album.photos / "sub" / "3.jpg", tmp_path / "other name.jpg")
    result = describe(album.photos / "1.jpg", renamed, "--json")
    assert (result.returncode, result.stderr) == (0, "False\n")
    first, second = json.loads(result.stdout)["photographs"]
    assert (first["path"], second["path"]) == (str(album.photos / "1.jpg"), str(renamed))
    with open_collection(album.collection) as collection:
        rows = {row.path.name: row for row in collection.photos(collection.photo_ids())}
        for told, name in ((first, "1.jpg"), (second, "3.jpg")):
            photo_id = rows[name].photo_id
            assert told["photo_id"] == photo_id
            assert (told["width"], told["height"]) == (rows[name].width, rows[name].height)
            regions = collection.regions(collection.features([photo_id]).region_ids)
            assert {region["region_id"] for region in told["regions"]} == {row.region_id for row in regions}
            by_id = {row.region_id: row for row in regions}
            for region in told["regions"]:
                x1, y1, x2, y2 = by_id[region["region_id"]].box
                assert region["box"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.02)
                assert region["phrase"] == by_id[region["region_id"]].phrase
                assert region["score"] == pytest.approx(by_id[region["region_id"]].score, abs=1e-6)
            confidences = [region["confidence"] for region in told["regions"]]
            assert confidences == sorted(confidences, reverse=True) and confidences[0] > confidences[-1]


def test_other_photographs_are_looked_at_and_come_out_as_a_build_would_describe_them(
    album, describe, tiny_checkpoint, tmp_path
):
    """With --weights nothing is taken from the collection, so the network is seen to say the same."""
    known = describe(album.photos / "1.jpg", "--json")
    looked_at = describe(album.photos / "1.jpg", "--json", "--regions", "5", weights=tiny_checkpoint)
    assert looked_at.stderr.endswith("True\n")
    (before,), (now,) = (json.loads(result.stdout)["photographs"] for result in (known, looked_at))
    assert now["photo_id"] is None and all(region["region_id"] is None for region in now["regions"])
    assert len(now["regions"]) == 5
    for region in now["regions"]:
        # Random weights score many regions almost alike: which of them are the surest may depend on the processor.
        (same,) = [each for each in before["regions"] if np.allclose(each["box"], region["box"], rtol=0, atol=0.5)]
        assert region["phrase"] == same["phrase"]
        assert region["score"] == pytest.approx(same["score"], abs=0.02)


def test_the_table_has_the_surest_regions(album, describe):
    result = describe(album.photos / "2.jpg", "--regions", "3")
    lines = result.stdout.splitlines()
    assert len(lines) == 4 and lines[0].startswith(str(album.photos / "2.jpg")) and "80x120" in lines[0]
    everything = describe(album.photos / "2.jpg").stdout.splitlines()
    assert everything[:4][1:] and len(everything) > 4
    assert [line.split()[0] for line in everything[1:4]] == [line.split()[0] for line in lines[1:]]


def test_pictures_have_names_of_their_own(album, describe, tmp_path):
    result = describe(album.photos, "--draw")
    assert result.returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["1.regions.png", "2.regions.png", "3.regions.png"]
    assert result.stderr.count("Drew ") == 3
    for told in json.loads(describe(album.photos, "--json").stdout)["photographs"]:
        sure = sum(region["confidence"] >= 0.03 for region in told["regions"][:20])
        drew = f"Drew {max(sure, 1)} of {len(told['regions'])} regions"
        assert f"{drew} (--regions {len(told['regions'])} draws all): {Path(told['path']).stem}" in result.stderr
    again = describe(album.photos, "--draw", "drawn/", "--regions", "2")
    assert again.returncode == 0 and len(list((tmp_path / "drawn").iterdir())) == 3
    one = describe(album.photos / "1.jpg", "--draw", "one.png")
    assert one.returncode == 0 and (tmp_path / "one.png").exists()
    assert describe(album.photos / "1.jpg", "--draw", "one.png").returncode == 0  # over its own drawing


def test_draw_without_a_name_may_stand_before_the_photographs(album, describe, tmp_path):
    photo = write_noise(tmp_path / "a.png", 7)
    result = describe("--draw", photo, album.photos / "1.jpg", collection=album.collection)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.glob("*.regions.png")} == {"a.regions.png", "1.regions.png"}
    with Image.open(photo) as image:
        assert image.size == (120, 80)


def test_a_photograph_is_never_drawn_over(album, describe, tmp_path):
    photo = write_noise(tmp_path / "a.png", 7)
    before = photo.read_bytes()
    result = describe(album.photos / "1.jpg", f"--draw={photo}")
    assert result.returncode == 2 and "was not drawn here" in result.stderr
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["nope.jpg"], "Error: The photograph could not be read: nope.jpg: there is no such file."),
        (["broken.jpg"], "Error: The photograph could not be read: broken.jpg: "),
        (["empty"], "Error: There is no photograph in empty."),
    ],
)
def test_what_cannot_be_described_is_said_in_a_sentence(describe, tmp_path, names, sentence):
    (tmp_path / "broken.jpg").write_text("Dear diary")
    (tmp_path / "empty").mkdir()
    result = describe(*names)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(sentence)


def test_a_broken_file_among_others_is_skipped_and_said(album, describe, tmp_path):
    (tmp_path / "broken.jpg").write_text("Dear diary")
    result = describe(album.photos / "1.jpg", "broken.jpg", "--json")
    assert result.returncode == 0 and "Skipped broken.jpg: " in result.stderr
    document = json.loads(result.stdout)
    assert len(document["photographs"]) == 1
    assert document["unreadable"][0]["path"] == str(tmp_path / "broken.jpg")


def test_a_pipe_is_not_waited_for(album, describe, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    result = describe(album.photos / "1.jpg", "pipe.jpg")
    assert result.returncode == 0
    assert "Skipped pipe.jpg: cannot be read (it is a pipe or a device)\n" in result.stderr


def test_several_photographs_do_not_fit_one_picture(album, describe):
    result = describe(album.photos, "--draw=all.png")
    assert result.returncode == 2 and "--draw FOLDER/" in result.stderr


def test_without_any_collection_photographs_are_looked_at(album, describe):
    result = describe(album.photos / "1.jpg", collection=None)
    assert result.returncode == 0 and result.stderr == "True\n"
