"""Collections copied from a folder to a server and back, cut off on the way, and compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from db import copying
from db.collection import open_collection
from db.errors import CheckpointMismatch
from db.records import PhotoHeaders
from helpers.db_photos import LIFE, MODEL, OTHER_MODEL, contents, live, photo
from helpers.db_server import new_url


def create(location, model=MODEL):
    return open_collection(location, write=True, create=True, model=model)


def without_ids(collection):
    """All that is told, ids apart."""
    found = contents(collection)
    features = collection.features()
    of_photo = {int(features.photo_ids[some.start]): some for some in features.slices()}
    return {
        "known": {
            str(collection.roots()[root_id]): {path: stat._replace(photo_id=0) for path, stat in known.items()}
            for root_id, known in found["known"].items()
        },
        "photos": {
            row.path: (
                replace(row, photo_id=0),
                [region._replace(region_id=0, photo_id=0) for region in found["regions"][of_photo[row.photo_id]]],
                features.codes[of_photo[row.photo_id]].tolist(),
                features.embeddings[of_photo[row.photo_id]].tolist(),
            )
            for row in found["photos"]
        },
        "left out": sorted(map(str, collection.left_out().values())),
    }


@pytest.fixture(params=["to a server", "to a folder"])
def both(request, tmp_path):
    """Where from and where to."""
    locations = tmp_path / "collection", new_url()
    return locations if request.param == "to a server" else locations[::-1]


@pytest.fixture
def source(both):
    with create(both[0]) as collection:
        live(collection)
        other = collection.add_root(Path("/more\udcff photos"))
        full = PhotoHeaders("2019-06-23T14:05:06", 120, "NIKON", "D90", None, -33.875, 151.21, 4, ("a", "caf\u00e9"))
        collection.commit(new=[photo(other, f"{n}.jpg", headers=full, incomplete="ends early") for n in range(5)])
        collection.set_left_out(other, {"videos": 3})
        yield collection


def test_everything_but_ids_is_copied_and_compared(both, source):
    source.note_precision("in float32")
    with create(both[1]) as target:
        report = copying.copy(source, target)
        assert report is not None and report.verified
        assert (report.copied, report.photographs, report.failed, report.surplus) == (7, 7, 1, 0)
        assert report.regions == source.region_count() == target.region_count()
        assert without_ids(target) == without_ids(source)
        assert target.precisions() == ["in float32"]
        again = copying.copy(source, target)
        assert again is not None and again.copied == 0 and again.verified
        source.commit(new=[photo(1, "b.jpg", version=9)], gone=[9])
        later = copying.copy(source, target)
        assert later is not None and (later.copied, later.photographs, later.surplus) == (1, 6, 1)


def test_a_copy_that_was_cut_off_goes_on(both, source, monkeypatch):
    monkeypatch.setattr(copying, "_PHOTOS_AT_ONCE", 2)
    for photos in (2, 4, 6):
        with create(both[1]) as target:
            assert copying.copy(source, target, stop=lambda: True) is None
            assert target.photo_count() == photos
    advanced = []
    with create(both[1]) as target:
        report = copying.copy(source, target, advance=advanced.append)
        assert report is not None and report.verified and report.copied == 1
        assert sum(advanced) == 7
        assert without_ids(target) == without_ids(source)


def test_what_is_not_the_same_is_named(both, source):
    with create(both[1]) as target:
        copying.copy(source, target)
        theirs = target.known(1)["b.jpg"]
        wrong = photo(1, "b.jpg", version=1, count=4)
        wrong = replace(wrong, size=theirs.size, mtime_ns=theirs.mtime_ns, ctime_ns=theirs.ctime_ns)
        target.commit(new=[replace(wrong, phrases=["other", *wrong.phrases[1:]])])
        report = copying.copy(source, target)
        assert report is not None and not report.verified
        assert report.differing == [Path("/photos/b.jpg")]


def test_another_checkpoint_is_refused(both):
    create(both[0]).close()
    create(both[1], OTHER_MODEL).close()
    with open_collection(both[0]) as source, pytest.raises(CheckpointMismatch):
        create(both[1], source.model)
    assert len(LIFE) == 5
