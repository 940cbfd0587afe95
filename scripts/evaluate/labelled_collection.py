"""Labelled photographs in a collection of their own: what the evaluations ask, filled by the product's own pipeline."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from db.collection import Collection, open_collection
from db.records import ModelIdentity
from fcln.predictor import Predictor
from fcln.training.annotations import AnnotatedImage
from fcln.vocabulary import words_of
from indexer.build.build import build
from indexer.build.options import BuildOptions
from indexer.progress import BarProgress, LineProgress
from scripts.evaluate.errors import EvaluationError

_MAX_REGIONS_FILE = "max_regions.txt"


@dataclass(frozen=True)
class LabelledPhoto:
    """A photograph of the collection and what people said about it."""

    photo_id: int
    labels: AnnotatedImage
    boxes: np.ndarray  # (G, 4) float32, the labels' boxes, x1 y1 x2 y2 in pixels of the upright photograph

    def words(self) -> frozenset[str]:
        """The words of everything that people said about it."""
        texts = [*self.labels.captions, *(phrase for phrases in self.labels.phrases for phrase in phrases)]
        return frozenset(word for text in texts for word in words_of(text))


@dataclass(frozen=True)
class LabelledCollection:
    """A collection that holds these photographs and no others."""

    collection: Collection
    photos: list[LabelledPhoto]  # by image id, so that nothing depends on the order of indexing


@contextmanager
def labelled_collection(
    photographs: Sequence[AnnotatedImage], predictor: Predictor, *, max_regions: int, kept_at: Path | None = None
) -> Iterator[LabelledCollection]:
    """Index the photographs, at most max_regions regions each, and open the collection for reading.

    kept_at: the collection's folder, brought up to date where it exists and left in place; beside it,
    `<name>-photographs` holds links to the photographs. None: a temporary one. Photographs that cannot be indexed are
    named on stderr and missing from the result.

    Raises EvaluationError if the collection holds anything else, and what `indexer.build.build.build` raises.
    """
    with ExitStack() as stack:
        path = kept_at or Path(stack.enter_context(TemporaryDirectory(prefix="densecap-evaluation-"))) / "collection"
        links = path.absolute().with_name(f"{path.name}-photographs")
        link_photographs(photographs, links)
        _require_max_regions(links, max_regions, exists=path.exists())
        identity = ModelIdentity(predictor.digest, predictor.embedding_size, predictor.code_size)
        progress = BarProgress() if sys.stderr.isatty() else LineProgress()
        stack.callback(progress.close)
        with open_collection(path, write=True, create=True, model=identity) as collection:
            build(collection, [links], predictor, BuildOptions(max_regions=max_regions), progress=progress)
        collection = stack.enter_context(open_collection(path, model=identity))
        yield LabelledCollection(collection, _match(collection, photographs, links.resolve()))


def link_photographs(photographs: Sequence[AnnotatedImage], folder: Path) -> None:
    """Make a folder hold a link `<image_id>.jpg` to each photograph, and no other link.

    The photographs' own folder may hold others too, which would be indexed and ranked with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{photo.image_id}{photo.path.suffix}": photo.path.resolve() for photo in photographs}
    for path in folder.iterdir():
        if path.is_symlink() and wanted.get(path.name) != path.readlink():
            path.unlink()
    for name, target in wanted.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)


def _require_max_regions(folder: Path, max_regions: int, *, exists: bool) -> None:
    """A kept collection does not know how many regions a photograph could have had; its folder of links does."""
    note = folder / _MAX_REGIONS_FILE
    if exists and note.exists() and note.read_text() != str(max_regions):
        raise EvaluationError(
            f"The kept collection was built with --max-regions {note.read_text()}, not {max_regions}: "
            "give another --collection."
        )
    note.write_text(str(max_regions))


def _match(collection: Collection, photographs: Sequence[AnnotatedImage], links: Path) -> list[LabelledPhoto]:
    labels = {photo.image_id: photo for photo in photographs}
    found = []
    for row in collection.photos(collection.photo_ids().tolist()):
        if row.path.parent != links:
            raise EvaluationError(
                f"The collection {collection.location} holds other photographs too, such as {row.path}: "
                "give another --collection."
            )
        photo = labels[int(row.path.stem)]
        # The annotations' frame may be another size of the same photograph.
        scale = np.array([row.width / photo.width, row.height / photo.height] * 2, np.float32)
        found.append(LabelledPhoto(row.photo_id, photo, photo.boxes * scale))
    return sorted(found, key=lambda labelled: labelled.labels.image_id)
