"""The real command, on a real collection and a small network with random weights."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from db.collection import Collection
from db.records import ModelIdentity, NewPhoto
from search.cli import main
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
    for name, model, contents in (("full", identity, made), ("empty", identity, []), ("other", other, made)):
        with Collection.open(folder / name, write=True, create=True, model=model) as collection:
            assert collection.add_root(photos) == 1
            collection.commit(new=contents)
    paths = [os.fsencode(photos) + b"/" + name for name in NAMES]
    return SimpleNamespace(
        folder=folder, full=folder / "full", empty=folder / "empty", other=folder / "other", paths=paths
    )


@pytest.fixture
def search(place, tiny_checkpoint, monkeypatch, capfdbinary):
    """Run `search query` in this process: the whole command without the two seconds in which torch starts."""

    def run(*arguments, collection=place.full, weights=tiny_checkpoint):
        options = ["--collection", str(collection), "--weights", str(weights), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["search", "query", *options, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfdbinary.readouterr()
        return SimpleNamespace(code=exit_.value.code, out=out, err=err.decode())

    return run


def command(*arguments, **options):
    """Run `python -m search` in a process of its own."""
    return subprocess.run([sys.executable, "-m", "search", *map(str, arguments)], cwd=REPOSITORY, timeout=60, **options)


# -- answers


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
    assert list(document) == ["query", "scoring", "hits"]
    assert (document["query"], document["scoring"]) == (["dog on couch"], scoring)
    assert [hit["rank"] for hit in document["hits"]] == [1, 2]
    for hit in document["hits"]:
        assert list(hit) == ["rank", "path", "score", "width", "height", "regions"]
        assert os.fsencode(hit["path"]) in place.paths
        assert (hit["width"], hit["height"]) == (120, 80)
        for region in hit["regions"]:
            assert list(region) == ["region_id", "box", "score", "phrase", "for"]
            assert region["box"] in [[0, 0, 120, 80], [10, 10, 50, 40], [5, 5, 25, 25], [50, 20, 70, 60]]
            assert region["for"] in ["dog on couch", "a dog", "the couch", "a couch"]


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


def test_unknown_words_among_known_ones_are_noted(search):
    result = search("zorblax dog")
    assert result.code == 0
    assert result.err == "Note: the model has never met these words: zorblax.\n"


def test_a_misspelt_word_is_read_as_the_one_that_was_meant_and_the_user_told(search):
    result = search("--table", "dog on cuoch")
    assert (result.code, result.err) == (0, "Note: cuoch is read as couch.\n")
    assert b'"dog on cuoch": 3 photographs' in result.out and b"the couch" in result.out


def test_the_collection_may_come_from_the_environment(place, tiny_checkpoint, monkeypatch, capfdbinary):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", str(place.full))
    monkeypatch.setattr(sys, "argv", ["search", "query", "dog", "-k1", "--weights", str(tiny_checkpoint)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    assert len(capfdbinary.readouterr().out.splitlines()) == 1


def test_an_empty_collection_finds_nothing(search, place):
    result = search("dog on couch", "--json", collection=place.empty)
    assert result.code == 1
    assert json.loads(result.out)["hits"] == []
    assert re.fullmatch(
        r"Nothing found: .*/empty holds no photographs; `indexer build FOLDER` adds them.\n", result.err
    )


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


def test_a_picture_that_cannot_be_written_loses_no_hits(search, tmp_path):
    (tmp_path / "full.png").symlink_to("/dev/full")
    result = search("dog on couch", "--draw", tmp_path / "full.png")
    assert result.code == 2
    assert len(result.out.splitlines()) == 3
    assert re.fullmatch(r"Error: The picture cannot be written to .*full.png: No space left on device\.\n", result.err)


# -- bad input: one clear sentence each


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'PHRASE...'"),
        ([""], 'There is no word in ""'),
        (["dog", "   "], 'There is no word in ""'),
        (["zorblax qwertyuiop"], r"The model knows none of these words: zorblax, qwertyuiop\.$"),
        (["dog " * 500], r"at most \d+ words, .* has 500\.$"),
        (["dog"] * 500, r"These are 500 phrases, and a query may have at most \d+"),
        (["dog", "-k", "0"], "'-k' / '--top': 0 is not in the range x>=1"),
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
    for arguments in (["--help"], ["query", "--help"], ["--version"]):
        script = (
            "import sys; from search.cli import main; sys.argv[0] = 'search'\n"
            "try: main()\n"
            "finally: print(sorted({'torch', 'faiss', 'sqlalchemy'} & set(sys.modules)), file=sys.stderr)"
        )
        run = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
        )
        assert (run.returncode, run.stderr) == (0, "[]\n")
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


def test_in_a_terminal_it_prints_a_table(place, tiny_checkpoint):
    environment = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": ""}
    terminal, end = pty.openpty()
    run = command(
        "query", "dog on couch", "--collection", place.full, "--weights", tiny_checkpoint,
        stdout=end, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    os.close(end)
    text = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert (run.returncode, run.stderr) == (0, b"")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[\d*m", "", text)
    assert '"dog on couch": 3 photographs, embedding scoring' in plain
    assert re.search(r"^   1 +-?\d\.\d{3}  .*/photos/", plain, flags=re.MULTILINE)
    assert "line\\nbreak \\xff.png" in plain
    assert re.search(r" at \d+,\d+\r?$", plain, flags=re.MULTILINE)
