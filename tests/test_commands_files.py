"""Files written as a whole or not at all, and names that fit."""

import os

import pytest

from commands.files import fitting_name, part_beside, written_whole


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(RuntimeError), written_whole(target) as part:
        part.write_text("half")
        raise RuntimeError("stopped")
    assert target.read_text() == "before"
    with written_whole(target) as part:
        part.write_text("after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="modes and links are others there")
def test_a_link_and_who_may_read_stay(tmp_path):
    kept = tmp_path / "kept.html"
    kept.write_text("before")
    kept.chmod(0o640)
    (tmp_path / "link.html").symlink_to("kept.html")
    with written_whole(tmp_path / "link.html") as part:
        part.write_text("after")
    assert (tmp_path / "link.html").is_symlink() and kept.read_text() == "after"
    assert kept.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["x" * 250 + ".json", "ü" * 125 + ".json", "a.json"])
def test_what_is_begun_beside_a_file_has_a_name_that_fits(tmp_path, name):
    part = part_beside(tmp_path / name)
    assert part.parent == tmp_path and part.name.startswith(".") and part.name.endswith(f".{os.getpid()}.part")
    part.write_text("x")  # the file system takes it
    assert part != part_beside(tmp_path / f"other-{name}")


def test_only_the_stem_is_cut():
    assert fitting_name("a", "-2.jpg") == "a-2.jpg"
    assert fitting_name("a" * 300, "-2.jpg") == "a" * 249 + "-2.jpg"
    assert fitting_name("ü" * 200, ".jpg") == "ü" * 125 + ".jpg"
