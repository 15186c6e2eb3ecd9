"""Requests as those who run a server see them: counted, and logged without what is secret."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from autotune.service.caller import caller
from autotune.service.limits import App, Message, Receive, Send
from autotune.service.metrics import Metrics

LEFT = 499  # the status of a request whose caller left before it was answered, as nginx has it
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds by machines

_log = logging.getLogger(__name__)


class Observed:
    """Counts and logs every request.

    Args:
        app: What answers.
        metrics: Where they are counted.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), LEFT

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            status = 500
            raise
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        known, method = caller(scope), scope["method"]
        self._metrics.note(method, known.route, status, seconds)
        level = logging.DEBUG if known.route in QUIET else logging.INFO
        if not _log.isEnabledFor(level):
            return
        # What follows the path is not logged: somebody might put a token there.
        fields = {
            "method": quote(method),
            "path": quote(scope["path"]),
            "status": status,
            "ms": round(1000 * seconds, 1),
            "client": (scope.get("client") or ("",))[0],
            "token": None if known.token is None else known.token.id,
        }
        text = "{method} {path} {status} in {ms} ms for {client}, token {token}"
        _log.log(level, text.format(**fields), extra={"fields": fields})
