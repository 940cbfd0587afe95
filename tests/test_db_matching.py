"""Conditions on photographs, by the real database."""

from pathlib import Path

import numpy as np
import pytest

from db.collection import open_collection
from db.records import AreaRange, Circle, FailedFile, PhotoFilter, PhotoHeaders
from helpers.db_photos import MODEL, photo
from helpers.db_server import new_url

BERLIN, POTSDAM, FIJI_WEST, FIJI_EAST = (52.52, 13.40), (52.39, 13.06), (-17.0, 179.9), (-17.0, -179.9)


def taken(when=None, place=(None, None), **headers):
    return PhotoHeaders(taken=when, latitude=place[0], longitude=place[1], **headers)


# Under the roots /photos and /photos/inner, which lies in the other one.
PHOTOS = {
    "a.jpg": {"headers": taken("2023-05-01T00:00:00", BERLIN, make="Canon", model="Canon EOS 5D Mark IV")},
    "trip/b.JPG": {"headers": taken("2023-04-30T23:59:59", POTSDAM, make="Apple", model="iPhone 15 Pro")},
    "trip/day/c.HeiC": {"headers": taken("2024-01-01T00:00:00", FIJI_WEST), "width": 80, "height": 100},
    "trip2/d.png": {"headers": taken(None, FIJI_EAST, model="100%_cam"), "width": 1000, "height": 1009},
    "trip": {"headers": taken("2022-12-31T12:00:00")},
    "tri\udcff/e.jpeg": {"width": 1000, "height": 1010},  # its headers were never read
    "f.tiff": {"headers": taken(), "width": 50, "height": 50},
}


@pytest.fixture(scope="module", params=["folder", "server"])
def collection(tmp_path_factory, request):
    place = new_url() if request.param == "server" else tmp_path_factory.mktemp("collection")
    with open_collection(place, write=True, create=True, model=MODEL) as opened:
        root_id = opened.add_root(Path("/photos"))
        inner = opened.add_root(Path("/photos/inner"))
        new = [photo(root_id, path, **changes) for path, changes in PHOTOS.items()]
        opened.commit(new=[*new, photo(inner, "trip/g.jpg")], failed=[FailedFile(root_id, "h.jpg", 1, 1, None, "bad")])
        yield opened


def found(collection, **conditions) -> list[str]:
    photo_ids = collection.matching(PhotoFilter(**conditions)).photo_ids
    assert photo_ids.dtype == np.int64 and (np.diff(photo_ids) > 0).all()
    return [row.path.relative_to("/photos").as_posix() for row in collection.photos(photo_ids)]


EVERYTHING = [*PHOTOS, "inner/trip/g.jpg"]


def test_without_conditions_all_described_photos(collection):
    assert found(collection) == EVERYTHING


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/photos/trip"], ["trip/b.JPG", "trip/day/c.HeiC", "trip"]),  # "trip" is also a file's name here
        (["/photos/trip/day"], ["trip/day/c.HeiC"]),
        (["/photos/trip/day/c.HeiC"], ["trip/day/c.HeiC"]),
        (["/photos/tri"], []),
        (["/photos/tri\udcff"], ["tri\udcff/e.jpeg"]),
        (["/photos/inner"], ["inner/trip/g.jpg"]),
        (["/photos"], EVERYTHING),
        (["/"], EVERYTHING),
        (["/photographs"], []),
        (["/photos/trip2", "/photos/inner/trip"], ["trip2/d.png", "inner/trip/g.jpg"]),
    ],
)
def test_under_a_folder(collection, folders, names):
    assert found(collection, under=tuple(map(Path, folders))) == names


def test_when_it_was_taken(collection):
    assert found(collection, taken_from="2023-05-01T00:00:00") == ["a.jpg", "trip/day/c.HeiC"]
    assert found(collection, taken_until="2023-05-01T00:00:00") == ["trip/b.JPG", "trip"]
    year = {"taken_from": "2023-01-01T00:00:00", "taken_until": "2024-01-01T00:00:00"}
    assert found(collection, **year) == ["a.jpg", "trip/b.JPG"]


def test_the_shapes_are_all_there_are(collection):
    shapes = {shape: found(collection, orientation=shape) for shape in ("landscape", "portrait", "square")}
    assert shapes["portrait"] == ["trip/day/c.HeiC", "tri\udcff/e.jpeg"]
    assert shapes["square"] == ["trip2/d.png", "f.tiff"]
    assert sorted(name for names in shapes.values() for name in names) == sorted(EVERYTHING)


def test_words_of_a_camera(collection):
    assert found(collection, cameras=("canon 5d",)) == ["a.jpg"]
    assert found(collection, cameras=("IPHONE", "eos")) == ["a.jpg", "trip/b.JPG"]
    assert found(collection, cameras=("canon iphone",)) == []
    assert found(collection, cameras=("%",)) == ["trip2/d.png"]  # no pattern
    assert found(collection, cameras=("100__",)) == []


def test_the_ends_of_names(collection):
    assert found(collection, suffixes=(".jpg", ".jpeg")) == ["a.jpg", "trip/b.JPG", "tri\udcff/e.jpeg", EVERYTHING[-1]]
    assert found(collection, suffixes=(".heic", ".3fr")) == ["trip/day/c.HeiC"]
    assert found(collection, suffixes=(".a-suffix-that-is-longer-than-names",)) == []


def test_near_a_place(collection):
    assert found(collection, near=Circle(*BERLIN, 1)) == ["a.jpg"]
    # 27.2 km by the great circle
    assert found(collection, near=Circle(*BERLIN, 26.5)) == ["a.jpg"]
    assert found(collection, near=Circle(*BERLIN, 28)) == ["a.jpg", "trip/b.JPG"]
    # 21 km apart, on both sides of 180 degrees
    assert found(collection, near=Circle(-17, 180, 15)) == ["trip/day/c.HeiC", "trip2/d.png"]
    assert found(collection, near=Circle(90, 0, 10)) == []
    assert len(found(collection, near=Circle(0, 0, 20_100))) == 4


def test_conditions_hold_together(collection):
    both = {"taken_from": "2023-01-01T00:00:00", "under": (Path("/photos/trip"),)}
    assert found(collection, **both) == ["trip/b.JPG", "trip/day/c.HeiC"]
    assert found(collection, **both, orientation="portrait", near=Circle(*FIJI_WEST, 1)) == ["trip/day/c.HeiC"]


def test_photos_that_do_not_say_are_counted(collection):
    assert collection.matching(PhotoFilter()).silent == {}
    assert collection.matching(PhotoFilter(taken_until="2000")).silent == {"date": 4}
    assert collection.matching(PhotoFilter(cameras=("x",))).silent == {"camera": 5}
    assert collection.matching(PhotoFilter(cameras=("x",))).unread == 2
    assert collection.matching(PhotoFilter(orientation="square")).unread == 0
    assert collection.matching(PhotoFilter(near=Circle(0, 0, 1))).silent == {"place": 4}


def test_regions_by_the_share_of_the_photo(collection):
    photos = {row.photo_id: row for row in collection.photos(collection.photo_ids())}
    everything = collection.regions(collection.features().region_ids)

    def share(region):
        x1, y1, x2, y2 = region.box
        return (x2 - x1) * (y2 - y1) / (photos[region.photo_id].width * photos[region.photo_id].height)

    shares = sorted(map(share, everything))
    least, most = shares[3], shares[-4]  # both included
    expected = [region for region in everything if least <= share(region) <= most]
    assert 0 < len(expected) < len(everything)
    area = AreaRange(least, most)
    assert collection.regions_of_area(area).tolist() == [region.region_id for region in expected]
    some = sorted(photos)[1:5:3]
    of_some = [region.region_id for region in expected if region.photo_id in some]
    assert collection.regions_of_area(area, some).tolist() == of_some
    owners = sorted({region.photo_id for region in expected})
    assert collection.matching(PhotoFilter(area=area)).photo_ids.tolist() == owners
    assert collection.regions_of_area(AreaRange(0.9, 1)).tolist() == []
