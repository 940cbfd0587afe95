"""A small world to train in: photographs of coloured squares in Visual Genome's format, and networks for them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from fcln.checkpoint import Checkpoint, new_model, save_checkpoint
from fcln.modeling.anchors import scaled_anchors
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.scoring import Scoring
from fcln.training.annotations import AnnotatedImage, load_annotations
from fcln.vocabulary import Vocabulary
from fcln.word_pieces import WordPieces

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = ("[PAD]", "[UNK]", "a", "square", *COLOURS, *LETTERS, *(f"##{letter}" for letter in LETTERS))

TINY = FCLNConfig(
    backbone="resnet18", image_size=64, anchors=scaled_anchors(192), neck_channels=16, localization_channels=8,
    roi_channels=8, roi_size=3, hidden_size=32, code_size=24, dropout=0.1, word_size=16, lstm_size=16, max_words=4,
    piece_size=8, phrase_hidden_size=8, embedding_size=16, anchors_per_image=32, rois_per_image=8,
    caption_box_gradient=1.0, post_nms_top_n=20,
)  # fmt: skip


def tiny_config(**changes) -> FCLNConfig:
    """The small network's configuration, some fields changed."""
    return replace(TINY, **changes)


def vocabulary() -> Vocabulary:
    return Vocabulary(["a", "square", *COLOURS])


def word_pieces() -> WordPieces:
    return WordPieces(PIECES)


def tiny_network(**changes) -> FCLN:
    """The small network with weights drawn at random, some fields of its configuration changed."""
    model = new_model(tiny_config(**changes), vocabulary(), word_pieces())
    torch.nn.init.normal_(model.phrases.pieces)
    return model


def write_network(path: Path) -> None:
    """A weights file of the small network, always the same one, that knows no more than its words."""
    torch.manual_seed(0)
    save_checkpoint(path, Checkpoint(tiny_network(), vocabulary(), word_pieces(), {}, Scoring()))


def region(box: tuple[float, float, float, float], phrase: str) -> dict:
    """A region in Visual Genome's format. box: x, y, width, height."""
    return dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"phrase": phrase}


def write_photo(path: Path, size: tuple[int, int], squares: list[tuple[tuple[int, int, int, int], str]]) -> None:
    """A JPEG of coloured squares on grey. squares: (x, y, width, height) and colour of each."""
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    for (x, y, w, h), colour in squares:
        pixels[y : y + h, x : x + w] = COLOURS[colour]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def write_json(folder: Path, **files: list) -> Path:
    """Annotation files by name, e.g. image_data=[...]."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_world(folder: Path, count: int, *, seed: int = 0) -> tuple[Path, Path]:
    """`count` photographs of 64x64 or 64x48 pixels, two squares each: the folders of photographs and annotations."""
    rng = np.random.default_rng(seed)
    photos, images, regions = folder / "photos", [], []
    for image_id in range(1, count + 1):
        size = (64, 64) if image_id % 2 else (64, 48)
        first, second = rng.choice(list(COLOURS), 2, replace=False).tolist()
        side = rng.integers(16, 24, 2).tolist()
        squares = [((int(rng.integers(0, 8)), 4, side[0], side[0]), first), ((36, 20, side[1], side[1]), second)]
        write_photo(photos / f"{image_id}.jpg", size, squares)
        images.append({"image_id": image_id, "width": size[0], "height": size[1]})
        regions.append({"id": image_id, "regions": [region(box, f"a {colour} square") for box, colour in squares]})
    return photos, write_json(folder / "annotations", image_data=images, region_descriptions=regions)


def write_pieces(path: Path, size: int = 8) -> Path:
    """What scripts.train.piece_vectors writes, vectors at random."""
    table = torch.randn(len(PIECES), size, generator=torch.Generator().manual_seed(1)).half()
    save_file({"pieces": table}, path, metadata={"pieces": json.dumps(PIECES)})
    return path


def write_backbone(path: Path) -> Path:
    """A ResNet-18 with random weights in the place of ImageNet's, up to layer3."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    state = resnet18(weights=None).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith(("layer4", "fc"))}, path)
    return path


def one_photo(folder: Path, *regions: dict, size: tuple[int, int] = (60, 40), **files: list) -> list[AnnotatedImage]:
    """A photograph, its left half red, with these regions. files: more annotations, e.g. captions=[...]."""
    write_photo(folder / "photos" / "1.jpg", size, [((0, 0, size[0] // 2, size[1]), "red")])
    annotations = write_json(
        folder / "annotations",
        image_data=[{"image_id": 1, "width": size[0], "height": size[1]}],
        region_descriptions=[{"id": 1, "regions": list(regions)}],
        **files,
    )
    return load_annotations(folder / "photos", annotations)
