"""Runs a Python program as an ordinary computer would, whose processor has AVX2 and nothing newer.

\b
    python -m scripts.benchmark.avx2 -m scripts.benchmark.peers --count 128 --rounds 3
    python -m scripts.benchmark.avx2 --copies runs/avx2 -m scripts.evaluate.precision --photos PHOTOS

Some libraries can be told by environment variables which instructions to use, ONNX Runtime and OpenVINO cannot. All of
them ask the processor, by the instruction CPUID. So the program runs on copies of the libraries in which each CPUID is
a breakpoint, and a handler of breakpoints answers as the processor does, without AVX-512, VNNI and AMX. (A kernel can
make CPUID itself fail, but only on some processors.) What a library computes with AVX2 then takes as long as the
processor takes for it; clock and caches remain this computer's.

Reading the libraries takes some minutes; --copies keeps them (0.6 GB) for the next run. Needs Linux on x86-64, a C
compiler and objdump (`apt install gcc binutils`).
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from scripts.evaluate.command import errors_as_sentences
from scripts.evaluate.errors import EvaluationError

PACKAGES = ("torch", "onnxruntime", "openvino", "numpy", "faiss")
_CPUID, _BREAKPOINT = b"\x0f\xa2", b"\xcc\x90"  # the latter with an instruction that does nothing after it
_HANDLER = Path(__file__).with_name("hide_instructions.c")
# What is left, asks with CPUIDs of its own.
_OF_THE_C_LIBRARY = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW"


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--copies", type=click.Path(file_okay=False, path_type=Path), help="Keep the libraries' copies there.")
@click.option("--package", "packages", multiple=True, default=PACKAGES, show_default=True, help="To copy.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def main(copies: Path | None, packages: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    with errors_as_sentences(), TemporaryDirectory(prefix="densecap-avx2-") as temporary:
        folder = (copies or Path(temporary) / "copies").absolute()
        if not folder.exists():
            copy_libraries(folder, packages)
        done = subprocess.run([sys.executable, *arguments], env=environment(folder))
    sys.exit(done.returncode)


def environment(copies: Path) -> dict[str, str]:
    """Variables of a program that uses the copies; of `copy_libraries`."""
    path = [str(copies / "packages"), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "LD_PRELOAD": str(copies / "hide_instructions.so"),
        "GLIBC_TUNABLES": _OF_THE_C_LIBRARY,
    }


def copy_libraries(folder: Path, packages: tuple[str, ...]) -> None:
    """All installed packages as links, those named with libraries of their own whose CPUIDs are breakpoints.

    folder: is not there yet. Raises EvaluationError where this computer lacks what that takes.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise EvaluationError("Instructions can be hidden on Linux on x86-64 only; here, measure without avx2.")
    if missing := [tool for tool in ("cc", "objdump") if shutil.which(tool) is None]:
        raise EvaluationError(f"{' and '.join(missing)} not found. Install them: apt install gcc binutils")
    making = folder.with_name(folder.name + ".making")  # a folder of that name is complete
    shutil.rmtree(making, ignore_errors=True)
    (making / "packages").mkdir(parents=True)
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", making / "hide_instructions.so", _HANDLER], check=True)
    # Libraries find others by the folder beside theirs.
    of_packages = re.compile(rf"({'|'.join(packages)})|({'|'.join(packages)})[a-z_]*\.libs")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        here = making / "packages" / entry.name
        if of_packages.fullmatch(entry.name) and entry.is_dir():
            shutil.copytree(entry, here, copy_function=os.symlink)
            for library in here.rglob("*.so*"):
                hide_in(library)
        else:
            here.symlink_to(entry)
    making.rename(folder)


def hide_in(library: Path) -> int:
    """Put a copy with breakpoints in the place of a link to a library that asks by CPUID; returns how many it has."""
    code = library.read_bytes()
    if _CPUID not in code or not code.startswith(b"\x7fELF"):
        return 0
    places = cpuids(library)
    if places:
        changed = bytearray(code)
        for place in places:
            assert changed[place : place + 2] == _CPUID
            changed[place : place + 2] = _BREAKPOINT
        library.unlink()
        library.write_bytes(changed)
    return len(places)


def cpuids(library: Path) -> list[int]:
    """Offsets in the file of its CPUID instructions, which are two bytes that other instructions hold by chance."""
    sections = []  # address, offset in the file, size
    for line in _lines(["objdump", "--section-headers", "--wide", str(library)]):
        if match := re.match(r"\s*\d+ \.\S+\s+(\w+)\s+(\w+)\s+\w+\s+(\w+)", line):
            size, address, offset = (int(each, 16) for each in match.groups())
            sections.append((address, offset, size))
    found = []
    for line in _lines(["objdump", "--disassemble", "--no-show-raw-insn", str(library)]):
        if line.endswith("\tcpuid"):
            at = int(line.partition(":")[0], 16)
            found += [at - address + offset for address, offset, size in sections if address <= at < address + size]
    return found


def _lines(command: list[str]) -> Iterator[str]:  # gigabytes of them: not all at once
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip()
    if process.returncode:
        raise EvaluationError(f"{' '.join(command)} failed.")


if __name__ == "__main__":
    main()
