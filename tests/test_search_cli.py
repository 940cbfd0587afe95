"""The real command, on a real collection and a small network with random weights."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from db.collection import open_collection
from db.records import ModelIdentity, NewPhoto
from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.scoring import Calibration
from fcln.weights_file import checkpoint_digest
from helpers.db_photos import MODEL as DB_MODEL
from helpers.db_photos import photo as db_photo
from search.cli import commands, main
from search.searcher import Searcher

REPOSITORY = Path(__file__).parents[1]
NAMES = [b"a.jpg", b"sub/b.png", b"line\nbreak \xff.png"]
GREEN = (30, 160, 60)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_predictor, tiny_checkpoint):
    """A folder of photographs, its collection, an empty collection and one of another checkpoint."""
    folder = tmp_path_factory.mktemp("search")
    photos = folder / "photos"
    random = np.random.default_rng(0)
    made = []
    for name in NAMES:
        path = photos / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (120, 80), GREEN).save(path)
        embeddings = random.normal(size=(4, tiny_predictor.embedding_size)).astype(np.float32)
        made.append(
            NewPhoto(
                root_id=1,
                path=os.fsdecode(name),
                size=path.stat().st_size,
                mtime_ns=path.stat().st_mtime_ns,
                digest=f"{len(made):064}",
                width=120,
                height=80,
                boxes=np.array([[0, 0, 120, 80], [10, 10, 60, 50], [5, 5, 30, 30], [50, 20, 120, 80]], np.float32),
                scores=np.linspace(0.9, 0.6, 4, dtype=np.float32),
                phrases=["a dog", "a red lamp", "", "the couch"],
                codes=random.normal(size=(4, tiny_predictor.code_size)).astype(np.float16),
                embeddings=embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
            )
        )
    identity = ModelIdentity(tiny_predictor.digest, tiny_predictor.embedding_size, tiny_predictor.code_size)
    other = ModelIdentity("f" * 64, tiny_predictor.embedding_size, tiny_predictor.code_size)
    # The same network, sure that every photograph shows everything, at even odds where, but for the similarity.
    sure = folder / "sure.safetensors"
    checkpoint = load_checkpoint(tiny_checkpoint)
    calibration = Calibration(presence=(20.0, 0.0, 0.0), place=(0.0, 1.0, 0.0, 0.0), prevalence=0.5)
    save_checkpoint(sure, replace(checkpoint, scoring=replace(checkpoint.scoring, calibration=calibration)))
    known = replace(identity, digest=checkpoint_digest(sure))
    collections = {"full": (identity, made), "empty": (identity, []), "other": (other, made), "sure": (known, made)}
    for name, (model, contents) in collections.items():
        with open_collection(folder / name, write=True, create=True, model=model) as collection:
            assert collection.add_root(photos) == 1
            collection.commit(new=contents)
    paths = [os.fsencode(photos) + b"/" + name for name in NAMES]
    return SimpleNamespace(
        folder=folder,
        full=folder / "full",
        empty=folder / "empty",
        other=folder / "other",
        sure=folder / "sure",
        sure_weights=sure,
        paths=paths,
    )


@pytest.fixture
def search(place, tiny_checkpoint, monkeypatch, capfdbinary):
    """Run `search query` in this process."""

    def run(*arguments, collection=place.full, weights=tiny_checkpoint):
        options = ["--collection", str(collection), "--weights", str(weights), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["search", "query", *options, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfdbinary.readouterr()
        return SimpleNamespace(code=exit_.value.code, out=out, err=err.decode())

    return run


@pytest.fixture
def detect(place, monkeypatch, capfdbinary):
    """Run `search detect` in this process, with weights that are sure of much."""

    def run(*arguments, weights=place.sure_weights):
        options = ["--weights", str(weights), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["search", "detect", *map(str, arguments), *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfdbinary.readouterr()
        return SimpleNamespace(code=exit_.value.code, out=out, err=err.decode())

    return run


@pytest.fixture
def photos(tmp_path):
    """A folder with two JPEGs and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2):
        noise = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((120, 80)).save(folder / f"{number}.jpg", quality=95)
    (folder / "broken.jpg").write_bytes(b"no photograph")
    return folder


def command(*arguments, **options):
    """Run `python -m search` in a process of its own."""
    words = [sys.executable, "-m", "search", *map(str, arguments)]
    return subprocess.run(words, cwd=REPOSITORY, timeout=300, **options)


# -- filters


def test_filters_are_told(search, place):
    result = search("dog on couch", "--json", "--orientation", "landscape", "--under", place.folder / "photos" / "sub")
    document = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert document["filters"] == {"under": [str(place.folder / "photos" / "sub")], "orientation": "landscape"}
    assert (document["allowed"], document["of"], document["silent"]) == (1, 3, {})
    assert [hit["path"] for hit in document["hits"]] == [os.fsdecode(place.paths[1])]


def test_here_is_the_folder_that_one_is_in(search, place, monkeypatch):
    monkeypatch.chdir(place.folder / "photos" / "sub")
    assert search("dog on couch", "--here").out.splitlines() == [place.paths[1]]
    monkeypatch.chdir(place.folder)
    assert len(search("dog on couch", "--here").out.splitlines()) == 3


def test_only_regions_of_a_size(search):
    hits = json.loads(search("dog on couch", "--json", "--max-area", "10%").out)["hits"]
    assert len(hits) == 3
    assert {tuple(region["box"]) for hit in hits for region in hit["regions"]} == {(5, 5, 25, 25)}


def test_filters_that_allow_nothing(search, place):
    result = search("dog on couch", "--after", "2023", "--format", "png", "--format", "dng", "--json")
    assert result.code == 1
    document = json.loads(result.out)
    assert (document["hits"], document["allowed"], document["silent"]) == ([], 0, {"date": 3})
    note, unread, nothing = result.err.splitlines()
    assert note == "Note: 3 photographs tell no date, and are left out."
    command = f"indexer build --collection {place.full}"
    assert unread == f"Note: the headers of 3 of these were not read yet; `{command}` reads them."
    assert document["unread"] == 3
    assert nothing == (
        f"Nothing found: the filters together allow none of the 3 photographs in {place.full}; "
        "alone after 2023 allows 0, format png or dng allows 2."
    )
    result = search("dog on couch", "--max-area", "0.01%")
    assert (result.code, result.out) == (1, b"")
    expected = "the filter a region of 0 to 0.0001 of the photograph allows none of the 3 photographs"
    assert result.err == f"Nothing found: {expected} in {place.full}.\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--after", "last year", '"last year" is no date: write 2023, 2023-05 or 2023-05-01.'),
        ("--near", "52,13", "52,13 is no place: degrees north, degrees east and kilometres"),
        ("--near", "-95,13,5", "-95,13 is no place"),
        ("--min-area", "5", "5 is no share of a photograph: 0.05 or 5% is a twentieth of it"),
        ("--max-area", "nan", "nan is no share"),
        ("--format", "word", '"word" is no format of photographs'),
        ("--orientation", "wide", "'wide' is not one of 'landscape', 'portrait', 'square'"),
    ],
)
def test_filters_that_cannot_be_meant(search, option, value, message):
    result = search("dog on couch", option, value)
    assert (result.code, result.out) == (2, b"")
    assert message in result.err


def test_the_table_by_date_shows_dates(search):
    table = search("dog on couch", "--table", "--sort", "date").out.decode()
    assert table.count("  no date\n") == 3


def test_filters_of_detect(detect, place, photos):
    in_collection = ["a dog", "--collection", place.sure, "--json"]
    document = json.loads(detect(*in_collection, "--format", "jpeg", "--max-area", "10%").out)
    assert (document["photographs"], document["allowed"], document["of"]) == (1, 1, 3)
    assert [region["box"] for hit in document["hits"] for region in hit["regions"]] == [[5, 5, 25, 25]]
    result = detect(*in_collection, "--near", "0,0,1")
    assert (result.code, json.loads(result.out)["hits"]) == (1, [])
    assert "the filter within 1 km of 0,0 allows none of the 3 photographs" in result.err
    result = detect("a dog", "--in", photos, "--after", "2020")
    assert result.code == 2 and "only --min-area and --max-area" in result.err
    boxes = [
        region["box"]
        for hit in json.loads(detect("a dog", "--in", photos, "--json", "--max-area", "20%").out)["hits"]
        for region in hit["regions"]
    ]
    assert boxes and all(width * height <= 0.2 * 120 * 80 for _, _, width, height in boxes)


# -- answers


def test_query_may_be_left_away(place, tiny_checkpoint, monkeypatch, capfdbinary):
    for words in (["dog on couch"], ["query", "dog on couch"], ["--json", "dog on couch"]):
        options = ["--collection", str(place.full), "--weights", str(tiny_checkpoint)]
        monkeypatch.setattr(sys, "argv", ["search", *words, *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 0
        out = capfdbinary.readouterr().out
        assert len(json.loads(out)["hits"] if "--json" in words else out.splitlines()) == 3


def test_options_may_come_before_the_command(place, tiny_checkpoint, monkeypatch, capfdbinary):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
        with pytest.raises(SystemExit):
            main()
        return capfdbinary.readouterr()

    options = ["--collection", place.full, "--weights", tiny_checkpoint]
    expected = run("query", "dog on couch", *options, "-k", 2).out
    assert len(expected.splitlines()) == 2
    assert run(*options, "-k", 2, "query", "dog on couch").out == expected
    assert run("-k", 2, *options, "dog on couch").out == expected
    photo = place.paths[0].decode() if isinstance(place.paths[0], bytes) else place.paths[0]
    like = run("like", photo, "--box", "0,0,40,40", *options)
    assert like.out
    assert run(*options, "--box", "0,0,40,40", "like", photo).out == like.out  # an option that `query` does not have
    # What an option asks for is no command, and after the first word of a question nothing is.
    assert b"like" in run(*options, "--under", "like", "dog").err
    assert b"No such command" not in run("dog", "like", *options).err


def test_piped_it_prints_paths(search, place):
    result = search("dog on couch")
    assert (result.code, result.err) == (0, "")
    assert sorted(result.out.splitlines()) == sorted(path.replace(b"\n", b"\\n") for path in place.paths)


def test_a_table_without_a_terminal_has_no_colours(search):
    result = search("dog on couch", "--table")
    assert result.code == 0
    assert b"3 photographs, embedding scoring" in result.out and b"\x1b" not in result.out


def test_zero_bytes_end_any_path(search, place):
    assert sorted(search("dog on couch", "-0").out.split(b"\0")) == sorted([b"", *place.paths])
    assert len(search("dog on couch", "--print0", "-k", "1").out.split(b"\0")) == 2


@pytest.mark.parametrize("scoring", ["embedding", "likelihood", "fused"])
def test_json_is_the_promised_document(search, place, scoring):
    document = json.loads(search("dog on couch", "--json", "--scoring", scoring, "-k", 2).out)
    assert list(document) == ["query", "readings", "unknown_words", "scoring", "relations", "counts", "hits"]
    assert document["relations"] == [{"subject": "a dog", "relation": "on", "object": "the couch"}]
    assert (document["query"], document["scoring"]) == (["dog on couch"], scoring)
    assert [hit["rank"] for hit in document["hits"]] == [1, 2]
    for hit in document["hits"]:
        assert list(hit) == ["rank", "path", "score", "width", "height", "copies", "similar", "reading", "regions"]
        assert hit["reading"] in ("one thing", "several things")
        assert os.fsencode(hit["path"]) in place.paths
        assert (hit["width"], hit["height"]) == (120, 80)
        for region in hit["regions"]:
            assert list(region) == ["region_id", "box", "score", "phrase", "for"]
            assert region["box"] in [[0, 0, 120, 80], [10, 10, 50, 40], [5, 5, 25, 25], [50, 20, 70, 60]]
            assert region["for"] in ["dog on couch", "a dog", "the couch", "a couch"]


@pytest.mark.parametrize(
    ("word", "said"), [("-dog", "No such option '-dog': --not dog leaves out"), ("-x", "No such option '-x'.")]
)
def test_what_is_left_out_without_quotation_marks_is_told_how(search, word, said):
    answer = search("couch", word)
    assert (answer.code, answer.out) == (2, b"") and said in answer.err


def test_how_things_lie_may_be_an_option(search):
    document = json.loads(search("a dog", "--where", "dog left of couch", "--json", "--explain").out)
    assert document["relations"] == [{"subject": "a dog", "relation": "left of", "object": "the couch"}]
    assert all(hit["explanation"]["relations"][0]["relation"] == "left of" for hit in document["hits"])
    alone = json.loads(search("--where", "dog in the foreground", "--json").out)
    assert alone["relations"] == [{"subject": "a dog", "relation": "foreground", "object": None}]


@pytest.mark.parametrize("scoring", ["embedding", "likelihood"])
def test_an_explanation_is_a_table_where_output_is_no_terminal(search, scoring):
    text = search("dog left of couch", "--explain", "--scoring", scoring).out.decode()
    assert "dog left of the couch: " in text and "as several things " in text
    assert ("log-probabilities in region" in text) == (scoring == "likelihood")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "dog behind couch"], 'What is behind what, a box cannot tell ("dog behind couch")'),
        (["--where", "dog"], '"dog" does not say how one thing lies to another'),
        (["dog", "--explain", "--csv"], "--explain has no room in that form"),
        (["dog", "--explain", "-0"], "--explain has no room in that form"),
    ],
)
def test_what_cannot_be_asked_or_explained(search, arguments, message):
    result = search(*arguments)
    assert (result.code, result.out) == (2, b"")
    assert message in result.err


def test_what_a_box_cannot_tell_is_noted(search):
    result = search("dog behind a tree")
    assert result.code == 0
    assert result.err == 'Note: a box cannot tell what is "behind" what; only the things are asked for.\n'


def test_several_phrases_are_each_answered(search):
    document = json.loads(search("a dog", "red lamp", "--json").out)
    assert document["query"] == ["a dog", "red lamp"]
    assert all([region["for"] for region in hit["regions"]] == ["a dog", "red lamp"] for hit in document["hits"])


def test_json_lines_and_csv_say_the_same(search):
    hits = [json.loads(line) for line in search("dog on couch", "--jsonl").out.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    rows = list(csv.DictReader(io.StringIO(search("dog on couch", "--csv").out.decode())))
    assert [int(row["region_id"]) for row in rows] == [r["region_id"] for hit in hits for r in hit["regions"]]


def test_exact_and_shortlist_agree_where_the_shortlist_is_everything(search):
    assert search("dog on couch", "--json").out == search("dog on couch", "--json", "--exact").out


@pytest.mark.parametrize("colors", [True, False])
def test_colors_can_be_switched_off(search, monkeypatch, colors):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "" if colors else "1")
    result = search("dog on couch")
    assert b'"dog on couch": 3 photographs' in result.out
    assert (b"\x1b[" in result.out) == colors


def test_loose_words_may_be_a_question_without_quotation_marks(search):
    result = search("dog", "on", "couch")
    assert result.code == 0
    assert result.err == "Note: these are 3 phrases of a word each; put quotation marks around a question.\n"
    assert "Note" not in search("a dog", "lamp", "couch").err
    assert "Note" not in search("dog", "couch").err


def test_photographs_that_are_gone_are_counted(search, place):
    path = Path(os.fsdecode(place.paths[0]))
    path.rename(path.with_suffix(".away"))
    try:
        result = search("dog on couch")
    finally:
        path.with_suffix(".away").rename(path)
    assert (result.code, len(result.out.splitlines())) == (0, 3)
    command = f"indexer build --collection {place.full}"
    assert result.err == f"Note: 1 of 3 photographs is not there any more; `{command}` looks again.\n"


def test_unknown_words_among_known_ones_are_noted(search):
    result = search("zorblax dog")
    assert result.code == 0
    assert result.err == "Note: the model has never met these words: zorblax.\n"


def test_a_misspelt_word_is_read_as_the_one_that_was_meant_and_the_user_told(search):
    result = search("--table", "dog on cuoch")
    assert (result.code, result.err) == (0, "Note: cuoch is read as couch.\n")
    assert b'"dog on cuoch": 3 photographs' in result.out and b"the couch" in result.out


def test_a_word_that_no_photograph_taught_is_read_as_its_synonym_and_the_user_told(search):
    result = search("--json", "dog on sofa")
    assert (result.code, result.err) == (0, "Note: sofa is read as couch.\n")
    found = json.loads(result.out)
    assert found["query"] == ["dog on sofa"]
    assert found["hits"] == json.loads(search("--json", "dog on couch").out)["hits"]


@pytest.mark.parametrize("word", ["cuoch", "sofa"])
def test_words_can_be_taken_as_they_are_typed(search, word):
    result = search("--json", "--as-typed", f"dog on {word}")
    assert (result.code, "read as" in result.err) == (0, False)
    assert json.loads(result.out)["hits"] != json.loads(search("--json", "dog on couch").out)["hits"]


def test_the_collection_may_come_from_the_environment(place, tiny_checkpoint, monkeypatch, capfdbinary):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", str(place.full))
    monkeypatch.setattr(sys, "argv", ["search", "query", "dog", "-k1", "--weights", str(tiny_checkpoint)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    assert len(capfdbinary.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("question", "unwanted"), [(["dog", "--not", "a couch"], "a couch"), (["dog without couch"], "the couch")]
)
def test_what_is_left_out_is_told(search, place, question, unwanted):
    result = search(*question, "--json", collection=place.sure, weights=place.sure_weights)  # sure of everything
    document = json.loads(result.out)
    assert (result.code, document["hits"], document["without"]) == (1, [], [unwanted])
    assert {os.fsencode(photo["path"]) for photo in document["excluded"]} == set(place.paths)
    assert result.err.splitlines() == [
        f"Note: left out 3 photographs that may show {unwanted}.",
        "Nothing found: every photograph looked at was left out.",
    ]


def test_an_empty_collection_finds_nothing(search, place):
    result = search("dog on couch", "--json", collection=place.empty)
    assert result.code == 1
    assert json.loads(result.out)["hits"] == []
    command = f"indexer build FOLDER --collection {place.empty}"
    assert result.err == f"Nothing found: {place.empty} holds no photographs; `{command}` adds them.\n"


# -- pictures


def test_drawing_the_hits(search, place, tmp_path):
    result = search("dog on couch", "--draw", tmp_path / "hits.png")
    assert result.code == 0
    assert len(result.out.splitlines()) == 3  # the answer is printed too
    assert result.err == f"Drew the best 3 of 3: {tmp_path}/hits.png\n"
    with Image.open(tmp_path / "hits.png") as sheet:
        assert sheet.format == "PNG"
        assert (np.asarray(sheet.convert("RGB")) == GREEN).all(axis=2).sum() > 50_000


def test_photographs_that_have_moved_away_are_listed_and_drawn_grey(search, place, tmp_path):
    (place.folder / "photos").rename(place.folder / "elsewhere")
    try:
        result = search("dog on couch", "--draw", tmp_path / "hits.png")
    finally:
        (place.folder / "elsewhere").rename(place.folder / "photos")
    assert result.code == 0
    assert len(result.out.splitlines()) == 3
    with Image.open(tmp_path / "hits.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert (pixels == GREEN).all(axis=2).sum() == 0
    assert (pixels == (229, 229, 234)).all(axis=2).sum() > 50_000


def test_a_picture_that_cannot_be_written_loses_no_hits(search, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    result = search("dog on couch", "--draw", tmp_path / "full.png")
    assert result.code == 2
    assert len(result.out.splitlines()) == 3
    assert re.fullmatch(r"Error: The picture cannot be written to .*full.png: No space left on device\.\n", result.err)


# -- detect


def test_detect_in_a_photograph(detect, photos):
    result = detect("head of a dog", "--in", photos / "1.jpg", "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert list(document) == [
        *["query", "readings", "unknown_words", "scoring"],
        *["threshold", "prior", "photographs", "unreadable", "hits"],
    ]
    assert (document["query"], document["scoring"]) == (["head of a dog"], "confidence")
    assert (document["threshold"], document["prior"], document["photographs"]) == (0.25, 0.5, 1)
    (hit,) = document["hits"]
    assert (hit["path"], hit["width"], hit["height"]) == (str(photos / "1.jpg"), 120, 80)
    assert hit["score"] == hit["regions"][0]["score"]
    for region in hit["regions"]:
        assert list(region) == ["region_id", "box", "score", "phrase", "for"]
        assert (region["region_id"], region["for"]) == (None, "head of a dog")
        assert 0.25 <= region["score"] <= 0.74  # the logistic of a similarity, at most 1
        x, y, width, height = region["box"]
        assert 0 <= x < x + width <= 120
        assert 0 <= y < y + height <= 80
    assert [r["score"] for r in hit["regions"]] == sorted((r["score"] for r in hit["regions"]), reverse=True)


def test_detect_in_a_folder_skips_and_names_what_cannot_be_read(detect, photos):
    result = detect("a dog", "--in", photos, "--json")
    assert result.code == 0
    assert result.err == f"Skipped {photos}/broken.jpg: a text file, not a photograph\n"
    document = json.loads(result.out)
    assert sorted(hit["path"] for hit in document["hits"]) == [str(photos / "1.jpg"), str(photos / "2.jpg")]
    assert document["unreadable"] == [{"path": str(photos / "broken.jpg"), "reason": "a text file, not a photograph"}]
    assert sorted(os.listdir(photos)) == ["1.jpg", "2.jpg", "broken.jpg"]


def test_detect_takes_all_phrases_before_and_all_photographs_after_in(detect, photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "dog").mkdir()  # a phrase, whatever is there
    result = detect("dog", "red lamp", "a couch", "--in", "1.jpg", "2.jpg", "--json", "--threshold", "0")
    assert result.err == ""
    document = json.loads(result.out)
    assert document["query"] == ["dog", "red lamp", "a couch"]
    assert sorted(hit["path"] for hit in document["hits"]) == [str(photos / "1.jpg"), str(photos / "2.jpg")]
    regions = document["hits"][0]["regions"]
    assert list(dict.fromkeys(region["for"] for region in regions)) == ["dog", "red lamp", "a couch"]


def test_detect_notes_a_phrase_that_is_the_name_of_something_here(detect, photos, place, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "dog").mkdir()
    result = detect("dog", "--collection", place.sure)
    assert result.code == 0
    assert result.err == "Note: dog is read as words; `--in dog` looks into what has that name.\n"


def test_detect_over_a_collection(detect, place):
    result = detect("a dog", "--collection", place.sure, "--json", "-k", 2)
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert (document["threshold"], document["prior"], document["photographs"]) == (0.05, 0.5, 3)
    assert [hit["rank"] for hit in document["hits"]] == [1, 2]
    boxes = [region["box"] for hit in document["hits"] for region in hit["regions"]]
    assert all(box in [[0, 0, 120, 80], [10, 10, 50, 40], [5, 5, 25, 25], [50, 20, 70, 60]] for box in boxes)
    assert all(region["region_id"] for hit in document["hits"] for region in hit["regions"])
    everywhere = json.loads(detect("a dog", "--collection", place.sure, "--json", "--threshold", "0").out)
    assert len(everywhere["hits"]) == 3
    rare = json.loads(detect("a dog", "--collection", place.sure, "--json", "--prior", "1e-12").out)
    assert (rare["prior"], rare["hits"]) == (1e-12, [])


def test_detect_piped_prints_paths_and_a_table_on_request(detect, photos):
    assert detect("a dog", "--in", photos / "1.jpg").out == os.fsencode(photos / "1.jpg") + b"\n"
    table = detect("a dog", "--in", photos / "1.jpg", "--table").out.decode()
    assert '"a dog": 1 photograph, confidence of at least 0.25\n' in table


def test_detect_finds_nothing(detect, photos, place):
    result = detect("a dog", "--in", photos / "1.jpg", "--threshold", "1")
    assert (result.code, result.out) == (1, b"")
    assert result.err == "Nothing found in 1 photograph with a confidence of at least 1; --threshold lowers it.\n"
    result = detect("a dog", "--collection", place.sure, "--threshold", "1")
    assert result.code == 1
    assert result.err == f"Nothing found in {place.sure} with a confidence of at least 1; --threshold lowers it.\n"


def test_detect_draws_a_sheet_or_a_folder(detect, photos, tmp_path):
    result = detect("a dog", "--in", photos, "--draw", tmp_path / "sheet.png")
    assert result.err.endswith(f"Drew the best 2 of 2: {tmp_path}/sheet.png\n")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert (pixels == (213, 94, 0)).all(axis=2).sum() > 300  # the first phrase's colour
    result = detect("a dog", "--in", photos, "--draw", tmp_path / "drawn")
    assert result.err.endswith(f"Drew the best 2 of 2: {tmp_path}/drawn\n")
    assert sorted(os.listdir(tmp_path / "drawn")) == ["1.png", "2.png"]


def test_drawings_never_overwrite_photographs(detect, photos):
    (photos / "1.jpg").rename(photos / "1.png")  # Pillow looks at what is in it
    before = (photos / "1.png").read_bytes()
    result = detect("a dog", "--in", photos / "1.png", "--draw", photos / "1.png")
    assert (result.code, result.err) == (2, f"Error: The picture would overwrite the photograph {photos}/1.png.\n")
    assert detect("a dog", "--in", photos / "1.png", "--draw", photos).code == 0
    assert (photos / "1.png").read_bytes() == before
    assert (photos / "1-2.png").exists()


def test_drawings_overwrite_drawings_only(detect, search, place, tmp_path):
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9), GREEN).save(drawn / name)
    (drawn / "b.png").write_bytes(b"notes")
    before = {name: (drawn / name).read_bytes() for name in ("a.png", "b.png")}
    for _ in range(2):  # the second time, over what the first has drawn
        assert detect("a dog", "--collection", place.sure, "--draw", drawn).code == 0
        assert {name: (drawn / name).read_bytes() for name in before} == before
        assert {"a-2.png", "b-2.png"} <= set(os.listdir(drawn)) and len(os.listdir(drawn)) == 5
    for name in before:
        result = search("dog", "--draw", drawn / name)
        assert (result.code, result.out) == (2, b"")
        assert "is there, and was not drawn here: give the new picture another name" in result.err
        assert (drawn / name).read_bytes() == before[name]
    assert search("dog", "--draw", drawn / "a-2.png").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'PHRASE...'"),
        (["--in", "1.jpg"], "Missing argument 'PHRASE...'"),
        (["dog", "--in"], "Option '--in' requires an argument"),
        (["1.jpg"], r"before it: search detect .head of a dog. --in 1\.jpg$"),
        (
            ["a dog", "1.jpg", "red"],
            r"what to look for before it: search detect .a dog. red --in 1\.jpg$",
        ),
        (["dog", "gone.jpg", "--in", "1.jpg"], r"search detect dog --in 1\.jpg gone\.jpg$"),
        (["dog", "gone/"], r"search detect dog --in gone/$"),
        (["dog", "./empty"], r"search detect dog --in \./empty$"),
        (["?", "--in", "1.jpg"], 'There is no word in "?"'),
        (["zorblax qwertyuiop", "--in", "1.jpg"], r"The model knows none of these words: zorblax, qwertyuiop\."),
        (["dog", "--in", "gone.jpg"], r"^Error: The photograph could not be read: gone.jpg: there is no such file\.$"),
        (["dog", "--in", "gone/"], r"^Error: The photograph could not be read: gone: there is no such file\.$"),
        (
            ["dog", "--in", "broken.jpg", "gone.jpg"],
            r"(?s)^Skipped .*\nSkipped .*\nError: No photograph could be read\.$",
        ),
        (["dog", "--in", "empty"], r"^Error: There is no photograph in empty\.$"),
        (
            ["dog", "--in", "1.jpg", "--collection", "c"],
            r"^Error: Name photographs or a collection, not both: leave out --in 1.jpg, or --collection.",
        ),
        (["dog", "--in", "1.jpg", "--threshold", "nan"], "nan is no number"),
        (["dog", "--in", "1.jpg", "--prior", "nan"], "nan is no number"),
        (["dog", "--in", "1.jpg", "--threshold", "1.5"], "1.5 is not in the range 0<=x<=1"),
        (["dog", "--in", "1.jpg", "--threshold", "half"], "'half' is not a valid float"),
        (["dog", "--in", "1.jpg", "--prior", "0"], "0.0 is not in the range 0<x<1"),
        (["dog", "--in", "1.jpg", "-k", "0"], "0 is not in the range x>=1"),
        (["dog", "--in", "1.jpg", "--draw", "none/a.png"], "there is no folder none"),
        (["dog", "--in", "1.jpg", "--draw", "2.jpg"], "drawing is a PNG, or each in a folder: 2.jpg names neither"),
        (
            ["dog", "--in", "1.jpg", "--draw", "new.JPG"],
            "A drawing is a PNG, or each in a folder: new.JPG names neither",
        ),
        (["dog", "--in", "1.jpg", "--draw", "plain"], "The folder plain cannot be made: File exists"),
        (["dog", "--collection", "none"], "no collection in"),
    ],
)
def test_what_detect_refuses(detect, photos, monkeypatch, arguments, sentence):
    monkeypatch.chdir(photos)
    (photos / "empty").mkdir()
    (photos / "plain").write_text("no folder")
    result = detect(*arguments)
    assert (result.code, result.out) == (2, b"")
    assert re.search(sentence, result.err.strip())
    assert len(re.findall("^Error: ", result.err, flags=re.MULTILINE)) == 1
    assert "Traceback" not in result.err


def test_detect_refuses_weights_and_collections_it_does_not_fit(detect, photos, place, tiny_checkpoint):
    result = detect("a dog", "--in", photos / "1.jpg", weights=tiny_checkpoint)
    assert result.code == 2
    assert re.search(r"^Error: These weights hold no confidence, .*scripts\.train\.choose_confidence", result.err)
    result = detect("a dog", "--collection", place.full)
    assert result.code == 2
    assert "was described by the checkpoint" in result.err


def test_detect_in_a_process_of_its_own(photos, place):
    run = command(
        "detect", "head of a dog", "--in", photos, "--json", "--weights", place.sure_weights,
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0
    assert run.stderr == f"Skipped {photos}/broken.jpg: a text file, not a photograph\n"
    assert len(json.loads(run.stdout)["hits"]) == 2


# -- bad input: one clear sentence each


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'PHRASE...'"),
        ([""], 'There is no word in ""'),
        (["dog", "   "], 'There is no word in ""'),
        (["zorblax qwertyuiop"], r"The model knows none of these words: zorblax, qwertyuiop\."),
        (["dog " * 500], r"at most \d+ words, .* has 500\.$"),
        (["dog"] * 500, r"These are 500 phrases, and a query may have at most \d+"),
        (["dog", "-k", "0"], "'-k' / '--top': 0 is not in the range x>=1"),
        (["dog", "--min-score", "nan"], "nan is no number"),
        (["dog", "-k", "many"], "'many' is not a valid integer"),
        (["dog", "--scoring", "best"], "'best' is not one of 'embedding', 'likelihood', 'fused'"),
        (["dog", "--device", "abacus"], "'abacus' is not one of 'auto', 'cpu', 'cuda'"),
        (["dog", "--draw", "none/hits.png"], "there is no folder none"),
        (["dog", "--draw", "hits.jpg"], r"a name that ends in \.png, not hits\.jpg"),
        (["dog", "--draw", "tests.png"], "tests.png is a folder"),
    ],
)
def test_questions_that_cannot_be_asked(search, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests.png").mkdir()
    result = search(*arguments)
    assert result.code == 2
    assert result.out == b""
    assert len(re.findall("^Error: ", result.err, flags=re.MULTILINE)) == 1
    assert re.search(sentence, result.err.strip())
    assert "Traceback" not in result.err


def test_a_missing_collection(search, tmp_path):
    result = search("dog", collection=tmp_path / "none")
    assert result.code == 2
    assert re.search(r"^Error: .*no collection in .*/none: `indexer build", result.err)
    assert not (tmp_path / "none").exists()


def test_a_damaged_collection(search, tmp_path):
    (tmp_path / "photos.db").write_bytes(b"not a database" * 100)
    result = search("dog", collection=tmp_path)
    assert result.code == 2
    assert re.search(r"^Error: .*photos\.db is damaged", result.err)


def test_a_collection_of_another_checkpoint(search, place):
    result = search("dog", collection=place.other)
    assert result.code == 2
    assert re.search(r"^Error: The collection .*/other was described by the checkpoint ffffffffffff", result.err)
    assert f"by `indexer build --redescribe --collection {place.other}`." in result.err


@pytest.mark.parametrize("damage", ["missing", "cut off", "text"])
def test_a_damaged_weights_file(search, tmp_path, tiny_checkpoint, damage):
    weights = tmp_path / "weights.safetensors"
    if damage == "cut off":
        weights.write_bytes(tiny_checkpoint.read_bytes()[:-1000])
    elif damage == "text":
        weights.write_text("no weights")
    result = search("dog", weights=weights)
    assert result.code == 2
    assert result.err.startswith("Error: ")
    assert str(weights) in result.err
    assert len(result.err.splitlines()) == 1


def test_an_interrupt(search, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Searcher, "search", interrupted)
    result = search("dog")
    assert (result.code, result.out, result.err.strip()) == (130, b"", "")


# -- processes of their own


def test_help_loads_neither_torch_nor_faiss_nor_sqlalchemy():
    for arguments in (["--help"], ["query", "--help"], ["detect", "--help"], ["--version"]):
        script = (
            "import sys; from search.cli import main; sys.argv[0] = 'search'\n"
            "try: main()\n"
            "finally: print(sorted({'torch', 'faiss', 'sqlalchemy'} & set(sys.modules)), file=sys.stderr)"
        )
        run = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
        )
        assert (run.returncode, run.stderr) == (0, "[]\n")
        assert run.stdout


@pytest.mark.parametrize("command_line", [["query", "dog on couch", "--json"], ["detect", "a dog"]])
def test_words_are_asked_of_a_small_collection_without_torch_and_faiss(place, command_line):
    script = (
        "import sys; from search.cli import main; sys.argv[0] = 'search'\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'faiss', 'numpy.ma'} & set(sys.modules)), file=sys.stderr)"
    )
    options = ["--collection", str(place.sure), "--weights", str(place.sure_weights)]
    run = subprocess.run(
        [sys.executable, "-c", script, *command_line, *options],
        cwd=REPOSITORY, capture_output=True, timeout=300,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, b"[]\n")
    assert run.stdout


def test_help_tells_boxes_and_exit_codes():
    text = " ".join(command("query", "--help", capture_output=True, text=True).stdout.split())
    assert "x, y, width, height in pixels of the upright photograph" in text
    assert "Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted" in text


def test_the_version_names_the_project():
    assert re.fullmatch(r"densecap-search \S.*\n", command("--version", capture_output=True, text=True).stdout)


def test_no_command_shows_the_help():
    run = command(capture_output=True, text=True)
    assert run.returncode == 2
    assert "Usage: search" in run.stderr


def test_an_answer_that_cannot_be_written_is_told(place, tiny_checkpoint):
    asked = ("query", "dog on couch", "--collection", place.full, "--weights", tiny_checkpoint)
    with open("/dev/full", "w") as full:
        run = command(*asked, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (2, "Error: The answer could not be written: No space left on device.\n")
    with open("/dev/full", "w") as full:
        run = command("phrases", "a", "--collection", place.full, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (2, "Error: No space left on device.\n")
    reader, writer = os.pipe()
    os.close(reader)
    run = command(*asked, "--json", stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (run.returncode, run.stderr) == (1, "")


def test_closed_outputs_are_no_error(place, tiny_checkpoint):
    asked = (
        f"'{sys.executable}' -m search query 'zorblax dog' --collection '{place.full}' --weights '{tiny_checkpoint}'"
    )
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        run = subprocess.run(f"{asked} {closed}", shell=True, cwd=REPOSITORY, capture_output=True, timeout=300)
        assert (run.returncode, b"Traceback" in run.stderr) == (0, False)


def test_in_a_terminal_it_prints_a_table(place, tiny_checkpoint):
    environment = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": ""}
    terminal, end = pty.openpty()
    run = command(
        "query", "dog on couch", "--collection", place.full, "--weights", tiny_checkpoint,
        stdout=end, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    os.close(end)
    parts = []
    with suppress(OSError):  # what Linux says where there is no more
        while part := os.read(terminal, 100_000):
            parts.append(part)
    os.close(terminal)
    text = b"".join(parts).decode()
    assert (run.returncode, run.stderr) == (0, b"")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[\d*m", "", text)
    assert '"dog on couch": 3 photographs, embedding scoring' in plain
    assert re.search(r"^   1 +-?\d\.\d{3}  .*/photos/", plain, flags=re.MULTILINE)
    assert "line\\nbreak \\xff.png" in plain
    assert re.search(r" at \d+,\d+\r?$", plain, flags=re.MULTILINE)


@pytest.mark.parametrize("forms", [("--json", "-0"), ("--json", "--csv"), ("--jsonl", "--table")])
def test_two_forms_of_one_answer_are_refused(search, forms):
    result = search("dog on couch", *forms)
    assert (result.code, result.out) == (2, b"")
    assert (
        f"{' and '.join(sorted(forms, key=['--table', '--json', '--jsonl', '--csv', '-0'].index))} are two forms"
        in (result.err)
    )


def test_where_every_folder_is_missing_the_note_names_a_command_that_says_so(search, place):
    with open_collection(place.full) as collection:
        (root,) = collection.roots().values()
    root.rename(root.with_name("away"))
    try:
        result = search("dog on couch")
    finally:
        root.with_name("away").rename(root)
    assert f"`indexer status --collection {place.full}` names missing folders." in result.err
    assert f"`indexer build --prune --collection {place.full}` forgets" in result.err


def test_phrases_with_words_are_listed_with_the_number_of_their_photographs(tmp_path):
    with open_collection(tmp_path / "c", write=True, create=True, model=DB_MODEL) as collection:
        root = collection.add_root(tmp_path)
        collection.commit(
            new=[
                replace(db_photo(root, "1.jpg", count=3), phrases=["a red shirt", "a red\x1b[31m lamp", "a dog"]),
                replace(db_photo(root, "2.jpg", count=1), phrases=["a red shirt"]),
            ]
        )
    runner, where = CliRunner(), ["--collection", str(tmp_path / "c")]
    result = runner.invoke(commands, ["phrases", "red", *where], standalone_mode=False)
    assert result.stdout == "      2  a red shirt\n      1  a red\\x1b[31m lamp\n" and result.return_value == 0
    result = runner.invoke(commands, ["phrases", "shirt", "red", "--json", *where], standalone_mode=False)
    assert json.loads(result.stdout) == {"a red shirt": 2}
    result = runner.invoke(commands, ["phrases", "a", "-k", "1", *where], standalone_mode=False)
    assert result.stdout == "      2  a red shirt\n"
    result = runner.invoke(commands, ["phrases", "re", *where], standalone_mode=False)
    assert (result.stdout, result.return_value) == ("", 1)
    assert result.stderr == f"Nothing found: no phrase in {tmp_path / 'c'} has re.\n"
