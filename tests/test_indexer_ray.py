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
# How Ray is started, its address, and how one of its two workers is lost.
LOCAL = """
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
address = "local"
def lose_one(describer):
    ray.kill(describer._workers[0])
"""
TWO_NODES = """
from ray.cluster_utils import Cluster  # what Ray runs on two computers, twice on this one
size = {"num_cpus": 1, "memory": 2**31, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=size)
other = cluster.add_node(**size)
cluster.wait_for_nodes()
address = cluster.address
def lose_one(describer):
    cluster.remove_node(other)
"""
# Ray and its two workers start once: for the build, and for what comes of it when one of them is lost.
PROGRAM = """
import json, sys
import ray
{start}

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

    class Placed(ray_describer._Worker):
        def node(self):
            return ray.get_runtime_context().get_node_id()

    ray_describer.RayDescriber, ray_describer._Worker = Remembered, Placed
    photos, weights, collection = map(Path, sys.argv[1:])
    main(["build", str(photos), "--weights", str(weights), "--collection", str(collection), "--ray", address,
          "--batch-size", "1", "--quiet"], standalone_mode=False)
    images = [Image.open(path).convert("RGB") for path in sorted(photos.iterdir())[:6]]
    (describer,) = describers
    before = describer.describe(images)
    workers, nodes = len(describer), len(set(ray.get([worker.node.remote() for worker in describer._workers])))
    lose_one(describer)
    after = describer.describe(images)
    same = all((a.boxes == b.boxes).all() and a.phrases == b.phrases for a, b in zip(before, after, strict=True))
    some = describer.describe_boxes(images[0], before[0].boxes[:2])
    print(json.dumps([workers, len(describer), same, len(some.phrases)]))
    print(nodes)
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


@pytest.mark.parametrize(("start", "nodes"), [(LOCAL, 1), (TWO_NODES, 2)], ids=["local", "two nodes"])
def test_photographs_described_by_two_workers_are_as_described_alone_to_the_last_bit(
    tmp_path, tiny_checkpoint, start, nodes
):
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
        [sys.executable, "-c", PROGRAM.format(start=start), str(photos), str(tiny_checkpoint), str(tmp_path / "many")],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    *_, said, of_nodes = run.stdout.splitlines()
    assert json.loads(said) == [2, 1, True, 2]
    assert int(of_nodes) == nodes
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
