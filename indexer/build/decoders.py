"""Photographs decoded in processes of their own: a file that crashes or hangs its decoder costs that file, not the run.

The libraries behind Pillow are C, and the files come from strangers. A decoding process (decode_worker.py) knows
neither torch nor the collection, takes 0.2 s to start, and sends a photograph of 500x375 pixels back in under 1 ms.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from decoding.errors import PhotoError
from decoding.headers import Headers
from decoding.photos import DECODE_MEMORY, Photograph
from indexer.errors import DecoderError

# For one photograph. The largest that are accepted take 10 s on a slow core; the rest is for a computer that is busy.
DECODE_SECONDS = 60.0

WORKER = (sys.executable, "-m", "indexer.build.decode_worker")

_IMPORT_FROM = Path(__file__).parents[2]  # the folder that has `indexer` and `decoding` in it
_END_SECONDS = 1.0  # that a process may take to die
_PIPE_SIZE = 1 << 20  # bytes; a small photograph goes through in one piece


class Decoders:
    """Decodes photographs for any number of threads, one process for each of them, within one bound of memory.

    Processes start when they are needed, and again after they have died. Use it as a context manager.
    """

    def __init__(self, *, seconds: float = DECODE_SECONDS, memory: int = DECODE_MEMORY):
        """
        Args:
            seconds: what one photograph may take.
            memory: bytes that all photographs being decoded at one moment may take together, or one alone.
        """
        self._seconds = seconds
        self._memory = _Memory(memory)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, also those at work: a thread that waits for one gets a PhotoError."""
        with self._lock:
            self._closed = True
            workers = [*self._idle, *self._busy]
        for worker in workers:  # all at once
            worker.kill()
        for worker in workers:
            worker.end()

    def decode(self, path: Path) -> Photograph:
        """The photograph in a file.

        Raises:
            PhotoError: with the reason, if it holds none that can be used, or if decoding it crashes or hangs.
            OSError: the file cannot be read.
            DecoderError: decoding processes do not start.
        """
        try:
            return self._decode(path)
        except _WorkerDied:
            # Perhaps it was not the file: the system ends processes when memory runs out or a service is stopped. Those
            # that had nothing to do too: the second try is in a new one.
            try:
                return self._decode(path, anew=True)
            except _WorkerDied as death:
                raise death.verdict from None

    def headers(self, path: Path) -> Headers:
        """What the headers of a photograph tell, without its pixels.

        Raises:
            PhotoError, OSError, DecoderError: as `decode`.
        """
        try:
            return self._headers(path)
        except _WorkerDied:
            try:
                return self._headers(path, anew=True)
            except _WorkerDied as death:
                raise death.verdict from None

    def _headers(self, path: Path, *, anew: bool = False) -> Headers:
        with self._worker(anew) as worker:
            answer, _ = worker.ask([str(path)])
        return _as_headers(answer["headers"])

    def _decode(self, path: Path, *, anew: bool = False) -> Photograph:
        with self._worker(anew) as worker:
            answer, _ = worker.ask(str(path))
            with self._memory.take(answer["memory"]):
                answer, pixels = worker.ask(None)
        image = Image.frombytes("RGB", answer["size"], pixels)
        return Photograph(
            image=image,
            width=answer["width"],
            height=answer["height"],
            scale=answer["scale"],
            origin=tuple(answer["origin"]),
            incomplete=answer["incomplete"],
            headers=_as_headers(answer["headers"]),
        )

    @contextmanager
    def _worker(self, anew: bool) -> Iterator["_Worker"]:
        """A process for one photograph; another photograph gets it afterwards, unless it died. anew: a new process."""
        with self._lock:
            if self._closed:
                raise PhotoError("the decoders were closed")
            worker = self._idle.pop() if self._idle and not anew else _Worker(self._seconds, self._memory.total)
            self._busy.add(worker)
        try:
            yield worker
        finally:
            with self._lock:
                self._busy.remove(worker)
                keep = worker.usable and not self._closed
                if keep:
                    self._idle.append(worker)
            if not keep:
                worker.end()


def _as_headers(answer: dict[str, Any]) -> Headers:
    return Headers(**{**answer, "keywords": tuple(answer["keywords"])})


class _WorkerDied(Exception):
    """A decoding process ended before it gave an answer. Never leaves this module."""

    def __init__(self, verdict: DecoderError | PhotoError):
        """verdict: what to say if it happens again."""
        self.verdict = verdict


class _Worker:
    """A decoding process and the pipes to it."""

    def __init__(self, seconds: float, memory_limit: int):
        self._seconds = seconds
        try:
            self._process = subprocess.Popen(
                [*WORKER, str(seconds), str(memory_limit)],
                cwd=_IMPORT_FROM,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pipesize=_PIPE_SIZE,
                start_new_session=True,  # Ctrl-C is for the build, which decides what is still to be decoded
            )
        except OSError as error:  # of the system (no memory, too many processes), not of a photograph
            raise DecoderError(f"{' '.join(WORKER)} does not start ({error.strerror or error})") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self._ready = False
        self.usable = True  # no question waits for its answer

    def ask(self, question: str | list[str] | None) -> tuple[dict[str, Any], bytes]:
        """An answer and the pixels that come with it.

        Raises:
            PhotoError, OSError: as `Decoders.decode`.
            _WorkerDied: there is no answer.
        """
        self.usable = False
        if not self._ready:
            if self._answers.readline() != b"ready\n":
                command = " ".join(WORKER)
                raise _WorkerDied(DecoderError(f"{command} does not start ({self._end_of_process()})"))
            self._ready = True
        started = time.monotonic()
        try:
            self._questions.write(json.dumps(question).encode() + b"\n")
            self._questions.flush()
            answer = json.loads(self._answers.readline())
            pixels = self._answers.read(answer["pixels"])
        except (OSError, ValueError):  # a broken pipe, or half a line
            answer, pixels = {"pixels": None}, b""
        if len(pixels) != answer["pixels"]:
            if time.monotonic() - started >= self._seconds:
                raise PhotoError(f"decoding it takes longer than {self._seconds:g} seconds")
            raise _WorkerDied(PhotoError(f"the decoder crashed on it ({self._end_of_process()})"))
        self.usable = True
        if "refused" in answer:
            raise PhotoError(answer["refused"])
        if "errno" in answer:
            raise OSError(answer["errno"], answer["error"])
        return answer, pixels

    def kill(self) -> None:
        """Whatever it is doing."""
        self._process.kill()

    def end(self) -> None:
        """The same, and forget it."""
        self.kill()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # the system does not let go of it before the disk has answered
            return
        for pipe in (self._questions, self._answers):
            with suppress(OSError):  # what was not sent is of no use any more
                pipe.close()

    def _end_of_process(self) -> str:
        self._process.kill()  # it may have closed its pipes and go on
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class _Memory:
    """A semaphore over bytes."""

    def __init__(self, total: int):
        self.total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()
