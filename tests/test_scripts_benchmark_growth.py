"""What a question costs as a collection grows: what is measured, and on what. The times are not judged here."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from db.collection import open_collection
from db.records import ModelIdentity
from fcln.phrase_model import PhraseModel
from fcln.weights_file import checkpoint_digest
from scripts.benchmark import collection as benchmark_collection
from scripts.benchmark import growth
from scripts.benchmark.growth import Size, make_photographs, table
from search.searcher import Searcher

CODE_SIZE = growth.CODE_SIZE


@pytest.fixture(scope="module")
def phrases() -> PhraseModel:
    return PhraseModel.load()


@pytest.fixture
def real(tmp_path: Path, phrases: PhraseModel) -> Path:
    """A collection of two photographs, of three and five regions."""
    path = tmp_path / "real"
    rng = np.random.default_rng(0)
    with open_collection(
        path, write=True, create=True, model=ModelIdentity(checkpoint_digest(), phrases.embedding_size, CODE_SIZE)
    ) as writer:
        root = writer.add_root(tmp_path)
        codes = np.zeros((5, CODE_SIZE), np.float16)
        writer.commit(
            new=[
                growth._photo(
                    root, number, growth._unit_length(rng.normal(size=(count, phrases.embedding_size))), codes
                )
                for number, count in enumerate((3, 5))
            ]
        )
    return path


def test_photographs_are_real_ones_a_little_changed(real: Path, phrases: PhraseModel) -> None:
    make = make_photographs([real], phrases)
    made = make(1, 0)
    photos = [next(made) for _ in range(20)]
    with open_collection(real) as collection:
        embeddings = collection.features().embeddings
    assert {len(photo.phrases) for photo in photos} == {3, 5}
    assert len({photo.digest for photo in photos}) == 20
    for photo in photos:
        original = embeddings[:3] if len(photo.phrases) == 3 else embeddings[3:]
        cosines = (photo.embeddings * original).sum(1)
        assert (cosines > 0.9).all() and (cosines < 0.97).all()
    np.testing.assert_array_equal(next(make(1, 7)).embeddings, photos[7].embeddings)  # wherever it begins


def test_a_collection_grows_and_is_measured_at_each_size(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "measure", benchmark_collection._do)  # processes would take half a minute
    monkeypatch.setattr("scripts.benchmark.query.QUESTIONS", ("red lamp", "dog"))
    monkeypatch.setattr(growth, "_COMMIT_PHOTOS", 4)
    command = ["--like", str(real), "--sizes", "10,40", "--repeats", "1", "--exact-up-to", "20", "--json"]
    folder, plot = tmp_path / "grown", tmp_path / "plot.png"
    result = CliRunner().invoke(growth.main, [*command, "--folder", str(folder), "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["sizes"]
    assert 10 <= first["regions"] < 15 and 40 <= second["regions"] < 45
    assert (first["recall_at_10"], second["recall_at_10"]) == (1, None)
    for size in (first, second):
        assert 0 < size["median_ms"] <= size["p95_ms"] and size["cpu_ms"] > 0
        assert size["index_bytes_a_region"] > 2 * 256 and size["peak_memory_mb"] > 20
    assert plot.read_bytes().startswith(b"\x89PNG")
    with open_collection(folder) as collection:
        assert collection.region_count() == second["regions"]
    # A folder that is there is measured as it is.
    again = CliRunner().invoke(growth.main, [*command, "--folder", str(folder)])
    assert again.exit_code == 0, again.output
    assert {size["regions"] for size in json.loads(again.stdout)["sizes"]} == {second["regions"]}


def test_the_exact_answer_is_that_of_exact_search(
    real: Path, tmp_path: Path, phrases: PhraseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = ("a red lamp", "dog left of a child", "two dogs")
    with open_collection(
        tmp_path / "c", write=True, create=True, model=ModelIdentity(checkpoint_digest(), phrases.embedding_size, 8)
    ) as writer:
        made = make_photographs([real], phrases, code_size=8)(writer.add_root(tmp_path), 0)
        writer.commit(new=[next(made) for _ in range(60)])
    monkeypatch.setattr(growth, "PART_ROWS", 20)
    exact = growth.ask_exactly(tmp_path / "c", questions)["photos"]
    with Searcher.open(tmp_path / "c") as searcher:
        expected = [searcher.search([q], k=10, exact=True, scoring="embedding").hits for q in questions]
    assert exact == [[hit.photo_id for hit in hits] for hits in expected]


@pytest.mark.parametrize("sizes", ["100,10", "ten", "0,5"])
def test_sizes_that_are_none(sizes: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(growth.main, ["--sizes", sizes, "--folder", str(tmp_path / "c")])
    assert result.exit_code == 2 and "--sizes 10000,100000" in result.output


def test_the_table_for_people() -> None:
    sizes = [Size(1_000_000, 12.4, 30.6, 11.2, 500.2, 99.7, 101.4, 0.985), Size(5, 1, 2, 3, 3, 4, 520, None)]
    line = table(sizes).splitlines()
    assert line[2] == "| 1,000,000 | 12 ms | 31 ms | 11 ms | 500 MB | 100 MB | 101 | 98.5 % |"
    assert line[3].endswith("| 520 | not asked |")
