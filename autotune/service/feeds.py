"""Searches that are followed: looked at once a second, and read once for all who listen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest

from fastapi.sse import format_sse_event
from pydantic import BaseModel

from autotune.errors import NotFound, StorageError
from autotune.service.answers import PointAnswer, SearchEvent, TrialEvent
from autotune.service.core import Service
from autotune.service.paths import study_url
from autotune.service.problems import Problem
from autotune.service.results import trial_answer
from autotune.service.searches import study_answers
from autotune.studies import news, remote
from autotune.studies.news import Changed, Cursor
from autotune.studies.records import SearchRecord
from autotune.studies.remote import Standing

EVERY = 1.0  # seconds between looks whether a search has changed
LISTENERS = 1000  # at the same time, of one server
READS = 64  # that are kept for others: listeners that are up to date share one

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Events to send, and from where to go on.

    Args:
        events: As they are sent.
        trials: How many of them are trials.
        cursor: What was told with them.
        more: Whether there is more by now.
        tag: How the search stood; empty where there is more.
    """

    events: tuple[bytes, ...]
    trials: int
    cursor: Cursor
    more: bool
    tag: str = ""


@dataclass(kw_only=True)
class Feed:
    """One search that is followed.

    Args:
        name: Of the search.
        base: Where the service is mounted.
        standing: How the search stands, when last looked at; None: it was deleted.
        news: Set when that has changed; then there is another one.
        listeners: How many follow it.
        reads: What was read since the search changed last, by where it began.
    """

    name: str
    base: str
    standing: Standing | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: int = 0
    reads: dict[Cursor, asyncio.Task[Page]] = field(default_factory=dict)

    def look(self, now: Standing | None) -> None:
        """Note how the search stands, and wake those who listen if that has changed."""
        known = self.standing
        if known is not None and (now is None or now.tag != known.tag):
            # One that was deleted and begun again is another one.
            self.standing = now if now is not None and now.id == known.id else None
            self.reads = {}
            self.wake()

    def wake(self) -> None:
        """Wake those who listen."""
        self.news.set()
        self.news = asyncio.Event()


class Feeds:
    """The searches that somebody follows at this server; no listener costs a thread.

    Args:
        service: The server.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._watching: asyncio.Task[None] | None = None
        self.listeners = 0

    def refuse_full(self) -> None:
        """Raise Problem where as many listen as may."""
        if self.listeners >= LISTENERS:
            text = f"{LISTENERS} listeners are connected to this server; try again later"
            raise Problem(503, "too-many-listeners", text, retry="after")

    @contextmanager
    def following(self, name: str, base: str, standing: Standing) -> Iterator[Feed]:
        """Follow a search."""
        key = (name, base)
        feed = self._feeds.get(key)
        if feed is None or feed.standing is None or feed.standing.id != standing.id:
            feed = self._feeds[key] = Feed(name=name, base=base, standing=standing)
        feed.listeners += 1
        self.listeners += 1
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield feed
        finally:
            feed.listeners -= 1
            self.listeners -= 1
            if not feed.listeners and self._feeds.get(key) is feed:
                del self._feeds[key]

    def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def read(self, feed: Feed, since: Cursor) -> Page:
        """Return what comes next; those who ask the same are given the same.

        Raises:
            NotFound: The search was deleted.
            StorageError: The database is away.
        """
        known = feed.reads.get(since)
        if known is None or (known.done() and (known.cancelled() or known.exception())):
            if len(feed.reads) >= READS:
                feed.reads.clear()
            known = asyncio.create_task(self._service.run(_page, self._service, feed, since))
            known.add_done_callback(_read)  # its listeners may have left
            feed.reads[since] = known
        return await asyncio.shield(known)

    async def _watch(self) -> None:
        while not self._service.draining:
            await asyncio.sleep(EVERY)
            names = {name for name, _ in self._feeds}
            if not names:
                return
            try:
                found = await self._service.run(remote.standings, self._service.store, names)
            except StorageError as error:  # looked at again
                _log.warning("followed searches cannot be looked at now: %s", error)
                continue
            for feed in list(self._feeds.values()):
                if feed.name in names:
                    feed.look(found.get(feed.name))
        for feed in self._feeds.values():
            feed.wake()


def _read(task: asyncio.Task[Page]) -> None:
    if not task.cancelled():
        task.exception()


def _page(service: Service, feed: Feed, since: Cursor) -> Page:
    standing = feed.standing
    if standing is None:
        raise NotFound(f"search '{feed.name}' was deleted")
    found = news.news(service.store, standing.id, since)
    events = list(_trials(feed, standing.id, found))
    tag = ""
    if not found.more:
        search, now = service.store.search(feed.name), remote.standing(service.store, feed.name)
        if search.id != standing.id:
            raise NotFound(f"search '{feed.name}' was deleted")
        told, tag = _search(feed, search, now, found.cursor.revision), now.tag
        events.append(_event("search", told, standing.id, found.cursor.revision))
    return Page(
        events=tuple(events),
        trials=len(found.trials),
        cursor=found.cursor,
        more=found.more,
        tag=tag,
    )


def _trials(feed: Feed, search_id: int, found: news.News) -> Iterator[bytes]:
    """Yield an event for each trial; its id says that all up to its revision is told."""
    for one, then in zip_longest(found.trials, found.trials[1:]):
        last = found.cursor.trial is None if then is None else then.revision != one.revision
        yield _event("trial", _trial(feed, one), search_id, one.revision if last else None)


def _trial(feed: Feed, one: Changed) -> TrialEvent:
    base = feed.base + study_url(feed.name, one.study)
    known = trial_answer(one.trial, base).model_dump(exclude={"points"})
    measured = None if one.measured is None else PointAnswer(**vars(one.measured))
    return TrialEvent(optimizer=one.study, measured=measured, **known)


def _search(feed: Feed, search: SearchRecord, now: Standing, revision: int) -> SearchEvent:
    return SearchEvent(
        name=feed.name,
        state=now.state,
        command=now.command,
        revision=revision,
        seconds=search.seconds,
        studies=study_answers(search, feed.base),
    )


def _event(kind: str, data: BaseModel, search_id: int, revision: int | None) -> bytes:
    mark = None if revision is None else f"{search_id}.{revision}"
    return format_sse_event(event=kind, data_str=data.model_dump_json(), id=mark)
