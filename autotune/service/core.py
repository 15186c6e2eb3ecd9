"""What all requests of one server share: the store, the searches that it decides, its threads."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, ParamSpec, TypeVar

from autotune.errors import AlreadyThere
from autotune.search.adding import Measured, over
from autotune.search.declaring import BUSY, Busy
from autotune.search.events import Event, Notice
from autotune.search.lock import exclusive
from autotune.search.remote import Ended, Remote, Spent, Stale, Waits, reopened
from autotune.search.worker import name
from autotune.studies import attempts, remote, urls
from autotune.studies.records import Asked, SearchState, TrialRecord
from autotune.studies.remote import Lease
from autotune.studies.store import Store

# Together below the connections that a store has at the same time.
THREADS, DECIDING = 8, 4
COUNTED_EVERY = 5.0  # seconds between writes of the time that a search has taken
OFTEN = 3  # times that a search may be changed while it is asked

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Service:
    """One server on a store; it keeps nothing that another could not read.

    Args:
        storage: An open store, or where one is.

    Raises:
        AlreadyThere: Another process serves the same SQLite file.
        StorageError: The database cannot be used.
    """

    def __init__(self, storage: Store | str | None) -> None:
        with ExitStack() as used:
            if not isinstance(storage, Store):
                storage = used.enter_context(Store(urls.resolve(storage)))
            self.store = storage
            self.name = self._alone(used)
            self._threads = used.enter_context(ThreadPoolExecutor(THREADS, "autotune service"))
            self._deciding = used.enter_context(ThreadPoolExecutor(DECIDING, "autotune decisions"))
            self._used = used.pop_all()
        self.draining = False  # whether this process is to end; a signal handler sets it
        self._searches: dict[str, Remote] = {}
        self._counted: dict[int, float] = {}  # when a search's time was last stored
        self._lock = threading.Lock()

    def _alone(self, used: ExitStack) -> str:
        """Return the name under which this process decides; an SQLite file has one server."""
        if urls.file(self.store.url) is None:
            return f"server-{name()}"
        try:
            used.enter_context(exclusive(urls.beside(self.store.url) / "service", "service"))
        except AlreadyThere:
            raise AlreadyThere(
                f"{self.store} is being served by another process, and an SQLite file has one "
                "server at a time: use that one, or a PostgreSQL database for several"
            ) from None
        return "server"  # whoever had the lock before is dead, its turn at deciding is this one's

    def close(self) -> None:
        """Let go of the store."""
        self.draining = True
        self._used.close()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call that waits for the database returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(call, *args, **kwargs))

    async def decide(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call that may wait for other decisions returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._deciding, partial(call, *args, **kwargs))

    def ask(
        self, search: str, asked: Asked, count: int, facts: Mapping[str, Any] | None = None
    ) -> list[Lease] | Waits | Ended | Spent:
        """Return trials of a search for a worker, or why there are none.

        Raises:
            AlreadyThere: The worker's task is not the search's.
            NotFound: There is no such search.
            SpecError: It has workers of another kind.
        """
        for _ in range(OFTEN):
            known = self._search(search)
            if known is None:
                return Ended(complete=True)
            try:
                return known.ask(asked, count, facts)
            except Stale:
                self.forget(search)
        return Waits(reason="search-changed")

    def goes_on(self, lease: Lease) -> Lease:
        """Decide whether a trial that cannot pause goes on at its rung.

        Returns its lease as it is then: unchanged while another process decides.

        Raises:
            LeaseLost: The lease is over.
            NotFound: The search was deleted.
        """
        for _ in range(OFTEN):
            known = self._search(lease.search)
            try:
                if known is None or known.goes_on(lease):
                    break
            except Stale:
                self.forget(lease.search)
        return remote.lease_of(self.store, lease.trial.id, lease.attempt)

    def add(self, search: str, measured: Measured) -> tuple[TrialRecord, bool]:
        """Store a trial that was measured elsewhere; return it, and whether it is new.

        Raises:
            AlreadyThere: The search is over.
            Busy: Another process decides.
            NotFound: There is no such search.
            SpecError: The trial cannot be one of it.
        """
        for _ in range(OFTEN):
            known = self._search(search)
            if known is None:
                raise over(search)
            try:
                if found := known.add(measured):
                    return found
            except Stale:
                self.forget(search)
        raise Busy(BUSY.format(search))

    def _search(self, search: str) -> Remote | None:
        """Return a search to decide on; None where nothing of it is left to do."""
        with self._lock:
            known = self._searches.get(search)
            if known is None:
                stored = self.store.search(search)
                if stored.state is SearchState.COMPLETE:
                    return None
                known = reopened(stored, self.store, self._hear, self.name)
                self._searches[search] = known
        return known

    def alive(self, search_id: int) -> None:
        """Let a search's time run: a worker of it was just heard of."""
        now = time.monotonic()
        if now - self._counted.get(search_id, -COUNTED_EVERY) >= COUNTED_EVERY:
            self._counted[search_id] = now
            remote.elapse(self.store, search_id, attempts.lease().total_seconds())

    def forget(self, search: str) -> None:
        """Read a search anew when it is asked for the next time."""
        with self._lock:
            self._searches.pop(search, None)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Notice):
            _log.info(event.text)
