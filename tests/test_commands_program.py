"""A command line as a process: its standard streams, its end."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


def run(code: str, **streams) -> subprocess.CompletedProcess[str]:
    program = f"from commands import program\n{code}\nprogram.run(main)"
    return subprocess.run([sys.executable, "-c", program], cwd=PROJECT, text=True, timeout=300, **streams)


def test_interrupted_it_ends_at_once_and_what_it_said_is_out():
    # A thread that never ends: a batch in the network.
    code = """
import sys, threading
def main():
    threading.Thread(target=threading.Event().wait).start()
    sys.stdout.write("12 new")
    sys.exit(130)
"""
    ended = run(code, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "12 new", "")


@pytest.mark.parametrize(("end", "code"), [("sys.exit(2)", 2), ("sys.exit()", 0), ("pass", 0), ("1 / 0", 1)])
def test_other_ends_are_orderly(end, code):
    ended = run(f"import sys, atexit\natexit.register(print, 'bye')\ndef main(): {end}", capture_output=True)
    assert (ended.returncode, ended.stdout) == (code, "bye\n")


def test_closed_streams_are_no_error():
    code = """
import os, sys
os.close(1); os.close(2)
sys.stdout = sys.stderr = None
def main():
    print("lost")
    print("lost", file=sys.stderr)
"""
    assert run(code).returncode == 0
