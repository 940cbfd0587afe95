"""Write fc6 of a trained network as a product of two matrices: half of the products for nearly the same codes.

\b
    python -m scripts.train.truncate_fc6 WEIGHTS OUT --photos PHOTOS --annotations TRAIN

`fcln.training.low_rank` has the method. What fc6 gives is looked at in photographs drawn from those that the network
was trained on; outputs that more regions turn on, and of which fc7 makes more, count more. The last step before what is
fitted to embeddings (`scripts.train.scene`, `term_vectors`, `calibrate_answers`, `choose_confidence`). Collections of
the old weights need `indexer build --redescribe`.
"""

import random
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fcln.checkpoint import Checkpoint, load_checkpoint, new_model, save_checkpoint
from fcln.errors import CheckpointError, FclnError
from fcln.modeling.fcln import FCLN
from fcln.modeling.normalization import normalize
from fcln.term_vectors import TermVectors
from fcln.training.annotations import AnnotatedImage, read_pixels
from fcln.training.low_rank import Factors, Moments, factorize
from scripts.train.photographs import read_sets

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# Of an output that no region turns on, and of which fc7 makes nothing, the error still counts a little.
_LEAST_IMPORTANT = 0.1


@click.command(help=__doc__)
@click.argument("weights", type=_FILE)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--photos", type=_FOLDER, required=True, multiple=True)
@click.option("--annotations", type=_FOLDER, required=True, multiple=True)
@click.option("--rank", type=click.IntRange(1), default=384, show_default=True, help="Numbers between the two.")
@click.option("--count", type=click.IntRange(1), default=500, show_default=True, help="Photographs looked at, at most.")
def main(
    weights: Path, out: Path, photos: tuple[Path, ...], annotations: tuple[Path, ...], rank: int, count: int
) -> None:
    try:
        checkpoint = load_checkpoint(weights)
        config = checkpoint.model.config
        if config.hidden_rank or rank >= config.hidden_size:
            raise CheckpointError(f"fc6 of {weights} has {config.hidden_rank or config.hidden_size} numbers already.")
        sets = read_sets(photos, annotations, weak_labels=False, names=True)
        photographs = [photo for one in sets for photo in one]
        factors = fit(checkpoint.model, random.Random(0).sample(photographs, min(count, len(photographs))), rank)
        save_checkpoint(out, with_factors(checkpoint, factors))
        click.echo(f"{out}: {rank} of {config.hidden_size} directions keep {factors.kept:.1%} of what fc6 says")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


@torch.inference_mode()
def fit(model: FCLN, photographs: list[AnnotatedImage], rank: int) -> Factors:
    """fc6 as two layers, by what it says of the regions that test time looks at."""
    model.eval()
    recognition = model.recognition
    said, turned_on = Moments(model.config.hidden_size), np.zeros(model.config.hidden_size)

    def look(_: nn.Module, __: tuple[Tensor, ...], outputs: Tensor) -> None:
        found = outputs.float().numpy()
        said.add(found)
        np.add(turned_on, (found > 0).sum(0), out=turned_on)

    hook = recognition.fc6.register_forward_hook(look)
    for photo in tqdm(photographs, unit="photo", mininterval=5):
        pixels, size = read_pixels(photo, model.config.image_size)
        model.detect(model.features(normalize(pixels[None])), torch.tensor([size], dtype=torch.float32), max_regions=1)
    hook.remove()
    importance = np.sqrt(turned_on / said.count) * np.linalg.norm(recognition.fc7.weight.numpy(), axis=0)
    importance = np.maximum(importance / importance.mean(), _LEAST_IMPORTANT)
    fc6 = recognition.fc6
    assert isinstance(fc6, nn.Linear)
    return factorize(fc6.weight.numpy(), fc6.bias.numpy(), said, importance, rank=rank)


def with_factors(checkpoint: Checkpoint, factors: Factors) -> Checkpoint:
    """The same network with these two layers as its fc6."""
    config = replace(checkpoint.model.config, hidden_rank=len(factors.first))
    model = new_model(config, checkpoint.vocabulary, checkpoint.pieces)
    weights = checkpoint.model.state_dict()
    del weights["recognition.fc6.weight"], weights["recognition.fc6.bias"]
    weights["recognition.fc6.0.weight"] = torch.from_numpy(factors.first)
    weights["recognition.fc6.1.weight"] = torch.from_numpy(factors.second)
    weights["recognition.fc6.1.bias"] = torch.from_numpy(factors.bias)
    model.load_state_dict(weights)
    return replace(checkpoint, model=model, terms=TermVectors())


if __name__ == "__main__":
    main()
