"""What EfficientNet-Lite2 sees in regions cut out of photographs, for `scripts.train --targets`. Run once.

\b
    python -m scripts.train.region_targets runs/targets.h5 --photos PHOTOS --annotations TRAIN

The whole photograph and each labelled box (weak ones among them) of every photograph are cut out with some of their
surroundings and shown to the classifier: its pooled features and its five likeliest classes are kept.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import roi_align
from tqdm import tqdm

from fcln.device import resolved
from fcln.errors import FclnError
from fcln.modeling.boxes import resize_shape
from fcln.modeling.efficientnet_lite import load_classifier
from fcln.modeling.normalization import normalize
from fcln.precision import autocast
from fcln.training.annotations import AnnotatedImage, read_photo
from fcln.training.region_targets import RegionTargets
from scripts.options import device_option
from scripts.train.photographs import read_photographs

_SEEN = 448  # longest side at which a photograph is read, pixels
_CROP = 256  # side of a region as the classifier sees it
_AROUND = 0.1  # surroundings, share of a box's sides
_BATCH = 128
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _Photos(Dataset):
    def __init__(self, photographs: Sequence[AnnotatedImage]):
        self._photographs = photographs

    def __len__(self) -> int:
        return len(self._photographs)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        photo = self._photographs[number]
        size = resize_shape(photo.width, photo.height, _SEEN, 16)
        whole = np.array([[0, 0, photo.width, photo.height]], np.float32)
        boxes = np.concatenate([whole, photo.boxes])
        around = np.concatenate([boxes[:, :2] - boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]], 1) * _AROUND
        frame = np.array([photo.width, photo.height] * 2, np.float32)
        boxes = np.clip(boxes + around, 0, frame) / frame * np.array([*size, *size], np.float32)
        return read_photo(photo.path, size), boxes


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--photos", type=_FOLDER, required=True, multiple=True)
@click.option("--annotations", type=_FOLDER, required=True, multiple=True)
@click.option("--classifier", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its .pth file.")
@click.option("--workers", default=0, show_default=True, help="Processes that read photographs.")
@device_option
def main(
    out: Path,
    photos: tuple[Path, ...],
    annotations: tuple[Path, ...],
    classifier: Path | None,
    workers: int,
    device: str,
) -> None:
    try:
        photographs = read_photographs(photos, annotations, weak_labels=True, names=True)
        found = look(photographs, classifier, workers, torch.device(resolved(device)))
        RegionTargets.write(out, [p.image_id for p in photographs], [1 + len(p.boxes) for p in photographs], *found)
        click.echo(f"{out}: {len(found[0])} regions of {len(photographs)} photographs")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


@torch.inference_mode()
def look(
    photographs: Sequence[AnnotatedImage], classifier: Path | None, workers: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, 1280), classes (N, 5) and their probabilities of every photograph's regions in order."""
    model = load_classifier(classifier).to(device).to(memory_format=torch.channels_last)
    vectors, classes, probabilities = [], [], []
    waiting: list[torch.Tensor] = []

    def ask(crops: torch.Tensor) -> None:
        crops = crops.to(memory_format=torch.channels_last)
        with autocast(device, enabled=device.type == "cuda"):  # depthwise convolutions are slow in bfloat16 on CPUs
            pooled, logits = model(crops)
        top = logits.float().softmax(1).topk(5)
        vectors.append(pooled.half().cpu().numpy())
        classes.append(top.indices.short().cpu().numpy())
        probabilities.append(top.values.half().cpu().numpy())

    reader = DataLoader(_Photos(photographs), batch_size=None, num_workers=workers)
    for pixels, boxes in tqdm(reader, mininterval=5, unit="photo"):
        image = normalize(torch.as_tensor(pixels).to(device).permute(2, 0, 1)[None])
        waiting.append(roi_align(image, [torch.as_tensor(boxes).to(device)], _CROP, sampling_ratio=2, aligned=True))
        # Batches of one size: a GPU's library looks for the fastest convolution again for each other size.
        while sum(map(len, waiting)) >= _BATCH:
            crops = torch.cat(waiting)
            ask(crops[:_BATCH])
            waiting = [crops[_BATCH:]]
    if any(map(len, waiting)):  # the first may be what a full batch left, nothing
        ask(torch.cat(waiting))
    return np.concatenate(vectors), np.concatenate(classes), np.concatenate(probabilities)


if __name__ == "__main__":
    main()
