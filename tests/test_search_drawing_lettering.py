from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from search.drawing import lettering
from search.drawing.lettering import length, shortened, write

TEXTS = ["Äpfel über Ölstraße", "Ελλάδα", "Москва", "שלום", "Łódź, Tromsø", "“dog” – 3 × 4 €"]


def drawn(text, **options):
    image = Image.new("L", (900, 60), 255)
    write(ImageDraw.Draw(image), (10, 10), text, 24, "#000000", **options)
    return np.asarray(image) < 128


@pytest.fixture
def only_ours(monkeypatch):
    """A machine without fonts."""
    monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ())
    for cached in (lettering._fonts, lettering._pieces, lettering._drawable):
        cached.cache_clear()
    yield
    for cached in (lettering._fonts, lettering._pieces, lettering._drawable):
        cached.cache_clear()


@pytest.mark.parametrize("text", TEXTS)
def test_letters_of_europe_are_letters_wherever_the_program_runs(only_ours, text):
    missing = lettering._shape(lettering._OURS, "\U0010fffe")
    assert lettering._pieces(text) == ((lettering._OURS, text),)
    assert all(letter == " " or lettering._shape(lettering._OURS, letter) != missing for letter in text)
    # Each letter has a shape of its own: boxes would all be alike.
    letters = sorted(set(text) - {" "})
    assert len({lettering._shape(lettering._OURS, letter) for letter in letters}) == len(letters)


def test_umlauts_of_two_letters_are_one(only_ours):
    """As macOS writes names of files."""
    assert (drawn("A\u0308pfel") == drawn("Äpfel")).all()


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("東京.jpg", "\\u6771\\u4eac.jpg"),
        ("かな", "kana"),
        ("ｄｏｇ", "dog"),
        ("🐶\ufe0f", ":dog face:"),
        ("한국", "hangug"),
    ],
)
def test_what_no_font_has_is_spelt_out(only_ours, text, spelt):
    assert "".join(letters for _, letters in lettering._pieces(text)) == spelt
    assert (drawn(text) == drawn(spelt)).all()


def test_a_font_of_the_system_is_used_for_what_ours_lacks(monkeypatch, tmp_path):
    """Any font will do for the test: one that has a letter which ours is made to lack."""
    copy = tmp_path / "Other.ttf"
    copy.write_bytes(Path(lettering._OURS).read_bytes())
    monkeypatch.setattr(lettering, "_fonts", lambda: (lettering._OURS, str(copy)))
    real = lettering._has
    monkeypatch.setattr(
        lettering, "_has", lambda name, letter: real(name, letter) and not (name == lettering._OURS and letter == "Ω")
    )
    lettering._pieces.cache_clear()
    lettering._drawable.cache_clear()
    try:
        assert lettering._pieces("aΩb") == ((lettering._OURS, "a"), (str(copy), "Ω"), (lettering._OURS, "b"))
        assert length("aΩb", 24) == pytest.approx(sum(length(letter, 24) for letter in "aΩb"), abs=2)
    finally:
        lettering._pieces.cache_clear()
        lettering._drawable.cache_clear()


def test_shortened_text_fits_and_keeps_as_much_as_it_can():
    text = "a photograph of a dog on a couch"
    for width in (40, 100, 200):
        for keep_end in (False, True):
            short = shortened(text, 17, width, keep_end=keep_end)
            assert length(short, 17) <= width
            kept = len(short) - 1
            longer = f"…{text[-kept - 1 :]}" if keep_end else f"{text[: kept + 1]}…"
            assert length(longer, 17) > width
            assert text.endswith(short[1:]) if keep_end else text.startswith(short[:-1])
    assert shortened(text, 17, 1000) == text


def test_text_is_where_it_is_said_to_be():
    y, x = np.nonzero(drawn("dog"))
    assert 10 <= x.min() < 14 and y.min() >= 10
    image = Image.new("L", (300, 60), 255)
    write(ImageDraw.Draw(image), (290, 10), "dog", 24, "#000000", anchor="ra")
    write(ImageDraw.Draw(image), (100, 30), "mm", 24, "#000000", anchor="mm")
    dark = np.asarray(image) < 128
    assert 284 <= np.nonzero(dark)[1].max() < 290
    y, x = np.nonzero(dark[:, :200])
    assert (x.min() + x.max()) / 2 == pytest.approx(100, abs=2)
    assert (y.min() + y.max()) / 2 == pytest.approx(30, abs=6)
