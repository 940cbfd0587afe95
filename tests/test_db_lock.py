import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from db.errors import CollectionLocked
from db.local.lock import ReaderLock, WriterLock, without_readers

HOLDER = """
import sys, time
from pathlib import Path
from db.local.lock import ReaderLock, WriterLock, without_readers
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "lock"
    first = WriterLock(path)
    with pytest.raises(CollectionLocked, match=f"by process {os.getpid()}, started 20"):
        WriterLock(path)
    first.release()
    WriterLock(path).release()
    assert path.read_text() == ""  # nobody is taken for the holder who is not


def test_who_has_only_just_taken_it_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    holder = WriterLock(path)
    text = path.read_text()
    path.write_text("")
    monkeypatch.setattr("time.sleep", lambda seconds: path.write_text(text))
    with pytest.raises(CollectionLocked, match=f"by process {os.getpid()}, started 20"):
        WriterLock(path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    path.write_text("")
    with pytest.raises(CollectionLocked, match="by another process"):
        WriterLock(path)
    holder.release()


def test_another_process_is_named_and_its_lock_goes_with_it(tmp_path):
    path = tmp_path / "lock"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(CollectionLocked, match=rf"process {holder.pid}, started 20\d\d-") as refused:
            WriterLock(path)
        assert str(tmp_path) in str(refused.value)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        WriterLock(path).release()


def test_who_is_just_letting_go_of_it_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    holder = WriterLock(path)
    path.write_text("")  # as `release` does before it unlocks
    monkeypatch.setattr("time.sleep", lambda seconds: holder.release())
    WriterLock(path).release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    lock = WriterLock(tmp_path / "lock")
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(writer)
        os.read(reader, 1)  # lives until the test closes its end
        os._exit(0)
    lock.release()
    WriterLock(tmp_path / "lock").release()
    os.close(writer)
    os.close(reader)
    assert os.waitpid(worker, 0)[1] == 0


def test_a_short_text_follows_a_long_one_without_remains(tmp_path):
    path = tmp_path / "lock"
    path.write_text("process 4194304, started in the year of the flood, by someone with a very long name\n")
    lock = WriterLock(path)
    assert path.read_text().startswith(f"process {os.getpid()}, started 20") and path.read_text().count("\n") == 1
    assert "flood" not in path.read_text()
    lock.release()


def test_alone_means_that_free(tmp_path):
    path = tmp_path / "readers"
    first = ReaderLock(path)  # there is nothing to share yet
    with without_readers(path) as free:
        assert not free
    first.release()
    with without_readers(path) as free:
        assert free
        with without_readers(path) as again:
            assert not again
    one, two = ReaderLock(path), ReaderLock(path)
    for reader in (one, two):
        with without_readers(path) as free:
            assert not free
        reader.release()
    with without_readers(path) as free:
        assert free


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nobody_may_write_nobody_need_be_kept_out(tmp_path, monkeypatch, number):
    def refuse(path, flags, mode=0o777):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    ReaderLock(tmp_path / "readers").release()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_no_reason_to_be_refused(tmp_path, monkeypatch):
    """Nor does the lock stay behind in this process."""

    def write(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "lock"
    monkeypatch.setattr(os, "write", write)
    lock = WriterLock(path)
    monkeypatch.setattr("db.local.lock._TRIES", 1)
    with pytest.raises(CollectionLocked, match="is being written by another process"):
        WriterLock(path)
    lock.release()
    WriterLock(path).release()
