"""`scripts.evaluate.drawn_hits`: the sheet of first hits, and photographs as coloured fields."""

import json
from types import SimpleNamespace

import numpy as np
from click.testing import CliRunner
from PIL import Image

from helpers.labelled_photos import write_labelled_photos
from scripts.evaluate.drawn_hits import draw_mosaic, main


def test_a_mosaic_has_the_mean_colour_of_each_field(tmp_path):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = (100, 0, 0)
    pixels[:8, 16:] = (0, 0, 200)  # the mean of the right half: 100
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    hit = SimpleNamespace(path=tmp_path / "photo.png", width=32, height=16)
    drawn = np.asarray(draw_mosaic(hit, 2))
    assert drawn.shape == (16, 32, 3)
    assert (drawn[:, :16] == (100, 0, 0)).all() and (drawn[:, 16:] == (0, 0, 100)).all()


def test_the_first_hit_of_each_question_is_drawn(tmp_path, tiny_checkpoint):
    photos, annotations = write_labelled_photos(tmp_path)
    questions = [{"question": "a red lamp", "answers": [1, 2, 3, 4]}, {"question": "a dog", "answers": []}]
    (annotations / "questions.json").write_text(json.dumps(questions))
    common = f"--photos {photos} --annotations {annotations} --weights {tiny_checkpoint} --device cpu"
    for options in ("", "--mosaic 4"):
        sheet = tmp_path / f"sheet{options[-1:]}.png"
        result = CliRunner().invoke(main, f"{sheet} {common} {options}", catch_exceptions=False)
        assert (result.exit_code, result.stdout) == (0, f"Drew 2 photographs: {sheet}\n"), result.stderr
        with Image.open(sheet) as drawn:
            assert drawn.width >= 800
    assert (tmp_path / "sheet.png").read_bytes() != (tmp_path / "sheet4.png").read_bytes()
    result = CliRunner().invoke(main, f"{tmp_path / 'one.png'} {common} --first 1", catch_exceptions=False)
    assert result.stdout.startswith("Drew 1 photograph: ")
