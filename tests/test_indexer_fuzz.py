"""Hostile files under odd names, through a whole build: each is described or refused with a reason, and none is lost.

By default a thousand; `FUZZ_FILES=5000 pytest tests/test_indexer_fuzz.py` tries as many as it says. The same number
gives the same files.
"""

import os
import random

import pytest

from db.collection import open_collection
from decoding.photos import PIXEL_LIMIT
from helpers.workshop import Workshop, counts
from scripts.torture.hostile_files import LONGEST, ODD_NAMES, damaged, originals

FILES = int(os.environ.get("FUZZ_FILES", "1000"))
SEED = 20160627


def write_hostile_files(shop: Workshop) -> int:
    """FILES damaged files in the shop, after a sound one of each kind; returns how many of those there are."""
    rng = random.Random(SEED)
    by_suffix = originals(SEED)
    kinds = [(suffix, content) for suffix, contents in by_suffix.items() for content in contents]
    everything = [content for _, content in kinds]
    for number in range(len(kinds) + FILES):
        suffix, content = kinds[number % len(kinds)]
        if number >= len(kinds):
            content, _ = damaged(rng, content, everything)
        name = ODD_NAMES[number % len(ODD_NAMES)] + f" {number}".encode()
        if number % 17 == 0:
            name += b"x" * (LONGEST - len(name) - len(suffix))
        folder = shop.root / os.fsdecode(ODD_NAMES[number // 100 % len(ODD_NAMES)])
        folder.mkdir(exist_ok=True)
        (folder / os.fsdecode(name + suffix.encode())).write_bytes(content)
    return len(kinds)


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_whatever_a_file_holds_and_is_called_the_build_goes_on(tmp_path):
    shop = Workshop(tmp_path)
    sound = write_hostile_files(shop)
    report = shop.build(batch_size=32)
    stats = shop.stats()
    assert report.new + report.failed == len(stats) == sound + FILES
    assert shop.progress.files == sound + FILES
    reasons = {path: stat.reason for path, stat in stats.items() if stat.failed}
    assert len(reasons) == report.failed == len(shop.progress.failures)
    assert FILES / 4 < report.failed < FILES  # the damage is neither too little nor too much
    assert all(reasons.values())

    with open_collection(shop.path) as collection:
        photos = collection.photos(collection.photo_ids())
        features = collection.features()
        size = {photo.photo_id: (photo.width, photo.height) for photo in photos}
        assert len({photo.path for photo in photos if photo.path.exists()}) == report.new
        for region in collection.regions(features.region_ids):
            (x1, y1, x2, y2), (width, height) = region.box, size[region.photo_id]
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and width * height <= PIXEL_LIMIT
    names = sorted(path.name for path in shop.root.rglob("*") if path.is_file())
    assert sorted(path.rpartition("/")[2] for path in stats) == names

    assert counts(shop.build()) == {"unchanged": report.new, "failed_before": report.failed}
