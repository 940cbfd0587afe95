"""What the project promises of itself: who imports whom, and that its documents name what there is."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("decoding", "fcln", "db", "indexer", "search")
ALLOWED = {
    "decoding": {"decoding"},
    "fcln": {"fcln"},
    "db": {"db"},
    "indexer": {"indexer", "decoding", "fcln", "db"},
    "search": {"search", "decoding", "fcln", "db"},
    "scripts": {*PACKAGES, "scripts"},
}
SOURCES = sorted(path for folder in ALLOWED for path in (ROOT / folder).glob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    package = path.parent.name
    ours = {name for name in imported_modules(path) if name.split(".")[0] in {*ALLOWED, "tests"}}
    assert {name.split(".")[0] for name in ours} <= ALLOWED[package]
    commands = {name for name in ours if name.split(".")[1:2] == ["cli"]}
    assert not commands or path.name == "__main__.py", f"{path} imports {commands}"


def test_only_one_file_imports_faiss_and_db_knows_no_torch():
    importers = {path.relative_to(ROOT).as_posix() for path in SOURCES if "faiss" in imported_modules(path)}
    assert importers == {"db/vectors.py"}
    for path in (ROOT / "db").glob("*.py"):
        assert not any(name.split(".")[0] in ("torch", "torchvision") for name in imported_modules(path)), path


def test_decoding_knows_pillow_and_numpy_only():
    for path in (ROOT / "decoding").glob("*.py"):
        others = {name.split(".")[0] for name in imported_modules(path)} - sys.stdlib_module_names
        assert others <= {"decoding", "PIL", "pillow_heif", "numpy"}, path


def test_nothing_loads_pickles():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bimport pickle\b|torch\.load\(|allow_pickle=True", text), path


@pytest.mark.parametrize("package", ["indexer", "search"])
def test_help_is_quick_to_load(package):
    code = (
        f"import sys, {package}.cli\n"
        "heavy = {'torch', 'faiss', 'sqlalchemy', 'h5py', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_readme_maps_every_file():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name not in ("__init__.py", "__main__.py") and f"{path.name}" not in readme
    ]
    assert not missing


@pytest.mark.parametrize("package", ["indexer", "search"])
def test_the_readme_names_every_command(package):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    help_text = subprocess.run(
        [sys.executable, "-m", package, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = re.findall(r"^  (\w+) ", help_text.split("Commands:")[1], flags=re.MULTILINE)
    assert commands
    for command in commands:
        assert f"{package} {command}" in readme


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_program_says_how_to_call_it(path):
    text = path.read_text(encoding="utf-8")
    if 'if __name__ == "__main__"' in text:
        assert f"python -m scripts.{path.stem}" in (ast.get_docstring(ast.parse(text)) or "")


def test_version_and_changelog_agree():
    version = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert version and f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_packages_are_named_one_by_one():
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    packages = next(
        ast.literal_eval(keyword.value)
        for node in ast.walk(setup)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "packages"
    )
    assert packages == list(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_of_the_users_is_not_taken_for_a_package(tmp_path, package):
    """The names are words that folders have too, and `python -m` looks at the working folder first (see setup.py)."""
    (tmp_path / package).mkdir()
    run = [sys.executable, "-c", f"import {package}; assert {package}.__file__"]
    result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, f"`make setup` again: {result.stderr}"
