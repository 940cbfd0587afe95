import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from search.errors import DeliveryError
from search.hits import Hit, HitRegion
from search.searcher import Answer
from search.web_page import Section, answer_page, check_page, page, write_page

EVIL = "<script>alert(1)</script>\"'&amp;"


class Tags(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "Äpfel & co.png"
    Image.new("RGB", (1200, 900), (30, 160, 60)).save(path)
    return path


def hit(path, *regions, rank=1, size=(1200, 900), **more):
    return Hit(rank, rank, path, 0.5, *size, list(regions), **more)


def region(box, phrase="brown dog", asked="a dog"):
    return HitRegion(1, box, 0.25, phrase, asked)


def test_the_page_needs_nothing_else_and_shows_the_photograph_with_its_boxes(photo):
    regions = [region((100.5, 200, 400, 500)), region((0, 0, 1200, 900), asked="a couch")]
    tags = Tags(answer_page(Answer(["dog on couch"], "embedding", [hit(photo, *regions)])))
    (image,) = tags.all("img")
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.size == (640, 480)
    (svg,) = tags.all("svg")
    assert svg["viewbox"] == "0 0 1200 900"
    frames = [frame for frame in tags.all("rect") if frame["class"] == "over"]
    assert [(f["x"], f["y"], f["width"], f["height"]) for f in frames] == [
        ("100.5", "200", "299.5", "300"),
        ("0", "0", "1200", "900"),
    ]
    assert len({frame["stroke"] for frame in frames}) == 2  # a colour a phrase
    assert [link["href"] for link in tags.all("a")] == [photo.as_uri()]
    for text in ("dog on couch", "1 photograph, embedding scoring", "brown dog", "a couch", "0.250", "Äpfel & co.png"):
        assert text in tags.text
    # Nothing is fetched: no address but those of the photographs, which are links.
    assert not tags.all("script") and not tags.all("link")
    assert not [a for _, attributes in tags.tags for a in attributes.values() if a and a.startswith(("http", "//"))]


def test_probabilities_are_shown_where_they_are_known(photo):
    from search.likely import ListEnd

    regions = [replace(region((0, 0, 9, 9)), probability=0.314)]
    likely = [replace(hit(photo, *regions), probability=0.875)]
    answer = Answer(["dog"], "embedding", likely, end=ListEnd(1, 0.1))
    text = Tags(answer_page(answer)).text
    assert "1 photograph, how likely each answers" in text and "88%" in text and "31%" in text and "0.500" not in text
    doubtful = replace(answer, end=ListEnd(1, 0.1, convincing=False))
    assert "1 photograph, nothing convincing: these are the closest" in Tags(answer_page(doubtful)).text


def test_names_and_phrases_are_text_only(tmp_path):
    path = Path(f"{tmp_path}/{EVIL.replace('/', '')}\udcff\n.png")
    text = answer_page(Answer([EVIL], EVIL, [hit(path, region((0, 0, 9, 9), EVIL, EVIL))]))
    tags = Tags(text)
    assert not tags.all("script")
    assert tags.text.count("alert(1)") >= 4
    assert "\\xff\\n" in tags.text
    text.encode("utf-8")  # no half of a pair is left


def test_a_photograph_that_is_gone_says_so(tmp_path):
    tags = Tags(answer_page(Answer(["dog"], "embedding", [hit(tmp_path / "a.jpg", region((0, 0, 9, 9)))])))
    assert "not there any more" in tags.text
    assert not tags.all("img") and not tags.all("rect")


def test_many_photographs_are_shown_smaller(photo):
    few = answer_page(Answer(["dog"], "embedding", [hit(photo)] * 100))
    many = answer_page(Answer(["dog"], "embedding", [hit(photo)] * 101))
    assert len(many) < 0.6 * len(few)


def test_copies_are_told(photo):
    text = answer_page(Answer(["dog"], "embedding", [hit(photo, copies=(Path("/x/b.jpg"),))]))
    assert "and 1 like it" in text


def test_a_page_of_sections(photo):
    tags = Tags(
        page([Section("dog", "AP 0.1", [hit(photo)]), Section("cat", "AP 0.2", [])], title="Worst", text="of 2")
    )
    assert len(tags.all("h1")) == 1 and len(tags.all("h2")) == 2
    assert "Worst" in tags.text and "AP 0.2" in tags.text


def test_only_pages_of_this_program_are_overwritten(tmp_path, photo):
    target = tmp_path / "a.html"
    check_page(target)
    write_page(answer_page(Answer(["dog"], "embedding", [hit(photo)])), target)
    check_page(target)
    write_page("<!doctype html><!-- densecap-search -->second", target)
    assert target.read_text().endswith("second")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.html", photo.name])  # no half of one is left
    target.write_text("<!doctype html><p>my diary")
    with pytest.raises(DeliveryError, match="is no page of this program"):
        check_page(target)


@pytest.mark.parametrize(
    ("name", "message"), [("a.png", "ends in .html"), ("no/a.html", "there is no folder"), ("f.html", "is a folder")]
)
def test_what_cannot_be_written_is_said_before(tmp_path, name, message):
    (tmp_path / "f.html").mkdir()
    with pytest.raises(DeliveryError, match=re.escape(message)):
        check_page(tmp_path / name)
