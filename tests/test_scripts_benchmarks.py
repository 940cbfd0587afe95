"""The two benchmarks: what they measure on, and what they report. The times themselves are not judged here."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcln.predictor import Predictor
from helpers.labelled_photos import write_photo
from scripts.benchmark import build as benchmark_build
from scripts.benchmark import filters as benchmark_filters
from scripts.benchmark import memory as benchmark_memory
from scripts.benchmark import query as benchmark_query
from scripts.benchmark.photographs import make_photographs, many_shapes
from scripts.evaluate.errors import EvaluationError
from scripts.torture.tiny_checkpoint import write_tiny_checkpoint


def test_photographs_are_of_one_size_and_no_two_alike(tmp_path: Path) -> None:
    sources = [write_photo(tmp_path / "a.jpg", seed=1)]
    made = benchmark_build.make_photographs(sources, tmp_path / "made", 23)  # more than the 20 ways to cut
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in made}) == 23
    for path in made:
        with Image.open(path) as image:
            assert (image.size, image.format, image.mode) == ((500, 375), "JPEG", "RGB")


def test_photographs_of_many_shapes_lie_and_stand_and_some_are_large(tmp_path: Path) -> None:
    sizes = [many_shapes(number) for number in range(320)]
    small = [size for size in sizes if max(size) == 500]
    assert len(set(small)) >= 25 and len(small) == 300
    assert {width > height for width, height in small} == {True, False}
    megapixels = sorted(round(width * height / 1e6) for width, height in sizes if max(width, height) != 500)
    assert megapixels == [12] * 15 + [48] * 5
    made = make_photographs([write_photo(tmp_path / "a.jpg")], tmp_path / "made", 3, size_of=many_shapes)
    for path, size in zip(made, sizes):
        with Image.open(path) as image:
            assert image.size == size


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_memory_benchmark_adds_up_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "photos" / "a.jpg")
    command = f"--photos {tmp_path / 'photos'} --count 3 --without-fast --json"
    result = CliRunner().invoke(benchmark_memory.main, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["photographs"], found["runtime"]) == (3, "plain")
    assert 0.2 < found["peak_memory_gb"] < 50 and found["cpu_seconds"] > 0
    monkeypatch.setattr(benchmark_memory, "_BUILD", "raise SystemExit(2)")
    with pytest.raises(EvaluationError, match="the build failed"):
        benchmark_memory.measure(tmp_path / "photos", tmp_path / "collection", 1)


def test_sources_take_turns(tmp_path: Path) -> None:
    dark, bright = tmp_path / "in" / "dark.png", tmp_path / "in" / "below" / "bright.PNG"
    bright.parent.mkdir(parents=True)
    Image.new("L", (20, 20), 10).save(dark)
    Image.new("RGB", (20, 20), (200, 200, 200)).save(bright)
    (tmp_path / "in" / "readme.txt").touch()
    sources = benchmark_build.find_sources(tmp_path / "in")
    assert sources == [bright, dark]
    made = benchmark_build.make_photographs(sources, tmp_path / "made", 4)
    assert [round(np.asarray(Image.open(path)).mean()) for path in made] == [200, 10, 200, 10]
    with pytest.raises(EvaluationError, match="holds no photographs"):
        benchmark_build.find_sources(tmp_path / "in" / "readme.txt")


def test_the_build_benchmark_reports_speed_ratio_and_memory(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_photo(tmp_path / "photos" / "a.jpg")
    command = f"--photos {tmp_path / 'photos'} --count 5 --rounds 1 --weights {tiny_checkpoint} --device cpu"
    result = CliRunner().invoke(benchmark_build.main, f"{command} --json")
    assert result.exit_code == 0, result.output
    times = json.loads(result.stdout)
    assert times["photographs"] == 5 and times["device"] == "cpu"
    assert times["photographs_per_second"] * times["build_seconds"] == pytest.approx(1)
    assert times["ratio"] == pytest.approx(times["build_seconds"] / times["backbone_seconds"])
    assert 0.05 < times["peak_memory_gb"] < 50  # a process with torch in it, in bytes
    lines = benchmark_build.table(benchmark_build.BuildTimes(5, 8.0, 0.125, 0.05, 2.5, 1.0, "cpu", 2)).splitlines()
    assert lines[2].split() == ["decode", "to", "commit", "8.0", "photographs/s", "125.0", "ms", "each"]
    assert lines[4].split() == ["ratio", "2.50"]


def test_the_build_benchmark_compares_two_weights_files(tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_photo(tmp_path / "photos" / "a.jpg")
    write_tiny_checkpoint(tmp_path / "other.safetensors", seed=8)
    command = f"--photos {tmp_path / 'photos'} --count 3 --rounds 2 --weights {tiny_checkpoint} --device cpu"
    result = CliRunner().invoke(benchmark_build.main, f"{command} --against {tmp_path / 'other.safetensors'} --json")
    assert result.exit_code == 0, result.output
    times = json.loads(result.stdout)
    assert times["speedup"] == pytest.approx(times["against_seconds"] / times["build_seconds"])
    told = benchmark_build.BuildTimes(5, 8.0, 0.125, 0.05, 2.5, 1.0, "cpu", 2, against_seconds=0.5, speedup=4.0)
    assert benchmark_build.table(told).splitlines()[-1].split() == ["times", "as", "fast", "4.00"]
    missing = CliRunner().invoke(benchmark_build.main, f"{command} --against {tmp_path / 'none.safetensors'}")
    assert missing.exit_code == 1 and "none.safetensors" in missing.stderr and "Traceback" not in missing.stderr


def test_made_up_embeddings_lie_in_clusters_some_of_them_around_the_questions() -> None:
    question = np.eye(64, dtype=np.float32)[:1]
    photos = list(benchmark_query.make_photographs(3, question, 8, photographs=60, regions=50))
    embeddings = np.concatenate([photo.embeddings for photo in photos])
    assert embeddings.shape == (3000, 64) and embeddings.dtype == np.float32
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(3000), abs=1e-5)
    nearest = np.sort(embeddings @ embeddings.T, axis=1)[:, -2]  # the closest other one
    # 2,005 clusters for 3,000 regions: of most there are several, which are alike by 1 / (1 + 0.8^2) = 0.61.
    assert 0.5 < np.median(nearest) < 0.7
    # One question's five clusters among 2,005: two steps of 0.8 away, by 0.61, with about 7 regions.
    assert 1 <= np.count_nonzero(embeddings @ question[0] > 0.5) < 30


def test_made_up_photographs_are_valid_and_the_same_every_time() -> None:
    question = np.eye(16, dtype=np.float32)[:1]
    first, second = (list(benchmark_query.make_photographs(3, question, 8, 4, 20)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.path == b.path and a.embeddings.tolist() == b.embeddings.tolist()
        assert (a.boxes[:, :2] >= 0).all() and (a.boxes[:, 2:] <= [500, 375]).all()
        assert (a.boxes[:, :2] < a.boxes[:, 2:]).all()
        assert a.codes.shape == (20, 8) and a.codes.dtype == np.float16
    assert len({photo.digest for photo in first}) == 4


def test_the_query_benchmark_asks_in_process_and_as_a_command(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_query, "QUESTIONS", ("dog on couch", "red lamp"))  # words that the network knows
    monkeypatch.setattr(benchmark_query, "COMMIT_PHOTOS", 7)
    command = f"--photographs 20 --regions 5 --repeats 2 --runs 1 --weights {tiny_checkpoint} --device cpu --json"
    command += f" --collection {tmp_path / 'kept'}"
    result = CliRunner().invoke(benchmark_query.main, command)
    assert result.exit_code == 0, result.output
    times = json.loads(result.stdout)
    assert (times["photographs"], times["regions"], times["scoring"]) == (20, 100, "embedding")
    assert 0 < times["median_ms"] <= times["p95_ms"] and times["median_ms"] < 1e3 * times["command_seconds"]
    assert (tmp_path / "kept").exists()


def test_a_kept_collection_is_asked_as_it_is(
    tmp_path: Path, tiny_checkpoint: Path, tiny_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_query, "QUESTIONS", ("red lamp",))
    monkeypatch.setattr(benchmark_query, "time_command", lambda *arguments: 1.5)
    benchmark_query.fill(tmp_path / "kept", tiny_predictor, photographs=3, regions=2)
    command = f"--weights {tiny_checkpoint} --device cpu --collection {tmp_path / 'kept'} --repeats 1 --runs 1"
    result = CliRunner().invoke(benchmark_query.main, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("6 regions of 3 photographs, embedding scoring, on cpu")
    assert "whole command, median      1.50 s" in result.stdout


def test_a_command_that_fails_is_no_time(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(EvaluationError, match=r"ended with 2: .*nowhere"):
        benchmark_query.time_command(tmp_path / "nowhere", tiny_checkpoint, "cpu", "red lamp")


def test_the_filter_benchmark_compares_with_the_exact_answer(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_filters, "SHORTLIST_PHOTOS", 20)
    place = ["--collection", str(tmp_path / "made-up")]
    command = ["--photographs", "300", "--regions", "4", "--weights", str(tiny_checkpoint), *place]
    for _ in range(2):  # the second time the collection is there
        result = CliRunner().invoke(benchmark_filters.main, [*command, "--json"])
        assert result.exit_code == 0, result.output
        rows = json.loads(result.stdout)["rows"]
        assert [row["photographs"] for row in rows] == [1, 3, 30, 150] * 2
        assert all(row["found"] == 1 and row["median_ms"] > 0 for row in rows)
        assert rows[1]["found_afterwards"] < 0.5  # of 3 photographs among 20 of 300
    lines = benchmark_filters.table([benchmark_filters.Row(0.01, True, 70, 12.345, 1.0, 0.21)]).splitlines()
    assert lines[1].split() == ["70", "1.0%", "large", "regions", "12.3", "ms", "100.0%", "21.0%"]
