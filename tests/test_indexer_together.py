"""Many builds of one collection on a real server: shared, killed, silent, from several computers."""

import functools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from db.collection import open_collection
from db.errors import CollectionError
from helpers.db_server import connections, new_url, wait_for_the_end_of_all_but
from helpers.workshop import MODEL, ColourPredictor, Listener, Workshop, counts
from indexer.build.build import build
from indexer.build.options import BuildOptions

LEASE = 600  # seconds: on a busy computer a living build may be silent for long
SHORT_LEASE = 3  # of builds that are killed, which the next one waits for
TESTS = Path(__file__).parent
# A build in a process of its own that says how many photographs it described, and stops before the given one.
PROGRAM = """
import sys, time
sys.path[:0] = [{tests!r}, {project!r}]
from pathlib import Path
from helpers.workshop import MODEL, ColourPredictor, Listener
from db.collection import open_collection
from indexer.build.build import build
from indexer.build.options import BuildOptions

predictor = ColourPredictor()
def before():
    print(predictor.described, flush=True)
    if predictor.described >= {stop_before}:
        time.sleep(600)
predictor.before_batch = before
with open_collection({url!r}, write=True, create=True, model=MODEL) as collection:
    build(collection, [Path({root!r})], predictor,
          BuildOptions(threads=1, batch_size=1, commit_seconds=0, lease_seconds={lease}), progress=Listener())
"""


@pytest.fixture
def shop(tmp_path):
    shop = Workshop(tmp_path, new_url())
    for number in range(24):
        shop.photo(f"{number % 3}/{number}.png", (number * 7, 40, 200 - number), (40 + number, 30))
    return shop


@pytest.fixture
def alone(shop, tmp_path):
    """The same album in a folder's collection, built alone."""
    other = Workshop.__new__(Workshop)
    other.__dict__ |= {**shop.__dict__, "path": tmp_path / "alone", "predictor": ColourPredictor()}
    return other


def share(shop, *, predictor=None, progress=None, root=None, **options):
    """One of several builds."""
    how = BuildOptions(threads=1, **{"batch_size": 1, "commit_seconds": 0, "lease_seconds": LEASE, **options})
    with open_collection(shop.path, write=True, create=True, model=MODEL) as collection:
        return build(collection, [root or shop.root], predictor or shop.predictor, how, progress=progress or Listener())


class Gathering(Listener):
    """A build that begins on its files once others are there: one that came when they are done would list again."""

    def __init__(self, builds: threading.Barrier):
        super().__init__()
        self._builds = builds

    def start(self, total, doing="Describing"):
        if self.total is None:
            self._builds.wait(300)
        super().start(total, doing)


def start(shop, stop_before):
    code = PROGRAM.format(
        tests=str(TESTS), project=str(TESTS.parent), url=shop.path, root=str(shop.root), stop_before=stop_before,
        lease=SHORT_LEASE,
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def kill(process, after):
    """Kill it once it has described so many."""
    for line in process.stdout:
        if int(line) >= after:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def queued(shop):
    with open_collection(shop.path, write=True) as collection, collection.server.session() as session:
        return {
            table: session.scalar(text(f"SELECT count(*) FROM {table}"))
            for table in ("listing", "task", "missing", "content")
        }


def test_two_builds_share_the_files_and_describe_each_once(shop, alone):
    predictors = [ColourPredictor(), ColourPredictor()]
    meet = threading.Barrier(2)
    for each in predictors:  # both have something to do
        each.before_batch = functools.partial(lambda predictor: predictor.batches or meet.wait(300), each)
    listeners = [Listener(), Listener()]
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda i: share(shop, predictor=predictors[i], progress=listeners[i]), range(2)))
    assert sum(predictor.described for predictor in predictors) == 24
    assert all(predictor.described for predictor in predictors)
    assert sum(report.new for report in reports) == 24
    assert counts(alone.build()) == {"new": 24}
    assert shop.contents() == alone.contents()
    with open_collection(shop.path) as collection:
        last = collection.last_build()
        assert last is not None and last.counts["new"] == 24
    assert queued(shop) == {"listing": 0, "task": 0, "missing": 0, "content": 0}
    assert [line for each in listeners for line in each.said] == ["2 builds together: 24 new"]
    assert all(each.total == 24 and each.files == 24 for each in listeners)


def test_what_changed_is_shared_too(shop, alone):
    share(shop)
    alone.build()
    (shop.root / "0/0.png").rename(shop.root / "moved.png")
    (shop.root / "1/1.png").unlink()
    (shop.root / "2/2.png").write_text("no photograph")
    (shop.root / "copy.png").write_bytes((shop.root / "0/3.png").read_bytes())
    for number in range(6):
        shop.photo(f"new {number}.png", (9, 9, 9 * number))
    for number in range(4):
        (shop.root / f"same {number}.png").write_bytes((shop.root / "new 1.png").read_bytes())
    predictors = [ColourPredictor() for _ in range(3)]
    builds = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda each: share(shop, predictor=each, progress=Gathering(builds)), predictors))
    expected = alone.build()
    assert counts(expected) == {"new": 11, "moved": 1, "gone": 1, "unchanged": 21, "failed": 1}
    assert sum(predictor.described for predictor in predictors) == expected.described == 6
    for name in ("new", "changed", "moved", "gone", "failed", "unchanged"):
        assert sum(getattr(report, name) for report in reports) == getattr(expected, name), name
    assert shop.contents() == alone.contents()
    assert {path: stat.failed for path, stat in shop.stats().items()} == {
        path: stat.failed for path, stat in alone.stats().items()
    }


def test_the_dead_leave_their_files_to_the_others_and_nothing_is_described_twice(shop, alone):
    others = connections()
    processes = [start(shop, stop_before=n) for n in (4, 7)]
    for process, after in zip(processes, (4, 7)):
        kill(process, after)
    wait_for_the_end_of_all_but(others)
    committed = len(shop.stats())
    assert 5 <= committed <= 11  # at most one of each was not
    report = share(shop)
    assert shop.predictor.described == report.new == 24 - committed
    alone.build()
    assert shop.contents() == alone.contents()
    assert queued(shop) == {"listing": 0, "task": 0, "missing": 0, "content": 0}


def test_a_build_that_was_silent_for_too_long_commits_nothing_of_what_others_took_over(shop, alone):
    paused, go_on = threading.Event(), threading.Event()

    def pause():
        if not paused.is_set():
            paused.set()
            with silent.server.session() as session:  # as if its computer had slept
                session.execute(text("UPDATE writer SET alive_until = now() - interval '1 s'"))
            assert go_on.wait(300)

    sleepy, listener = ColourPredictor(), Listener()
    sleepy.before_batch = pause
    with open_collection(shop.path, write=True, create=True, model=MODEL) as silent, ThreadPoolExecutor(1) as pool:
        how = BuildOptions(threads=1, batch_size=1, commit_seconds=0, lease_seconds=3600)
        first = pool.submit(build, silent, [shop.root], sleepy, how, progress=listener)
        assert paused.wait(300)
        share(shop)
        go_on.set()
        first.result()
    assert any("were taken over by other builds" in warning for warning in listener.warnings)
    alone.build()
    assert shop.contents() == alone.contents()
    with open_collection(shop.path) as collection:
        assert collection.region_count() == len(collection.features().region_ids)


def test_a_file_that_a_build_has_in_work_comes_to_it_once(shop):
    """Though others took it for dead meanwhile, and gave its claims back."""

    def forget():
        shop.predictor.before_batch = lambda: None
        with collection.server.session() as session:
            session.execute(text("UPDATE task SET writer_id = NULL"))

    shop.predictor.before_batch = forget
    with open_collection(shop.path, write=True, create=True, model=MODEL) as collection:
        how = BuildOptions(threads=1, batch_size=4, commit_seconds=1000)
        build(collection, [shop.root], shop.predictor, how, progress=Listener())
    assert sorted(shop.paths()) == sorted(f"{number % 3}/{number}.png" for number in range(24))
    with open_collection(shop.path) as reader:
        assert reader.region_count() == len(reader.features().region_ids)


def test_a_listing_that_nobody_is_at_is_made_again(shop):
    stop = threading.Event()
    predictor = ColourPredictor()
    predictor.before_batch = lambda: stop.set() if predictor.described >= 3 else None
    with open_collection(shop.path, write=True, create=True, model=MODEL) as collection:
        how = BuildOptions(threads=1, batch_size=1, commit_seconds=0)
        report = build(collection, [shop.root], predictor, how, progress=Listener(), stop=stop.is_set)
    assert report.interrupted and 3 <= report.new <= 5
    (shop.root / "0/21.png").unlink()
    shop.photo("later.png", (1, 2, 200))
    assert share(shop).new == 24 - report.new
    assert set(shop.paths()) >= {"later.png"} and "0/21.png" not in shop.paths()


def test_a_build_of_other_folders_helps_first(shop, tmp_path):
    other = tmp_path / "other"
    (tmp_path / "shop").mkdir()
    extra = Workshop(tmp_path / "shop", shop.path)
    for number in range(5):
        extra.photo(f"{number}.png", (7, 7, 40 * number))
    extra.root.rename(other)
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda root: share(shop, predictor=ColourPredictor(), root=root), (shop.root, other)))
    assert sum(report.new for report in reports) == 29
    with open_collection(shop.path) as collection:
        assert collection.photo_count() == 29 and set(collection.roots().values()) == {shop.root, other}


def test_roots_are_mounted_at_other_places_on_other_computers(shop, tmp_path, monkeypatch):
    elsewhere = tmp_path / "mnt" / "elsewhere"
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(shop.root)
    place = tmp_path / "copied"
    os.system(f"cp -r {shop.root} {place}")
    share(shop)
    before = shop.contents()
    monkeypatch.setenv("DENSECAP_SEARCH_ROOT_AS", f"photos={place}")
    (place / "0/0.png").unlink()
    report = share(shop, root=place)
    assert (report.gone, report.new) == (1, 0)
    with open_collection(shop.path) as collection:
        assert list(collection.roots().values()) == [place]
        assert {row.path for row in collection.photos(collection.photo_ids())} == {
            place / Path(path).relative_to(shop.root) for path in before
        } - {place / "0/0.png"}
    monkeypatch.delenv("DENSECAP_SEARCH_ROOT_AS")
    assert set(shop.contents()) == set(before) - {str(shop.root / "0/0.png")}
    with pytest.raises(CollectionError, match=r"^--root-as is for a collection on a server"):
        monkeypatch.setenv("DENSECAP_SEARCH_ROOT_AS", f"photos={place}")
        open_collection(tmp_path / "folder")


def test_a_root_has_the_name_that_it_was_given(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("DENSECAP_SEARCH_ROOT_AS", f"archive={shop.root}")
    assert share(shop).new == 24
    place = tmp_path / "mounted"
    shop.root.rename(place)
    monkeypatch.setenv("DENSECAP_SEARCH_ROOT_AS", f"archive={place}")
    assert counts(share(shop, root=place)) == {"unchanged": 24}
    monkeypatch.delenv("DENSECAP_SEARCH_ROOT_AS")
    with open_collection(shop.path) as collection:
        assert list(collection.roots().values()) == [Path("archive")]
    listener = Listener()
    assert counts(share(shop, root=place, progress=listener)) == {"new": 24}
    assert any("archive is not there: --root-as archive=FOLDER says where" in line for line in listener.warnings)
