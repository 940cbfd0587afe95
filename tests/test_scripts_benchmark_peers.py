"""A build beside a whole-picture tool: the arithmetic, and that all of it runs. The times are not judged here."""

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from helpers.labelled_photos import write_photo
from scripts.benchmark import memory, peers
from scripts.benchmark.memory import peak_with_children
from scripts.benchmark.peers import Round, Spread, Worker, clip_pixels, summary, table
from scripts.benchmark.stages import Stages
from scripts.evaluate.errors import EvaluationError


class _Clock:
    now = 0.0


class _Work:
    def outer(self, clock: _Clock) -> str:
        clock.now += 1
        self.inner(clock)
        self.inner(clock)
        return "done"

    def inner(self, clock: _Clock) -> None:
        clock.now += 10
        if clock.now > 100:
            raise ValueError("too late")


def test_a_stage_has_its_own_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stages, original = _Clock(), Stages(), _Work.outer
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    with stages.measured({"outer": [(_Work, "outer")], "inner": [(_Work, "inner")]}):
        assert _Work().outer(clock) == "done"
        assert _Work().outer(clock) == "done"
        assert dict(stages.seconds) == {"outer": 2, "inner": 40}
        clock.now = 100
        with pytest.raises(ValueError):
            _Work().outer(clock)
        assert dict(stages.seconds) == {"outer": 3, "inner": 50}
    assert _Work.outer is original
    clock.now = 0
    _Work().outer(clock)
    assert stages.seconds["outer"] == 3  # nothing is measured any more


def test_stages_of_two_threads_do_not_nest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stages = _Clock(), Stages()
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    with stages.measured({"outer": [(_Work, "outer")], "inner": [(_Work, "inner")]}):
        first = threading.Thread(target=_Work().outer, args=(clock,))
        first.start()
        first.join()
        _Work().inner(clock)
    assert dict(stages.seconds) == {"outer": 1, "inner": 30}


def test_rates_and_ratios_are_those_of_a_round() -> None:
    rounds = [
        {"build": Round(4.0, 3, {"backbone": 2.0, "commit": 1.0}), "clip": Round(2.0, 5), "backbone": Round(1.0, 1)},
        {"build": Round(8.0, 2, {"backbone": 4.0}), "clip": Round(16.0, 4), "backbone": Round(4.0, 1)},
        {"build": Round(5.0, 2, {"backbone": 3.0}), "clip": Round(5.0, 4), "backbone": Round(2.0, 1)},
    ]
    found = summary(rounds, 80, "cpu")
    assert found.rates["build"] == Spread(16, 10, 20)
    assert found.build_to_clip == Spread(1, 0.5, 2)
    assert found.build_in_backbones == Spread(2.5, 2, 4)
    assert found.stage_ms == {"backbone": 37.5, "commit": 0}
    assert found.stage_share == {"backbone": 0.6, "commit": 0}
    assert found.peak_memory_gb == {"build": 3e-9, "clip": 5e-9, "backbone": 1e-9}
    lines = table(found).splitlines()
    assert lines[0].startswith("80 photographs, cpu, ")
    assert lines[3].split()[:5] == ["build", "16.00", "(10.00", "to", "20.00)"]
    assert lines[-2].split() == ["backbone", "37.50", "60.0", "%"]


class _InThisProcess(Worker):
    """Three processes, each of which imports everything, would take half a minute."""

    def __init__(self, make, args):  # type: ignore[no-untyped-def]
        self._contestant = make(*args)

    def __call__(self) -> Round:
        return self._contestant()

    def memory(self) -> int:
        return 7

    def close(self) -> None:
        pass


@contextmanager
def _nobody(count: int):  # type: ignore[no-untyped-def]
    assert count == 3
    yield


def test_eight_photographs_go_all_three_ways(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "Worker", _InThisProcess)
    monkeypatch.setattr(peers, "VIT_LAYERS", 1)
    monkeypatch.setattr(peers, "CLIP_BATCH", 3)
    for seed in range(2):
        write_photo(tmp_path / "photos" / f"{seed}.jpg", seed=seed)
    command = f"--photos {tmp_path / 'photos'} --count 8 --rounds 2 --weights {tiny_checkpoint} --device cpu"
    monkeypatch.setattr(peers, "busy_processes", _nobody)
    command += " --busy 3"
    result = CliRunner().invoke(peers.main, f"{command} --json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["photographs"] == 8
    assert found["busy_to_quiet"]["median"] > 0
    assert found["peak_memory_gb"] == {"build": 7e-9, "clip": 7e-9, "backbone": 7e-9}
    assert found["precisions"]["build"].startswith("backbone ")
    assert set(found["rates"]) == {"build", "clip", "backbone"}
    assert set(found["stage_ms"]) == set(peers.STAGES)
    assert all(ms > 0 for ms in found["stage_ms"].values())
    serial = set(peers.STAGES) - {"read", "decode", "commit"}
    assert 0 < sum(found["stage_share"][stage] for stage in serial) <= 1.2


def test_clip_keeps_a_vector_of_every_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "VIT_LAYERS", 1)
    monkeypatch.setattr(peers, "CLIP_BATCH", 2)
    photographs = [write_photo(tmp_path / f"{seed}.jpg", seed=seed) for seed in range(3)]
    peers.Clip(photographs, None, "cpu", tmp_path)()
    with sqlite3.connect(tmp_path / "clip-1.db") as database:
        rows = database.execute("SELECT path, vector FROM image ORDER BY path").fetchall()
    assert [path for path, _ in rows] == [str(path) for path in photographs]
    vectors = np.stack([np.frombuffer(vector, np.float32) for _, vector in rows])
    assert vectors.shape == (3, 512)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    assert clip_pixels(photographs[0]).shape == (3, 256, 256)


def test_runtimes_side_by_side(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "Worker", _InThisProcess)
    monkeypatch.setattr(peers, "VIT_LAYERS", 1)
    photographs = [write_photo(tmp_path / "photos" / f"{seed}.jpg", seed=seed) for seed in range(2)]
    args = (photographs, tiny_checkpoint, "cpu", tmp_path / "scratch", 1)
    found = peers.compare(*args, runtimes=("torch", "auto"))
    assert list(found.rates) == ["build", "clip", "build auto", "backbone", "backbone auto"]
    assert list(found.runtimes_to_clip) == ["build auto"] and found.busy_to_quiet is None
    assert "  build auto to clip" in table(found)


def test_busy_processes_compute_and_end() -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    with peers.busy_processes(2):
        others = [child for child in multiprocessing.active_children() if child.pid not in before]
        assert len(others) == 2 and all(child.is_alive() for child in others)
    assert {child.pid for child in multiprocessing.active_children()} == before


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux says it")
def test_memory_counts_processes_that_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()
    real = memory._proportional
    held: list[int] = []

    def proportional(process: int) -> int:
        found = real(process)
        if process != os.getpid() and found > held[-1] << 20:
            looked.set()
        return found

    def work(megabytes: int) -> None:
        held.append(megabytes)
        looked.clear()
        script = f"held = bytearray({megabytes} << 20); held[::4096] = b'x' * len(held[::4096]); input()"
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
            assert looked.wait(300)
            child.communicate(b"\n")

    monkeypatch.setattr(memory, "_proportional", proportional)
    assert peak_with_children(lambda: work(200)) > peak_with_children(lambda: work(1)) + (150 << 20)


def _echo(word: str) -> object:
    if word == "fail":
        raise ValueError("no such word")
    if word == "crash":
        os._exit(7)
    return lambda: Round(float(len(word)), os.getpid())


def test_a_worker_is_a_process_of_its_own() -> None:
    worker = Worker(_echo, ("four",))
    first, second = worker(), worker()
    worker.close()
    assert first == second and first.peak_memory != os.getpid()
    assert first.seconds == 4


@pytest.mark.parametrize(("word", "told"), [("fail", "ValueError: no such word"), ("crash", "exit code 7")])
def test_a_worker_that_fails_says_why(word: str, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        Worker(_echo, (word,))
