"""The share of labelled boxes that some region overlaps."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from helpers.labelled_photos import write_labels, write_photo
from scripts.evaluate.proposals import main, summarize, table


def test_shares_are_of_all_boxes_not_of_photographs() -> None:
    summary = summarize([np.array([0.3, 0.2, 0.9]), np.array([0.5])], regions=7)
    assert summary == {"found@0.3": 0.75, "found@0.5": 0.5, "boxes": 4, "images": 2, "regions": 7}
    assert table(summary).splitlines() == [
        "4 labelled boxes and 7 regions in 2 images",
        "",
        "found@0.3  0.750",
        "found@0.5  0.500",
    ]


def test_the_command_counts_each_box_once(tmp_path: Path, tiny_checkpoint: Path) -> None:
    # The whole photograph is always a region. A box of 1x1 pixel overlaps none, whatever the network finds.
    whole, dot = (0, 0, 96, 64), (50, 30, 1, 1)
    regions = {1: [(whole, "a dog"), (whole, "the dog"), (dot, "a lamp")], 2: [(whole, "a couch")]}
    for image_id in regions:
        write_photo(tmp_path / "photos" / f"{image_id}.jpg", seed=image_id)
    annotations = write_labels(tmp_path / "labels", regions)
    command = f"--photos {tmp_path / 'photos'} --annotations {annotations} --weights {tiny_checkpoint} --device cpu"
    result = CliRunner().invoke(main, f"{command} --max-regions 8 --json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["found@0.3"] == summary["found@0.5"] == pytest.approx(2 / 3)
    assert (summary["boxes"], summary["images"]) == (3, 2)
    assert 2 <= summary["regions"] <= 16
