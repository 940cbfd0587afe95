"""Which files are photographs: names, folders, links, exclusions."""

import io
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from decoding import formats
from decoding.formats import HEIC, JPEG_XL, RAW
from indexer.scan.walk import NO_MEDIA, Exclusion, Walk


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found(walk: Walk) -> list[str]:
    return [file.path for file in walk]


def test_photographs_are_found_by_suffix_in_a_stable_order(tmp_path):
    touch(tmp_path, "b.JPG", "a.jpeg", "notes.txt", "z/1.png", "z/2.webp", "m/k/3.tiff", "m/4.gif", "5.bmp", "jpg")
    assert found(Walk(tmp_path)) == ["5.bmp", "a.jpeg", "b.JPG", "m/4.gif", "m/k/3.tiff", "z/1.png", "z/2.webp"]


def test_size_and_time_are_those_of_the_file(tmp_path):
    touch(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(1, 1_234_567_890_123_456_789))
    ctime_ns = (tmp_path / "a.jpg").stat().st_ctime_ns
    assert list(Walk(tmp_path)) == [("a.jpg", 1, 1_234_567_890_123_456_789, ctime_ns)]


def test_hidden_and_system_folders_are_left_out(tmp_path):
    touch(
        tmp_path,
        "a.jpg",
        "._a.jpg",
        ".trash/b.jpg",
        "@eaDir/c.jpg",
        "x/System Volume Information/d.jpg",
        "$RECYCLE.BIN/e.jpg",
        "node_modules/f.jpg",
    )
    assert found(Walk(tmp_path)) == ["a.jpg"]


def test_a_hidden_folder_that_is_asked_for_by_name_is_walked(tmp_path):
    touch(tmp_path, ".photos/a.jpg")
    assert found(Walk(tmp_path / ".photos")) == ["a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.gif", ["a.jpg", "thumbs/b.jpg", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg"]),
        ("thumbs", ["a.jpg", "s.gif", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg"]),
        ("thumbs/", ["a.jpg", "s.gif", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg"]),
        ("raw", ["a.jpg", "s.gif", "thumbs/b.jpg"]),
        ("x/raw", ["a.jpg", "s.gif", "thumbs/b.jpg", "y/raw/e.jpg"]),
        ("raw/*.jpg", ["a.jpg", "s.gif", "thumbs/b.jpg"]),
        ("x/*/d.jpg", ["a.jpg", "s.gif", "thumbs/b.jpg", "x/raw/c.jpg", "y/raw/e.jpg"]),
        ("[a-d].jpg", ["s.gif", "y/raw/e.jpg"]),
        ("thumb", ["a.jpg", "s.gif", "thumbs/b.jpg", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg"]),
        ("", ["a.jpg", "s.gif", "thumbs/b.jpg", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg"]),
        ("A.JPG", ["a.jpg", "s.gif", "thumbs/b.jpg", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg"]),
    ],
)
def test_what_is_excluded_is_left_out_with_all_below(tmp_path, pattern, left):
    touch(tmp_path, "a.jpg", "s.gif", "thumbs/b.jpg", "x/raw/c.jpg", "x/raw/deep/d.jpg", "y/raw/e.jpg")
    assert found(Walk(tmp_path, exclude=[pattern])) == left


def test_absolute_patterns_are_compared_with_the_whole_path(tmp_path):
    touch(tmp_path, "root/a.jpg", "root/x/b.jpg", "root/y/x/c.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    for way in ("root", "link"):  # roots are remembered with their links resolved
        assert found(Walk(tmp_path / "root", exclude=[f"{tmp_path}/{way}/x"])) == ["a.jpg", "y/x/c.jpg"]
    assert found(Walk(tmp_path / "root", exclude=["/x", f"{tmp_path}/root/*/c.jpg"])) == ["a.jpg", "x/b.jpg"]


def test_several_patterns_and_names_that_are_no_text():
    exclusion = Exclusion(["*.gif", os.fsdecode(b"\xff*"), "new\nline"], Path("/photos"))
    names = ["a.gif", os.fsdecode(b"\xff\xfe.jpg"), "new\nline", "a.jpg", os.fsdecode(b"\xfe.jpg")]
    assert [exclusion.covers(f"x/{name}", name) for name in names] == [True, True, True, False, False]


def test_a_folder_that_is_asked_for_is_walked_even_if_a_pattern_names_it(tmp_path):
    touch(tmp_path, "thumbs/a.jpg", "thumbs/thumbs/b.jpg")
    assert found(Walk(tmp_path, "thumbs", exclude=["thumbs"])) == ["thumbs/a.jpg"]


def test_only_a_part_of_a_root(tmp_path):
    touch(tmp_path, "a.jpg", "2019/b.jpg", "2019/06/c.jpg")
    assert found(Walk(tmp_path, "2019")) == ["2019/b.jpg", "2019/06/c.jpg"]


def test_link_loops_end(tmp_path):
    root = tmp_path / "root"
    outside = tmp_path / "outside"
    touch(root, "a.jpg", "sub/b.jpg")
    touch(outside, "c.jpg")
    (root / "sub" / "loop").symlink_to(root)
    (root / "up").symlink_to(tmp_path)  # a folder above: would find the root again, and everything beside it
    (root / "self").symlink_to(root / "self")
    (root / "disk").symlink_to(outside)
    (root / "disk2").symlink_to(outside)
    (outside / "back").symlink_to(root / "sub")
    walk = Walk(root)
    assert found(walk) == ["a.jpg", "disk/c.jpg", "sub/b.jpg"]
    assert [path for path, _ in walk.unreadable] == ["self"]


def test_a_broken_link_is_reported(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "nowhere.jpg")
    walk = Walk(tmp_path)
    assert found(walk) == ["a.jpg"]
    assert walk.unreadable == [("b.jpg", "broken link")]


def test_a_link_to_a_photograph_is_a_photograph(tmp_path):
    touch(tmp_path, "root/a.jpg", "other/b.jpg")
    (tmp_path / "root" / "c.jpg").symlink_to(tmp_path / "other" / "b.jpg")
    assert found(Walk(tmp_path / "root")) == ["a.jpg", "c.jpg"]


def test_other_roots_are_left_out_however_they_are_reached(tmp_path):
    touch(tmp_path, "root/a.jpg", "root/inner/b.jpg", "other/deep/c.jpg")
    root, inner, other = tmp_path / "root", tmp_path / "root" / "inner", tmp_path / "other"
    (root / "link").symlink_to(other / "deep")
    assert found(Walk(root, other_roots=[inner, other])) == ["a.jpg"]
    assert found(Walk(root)) == ["a.jpg", "inner/b.jpg", "link/c.jpg"]


def test_things_that_are_no_files_are_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    touch(tmp_path, "a.jpg")
    (tmp_path / "device.png").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.txt")
    walk = Walk(tmp_path)
    assert found(walk) == ["a.jpg"]
    assert walk.unreadable == [(name, "it is a pipe or a device") for name in ("device.png", "pipe.jpg")]


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux keeps them")
def test_what_the_kernel_makes_up_is_left_out(tmp_path):
    walk = Walk(Path("/"), exclude=[name for name in os.listdir("/") if name not in ("proc", "sys", "dev")])
    assert found(walk) == [] and walk.unreadable == []
    (tmp_path / "proc").mkdir()
    touch(tmp_path, "proc/a.jpg")
    assert found(Walk(tmp_path)) == ["proc/a.jpg"]


def test_names_that_are_no_text_survive(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"x")
    (path,) = found(Walk(tmp_path))
    assert os.fsencode(path) == b"\xff\xfe.jpg"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_a_directory_without_read_permission(tmp_path):
    touch(tmp_path, "a.jpg", "locked/b.jpg", "open/c.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        walk = Walk(tmp_path)
        assert found(walk) == ["a.jpg", "open/c.jpg"]
        assert walk.unreadable == [("locked", "Permission denied")]
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_a_directory_that_cannot_be_listed_is_reported_and_the_others_are_walked(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "locked/b.jpg", "open/c.jpg")
    real_scandir = os.scandir

    def scandir(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    walk = Walk(tmp_path)
    assert found(walk) == ["a.jpg", "open/c.jpg"]
    assert walk.unreadable == [("locked", "Permission denied")]


def test_a_disk_that_is_unplugged_during_the_walk_is_reported_folder_by_folder(tmp_path):
    """Each folder that is not there any more may hold photographs, which are not to be taken for gone."""
    touch(tmp_path, "a.jpg", "one/b.jpg", "two/c.jpg", "two/deep/d.jpg", "zoo/e.jpg")
    walk = Walk(tmp_path, other_roots=[tmp_path / "nowhere"])
    files = iter(walk)
    assert [next(files).path, next(files).path] == ["a.jpg", "one/b.jpg"]
    shutil.rmtree(tmp_path / "two")
    shutil.rmtree(tmp_path / "zoo")
    assert list(files) == []
    assert walk.unreadable == [("two", "No such file or directory"), ("zoo", "No such file or directory")]


def test_an_unreadable_root_is_reported_as_itself(tmp_path):
    walk = Walk(tmp_path / "missing")
    assert found(walk) == []
    assert walk.unreadable == [("", "No such file or directory")]


def decode_extras(monkeypatch, *installed):
    """Has only these extras be installed."""
    modules = [extra.module for extra in installed]
    monkeypatch.setattr(formats, "_installed", lambda module: module in modules)


def test_heic_needs_its_extra(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "b.HEIC")
    decode_extras(monkeypatch)
    walk = Walk(tmp_path)
    assert found(walk) == ["a.jpg"]
    assert walk.without_decoder == {HEIC: ["b.HEIC"]}
    assert walk.left_out == {"HEIC photographs": 1}
    decode_extras(monkeypatch, HEIC)
    walk = Walk(tmp_path)
    assert found(walk) == ["a.jpg", "b.HEIC"]
    assert walk.without_decoder == {}
    assert walk.left_out == {}


def test_a_jpeg_that_is_called_heic_needs_nothing(tmp_path, monkeypatch):
    decode_extras(monkeypatch)
    for name, head in {"a.heic": b"\xff\xd8\xff\xe0", "b.heic": b"\0\0\0\x18ftypheic", "c.heif": b""}.items():
        (tmp_path / name).write_bytes(head)
    walk = Walk(tmp_path)
    assert found(walk) == ["a.heic"]
    assert walk.without_decoder == {HEIC: ["b.heic", "c.heif"]}


def test_what_a_file_is_decides_not_what_it_is_called(tmp_path, monkeypatch):
    decode_extras(monkeypatch)
    contents = {
        "a.cr2": b"\xff\xd8\xff\xe0",
        "b.jxl": b"\x89PNG\r\n\x1a\n",
        "c.nef": encoded_tiff(),
        "d.dng": encoded_tiff(make=True),
        "e.raf": b"FUJIFILMCCD-RAW ",
        "f.jxl": b"\xff\x0a",
        "g.cr2": b"\0\0\0\x18ftypheic",
        "h.arw": b"Dear diary",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    walk = Walk(tmp_path)
    assert found(walk) == ["a.cr2", "b.jxl", "c.nef"]
    assert walk.left_out == {"camera raw photographs": 4, "JPEG XL photographs": 1}
    decode_extras(monkeypatch, HEIC)
    assert found(Walk(tmp_path)) == ["a.cr2", "b.jxl", "c.nef", "g.cr2"]


def encoded_tiff(*, make: bool = False) -> bytes:
    """An ordinary one, or one that says it is a DNG."""
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "TIFF", tiffinfo={50706: b"\1\4\0\0", 271: "Leica"} if make else {})
    return file.getvalue()


def test_what_is_left_out_is_counted_by_kind(tmp_path, monkeypatch):
    decode_extras(monkeypatch)
    touch(tmp_path, "a.avif", "b.JP2", "c.mpo", "d.jxl", "e.NEF", "f.dng", "g.MOV", "h.mp4", "i.psd", "j.txt", "k.xmp")
    touch(tmp_path, "deep/l.mkv", "@eaDir/m.mp4")
    walk = Walk(tmp_path)
    assert found(walk) == ["a.avif", "b.JP2", "c.mpo"]
    raw, videos = "camera raw photographs", "videos"
    assert walk.left_out == {"JPEG XL photographs": 1, raw: 2, videos: 3, "Photoshop documents": 1}
    assert walk.without_decoder == {JPEG_XL: ["d.jxl"], RAW: ["e.NEF", "f.dng"]}


@pytest.mark.parametrize(
    "folder",
    [
        *("@eaDir", "#recycle", "@Recycle", "#snapshot", "@Recently-Snapshot", "~snapshot", ".snapshot", ".zfs"),
        *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "__MACOSX", "lost+found", ".Trashes", ".thumbnails"),
        *("2019 Previews.lrdata", "Smart Previews.lrdata", "iMovie Library.imovielibrary", "Photos.app"),
        *("appdata_oc4f8x", "files_trashbin", "Network Recycle Bin 1", "Session.cosessiondb", "CaptureOne", "LOST.DIR"),
        *("iPod Photo Cache", "THMBNL", "[Originals]", "found.000", "Letter.pages", ".picasaoriginals", ".dtrash"),
    ],
)
def test_folders_of_systems_are_no_albums(tmp_path, folder):
    touch(tmp_path, "a.jpg", f"{folder}/b.jpg", f"x/{folder}/deep/c.jpg", "recycled paper/d.jpg", "snapshots/e.jpg")
    assert found(Walk(tmp_path)) == ["a.jpg", "recycled paper/d.jpg", "snapshots/e.jpg"]


@pytest.mark.parametrize("library", ["Photos Library.photoslibrary", "Old.photolibrary", "Aperture.aplibrary"])
def test_of_apples_libraries_only_the_originals(tmp_path, library):
    below = ("originals/0/A.jpg", "Masters/2019/B.jpg", "resources/derivatives/0/A_1.jpg", "Thumbnails/c.jpg", "d.jpg")
    touch(tmp_path, "a.jpg", *(f"{library}/{path}" for path in below))
    originals = [f"{library}/Masters/2019/B.jpg", f"{library}/originals/0/A.jpg"]
    assert found(Walk(tmp_path)) == ["a.jpg", *originals]
    assert found(Walk(tmp_path / library)) == ["Masters/2019/B.jpg", "originals/0/A.jpg"]


def test_of_an_early_library_of_iphoto_what_was_imported(tmp_path):
    made = ("Data/2006/a.jpg", "Data.noindex/b.jpg", "Modified/2006/c.jpg", "iPod Photo Cache/d.jpg", "Thumbs/e.jpg")
    touch(tmp_path, *(f"iPhoto Library/{path}" for path in (*made, "Originals/2006/f.jpg", "2004/05/g.jpg", "h.jpg")))
    assert found(Walk(tmp_path)) == ["iPhoto Library/2004/05/g.jpg", "iPhoto Library/Originals/2006/f.jpg"]


def test_of_immichs_folders_those_with_photographs(tmp_path):
    touch(tmp_path, *(f"immich/{folder}/.immich" for folder in ("thumbs", "profile", "upload")))
    touch(tmp_path, "immich/thumbs/ab/a.webp", "immich/profile/b.jpg", "immich/upload/c.jpg", "thumbs/d.jpg")
    assert found(Walk(tmp_path)) == ["immich/upload/c.jpg", "thumbs/d.jpg"]
    assert found(Walk(tmp_path / "immich/thumbs")) == ["ab/a.webp"]


def test_what_is_excluded_is_counted(tmp_path):
    touch(tmp_path, "a.jpg", "b.gif", "c.gif", "notes.txt", "raw/d.jpg", "raw/e.jpg")
    walk = Walk(tmp_path, exclude=["*.gif", "raw", "*.txt"])
    assert (found(walk), walk.excluded) == (["a.jpg"], 3)


def test_a_folder_may_ask_to_be_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "one/b.jpg", "one/deep/c.jpg", "two/d.jpg", "three/e.jpg", "four/f.jpg", "five/-g.jpg")
    touch(tmp_path, "six/h.jpg")
    for wish in ("one/.nomedia", "two/.ignore", "five/.nomemories", "six/.ppstorage"):
        (tmp_path / wish).touch()
    (tmp_path / "three" / ".ignore").write_text("*.tmp\n")  # patterns for another program
    (tmp_path / "four" / ".nothing").touch()
    walk = Walk(tmp_path)
    assert found(walk) == ["a.jpg", "four/f.jpg", "three/e.jpg"]
    assert walk.left_out == {NO_MEDIA: 4}
    assert walk.silent == ["five", "one", "six", "two"]
    # a folder that is asked for is walked
    assert found(Walk(tmp_path / "one")) == ["b.jpg", "deep/c.jpg"]
    assert found(Walk(tmp_path, "one")) == ["one/b.jpg", "one/deep/c.jpg"]
