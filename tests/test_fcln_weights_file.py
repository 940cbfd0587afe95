"""What a weights file says of itself without its weights."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fcln.errors import CheckpointError
from fcln.weights_file import FORMAT, WeightsFile, checkpoint_digest, pack_texts

PROJECT = Path(__file__).parent.parent


def test_it_names_the_network_that_the_predictor_loads(tiny_checkpoint, tiny_predictor):
    found = WeightsFile.read(tiny_checkpoint)
    assert found.digest == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest() == tiny_predictor.digest
    assert found.digest == checkpoint_digest(tiny_checkpoint)
    assert (found.embedding_size, found.code_size) == (tiny_predictor.embedding_size, tiny_predictor.code_size)


def test_reading_it_loads_no_torch(tiny_checkpoint):
    code = (
        "import sys\nfrom pathlib import Path\nfrom fcln.weights_file import WeightsFile\n"
        "WeightsFile.read(Path(sys.argv[1]))\nprint('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_checkpoint)]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
        WeightsFile.read(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"none\.safetensors cannot be read"):
        checkpoint_digest(tmp_path / "none.safetensors")


def test_a_file_cut_short(tiny_checkpoint, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(tiny_checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged"):
        WeightsFile.read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"embedding_size": "many", "code_size": 3}'])
def test_a_configuration_that_makes_no_sense(tmp_path, config):
    save_file({"x": np.zeros(3)}, tmp_path / "w.safetensors", metadata=pack_texts({"format": FORMAT, "config": config}))
    with pytest.raises(CheckpointError, match=r"w\.safetensors does not fit this version"):
        WeightsFile.read(tmp_path / "w.safetensors")


def test_a_file_of_another_program(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="is not a weights file of densecap-search"):
        WeightsFile.read(tmp_path / "w.safetensors")
