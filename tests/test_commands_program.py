"""A command line as a process: its standard streams, its end."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

import indexer.__main__
from commands import program

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


@pytest.mark.parametrize("name", ["search", "indexer"])
def test_interrupted_while_it_is_loaded_it_ends_without_a_traceback(name):
    code = f"""
import sys
class Interrupt:
    def find_spec(self, module, *_):
        if module == "{name}.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from {name}.__main__ import run
run()
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, text=True, timeout=300, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(("said", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_environment_says_otherwise(said, expected, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if said:
        monkeypatch.setenv("OMP_WAIT_POLICY", said)
    ended = run("import os\ndef main(): print(os.environ['OMP_WAIT_POLICY'])", capture_output=True)
    assert (ended.returncode, ended.stdout) == (0, expected + "\n")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not the C library of GNU")
@pytest.mark.parametrize(("said", "expected"), [("program.share_one_heap()", True), ("pass", False)])
def test_threads_share_one_heap(said, expected, monkeypatch):
    """Each heap keeps what its busiest moment took."""
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    code = f"""
import ctypes, sys, threading
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
{said}
def main():
    together = threading.Barrier(4)
    def work():
        libc.free(ctypes.c_void_p(malloc(50_000)))
        together.wait()
    malloc = libc.malloc
    malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads: each.start()
    for each in threads: each.join()
    stream = ctypes.c_void_p(libc.fdopen(1, b"w"))
    libc.malloc_info(0, stream)
    libc.fflush(stream)
"""
    ended = run(code, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert (ended.stdout.count("<heap nr=") == 1) == expected


def test_a_build_shares_one_heap(monkeypatch):
    done = []
    monkeypatch.setattr(program, "share_one_heap", lambda: done.append("heap"))
    monkeypatch.setattr(program, "run", lambda main: done.append("run"))
    indexer.__main__.run()
    assert done == ["heap", "run"]


def test_neither_command_loads_torch_before_that():
    """Libraries read it once, when they are loaded."""
    code = "import sys, search.__main__, indexer.__main__\nprint({'torch', 'faiss', 'numpy'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, text=True, timeout=300, capture_output=True)
    assert (ended.returncode, ended.stdout) == (0, "set()\n")


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


def test_threads_of_scripts_sleep_too(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = "import sys, os, scripts.train.train; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, text=True, capture_output=True)
    assert ended.stdout == "True PASSIVE\n", ended.stderr
