"""Photographs to measure with: many out of few."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from decoding.formats import SUFFIXES
from scripts.evaluate.errors import EvaluationError

SIZE = (500, 375)


def find_sources(folder: Path) -> list[Path]:
    """The photographs of a folder, by name. Raises EvaluationError if there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise EvaluationError(f"{folder} holds no photographs.")
    return found


def make_photographs(sources: Sequence[Path], folder: Path, count: int, *, size: tuple[int, int] = SIZE) -> list[Path]:
    """Write `count` JPEGs of a size, made of the sources in turn, no two alike: each round is cut and lit differently.

    (The pipeline describes the same content only once.)
    """
    folder.mkdir(parents=True)

    def make(number: int) -> Path:
        rounds, source = divmod(number, len(sources))
        with Image.open(sources[source]) as image:
            # A hundredth of the picture less at the border in each round, up to a fifth.
            cut = ImageOps.fit(image.convert("RGB"), size, bleed=0.005 * (rounds % 20))
        lit = ImageEnhance.Brightness(cut).enhance(1 - 0.01 * (rounds // 20 % 40))
        path = folder / f"{number:06}.jpg"
        lit.save(path, quality=90)
        return path

    with ThreadPoolExecutor() as pool:
        return list(pool.map(make, range(count)))
