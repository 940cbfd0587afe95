"""`serve`: listen, say where, and answer until Ctrl-C."""

import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from urllib.parse import quote

import uvicorn

from search.page.app import Settings, create_app
from search.page.errors import ServeError
from search.page.guard import is_loopback

# Requests at one moment; more are answered with 503. A browser sends a few dozen.
MAX_REQUESTS = 1000


def serve(settings: Settings, *, port: int, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serve until the process is interrupted.

    port: 0 for any that is free. say: is told where the page is, once it can be opened.

    Raises ServeError if the address cannot be listened at.
    """
    listening = listen(settings.host, port)
    address = page_address(settings, listening.getsockname()[1])
    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_REQUESTS,
        h11_max_incomplete_event_size=32_768,
        timeout_graceful_shutdown=2,
        lifespan="on",
    )
    server = _Server(config, lambda: _started(address, open_browser, say))
    with listening:
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]):
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()


def _started(address: str, open_browser: bool, say: Callable[[str], None]) -> None:
    say(address)
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises ServeError, which says how to take another.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServeError(f"{host} is no address of this computer ({error.strerror}): leave --host away.") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise ServeError(
            f"{host}:{port} cannot be listened at ({error.strerror}): `search serve --port 0` takes one that is free."
        ) from error
    return listening


def page_address(settings: Settings, port: int) -> str:
    """Where to open the page; with the token, where one is needed."""
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    elif ":" in host:
        host = f"[{host}]"
    token = f"?token={quote(settings.token, safe='')}" if settings.token else ""
    return f"http://{host}:{port}/{token}"


def check_settings(settings: Settings) -> None:
    """Raise ServeError where everybody in the network could look at the photographs."""
    if not is_loopback(settings.host) and not settings.token:
        raise ServeError(
            f"At {settings.host} others could reach the page, so they have to know a word: "
            f"`search serve --host {settings.host} --token {secrets.token_urlsafe(12)}`."
        )
    if settings.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", settings.token):
        raise ServeError("A token has at least 8 letters and digits (and . _ ~ -): --token correct-horse-42.")
