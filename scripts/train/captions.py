"""Train the language model of a network again, on region codes kept in files; everything else stays as it is.

\b
    python -m scripts.train.region_codes runs/codes.h5 --photos PHOTOS --annotations TRAIN
    python -m scripts.train.captions WEIGHTS --codes runs/codes.h5 --out runs/captions

Several files: --codes and, if you like, --share (how much of it an epoch shows) once for each. Killed or stopped, the
same command goes on after the last whole epoch, on a machine of the same kind to the same result. The run's folder
holds `log.jsonl`, a line an epoch, and at the end `weights.safetensors`: collections that the old weights described
need `indexer build --redescribe`. What was fitted on the old phrases is to be fitted again: choose_scoring,
calibrate_answers, choose_confidence.
"""

from dataclasses import replace
from pathlib import Path

import click

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.device import resolved
from fcln.errors import DatasetError, FclnError
from fcln.training.captioning import CaptioningConfig, CaptionTrainer
from fcln.training.region_codes import RegionCodes, network_digest
from scripts.options import device_option

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DEFAULT = CaptioningConfig()
_SHARE = click.FloatRange(0, 1, max_open=True)


@click.command(help=__doc__)
@click.argument("weights", type=_FILE)
@click.option("--codes", type=_FILE, required=True, multiple=True, help="From scripts.train.region_codes.")
@click.option("--share", type=click.FloatRange(0, min_open=True), multiple=True, help="Default: 1, all of it.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder.")
@click.option("--epochs", type=click.IntRange(1), default=_DEFAULT.epochs, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=_DEFAULT.batch_size, show_default=True, help="Regions.")
@click.option("--lr", default=_DEFAULT.learning_rate, show_default=True)
@click.option("--code-dropout", type=_SHARE, default=_DEFAULT.code_dropout, show_default=True)
@click.option("--word-dropout", type=_SHARE, default=_DEFAULT.word_dropout, show_default=True)
@click.option("--label-smoothing", type=_SHARE, default=_DEFAULT.label_smoothing, show_default=True)
@click.option(
    "--longer", default=_DEFAULT.longer, show_default=True,
    help="Of a region's phrases one of n words is drawn in proportion to n to this power.",
)  # fmt: skip
@click.option("--average", type=_SHARE, default=_DEFAULT.average, show_default=True, help="As of scripts.train.")
@click.option("--seed", default=_DEFAULT.seed, show_default=True)
@device_option
def main(weights: Path, codes: tuple[Path, ...], share: tuple[float, ...], out: Path, epochs: int, batch_size: int,
         lr: float, code_dropout: float, word_dropout: float, label_smoothing: float, longer: float, average: float,
         seed: int, device: str) -> None:  # fmt: skip
    try:
        if share and len(share) != len(codes):
            raise click.UsageError("--share belongs to --codes: once for each file, or not at all.")
        device = resolved(device)
        checkpoint = load_checkpoint(weights)
        sets = [RegionCodes.read(path) for path in codes]
        for path, one in zip(codes, sets, strict=True):
            if one.network != network_digest(checkpoint.model):
                raise DatasetError(f"{path} holds codes of another network: make it with --weights {weights}.")
        config = replace(
            _DEFAULT, epochs=epochs, batch_size=batch_size, learning_rate=lr, code_dropout=code_dropout,
            word_dropout=word_dropout, label_smoothing=label_smoothing, longer=longer, average=average, seed=seed,
        )  # fmt: skip
        trainer = CaptionTrainer(
            checkpoint.model.language, checkpoint.vocabulary, sets, config, out,
            max_words=checkpoint.model.config.max_words, weights=share, device=device,
        )  # fmt: skip
        click.echo(f"{sum(map(len, sets))} regions, {trainer.steps} steps, from step {trainer.step}", err=True)
        trainer.run(report=lambda line: click.echo(" ".join(f"{k} {v}" for k, v in line.items()), err=True))
        checkpoint.model.language.cpu()
        save_checkpoint(out / "weights.safetensors", checkpoint)
        click.echo(f"{out / 'weights.safetensors'}")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
