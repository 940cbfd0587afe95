"""The help of every command, and what shells complete."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from indexer.cli import main as indexer
from search.cli import commands as search

ROOT = Path(__file__).parent.parent
PROGRAMS = {"indexer": indexer, "search": search}
COMMANDS = [("indexer",), ("search",), *((name, each) for name, group in PROGRAMS.items() for each in group.commands)]


def help_of(program, *names):
    command = PROGRAMS[program]
    for name in names:
        command = command.commands[name]
    return command.get_help(click.Context(command, info_name=" ".join([program, *names])))


def examples(text):
    """The command lines of the section."""
    section = re.search(r"\n  Examples:\n((?:    .*\n)+)", text)
    assert section, text
    return [
        re.sub(r"   .*", "", line.strip()) for line in section[1].splitlines()
    ]  # what stands behind says what it does


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_help_has_examples_that_parse(names):
    found = examples(help_of(*names))
    assert any(line.startswith(" ".join(names)) for line in found)
    for line in found:
        if not line.startswith(tuple(PROGRAMS)):
            assert line.startswith("{"), line  # a line of a file
            continue
        words = shlex.split(re.split(r" [|>] ", line)[0])
        assert_parses(PROGRAMS[words[0]], words)


def assert_parses(group, words):
    """As far as click goes: the command, its options and the kinds of their values."""
    try:
        with group.make_context(words[0], words[1:]) as context:
            name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
            with command.make_context(name, list(rest), parent=context):
                pass
    except click.exceptions.Exit as ended:  # --help, --version
        assert ended.exit_code == 0


def test_an_example_with_a_mistake_would_be_noticed():
    for words in (["search", "query", "a dog", "--no-such"], ["search", "query", "a dog", "-k", "x"]):
        with pytest.raises(click.UsageError):
            assert_parses(search, words)


def test_a_question_needs_no_command():
    assert_parses(search, ["search", "dog on couch"])


def complete(program, line, shell="bash", folder=None):
    """What a shell is offered at the end of a line."""
    environment = {**os.environ, f"_{program.upper()}_COMPLETE": f"{shell}_complete", "PYTHONPATH": str(ROOT)}
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    environment |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    run = subprocess.run(
        [sys.executable, "-m", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder or ROOT,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return [entry.partition(",")[2] for entry in run.stdout.splitlines()]


def test_shells_complete_commands_and_options():
    assert set(search.commands) <= set(complete("search", "search "))
    assert complete("search", "search des") == ["describe"]
    assert {"--html", "--copy", "--json"} <= set(complete("search", "search query --"))
    assert "--draw" in complete("search", "search 'dog on couch' --dr")  # a question without its command
    assert complete("search", "search query x --scoring em") == ["embedding"]
    assert set(complete("indexer", "indexer re")) == {"rebuild", "relocate", "remove"}
    assert "visual-genome" in complete("indexer", "indexer export --format ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_line_of_the_documents_sets_a_shell_up(shell, program):
    commands = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert f"_{program.upper()}_COMPLETE={shell}_source {program}" in commands
    variable = {f"_{program.upper()}_COMPLETE": f"{shell}_source", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", program], env={**os.environ, **variable}, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0
    assert f"_{program.upper()}_COMPLETE={shell}_complete" in run.stdout
    if shutil.which(shell):
        check = subprocess.run([shell, "-n"], input=run.stdout, capture_output=True, text=True)
        assert (check.returncode, check.stderr) == (0, "")
