"""Detection in photographs on the spot and in a collection, by a predictor that sees colours and knows their names."""

import os
import re
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from db.errors import CheckpointMismatch
from fcln.scoring import Calibration, Scoring
from helpers.word_predictor import SixWords, WordPredictor, embedding_of, new_photo
from indexer.build.decoders import Decoders
from search.detector import Detector
from search.errors import DetectError, QueryError
from search.file_description import MAX_REGIONS
from search.output import as_csv, as_table, detections_as_json

# The photograph shows it for certain from a similarity of 0.9 on; a region is where if it is similar, and an object.
CALIBRATION = Calibration(presence=(-900.0, 1000.0, 0.0), place=(-9.0, 10.0, 1.0, 0.0), prevalence=0.02)
COLOURS = {"dog": (200, 30, 30), "couch": (30, 200, 30), "lamp": (30, 30, 200)}


@dataclass(frozen=True)
class Regions:
    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray
    phrases: list[str]


class ColourPredictor(WordPredictor):
    """A region is the whole photograph ("tree"), or the box around the pixels of one of COLOURS, which is its thing."""

    scoring = Scoring(calibration=CALIBRATION)

    def __init__(self):
        super().__init__()
        self.batches = []
        self.seen = []

    def describe(self, images, *, max_regions=50):
        assert max_regions == MAX_REGIONS
        self.batches.append(len(images))
        self.seen += images
        return [self._describe(image) for image in images]

    @staticmethod
    def _describe(image):
        pixels = np.asarray(image).astype(int)
        boxes, phrases = [[0, 0, image.width, image.height]], ["tree"]
        for name, color in COLOURS.items():
            y, x = np.nonzero(np.abs(pixels - color).max(axis=2) < 60)
            if len(y):
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
                phrases.append(name)
        return Regions(
            np.array(boxes, np.float32),
            np.full(len(boxes), 0.75, np.float32),
            np.stack([embedding_of(phrase) for phrase in phrases]),
            phrases,
        )


@pytest.fixture
def detector():
    return detector_of(ColourPredictor())


def detector_of(predictor):
    return Detector(predictor, describer=predictor, lexicon=SixWords())


def write_photo(path, *things, size=(160, 96)):
    """A JPEG of grey with coloured blocks. things: (name, x, y, width, height)."""
    image = Image.new("RGB", size, (128, 128, 128))
    for name, x, y, w, h in things:
        image.paste(COLOURS[name], (x, y, x + w, y + h))
    image.save(path, quality=95)
    return path


# For a similarity of 1 and an objectness of 0.75: a presence of 1, odds of e^(-9 + 10) 3.
SURE = 3 * np.e / (1 + 3 * np.e)


def test_boxes_of_what_the_phrase_names(detector, tmp_path):
    both = write_photo(tmp_path / "both.jpg", ("dog", 16, 16, 48, 32), ("couch", 96, 32, 48, 48))
    none = write_photo(tmp_path / "none.jpg", ("lamp", 16, 16, 32, 32))
    answer = detector.detect(["dog"], [none, both])
    assert (answer.query, answer.scoring, answer.photographs) == (["dog"], "confidence", 2)
    (hit,) = answer.hits
    assert (hit.rank, hit.photo_id, hit.path, hit.width, hit.height) == (1, None, both, 160, 96)
    (region,) = hit.regions
    assert region.score == hit.score == pytest.approx(SURE, abs=1e-6)
    assert (region.region_id, region.phrase, region.for_phrase) == (None, "dog", "dog")
    assert region.box == pytest.approx((16, 16, 64, 48), abs=1)


def test_each_of_several_phrases_is_looked_for(detector, tmp_path):
    both = write_photo(tmp_path / "both.jpg", ("dog", 16, 16, 48, 32), ("couch", 96, 32, 48, 48))
    one = write_photo(tmp_path / "one.jpg", ("couch", 16, 16, 48, 32))
    answer = detector.detect(["dog", "couch", "dog"], [both, one])
    assert [[region.for_phrase for region in hit.regions] for hit in answer.hits] == [["dog", "couch"], ["couch"]]
    # A single phrase is not taken apart into its things, as the question of a query is.
    assert detector.detect(["dog on couch"], [both]).hits == []


def test_words_can_be_taken_as_they_are_typed(detector, tmp_path):
    paths = [write_photo(tmp_path / "lamp.jpg", ("lamp", 16, 16, 48, 32))]
    read = detector.detect(["lampp"], paths, threshold=0)
    assert read.substitutions == {"lampp": "lamp"}
    assert {region.for_phrase for hit in read.hits for region in hit.regions} == {"lamp"}
    with pytest.raises(QueryError, match="lampp"):
        detector.detect(["lampp"], paths, as_typed=True)


def test_threshold_and_prior(detector, tmp_path):
    photo = write_photo(tmp_path / "a.jpg", ("dog", 16, 16, 48, 32))
    assert detector.detect(["dog"], [photo], threshold=0.88).hits
    assert not detector.detect(["dog"], [photo], threshold=0.9).hits
    everything = detector.detect(["dog"], [photo], threshold=0.0).hits[0].regions
    assert [region.phrase for region in everything] == ["dog", "tree"]
    # "dog" names half of what "a dog" does: a similarity of 1/sqrt 2, which here no photograph that shows it has.
    assert not detector.detect(["a dog"], [photo], threshold=0.01).hits
    assert detector.detect(["a dog"], [photo], threshold=0.0, prior=0.999999).hits[0].score < 1e-6


def test_the_best_photographs_come_first_and_k_limits_them(detector, tmp_path):
    photos = [write_photo(tmp_path / f"{n}.jpg", ("dog", 16, 16, 48, 32)) for n in range(3)]
    answer = detector.detect(["dog"], photos, k=2)
    assert [(hit.rank, hit.path) for hit in answer.hits] == [(1, photos[0]), (2, photos[1])]
    assert answer.photographs == 3
    assert len(detector.detect(["dog"], photos).hits) == 3


def test_many_photographs_go_through_the_network_in_batches(detector, tmp_path):
    photos = [write_photo(tmp_path / f"{n}.jpg", ("dog", 16, 16, 48, 32)) for n in range(11)]
    assert len(detector.detect(["dog"], photos).hits) == 11
    assert detector._model.batches == [8, 3]


def test_what_cannot_be_read_is_skipped_and_named(detector, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no photograph")
    good = write_photo(tmp_path / "good.jpg", ("dog", 16, 16, 48, 32))
    answer = detector.detect(["dog"], [tmp_path / "broken.jpg", good, tmp_path / "missing.jpg"])
    assert [hit.path for hit in answer.hits] == [good]
    assert [(file.path.name, file.reason) for file in answer.unreadable] == [
        ("broken.jpg", "a text file, not a photograph"),
        ("missing.jpg", "there is no such file"),
    ]
    assert answer.photographs == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"there is no such file"),
        (b"", r"the file is empty"),
        (b"plain text", r"a text file, not a photograph"),
        ("cut off", r"the file ends early, \d\d % of the picture is there"),
        ("small", r"60x15 pixels: too small, both sides need 16"),
        ("bomb", r"60000x60000 pixels: too large, the limit for such a PNG is 200 megapixels"),
        ("folder", r"cannot be read \(Is a directory\)"),
        ("locked", r"cannot be read \(Permission denied\)"),
    ],
)
def test_why_a_file_cannot_be_used_is_said(detector, tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content == "cut off":
        path.write_bytes(write_photo(path).read_bytes()[:-100])
    elif content == "small":
        write_photo(path, size=(60, 15))
    elif content == "bomb":
        Image.new("RGB", (60, 40)).save(path, "PNG")
        data = bytearray(path.read_bytes())
        data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        path.write_bytes(data)
    elif content == "folder":
        path.mkdir()
    elif content == "locked":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        write_photo(path).chmod(0)
    elif content is not None:
        path.write_bytes(content)
    (file,) = detector.detect(["dog"], [path]).unreadable
    assert file.path == path
    assert re.fullmatch(reason, file.reason)


@pytest.mark.parametrize("value", [1, 3, 6])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_network_sees_what_a_build_shows_it(detector, tmp_path, suffix, value):
    """The same pixels, and boxes in the same place: neither side is a multiple of what they are reduced by."""
    exif = Image.Exif()
    exif[0x0112] = value
    path = tmp_path / f"a.{suffix}"
    noise = Image.effect_noise((1501, 1003), 80)
    noise.convert("RGB").save(path, exif=exif)
    with Decoders() as decoders:
        expected = decoders.decode(path)
    (hit,) = detector.detect(["tree"], [path]).hits
    (image,) = detector._model.seen
    assert image.tobytes() == expected.image.tobytes()
    assert (hit.width, hit.height) == (expected.width, expected.height)
    x1, y1, x2, y2 = expected.full_boxes(np.array([[0, 0, *expected.image.size]]))[0]
    assert hit.regions[0].box == (x1, y1, x2, y2)


def test_grey_values_of_sixteen_bits_are_those_of_a_build(detector, tmp_path):
    Image.fromarray(np.full((20, 20), 33000, np.uint16)).save(tmp_path / "a.png")
    detector.detect(["tree"], [tmp_path / "a.png"])
    assert detector._model.seen[0].getpixel((5, 5)) == (128, 128, 128)  # not white, though its brightest value


def test_boxes_are_those_of_the_whole_upright_photograph(detector, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    image = Image.new("RGB", (3000, 2000), (128, 128, 128))
    image.paste(COLOURS["dog"], (300, 400, 900, 1200))
    image.save(tmp_path / "a.jpg", quality=95, exif=exif)
    (hit,) = detector.detect(["dog"], [tmp_path / "a.jpg"]).hits
    assert (hit.width, hit.height) == (2000, 3000)
    assert hit.regions[0].box == pytest.approx((2000 - 1200, 300, 2000 - 400, 900), abs=9)


def test_phrases_are_checked_before_photographs_are_read(detector, tmp_path):
    with pytest.raises(QueryError, match="There is no word"):
        detector.detect(["?"], [tmp_path / "missing.jpg"])


def test_weights_without_a_confidence_are_refused():
    predictor = ColourPredictor()
    predictor.scoring = Scoring()
    with pytest.raises(DetectError, match=r"^These weights hold no confidence.*scripts\.train\.choose_confidence"):
        detector_of(predictor)


# -- in a collection


@pytest.fixture
def collection(tmp_path):
    with open_collection(tmp_path / "c", write=True, create=True, model=ColourPredictor.identity) as opened:
        root = opened.add_root(tmp_path)
        # Region number i is the box i, 2 i, i + 50, 2 i + 25: neighbours overlap by more than 0.4.
        lamps = ["lamp"] * 12
        photos = {"dog.jpg": ["tree", "dog"], "two.jpg": ["dog", *lamps, "dog"], "couch.jpg": ["couch", "tree"]}
        opened.commit(new=[new_photo(root, name, regions) for name, regions in photos.items()])
        # Described once more: its regions are newer than those of photographs after it.
        opened.commit(new=[new_photo(root, "dog.jpg", ["tree", "dog", "dog"])])
        yield opened


# Objectness is 0.5 there: odds of e^(-9 + 10).
KNOWN = np.e / (1 + np.e)


def test_detection_in_a_collection(detector, collection, tmp_path):
    answer = detector.detect_in_collection(["dog"], collection, prior=0.5)
    hits = {hit.path.name: hit for hit in answer.hits}
    assert set(hits) == {"dog.jpg", "two.jpg"}
    assert [region.box for region in hits["dog.jpg"].regions] == [(1, 2, 51, 27)]  # its neighbour is the same answer
    assert [region.box for region in hits["two.jpg"].regions] == [(0, 0, 50, 25), (13, 26, 63, 51)]
    assert [region.score for region in hits["two.jpg"].regions] == pytest.approx([KNOWN, KNOWN], abs=1e-6)
    assert answer.photographs == 3
    for hit in answer.hits:
        stored = collection.regions([region.region_id for region in hit.regions])
        assert {row.photo_id for row in stored} == {hit.photo_id}
        assert [row.phrase for row in stored] == ["dog"] * len(stored)


def test_over_a_collection_the_prior_is_what_was_fitted(detector, collection):
    assert detector.detect_in_collection(["dog"], collection).prior == 0.02
    # So far beyond doubt, the prior changes nothing; on the verge (a similarity of 0.9), everything.
    certain = detector.detect_in_collection(["dog"], collection).hits[0].score
    assert certain == pytest.approx(KNOWN, abs=1e-6)
    predictor = ColourPredictor()
    predictor.scoring = Scoring(
        calibration=Calibration(presence=(0.0, 0.0, 0.0), place=(100.0, 0.0, 0.0, 0.0), prevalence=0.02)
    )
    answer = detector_of(predictor).detect_in_collection(["dog"], collection, threshold=0.0)
    assert {region.score for hit in answer.hits for region in hit.regions} == {0.02}


def test_k_photographs_of_a_collection(detector, collection):
    assert [hit.rank for hit in detector.detect_in_collection(["dog"], collection, k=1).hits] == [1]


def test_an_empty_collection(detector, tmp_path):
    with open_collection(tmp_path / "e", write=True, create=True, model=ColourPredictor.identity) as opened:
        answer = detector.detect_in_collection(["dog"], opened)
    assert (answer.hits, answer.photographs) == ([], 0)


def test_a_collection_of_other_weights_is_refused(collection):
    predictor = ColourPredictor()
    predictor.digest = "e" * 64
    with pytest.raises(CheckpointMismatch, match="was described by the checkpoint dddddddddddd"):
        detector_of(predictor).detect_in_collection(["dog"], collection)


# -- as output


def test_forms_of_output(detector, tmp_path):
    photo = write_photo(tmp_path / "a.jpg", ("dog", 16, 16, 48, 32))
    answer = detector.detect(["dog"], [photo, tmp_path / "missing.jpg"])
    assert b'"dog": 1 photograph, confidence of at least 0.25\n' in as_table(answer, color=False)
    assert b",confidence,,16.0,16.0," in as_csv(answer)
    document = detections_as_json(answer).decode()
    assert '"query": ["dog"], "readings": {}, "unknown_words": [], "scoring": "confidence", ' in document
    assert '"threshold": 0.25, "prior": 0.5, ' in document
    assert '"region_id": null' in document
    assert answer.label(answer.hits[0].regions[0]) == "0.89"
    several = detector.detect(["dog", "lamp"], [photo])
    assert several.label(several.hits[0].regions[0]) == "dog 0.89"
