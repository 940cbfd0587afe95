"""The collection that the evaluations ask: the labelled photographs, all of them, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from db.collection import open_collection
from fcln.predictor import Predictor, Regions
from fcln.training.annotations import AnnotatedImage, load_annotations
from helpers.labelled_photos import write_labels, write_photo
from indexer.build.build import build
from indexer.build.options import BuildOptions
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection, link_photographs


@pytest.fixture
def photographs(tmp_path: Path) -> list[AnnotatedImage]:
    """Three labelled photographs, one of which is no JPEG, in a folder that holds a fourth without labels.

    The labels' frame is twice as wide and four times as high as the photographs.
    """
    for image_id in (1, 2, 9):
        write_photo(tmp_path / "photos" / f"{image_id}.jpg", size=(96, 64), seed=image_id)
    (tmp_path / "photos" / "3.jpg").write_text("no photograph")
    regions = {image_id: [((20, 40, 60, 80), "a dog")] for image_id in (2, 3, 1)}
    return load_annotations(tmp_path / "photos", write_labels(tmp_path / "labels", regions, size=(192, 256)))


class CountingPredictor:
    """The tiny network, counting the photographs that go through it."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self.described = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._predictor, name)

    def describe(self, images: Sequence[Image.Image], *, max_regions: int = 50) -> list[Regions]:
        self.described += len(images)
        return self._predictor.describe(images, max_regions=max_regions)


def test_holds_the_labelled_photographs_that_can_be_decoded(
    photographs: list[AnnotatedImage], tiny_predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    with labelled_collection(photographs, tiny_predictor, max_regions=5) as labelled:
        assert labelled.collection.photo_count() == 2
        assert [photo.labels.image_id for photo in labelled.photos] == [1, 2]
        rows = labelled.collection.photos([photo.photo_id for photo in labelled.photos])
        assert [row.path.name for row in rows] == ["1.jpg", "2.jpg"]
        assert 2 <= labelled.collection.region_count() <= 10
        where = labelled.collection.path
    assert "3.jpg: a text file, not a photograph" in capsys.readouterr().err
    assert not where.exists()


def test_boxes_are_in_the_pixels_of_the_photograph(
    photographs: list[AnnotatedImage], tiny_predictor: Predictor
) -> None:
    with labelled_collection(photographs, tiny_predictor, max_regions=5) as labelled:
        # x1 y1 x2 y2 = 20 40 80 120 of 192x256 in a photograph of 96x64.
        assert [photo.boxes.tolist() for photo in labelled.photos] == [[[10, 10, 40, 30]]] * 2


def test_a_kept_collection_is_used_again_and_follows_the_labels(
    photographs: list[AnnotatedImage], tiny_predictor: Predictor, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    predictor = CountingPredictor(tiny_predictor)
    with labelled_collection(photographs[:1], predictor, max_regions=5, kept_at=kept):  # type: ignore[arg-type]
        assert predictor.described == 1
    with labelled_collection(photographs, predictor, max_regions=5, kept_at=kept) as labelled:  # type: ignore[arg-type]
        assert predictor.described == 2
        assert labelled.collection.photo_count() == 2
    with labelled_collection(photographs[2:], predictor, max_regions=5, kept_at=kept) as labelled:  # type: ignore[arg-type]
        assert predictor.described == 2
        assert [photo.labels.image_id for photo in labelled.photos] == [1]
        assert labelled.collection.photo_count() == 1


def test_a_kept_collection_with_another_number_of_regions_is_refused(
    photographs: list[AnnotatedImage], tiny_predictor: Predictor, tmp_path: Path
) -> None:
    with labelled_collection(photographs, tiny_predictor, max_regions=5, kept_at=tmp_path / "kept"):
        pass
    with (
        pytest.raises(EvaluationError, match="built with --max-regions 5, not 6"),
        labelled_collection(photographs, tiny_predictor, max_regions=6, kept_at=tmp_path / "kept"),
    ):
        pass


def test_a_collection_of_other_photographs_is_refused(
    photographs: list[AnnotatedImage], tiny_predictor: Predictor, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with labelled_collection(photographs, tiny_predictor, max_regions=5, kept_at=kept):
        pass
    with open_collection(kept, write=True) as collection:
        build(collection, [tmp_path / "photos"], tiny_predictor, BuildOptions(max_regions=5))
    with (
        pytest.raises(EvaluationError, match=r"holds other photographs too, such as .*photos/"),
        labelled_collection(photographs, tiny_predictor, max_regions=5, kept_at=kept),
    ):
        pass


def test_links_follow_the_photographs(photographs: list[AnnotatedImage], tmp_path: Path) -> None:
    folder = tmp_path / "links"
    link_photographs(photographs, folder)
    (folder / "note.txt").write_text("stays")
    (folder / "2.jpg").unlink()
    (folder / "2.jpg").symlink_to(tmp_path / "photos" / "9.jpg")
    link_photographs(photographs[:2], folder)
    assert {path.name: path.resolve() for path in folder.iterdir()} == {
        "2.jpg": tmp_path / "photos" / "2.jpg",
        "3.jpg": tmp_path / "photos" / "3.jpg",
        "note.txt": folder / "note.txt",
    }
