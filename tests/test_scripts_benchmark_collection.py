"""What the benchmark of bookkeeping measures, and what it reports. The times themselves are not judged here."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from db.collection import open_collection
from scripts.benchmark import collection as benchmark_collection
from scripts.benchmark.collection import Cost, Stopwatch, list_and_stat, make_files, make_photographs, measure, table


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten processes, each of which imports everything, would take half a minute."""
    monkeypatch.setattr(benchmark_collection, "measure", benchmark_collection._do)


@pytest.mark.usefixtures("in_this_process")
def test_every_job_is_measured(tmp_path: Path) -> None:
    command = f"--photographs 20 --regions 3 --commit-photographs 8 --folder {tmp_path}"
    result = CliRunner().invoke(benchmark_collection.main, f"{command} --json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["photographs"], document["regions"]) == (20, 3)
    details = {job: cost["details"] for job, cost in document["costs"].items()}
    for cost in document["costs"].values():
        assert cost["seconds"] > 0 and cost["cpu_seconds"] > 0 and cost["peak_memory_mb"] > 20
    assert details["list and stat"] == {"files": 20}
    assert (details["build without changes"]["unchanged"], details["build without changes"]["tasks"]) == (20, 0)
    assert details["verify"] == {"holds": True, "problems": []}
    assert (details["compact"]["segments_before"], details["compact"]["segments_after"]) == (3, 1)
    assert (details["rebuild"]["regions"], details["rebuild"]["recall_at_100"]) == (60, 1.0)
    parts = ("of_them_database", "of_them_features", "of_them_faiss")
    assert sum(details["fill"][part] for part in parts) == pytest.approx(details["fill"]["bytes_a_region"])
    assert details["fill"]["of_them_features"] > 2 * (256 + 512)
    with open_collection(tmp_path / "collection") as collection:
        assert (collection.photo_count(), collection.region_count()) == (20, 60)
        assert all(row.path.exists() for row in collection.photos(collection.photo_ids()))

    again = CliRunner().invoke(benchmark_collection.main, command)
    assert again.exit_code == 1 and "collection exists: name another --folder." in again.output


def test_made_up_photographs_are_the_same_every_time(tmp_path: Path) -> None:
    make_files(tmp_path, 3)
    files = sorted(tmp_path.rglob("*.jpg"))
    one, other = (list(make_photographs(1, tmp_path, files, 200)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert (a.path, a.digest, a.embeddings.tolist()) == (b.path, b.digest, b.embeddings.tolist())
        assert (a.boxes[:, :2] < a.boxes[:, 2:]).all() and a.boxes.max() <= 500
        assert np.linalg.norm(a.embeddings, axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    assert [photo.path for photo in one] == [f"0000/000000{number}.jpg" for number in range(3)]
    assert len({photo.digest for photo in one}) == 3


def test_a_job_is_done_in_a_process_of_its_own(tmp_path: Path) -> None:
    make_files(tmp_path, 1001)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["0000", "0001"]
    ballast = np.ones(50_000_000)  # 400 MB, which are not the job's
    cost = measure(list_and_stat, tmp_path)
    assert cost.details == {"files": 1001}
    assert 0 < cost.seconds < 600 and 20 < cost.peak_memory_mb < ballast.nbytes / 1e6


def test_the_table_for_people() -> None:
    costs = {
        "list and stat": Cost(2.0, 1.0, 50.0, {"files": 7}),
        "build without changes": Cost(3.0, 2.0, 99.6, {"share": 0.25}),
    }
    lines = table(1000, 50, costs).splitlines()
    assert lines[0].startswith("1,000 photographs with 50 regions each, ")
    assert [line.split() for line in lines[2:6]] == [
        ["list", "and", "stat", "2.00", "s", "1.00", "s", "of", "CPU", "50", "MB"],
        ["files", "7"],
        ["build", "without", "changes", "3.00", "s", "2.00", "s", "of", "CPU", "100", "MB"],
        ["share", "0.25"],
    ]
    assert lines[-1] == "a build without changes takes 1.50 times as long as listing the files (2.00 of CPU)"


def test_only_parts_of_a_job_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0, 10.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: now[1])
    watch = Stopwatch()
    for _ in range(2):
        with watch.running():
            now[0] += 3
            now[1] += 2
        now[0] += 50
        now[1] += 50
    assert (watch.seconds, watch.cpu_seconds) == (6, 4)
