"""Decoding in processes of their own: what comes back, and what becomes of crashes and hangs; all of it real."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto
from indexer.build import decoders as decoders_module
from indexer.build.decoders import Decoders
from indexer.errors import DecoderError

PROJECT = Path(__file__).parent.parent

# The real worker, but for a decoder that does what the colour of the photograph's first pixel says.
MOODY = """
import os, signal, sys, time
from indexer.build import decode_worker
from decoding.photos import OpenedPhoto

real = OpenedPhoto.decode

def moody(self):
    photo = real(self)
    mood = photo.image.getpixel((0, 0))
    if mood == (1, 0, 0):
        os.kill(os.getpid(), signal.SIGSEGV)
    if mood == (2, 0, 0):
        while True:
            time.sleep(1)
    if mood == (3, 0, 0) and not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if mood == (4, 0, 0):
        time.sleep(0.1)
        with open({mark!r}, "a") as log:
            print(time.monotonic() - 0.1, time.monotonic(), file=log)
    if mood == (5, 0, 0):  # there are two of them at one moment
        open({mark!r} + str(os.getpid()), "w").close()
        while sum(name.startswith("mark") for name in os.listdir(os.path.dirname({mark!r}))) < 2:
            time.sleep(0.01)
    return photo

OpenedPhoto.decode = moody
decode_worker.main()
"""
GOOD, CRASHES, HANGS, CRASHES_ONCE, SLOW, MEETS = ((mood, 0, 0) for mood in range(6))


@pytest.fixture
def mark(tmp_path, monkeypatch) -> Path:
    """Makes the workers moody; the file that they write into."""
    path = tmp_path / "mark"
    monkeypatch.setattr(decoders_module, "WORKER", (sys.executable, "-c", MOODY.format(mark=str(path))))
    return path


def photo(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(decoders: Decoders) -> list[int]:
    return [worker._process.pid for worker in decoders._idle]


def test_what_comes_back_is_what_decoding_here_gives(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1001, 1503, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    with Decoders() as decoders:
        there = decoders.decode(tmp_path / "a.jpg")
    with open(tmp_path / "a.jpg", "rb") as file:
        here = OpenedPhoto(file).decode()
    assert (there.width, there.height, there.scale, there.origin) == (1001, 1503, 2, (-1, 0))
    assert (there.width, there.height, there.scale, there.origin) == (here.width, here.height, here.scale, here.origin)
    np.testing.assert_array_equal(np.asarray(there.image), np.asarray(here.image))


def test_odd_file_names(tmp_path):
    names = [b"\xff\xfe.png", b"new\nline.png", b"-n.png", b'"quoted".png', "abc‮gnp.png".encode(), b"x" * 251 + b".png"]
    with Decoders() as decoders:
        for number, name in enumerate(names):
            path = photo(tmp_path / os.fsdecode(name), (number, 0, 0))
            assert decoders.decode(path).image.getpixel((0, 0)) == (number, 0, 0)


def test_refusals_and_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.jpg").write_text("Dear diary")
    with Decoders() as decoders:
        with pytest.raises(PhotoError, match=r"^a text file, not a photograph$"):
            decoders.decode(tmp_path / "text.jpg")
        with pytest.raises(FileNotFoundError, match="No such file or directory"):
            decoders.decode(tmp_path / "nothing.jpg")
        with pytest.raises(IsADirectoryError):
            decoders.decode(tmp_path)
        assert decoders.decode(photo(tmp_path / "a.png", GOOD)).width == 40
        assert len(pids(decoders)) == 1  # one process has answered all four


def test_pixel_limits_hold_in_the_processes(tmp_path):
    path = photo(tmp_path / "a.png", GOOD, (100, 100))  # 4 bytes a pixel
    with Decoders(memory=40_000) as decoders:
        assert decoders.decode(path).width == 100
    with Decoders(memory=39_999) as decoders, pytest.raises(PhotoError, match="100x100 pixels: too large"):
        decoders.decode(path)


def test_a_crash_costs_the_file_and_not_the_next_one(tmp_path, mark):
    bad, good = photo(tmp_path / "bad.png", CRASHES), photo(tmp_path / "good.png", GOOD)
    with Decoders() as decoders:
        assert decoders.decode(good).width == 40
        with pytest.raises(PhotoError, match=r"^the decoder crashed on it \(SIGSEGV\)$"):
            decoders.decode(bad)
        assert decoders.decode(good).width == 40


def test_a_process_that_was_killed_from_outside_costs_nothing(tmp_path, mark):
    path = photo(tmp_path / "a.png", CRASHES_ONCE)
    with Decoders() as decoders:
        assert decoders.decode(path).width == 40
        assert mark.exists()  # it was killed in the middle of the photograph
        for pid in pids(decoders):  # and now while it has nothing to do
            os.kill(pid, signal.SIGKILL)
        assert decoders.decode(path).width == 40


def test_all_that_had_nothing_to_do_were_killed_and_it_costs_nothing(tmp_path, mark):
    path = photo(tmp_path / "a.png", MEETS)
    with Decoders() as decoders:
        with ThreadPoolExecutor(2) as pool:
            assert [photograph.width for photograph in pool.map(decoders.decode, [path] * 2)] == [40] * 2
        assert len(pids(decoders)) == 2
        for pid in pids(decoders):
            os.kill(pid, signal.SIGKILL)
        for _ in range(2):
            assert decoders.decode(path).width == 40


def test_a_hang_costs_the_file_and_the_time_limit_and_not_the_next_one(tmp_path, mark):
    bad, good = photo(tmp_path / "bad.png", HANGS), photo(tmp_path / "good.png", GOOD)
    with Decoders(seconds=0.5) as decoders:
        started = time.monotonic()
        with pytest.raises(PhotoError, match=r"^decoding it takes longer than 0\.5 seconds$"):
            decoders.decode(bad)
        assert time.monotonic() - started < 300  # the process started, hung, and was not waited for any longer
        decoders._seconds = 60  # for a computer that is busy
        assert decoders.decode(good).width == 40


def test_a_photograph_in_its_time_limit_starts_the_next_one_afresh(tmp_path, mark):
    path = photo(tmp_path / "a.png", SLOW)
    with Decoders(seconds=5) as decoders:  # fifty times what one takes
        started = time.monotonic()
        while time.monotonic() - started < 6:
            assert decoders.decode(path).width == 40


def test_one_process_for_each_thread_and_none_before_it_is_needed(tmp_path, mark, monkeypatch):
    monkeypatch.setattr(decoders_module, "_END_SECONDS", 300)
    path = photo(tmp_path / "a.png", SLOW)
    with Decoders() as decoders, ThreadPoolExecutor(3) as pool:
        assert pids(decoders) == []
        assert [photograph.width for photograph in pool.map(decoders.decode, [path] * 12)] == [40] * 12
        started = pids(decoders)
        assert len(started) == 3
    assert not any(map(running, started))


def test_photographs_being_decoded_at_once_stay_within_the_memory(tmp_path, mark):
    """Four threads, room for two: two at once, never three, and everyone gets through."""
    path = photo(tmp_path / "a.png", SLOW, (100, 100))
    with Decoders(memory=2 * 100 * 100 * 4) as decoders, ThreadPoolExecutor(4) as pool:
        assert [photograph.width for photograph in pool.map(decoders.decode, [path] * 8)] == [100] * 8
        spans = [tuple(map(float, line.split())) for line in mark.read_text().splitlines()]
        assert max(sum(start <= moment < stop for start, stop in spans) for moment, _ in spans) <= 2
        mark.unlink()
        path = photo(tmp_path / "b.png", MEETS, (100, 100))
        assert [photograph.width for photograph in pool.map(decoders.decode, [path] * 2)] == [100] * 2


def test_closing_ends_what_is_being_decoded(tmp_path, mark):
    path = photo(tmp_path / "a.png", HANGS)
    decoders = Decoders(seconds=600)
    outcomes = []

    def decode():
        try:
            decoders.decode(path)
        except PhotoError as error:
            outcomes.append(str(error))

    thread = threading.Thread(target=decode)
    thread.start()
    while not any(worker._ready for worker in list(decoders._busy)):
        time.sleep(0.01)
    decoders.close()
    thread.join(timeout=300)
    assert outcomes == ["the decoders were closed"]
    with pytest.raises(PhotoError, match="closed"):
        decoders.decode(path)


def test_processes_that_the_system_does_not_start(tmp_path, monkeypatch):
    """It is not the photograph that cannot be read."""
    monkeypatch.setattr(decoders_module, "WORKER", (str(tmp_path / "no such program"),))
    with Decoders() as decoders, pytest.raises(DecoderError, match=r"does not start \(No such file or directory\)"):
        decoders.decode(photo(tmp_path / "a.png", GOOD))


def test_processes_that_do_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders_module, "WORKER", (sys.executable, "-c", "raise SystemExit(3)"))
    with Decoders() as decoders, pytest.raises(DecoderError, match=r"does not start \(exit code 3\)"):
        decoders.decode(photo(tmp_path / "a.png", GOOD))


# -- the process itself


def start_worker(seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "indexer.build.decode_worker", str(seconds), "1000000"]
    worker = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"ready\n"
    return worker


def test_ctrl_c_is_not_for_the_worker_which_ends_when_nobody_asks_any_more(tmp_path):
    with start_worker(60) as worker:
        worker.send_signal(signal.SIGINT)
        worker.send_signal(signal.SIGTERM)
        worker.stdin.write(json.dumps(str(photo(tmp_path / "a.png", GOOD))).encode() + b"\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline()) == {"memory": 40 * 30 * 4, "pixels": 0}
        worker.stdin.close()
        assert worker.wait(timeout=300) == 0


def test_a_worker_ends_itself_when_it_hangs_and_its_parent_is_gone(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to open it takes for ever
    with start_worker(0.2) as worker:
        worker.stdin.write(json.dumps(str(tmp_path / "pipe")).encode() + b"\n")
        worker.stdin.close()
        assert worker.wait(timeout=300) == 1


def test_the_worker_knows_neither_torch_nor_the_collection():
    heavy = {"torch", "sqlalchemy", "h5py", "faiss", "db"}
    code = f"import sys, indexer.build.decode_worker; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
