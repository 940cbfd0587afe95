"""Whether the photographs on the disk are those that were described, and are described alike."""

import os

import pytest

from db.collection import open_collection
from db.local.maintenance.verification import repair
from db.local.records import Findings
from db.records import FileState
from helpers.workshop import MODEL, ColourPredictor, Workshop, counts
from indexer import disk_check
from indexer.disk_check import DiskReport, check_photographs


@pytest.fixture
def shop(tmp_path) -> Workshop:
    shop = Workshop(tmp_path)
    for number in range(5):
        shop.photo(f"{number}.png", (40 * number, 0, 0))
    shop.photo("white.png", "white", size=(100, 50))
    (shop.root / "text.jpg").write_text("Dear diary")
    shop.build()
    return shop


def check(shop: Workshop, describer: ColourPredictor | None = None) -> DiskReport:
    with open_collection(shop.path) as collection:
        return check_photographs(collection, describer)


def kinds(report: DiskReport) -> list[tuple[str, bool]]:
    return [(problem.kind, problem.repairable) for problem in report.problems]


def test_all_is_well(shop):
    report = check(shop)
    assert report == DiskReport()
    report = check(shop, ColourPredictor())
    assert (report.problems, report.described_again, report.found_again) == ([], 6, 1.0)


def test_missing_photographs(shop):
    (shop.root / "1.png").unlink()
    (shop.root / "2.png").rename(shop.root / "moved.png")
    (shop.root / "text.jpg").unlink()  # was never described
    report = check(shop)
    assert report.missing == [shop.root / "1.png", shop.root / "2.png"]
    assert kinds(report) == [("photographs", False)]
    assert report.problems[0].what == (
        f"2 photographs are missing ({shop.root / '1.png'} and others): "
        "`indexer build` finds those that moved and forgets the rest."
    )
    shop.build()
    assert check(shop).problems == []


def test_a_missing_root(shop, tmp_path):
    shop.root.rename(tmp_path / "unplugged")
    report = check(shop)
    assert len(report.missing) == 6
    assert [problem.what for problem in report.problems][1] == f"The folder {shop.root} is not there."


def test_only_deep_looks_into_files(shop):
    shop.photo("1.png", "green")
    os.utime(shop.root / "2.png", ns=(0, 0))  # touched, that is all
    assert check(shop).problems == []
    report = check(shop, ColourPredictor())
    assert (report.changed, report.altered) == ([shop.root / "1.png"], [])
    assert kinds(report) == [("photographs", False)]
    assert report.described_again == 5
    shop.build()
    assert check(shop, ColourPredictor()).problems == []


def test_what_was_altered_behind_its_time_is_described_again_after_repair(shop):
    path = shop.root / "white.png"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, stat.st_mtime_ns))
    with open_collection(shop.path, write=True, model=MODEL) as collection:
        known = shop.stats()["white.png"]  # a disk that forgets a bit changes no time at all
        state = FileState(known.size, known.mtime_ns, path.stat().st_ctime_ns)
        collection.commit(touched={known.photo_id: state})
    assert counts(shop.build()) == {"unchanged": 6, "failed_before": 1}  # no build would notice
    report = check(shop, ColourPredictor())
    assert (report.altered, report.changed) == ([path], [])
    assert kinds(report) == [("photographs", True)]
    with open_collection(shop.path, write=True, model=MODEL) as collection:
        repair(collection, Findings(damaged=report.damaged))
    assert shop.stats()["white.png"].reason == disk_check.ALTERED
    assert counts(shop.build())["unchanged"] == 5
    assert check(shop, ColourPredictor()).altered == []


def test_files_that_cannot_be_read(shop, monkeypatch):
    real = disk_check.content_digest

    def digest(path):
        if path.name == "3.png":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(disk_check, "content_digest", digest)
    report = check(shop, ColourPredictor())
    assert (report.unreadable, report.described_again) == ([shop.root / "3.png"], 5)
    assert kinds(report) == [("photographs", False)]


class Drifted(ColourPredictor):
    """Sees every box a quarter of the photograph further to the right."""

    def _describe(self, image, max_regions):
        regions = super()._describe(image, max_regions)
        regions.boxes[:, [0, 2]] += image.width / 4
        return regions


def test_a_network_that_gives_other_regions_has_drifted(shop, monkeypatch):
    report = check(shop, Drifted())
    assert (report.found_again, kinds(report)) == (0.0, [("drift", False)])
    assert "only 0% of the regions are the same" in report.problems[0].what
    monkeypatch.setattr(disk_check, "SAMPLE", 2)
    assert check(shop, ColourPredictor()).described_again == 2


def test_photographs_whose_features_are_damaged_are_no_sample(shop):
    """`verification.verify` says what is wrong; here it must not be the end of the check."""
    shop.photo("later.png", "yellow")
    shop.build()
    first, second = sorted((shop.path / "features").iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    report = check(shop, ColourPredictor())
    assert (report.problems, report.described_again, report.found_again) == ([], 1, 1.0)
    second.unlink()
    report = check(shop, ColourPredictor())
    assert (report.problems, report.described_again, report.found_again) == ([], 0, None)
