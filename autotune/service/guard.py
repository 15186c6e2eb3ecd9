"""Who may call what: a request is known by its token before anything of its body is read."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import Match, Route

from autotune.errors import AutotuneError, StorageError
from autotune.service.bodies import LARGEST
from autotune.service.caller import STATE, Caller
from autotune.service.core import Service
from autotune.service.limits import App, Receive, Send
from autotune.service.problems import Problem, problem, told
from autotune.service.rates import Rates
from autotune.studies import tokens
from autotune.studies.tokens import Scope, TokenRecord, Why

OPEN = frozenset({"alive", "ready", "openapi"})  # asked by whoever runs or looks for a server
WORK = frozenset({"ask", "beat", "points", "end", "put", "validate", "add"})
READ = frozenset(
    {"about", "listed", "read", "trials", "trial", "recommendation", "exported", "events"}
    | {"metrics"}
)
ANY_SEARCH = frozenset({"about", "validate"})  # say nothing of any search

LOOK = 1.0  # seconds between looks whether the first token was made
NOTED = tokens.USED_EVERY.total_seconds()
REALM = 'Bearer realm="autotune"'

_SENTENCES = {
    Why.UNKNOWN: "the token is not known here; check that all of it was given, or ask for another",
    Why.REVOKED: "the token was revoked; ask whoever runs this service for another",
    Why.EXPIRED: "the token has expired; ask whoever runs this service for another",
}

_log = logging.getLogger(__name__)


class Guard:
    """Lets in who has a token that is good for what is called.

    Without any token in the database everybody may call, but nobody makes one: the server then
    listens on its own machine only. From the first token on, revoked or not, it asks for one.

    Args:
        app: What is guarded.
        service: The server.
        routes: What it answers.
        rate: Requests a second of one token; 0: as many as it likes.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        app: App,
        service: Service,
        routes: Sequence[Route],
        rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app, self._service, self._routes, self._clock = app, service, routes, clock
        self._rates = Rates(rate, clock) if rate else None
        self._closed, self._looked = False, -LOOK
        self._used: dict[int, float] = {}
        self._scraper: tuple[bytes, TokenRecord | None] | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer as the application does, or with 401, 403 or 429."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except Problem as error:
            await problem(error)(scope, receive, send)
        except AutotuneError as error:
            await problem(told(error, str(self._service.store)))(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _admit(self, scope: MutableMapping[str, Any]) -> None:
        known = scope.setdefault("state", {})[STATE] = self._route(scope)
        if known.name in OPEN:
            return
        given = Headers(scope=scope).get("authorization")
        if known.name == "metrics":
            known.token = token = await self._scraped(given)
        else:
            known.token = token = await self._known(given)
        if token is None:
            return
        if self._rates is not None:
            self._rates.take(token.id)
        await self._refuse_more(known, token)
        await self._note(token)

    async def _known(self, given: str | None) -> TokenRecord | None:
        """Return by which token a request is let in; None where none is asked for."""
        if given is None and not await self._asks():
            return None
        return await self._token(given)

    async def _scraped(self, given: str | None) -> TokenRecord | None:
        """Return the same; while the database is away, for whoever was let in the last time.

        What a server counts is looked at most when something is wrong.
        """
        mark = hashlib.sha256((given or "").encode()).digest()
        try:
            token = await self._known(given)
        except StorageError:
            if self._scraper is None or not hmac.compare_digest(self._scraper[0], mark):
                raise
            return self._scraper[1]
        self._scraper = (mark, token)
        return token

    def _route(self, scope: MutableMapping[str, Any]) -> Caller:
        if scope["path"] == f"{scope.get('root_path', '')}/openapi.json":
            return Caller(route="/openapi.json", name="openapi")
        for route in self._routes:
            match, child = route.matches(scope)
            # Another method of an open path is nobody's secret either.
            if match is Match.FULL or (match is Match.PARTIAL and route.name in OPEN):
                return Caller(route=route.path, name=route.name, path=child["path_params"])
        return Caller()

    async def _asks(self) -> bool:
        """Return whether a token is needed: once one is, one always is."""
        now = self._clock()
        if not self._closed and now - self._looked >= LOOK:
            self._closed = await self._service.run(tokens.any_made, self._service.store)
            self._looked = now
        return self._closed

    async def _token(self, given: str | None) -> TokenRecord:
        kind, _, text = (given or "").strip().partition(" ")
        if given is None or kind.lower() != "bearer" or not text:
            sentence = "this service asks for a token, in the header Authorization: Bearer TOKEN"
            raise Problem(401, "token-missing", sentence, headers={"WWW-Authenticate": REALM})
        found = await self._service.run(tokens.check, self._service.store, text.strip())
        if isinstance(found, Why):
            sentence = _SENTENCES[found]
            said = f'{REALM}, error="invalid_token", error_description="{sentence}"'
            raise Problem(401, f"token-{found}", sentence, headers={"WWW-Authenticate": said})
        self._closed = True
        return found

    async def _refuse_more(self, known: Caller, token: TokenRecord) -> None:
        needed = needs(known)
        if not token.scope.covers(needed):
            said = f'{REALM}, error="insufficient_scope", scope="{needed}"'
            sentence = f"this needs a token of scope {needed}, this one's is {token.scope}"
            raise Problem(403, "scope-too-small", sentence, headers={"WWW-Authenticate": said})
        if token.search is None or known.name in ANY_SEARCH or known.route is None:
            return
        if await self._search(known) not in (None, token.search):
            sentence = f"this token is for search '{token.search}' only"
            raise Problem(403, "another-search", sentence)

    async def _search(self, known: Caller) -> str | None:
        """Return the search that is called; "" for a call on all, None where there is no such."""
        if known.name == "listed" or not {"name", "lease"} & set(known.path):
            return ""
        if "name" in known.path:
            return str(known.path["name"])
        trial = str(known.path["lease"]).partition(".")[0]
        if not (trial.isascii() and trial.isdecimal() and int(trial) <= LARGEST):
            return None
        return await self._service.run(tokens.search_of, self._service.store, int(trial))

    async def _note(self, token: TokenRecord) -> None:
        now = self._clock()
        if now - self._used.get(token.id, -NOTED) < NOTED:
            return
        self._used[token.id] = now
        try:
            await self._service.run(tokens.use, self._service.store, token)
        except StorageError as error:
            _log.info("the use of token %d was not noted: %s", token.id, error)


def needs(known: Caller) -> Scope:
    """Return the scope that a route asks for; what only looks is for readers."""
    if known.name in WORK:
        return Scope.WORK
    looks = known.route is None or known.name in READ
    return Scope.READ if looks else Scope.ADMIN
