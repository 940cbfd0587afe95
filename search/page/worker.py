"""`Worker`: a helper process that is started when it is needed, and again after it died; one question at a time.

Pixels of strangers are decoded in such processes, and the network, which needs torch, lives in one: a file that crashes
or holds up its decoder costs one answer, and the server itself stays small.
"""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.page.errors import WorkerError
from search.page.messages import read_message, write_message

_IMPORT_FROM = Path(__file__).parents[2]  # the folder that has `search` in it


class Worker:
    """A process `python -m MODULE`, which answers messages on its stdin with messages on its stdout.

    Several threads may ask; they wait for each other.
    """

    def __init__(self, module: str, *arguments: str, seconds: float, idle_seconds: float | None = None):
        """seconds: what an answer may take. idle_seconds: unused for so long, the process ends; None: it stays."""
        self._command = (sys.executable, "-m", module, *arguments)
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._starting = threading.Lock()  # of a process, which `close` must not miss
        self._is_closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._retirement: threading.Timer | None = None
        self._last_asked = 0.0

    @property
    def process_id(self) -> int | None:
        """Of the process, if there is one now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(self, fields: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """The answer to a message.

        Raises WorkerError if the process dies of the question, or takes too long, or the worker is closed.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            started = time.monotonic()
            alarm = threading.Timer(self._seconds, process.kill)
            alarm.daemon = True
            alarm.start()
            try:
                write_message(process.stdin, fields, payload)  # type: ignore[arg-type]
                answer = read_message(process.stdout)  # type: ignore[arg-type]
            except (OSError, ValueError, KeyError, TypeError):  # a broken pipe, or what is no message
                answer = None
            finally:
                alarm.cancel()
                self._last_asked = time.monotonic()
            if answer is None:
                self._end()
                if time.monotonic() - started >= self._seconds:
                    raise WorkerError(f"It takes longer than {self._seconds:g} seconds.")
                raise WorkerError("The program that looked at it crashed.")
            self._retire_later()
            return answer

    def close(self) -> None:
        """End the process, whatever it is doing. No other is started."""
        with self._starting:
            self._is_closed = True
            process = self._process
        if process is not None:
            process.kill()  # the thread that waits for it lets go of the lock
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            with self._starting:
                if self._is_closed:
                    raise WorkerError("The server is being closed.")
                self._process = subprocess.Popen(
                    self._command,
                    cwd=_IMPORT_FROM,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for the server
                )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def _retire_later(self) -> None:
        if self._idle_seconds is not None:
            if self._retirement is not None:
                self._retirement.cancel()
            self._retirement = threading.Timer(self._idle_seconds, self._retire)
            self._retirement.daemon = True
            self._retirement.start()

    def _retire(self) -> None:
        assert self._idle_seconds is not None
        with self._lock:
            if time.monotonic() - self._last_asked >= self._idle_seconds:
                self._end()


class WorkerPool:
    """As many workers as may be at work at one time."""

    def __init__(self, count: int, module: str, *, seconds: float):
        self._workers = [Worker(module, seconds=seconds) for _ in range(count)]
        self._idle = list(self._workers)
        self._changed = threading.Condition()

    def ask(self, fields: dict[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """As `Worker.ask`, by the first that is free."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle)
            worker = self._idle.pop()
        try:
            return worker.ask(fields, payload)
        finally:
            with self._changed:
                self._idle.append(worker)
                self._changed.notify()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
