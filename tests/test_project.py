"""What the project promises of itself: who imports whom, and that its documents name what there is."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("commands", "decoding", "fcln", "db", "indexer", "search")
ALLOWED = {
    "commands": set(PACKAGES),
    "decoding": {"decoding"},
    "fcln": {"fcln"},
    "db": {"db"},
    "indexer": {"indexer", "commands", "decoding", "fcln", "db"},
    "search": {"search", "commands", "decoding", "fcln", "db"},
    "scripts": {*PACKAGES, "scripts"},
}
# What a folder may import of its own package, where that is less than all: "." is the files beside it.
INNER = {
    "db": {".", "db.local.collection", "db.postgres.collection"},  # and maintenance.py, of each back end its own
    "db.postgres": {".", "db"},
    "db.local": {".", "db", "db.local.sqlite", "db.local.vectors"},  # not maintenance
    "db.local.sqlite": {
        ".",
        "db",
        *(f"db.local.{name}" for name in ("records", "layout", "files", "extents", "segments")),
    },
    "db.local.vectors": {".", "db", "db.local", "db.local.sqlite"},
    "fcln": {".", "fcln.modeling"},
    "fcln.modeling": {".", "fcln.errors", "fcln.vocabulary"},
    "indexer.build": {".", "indexer.scan", "indexer.errors", "indexer.progress"},
    "indexer.scan": {".", "indexer.errors", "indexer.progress"},
    "search.wording": {".", "search.errors"},
}
SOURCES = sorted(path for folder in ALLOWED for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name of a source file; a package's own for its __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}


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
    package = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported_modules(path) if name.split(".")[0] in {*ALLOWED, "tests"}}
    assert {name.split(".")[0] for name in ours} <= ALLOWED[package]
    # `tests/` is on the path of pytest, so its helpers have a name of one word.
    assert not any(name.split(".")[0] == "helpers" for name in imported_modules(path))
    commands = {name for name in ours if name.split(".")[1:2] == ["cli"]}
    inside = path.relative_to(ROOT).parts[1] == "cli"
    assert not commands or inside or path.name == "__main__.py", f"{path} imports {commands}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_a_package_point_downwards(path):
    folder = ".".join(path.parent.relative_to(ROOT).parts)
    allowed = {folder if name == "." else name for name in INNER.get(folder, ())}
    if path in (ROOT / "db" / "maintenance.py", ROOT / "db" / "model_switch.py"):
        allowed |= {"db.local", "db.local.maintenance", "db.postgres"}
    for name in imported_modules(path) & MODULES if allowed else ():
        beside = name.rpartition(".")[0]
        if name.split(".")[0] == folder.split(".")[0]:
            assert {name, beside} & allowed, f"{path} imports {name}"


def test_every_folder_of_sources_is_a_package():
    """Else `python -m` and setuptools would see some of it only, and a stranger's package of that name would win."""
    for path in SOURCES:
        assert (path.parent / "__init__.py").is_file(), path.parent


def test_only_one_file_imports_faiss_and_db_knows_no_torch():
    importers = {path.relative_to(ROOT).as_posix() for path in SOURCES if "faiss" in imported_modules(path)}
    assert importers == {"db/local/vectors/faiss_index.py"}
    for path in (ROOT / "db").rglob("*.py"):
        assert not any(name.split(".")[0] in ("torch", "torchvision") for name in imported_modules(path)), path


def test_building_and_searching_know_nothing_of_the_folder_behind_a_collection():
    """But for the commands that keep a folder in order."""
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in ("commands", "indexer", "search")
        and any(name.startswith("db.local") for name in imported_modules(path))
    }
    commands = {f"indexer/cli/{name}.py" for name in ("build", "verify", "compact", "rebuild")}
    others = {"indexer/redescription.py", "indexer/disk_check.py", "indexer/output.py"}
    assert importers <= commands | others


def test_commands_know_click_the_errors_and_where_a_collection_is_only():
    for path in (ROOT / "commands").rglob("*.py"):
        ours = {name for name in imported_modules(path) & MODULES if not name.startswith("commands")}
        assert all(name.endswith(".errors") for name in ours - {"db.location"}), path
        others = {name.split(".")[0] for name in imported_modules(path)} - sys.stdlib_module_names
        assert others <= {*PACKAGES, "click"}, path


def test_decoding_knows_pillow_and_numpy_only():
    for path in (ROOT / "decoding").rglob("*.py"):
        others = {name.split(".")[0] for name in imported_modules(path)} - sys.stdlib_module_names
        assert others <= {"decoding", "PIL", "rawpy", "numpy"}, path


def test_nothing_loads_pickles():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bimport pickle\b|allow_pickle=True", text), path
        # Tensors alone, by torch's own reader of them: what would run code is refused.
        assert text.count("torch.load(") == len(re.findall(r"torch\.load\([^()]*\bweights_only=True\)", text)), path


@pytest.mark.parametrize("package", ["indexer", "search"])
def test_help_is_quick_to_load(package):
    code = (
        f"import sys, {package}.cli\n"
        "heavy = {'torch', 'faiss', 'sqlalchemy', 'h5py', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_file_map_has_every_file():
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    mapped, folder = set(), ""
    table = document.partition("## Where things are")[2].partition("\n## ")[0]
    for line in re.findall(r"^\|.*", table, flags=re.MULTILINE):
        if heading := re.match(r"\| \*\*([\w/]+)/\*\* \|", line):
            folder = heading[1]
        mapped |= {f"{folder}/{name}" for name in re.findall(r"`(\w+\.py)`", line.split(" | ")[0])}
    files = {path.relative_to(ROOT).as_posix() for path in SOURCES if not path.name.startswith("__")}
    assert mapped == {name for name in files if not name.endswith("/errors.py")}


DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("fcln/**/*.md")] if path.is_file()
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_link_to_what_there_is(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            linked = path.parent / file if file else path
            assert linked.exists(), target
            if heading:
                headings = re.findall(r"^#+ (.*)", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert heading in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_documents_name_programs_that_there_are(path):
    """CHANGELOG.md may tell of older ones."""
    named = re.findall(r"\bscripts(?:\.\w+)+", path.read_text(encoding="utf-8"))
    assert set(named) <= MODULES


def written_commands() -> dict[str, set[str]]:
    """Of every console block: `scripts.evaluate.words`, `search query`, ... -> the options that it is called with."""
    found: dict[str, set[str]] = {}
    for path in DOCUMENTS:
        blocks = re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in re.sub(r"\\\n", " ", "\n".join(blocks)).splitlines():
            line = line.partition("#")[0].partition(" | ")[0]
            if program := re.search(r"python -m (scripts\S+)|\b((?:search|indexer) [a-z]+)", line):
                options = re.findall(r"(?<=\s)(-[a-zA-Z0-9]|--[a-z0-9-]+)(?=\s|$)", line)
                found.setdefault(program[1] or program[2], set()).update(options)
    return found


@pytest.mark.parametrize(("program", "options"), written_commands().items())
def test_commands_in_documents_have_options_that_there_are(program, options):
    modules = {"scripts.train": "scripts.train.train", "scripts.torture": "scripts.torture.__main__"}
    if program.startswith("scripts"):
        command = importlib.import_module(modules.get(program, program)).main
    else:
        package, name = program.split()
        cli = importlib.import_module(f"{package}.cli")
        command = (cli.commands if package == "search" else cli.main).commands[name]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    assert options - {"-m"} <= known


@pytest.mark.parametrize("package", ["indexer", "search"])
def test_the_documents_name_every_command(package):
    documented = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    help_text = subprocess.run(
        [sys.executable, "-m", package, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = re.findall(r"^  (\w+) ", help_text.split("Commands:")[1], flags=re.MULTILINE)
    assert commands
    for command in commands:
        assert f"{package} {command}" in documented


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.py")), ids=module_name)
def test_every_program_says_how_to_call_it(path):
    text = path.read_text(encoding="utf-8")
    if 'if __name__ == "__main__"' in text or path.name == "__main__.py":
        assert f"python -m {module_name(path).removesuffix('.__main__')}" in (ast.get_docstring(ast.parse(text)) or "")


def test_version_and_changelog_agree():
    version = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert version and f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_packages_are_named_one_by_one():
    named = setup_argument("packages")
    assert sorted(named) == sorted(name for name in MODULES if is_installed(name) and package_folder(name).is_dir())
    assert {name.split(".")[0] for name in named} == set(PACKAGES)


def test_a_cpu_only_install_has_the_same_packages():
    def name(requirement: str) -> str:
        return re.split(r"[<>=;]", requirement)[0]

    required = {line.split(";")[0].strip() for line in setup_argument("install_requires")}
    lines = (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if not line.startswith(("#", "--"))}
    assert listed == {line for line in required if name(line) != "faiss-gpu"}


def test_the_files_beside_the_modules_are_installed():
    installed = {
        path
        for package, patterns in setup_argument("package_data").items()
        for pattern in patterns
        for path in package_folder(package).glob(pattern)
    }
    beside = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    beside = {path for path in beside if path.suffix != ".py" and path.parent.name != "__pycache__"}
    assert beside and beside <= installed


def test_mypy_reads_every_package():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(config["tool"]["mypy"]["packages"]) == sorted(ALLOWED)


def setup_argument(name: str) -> Any:
    """What setup.py gives `setup` under this name."""
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(keyword.value)
        for node in ast.walk(setup)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == name
    )


def is_installed(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def package_folder(module: str) -> Path:
    return ROOT.joinpath(*module.split("."))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_of_the_users_is_not_taken_for_a_package(tmp_path, package):
    """The names are words that folders have too, and `python -m` looks at the working folder first (see setup.py)."""
    (tmp_path / package).mkdir()
    run = [sys.executable, "-c", f"import {package}; assert {package}.__file__"]
    result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, f"`make setup` again: {result.stderr}"


PROGRAMS = [
    module_name(path)
    for path in sorted((ROOT / "scripts").rglob("*.py"))
    if "@click.command(help=__doc__)" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_of_a_program_keeps_its_lines(program):
    """click fills paragraphs, unless they begin with a line of \\b: commands would run into each other."""
    module = importlib.import_module(program)
    shown = module.main.get_help(click.Context(module.main, info_name=program)).splitlines()
    written = [line for line in (module.__doc__ or "").splitlines() if line.startswith("    ")]
    assert {line.strip() for line in written} <= {line.strip() for line in shown}


def test_the_order_of_imports_in_db_is_as_documented():
    """docs/architecture.md draws the modules of db in lines, each of which imports only from those above it."""
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = document.partition("Inside `db`, a module imports only")[2].split("```")[1]
    line_of: dict[str, int] = {}
    for number, line in enumerate(drawing.splitlines()):
        for folder, several, alone in re.findall(r"([\w/]*)\{([\w, ]+)\}|([\w/]+)", line):
            names = [folder + name for name in several.split(", ")] if several else [alone]
            line_of |= {f"db.{name.replace('/', '.')}": number for name in names}
    modules = {
        module_name(path): path
        for path in (ROOT / "db").rglob("*.py")
        if path.name != "__init__.py" and "postgres" not in path.parts
    }
    assert line_of.keys() == modules.keys()
    when_called = ("db.model_switch", "db.local.maintenance.model_switch")
    for name, path in modules.items():
        for imported in (imported_modules(path) & modules.keys()) - {name}:
            assert (name, imported) == when_called or line_of[imported] < line_of[name], f"{name} imports {imported}"
