"""Builds with real files, a real collection and a small predictor (`workshop.py`)."""

import hashlib
import itertools
import os
import shutil
import sqlite3
import struct
import sys
import threading
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from db.local.maintenance.verification import verify
from fcln.errors import DeviceError
from helpers.db_server import new_url
from helpers.workshop import POISON, Workshop, counts
from indexer.build import build as building
from indexer.build import content, decoders, pending, waiting
from indexer.build.content import content_digest
from indexer.build.decoders import Decoders
from indexer.errors import DescribeError, FolderError


@pytest.fixture
def folder_shop(tmp_path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture(params=["folder", "server"])
def shop(request, tmp_path) -> Workshop:
    return Workshop(tmp_path, new_url() if request.param == "server" else None)


# -- the first build


def test_content_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180-2
    assert content_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_everything_about_a_photograph_is_committed(shop):
    image = Image.new("RGB", (40, 30), (0, 0, 100))
    image.paste("white", (10, 5, 20, 25))
    image.save(shop.root / "a.png")
    os.utime(shop.root / "a.png", ns=(5, 1_234_567_890_123_456_789))

    report = shop.build()
    assert counts(report) == {"new": 1}
    assert (report.described, report.regions, report.interrupted) == (1, 2, False)
    (stat,) = shop.stats().values()
    content = (shop.root / "a.png").read_bytes()
    assert (stat.path, stat.size, stat.mtime_ns) == ("a.png", len(content), 1_234_567_890_123_456_789)
    assert stat.digest == hashlib.sha256(content).hexdigest()
    ((size, regions, codes, embeddings),) = shop.contents().values()
    assert size == (40, 30)
    assert regions == (((0, 0, 40, 30), 0.75, "everything"), ((10, 5, 20, 25), 0.5, "a white block"))
    assert np.shape(codes) == (2, 3)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3)


def test_boxes_are_pixels_of_the_full_upright_photograph(shop):
    """A 12-megapixel portrait as cameras store it: lying, with EXIF orientation 6 (turn right to see it upright)."""
    stored = Image.new("RGB", (4001, 3003), (0, 0, 100))
    stored.paste("white", (400, 800, 1200, 1600))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(shop.root / "a.jpg", exif=exif, quality=95)

    shop.build()
    ((size, regions, _, _),) = shop.contents().values()
    assert size == (3003, 4001)
    # x = 3003 - y_stored, y = x_stored; exact, for all sides of the block are multiples of the reduction (4)
    assert [box for box, _, _ in regions] == [(0, 0, 3003, 4001), (1403, 400, 2203, 1200)]


def test_every_format_goes_all_the_way(shop):
    names = ["a.jpg", "b.png", "c.webp", "d.tif", "e.gif", "f.bmp"]
    for number, name in enumerate(names):
        shop.photo(name, (40 * number, 0, 0))
    assert counts(shop.build()) == {"new": 6}
    assert shop.paths() == names


def test_max_regions_reaches_the_predictor(shop):
    shop.photo("a.png", "white")
    assert shop.build(max_regions=1).regions == 1


def test_progress_counts_every_file_once(shop):
    for number in range(5):
        shop.photo(f"{number}.png", (number, 0, 0))
    shutil.copy(shop.root / "0.png", shop.root / "twin.png")
    (shop.root / "bad.jpg").write_text("text")
    shop.build(batch_size=2)
    assert (shop.progress.total, shop.progress.files, shop.progress.regions) == (7, 7, 6)


def test_photographs_are_described_in_batches_of_similar_shape(shop):
    widths = []
    real = shop.predictor.describe

    def describe(images, *, max_regions):
        widths.append([image.width for image in images])
        return real(images, max_regions=max_regions)

    shop.predictor.describe = describe
    for number in range(8):
        shop.photo(f"{number}.png", (number, 0, 0), size=(40, 30) if number % 2 else (30, 40))
    shop.build(batch_size=4)
    assert widths == [[30] * 4, [40] * 4]


def test_names_that_are_no_text(shop):
    shop.photo("a.png").rename(shop.root / os.fsdecode(b"\xff\xfe.png"))
    assert counts(shop.build()) == {"new": 1}
    assert counts(shop.build()) == {"unchanged": 1}
    assert shop.paths() == [os.fsdecode(b"\xff\xfe.png")]


# -- running it again


def test_nothing_changed_nothing_done(shop):
    shop.photo("a.png")
    shop.photo("b.png", "blue")
    shop.build()
    before = shop.contents()
    report = shop.build()
    assert counts(report) == {"unchanged": 2}
    assert (report.described, shop.predictor.described) == (0, 2)
    assert shop.contents() == before


def test_all_five_counts_in_one_run(shop):
    for number, name in enumerate(["same", "touched", "changed", "old/moved", "gone"]):
        shop.photo(f"{name}.png", (number, 0, 0))
    shop.build()
    before = shop.contents()
    moved_id = shop.stats()["old/moved.png"].photo_id

    os.utime(shop.root / "touched.png", ns=(0, 0))
    shop.photo("changed.png", "green")
    shop.root.joinpath("new").mkdir()
    (shop.root / "old" / "moved.png").rename(shop.root / "new" / "name.png")
    (shop.root / "gone.png").unlink()
    shop.photo("extra.png", "yellow")

    report = shop.build()
    assert counts(report) == {"new": 1, "changed": 1, "moved": 1, "gone": 1, "unchanged": 2}
    assert report.described == 2  # neither the moved nor the touched one
    assert shop.paths() == ["changed.png", "extra.png", "new/name.png", "same.png", "touched.png"]
    after = shop.contents()
    assert after[str(shop.root / "new/name.png")] == before[str(shop.root / "old/moved.png")]
    assert after[str(shop.root / "changed.png")] != before[str(shop.root / "changed.png")]
    assert shop.stats()["new/name.png"].photo_id == moved_id
    assert shop.stats()["touched.png"].mtime_ns == 0
    assert counts(shop.build()) == {"unchanged": 5}


def test_a_photograph_that_moves_to_another_root_keeps_its_vectors(shop, tmp_path):
    path = shop.photo("a.png")
    shop.photo("b.png", "blue")
    shop.build()
    (tmp_path / "other").mkdir()
    path.rename(tmp_path / "other" / "a.png")
    assert counts(shop.build(shop.root, tmp_path / "other")) == {"moved": 1, "unchanged": 1}
    assert shop.predictor.described == 2


def test_moved_over_another_photograph(shop):
    shop.photo("a.png", "red")
    shop.photo("b.png", "blue")
    shop.build()
    (shop.root / "b.png").rename(shop.root / "a.png")
    assert counts(shop.build()) == {"moved": 1}
    assert (shop.paths(), shop.predictor.described) == (["a.png"], 2)


def test_two_photographs_that_swap_their_names(shop):
    shop.photo("a.png", "red")
    shop.photo("b.png", "blue")
    shop.build()
    before = shop.contents()
    (shop.root / "a.png").rename(shop.root / "c.png")
    (shop.root / "b.png").rename(shop.root / "a.png")
    (shop.root / "c.png").rename(shop.root / "b.png")
    for number, name in enumerate(["a.png", "b.png"]):
        os.utime(shop.root / name, ns=(number, number))
    assert counts(shop.build()) == {"changed": 2}
    after = shop.contents()
    a, b = str(shop.root / "a.png"), str(shop.root / "b.png")
    assert (after[a], after[b]) == (before[b], before[a])


def test_last_build_is_recorded(shop):
    shop.photo("a.png")
    shop.build()
    with open_collection(shop.path) as collection:
        assert collection.last_build().counts == {
            "new": 1, "changed": 0, "moved": 0, "gone": 0, "unchanged": 0, "failed": 0, "failed_before": 0
        }  # fmt: skip


# -- in which numbers photographs are described

FLOAT32, INT8, BFLOAT16 = (
    "backbone float32 in torch, regions float32",
    "backbone float32 in onnxruntime, regions int8",
    "backbone bfloat16 in openvino, regions int8",
)


def test_a_collection_remembers_how_it_was_described_and_ways_that_agree_mix(shop):
    for number, precision in enumerate((FLOAT32, INT8, FLOAT32)):
        shop.photo(f"{number}.png", colour=(number, 0, 0))
        shop.predictor.precisions = [precision]
        shop.build()
    assert shop.progress.warnings == []
    with open_collection(shop.path) as collection:
        assert collection.precisions() == [FLOAT32, INT8]


def test_a_way_that_does_not_agree_is_told_once_and_what_to_run(shop):
    shop.photo("a.png")
    shop.predictor.precisions = [FLOAT32]
    shop.build()
    shop.predictor.precisions = [BFLOAT16]
    shop.build()
    assert shop.progress.warnings == []  # nothing was described
    shop.photo("b.png", colour=(1, 0, 0))
    shop.build()
    (warning,) = shop.progress.warnings
    assert f"described with {BFLOAT16} here, others" in warning
    assert FLOAT32 in warning and "`indexer build FOLDERS --collection NEW`" in warning
    with open_collection(shop.path) as collection:
        assert collection.precisions() == [FLOAT32, BFLOAT16]
    shop.photo("c.png", colour=(2, 0, 0))
    shop.build()
    assert shop.progress.warnings == []


def test_a_network_that_does_not_say_how_it_describes_is_no_matter(shop):
    shop.photo("a.png")
    shop.build()
    with open_collection(shop.path) as collection:
        assert collection.precisions() == []


# -- the same content twice


def test_the_same_content_in_two_paths_is_described_once(shop):
    shop.photo("a.png")
    shutil.copy(shop.root / "a.png", shop.root / "b.png")
    shutil.copy(shop.root / "a.png", shop.root / "c.png")
    report = shop.build()
    assert (counts(report), report.described, report.regions) == ({"new": 3}, 1, 3)
    assert len(shop.contents()) == 3
    assert len({str(content) for content in shop.contents().values()}) == 1


def test_a_later_copy_takes_its_regions_from_the_collection(shop, tmp_path):
    shop.photo("a.png", "white")
    shop.build()
    shutil.copy(shop.root / "a.png", shop.root / "b.png")
    report = shop.build()
    assert (counts(report), report.described, report.regions) == ({"new": 1, "unchanged": 1}, 0, 2)
    first, second = shop.contents().values()
    assert first == second
    (shop.root / "a.png").unlink()
    assert counts(shop.build()) == {"gone": 1, "unchanged": 1}
    assert list(shop.contents().values()) == [second]


def test_copies_of_a_bad_file_are_bad(shop):
    shop.photo("good.png")
    (shop.root / "bad1.jpg").write_text("text")
    (shop.root / "bad2.jpg").write_text("text")
    assert counts(shop.build()) == {"new": 1, "failed": 2}


def test_folders_inside_one_another_index_nothing_twice(shop):
    shop.photo("a.png", (1, 0, 0))
    shop.photo("inner/b.png", (2, 0, 0))
    assert counts(shop.build(shop.root / "inner", shop.root)) == {"new": 2}
    assert counts(shop.build(shop.root / "inner")) == {"unchanged": 1}
    assert len(shop.contents()) == 2


def test_an_inner_folder_that_was_built_first(shop):
    shop.photo("a.png", (1, 0, 0))
    shop.photo("inner/b.png", (2, 0, 0))
    assert counts(shop.build(shop.root / "inner")) == {"new": 1}
    assert counts(shop.build(shop.root)) == {"new": 1, "unchanged": 1}
    assert counts(shop.build(shop.root)) == {"unchanged": 2}
    assert shop.paths() == ["a.png", "inner/b.png"]


# -- bad files


def claiming_20000_pixels(png: bytes) -> bytes:
    """A PNG file with another size in its header, which begins at byte 12 and ends with its checksum at byte 33."""
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def bad_files(shop: Workshop) -> dict[str, str]:
    """One of each kind, and how the reason begins."""
    whole = shop.photo("whole.jpg", size=(400, 300), quality=95)
    content = whole.read_bytes()
    (shop.root / "truncated.jpg").write_bytes(content[: len(content) // 2])
    whole.unlink()
    pixel = shop.photo("pixel.png", size=(1, 1)).read_bytes()
    (shop.root / "bomb.png").write_bytes(claiming_20000_pixels(pixel))
    (shop.root / "text.jpg").write_text("Dear diary")
    (shop.root / "empty.jpg").touch()
    return {
        "truncated.jpg": "the file ends early, ",
        "pixel.png": "1x1 pixels: too small",
        "bomb.png": "20000x20000 pixels: too large",
        "text.jpg": "a text file, not a photograph",
        "empty.jpg": "the file is empty",
    }


def test_bad_files_are_named_counted_remembered_and_skipped(shop):
    expected = bad_files(shop)
    shop.photo("good.png")
    assert counts(shop.build()) == {"new": 1, "failed": 5}
    assert shop.paths() == ["good.png"]
    assert set(shop.progress.failures) == set(expected)
    for name, beginning in expected.items():
        assert shop.progress.failures[name].startswith(beginning)
        assert shop.stats()[name].reason == shop.progress.failures[name]

    assert counts(shop.build()) == {"unchanged": 1, "failed_before": 5}
    assert shop.progress.failures == {}
    assert counts(shop.build(retry=True)) == {"unchanged": 1, "failed": 5}

    shop.photo("text.jpg", "green")
    (shop.root / "empty.jpg").unlink()
    assert counts(shop.build()) == {"new": 1, "unchanged": 1, "failed_before": 3}
    assert shop.paths() == ["good.png", "text.jpg"]
    assert "empty.jpg" not in shop.stats()


def test_a_folder_of_bad_files_only_is_still_a_folder_of_photographs(shop):
    (shop.root / "text.jpg").write_text("Dear diary")
    assert counts(shop.build()) == {"failed": 1}


def test_a_photograph_that_turns_bad_is_not_found_any_more_and_comes_back(shop):
    path = shop.photo("a.png")
    shop.photo("b.png", "blue")
    shop.build()
    good = path.read_bytes()
    path.write_bytes(good[:60])
    assert counts(shop.build()) == {"failed": 1, "unchanged": 1}
    assert shop.paths() == ["b.png"]
    path.write_bytes(good)
    assert counts(shop.build()) == {"new": 1, "unchanged": 1}


def test_a_file_that_may_not_be_read_is_tried_again_and_stays_known(shop, monkeypatch):
    path = shop.photo("a.png")
    shop.photo("b.png", "blue")
    shop.build()
    os.utime(path, ns=(0, 0))
    with monkeypatch.context() as patched:
        real = content.content_digest

        def digest(path):
            if path.name == "a.png":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        patched.setattr(content, "content_digest", digest)
        assert counts(shop.build()) == {"failed": 1, "unchanged": 1}
        assert shop.progress.failures == {"a.png": "cannot be read (Permission denied)"}
        assert counts(shop.build()) == {"failed": 1, "unchanged": 1}
    assert counts(shop.build()) == {"unchanged": 2}
    assert shop.paths() == ["a.png", "b.png"]


def test_a_file_that_could_never_be_read_is_remembered_and_tried_again(shop, monkeypatch):
    shop.photo("a.png")
    shop.photo("b.png", "blue")
    with monkeypatch.context() as patched:
        real = content.content_digest

        def digest(path):
            if path.name == "a.png":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        patched.setattr(content, "content_digest", digest)
        for _ in range(2):
            assert counts(shop.build())["failed"] == 1
            stat = shop.stats()["a.png"]
            assert (stat.reason, stat.digest) == ("cannot be read (Permission denied)", None)
    assert counts(shop.build()) == {"new": 1, "unchanged": 1}


def test_what_failed_is_tried_again_only_with_another_content(shop):
    """Neither under another time nor under another name: a file that hangs its decoder takes a minute each time."""
    bad_files(shop)
    (shop.root / "bad.jpg").write_text("bad once")
    shop.photo("good.png")
    shop.build()
    os.utime(shop.root / "text.jpg", ns=(0, 0))
    (shop.root / "pixel.png").rename(shop.root / "dot.png")
    (shop.root / "bad.jpg").write_text("bad again")
    assert counts(shop.build()) == {"unchanged": 1, "failed": 1, "failed_before": 5}
    assert list(shop.progress.failures) == ["bad.jpg"]
    stats = shop.stats()
    assert stats["text.jpg"].mtime_ns == 0 and stats["dot.png"].reason.startswith("1x1 pixels")
    assert "pixel.png" not in stats
    assert counts(shop.build()) == {"unchanged": 1, "failed_before": 6}
    (shop.root / "dot.png").rename(shop.root / "pixel.png")
    os.utime(shop.root / "text.jpg", ns=(1, 1))
    assert counts(shop.build(retry=True)) == {"unchanged": 1, "failed": 6}


def test_what_was_damaged_in_the_collection_is_described_again_wherever_it_is_now(folder_shop):
    for number in range(3):
        folder_shop.photo(f"{number}.png", (40 * number, 0, 0))
    folder_shop.build()
    before = folder_shop.contents()
    (segment,) = (folder_shop.path / "features").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    assert verify(folder_shop.path, repair=True).to_describe == 3
    (folder_shop.root / "1.png").rename(folder_shop.root / "moved.png")
    os.utime(folder_shop.root / "2.png", ns=(0, 0))
    assert counts(folder_shop.build()) == {"new": 3}
    after = folder_shop.contents()
    assert after[str(folder_shop.root / "moved.png")] == before[str(folder_shop.root / "1.png")] and len(after) == 3


def test_a_file_that_is_deleted_during_the_build(shop, monkeypatch):
    shop.photo("a.png")
    shop.photo("b.png", "blue")
    real = content.content_digest

    def digest(path):
        (shop.root / "a.png").unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(content, "content_digest", digest)
    assert counts(shop.build()) == {"new": 1}
    assert shop.progress.failures == {}


def test_of_two_copies_one_becomes_unreadable_before_it_is_decoded(shop, monkeypatch):
    """The other one still gets described."""
    shop.photo("a.png")
    shutil.copy(shop.root / "a.png", shop.root / "b.png")
    shop.photo("c.png", "blue")
    real = Decoders.decode

    def decode(self, path):
        (shop.root / "a.png").unlink(missing_ok=True)
        if path.name == "a.png":
            raise OSError(5, "Input/output error")
        return real(self, path)

    monkeypatch.setattr(Decoders, "decode", decode)
    assert counts(shop.build()) == {"new": 2, "failed": 1}
    assert shop.progress.failures == {"a.png": "cannot be read (Input/output error)"}
    assert shop.paths() == ["b.png", "c.png"]


def test_a_file_that_is_being_written_waits_for_the_next_build(shop, monkeypatch):
    path = shop.photo("a.png")
    shop.photo("b.png", "blue")
    real = content.content_digest

    def digest(read):
        if read == path:
            with open(path, "ab") as file:
                file.write(b"more")
        return real(read)

    with monkeypatch.context() as patched:
        patched.setattr(content, "content_digest", digest)
        assert counts(shop.build()) == {"new": 1, "failed": 1}
    assert shop.progress.failures == {"a.png": "cannot be read (it is being changed)"}
    assert counts(shop.build()) == {"new": 1, "unchanged": 1}


# -- folders that are not what they were


def test_a_missing_root_loses_nothing(shop, tmp_path):
    shop.photo("a.png")
    shop.build()
    before = shop.contents()
    shop.root.rename(tmp_path / "unmounted")
    with pytest.raises(FolderError, match="photos does not exist; its files in the collection stay there"):
        shop.build()
    shop.root.mkdir()
    with pytest.raises(FolderError, match=r"photos holds no photographs .* stay there"):
        shop.build()
    assert shop.contents() == before
    assert counts(shop.build(prune=True)) == {"gone": 1}
    assert shop.contents() == {}


def test_the_last_photographs_of_one_of_two_roots(shop, tmp_path):
    shop.photo("a.png")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "other" / "b.png")
    shop.build(shop.root, tmp_path / "other")
    (tmp_path / "other" / "b.png").unlink()
    assert counts(shop.build(shop.root, tmp_path / "other")) == {"unchanged": 1}
    assert len(shop.contents()) == 2
    assert "holds no photographs" in shop.progress.warnings[0]
    assert counts(shop.build(shop.root, tmp_path / "other", prune=True)) == {"gone": 1, "unchanged": 1}


# -- crashes and hangs of the decoder


def test_a_file_that_crashes_the_decoder_and_one_that_hangs_it_cost_themselves_only(shop, monkeypatch):
    for number in range(6):
        shop.photo(f"{number}.png", (10 * number, 0, 0))
    shop.photo("crash.png", (0, 1, 0))
    shop.photo("hang.png", (0, 2, 0))
    # A second is for the one that hangs: the others may take as long as a busy computer does.
    worker = """
import faulthandler, os, signal, sys, time
from indexer.build import decode_worker
from decoding.photos import OpenedPhoto
real = OpenedPhoto.decode
seconds, sys.argv[1] = float(sys.argv[1]), "600"
def decode(self):
    photo = real(self)
    if photo.image.getpixel((0, 0)) == (0, 1, 0):
        os.kill(os.getpid(), signal.SIGSEGV)
    if photo.image.getpixel((0, 0)) == (0, 2, 0):
        faulthandler.dump_traceback_later(seconds, exit=True)
    while photo.image.getpixel((0, 0)) == (0, 2, 0):
        time.sleep(1)
    return photo
OpenedPhoto.decode = decode
decode_worker.main()
"""
    with monkeypatch.context() as patched:
        patched.setattr(decoders, "WORKER", (sys.executable, "-c", worker))
        patched.setattr(building, "Decoders", lambda: Decoders(seconds=1))
        assert counts(shop.build()) == {"new": 6, "failed": 2}
        assert shop.progress.failures == {
            "crash.png": "the decoder crashed on it (SIGSEGV)",
            "hang.png": "decoding it takes longer than 1 seconds",
        }
        assert counts(shop.build()) == {"unchanged": 6, "failed_before": 2}
    assert counts(shop.build(retry=True)) == {"new": 2, "unchanged": 6}  # with a better decoder


# -- exclusions


def test_what_is_excluded_is_absent_and_its_content_moves_to_where_it_is_found(shop):
    shop.photo("a.png")
    shop.photo("thumbs/b.png", "blue")
    shop.build()
    shutil.copy(shop.root / "thumbs" / "b.png", shop.root / "b.png")
    assert counts(shop.build(exclude=["thumbs"])) == {"moved": 1, "unchanged": 1}
    assert (shop.paths(), shop.predictor.described) == (["a.png", "b.png"], 2)
    assert counts(shop.build()) == {"new": 1, "unchanged": 2}
    assert (len(shop.paths()), shop.predictor.described) == (3, 2)


# -- interrupts and failures of the network


def test_a_folder_that_asks_later_to_be_left_out_is_forgotten_and_said_to_be(shop):
    shop.photo("a.png")
    shop.photo("private/b.png", "blue")
    shop.photo("private/deep/c.png", "green")
    shop.photo("private too/d.png", "white")
    shop.build()
    (shop.root / "private" / ".nomedia").touch()
    assert counts(shop.build()) == {"unchanged": 2, "gone": 2}
    assert shop.progress.warnings == [
        "2 photographs that were described are forgotten because a file beside or above asks galleries to leave it "
        "out (.nomedia), the first is private/b.png; a build without that describes them again"
    ]
    assert shop.build().gone == 0 and shop.progress.warnings == []
    (shop.root / "private" / ".nomedia").unlink()
    assert counts(shop.build()) == {"unchanged": 2, "new": 2}


def test_where_everything_is_excluded_it_is_said_why_there_is_nothing(shop):
    shop.photo("a.gif")
    shop.photo("deep/b.gif")
    with pytest.raises(FolderError, match="holds no photographs but what --exclude covers"):
        shop.build(exclude=["*.gif"])
    (shop.root / "deep" / ".nomedia").touch()
    (shop.root / "a.gif").unlink()
    with pytest.raises(FolderError, match=r"no photographs but in folders that ask to be left out, the first is deep"):
        shop.build()


@pytest.fixture
def last_batch_is_kept(monkeypatch):
    """However busy the computer is: the batch in the network when the build is stopped ends in time."""
    monkeypatch.setattr(building, "_LAST_BATCH_SECONDS", 300)


def test_stopped_in_the_middle_and_run_again(shop, tmp_path, last_batch_is_kept):
    for number in range(20):
        shop.photo(f"{number:02}.png", (number, 0, 0))
    (tmp_path / "elsewhere").mkdir()
    reference = Workshop(tmp_path / "elsewhere")
    shutil.copytree(shop.root, reference.root, dirs_exist_ok=True)
    reference.build(batch_size=2)

    report = shop.build(batch_size=2, stop=lambda: len(shop.predictor.batches) == 3)
    assert (report.interrupted, counts(report)) == (True, {"new": 6})
    assert len(shop.contents()) == 6
    with open_collection(shop.path) as collection:
        assert collection.last_build() is None  # none that finished
    report = shop.build(batch_size=2)
    assert (report.interrupted, counts(report)) == (False, {"new": 14, "unchanged": 6})
    assert list(shop.contents().values()) == list(reference.contents().values())


def test_a_batch_that_takes_long_is_not_waited_for(shop):
    for number in range(6):
        shop.photo(f"{number}.png", (number, 0, 0))
    stuck, let_go = threading.Event(), threading.Event()

    def before_batch():
        if shop.predictor.described == 4:
            stuck.set()
            let_go.wait()

    shop.predictor.before_batch = before_batch
    try:
        report = shop.build(batch_size=2, stop=stuck.is_set)
        assert (report.interrupted, counts(report)) == (True, {"new": 4})
        assert len(shop.contents()) == 4
    finally:
        let_go.set()
    shop.predictor.before_batch = lambda: None
    assert counts(shop.build()) == {"new": 2, "unchanged": 4}


def test_the_batch_in_the_network_is_kept_if_it_ends_soon(shop, last_batch_is_kept):
    for number in range(4):
        shop.photo(f"{number}.png", (number, 0, 0))
    begun = threading.Event()
    shop.predictor.before_batch = begun.set
    report = shop.build(batch_size=2, stop=begun.is_set)
    assert (report.interrupted, counts(report)) == (True, {"new": 2})


def test_a_stopped_build_takes_nothing_for_gone(shop):
    shop.photo("a.png")
    shop.build()
    (shop.root / "a.png").rename(shop.root / "z.png")
    for number in range(10):
        shop.photo(f"{number}.png", (number, 0, 0))
    described = shop.predictor.described
    report = shop.build(batch_size=1, stop=lambda: shop.predictor.described > described)
    assert report.interrupted and report.gone == 0
    assert "a.png" in shop.paths()
    assert counts(shop.build())["moved"] == 1
    assert "a.png" not in shop.paths()


def test_one_photograph_that_the_network_cannot_bear_costs_only_itself(shop):
    for number in range(6):
        shop.photo(f"{number}.png", (10 * number, 0, 0))
    shop.photo("poison.png", POISON)
    assert counts(shop.build(batch_size=4)) == {"new": 6, "failed": 1}
    assert shop.progress.failures == {"poison.png": "the network fails on it (poison)"}
    assert counts(shop.build()) == {"unchanged": 6, "failed_before": 1}


def test_a_network_that_fails_on_everything_ends_the_build_and_keeps_what_was_done(shop):
    for number in range(8):
        shop.photo(f"{number}.png", (10 * number, 0, 0))

    def break_down():
        if shop.predictor.batches:
            raise RuntimeError("no kernel image")

    shop.predictor.before_batch = break_down
    with pytest.raises(DescribeError, match=r"fails on every photograph of a batch, the first is .*png: no kernel"):
        shop.build(batch_size=3)
    assert len(shop.contents()) == 3
    assert not any(stat.failed for stat in shop.stats().values())


def test_a_predictor_that_cannot_load_itself_says_so(shop):
    shop.photo("a.png")

    def fail():
        raise DeviceError("There is no GPU here.")

    shop.predictor.before_batch = fail
    with pytest.raises(DeviceError, match="no GPU"):
        shop.build()
    assert shop.stats() == {}


# -- commits and memory


def test_commits_are_made_during_the_build(shop, monkeypatch):
    for number in range(12):
        shop.photo(f"{number:02}.png", (number, 0, 0))
    monkeypatch.setattr(pending, "COMMIT_PHOTOS", 4)
    visible = []

    def look():
        with open_collection(shop.path) as reader:
            visible.append(reader.photo_count())

    shop.predictor.before_batch = look
    shop.build(batch_size=2)
    # Two batches make a commit, which goes on beside the next batch.
    possible = ({0}, {0}, {0, 4}, {4}, {4, 8}, {8})
    assert all(seen in each for seen, each in zip(visible, possible, strict=True)), visible


def test_commits_are_made_after_some_seconds(shop):
    for number in range(6):
        shop.photo(f"{number:02}.png", (number, 0, 0))
    visible = []

    def look():
        with open_collection(shop.path) as reader:
            visible.append(reader.photo_count())

    shop.predictor.before_batch = look
    shop.build(batch_size=2, commit_seconds=0)
    # Beside the next batch: what was two batches ago is there.
    assert visible[0] == 0 and visible[1] in (0, 2) and visible[2] in (2, 4)


@pytest.mark.parametrize("batches_at_once", [1, 2])
def test_what_is_described_does_not_wait_for_a_file_that_takes_its_time(shop, monkeypatch, batches_at_once):
    for number in range(5):
        shop.photo(f"{number}.png", (40 * number, 0, 0))
    shop.predictor.batches_at_once = batches_at_once
    real, seen = Decoders.decode, []

    def decode(self, path):
        deadline = time.monotonic() + 300
        while path.name == "4.png" and len(seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
            seen[:] = shop.contents()
        return real(self, path)

    monkeypatch.setattr(Decoders, "decode", decode)
    monkeypatch.setattr(waiting, "_IDLE_SECONDS", 0.05)
    assert counts(shop.build(batch_size=1, commit_seconds=0.5)) == {"new": 5}
    assert len(seen) == 4


def test_the_number_of_photographs_in_memory_does_not_grow_with_the_folder(shop, monkeypatch):
    for number in range(100):
        shop.photo(f"{number:02}.png", (number, 0, 0), size=(16, 16))
    decoded = []
    real = Decoders.decode

    def decode(self, path):
        decoded.append(path)
        return real(self, path)

    monkeypatch.setattr(Decoders, "decode", decode)
    ahead = []
    shop.predictor.before_batch = lambda: ahead.append(len(decoded) - shop.predictor.described)
    assert counts(shop.build(batch_size=3)) == {"new": 100}
    # a window of two batches, and two batches (and one) that the threads decode meanwhile
    assert max(ahead) <= 13


def test_what_an_exclusion_forgets_is_said(shop):
    shop.photo("a.png")
    shop.photo("thumbs/b.png", "blue")
    shop.photo("thumbs/c.png", "lime")
    shop.build()
    assert counts(shop.build(exclude=["thumbs"])) == {"gone": 2, "unchanged": 1}
    assert shop.progress.warnings == [
        "2 photographs that were described are forgotten because --exclude covers them, the first is thumbs/b.png; a "
        "build without it describes them again"
    ]
    shop.build(exclude=["thumbs"])
    assert shop.progress.warnings == []
    shop.build()
    shop.build(exclude=["c.png"])
    assert shop.progress.warnings == [
        "1 photograph that was described is forgotten because --exclude covers it, the first is thumbs/c.png; a build "
        "without it describes it again"
    ]


# -- what changes without looking changed


def test_another_orientation_under_the_same_size_and_time_is_noticed(shop):
    path = shop.photo("a.jpg", size=(60, 40), exif=orientation(1))
    shop.build()
    stat, before = path.stat(), path.read_bytes()
    turned = before.replace(orientation(1), orientation(6))
    assert turned != before
    path.write_bytes(turned)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert counts(shop.build()) == {"changed": 1}
    ((size, *_),) = shop.contents().values()
    assert size == (40, 60)


def test_a_touch_costs_a_read_and_nothing_more(shop, monkeypatch):
    path = shop.photo("a.png")
    shop.build()
    reads = []
    real = content.content_digest
    monkeypatch.setattr(content, "content_digest", lambda path: reads.append(path) or real(path))
    path.chmod(0o600)  # changes its change time only
    assert counts(shop.build()) == {"unchanged": 1}
    assert (reads, shop.predictor.described) == ([path], 1)
    assert counts(shop.build()) == {"unchanged": 1}
    assert reads == [path]


def orientation(value):
    """An EXIF block of nothing else."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + value.to_bytes(2, "big") + b"\0\0\0\0\0\0"


# -- what headers tell, and what is missing


def test_headers_and_what_is_missing_are_kept_and_go_with_copies(shop):
    exif = Image.Exif()
    exif[0x010F] = "NIKON"
    path = shop.photo("a.jpg", size=(200, 160), exif=exif)
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    Image.fromarray(noise).save(path, exif=exif)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 97 // 100])
    shutil.copy(path, shop.root / "b.jpg")
    report = shop.build()
    assert (report.described, report.incomplete) == (1, 2)
    assert [line.split(": ")[1] for line in shop.progress.said] == 2 * [
        f"{shop.stats()['a.jpg'].incomplete}; described as it is"
    ]
    shutil.copy(path, shop.root / "c.jpg")
    shop.build()
    with open_collection(shop.path) as collection:
        rows = collection.photos(collection.photo_ids())
    assert [row.path.name for row in rows] == ["a.jpg", "b.jpg", "c.jpg"]
    for row in rows:
        assert row.headers is not None and row.headers.make == "NIKON"
        assert row.incomplete is not None and row.incomplete.startswith("the file ends early, 9")


def test_headers_of_an_older_collection_are_read_once_without_describing(folder_shop):
    exif = Image.Exif()
    exif[0x0110] = "D90"
    folder_shop.photo("a.jpg", exif=exif)
    folder_shop.photo("b.png", "lime")
    folder_shop.build()
    database = sqlite3.connect(folder_shop.path / "photos.db")
    database.executescript("UPDATE photo SET ctime_ns = NULL, model = NULL, keywords = NULL")
    database.close()
    assert counts(folder_shop.build()) == {"unchanged": 2}
    stats = folder_shop.stats()
    assert all(stat.headers_read and stat.ctime_ns for stat in stats.values())
    with open_collection(folder_shop.path) as collection:
        models = [row.headers.model for row in collection.photos(collection.photo_ids())]
    assert (models, folder_shop.predictor.described) == (["D90", None], 2)


def test_what_is_left_out_is_remembered_by_root(shop):
    shop.photo("a.png")
    shop.photo("deep/d.png")
    for name in ("film.mov", "deep/b.mp4", "c.psd"):
        (shop.root / name).parent.mkdir(exist_ok=True)
        (shop.root / name).write_bytes(b"x")
    assert shop.build().left_out == {"videos": 2, "Photoshop documents": 1}
    with open_collection(shop.path) as collection:
        assert collection.left_out() == {1: {"videos": 2, "Photoshop documents": 1}}
    (shop.root / "film.mov").unlink()
    shop.build(shop.root / "deep")  # a part of the root says nothing of all of it
    with open_collection(shop.path) as collection:
        assert collection.left_out() == {1: {"videos": 2, "Photoshop documents": 1}}
    shop.build()
    with open_collection(shop.path) as collection:
        assert collection.left_out() == {1: {"videos": 1, "Photoshop documents": 1}}


def test_a_stop_does_not_wait_for_a_file_that_takes_long(shop, monkeypatch, last_batch_is_kept):
    for name in ("a.png", "b.png"):
        shop.photo(name, (len(name), ord(name[0]), 0))
    shop.photo("z.png", (0, 2, 0))
    worker = """
import time
from indexer.build import decode_worker
from decoding.photos import OpenedPhoto
real = OpenedPhoto.decode
def decode(self):
    photo = real(self)
    while photo.image.getpixel((0, 0)) == (0, 2, 0):
        time.sleep(1)
    return photo
OpenedPhoto.decode = decode
decode_worker.main()
"""
    with monkeypatch.context() as patched:
        patched.setattr(decoders, "WORKER", (sys.executable, "-c", worker))
        report = shop.build(batch_size=1, stop=lambda: shop.predictor.described == 2)
    assert report.interrupted
    assert (counts(report), shop.paths()) == ({"new": 2}, ["a.png", "b.png"])


def twenty_photos_that_take(seconds, shop, monkeypatch):
    """Each so long, as the clock says."""
    for number in range(20):
        shop.photo(f"{number:02}.png", (10 * number, 0, 0))
    now = 0.0
    monkeypatch.setattr(building.time, "monotonic", lambda: now)
    real = shop.predictor.describe

    def describe(images, **options):
        nonlocal now
        now += seconds * len(images)
        return real(images, **options)

    shop.predictor.describe = describe


def test_a_batch_takes_no_longer_than_about_a_second(shop, monkeypatch):
    twenty_photos_that_take(0.4, shop, monkeypatch)
    shop.build(batch_size=16)
    assert shop.predictor.batches == [4, *8 * [2]]


def test_of_two_batches_in_the_network_neither_takes_longer(shop, monkeypatch):
    """Both are at the same processors: the time that they take together is that of all their photographs."""
    twenty_photos_that_take(0.4, shop, monkeypatch)
    real, pairs = shop.predictor.describe, threading.Barrier(2)
    started = threading.Lock()

    def describe(images, **options):
        with suppress(threading.BrokenBarrierError):  # the last may be alone
            pairs.wait(timeout=2)
        with started:
            return real(images, **options)

    shop.predictor.describe, shop.predictor.batches_at_once = describe, 2
    shop.build(batch_size=16)
    assert shop.predictor.batches[:2] == [4, 4]
    assert max(shop.predictor.batches[2:]) <= 2


@pytest.mark.parametrize("batches_at_once", [1, 2])
def test_a_clock_that_stands_still_ends_no_build(shop, monkeypatch, batches_at_once):
    twenty_photos_that_take(0.0, shop, monkeypatch)
    shop.predictor.batches_at_once = batches_at_once
    assert counts(shop.build(batch_size=5)) == {"new": 20}


def test_a_batch_is_as_large_as_the_network_has_it_unless_told(shop, monkeypatch):
    twenty_photos_that_take(0.01, shop, monkeypatch)
    real = shop.predictor.describe

    def describe(images, **options):
        # As one that is loaded when it is first asked, and then knows better.
        shop.predictor.batch_size = 6
        return real(images, **options)

    shop.predictor.describe, shop.predictor.batch_size = describe, 3
    shop.build()
    # Decoded ahead at first: 6 photographs; later 12.
    assert shop.predictor.batches == [3, 3, 6, 6, 2]


def test_what_lacked_a_package_is_tried_again_once_it_is_installed(shop, monkeypatch):
    shop.photo("a.png")
    (shop.root / "really.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setattr("decoding.formats._installed", lambda module: False)
    worker = """
from decoding import formats
formats._installed = lambda module: False
from indexer.build import decode_worker
decode_worker.main()
"""
    with monkeypatch.context() as patched:
        patched.setattr(decoders, "WORKER", (sys.executable, "-c", worker))
        assert counts(shop.build()) == {"new": 1, "failed": 1}
        assert shop.progress.failures == {
            "really.jpg": "a HEIC photograph, needs the package pillow-heif (pip install pillow-heif)"
        }
        assert counts(shop.build()) == {"unchanged": 1, "failed_before": 1}
    monkeypatch.setattr("decoding.formats._installed", lambda module: True)
    assert counts(shop.build()) == {"unchanged": 1, "failed": 1}  # tried, and it is no photograph after all


def test_a_commit_is_made_while_the_network_is_at_the_next_batch(shop, monkeypatch):
    """The second batch waits in the network until the first is committed: it would for ever if that came afterwards."""
    for number in range(2):
        shop.photo(f"{number}.png", (90 * number, 0, 0))
    monkeypatch.setattr(pending, "COMMIT_PHOTOS", 1)
    batches = []

    def wait_for_the_first():
        batches.append(1)
        deadline = time.monotonic() + 300
        while len(batches) == 2 and time.monotonic() < deadline:
            with open_collection(shop.path) as reader:
                if reader.photo_count():
                    return
            time.sleep(0.01)
        assert len(batches) == 1, "the first batch was not committed meanwhile"

    shop.predictor.before_batch = wait_for_the_first
    shop.build(batch_size=1)
    assert len(batches) == 2


def test_a_network_that_takes_two_batches_has_the_next_one_while_one_ends(shop, tmp_path):
    for number in range(9):
        shop.photo(f"{number}.png", (number, 0, 0))
    (tmp_path / "elsewhere").mkdir()
    reference = Workshop(tmp_path / "elsewhere")
    shutil.copytree(shop.root, reference.root, dirs_exist_ok=True)
    reference.build(batch_size=2)

    real, counting = shop.predictor.describe, threading.Condition()
    begun, at_once, most = 0, 0, 0

    def describe(images, **options):
        nonlocal begun, at_once, most
        with counting:
            begun, at_once = begun + 1, at_once + 1
            most = max(most, at_once)
            counting.notify_all()
            if begun == 1:  # does not end before the second has begun
                assert counting.wait_for(lambda: begun > 1, timeout=300)
            found = real(images, **options)
            at_once -= 1
        return found

    shop.predictor.describe, shop.predictor.batches_at_once = describe, 2
    assert counts(shop.build(batch_size=2)) == {"new": 9}
    assert most == 2
    assert list(shop.contents().values()) == list(reference.contents().values())


def test_of_two_batches_in_the_network_the_younger_is_kept_if_it_is_done(shop):
    for number in range(8):
        shop.photo(f"{number}.png", (number, 0, 0))
    let_go, stuck, younger_done = threading.Event(), threading.Event(), threading.Event()
    real, calls = shop.predictor.describe, itertools.count()

    def describe(images, **options):
        call = next(calls)
        if call == 1:
            assert younger_done.wait(300)
            stuck.set()
            let_go.wait()
        found = real(images, **options)
        if call == 2:
            younger_done.set()
        return found

    shop.predictor.describe, shop.predictor.batches_at_once = describe, 2
    try:
        report = shop.build(batch_size=2, stop=stuck.is_set)
        assert (report.interrupted, counts(report)) == (True, {"new": 4})
    finally:
        let_go.set()


def test_of_two_batches_in_the_network_both_are_given_up_if_the_older_takes_long(shop):
    for number in range(8):
        shop.photo(f"{number}.png", (number, 0, 0))
    let_go, both = threading.Event(), threading.Barrier(2, timeout=300)
    stuck = threading.Event()

    def before_batch():
        if shop.predictor.described == 2:  # the second and the third
            if both.wait() == 0:
                stuck.set()
            let_go.wait()

    shop.predictor.before_batch, shop.predictor.batches_at_once = before_batch, 2
    first = threading.Event()
    real = shop.predictor.describe

    def describe(images, **options):
        if not first.is_set():  # alone: the others count what it has described
            first.set()
            return real(images, **options)
        deadline = time.monotonic() + 300
        while shop.predictor.described < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        return real(images, **options)

    shop.predictor.describe = describe
    try:
        report = shop.build(batch_size=2, stop=stuck.is_set)
        assert (report.interrupted, counts(report)) == (True, {"new": 2})
        assert len(shop.contents()) == 2
    finally:
        let_go.set()
    shop.predictor.before_batch = lambda: None
    assert counts(shop.build()) == {"new": 6, "unchanged": 2}
