import colorsys

import numpy as np
import pytest
from PIL import Image

from search.drawing import described
from search.drawing.described import confidence_color, draw_described
from search.drawing.labels import first_free, label_places
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto

GREEN = (30, 160, 60)


def photo(path, boxes, scores, phrases, size=(400, 300)):
    Image.new("RGB", size, GREEN).save(path)
    regions = PhotoRegions(np.array(boxes, float), np.array(scores))
    return DescribedPhoto(None, path, *size, regions, [None] * len(boxes), phrases)


@pytest.fixture
def labels(monkeypatch):
    """Every label that is written: its place and its text."""
    written = []
    real = described.write_label

    def write(draw, place, text, color):
        written.append((place, text))
        real(draw, place, text, color)

    monkeypatch.setattr(described, "write_label", write)
    return written


def test_labels_never_cover_each_other_and_surer_ones_choose_first(tmp_path, labels):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 250, (50, 2))
    boxes = np.hstack([corners, corners + random.uniform(5, 50, (50, 2))])
    scores = random.permutation(np.linspace(0.02, 0.99, 50))
    draw_described(photo(tmp_path / "a.png", boxes, scores, [f"a thing {i}" for i in range(50)]))
    assert len(labels) > 20
    places = [place for place, _ in labels]
    for i, a in enumerate(places):
        for b in places[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    surest = int(np.argmax(scores))
    assert labels[0][1] == f"1 a thing {surest}"


def test_a_label_lies_within_the_photograph(tmp_path, labels):
    boxes = [[0, 0, 400, 300], [390, 290, 400, 300], [0, 0, 3, 3], [395, 0, 400, 300]]
    draw_described(photo(tmp_path / "a.png", boxes, [0.9, 0.8, 0.7, 0.6], ["a long phrase about nothing"] * 4))
    assert len(labels) == 4
    for (x1, y1, x2, y2), _ in labels:
        assert x1 >= -1 and y1 >= 0 and x2 <= 900 and y2 <= 675


def test_only_as_many_as_asked_for_are_drawn(tmp_path, labels):
    boxes = [[10, 10, 100, 100], [200, 10, 300, 100], [10, 200, 100, 290]]
    draw_described(photo(tmp_path / "a.png", boxes, [0.2, 0.9, 0.5], ["a cat", "a dog", ""]), 2)
    assert [text for _, text in labels] == ["1 a dog", "2 a cat"]
    del labels[:]
    draw_described(photo(tmp_path / "a.png", boxes, [0.2, 0.9, 0.5], ["a cat", "a dog", ""]))
    assert [text for _, text in labels] == ["1 a dog", "2 a cat", "3 (no words)"]


def test_the_box_has_the_colour_of_its_confidence(tmp_path):
    boxes = [[100, 75, 300, 225]]
    for score in (0.05, 0.5, 0.95):
        drawn = photo(tmp_path / "a.png", boxes, [score], ["a dog"])
        sheet = np.asarray(draw_described(drawn))
        ((_, confidence),) = drawn.surest()
        color = tuple(int(confidence_color(confidence)[i : i + 2], 16) for i in (1, 3, 5))
        y, x = np.nonzero((sheet == color).all(axis=2))
        inside = (x < 924) & (y >= described._HEADER) & (y < described._HEADER + 675)
        # A photograph of 400 x 300 is enlarged to 900 x 675, a margin from the left.
        left, right = x[inside].min() - described._MARGIN, x[inside].max() - described._MARGIN
        assert (left, right) == (pytest.approx(225, abs=3), pytest.approx(675, abs=3))


def test_colours_of_confidence_differ_and_carry_white_text():
    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    colors = [confidence_color(score) for score in np.linspace(0, 1, 21)]
    assert len(set(colors)) == 21
    assert all(1.05 / (luminance(color) + 0.05) >= 4.5 for color in colors)
    hues = {round(colorsys.rgb_to_hsv(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0], 1) for c in colors}
    assert len(hues) >= 4
    assert confidence_color(-1) == colors[0] and confidence_color(2) == colors[-1]


@pytest.mark.parametrize("size", [(16, 16), (5000, 20), (20, 5000), (40, 30), (3000, 2000)])
def test_any_photograph_can_be_drawn(tmp_path, size):
    width, height = size
    boxes = [[0, 0, width, height], [width - 0.5, height - 0.5, width, height]]
    sheet = draw_described(photo(tmp_path / "a.png", boxes, [0.9, 0.3], ["a very long phrase " * 9, "a dog"], size))
    assert sheet.mode == "RGB" and max(sheet.size) < 3000


def test_a_photograph_that_is_gone_is_said_to_be(tmp_path, labels):
    gone = photo(tmp_path / "a.png", [[0, 0, 10, 10]], [0.5], ["a dog"])
    (tmp_path / "a.png").unlink()
    sheet = np.asarray(draw_described(gone))
    assert not labels
    assert (sheet == (229, 229, 234)).all(axis=2).sum() > 100_000


def test_there_may_be_no_free_place():
    everywhere = [(0.0, 0.0, 100.0, 100.0)]
    assert first_free(label_places((100, 100), (10, 10, 50, 50), 40), everywhere) is None
    assert first_free(label_places((100, 100), (10, 40, 50, 90), 40), []) == (9, 15, 49, 40)
