"""What a dashboard behind a proxy needs, which may change host and path of what a browser asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import click

from autotune.config import is_allowed

TOLD = 20  # refused pages that are told of: each once
POLICY_VIOLATION = 1008  # of WebSockets; before the handshake it is answered with 403


class Origins:
    """Answers WebSockets that pages of known hosts open, and refuses those of any other page.

    Behind a proxy, the host that a browser names in ``Origin`` is not the one in ``Host``, which is
    the proxy's to choose. Streamlit would look up this machine's address on the internet to decide.

    Args:
        app: The application.
        hosts: Names and addresses, ``*.`` before a domain for all below it, ``*`` for any.
    """

    def __init__(self, app: Callable[..., Any], hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, hosts
        self._told: set[str] = set()

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[..., Any],
        send: Callable[..., Any],
    ) -> None:
        """Answer as the application does, or refuse."""
        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin", b"").decode("latin-1")
        if scope["type"] == "websocket" and origin:
            if not is_allowed(origin, self.hosts):
                self._tell(origin)
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                return
            # Streamlit compares the two as text, ports included.
            own = b"http://" + headers.get(b"host", b"")
            kept = [pair for pair in scope["headers"] if pair[0] != b"origin"]
            scope = {**scope, "headers": [*kept, (b"origin", own)]}
        await self.app(scope, receive, send)

    def _tell(self, origin: str) -> None:
        if origin in self._told or len(self._told) >= TOLD:
            return
        self._told.add(origin)
        printable = "".join(c if c.isprintable() else "?" for c in origin[:200])
        click.echo(
            f"refused a page of {printable}: if it is a proxy of yours, name its host in "
            "AUTOTUNE_ALLOWED_HOSTS",
            err=True,
        )


class RelativeRedirects:
    """Sends a browser on from where it is: the server does not know its address behind a proxy."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer as the application does, but for redirects within it."""
        host = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1")

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, _relative(value, scope["path"], host) if name == b"location" else value)
                    for name, value in message.get("headers", ())
                ]
            await send(message)

        await self.app(scope, receive, sending)


def _relative(location: bytes, path: str, host: str) -> bytes:
    """Return an address on ``host`` as seen from ``path``; any other one as it is."""
    parts = urlsplit(location.decode("latin-1"))
    if parts.netloc not in {"", host} or not parts.path.startswith("/"):
        return location
    up = "../" * (path.count("/") - 1)
    query = f"?{parts.query}" if parts.query else ""
    return f"{up or './'}{parts.path.lstrip('/')}{query}".encode("latin-1")
