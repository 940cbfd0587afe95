"""The paper's Table 2: how rows are scored, what they are compared with, what is printed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from db.collection import Collection, open_collection
from db.records import Features, RegionRow
from decoding.files import decode_file
from decoding.photos import Photograph
from fcln.checkpoint import load_checkpoint, new_model, save_checkpoint
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.training.baselines import baseline_config
from helpers.labelled_photos import write_labels, write_photo
from scripts.evaluate import retrieval as evaluate_retrieval
from scripts.evaluate.exact_ranking import RankedQuestion
from scripts.evaluate.labelled_collection import LabelledPhoto
from scripts.evaluate.retrieval import LabelledPhrase, Outcome, RetrievalQuery, draw_all
from scripts.evaluate.retrieval_table import (
    CROPS,
    FIGURES,
    FULL_IMAGE,
    REGION,
    SAME_REGIONS,
    as_json_row,
    as_read,
    cut,
    first_regions,
    main,
    outcome,
    ratio,
    table,
)
from scripts.evaluate.retrieval_table import (
    FCLN as ROWS,
)
from search.ranking import Ranking
from search.wording.lexicon import Lexicon

FCLN = tuple(ROWS.values())
POOL = ("a red lamp", "the brown dog", "two red dog", "the man on a couch", "a man in red", "the dog on the couch")


def features(photo_ids: list[int]) -> Features:
    """Regions 1, 2, ... of these photographs."""
    ids = np.arange(1, len(photo_ids) + 1)
    return Features(ids, np.array(photo_ids), np.zeros((len(ids), 1), np.float16), np.zeros((len(ids), 0), np.float32))


class TallRegions:
    """A collection whose region n has the box (0, 0, 10, n)."""

    def regions(self, region_ids: list[int]) -> list[RegionRow]:
        return [RegionRow(n, 1, (0.0, 0.0, 10.0, float(n)), 1.0, "") for n in region_ids]


def test_an_answer_is_judged_by_its_place_and_its_boxes() -> None:
    boxes = {"a dog": [[0, 0, 10, 6], [50, 50, 60, 60]], "a couch": [[0, 0, 5, 4]]}
    query = RetrievalQuery(20, tuple(LabelledPhrase(t, np.array(b, np.float32)) for t, b in boxes.items()))
    ranked = RankedQuestion(Ranking(list(boxes), np.array([10, 20, 30]), np.array([3.0, 2.0, -np.inf])), [3, 4])
    assert outcome(query, ranked, TallRegions()) == Outcome(2, (0.5, 0.5))  # type: ignore[arg-type]
    assert outcome(query, ranked, None) == Outcome(2, ())


def test_crops_are_of_the_first_regions_of_each_photograph() -> None:
    assert first_regions(features([4, 4, 4, 2, 9, 9]), 2).region_ids.tolist() == [1, 2, 4, 5, 6]
    assert first_regions(features([4, 4, 4, 2, 9, 9]), 1).region_ids.tolist() == [1, 4, 5]


def test_crops_are_cut_from_the_decoded_image() -> None:
    rows, columns = np.mgrid[:8, :10].astype(np.uint8)
    image = Image.fromarray(np.stack([columns, rows, 0 * rows], axis=2))
    # Every pixel is two of the photograph, the first column half outside.
    photo = Photograph(image, 19, 16, scale=2, origin=(-1, 0))
    boxes = np.array([[3, 4, 9, 8], [18.5, 15.5, 19, 16], [0, 0, 19, 16]], np.float32)
    inside, smallest, whole = cut(photo, boxes)
    assert inside.size == (3, 2) and inside.getpixel((0, 0)) == (2, 2, 0) and inside.getpixel((2, 1)) == (4, 3, 0)
    assert smallest.size == (1, 1) and smallest.getpixel((0, 0)) == (9, 7, 0)
    assert whole.size[1] == 8 and whole.getpixel((8, 7)) == (8 + 10 - whole.size[0], 7, 0)


def figures(recall: float, *, located: bool = True) -> dict:
    names = FIGURES if located else FIGURES[:4]
    values = dict.fromkeys(names, recall) | {"median_rank": 12.25}
    return values | {"standard_error": dict.fromkeys(names, 0.013)}


def result(rows: dict[str, dict], left_out: list[str]) -> dict:
    return {
        "rows": {name: as_json_row(row) for name, row in rows.items()}, "left_out": left_out, "images": 20,
        "recall@1_against_full_image": ratio(rows), "draws": 3, "queries": 7, "max_regions": 50, "crops": 40,
    }  # fmt: skip


def test_the_table_is_markdown() -> None:
    rows = {FULL_IMAGE: figures(0.1, located=False)} | {n: figures(r) for n, r in zip(FCLN, (0.27, 0.2, 0.25))}
    assert ratio(rows) == pytest.approx(2.7)
    text = table(result(rows, [REGION]))
    assert "among 20 photographs, 7 queries of 4 phrases a draw, 3 draws" in text
    assert "\n| model | recall@1 | @5 | @10 | median rank |" in text
    assert f"\n| {FULL_IMAGE} | {' | '.join(['0.100 ± 0.013'] * 3)} | 12.2 ± 0.0 | – | – | – | – |\n" in text
    assert f"\n| {FCLN[0]} | 0.270 ± 0.013 |" in text and "–" not in text.split(FCLN[0])[1]
    assert "at most 50 regions a photograph, of which the baselines read 40 as crops.\n" in text
    assert f"\nLeft out, for want of weights or crops: {REGION}." in text
    assert text.endswith("recall@1 of the best FCLN row is 2.70 times the Full Image RNN's.")
    # A single draw has no standard errors; without the Full Image RNN, or with one that finds nothing, no ratio.
    rows = {FULL_IMAGE: figures(0), **{name: figures(0.5) for name in FCLN}}
    rows[FCLN[0]]["standard_error"] = dict.fromkeys(FIGURES)
    text = table({**result(rows, []), "crops": 0})
    assert "at most 50 regions a photograph.\n" in text
    assert ratio(rows) is None and "times" not in text and "Left out" not in text
    assert f"| {FCLN[0]} | 0.500 | 0.500 | 0.500 | 12.2 | 0.500 |" in text


@pytest.fixture(scope="module")
def image_rnns(tmp_path_factory, tiny_checkpoint: Path) -> list[Path]:
    """Two small Image RNNs with different random weights."""
    paths = [tmp_path_factory.mktemp("image-rnn") / f"{seed}.safetensors" for seed in (1, 2)]
    checkpoint = load_checkpoint(tiny_checkpoint)
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        config = baseline_config(checkpoint.model.config, max_words=20)
        model = new_model(config, checkpoint.vocabulary, checkpoint.pieces)
        torch.nn.init.normal_(model.language.output.weight)  # else every phrase is as likely everywhere
        save_checkpoint(path, replace(checkpoint, model=model))
    return paths


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> tuple[Path, Path]:
    """Eight photographs with five of six phrases each; one is misspelt."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(3)
    labels = {}
    for image_id in range(1, 9):
        write_photo(folder / "photos" / f"{image_id}.jpg", seed=image_id)
        corners = rng.integers(0, 40, (6, 2))
        boxes = [(float(x), float(y), 40.0, 20.0) for x, y in corners]
        labels[image_id] = list(zip(boxes, POOL))[: image_id % 6] + list(zip(boxes, POOL))[image_id % 6 + 1 :]
    return folder / "photos", write_labels(folder / "annotations", labels)


@pytest.fixture(scope="module")
def command(labelled, tiny_checkpoint) -> list[str]:
    photos, annotations = map(str, labelled)
    kept = str(labelled[0].parent / "collection")
    return [
        *("--photos", photos, "--annotations", annotations, "--weights", str(tiny_checkpoint), "--device", "cpu"),
        *("--collection", kept, "--max-regions", "6", "--draws", "2", "--queries", "5", "--json"),
    ]


@pytest.fixture(scope="module")
def measured(command: list[str], image_rnns: list[Path]) -> dict:
    """What the real command says."""
    full_image, region = map(str, image_rnns)
    options = ["--full-image", full_image, "--region", region, "--regions", "3", "--float32"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.evaluate.retrieval_table", *command, *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert done.stderr.endswith(f"{table(result)}\n")  # for people too
    return result


def test_the_command_measures_all_rows(measured: dict) -> None:
    assert list(measured["rows"]) == [FULL_IMAGE, CROPS, REGION, *FCLN[:2], SAME_REGIONS, FCLN[2]]
    for name, row in measured["rows"].items():
        assert list(row) == [*FIGURES, "standard_error"] and list(row["standard_error"]) == list(FIGURES)
        missing = FIGURES[4:] if name == FULL_IMAGE else ()
        assert [figure for figure in FIGURES if row[figure] is None] == list(missing)
        assert [figure for figure in FIGURES if row["standard_error"][figure] is None] == list(missing)
    # The last two differ by a twentieth of a likelihood, which may change nothing among eight photographs.
    assert len({json.dumps(row) for row in measured["rows"].values()}) >= 5
    assert measured["left_out"] == []
    assert [measured[name] for name in ("images", "draws", "queries", "max_regions", "crops")] == [8, 2, 5, 6, 3]
    assert measured["phrases"] == 6


@pytest.mark.parametrize("options", ["embedding", "likelihood --exact", "fused --exact"])
def test_the_networks_rows_are_what_evaluate_retrieval_says(measured: dict, command: list[str], options: str) -> None:
    done = CliRunner().invoke(evaluate_retrieval.main, [*command, "--scoring", *options.split()])
    assert done.exit_code == 0, done.output
    expected = json.loads(done.stdout)
    row = measured["rows"][f"FCLN, {options.split()[0]}"]
    assert row["standard_error"] == pytest.approx(expected["standard_error"], abs=1e-6)
    assert [row[name] for name in FIGURES] == pytest.approx([expected[name] for name in FIGURES], abs=1e-6)


def by_hand(labelled: tuple[Path, Path], fcln: Predictor, rnn: Predictor, collection: Collection, crops: int):
    """recall@1 and median rank of each draw: each photograph judged by loops."""
    photographs = load_annotations(*labelled)
    ids = {int(photo.path.stem): photo for photo in collection.photos(collection.photo_ids().tolist())}
    photos = [LabelledPhoto(ids[photo.image_id].photo_id, photo, photo.boxes) for photo in photographs]
    cuts = []
    for photo in sorted(ids.values(), key=lambda row: row.photo_id):
        image = decode_file(photo.path)
        region_ids = collection.features([photo.photo_id]).region_ids[:crops].tolist()
        boxes = np.array([region.box for region in collection.regions(region_ids)], np.float32)
        cuts.append((photo.photo_id, cut(image, boxes) if crops else [image.image]))
    codes = rnn.image_codes([crop for _, its_crops in cuts for crop in its_crops])
    owners = np.array([photo_id for photo_id, its_crops in cuts for _ in its_crops])
    measured = []
    for draw in draw_all(photos, Lexicon.of(fcln), draws=2, queries=5, min_words=3, seed=1):
        ranks = []
        for query in draw:
            scores = {photo_id: 0.0 for photo_id, _ in cuts}
            for phrase in query.phrases:
                (row,) = rnn.log_likelihood([phrase.text], codes)
                for photo_id in scores:
                    scores[photo_id] += float(row[owners == photo_id].max())
            # As `search.ranking` has it: means to the sixth digit, equal ones by id.
            places = sorted(scores, key=lambda photo_id: (-round(scores[photo_id] / len(query.phrases), 6), photo_id))
            ranks.append(1 + places.index(query.photo_id))
        measured.append((np.mean(np.array(ranks) == 1), np.median(ranks)))
    return np.mean(measured, axis=0)


def test_the_row_of_the_cropped_regions_by_hand(measured, command, labelled, tiny_predictor) -> None:
    photographs = load_annotations(*labelled)
    with open_collection(labelled[0].parent / "collection") as collection:
        ids = {int(photo.path.stem): photo.photo_id for photo in collection.photos(collection.photo_ids().tolist())}
        seen = {photo_id: collection.features([photo_id]).embeddings[:3] for photo_id in ids.values()}
    photos = [LabelledPhoto(ids[photo.image_id], photo, photo.boxes) for photo in photographs]
    recalls = []
    for draw in draw_all(photos, Lexicon.of(tiny_predictor), draws=2, queries=5, min_words=3, seed=1):
        for query in draw:
            texts = as_read(query, Lexicon.of(tiny_predictor)).phrases
            vectors = tiny_predictor.encode_phrases([phrase.text for phrase in texts])
            scores = {p: round(float((vectors @ rows.T).max(axis=1).mean()), 6) for p, rows in seen.items()}
            best = min(scores, key=lambda photo_id: (-scores[photo_id], photo_id))
            recalls.append(best == query.photo_id)
    assert measured["rows"][SAME_REGIONS]["recall@1"] == pytest.approx(np.mean(recalls))
    assert measured["rows"][SAME_REGIONS] != measured["rows"]["FCLN, embedding"]


@pytest.mark.parametrize(("name", "network", "crops"), [(FULL_IMAGE, 0, 0), (CROPS, 0, 3), (REGION, 1, 3)])
def test_the_baselines_rows_by_hand(measured, command, labelled, image_rnns, tiny_predictor, name, network, crops):
    rnn = Predictor.load(image_rnns[network], device="cpu")
    with open_collection(labelled[0].parent / "collection") as collection:
        recall, rank = by_hand(labelled, tiny_predictor, rnn, collection, crops)
    row = measured["rows"][name]
    assert (row["recall@1"], row["median_rank"]) == pytest.approx((recall, rank))


def test_some_rows_alone(measured: dict, command: list[str], image_rnns: list[Path]) -> None:
    full_image, region = map(str, image_rnns)
    options = ["--full-image", full_image, "--region", region, "--regions", "0", "--scoring", "embedding", "--float32"]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 0, done.output
    some = json.loads(done.stdout)
    assert list(some["rows"]) == [FULL_IMAGE, "FCLN, embedding"]
    assert all(some["rows"][name] == measured["rows"][name] for name in some["rows"])
    assert some["left_out"] == [CROPS, REGION]


def test_rows_without_weights_are_left_out(measured: dict, command: list[str], image_rnns: list[Path]) -> None:
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    alone = json.loads(done.stdout)
    assert list(alone["rows"]) == list(FCLN) and alone["left_out"] == [FULL_IMAGE, CROPS, REGION]
    assert alone["recall@1_against_full_image"] is None
    for name, row in alone["rows"].items():
        assert row["median_rank"] == pytest.approx(measured["rows"][name]["median_rank"], abs=1)  # bfloat16
    without_json = [*command[:-1], "--draws", "1", "--region", str(image_rnns[1]), "--regions", "1"]
    done = CliRunner().invoke(main, without_json)
    assert done.exit_code == 0, done.output
    assert f"Left out, for want of weights or crops: {FULL_IMAGE}, {CROPS}." in done.stdout
    assert f"| {REGION} |" in done.stdout and "times" not in done.stdout
    # Each row is told as soon as it is known.
    told = [line for line in done.stderr.splitlines() if line.startswith("| ")]
    assert told == [line for line in done.stdout.splitlines() if line.startswith(("| Region", "| FCLN"))]
    assert len(told) == 5


def test_other_networks_are_refused(command: list[str], tiny_checkpoint: Path, image_rnns: list[Path]) -> None:
    done = CliRunner().invoke(main, [*command, "--full-image", str(tiny_checkpoint)])
    assert (
        done.exit_code == 1 and "is no Image RNN: train one with `scripts.train --baseline full-image`" in done.output
    )
    done = CliRunner().invoke(main, [*command, "--weights", str(image_rnns[0])])
    assert done.exit_code == 1 and "--weights is for the FCLN" in done.output


def test_slips_are_corrected_for_all(tiny_predictor: Predictor) -> None:
    phrases = tuple(LabelledPhrase(text, np.zeros((1, 4), np.float32)) for text in ("a red lampp", "the man"))
    read = as_read(RetrievalQuery(3, phrases), Lexicon.of(tiny_predictor))
    assert read.photo_id == 3 and read.phrases[0].boxes is phrases[0].boxes
    expected = [Lexicon.of(tiny_predictor).substitutions("lampp").get("lampp", "lampp"), "the man"]
    assert [read.phrases[0].text, read.phrases[1].text] == [f"a red {expected[0]}", "the man"]
