"""The torture of the decoders: it runs, and it would notice."""

import json
import random

from click.testing import CliRunner
from PIL import Image

from decoding.photos import Photograph
from scripts.torture.decoding import HostileFile, header_sizes, hostile_files, main, wrong_size
from scripts.torture.hostile_files import DAMAGES, encoded, originals


def test_a_short_run_finds_no_fault():
    run = CliRunner().invoke(main, ["--files", "150", "--seed", "3", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["faults"] == []
    assert sum(result["outcomes"].values()) == 150
    assert {name.split()[1] for name in result["outcomes"]} >= {"decoded", "refused"}


def test_the_same_seed_gives_the_same_files():
    first, second = ([file.content for file in hostile_files(5, 40)] for _ in range(2))
    assert first == second
    assert first != [file.content for file in hostile_files(6, 40)]


def test_every_damage_takes_every_original():
    contents = [content for kind in originals(1).values() for content in kind]
    for damage in DAMAGES:
        for content in contents:
            assert isinstance(damage(random.Random(0), content, contents), bytes)


def test_a_wrong_size_would_be_noticed():
    content = encoded(Image.new("RGB", (60, 40), "orange"), "PNG")
    file = HostileFile(0, ".png", "flip_bits", content, (60, 40))
    assert header_sizes(content) == {(40, 60)}
    assert wrong_size(Photograph(Image.new("RGB", (60, 40)), 60, 40), file) is None
    assert wrong_size(Photograph(Image.new("RGB", (40, 60)), 40, 60), file) is None  # it may have been turned
    assert "its header says" in str(wrong_size(Photograph(Image.new("RGB", (61, 40)), 61, 40), file))
    assert "for 60x40 at 1/2" in str(wrong_size(Photograph(Image.new("RGB", (60, 40)), 60, 40, scale=2), file))
    assert "beyond the limits" in str(wrong_size(Photograph(Image.new("RGB", (60, 4)), 60, 4), file))
    cut = HostileFile(0, ".png", "truncate", b"", (80, 40))
    assert "instead of (80, 40)" in str(wrong_size(Photograph(Image.new("RGB", (60, 40)), 60, 40), cut))
