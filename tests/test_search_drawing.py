import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.drawing import MAX_DRAWN, check_target, draw_hits, write_png
from search.drawing import sheet as drawing
from search.drawing.files import free_targets
from search.errors import DrawError
from search.hits import Hit, HitRegion
from search.searcher import Answer

GREEN = (30, 160, 60)
ORANGE, BLUE = (213, 94, 0), (0, 114, 178)  # the first two colours of phrases


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "green.png"
    Image.new("RGB", (400, 300), GREEN).save(path)
    return path


def region(box, asked="a dog", phrase="brown dog"):
    """box: x y width height."""
    x, y, width, height = box
    return HitRegion(1, (x, y, x + width, y + height), 0.5, phrase, asked)


def answer(*hits):
    return Answer(["dog on couch"], "embedding", list(hits))


def count(sheet, color):
    return int((np.asarray(sheet) == color).all(axis=2).sum())


def bounds(sheet, color):
    """x1 y1 x2 y2 of the pixels of a colour."""
    y, x = np.nonzero((np.asarray(sheet) == color).all(axis=2))
    return x.min(), y.min(), x.max(), y.max()


def test_boxes_are_drawn_where_they_are(photo):
    sheet = draw_hits(answer(Hit(1, 1, photo, 0.5, 400, 300, [region((100, 150, 200, 75))])))
    x1, y1, x2, y2 = bounds(sheet, GREEN)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    assert width / height == pytest.approx(4 / 3, abs=0.01)
    pixels = np.asarray(sheet)
    # The frame's lower left corner lies a quarter from the left and three quarters from the top of the photograph.
    corner = pixels[y1 + round(height * 0.75) - 2, x1 + round(width * 0.25) + 1]
    assert tuple(corner) == ORANGE
    middle = pixels[y1 + round(height * 0.65), x1 + width // 2]
    assert tuple(middle) == GREEN


def test_each_phrase_has_its_color_and_a_key(photo):
    both = Hit(1, 1, photo, 0.5, 400, 300, [region((0, 0, 100, 100)), region((200, 100, 100, 100), "a couch")])
    one = Hit(1, 1, photo, 0.5, 400, 300, [region((0, 0, 100, 100))])
    assert count(draw_hits(answer(both)), BLUE) > 1000
    assert count(draw_hits(answer(one)), BLUE) == 0
    header = draw_hits(answer(both)).crop((0, 0, 800, 80))
    assert count(header, ORANGE) > 100
    assert count(header, BLUE) > 100


def test_a_region_that_answers_two_phrases_shows_both(photo):
    hit = Hit(1, 1, photo, 0.5, 400, 300, [region((50, 50, 300, 200)), region((50, 50, 300, 200), "a couch")])
    body = draw_hits(answer(hit)).crop((0, 84, 800, 700))
    assert count(body, ORANGE) > 1000
    assert count(body, BLUE) > 1000


@pytest.mark.parametrize(
    ("content", "width"),
    [(None, 400), (b"not a photograph", 400), ("truncated", 400), ("other", 500)],
    ids=["missing", "not an image", "truncated", "of another size"],
)
def test_a_photograph_that_cannot_be_shown_is_a_grey_tile(tmp_path, photo, content, width):
    path = tmp_path / "b.png"
    if content == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "whole.png")
        content = (tmp_path / "whole.png").read_bytes()[:50_000]
    elif content == "other":
        content = photo.read_bytes()
    if content is not None:
        path.write_bytes(content)
    sheet = draw_hits(answer(Hit(1, 1, path, 0.5, width, 300, [region((100, 150, 200, 75))])))
    body = sheet.crop((0, 84, sheet.width, sheet.height))
    assert count(body, (229, 229, 234)) > 50_000
    assert count(body, GREEN) == 0
    assert count(body, ORANGE) == 0  # no box on what is not shown


def test_a_photograph_is_turned_upright(tmp_path):
    stored = Image.new("RGB", (300, 400), GREEN)
    stored.paste((0, 0, 0), (0, 0, 300, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise: the black half is on the right then
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    sheet = draw_hits(answer(Hit(1, 1, tmp_path / "turned.jpg", 0.5, 400, 300, [])))
    x1, y1 = drawing._MARGIN, drawing._HEADER_HEIGHT
    left, right = sheet.getpixel((x1 + 50, y1 + 200)), sheet.getpixel((sheet.width - x1 - 50, y1 + 200))
    assert np.abs(np.array(left) - GREEN).max() < 10
    assert max(right) < 10


def test_a_reduced_photograph_is_drawn_where_it_lies_in_its_image(tmp_path):
    """Upright, its image begins seven of eight pixels outside it: a whole pixel of the sheet here."""
    stored = Image.new("L", (12801, 160), 255)
    stored.paste(0, (12000, 0, 12801, 160))
    exif = Image.Exif()
    exif[0x0112] = 3
    stored.save(tmp_path / "wide.png", exif=exif)
    sheet = draw_hits(answer(Hit(1, 1, tmp_path / "wide.png", 0.5, 12801, 160, [])))
    middle = drawing._HEADER_HEIGHT + (sheet.height - drawing._HEADER_HEIGHT - drawing._CAPTION_HEIGHT) // 2
    row = np.asarray(sheet)[middle, drawing._MARGIN : -drawing._MARGIN, 0] / 255
    assert (1 - row).sum() == pytest.approx(801 / 12801 * len(row), abs=0.2)


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        (np.full((300, 400), 40_000, np.uint16), (156, 156, 156)),
        (np.dstack([np.full((300, 400, 3), 9, np.uint8), np.zeros((300, 400), np.uint8)]), (255, 255, 255)),
        (np.full((300, 400), 77, np.uint8), (77, 77, 77)),
    ],
    ids=["16 bits", "transparent", "grey"],
)
def test_photographs_of_other_modes(tmp_path, pixels, shown):
    pixels[:150] = pixels[:150] // 2
    Image.fromarray(pixels).save(tmp_path / "a.png")
    sheet = draw_hits(answer(Hit(1, 1, tmp_path / "a.png", 0.5, 400, 300, [])))
    assert sheet.getpixel((200, sheet.height - 150)) == shown
    upper = sheet.getpixel((200, 150))
    assert upper == ((255, 255, 255) if pixels.ndim == 3 else tuple(side // 2 for side in shown))


def test_boxes_and_labels_fit_any_photograph(tmp_path):
    hits = []
    for rank, (width, height) in enumerate([(16, 16), (5000, 20), (20, 5000), (400, 300)], 1):
        path = tmp_path / f"{rank}.png"
        Image.new("RGB", (width, height), GREEN).save(path)
        regions = [region((0, 0, width, height), phrase="a very long phrase " * 9)] * 3
        hits.append(
            Hit(rank, rank, path, 0.5, width, height, [*regions, region((width - 0.5, height - 0.5, 0.5, 0.5))])
        )
    sheet = draw_hits(answer(*hits))
    assert sheet.width <= 1600
    assert count(sheet, GREEN) > 10_000


def test_names_that_are_no_text_are_drawn_escaped(tmp_path):
    hit = Hit(1, 1, Path(os.fsdecode(b"/gone/\xff\n\x1b.jpg")), 0.5, 400, 300, [])
    assert draw_hits(Answer(["dog \udcff\n" * 40], "embedding", [hit])).width <= 1600


def test_a_sheet_is_at_most_1600_wide_and_holds_the_best(photo):
    hits = [Hit(rank, rank, photo, 0.5, 400, 300, []) for rank in range(1, MAX_DRAWN + 2)]
    sheet, all_but_last = draw_hits(answer(*hits)), draw_hits(answer(*hits[:-1]))
    assert 1500 < sheet.width <= 1600
    assert sheet.tobytes() == all_but_last.tobytes()
    assert sheet.height > draw_hits(answer(*hits[:3])).height


def test_write_png(tmp_path):
    write_png(Image.new("RGB", (3, 2), GREEN), tmp_path / "sheet.PNG")
    with Image.open(tmp_path / "sheet.PNG") as written:
        assert (written.format, written.size) == ("PNG", (3, 2))
    check_target(tmp_path / "sheet.PNG")  # may be drawn again


@pytest.mark.parametrize("content", [b"", b"notes", b"\x89PNG\r\n\x1a\n", None])
def test_what_was_not_drawn_here_is_not_overwritten(tmp_path, content):
    if content is None:
        Image.new("RGB", (3, 2), GREEN).save(tmp_path / "a.png")
    else:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DrawError, match="was not drawn here"):
        check_target(tmp_path / "a.png")


def test_a_last_photograph_is_no_larger_than_better_ones(photo):
    few = draw_hits(answer(*(Hit(rank, rank, photo, 0.5, 400, 300, []) for rank in range(1, 4))))
    more = draw_hits(answer(*(Hit(rank, rank, photo, 0.5, 400, 300, []) for rank in range(1, 5))))
    assert more.height == 2 * few.height - drawing._HEADER_HEIGHT


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jpg", "name that ends in .png"), ("folder.png", "is a folder"), ("none/a.png", "there is no folder")],
)
def test_where_no_picture_can_be_written(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DrawError, match=message):
        check_target(tmp_path / name)


def test_a_disk_that_refuses_keeps_the_picture_that_was_there(tmp_path, monkeypatch):
    target = tmp_path / "sheet.png"
    write_png(Image.new("RGB", (300, 200), GREEN), target)
    before = target.read_bytes()

    def full(picture, path, **options):
        Path(path).write_bytes(before[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DrawError, match=r"sheet\.png: No space left on device"):
        write_png(Image.new("RGB", (30, 20), GREEN), target)
    assert target.read_bytes() == before and os.listdir(tmp_path) == ["sheet.png"]


def test_a_picture_of_the_longest_name_has_a_name(tmp_path):
    first, second = free_targets(
        [Path("a/é" + "n" * 249 + ".jpg"), Path("b/é" + "n" * 249 + ".jpg")], tmp_path, ".regions.png"
    )
    assert first.name == "é" + "n" * (255 - 2 - len(".regions.png")) + ".regions.png"
    assert second.name == "é" + "n" * (255 - 2 - len("-2.regions.png")) + "-2.regions.png"
    write_png(Image.new("RGB", (3, 2), GREEN), first)
    assert first.is_file()
