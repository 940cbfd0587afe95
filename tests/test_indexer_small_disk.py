"""The commands on a disk that is full and on one that is write-protected (on_small_disk.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


def test_on_a_small_disk(tmp_path):
    """A tmpfs of 4 MB, in a mount namespace that ends with the tests in it."""
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c", 'mount -t tmpfs -o size=4m none "$0" && exec "$@"']
    inside.append(str(tmp_path))
    try:
        possible = subprocess.run([*inside, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("no mount namespaces here")
    command = [*inside, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/helpers/on_small_disk.py"]
    environment = {**os.environ, "SMALL_DISK": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
