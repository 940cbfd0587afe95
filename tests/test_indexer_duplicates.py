"""Which photographs are there more than once."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from db.collection import open_collection
from helpers.db_photos import create, photo
from helpers.workshop import Workshop
from indexer.cli import main
from indexer.duplicates import find_duplicates


@pytest.fixture
def shop(tmp_path):
    shop = Workshop(tmp_path)
    shop.photo("a.png", "red", size=(60, 40))
    shop.photo("small.png", "red", size=(30, 20))
    shop.photo("b.png", "blue")
    shutil.copy(shop.root / "a.png", shop.root / "z.png")
    shutil.copy(shop.root / "b.png", shop.root / "c.png")
    shop.build()
    return shop


def names(groups) -> list[tuple[list[str], bool]]:
    return sorted(
        ((sorted(row.path.name for row in group.photos), group.same_content) for group in groups),
        key=lambda group: (not group[1], group[0]),
    )


def test_a_file_that_is_not_there_any_more_is_marked(shop):
    (shop.root / "z.png").unlink()
    listed = CliRunner().invoke(main, ["duplicates", "--collection", str(shop.path)]).stdout
    assert f"{shop.root / 'z.png'}  (not there)\n" in listed and listed.count("(not there)") == 1
    document = json.loads(CliRunner().invoke(main, ["duplicates", "--json", "--collection", str(shop.path)]).stdout)
    present = {photo["path"]: photo["present"] for group in document for photo in group["photographs"]}
    assert [path for path, there in present.items() if not there] == [str(shop.root / "z.png")]


def test_groups_of_one_content(shop):
    with open_collection(shop.path) as collection:
        assert names(find_duplicates(collection)) == [(["a.png", "z.png"], True), (["b.png", "c.png"], True)]


def test_near_ones_look_the_same(shop):
    with open_collection(shop.path) as collection:
        groups = names(find_duplicates(collection, near=True))
    assert groups[2:] == [(["a.png", "small.png"], False)]


def test_chains_are_one_group(tmp_path):
    """Each looks like the next one: a group has all of them."""
    with create(tmp_path / "c") as collection:
        collection.add_root(tmp_path)
        base = photo(1, "x", count=6)
        photos = []
        for number in range(4):
            noise = np.random.default_rng(number).normal(size=base.embeddings.shape).astype(np.float32) * 0.02
            embeddings = base.embeddings + noise
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            photos.append(photo(1, f"{number}.jpg", count=6, embeddings=embeddings, boxes=base.boxes))
        collection.commit(new=[*photos, photo(1, "other.jpg", count=6)])
        assert names(find_duplicates(collection, near=True)) == [([f"{n}.jpg" for n in range(4)], False)]


def test_the_command(shop, tmp_path):
    def run(*options: str) -> str:
        result = CliRunner().invoke(main, ["duplicates", "--collection", str(shop.path), *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    root = shop.root
    groups = {frozenset(group.splitlines()) for group in run().split("\n\n")}
    assert groups == {frozenset({f"{root}/a.png", f"{root}/z.png"}), frozenset({f"{root}/b.png", f"{root}/c.png"})}
    near = run("--near").split("\n\n")[2]
    assert set(near.splitlines()) == {f"~ {root}/a.png", f"~ {root}/small.png"}
    documents = json.loads(run("--json"))
    assert [document["same_content"] for document in documents] == [True, True]
    paths = {frozenset(entry["path"] for entry in document["photographs"]) for document in documents}
    assert paths == groups
    for name in ("z.png", "c.png"):
        (root / name).unlink()
    shop.build()
    assert run() == "Every photograph is there once.\n"
    assert json.loads(run("--json")) == []
