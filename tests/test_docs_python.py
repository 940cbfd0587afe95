"""The Python of the README and of the notebook, run as it stands."""

import ast
import contextlib
import importlib
import inspect
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from db.records import ModelIdentity, NewPhoto
from fcln.phrase_model import PhraseModel

ROOT = Path(__file__).parent.parent
CODE_SIZE = 8


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A folder in which `demo/collection` is, as if the embedded weights had described three photographs."""
    model = PhraseModel.load()
    rng = np.random.default_rng(0)
    photos = tmp_path / "demo" / "photos"
    photos.mkdir(parents=True)
    new = []
    for number, size in enumerate([(120, 80), (80, 120), (160, 90)]):
        path = photos / f"{number}.jpg"
        Image.new("RGB", size, (40 * number, 90, 60)).save(path)
        embeddings = rng.normal(size=(3, model.embedding_size)).astype(np.float32)
        new.append(
            NewPhoto(
                root_id=1,
                path=path.name,
                size=path.stat().st_size,
                mtime_ns=path.stat().st_mtime_ns,
                digest=f"{number:064}",
                width=size[0],
                height=size[1],
                boxes=np.array([[0, 0, *size], [10, 10, 60, 50], [5, 5, 30, 30]], np.float32),
                scores=np.array([0.9, 0.8, 0.7], np.float32),
                phrases=["a dog", "a red lamp", "a cup"],
                codes=rng.normal(size=(3, CODE_SIZE)).astype(np.float16),
                embeddings=embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
            )
        )
    identity = ModelIdentity(model.digest, model.embedding_size, CODE_SIZE)
    with open_collection(tmp_path / "demo" / "collection", write=True, create=True, model=identity) as collection:
        assert collection.add_root(photos) == 1
        collection.commit(new=new)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str, names: dict) -> object:
    """Run some lines; the value of the last one if it is an expression, which a notebook would show."""
    tree = ast.parse(code)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return None if shown is None else eval(compile(ast.Expression(shown.value), "<cell>", "eval"), names)


def test_the_lines_of_the_readme(demo, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    run(code, {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert all(re.match(rf"{re.escape(str(demo))}/demo/photos/\d\.jpg \S+ \[\(\(", line) for line in printed)


def test_the_notebook(demo):
    pytest.importorskip("pandas")
    notebook = json.loads((ROOT / "examples" / "ask.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    names: dict = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        shown = [run(cell, names) for cell in cells]
    assert printed.getvalue().count(".jpg") == 3  # asked
    assert "2 of 3 photographs" in shown  # filtered
    (drawing,) = [value for value in shown if isinstance(value, Image.Image)]
    assert drawing._repr_png_()  # what a notebook shows
    assert len(names["alike"].hits) == 2
    table, counts = names["table"], shown[-2]
    assert len(table) >= 3 and table["phrase"].isin(["a dog", "a red lamp", "a cup"]).all()
    assert counts.to_dict() == {"a dog": 3, "a red lamp": 3, "a cup": 3}


# What the README and the notebook name, and what comes out of it.
PUBLIC = [
    "search.searcher", "search.detector", "search.filters", "search.example", "search.hits", "search.drawing",
    "search.output", "search.errors", "db.collection", "db.records", "db.errors", "fcln.predictor",
    "fcln.phrase_model", "fcln.errors",
]  # fmt: skip


@pytest.mark.parametrize("module_name", PUBLIC)
def test_public_names_are_documented_and_typed(module_name):
    module = importlib.import_module(module_name)
    undocumented, untyped = [], []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module_name:
            continue
        members = [(name, value)]
        if inspect.isclass(value):
            members += [
                (f"{name}.{inner}", getattr(member, "__func__", getattr(member, "fget", member)))
                for inner, member in vars(value).items()
                if not inner.startswith("_")
                and (inspect.isfunction(member) or isinstance(member, classmethod | property))
            ]
        for member_name, member in members:
            if not (inspect.isclass(member) or inspect.isfunction(member)):
                continue
            if not (member.__doc__ or member_name == "Collection.region_count"):  # there is no more to say
                undocumented.append(member_name)
            if inspect.isfunction(member):
                hints = {*member.__annotations__}
                parameters = {*inspect.signature(member).parameters} - {"self", "cls"}
                if not {*parameters, "return"} <= hints:
                    untyped.append(member_name)
    assert (undocumented, untyped) == ([], [])


@pytest.mark.parametrize("package", ["commands", "decoding", "db", "fcln", "indexer", "search"])
def test_type_checkers_read_every_package(package):
    assert (ROOT / package / "py.typed").is_file()
