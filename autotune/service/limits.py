"""What a request may not be, refused before anything of it is read into memory."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from autotune.config import is_allowed
from autotune.service.problems import Problem, problem, too_large

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LARGEST = 1_000_000  # bytes of a body

_log = logging.getLogger(__name__)


class BodyLimit:
    """Refuses bodies that are too large, whether they say so or not."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer as the application does, or with 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "0")
        if said.isdecimal() and int(said) > LARGEST:
            await problem(Problem(413, "content-too-large", too_large()))(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LARGEST:
                raise HTTPException(413)
            return message

        await self.app(scope, counted, send)


class Hosts:
    """Refuses requests for hosts that this server is not known by.

    A page that makes its own name point here would else speak to a server of this machine
    (DNS rebinding).

    Args:
        app: What is served.
        hosts: Names that it may be asked for; "*.example" is all below it, "*" is any.
    """

    def __init__(self, app: App, hosts: Collection[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer as the application does, or with 421."""
        given = Headers(scope=scope).get("host", "") if scope["type"] == "http" else None
        if given is None or is_allowed(f"//{given}", self.hosts):
            await self.app(scope, receive, send)
            return
        text = (
            f"host must be one that this server is known by, got '{given[:200]}'; name it in "
            "AUTOTUNE_ALLOWED_HOSTS where the server is started"
        )
        _log.info("a request for host %s was refused", quote(given[:200]))
        await problem(Problem(421, "foreign-host", text))(scope, receive, send)
