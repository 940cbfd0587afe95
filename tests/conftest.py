"""Fixtures that several test files use."""

import gc
from pathlib import Path

import pytest


def pytest_unconfigure() -> None:
    """What `search.cli` froze in this process is looked through at its end, else torch's parts remark on it."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a small network with random weights: real in everything but what it knows."""
    from scripts.torture.tiny_checkpoint import write_tiny_checkpoint

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_tiny_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def tiny_predictor(tiny_checkpoint: Path):
    """The Predictor of `tiny_checkpoint`."""
    from fcln.predictor import Predictor

    return Predictor.load(tiny_checkpoint, device="cpu")
