"""Train the network on photographs with region phrases, in Visual Genome's format.

\b
    python -m scripts.train --photos PHOTOS --annotations TRAIN --pieces runs/pieces.safetensors --out runs/first

On several GPUs of a machine: `torchrun --nproc-per-node 4 -m scripts.train ...`; --batch-size is each one's.

Several data sets: --photos, --annotations and --weight once for each; every batch has its share of each.

Killed or stopped, the same command goes on where it was, on a machine of the same kind to the same result. The run's
folder holds `log.jsonl` (a line every 20 steps), `losses.png` and, at the end, `weights.safetensors`.
"""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.core import ParameterSource
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from fcln.checkpoint import Checkpoint, load_checkpoint, new_model, save_checkpoint
from fcln.device import resolved
from fcln.errors import CheckpointError, DatasetError, FclnError
from fcln.modeling.anchors import scaled_anchors
from fcln.modeling.backbone import load_imagenet, strides_on_conv1
from fcln.modeling.fcln import FCLNConfig
from fcln.scoring import Scoring
from fcln.term_vectors import TermVectors
from fcln.training.annotations import AnnotatedImage, load_annotations
from fcln.training.baselines import CAPTION_WORDS, baseline_config, region_crops, whole_photographs
from fcln.training.distillation import TeacherVectors
from fcln.training.distributed import World
from fcln.training.feature_cache import FeatureCache
from fcln.training.loader import SMALLEST_WINDOW, BatchLoader
from fcln.training.region_targets import RegionTargets
from fcln.training.terms import Terms
from fcln.training.trainer import Trainer, TrainingConfig, fill_cache, seed_everything
from fcln.vocabulary import Vocabulary, words_of
from fcln.word_pieces import WordPieces
from fcln.word_uses import WordUse, count_word_uses
from scripts.data.text_folder import captions, counted_phrases
from scripts.options import device_option

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CONFIGS = {"default": FCLNConfig.default, "paper": FCLNConfig.paper}
# What does nothing beside another option, and what does nothing without one.
_IDLE_BESIDE = {
    "start_from": ("config", "pieces", "backbone_weights", "text", "min_count"),  # the weights file has its own
    "minutes": ("epochs",),
    "baseline": ("teacher", "targets", "terms_per_batch", "detection_weight"),  # it learns captions alone
}
_IDLE_WITHOUT = {"augment": ("smallest_window",), "terms": ("terms_per_batch",)}


def _config(_context: click.Context, _option: click.Parameter, value: str) -> FCLNConfig:
    if value in _CONFIGS:
        return _CONFIGS[value]()
    try:
        return FCLNConfig.from_json(json.loads(Path(value).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.BadParameter(
            f"neither {' nor '.join(_CONFIGS)} nor a configuration's JSON file ({error})."
        ) from error


@click.command(help=__doc__)
@click.option(
    "--photos",
    type=_FOLDER,
    required=True,
    multiple=True,
    help="Folder of <image_id>.jpg, or of VG_100K and VG_100K_2.",
)
@click.option(
    "--annotations", type=_FOLDER, required=True, multiple=True,
    help="Folder of image_data.json, region_descriptions.json.",
)  # fmt: skip
@click.option(
    "--weight",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    help="How often an epoch shows a data set; default: once.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder.")
@click.option(
    "--config", callback=_config, default="default", show_default=True,
    help="default, paper, or a JSON file of all fields of FCLNConfig.",
)  # fmt: skip
@click.option(
    "--baseline", type=click.Choice(["full-image", "region"]),
    help="Train one of the paper's Image RNNs instead: on whole photographs with captions, on crops of regions. With "
    "--start-from a trained FCLN, its layers; fresh ones hardly learn to see from captions alone.",
)  # fmt: skip
@click.option(
    "--backbone-weights", type=_FILE, help="ImageNet weights (safetensors); else torchvision downloads its own."
)
@click.option("--pieces", type=_FILE, help="From scripts.train.piece_vectors; not with --start-from.")
@click.option(
    "--start-from",
    type=_FILE,
    help="Go on from a trained weights file, with its own configuration and words, instead of ImageNet's.",
)
@click.option("--text", type=_FOLDER, help="Folder of phrases.tsv.gz and captions.txt.gz: more words for noun phrases.")
@click.option("--weak-labels", is_flag=True, help="Train on the boxes of objects.json too.")
@click.option(
    "--cache", type=click.Path(dir_okay=False, path_type=Path), help="HDF5 file for a frozen backbone's features."
)
@click.option("--teacher", type=_FILE, help="From scripts.train.teacher_vectors: which phrases mean alike.")
@click.option("--terms", type=_FILE, help="From scripts.data.terms: names of things, and names.json is read.")
@click.option(
    "--terms-per-batch", default=512, show_default=True, help="Against so many a photograph's names are told."
)
@click.option(
    "--targets", type=_FILE, help="From scripts.train.region_targets: what an image classifier sees in regions."
)
@click.option("--workers", default=0, show_default=True, help="Processes that read photographs; 0: a thread.")
@click.option("--image-size", type=click.IntRange(32), help="Longest side in pixels; default: the configuration's.")
@click.option("--fine/--coarse", default=None, help="Regions from stride 8, or 16 alone; default: the configuration's.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Default: the configuration's.")
@click.option("--augment", is_flag=True, help="Cut and tint photographs at random.")
@click.option(
    "--smallest-window",
    type=click.FloatRange(0, 1, min_open=True),
    default=SMALLEST_WINDOW,
    show_default=True,
    help="Sides of what --augment cuts out, as shares of the photograph's.",
)
@click.option(
    "--mosaics",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Share of the steps that show mosaics of four photographs.",
)
@click.option(
    "--stochastic-depth",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    help="Share of the photographs that skip a block at the end of an EfficientNet; lower blocks fewer.",
)
@click.option(
    "--frozen-stages",
    type=click.IntRange(0),
    default=0,
    help="Of a ResNet's four, or an EfficientNet's blocks, from below.",
)
@click.option(
    "--average",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    help="Ship the running mean of the weights; 0.995 remembers some 200 steps.",
)
@click.option("--epochs", default=6, show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=0.0,
    help="Train for so long instead, on a machine that is lent, say.",
)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--lr", default=1e-3, show_default=True, help="Of everything above the backbone.")
@click.option(
    "--backbone-lr", default=1e-4, show_default=True, help="0 freezes the backbone (with --cache: much faster)."
)
@click.option("--warmup", type=click.IntRange(1), default=100, show_default=True, help="Steps until the full rate.")
@click.option("--detection-weight", default=1.0, show_default=True, help="Times the paper's 0.1 of scores and boxes.")
@click.option("--min-count", default=3, show_default=True, help="Rarer words become UNK (paper: 15).")
@click.option("--seed", default=1, show_default=True)
@click.option("--bfloat16/--float32", default=True, show_default=True, help="Where the machine has bfloat16.")
@device_option
@click.option("--save-every", default=200, show_default=True, help="Steps between saved states.")
def main(
    photos: tuple[Path, ...], annotations: tuple[Path, ...], weight: tuple[float, ...], out: Path, config: FCLNConfig,
    baseline: str | None, backbone_weights: Path | None, pieces: Path | None, start_from: Path | None,
    text: Path | None, weak_labels: bool, cache: Path | None, teacher: Path | None, terms: Path | None,
    terms_per_batch: int, targets: Path | None, workers: int, image_size: int | None, fine: bool | None,
    dropout: float | None, augment: bool, smallest_window: float, mosaics: float, stochastic_depth: float,
    frozen_stages: int, average: float, epochs: int, minutes: float, batch_size: int, lr: float, backbone_lr: float,
    detection_weight: float, warmup: int, min_count: int, seed: int, bfloat16: bool, device: str, save_every: int,
) -> None:  # fmt: skip
    try:
        _refuse_idle_options(click.get_current_context())
        device = resolved(device)
        world = World.join(device)
        if cache and backbone_lr:
            raise click.UsageError("--cache is for a frozen backbone: add --backbone-lr 0.")
        if mosaics and (cache or baseline):
            raise click.UsageError("--mosaics needs pixels and regions: leave --cache and --baseline out.")
        if mosaics and batch_size < 4:
            raise click.UsageError(f"--mosaics shows four photographs as one: raise --batch-size {batch_size} to 4.")
        if cache and augment:
            raise click.UsageError("--augment changes photographs, which --cache no longer reads: leave one out.")
        if cache and stochastic_depth:
            raise click.UsageError("--stochastic-depth changes a backbone that --cache no longer runs: leave one out.")
        if cache and baseline == "region":
            raise click.UsageError("--cache holds whole photographs' features: crops of regions have their own.")
        if frozen_stages and not backbone_lr:
            raise click.UsageError("--backbone-lr 0 freezes all of the backbone: leave --frozen-stages out.")
        if baseline and weak_labels:
            raise click.UsageError("--baseline learns from captions and what people boxed: leave --weak-labels out.")
        if baseline and fine:
            raise click.UsageError("--baseline samples no regions: leave --fine out.")
        seed_everything(seed)
        if len(photos) != len(annotations) or (weight and len(weight) != len(photos)):
            raise click.UsageError("--photos, --annotations and --weight belong together: each as often as the others.")
        read_terms = Terms(terms) if terms else None
        sets = [
            load_annotations(*folders, weak_labels=weak_labels, names=terms is not None)
            for folders in zip(photos, annotations)
        ]
        if baseline == "full-image":
            sets = [whole_photographs(one) for one in sets]
            if not all(sets):
                raise DatasetError("No photograph has a caption (captions.json): --baseline region?")
            config = baseline_config(config, max_words=CAPTION_WORDS)
        elif baseline == "region":
            sets = [region_crops(one) for one in sets]
            config = baseline_config(config, max_words=config.max_words)
        photographs = [photo for one in sets for photo in one]
        if start_from:
            # Vectors of terms are of embeddings as they are before.
            checkpoint = replace(load_checkpoint(start_from), terms=TermVectors())
        elif pieces:
            checkpoint = _fresh(config, photographs, pieces, text, backbone_weights, min_count, read_terms)
        else:
            raise click.UsageError("--pieces or --start-from is needed.")
        if stochastic_depth and checkpoint.model.config.backbone != "efficientnet_lite2":
            raise click.UsageError("--stochastic-depth leaves out blocks of efficientnet_lite2, which this is not.")
        if frozen_stages and checkpoint.model.config.backbone == "vgg16":
            raise click.UsageError("--frozen-stages is not for vgg16, which freezes its own: leave it out.")
        changes: dict[str, Any] = {"stride8_features": fine, "dropout": dropout, "image_size": image_size}
        changes["anchors"] = scaled_anchors(image_size) if image_size else None
        if baseline:  # of --start-from; a fresh one's are so already
            changes |= {"image_rnn": True, "max_words": config.max_words}
        checkpoint = _changed(checkpoint, {name: value for name, value in changes.items() if value is not None})
        features = _cached_features(checkpoint, photographs, cache, device) if cache else None
        training = TrainingConfig(epochs, batch_size, lr, backbone_lr, warmup=warmup, seed=seed, bfloat16=bfloat16,
                        detection_weight=detection_weight, augment=augment, frozen_stages=frozen_stages,
                        average=average, minutes=minutes, smallest_window=smallest_window, mosaics=mosaics,
                        stochastic_depth=stochastic_depth)  # fmt: skip
        loader = BatchLoader(sets, checkpoint.vocabulary, checkpoint.pieces, checkpoint.model.config,
                             batch_size=batch_size, seed=seed, cache=features, flip=training.flip,
                             augment=augment, smallest_window=smallest_window,
                             teacher=TeacherVectors(teacher) if teacher else None, weights=weight,
                             terms=read_terms, terms_per_batch=terms_per_batch, workers=workers, world=world,
                             targets=RegionTargets(targets) if targets else None)  # fmt: skip
        trainer = Trainer(checkpoint.model, loader, training, out, device=device, world=world)
        length = f"{minutes:g} minutes" if minutes else f"{trainer.steps} steps"
        click.echo(f"{len(photographs)} photographs, {length}, from step {trainer.step}, on {device}", err=True)
        with tqdm(total=None if minutes else trainer.steps, initial=trainer.step, unit="step", mininterval=5) as bar:

            def report(line: dict) -> None:
                bar.update(line["step"] - bar.n)
                bar.set_postfix(loss=line["loss"], photos_per_s=line["photographs_per_second"])

            trainer.run(report=report, save_every=save_every)
        world.leave()
        if world.rank > 0:
            return
        trainer.take_average()
        save_checkpoint(out / "weights.safetensors", checkpoint)
        plot_losses(out / "log.jsonl", out / "losses.png")
        click.echo(f"{out / 'weights.safetensors'}")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


def _refuse_idle_options(context: click.Context) -> None:
    """Raise UsageError for an option that is given although another one makes it do nothing."""

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    def flag(name: str) -> str:
        return "--" + name.replace("_", "-")

    for other, names in _IDLE_BESIDE.items():
        for name in names if context.params[other] else ():
            # Captions of crops are as long as --config says, whatever the network goes on from.
            used = name == "config" and context.params["baseline"] == "region"
            if given(name) and not used:
                raise click.UsageError(f"{flag(name)} does nothing beside {flag(other)}: leave one of them out.")
    for other, names in _IDLE_WITHOUT.items():
        for name in names if not context.params[other] else ():
            if given(name):
                raise click.UsageError(f"{flag(name)} does nothing without {flag(other)}: give both or neither.")


def _fresh(config: FCLNConfig, photographs: list[AnnotatedImage], pieces: Path, text: Path | None,
           backbone_weights: Path | None, min_count: int, terms: Terms | None) -> Checkpoint:  # fmt: skip
    """A network with ImageNet's convolutions, the teacher's piece vectors, and the words of the training phrases."""
    phrases = [p for photo in photographs for ps in photo.phrases for p in ps]
    if terms:  # what photographs are called, as often as they are
        phrases += [terms.forms[term][0] for photo in photographs for term in terms.of_image.get(photo.image_id, ())]
    vocabulary = Vocabulary.from_phrases(phrases, min_count=min_count)
    table, word_pieces = _read_pieces(pieces)
    if table.shape[1] != config.piece_size:
        raise CheckpointError(f"{pieces} holds vectors of {table.shape[1]} numbers, not of {config.piece_size}.")
    if config.backbone.startswith("resnet"):
        config = replace(config, caffe_strides=strides_on_conv1(backbone_weights))
    model = new_model(config, vocabulary, word_pieces)
    model.phrases.pieces.copy_(table)
    load_imagenet(model.backbone, config.backbone, backbone_weights)
    return Checkpoint(
        model, vocabulary, word_pieces, _count_word_uses(photographs, text), Scoring(), terms.names if terms else ()
    )


def _read_pieces(path: Path) -> tuple[torch.Tensor, WordPieces]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("pieces"), WordPieces(json.loads((file.metadata() or {})["pieces"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a file of scripts.train.piece_vectors ({error}).") from error


def _changed(checkpoint: Checkpoint, changes: dict[str, Any]) -> Checkpoint:
    """The same weights in another configuration: layers that it alone has start fresh."""
    if not changes:
        return checkpoint
    config = replace(checkpoint.model.config, **changes)
    model = new_model(config, checkpoint.vocabulary, checkpoint.pieces)
    weights = checkpoint.model.state_dict()
    model.load_state_dict({name: weights.get(name, fresh) for name, fresh in model.state_dict().items()})
    return replace(checkpoint, model=model)


def _count_word_uses(photographs: list[AnnotatedImage], text: Path | None) -> dict[str, WordUse]:
    """From whole captions and the noun phrases in them: the text folder's, else the photographs' own."""
    counts: Counter[str] = Counter()
    if text:
        try:
            for phrase, count in counted_phrases(text):
                counts[phrase] += count
            sentences = list(captions(text))
        except (OSError, EOFError, ValueError) as error:
            raise DatasetError(f"{text} does not hold captions.txt.gz and phrases.tsv.gz ({error}).") from error
        return count_word_uses(sentences, counts)
    sentences = []
    for photo in photographs:
        said = [f" {' '.join(words_of(caption))} " for caption in photo.captions]
        for phrase in {p for ps, weak in zip(photo.phrases, photo.weak, strict=True) if not weak for p in ps}:
            counts[phrase] += sum(f" {' '.join(words_of(phrase))} " in caption for caption in said)
        sentences += said
    return count_word_uses(sentences, +counts)  # without those that no caption says


def _cached_features(
    checkpoint: Checkpoint, photographs: list[AnnotatedImage], path: Path, device: str
) -> FeatureCache:
    digest = hashlib.sha256(str(checkpoint.model.config.image_size).encode())
    for tensor in checkpoint.model.backbone.state_dict().values():
        digest.update(np.ascontiguousarray(tensor.half().numpy()).tobytes())
    cache = FeatureCache(path, digest.hexdigest())
    checkpoint.model.backbone.to(device)
    fill_cache(checkpoint.model, photographs, cache, progress=lambda x: tqdm(x, desc="features", mininterval=5))
    return cache


def plot_losses(log: Path, picture: Path) -> None:
    """Curves of every loss in a log.jsonl, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not lines:
        return  # a run shorter than one window of steps
    names = [n for n in lines[0] if n not in ("step", "steps", "epoch", "photographs_per_second", "gradient_norm")]
    rows = -(-len(names) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(12, 2.5 * rows), sharex=True)
    for axis, name in zip(axes.flat, names, strict=False):
        axis.plot([line["step"] for line in lines], [line[name] for line in lines], linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    plt.close(figure)
