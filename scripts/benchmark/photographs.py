"""Photographs to measure with: many out of few."""

from collections.abc import Callable, Sequence
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


def small_shapes(number: int) -> tuple[int, int]:
    """Width and height of photographs of 26 shapes, 500 pixels the longer side."""
    side, lies = 200 + 25 * (number // 2 % 13), number % 2 == 0
    return (500, side) if lies else (side, 500)


def many_shapes(number: int) -> tuple[int, int]:
    """Width and height of the photographs of a folder of all kinds: 26 shapes, every 16th of 12 or 48 megapixels."""
    size = small_shapes(number)
    if number % 16 != 5:
        return size
    scale = ((48e6 if number % 64 == 5 else 12e6) / (size[0] * size[1])) ** 0.5
    return round(scale * size[0]), round(scale * size[1])


def make_photographs(
    sources: Sequence[Path],
    folder: Path,
    count: int,
    *,
    size: tuple[int, int] = SIZE,
    size_of: Callable[[int], tuple[int, int]] | None = None,
) -> list[Path]:
    """Write `count` JPEGs of a size, made of the sources in turn, no two alike: each round is cut and lit differently.

    (The pipeline describes the same content only once.)

    size_of: the size of each by its number, in place of one for all.
    """
    folder.mkdir(parents=True)

    def make(number: int) -> Path:
        rounds, source = divmod(number, len(sources))
        with Image.open(sources[source]) as image:
            # A hundredth of the picture less at the border in each round, up to a fifth.
            cut = ImageOps.fit(image.convert("RGB"), size_of(number) if size_of else size, bleed=0.005 * (rounds % 20))
        lit = ImageEnhance.Brightness(cut).enhance(1 - 0.01 * (rounds // 20 % 40))
        path = folder / f"{number:06}.jpg"
        lit.save(path, quality=90)
        return path

    with ThreadPoolExecutor() as pool:
        return list(pool.map(make, range(count)))
