"""What becomes of files whose content is known."""

import numpy as np
import pytest

from db.collection import Collection, open_collection
from helpers.workshop import Listener, Workshop
from indexer.build.content import Content, content_digest, read
from indexer.build.pending import Pending
from indexer.build.report import BuildReport
from indexer.build.triage import Triage
from indexer.scan.plan import find_changes


@pytest.fixture
def shop(tmp_path) -> Workshop:
    return Workshop(tmp_path)


def triage(shop: Workshop, collection: Collection, *, retry: bool = False) -> tuple[Triage, list[Content], Pending]:
    """A Triage of what changed since the last build, and the files that it lets through."""
    plan = find_changes(collection, [shop.root], retry=retry)
    report = BuildReport()
    pending = Pending(collection, report, Listener(), commit_seconds=1000)
    of_plan = Triage(collection, plan, pending, report, retry=retry)
    return of_plan, list(of_plan.unknown((task, read(task)) for task in plan.tasks)), pending


def test_one_file_of_each_unknown_content_goes_through_and_the_others_wait_for_it(shop):
    shop.photo("known.png")
    shop.build()
    shop.photo("a.png", (0, 200, 0))
    shop.photo("b.png", (0, 200, 0))
    shop.photo("c.png", (0, 0, 200))
    with open_collection(shop.path, write=True) as collection:
        sorter, through, _ = triage(shop, collection)
        assert [content.path.name for content in through] == ["a.png", "c.png"]
        a, c = through
        duplicate = sorter.next_duplicate(a)
        assert duplicate is not None and duplicate.path.name == "b.png"
        assert sorter.next_duplicate(a) is None and sorter.next_duplicate(c) is None
        assert sorter.take_duplicates(c) == []


def test_a_copy_of_a_known_photograph_is_that_photograph_at_another_place(shop):
    original = shop.photo("known.png")
    shop.build()
    (shop.root / "copy.png").write_bytes(original.read_bytes())
    with open_collection(shop.path, write=True) as collection:
        _, through, pending = triage(shop, collection)
        assert through == []
        (known,) = collection.photo_ids()
        features = collection.features([known])
        copied = pending.find(content_digest(shop.root / "copy.png"))
        assert copied is not None
        assert (copied.path, copied.width, copied.height) == ("copy.png", 40, 30)
        file = (shop.root / "copy.png").stat()
        assert (copied.size, copied.mtime_ns, copied.ctime_ns) == (file.st_size, file.st_mtime_ns, file.st_ctime_ns)
        (row,) = collection.photos([known])
        assert (copied.digest, copied.headers, copied.incomplete) == (row.digest, row.headers, row.incomplete)
        np.testing.assert_array_equal(copied.codes, features.codes)
        np.testing.assert_array_equal(copied.embeddings, features.embeddings)
        regions = collection.regions(features.region_ids.tolist())
        np.testing.assert_array_equal(copied.boxes, np.array([region.box for region in regions], np.float32))
        np.testing.assert_array_equal(copied.scores, np.array([region.score for region in regions], np.float32))
        assert copied.phrases == [region.phrase for region in regions]


def test_what_is_missing_is_moved_before_it_is_gone(shop):
    first, second = shop.photo("first.png", (0, 200, 0)), shop.photo("second.png")
    shop.build()
    first.rename(shop.root / "renamed.png")
    second.unlink()
    with open_collection(shop.path, write=True) as collection:
        sorter, through, _ = triage(shop, collection)
        assert through == []
        assert [stat.path for stat in sorter.missing] == ["second.png"]


@pytest.mark.parametrize("retry", [False, True])
def test_what_failed_goes_through_only_if_it_is_to_be_tried_again(shop, retry):
    (shop.root / "text.jpg").write_text("Dear diary")
    shop.photo("good.png")
    shop.build()
    (shop.root / "text.jpg").rename(shop.root / "moved.jpg")
    with open_collection(shop.path, write=True) as collection:
        _, through, _ = triage(shop, collection, retry=retry)
    assert [content.path.name for content in through] == (["moved.jpg"] if retry else [])


def test_copies_that_move_together_keep_their_own_rows(shop):
    for name in ("a.png", "b.png", "c.png"):
        shop.photo(name)
    shop.build()
    with open_collection(shop.path) as collection:
        before = {row.path.name: row.photo_id for row in collection.photos(collection.photo_ids())}
    (shop.root / "new").mkdir()
    for name in ("c.png", "a.png", "b.png"):
        (shop.root / name).rename(shop.root / "new" / name)
    shop.build()
    with open_collection(shop.path) as collection:
        rows = collection.photos(collection.photo_ids())
        assert {row.path.name: row.photo_id for row in rows} == before
        assert {row.path.parent.name for row in rows} == {"new"}
