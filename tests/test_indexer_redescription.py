"""A collection over to another checkpoint, photograph by photograph."""

import functools
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from db.collection import open_collection
from db.maintenance import verify
from db.model_switch import open_successor, switch
from db.records import ModelIdentity
from helpers.db_server import connections, new_url, wait_for_the_end_of_all_but
from helpers.workshop import ColourPredictor, Listener, Workshop, counts
from indexer.build.build import build
from indexer.build.options import BuildOptions
from indexer.errors import FolderError
from indexer.redescription import Redescription, redescribe

NEW_MODEL = ModelIdentity("1" * 64, embedding_size=4, code_size=3)
TESTS = Path(__file__).parent
# A process that says how many photographs it described, and stops before the third.
PROGRAM = """
import sys, time
sys.path[:0] = [{tests!r}, {project!r}]
from db.collection import open_collection
from db.records import ModelIdentity
from helpers.workshop import ColourPredictor
from indexer.build.options import BuildOptions
from indexer.progress import Silence
from indexer.redescription import redescribe

predictor = ColourPredictor("all of it")
def before():
    print(predictor.described, flush=True)
    if predictor.described >= 2:
        time.sleep(600)
predictor.before_batch = before
with open_collection({url!r}, write=True) as collection:
    redescribe(collection, [], predictor, ModelIdentity("1" * 64, embedding_size=4, code_size=3),
               BuildOptions(threads=1, batch_size=1, commit_seconds=0, lease_seconds=1.5), progress=Silence())
"""


class Mover(Workshop):
    """A workshop with a second predictor."""

    def __init__(self, folder, location=None):
        super().__init__(folder, location)
        self.new_predictor = ColourPredictor("all of it")

    def redescribe(self, *folders, stop=lambda: False, **options) -> Redescription:
        self.progress = Listener()
        how = BuildOptions(threads=2, **options)
        with open_collection(self.path, write=True) as collection:
            return redescribe(
                collection, folders, self.new_predictor, NEW_MODEL, how, progress=self.progress, stop=stop
            )

    def model(self) -> ModelIdentity:
        with open_collection(self.path) as collection:
            return collection.model

    def phrases(self) -> dict[str, str]:
        """Path -> the first phrase."""
        return {path.rpartition("/")[2]: regions[0][2] for path, (_, regions, _, _) in self.contents().items()}


@pytest.fixture(params=["folder", "server"])
def shop(request, tmp_path) -> Mover:
    shop = Mover(tmp_path, None if request.param == "folder" else new_url())
    for number in range(5):
        shop.photo(f"{number}.png", (40 * number, 0, 0))
    shop.build()
    return shop


def test_everything_is_described_again_and_then_the_collection_is_of_the_new_checkpoint(shop):
    searched = []

    def look():  # what a search sees meanwhile
        searched.append((shop.model().digest[0], set(shop.phrases().values())))

    shop.new_predictor.before_batch = look
    outcome = shop.redescribe(batch_size=2)
    assert (outcome.switched, outcome.remaining, counts(outcome.report)) == (True, [], {"new": 5})
    assert searched == [("0", {"everything"})] * 3
    assert shop.model() == NEW_MODEL
    assert shop.phrases() == dict.fromkeys([f"{number}.png" for number in range(5)], "all of it")
    if isinstance(shop.path, Path):
        assert not (shop.path / "next").exists()


def test_interrupted_the_next_run_goes_on(shop):
    before = shop.contents()
    outcome = shop.redescribe(batch_size=1, stop=lambda: shop.new_predictor.described == 2)
    assert (outcome.switched, outcome.report.interrupted, len(outcome.remaining)) == (False, True, 3)
    assert shop.contents() == before
    outcome = shop.redescribe()
    assert (outcome.switched, counts(outcome.report)) == (True, {"new": 3, "unchanged": 2})
    assert (shop.new_predictor.described, shop.model()) == (5, NEW_MODEL)


def test_photographs_that_come_and_go_and_move_meanwhile(shop):
    shop.redescribe(batch_size=1, stop=lambda: shop.new_predictor.described == 3)
    (shop.root / "4.png").unlink()
    (shop.root / "0.png").rename(shop.root / "moved.png")
    shop.photo("new.png", "green")
    outcome = shop.redescribe()
    assert (outcome.switched, outcome.remaining) == (True, [])
    assert sorted(shop.phrases()) == ["1.png", "2.png", "3.png", "moved.png", "new.png"]
    assert set(shop.phrases().values()) == {"all of it"}


def test_what_cannot_be_seen_is_waited_for(shop, tmp_path):
    other = Mover(tmp_path / "other") if (tmp_path / "other").mkdir() is None else None
    away = other.photo("away.png", "yellow")
    shop.build(other.root)
    disk = other.root.rename(tmp_path / "unplugged")
    outcome = shop.redescribe()
    assert (outcome.switched, outcome.remaining) == (False, [away])
    assert shop.model() != NEW_MODEL and len(shop.contents()) == 6
    assert sum("does not exist" in warning for warning in shop.progress.warnings) == 1
    disk.rename(other.root)
    outcome = shop.redescribe()
    assert (outcome.switched, counts(outcome.report)) == (True, {"new": 1, "unchanged": 5})
    assert (len(shop.contents()), shop.model()) == (6, NEW_MODEL)


def test_prune_does_not_wait(shop, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(shop.photo("x.png", "yellow"), tmp_path / "other" / "y.png")
    (shop.root / "x.png").unlink()
    shop.build(tmp_path / "other")
    shutil.rmtree(tmp_path / "other")
    assert not shop.redescribe().switched
    assert shop.redescribe(prune=True).switched
    assert (len(shop.contents()), shop.model()) == (5, NEW_MODEL)


def test_a_part_of_the_folders_is_not_enough(shop, tmp_path):
    (tmp_path / "other").mkdir()
    shop.photo("x.png", "yellow").rename(tmp_path / "other" / "x.png")
    shop.build(tmp_path / "other")
    outcome = shop.redescribe(tmp_path / "other")
    assert (outcome.switched, len(outcome.remaining)) == (False, 5)
    assert shop.redescribe().switched


def test_a_photograph_that_turned_bad_is_remembered_as_such(shop):
    (shop.root / "3.png").write_text("text")
    outcome = shop.redescribe()
    assert (outcome.switched, counts(outcome.report)) == (True, {"new": 4, "failed": 1})
    assert shop.stats()["3.png"].failed and len(shop.contents()) == 4


def test_no_folder_is_there(shop, tmp_path):
    shop.root.rename(tmp_path / "unplugged")
    with pytest.raises(FolderError, match="does not exist"):
        shop.redescribe()
    assert len(shop.contents()) == 5


@pytest.fixture
def shared(tmp_path) -> Mover:
    """On a server, of 12 photographs."""
    shop = Mover(tmp_path, new_url())
    for number in range(12):
        shop.photo(f"{number}.png", (20 * number, 0, 0))
    shop.build()
    return shop


def test_two_builds_share_the_work_and_one_of_them_switches(shared):
    predictors = [ColourPredictor("all of it"), ColourPredictor("all of it")]
    meet = threading.Barrier(2)
    for each in predictors:  # both have something to do
        each.before_batch = functools.partial(lambda predictor: predictor.batches or meet.wait(300), each)

    def move(predictor):
        how = BuildOptions(threads=1, batch_size=1, commit_seconds=0)
        with open_collection(shared.path, write=True) as collection:
            outcome = redescribe(collection, (), predictor, NEW_MODEL, how, progress=Listener())
            assert collection.model == NEW_MODEL
            return outcome

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(move, predictors))
    assert [outcome.switched for outcome in outcomes] == [True, True]
    assert sum(predictor.described for predictor in predictors) == 12
    assert sum(outcome.report.new for outcome in outcomes) == 12
    assert shared.model() == NEW_MODEL
    assert shared.phrases() == dict.fromkeys([f"{number}.png" for number in range(12)], "all of it")
    assert verify(shared.path).holds


def test_one_that_is_killed_leaves_its_photographs_to_the_next(shared):
    before, others = shared.contents(), connections()
    code = PROGRAM.format(tests=str(TESTS), project=str(TESTS.parent), url=shared.path)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert "2\n" in process.stdout
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for_the_end_of_all_but(others)
    assert shared.contents() == before
    outcome = shared.redescribe(batch_size=1, lease_seconds=1.5)
    assert (outcome.switched, outcome.report.new) == (True, shared.new_predictor.described)
    assert 10 <= shared.new_predictor.described <= 11  # of the killed one's, at most one was not committed
    assert shared.model() == NEW_MODEL and len(shared.phrases()) == 12
    assert verify(shared.path).holds


def test_a_photograph_that_comes_while_another_build_switches(shared):
    """It walked the folders before; what it was about to describe beside is described in the collection itself."""
    late = ColourPredictor("all of it")

    def switched_by_another():
        if not late.batches:
            with open_collection(shared.path, write=True) as other, open_successor(other, NEW_MODEL) as successor:
                switch(other, successor)

    with open_collection(shared.path, write=True) as collection, open_successor(collection, NEW_MODEL) as successor:
        listing = build(successor, [shared.root], late, BuildOptions(threads=1), progress=Listener())
        assert listing.new == 12
    shared.photo("late.png", (7, 7, 7))
    late.before_batch, late.batches = switched_by_another, []
    with open_collection(shared.path, write=True) as collection:
        how = BuildOptions(threads=1, batch_size=1, commit_seconds=0)
        outcome = redescribe(collection, (), late, NEW_MODEL, how, progress=Listener())
    assert outcome.switched and len(shared.phrases()) == 13 and shared.model() == NEW_MODEL
    assert verify(shared.path).holds
