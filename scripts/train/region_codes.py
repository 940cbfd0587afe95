"""Region codes of a trained network with what is said of the regions, for `scripts.train.captions`.

\b
    python -m scripts.train.region_codes runs/codes.h5 --weights WEIGHTS --photos PHOTOS --annotations TRAIN

Of every photograph: its labelled boxes, the regions that the network finds and that overlap one (IoU 0.5 or more), and
with --terms the whole of a photograph of one or two names and its region that answers to the first. Every view is a
look at the photographs: 0 as they are, 1 mirrored, from 2 on windows and tints drawn at random. About ten photographs a
second and view on a CPU core.
"""

import random
from pathlib import Path

import click
import torch
from tqdm import tqdm

from fcln.checkpoint import load_checkpoint
from fcln.device import resolved
from fcln.errors import DatasetError, FclnError
from fcln.training.annotations import WHOLE, AnnotatedImage
from fcln.training.region_codes import CodeReader, RegionCodes, View
from fcln.training.terms import Terms
from scripts.options import device_option
from scripts.train.photographs import read_photographs

# As the network's own training changes photographs.
_SMALLEST_WINDOW, _TINT = 0.55, 0.35
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--weights", type=_FILE, help="Default: the embedded weights.")
@click.option("--photos", type=_FOLDER, required=True, multiple=True)
@click.option("--annotations", type=_FOLDER, required=True, multiple=True)
@click.option("--terms", type=_FILE, help="From scripts.data.terms: names train too.")
@click.option("--weak-labels", is_flag=True, help="The boxes of objects.json too, where people boxed nothing.")
@click.option("--view", "views", type=click.IntRange(0), multiple=True, default=(0,), show_default=True)
@device_option
def main(out: Path, weights: Path | None, photos: tuple[Path, ...], annotations: tuple[Path, ...], terms: Path | None,
         weak_labels: bool, views: tuple[int, ...], device: str) -> None:  # fmt: skip
    try:
        photographs = read_photographs(photos, annotations, weak_labels=weak_labels, names=terms is not None)
        reader = CodeReader(load_checkpoint(weights), torch.device(resolved(device)), Terms(terms) if terms else None)
        parts = [
            reader(photo, seen_as(photo, number))
            for number in views
            for photo in tqdm(photographs, unit="photo", desc=f"View {number}", mininterval=5)
        ]
        found = RegionCodes.joined(parts)
        if not len(found):
            raise DatasetError("Nothing is said of any region of these photographs: --weak-labels, --terms?")
        found.write(out)
        click.echo(f"{out}: {len(found)} regions of {len(photographs)} photographs")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


def seen_as(photo: AnnotatedImage, number: int) -> View:
    """The view of that number: the same whenever it is asked for."""
    if number < 2:
        return View(mirrored=number == 1)
    rng = random.Random(f"{photo.image_id}/{number}")
    side = rng.uniform(_SMALLEST_WINDOW, 1.0)
    left, top = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
    window = (left, top, left + side, top + side)
    red, green, blue = (rng.uniform(1 - _TINT, 1 + _TINT) for _ in range(3))
    return View(rng.random() < 0.5, window if rng.random() < 0.5 else WHOLE, (red, green, blue))


if __name__ == "__main__":
    main()
