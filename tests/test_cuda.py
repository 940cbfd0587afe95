"""What a GPU computes is what a processor computes. Each test also runs on the processor, so that the test is right.

Where there is a GPU: `pytest -m cuda`. Nothing here needs a collection, but for what asks for it by itself.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

import fcln.backbone_runner
import fcln.precision
import fcln.predictor
from fcln.agreement import Precision
from fcln.boxes import iou
from fcln.checkpoint import Checkpoint, load_checkpoint, new_model, save_checkpoint
from fcln.modeling import localization
from fcln.modeling.fcln import FCLNConfig
from fcln.predictor import GPU_BATCH, Predictor, Regions
from fcln.scoring import Scoring
from fcln.training.region_codes import RegionCodes
from fcln.word_uses import WordUse
from helpers.killed_training import dies_at
from helpers.small_world import (
    tiny_config,
    tiny_network,
    vocabulary,
    word_pieces,
    write_backbone,
    write_pieces,
    write_world,
)
from helpers.terms_world import COUCH, DOG, write_terms

ROOT = Path(__file__).parents[1]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
    ),
]
on_each_device = pytest.mark.parametrize("device", DEVICES)
SIZES = [(400, 300), (300, 400), (96, 96), (640, 120), (401, 301)]


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured patches: something for a convolution to see."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


PHOTOS = [photo(*size, seed=number) for number, size in enumerate(SIZES)]


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is rounded to bfloat16, nor to a GPU's 19 bits: what is left are sums in another order."""
    for module in (fcln.precision, fcln.backbone_runner, fcln.predictor):
        monkeypatch.setattr(module, "has_bfloat16", lambda device_type: False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> Predictor:
    """A processor in float32."""
    return Predictor.load(tiny_checkpoint, device="cpu", runtime="auto", regions="float32")


def agreement(found: list[Regions], expected: list[Regions], *, overlap: float = 0.9) -> tuple[float, float, float]:
    """How much of what is expected was found: the share of boxes, of their phrases, and the least cosine of theirs."""
    boxes, phrases, cosines, count = 0, 0, [1.0], 0
    for one, other in zip(found, expected, strict=True):
        overlaps = iou(other.boxes, one.boxes)
        best = overlaps.argmax(1)
        same = overlaps.max(1) >= overlap
        count += len(same)
        boxes += int(same.sum())
        phrases += sum(other.phrases[n] == one.phrases[best[n]] for n in np.flatnonzero(same))
        cosines += (other.embeddings[same] * one.embeddings[best[same]]).sum(1).tolist()
    return boxes / count, phrases / max(1, boxes), min(cosines)


@on_each_device
def test_regions_in_float32_are_the_processors(float32: None, device: str, tiny_checkpoint: Path) -> None:
    expected = Predictor.load(tiny_checkpoint, device="cpu", regions="float32").describe(PHOTOS, max_regions=20)
    predictor = Predictor.load(tiny_checkpoint, device=device, regions="float32")
    assert predictor.precision == Precision("float32", "torch", "float32") and predictor.device.type == device
    found = predictor.describe(PHOTOS, max_regions=20)
    boxes, phrases, cosine = agreement(found, expected, overlap=0.999)
    assert boxes > 0.95 and phrases > 0.95 and cosine > 0.9999
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.sort(one.scores), np.sort(other.scores), atol=0.01)
        assert one.boxes.dtype == one.scores.dtype == one.embeddings.dtype == np.float32
        assert one.codes.dtype == np.float16


@on_each_device
def test_boxes_that_are_given_have_the_processors_codes(device: str, tiny_checkpoint: Path, reference) -> None:
    """In the precision that the product chooses there."""
    predictor = Predictor.load(tiny_checkpoint, device=device)
    assert predictor.precision.regions == fcln.predictor.regions_precision(torch.device(device))
    boxes = np.float32([[0, 0, 400, 300], [10, 20, 200, 220], [100, 50, 390, 290], [0, 0, 40, 30]])
    one, other = (each.describe_boxes(PHOTOS[0], boxes) for each in (predictor, reference))
    np.testing.assert_array_equal(one.boxes, other.boxes)
    difference = one.codes.astype(np.float32) - other.codes.astype(np.float32)
    assert np.linalg.norm(difference) < 0.03 * np.linalg.norm(other.codes.astype(np.float32))
    np.testing.assert_allclose(one.scores, other.scores, atol=0.03)
    assert (one.embeddings * other.embeddings).sum(1).min() > 0.998


SHIPPED = [photo(500, 375, 1), photo(375, 500, 2), photo(500, 375, 3)]


@on_each_device
def test_the_weights_that_ship_find_the_same_in_float32(float32: None, device: str) -> None:
    expected = Predictor.load(device="cpu", runtime="onnxruntime", regions="float32").describe(SHIPPED)
    runtime = "torch" if device == "cuda" else "onnxruntime"
    predictor = Predictor.load(device=device, runtime=runtime, regions="float32")
    boxes, phrases, cosine = agreement(predictor.describe(SHIPPED), expected)
    assert boxes > 0.97 and phrases > 0.97 and cosine > 0.99


@on_each_device
def test_the_weights_that_ship_find_much_the_same(device: str) -> None:
    """In the precision that the product chooses: coloured patches leave it in doubt more than photographs do."""
    expected = Predictor.load(device="cpu", runtime="onnxruntime", regions="float32").describe(SHIPPED)
    boxes, phrases, cosine = agreement(Predictor.load(device=device).describe(SHIPPED), expected, overlap=0.5)
    assert boxes > 0.75 and phrases > 0.5 and cosine > 0.85


@on_each_device
def test_large_and_mixed_batches_are_their_photographs_one_by_one(device: str, tiny_checkpoint: Path) -> None:
    """More of one size than go through the network together, beside others."""
    predictor = Predictor.load(tiny_checkpoint, device=device)
    images = [photo(400, 300, n) for n in range(2 * GPU_BATCH + 3)] + PHOTOS
    together = predictor.describe(images, max_regions=6)
    assert len(together) == len(images)
    some = [0, 1, GPU_BATCH, 2 * GPU_BATCH + 2, *range(len(images) - len(PHOTOS), len(images))]
    alone = [predictor.describe([images[n]], max_regions=6)[0] for n in some]
    boxes, _, cosine = agreement([together[n] for n in some], alone)
    assert boxes > 0.8 and cosine > 0.99
    for image, regions in zip(images, together, strict=True):
        assert (regions.boxes == np.float32([0, 0, *image.size])).all(1).any()  # each has its own


@on_each_device
def test_several_threads_describe_at_one_time(device: str, tiny_checkpoint: Path) -> None:
    predictor = Predictor.load(tiny_checkpoint, device=device)
    expected = [predictor.describe([image], max_regions=6) for image in PHOTOS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(lambda image: predictor.describe([image], max_regions=6), PHOTOS))
            for one, other in zip(found, expected, strict=True):
                boxes, _, cosine = agreement(one, other)
                assert boxes > 0.8 and cosine > 0.999


@on_each_device
def test_proposals_codes_of_images_and_phrases(float32: None, device: str, tiny_checkpoint: Path) -> None:
    cpu, other = (Predictor.load(tiny_checkpoint, device=each, regions="float32") for each in ("cpu", device))
    for image in PHOTOS[:2]:
        overlaps = iou(cpu.propose(image, count=20), other.propose(image, count=20))
        assert (overlaps.max(1) > 0.999).mean() > 0.95
    codes = cpu.image_codes(PHOTOS)
    np.testing.assert_allclose(other.image_codes(PHOTOS).astype(np.float32), codes.astype(np.float32), atol=2e-2)
    phrases = ["a dog", "the man on a red couch", "lamp"]
    np.testing.assert_allclose(other.encode_phrases(phrases), cpu.encode_phrases(phrases), atol=1e-4)
    assert other.encode_phrases([]).shape == (0, cpu.embedding_size)


@on_each_device
def test_phrases_are_scored_alike(device: str, tiny_checkpoint: Path, reference, monkeypatch) -> None:
    predictor = Predictor.load(tiny_checkpoint, device=device)
    monkeypatch.setitem(fcln.predictor._CHUNK, device, 7)  # in several pieces
    codes = np.concatenate([regions.codes for regions in reference.describe(PHOTOS[:2], max_regions=10)])
    phrases = ["a dog", "a dog on the couch", "the brown zebra", "two"]
    expected = reference.log_likelihood(phrases, codes)
    np.testing.assert_allclose(predictor.log_likelihood(phrases, codes), expected, atol=2e-3)
    np.testing.assert_allclose(predictor.log_likelihood(phrases[:1], codes), expected[:1], atol=2e-3)
    words = predictor.word_log_likelihoods(phrases[1], codes[0])
    assert words.sum() == pytest.approx(expected[1, 0], abs=5e-3)


@on_each_device
@pytest.mark.parametrize(
    "changes", [{"image_rnn": True, "backbone": "vgg16"}, {"scene": True}, {"box_voting_iou": 1.0}]
)
def test_other_configurations_run(device: str, changes: dict, float32: None) -> None:
    torch.manual_seed(0)
    plain = {"neck_channels": 0, "roi_channels": 0, "stride8_features": False} if "image_rnn" in changes else {}
    model = tiny_network(**changes, **plain)
    torch.nn.init.normal_(model.localization.score.weight)
    checkpoint = Checkpoint(model.eval(), vocabulary(), word_pieces(), {}, Scoring())
    other = replace(checkpoint, model=deepcopy(model))
    expected = Predictor(checkpoint, "", device="cpu", regions="float32").describe(PHOTOS)
    boxes, _, cosine = agreement(Predictor(other, "", device=device, regions="float32").describe(PHOTOS), expected)
    assert boxes > 0.95 and cosine > 0.999


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("boxes", [1, 30, 500, 3000, 19_000])
def test_the_kernel_suppresses_what_the_loop_suppresses(boxes: int) -> None:
    assert localization._nms_kernel() is not None, "Triton does not run here: passes over all pairs take its place"
    generator = torch.Generator().manual_seed(boxes)
    low = torch.rand(4, boxes, 2, generator=generator) * 300
    found = torch.cat([low, low + 5 + torch.rand(4, boxes, 2, generator=generator) * 200], -1)
    scores = torch.randn(4, boxes, generator=generator)
    scores[2, ::2] = -torch.inf
    scores[3] = -torch.inf
    options = {"iou": 0.6, "pre_nms_top_n": 20_000, "post_nms_top_n": 300}
    kept, counts = (each.cpu() for each in localization.nms_of_each(found.cuda(), scores.cuda(), **options))
    expected, also = localization.nms_of_each(found, scores, **options)
    for row, count, other, number in zip(kept, counts, expected, also, strict=True):
        mine, theirs = row[count].tolist(), other[number].tolist()
        # An overlap of the limit itself may be rounded to either side.
        assert len(set(mine) & set(theirs)) >= 0.97 * max(len(mine), len(theirs))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled photographs, a small network with random weights, and what training begins with."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, 6)
    write_pieces(folder / "pieces.safetensors")
    write_backbone(folder / "resnet18.safetensors")
    (folder / "tiny.json").write_text(json.dumps(tiny_config().to_json()))
    torch.manual_seed(0)
    model = tiny_network()
    uses = {"square": WordUse(9, 1, "a")}
    checkpoint = Checkpoint(model, vocabulary(), word_pieces(), uses, Scoring(), ("a square",))
    save_checkpoint(folder / "weights.safetensors", checkpoint)
    return folder


def labelled(world: Path, device: str) -> list[str]:
    options = {"photos": world / "photos", "annotations": world / "annotations", "device": device}
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def succeeded(command, *arguments: object) -> str:
    """What a command says on stderr."""
    result = CliRunner().invoke(command, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stderr


def all_finite(path: Path) -> bool:
    return all(torch.isfinite(tensor.float()).all() for tensor in load_file(path).values())


@on_each_device
@pytest.mark.parametrize("flags", [(), ("--float32",)])
def test_training_is_killed_and_goes_on(world: Path, tmp_path: Path, device: str, flags: tuple[str, ...]) -> None:
    from scripts.train.train import main

    arguments = [
        *labelled(world, device), "--out", tmp_path / "run", "--config", world / "tiny.json", "--pieces",
        world / "pieces.safetensors", "--backbone-weights", world / "resnet18.safetensors", "--epochs", 3,
        "--batch-size", 2, "--min-count", 1, "--save-every", 3, "--average", 0.5, *flags,
    ]  # fmt: skip
    command = [sys.executable, "-c", dies_at(4), *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == -9, run.stderr
    assert f"9 steps, from step 0, on {device}" in run.stderr
    said = succeeded(main, *arguments)
    assert re.search(rf"9 steps, from step 3, on {device}", said)
    assert all_finite(tmp_path / "run" / "weights.safetensors")
    (regions,) = Predictor.load(tmp_path / "run" / "weights.safetensors", device=device).describe([PHOTOS[0]])
    assert np.isfinite(regions.embeddings).all()


@on_each_device
def test_codes_captions_and_scene(world: Path, tmp_path: Path, device: str) -> None:
    """What is fitted after the network: the commands, one after the other."""
    from scripts.train import captions, region_codes, scene

    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((world / "weights.safetensors").read_bytes())
    codes = {}
    for each in {"cpu", device}:
        codes[each] = tmp_path / f"{each}.h5"
        succeeded(region_codes.main, codes[each], "--weights", weights, *labelled(world, each))
    here, there = (RegionCodes.read(codes[each]) for each in (device, "cpu"))
    assert list(here.phrases[:2]) == list(there.phrases[:2])
    np.testing.assert_allclose(here.codes[:2].astype(np.float32), there.codes[:2].astype(np.float32), atol=0.05)
    succeeded(
        captions.main, weights, "--out", tmp_path / "captions", "--device", device, "--codes", codes[device],
        "--batch-size", 4, "--epochs", 2,
    )  # fmt: skip
    assert all_finite(tmp_path / "captions" / "weights.safetensors")
    write_terms(tmp_path / "terms.json", {image: [DOG] if image % 2 else [COUCH] for image in range(1, 7)})
    succeeded(scene.main, weights, *labelled(world, device), "--terms", tmp_path / "terms.json")
    assert load_checkpoint(weights).model.config.scene and all_finite(weights)


@on_each_device
def test_the_papers_network_describes(device: str) -> None:
    """Its layers, narrower: all that it does otherwise than the default one."""
    config = FCLNConfig.paper()
    changes = {"hidden_size": 64, "code_size": 64, "word_size": 32, "lstm_size": 32, "piece_size": 8}
    torch.manual_seed(0)
    model = new_model(
        FCLNConfig.from_json(config.to_json() | changes | {"image_size": 256, "embedding_size": 16}),
        vocabulary(),
        word_pieces(),
    )
    torch.nn.init.normal_(model.phrases.pieces)
    checkpoint = Checkpoint(model.eval(), vocabulary(), word_pieces(), {}, Scoring())
    for regions in Predictor(checkpoint, "", device=device).describe(PHOTOS[:2], max_regions=10):
        assert 1 <= len(regions.boxes) <= 10 and np.isfinite(regions.codes.astype(np.float32)).all()


@on_each_device
def test_a_build_describes_with_it(device: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("faiss")
    from db.collection import open_collection
    from db.records import ModelIdentity
    from indexer.build.build import build
    from indexer.build.options import BuildOptions

    for number, image in enumerate(PHOTOS):
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.save(tmp_path / "photos" / f"{number}.jpg")
    predictor = Predictor.load(tiny_checkpoint, device=device)
    model = ModelIdentity(predictor.digest, predictor.embedding_size, predictor.code_size)
    with open_collection(tmp_path / "collection", write=True, create=True, model=model) as collection:
        report = build(collection, [tmp_path / "photos"], predictor, BuildOptions(batch_size=4))
        assert report.described == len(PHOTOS) and not report.failed
        assert collection.precisions() == predictor.precisions


@on_each_device
def test_the_benchmark_runs(device: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    from scripts.benchmark.gpu import main

    (tmp_path / "in").mkdir()
    PHOTOS[0].save(tmp_path / "in" / "a.jpg")
    arguments = f"--photos {tmp_path / 'in'} --count 6 --batch-size 4 --paper-count 0 --workers 2 --rounds 1"
    result = CliRunner().invoke(main, f"{arguments} --weights {tiny_checkpoint} --device {device} --profile --json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["device"].startswith(device) and found["photographs"] == 6
    assert found["files"]["4"] > 0 and found["decoded"]["4"] > 0 and found["cold"]["4"] > 0
    assert found["shapes"]["first"] > 0 and found["shapes"]["again"] > 0
    assert {"resize", "backbone", "suppression", "phrases"} <= found["stage_ms"]["default"].keys()
    assert "Python functions" in found["profiles"]["default"]
