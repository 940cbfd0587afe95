"""Instructions that are hidden: a program on copies of its libraries sees a processor with AVX2 and nothing newer."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benchmark import avx2
from scripts.evaluate.errors import EvaluationError

needs_tools = pytest.mark.skipif(
    platform.system() != "Linux"
    or platform.machine() != "x86_64"
    or not all(shutil.which(tool) for tool in ("cc", "objdump")),
    reason="needs Linux on x86-64, a C compiler and objdump",
)
_FEATURES = """
import json, numpy, sys
found = numpy._core._multiarray_umath
print(json.dumps([found.__file__, [name for name, has in found.__cpu_features__.items() if has]]))
sys.exit(3)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmark.avx2", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@needs_tools
def test_numpy_sees_no_avx512_and_the_exit_code_is_the_programs(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    for _ in range(2):  # made; and kept
        done = run("--copies", str(copies), "--package", "numpy", "-c", _FEATURES)
        assert done.returncode == 3, done.stderr
        library, features = json.loads(done.stdout)
        assert Path(library).is_relative_to(copies)
        assert not [name for name in features if name.startswith("AVX512")]
        assert ("AVX2" in features) == ("avx2" in Path("/proc/cpuinfo").read_text())
    assert os.listdir(tmp_path) == ["copies"]


@needs_tools
def test_bytes_that_look_like_the_instruction_stay(tmp_path: Path) -> None:
    # mov eax, 0xa20f holds its two bytes; the function after it is the instruction itself, and answers by its leaf.
    source = tmp_path / "both.c"
    source.write_text(
        "#include <cpuid.h>\n"
        "int looks(void) { int found; __asm__ volatile(\"mov $0xa20f, %0\" : \"=r\"(found)); return found; }\n"
        "int asks(int leaf) { int a, b, c, d; __cpuid_count(leaf, 0, a, b, c, d); return b; }\n"
    )  # fmt: skip
    library = tmp_path / "both.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert library.read_bytes().count(b"\x0f\xa2") == 2
    (copies := tmp_path / "copies").mkdir()
    link = copies / "both.so"
    link.symlink_to(library)
    assert avx2.hide_in(link) == 1
    assert library.read_bytes().count(b"\x0f\xa2") == 2
    assert not link.is_symlink()
    assert link.read_bytes().count(b"\x0f\xa2") == 1
    ask = f"import ctypes; both = ctypes.CDLL({str(link)!r}); print(both.looks(), both.asks(7) >> 16 & 1)"
    done = run("--copies", str(tmp_path / "packages"), "--package", "none", "-c", ask)
    assert done.stdout.split() == ["41487", "0"], done.stderr
    alone = subprocess.run([sys.executable, "-c", ask.replace(".asks(7) >> 16 & 1", ".looks()")], capture_output=True)
    assert alone.returncode == 0


@needs_tools
def test_a_breakpoint_of_somebody_else_ends_the_program(tmp_path: Path) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGTRAP)"
    done = run("--copies", str(tmp_path / "packages"), "--package", "none", "-c", program)
    assert done.returncode != 0


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(EvaluationError, match="Linux"):
        avx2.copy_libraries(tmp_path / "copies", ("numpy",))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(EvaluationError, match="apt install gcc binutils"):
        avx2.copy_libraries(tmp_path / "copies", ("numpy",))
    assert not list(tmp_path.iterdir())
