"""Who may ask, and what a browser may do with the answers: middleware around everything that is served.

Any page that a person opens may send requests to a server on the same computer. So a request is answered only if it
names this server by a name that is its own (else a page could have its domain point here: DNS rebinding), if it does
not come from another page, and, where the network can reach the server, if it brings the token.
"""

import hmac
import ipaddress
import json
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# More than 16 phrases as people write them.
MAX_QUERY_BYTES = 8_000

_COOKIE = "densecap-search"

_CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",  # `no-referrer` would have the page's own forms come from "null"
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_NO_TOKEN = "This needs the token: open the link that `search serve` printed, or send `Authorization: Bearer TOKEN`."


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, host: str, token: str | None = None):
        """host: the address that the server listens at. token: what every request has to bring; None: nothing."""
        self._app = app
        self._host = host
        self._token = token
        self._own_names = own_names(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets here
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if refusal := self._refusal(scope, headers):
            await _answer(send_guarded, *refusal)
        elif self._token is not None and (given := dict(_query(scope)).get("token")) is not None:
            await self._sign_in(scope, given, send_guarded)
        elif self._token is not None and not self._knows(headers, self._token):
            await _answer(send_guarded, 401, _NO_TOKEN)
        else:
            await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return 421, f"This server is not {host[:100] or 'nameless'}: open the address that `search serve` printed."
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "Other pages may not ask this server."
        # What a foreign page embeds (an image, a script) has no Origin. A link to a page of ours may stand anywhere.
        is_page = headers.get("sec-fetch-mode") == "navigate" and not scope["path"].startswith("/api/")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_page:
            return 403, "Other pages may not ask this server."
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            return 414, f"The question is too long: at most {MAX_QUERY_BYTES:,} bytes."
        return None

    def _is_own(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._own_names:
            return True
        if self._token is None:
            return False
        # A client that reaches this server by another number of its own: the token decides, and no name leads here.
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _knows(self, headers: Headers, token: str) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            cookie = None
        return _same(given, token) or (cookie is not None and _same(cookie.value, token))

    async def _sign_in(self, scope: Scope, given: str, send: Send) -> None:
        """Keep the token in a cookie, so that no address shows it any more."""
        assert self._token is not None
        if not _same(given, self._token):
            await _answer(send, 401, "The token is another one: open the link that `search serve` printed.")
            return
        rest = urlencode([(name, value) for name, value in _query(scope) if name != "token"])
        cookie = f"{_COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"
        # One leading slash: "//elsewhere" would be another server.
        target = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
        await _answer(send, 303, "", {"location": target, "set-cookie": cookie})


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_names(host: str) -> set[str]:
    """The names, without a port, by which requests may ask for a server that listens at this address."""
    if is_loopback(host):
        return {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
    names: Iterable[str] = (host, socket.gethostname(), f"{socket.gethostname()}.local", "localhost")
    return {name.lower() for name in names}


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode("utf-8"))


async def _answer(send: Send, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": sentence}).encode() if sentence else b""
    fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
