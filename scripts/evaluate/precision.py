"""What faster numbers cost: the same photographs described in float32 throughout and in other ways.

    python -m scripts.evaluate.precision --photos PHOTOS --count 200

Of each way in which this computer can run the network: the cosine of the same boxes' embeddings with those of float32
(mean, and the twentieth that agrees least), how many regions float32 finds are found again (IoU above 0.9), how many of
those say the same, and CPU time of one thread. A way whose mean cosine is at least 0.999 may share a collection with
float32: `fcln.agreement.agree`.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageOps

from fcln.boxes import iou
from fcln.errors import DeviceError
from fcln.modeling.int8_linear import can_multiply_int8
from fcln.precision import has_bfloat16
from fcln.predictor import Predictor, Regions
from scripts.benchmark.build import find_sources
from scripts.evaluate.command import errors_as_sentences, show
from scripts.options import json_option, weights_option

BATCH = 4
FOUND_AGAIN = 0.9  # IoU


@dataclass(frozen=True)
class Agreement:
    """One way against float32."""

    precision: str
    cosine: float  # mean over regions
    cosine_5: float  # of 95 of 100 regions it is higher
    found_again: float  # share of float32's regions
    same_phrase: float  # share of those
    milliseconds: float  # CPU time of one thread, a photograph


@click.command(help=__doc__)
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Photographs.")
@weights_option
@json_option
def main(photos: Path, count: int, weights: Path | None, as_json: bool) -> None:
    torch.set_num_threads(1)
    with errors_as_sentences():
        images = read(find_sources(photos), count)
        try:
            exact = Predictor.load(weights, device="cpu", runtime="onnxruntime", regions="float32")
        except DeviceError:  # another backbone than the default one
            exact = Predictor.load(weights, device="cpu", runtime="torch", regions="float32")
        expected, took = described(exact, images)
        given = [exact.describe_boxes(i, r.boxes).embeddings for i, r in zip(images, expected, strict=True)]
        found = [Agreement(str(exact.precision), 1.0, 1.0, 1.0, 1.0, took)]
        numbers = ["bfloat16"] * has_bfloat16("cpu") + ["int8"] * can_multiply_int8()
        for runtime, regions in itertools.product((exact.precision.runtime, "openvino"), numbers):
            try:
                other = Predictor.load(weights, device="cpu", runtime=runtime, regions=regions)
            except DeviceError:
                continue
            found.append(agreement(other, images, expected, given))
    show(
        {"photographs": len(images), "ways": [asdict(each) for each in found]},
        lambda: table(found, len(images)),
        as_json=as_json,
    )


def read(paths: Sequence[Path], count: int) -> list[Image.Image]:
    """So many photographs, from all over a folder."""
    chosen = paths[:: max(1, len(paths) // count)][:count]
    return [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in chosen]


def described(predictor: Predictor, images: Sequence[Image.Image]) -> tuple[list[Regions], float]:
    """The regions of each photograph, and milliseconds of CPU a photograph."""
    predictor.describe(images[:BATCH])
    started = time.process_time()
    found = [
        regions
        for start in range(0, len(images), BATCH)
        for regions in predictor.describe(images[start : start + BATCH])
    ]
    return found, 1e3 * (time.process_time() - started) / len(images)


def agreement(
    predictor: Predictor, images: Sequence[Image.Image], expected: Sequence[Regions], given: Sequence[np.ndarray]
) -> Agreement:
    """given: what float32 makes of the boxes of `expected`."""
    own, took = described(predictor, images)
    cosines, again, same = [], [], []
    for image, exact, found, embeddings in zip(images, expected, own, given, strict=True):
        cosines.append((predictor.describe_boxes(image, exact.boxes).embeddings * embeddings).sum(1))
        overlaps = iou(exact.boxes, found.boxes)
        nearest = overlaps.argmax(1)
        kept = overlaps.max(1) > FOUND_AGAIN
        again.append(kept)
        phrases = zip(exact.phrases, (found.phrases[n] for n in nearest), kept, strict=True)
        same += [one == other for one, other, is_kept in phrases if is_kept]
    all_cosines = np.concatenate(cosines)
    return Agreement(
        precision=str(predictor.precision),
        cosine=float(all_cosines.mean()),
        cosine_5=float(np.percentile(all_cosines, 5)),
        found_again=float(np.concatenate(again).mean()),
        same_phrase=float(np.mean(same)),
        milliseconds=took,
    )


def table(found: Sequence[Agreement], count: int) -> str:
    """The result for people."""
    lines = [f"{count} photographs", "", f"{'':52} cosine   (5 %)  again  phrase  CPU ms"]
    lines += [
        f"{each.precision:52} {each.cosine:.5f} {each.cosine_5:.5f}  {each.found_again:.3f}   {each.same_phrase:.3f}"
        f"  {each.milliseconds:6.1f}"
        for each in found
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
