"""`indexer build --ray` on a real Ray of two workers, and what comes of it beside a build without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from db.collection import open_collection
from indexer.cli import main

PROJECT = Path(__file__).parent.parent
# Ray and its two workers start once: for the build, and for what comes of it when one of them is killed.
PROGRAM = """
import json, sys
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

if __name__ == "__main__":
    from pathlib import Path
    from PIL import Image
    from indexer import ray_describer
    from indexer.cli import main

    describers = []

    class Remembered(ray_describer.RayDescriber):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            describers.append(self)

    ray_describer.RayDescriber = Remembered
    photos, weights, collection = map(Path, sys.argv[1:])
    main(["build", str(photos), "--weights", str(weights), "--collection", str(collection), "--ray", "local",
          "--batch-size", "1", "--quiet"], standalone_mode=False)
    images = [Image.open(path).convert("RGB") for path in sorted(photos.iterdir())[:6]]
    (describer,) = describers
    before = describer.describe(images)
    workers = len(describer)
    lost = describer._workers[0]
    ray.kill(lost)
    while True:  # until it is
        try:
            ray.get(lost.digest.remote())
        except ray.exceptions.RayActorError:
            break
    after = describer.describe(images)
    same = all((a.boxes == b.boxes).all() and a.phrases == b.phrases for a, b in zip(before, after, strict=True))
    some = describer.describe_boxes(images[0], before[0].boxes[:2])
    print(json.dumps([workers, len(describer), same, len(some.phrases)]))
"""


def described(location):
    with open_collection(location) as collection:
        features = collection.features()
        rows = {row.photo_id: row.path for row in collection.photos(collection.photo_ids())}
        return {
            str(rows[photo_id]): (
                [(region.box, region.score, region.phrase) for region in collection.regions(features.region_ids[some])],
                features.codes[some].tobytes(),
                features.embeddings[some].tobytes(),
            )
            for photo_id, some in zip(features.photo_ids[features.starts()].tolist(), features.slices())
        }


def test_photographs_described_by_two_workers_are_as_described_alone_to_the_last_bit(tmp_path, tiny_checkpoint):
    pytest.importorskip("ray", reason="pip install ray")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT), "RAY_AUTH_MODE": "disabled",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(photos), str(tiny_checkpoint), str(tmp_path / "many")],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == [2, 1, True, 2]
    alone = ["build", photos, "--weights", tiny_checkpoint, "--collection", tmp_path / "alone", "--batch-size", 1]
    result = CliRunner().invoke(main, [*map(str, alone), "--device", "cpu", "--quiet"])
    assert result.exit_code == 0, result.output
    assert described(tmp_path / "many") == described(tmp_path / "alone")
    assert len(described(tmp_path / "alone")) == 12


def test_no_cluster_is_told_in_one_sentence(tmp_path, tiny_checkpoint, monkeypatch):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "photos" / "a.png")
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it was not installed
    arguments = ["build", tmp_path / "photos", "--weights", tiny_checkpoint, "--collection", tmp_path / "c"]
    result = CliRunner().invoke(main, [*map(str, arguments), "--ray", "localhost:1"])
    assert result.exit_code == 2
    assert result.output == "Error: --ray needs the package ray: run `pip install ray`.\n"
    assert not (tmp_path / "c").exists()
