"""Fixtures that several test files use."""

from pathlib import Path

import pytest


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


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory, tiny_predictor):
    """Three photographs and their collection, described by `tiny_predictor`; not to be changed."""
    from helpers.small_album import make_album

    return make_album(tmp_path_factory.mktemp("album"), tiny_predictor)
