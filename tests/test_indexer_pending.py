"""What waits for a commit, and when it is committed."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from db.records import NewPhoto
from helpers.workshop import Listener, counts
from indexer.build.content import Content
from indexer.build.pending import UNREAD_SIZE, Pending
from indexer.build.report import BuildReport
from indexer.scan.plan import Scope, Task
from indexer.scan.walk import PhotoFile


class Commits:
    """A collection as far as a commit needs one."""

    def __init__(self):
        self.made = []

    def commit(self, **changes):
        self.made.append({name: list(what) for name, what in changes.items() if what})

    def set_headers(self, headers):
        assert headers == {}


@pytest.fixture
def commits() -> Commits:
    return Commits()


def make(commits: Commits, seconds: float = 1000.0) -> tuple[Pending, BuildReport, Listener]:
    report, progress = BuildReport(), Listener()
    return Pending(commits, report, progress, commit_seconds=seconds), report, progress  # type: ignore[arg-type]


def content(name: str, digest: str = "d") -> Content:
    return Content(Task(Scope(Path("/photos"), "", 7), PhotoFile(name, 10, 20, 30), None), digest, 11, 21, 31)


def photo(name: str, digest: str = "d") -> NewPhoto:
    return NewPhoto(
        root_id=7,
        path=name,
        size=11,
        mtime_ns=21,
        digest=digest,
        width=20,
        height=10,
        boxes=np.array([[0, 0, 20, 10]], np.float32),
        scores=np.ones(1, np.float32),
        phrases=["a thing"],
        codes=np.ones((1, 4), np.float16),
        embeddings=np.array([[1, 0, 0, 0]], np.float32),
    )


def test_what_waits_is_committed_once(commits):
    pending, report, _ = make(commits)
    pending.add(content("a.jpg"), photo("a.jpg"))
    pending.add_copy(content("b.jpg"), photo("a.jpg"))
    pending.touch(3, content("c.jpg"))
    pending.move(4, content("d.jpg"))
    found = pending.find("d")
    assert found is not None and found.path == "a.jpg"
    pending.commit(gone=[5])
    (first,) = commits.made
    assert [new.path for new in first["new"]] == ["a.jpg", "b.jpg"]
    assert {name: what for name, what in first.items() if name != "new"} == {"moved": [4], "touched": [3], "gone": [5]}
    assert pending.find("d") is None
    pending.commit()
    assert commits.made[1] == {}
    assert (counts(report), report.regions) == ({"new": 2}, 2)


def test_it_is_due_after_some_photographs_or_some_time(commits, monkeypatch):
    monkeypatch.setattr("indexer.build.pending.COMMIT_PHOTOS", 2)
    pending, *_ = make(commits)
    pending.add(content("a.jpg"), photo("a.jpg"))
    pending.commit_if_due()
    assert not commits.made
    pending.add(content("b.jpg"), photo("b.jpg"))
    pending.commit_if_due()
    assert len(commits.made) == 1
    pending, *_ = make(commits, seconds=0)
    pending.commit_if_due()
    assert len(commits.made) == 2


def test_files_of_no_use_are_remembered_with_their_content_and_unread_ones_without(commits):
    pending, report, progress = make(commits)
    pending.fail(content("bad.jpg"), "no photograph")
    pending.skip(content("denied.jpg").task, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    pending.skip(content("deleted.jpg").task, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    pending.commit()
    failed = [(file.path, file.size, file.digest) for file in commits.made[0]["failed"]]
    assert failed == [("bad.jpg", 11, "d"), ("denied.jpg", UNREAD_SIZE, None)]
    assert report.failed == 2
    assert progress.failures == {"bad.jpg": "no photograph", "denied.jpg": "cannot be read (Permission denied)"}
