"""The mean of the weights of several runs that began with the same weights: often better than any of them.

\b
    python -m scripts.train.mean_weights runs/mean.safetensors runs/a/weights.safetensors runs/b/weights.safetensors

Wortsman et al., "Model soups" (ICML 2022). Words, scoring and names are the first one's; vectors of terms are to be
fitted again (scripts.train.term_vectors). Weights that all runs left as they were stay bit for bit what they are.
"""

from dataclasses import replace
from pathlib import Path

import click
import torch

from fcln.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcln.errors import CheckpointError, FclnError
from fcln.term_vectors import TermVectors

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("runs", type=_FILE, nargs=-1, required=True)
def main(out: Path, runs: tuple[Path, ...]) -> None:
    try:
        save_checkpoint(out, mean(runs))
        click.echo(f"{out}: the mean of {len(runs)}")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


def mean(runs: tuple[Path, ...]) -> Checkpoint:
    """Raises CheckpointError if one is damaged, or of another network than the first."""
    result = load_checkpoint(runs[0])
    sums = {name: tensor.double() for name, tensor in result.model.state_dict().items()}
    for path in runs[1:]:
        other = load_checkpoint(path)
        # What was left out at random in training, and how test time looks, are no part of the weights.
        config = replace(other.model.config.trained(), dropout=result.model.config.dropout)
        if (config, other.vocabulary.words, other.pieces.pieces) != (
            result.model.config.trained(),
            result.vocabulary.words,
            result.pieces.pieces,
        ):
            raise CheckpointError(f"{path} is of another network or vocabulary than {runs[0]}.")
        for name, tensor in other.model.state_dict().items():
            sums[name] += tensor
    with torch.no_grad():
        for name, tensor in result.model.state_dict().items():
            tensor.copy_(sums[name] / len(runs))
    return replace(result, terms=TermVectors())


if __name__ == "__main__":
    main()
