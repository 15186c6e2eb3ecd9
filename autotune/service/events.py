"""The route of those who follow a search: what changes, as it does, by server-sent events."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from autotune.errors import NotFound, StorageError
from autotune.service.caller import caller
from autotune.service.feeds import EVERY, Feed, Feeds
from autotune.service.paths import Search, service_of
from autotune.service.problems import Problem, responses
from autotune.studies import remote, tokens
from autotune.studies.news import Cursor
from autotune.studies.remote import Standing

BEAT = 15.0  # seconds without an event after which a comment is sent
RETRY = 2000  # milliseconds after which a client that lost its connection is to come back
LONGEST = 86400.0  # seconds that a stream can be asked to last
COMMENT = b": alive\n\n"

EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["trial", "search", "deleted", "reset"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+$"},
    },
}

routes = APIRouter(tags=["results"])

MARK = r"^(?:([0-9]{1,9})\.)?([0-9]{1,9})$"
Since = Annotated[
    str | None,
    Query(
        pattern=MARK,
        description="A revision, or the `id` of an event: what came later is told. Without it, "
        "everything there is.",
        examples=["12"],
    ),
]
Seconds = Annotated[
    float | None,
    Query(
        ge=0,
        le=LONGEST,
        allow_inf_nan=False,
        description="After which the stream ends; 0: with what there is now.",
    ),
]


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


@routes.get(
    "/v1/searches/{name}/events",
    operation_id="events",
    response_class=EventStream,
    responses={
        **responses(404),
        200: {
            "description": "Events `trial`, `search` and `deleted`, as they happen",
            "content": {"text/event-stream": {"itemSchema": EVENT}},
        },
    },
)
async def events(
    name: Search,
    request: Request,
    since: Since = None,
    seconds: Seconds = None,
    last_event_id: Annotated[
        str | None,
        Header(
            description="The `id` of the last event that came; goes before since.",
            json_schema_extra={"pattern": MARK},
        ),
    ] = None,
) -> Any:
    """Follow a search: each trial that changes as it stands then, and how the search stands."""
    service, feeds = service_of(request), feeds_of(request)
    feeds.refuse_full()
    standing = await service.run(remote.standing, service.store, name)
    begin, again = _begin(standing, since if last_event_id is None else last_event_id)
    until = None if seconds is None else time.monotonic() + seconds
    stream = Stream(request, feeds, until)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventStream(stream.events(name, standing, begin, again=again), headers=headers)


class Stream:
    """What one listener is sent, until it leaves, its time is up or the server ends.

    Args:
        request: The listener's.
        feeds: What is followed at this server.
        until: When its time is up; None: never.
    """

    def __init__(self, request: Request, feeds: Feeds, until: float | None) -> None:
        self._service, self._feeds, self._until = service_of(request), feeds, until
        self._base, self._token = request.scope.get("root_path", ""), caller(request.scope).token
        self._sent = time.monotonic()

    async def events(
        self, name: str, standing: Standing, begin: Cursor, *, again: bool
    ) -> AsyncIterator[bytes]:
        """Yield events after ``begin``; first that all begins ``again``, where it does."""
        yield format_sse_event(retry=RETRY)
        if again:
            yield format_sse_event(event="reset", data_str="{}")
        cursor, told = begin, ""
        with self._feeds.following(name, self._base, standing) as feed:
            while True:
                news = feed.news  # taken before it is read: what comes meanwhile sets it
                try:
                    page = await self._feeds.read(feed, cursor)
                except StorageError:  # the database is away: read again when it was looked at
                    page = None
                except NotFound:
                    yield format_sse_event(event="deleted", data_str="{}")
                    return
                if page is not None and (page.trials or page.tag != told):
                    cursor, told, self._sent = page.cursor, page.tag, time.monotonic()
                    for part in page.events:
                        yield part
                if page is not None and page.more:
                    continue
                async for part in self._wait(news, feed, EVERY if page is None else None):
                    yield part
                if self._over():
                    return

    async def _wait(
        self, news: asyncio.Event, feed: Feed, most: float | None
    ) -> AsyncIterator[bytes]:
        """Wait for news, or some seconds at most, with a comment where it takes long."""
        end = None if most is None else time.monotonic() + most
        while not (news.is_set() or self._over()):
            now = time.monotonic()
            ends = [self._sent + BEAT, *(one for one in (self._until, end) if one is not None)]
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), max(min(ends) - now, 0.0))
            if end is not None and time.monotonic() >= end:
                return
            if time.monotonic() >= self._sent + BEAT:
                if not await self._taken():
                    self._until = self._sent
                    return
                self._sent = time.monotonic()
                yield COMMENT

    def _over(self) -> bool:
        late = self._until is not None and time.monotonic() >= self._until
        return late or self._service.draining

    async def _taken(self) -> bool:
        """Return whether the listener's token is taken still."""
        if self._token is None:
            return True
        try:
            return await self._service.run(tokens.taken, self._service.store, self._token.id)
        except StorageError:  # nothing is told before the database is back
            return True


def feeds_of(request: Request) -> Feeds:
    """Return the searches that are followed at this server."""
    found: Feeds = request.app.state.feeds
    return found


def _begin(standing: Standing, mark: str | None) -> tuple[Cursor, bool]:
    """Return from where to tell, and whether what was told before is of another search."""
    if mark is None:
        return Cursor(), False
    found = re.fullmatch(MARK, mark)
    if found is None:
        text = f"Last-Event-ID must be the id of an event, as {standing.id}.12, got '{mark[:200]}'"
        raise Problem(422, "invalid", text)
    search_id, revision = found[1], int(found[2])
    if search_id not in (None, str(standing.id)) or revision > standing.revision:
        return Cursor(), True
    return Cursor(revision=revision), False
