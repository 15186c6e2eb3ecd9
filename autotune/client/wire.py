"""Calls of a service over HTTP: made again, the same, as long as it does not answer."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from autotune import __version__
from autotune.client.faults import error_of
from autotune.errors import AutotuneError, MissingExtra, SpecError, Unavailable

if TYPE_CHECKING:
    import httpx2

PATIENCE = 600.0  # seconds that a service may be away
FIRST, LONGEST = 0.25, 10.0  # seconds until a call is made again: at first, and at most
SOON = 1.0  # seconds that a service may be away before it is said
TIMEOUT = 15.0  # seconds that an answer may take, besides what the service was asked to wait
OFTEN = 60.0  # seconds at most that a service can ask to be left alone

# Answers after which the same call may be made again: of the service, and of proxies before it.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_log = logging.getLogger("autotune.client")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a service answered.

    Args:
        status: HTTP status, a success.
        body: The JSON object, empty where there is none.
        after: Seconds after which to ask again.
        reason: Why there is nothing.
    """

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    after: float = 0.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Away:
    """No answer yet: why, and the seconds until asking again makes sense."""

    why: str
    after: float = 0.0


class Wire:
    """The way to one service. Threads may share it.

    Args:
        url: Address of the service, as ``http://host:8400``.
        token: Sent with each call.
        patience: Seconds that the service may be away before a call raises.
        transport: How requests are sent, for tests and proxies; None: over the network.

    Raises:
        MissingExtra: httpx2 is not installed.
        SpecError: The address or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        patience: float = PATIENCE,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url, self.patience = _address(url), patience
        headers = {"User-Agent": f"autotune-client/{__version__}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {_secret(token)}"
        if find_spec("httpx2") is None:
            raise MissingExtra(
                "autotune.client needs httpx2; install the extra: "
                "pip install 'adan-autotune[client]'"
            )
        import httpx2

        self._http = httpx2.Client(base_url=self.url, headers=headers, transport=transport)
        self._chance = random.Random()  # the caller's own generators stay as they are
        self._gone = False  # it was away for too long, and has not answered since

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        hold: float = 0.0,
        patience: float | None = None,
    ) -> Answer:
        """Return the answer of a call that may be made twice without harm.

        Args:
            method: Of HTTP.
            path: Below the service's address.
            body: What is sent as JSON.
            hold: Seconds that the service may wait before it answers.
            patience: Seconds that it may be away; None: as this was made with.

        Raises:
            AutotuneError: What the service refused, in its own sentence.
            Unavailable: It was away for too long.
        """
        most = 0.0 if self._gone else self.patience if patience is None else patience
        began, tries, said = time.monotonic(), 0, False
        while isinstance(found := self._once(method, path, body, hold), _Away):
            passed = time.monotonic() - began
            pause = max(found.after, self._pause(tries))
            tries += 1
            if passed + pause > most:
                self._gone = True
                raise Unavailable(
                    f"the service {self.url} has not answered for {passed:.0f} seconds "
                    f"({found.why}); start this again when it does: what was told is kept"
                )
            if passed > SOON and not said:
                said = True
                _log.warning(
                    f"the service {self.url} does not answer ({found.why}); trying again for up "
                    f"to {most:.0f} seconds"
                )
            time.sleep(pause)
        if said:
            _log.warning(f"the service {self.url} answers again")
        self._gone = False
        return found

    def once(self, method: str, path: str) -> Answer | None:
        """Return the answer of a call, or None where there is none now; raises AutotuneError."""
        found = self._once(method, path, None, 0.0)
        return None if isinstance(found, _Away) else found

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _pause(self, tries: int) -> float:
        """Return the seconds until the next try: twice as many each time, and never in step."""
        most = min(LONGEST, FIRST * 2.0 ** min(tries, 30))
        return most * self._chance.uniform(0.5, 1.0)

    def _once(
        self, method: str, path: str, body: Mapping[str, Any] | None, hold: float
    ) -> Answer | _Away:
        import httpx2

        headers = {"Prefer": f"wait={hold:.0f}"} if hold else None
        try:
            response = self._http.request(
                method, path, json=body, headers=headers, timeout=TIMEOUT + hold
            )
        except httpx2.TransportError as error:
            return _Away(why=" ".join(str(error).split()) or type(error).__name__)
        return self._read(response)

    def _read(self, response: httpx2.Response) -> Answer | _Away:
        status, after = response.status_code, _seconds(response.headers.get("Retry-After", ""))
        if status == 204:
            reason = response.headers.get("Autotune-Reason", "")
            return Answer(status=status, after=after, reason=reason)
        try:
            found = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            found = None
        if status in PASSING and not (isinstance(found, dict) and found.get("retry") == "no"):
            detail = found.get("detail") if isinstance(found, dict) else None
            return _Away(why=str(detail or f"status {status}"), after=after)
        if not isinstance(found, dict) or not (response.is_success or "type" in found):
            raise AutotuneError(
                f"{self.url} is not the address of an autotune service: {response.request.url.path}"
                f" answered with status {status} and no JSON of it"
            )
        if not response.is_success:
            raise error_of(found)
        return Answer(status=status, body=found)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        good = False
    if not good:
        raise SpecError(f"url must be the service's address, as http://host:8400, got {url!r}")
    return url.rstrip("/")


def _secret(token: str) -> str:
    # It is not shown: logs are read by others.
    if not (isinstance(token, str) and token.isascii() and token.isprintable() and token.strip()):
        raise SpecError("token must be a text of printable ASCII characters, as it was made")
    return token.strip()


def _seconds(text: str) -> float:
    return min(float(text), OFTEN) if text.isdecimal() else 0.0
