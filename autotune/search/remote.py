"""A search whose trials workers train that only know an address: decided here, kept in the store.

A process that decides keeps nothing that another could not read: it may end at any moment, and any
other goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from autotune.errors import AlreadyThere, LeaseLost, SpecError, StorageError
from autotune.scheduler.budget import BudgetTracker
from autotune.search import telling
from autotune.search.adding import Measured
from autotune.search.deciding import Decider
from autotune.search.events import Listener
from autotune.search.facts import changed_facts
from autotune.search.joining import prepare
from autotune.search.lock import folder_of
from autotune.search.opening import Opened, going_on, known, open_search
from autotune.search.reasons import Reason
from autotune.studies import remote
from autotune.studies.attempts import lease
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Asked, SearchRecord, SearchState, TrialRecord
from autotune.studies.remote import Lease
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store

BOX = 5.0  # seconds after which a worker gets what was decided, though it asked for more
BUSY = "another-server-decides"
PAUSED = "search-paused"
RUNNING = "waiting-for-others"  # what others train has to end before anything can be decided


@dataclass(frozen=True, kw_only=True)
class Waits:
    """There is nothing to train now, and why; asking again is useful after a while."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """There is nothing left to train.

    Args:
        complete: Whether the search is over; else it was told to stop, and may go on.
    """

    complete: bool


@dataclass(frozen=True, kw_only=True)
class Spent:
    """A request was answered before, and all that it was given is over."""


class Stale(Exception):
    """The stored search has another spec than this process knows."""


def reopened(search: SearchRecord, store: Store, listen: Listener, worker: str) -> Remote:
    """Return a stored search to decide on.

    Args:
        search: The search as stored.
        store: Where it is.
        listen: Called with every event.
        worker: Name of this process.
    """
    spec = parse(dict(search.spec))
    prepared = prepare(spec) if spec.asked else known(spec, search)
    opened = open_search(going_on(spec, search, prepared), store)
    return Remote(spec, store, opened, listen, worker)


class Remote(Decider):
    """One process's part in a search whose trials remote workers train. Threads may share it.

    Args:
        spec: What to search, with what budget.
        store: Where everything is kept.
        opened: The search.
        listen: Called with every event.
        worker: Name of this process.
    """

    def __init__(
        self, spec: SearchSpec, store: Store, opened: Opened, listen: Listener, worker: str
    ) -> None:
        folder = folder_of(store.url, opened.search.name)
        super().__init__(spec, store, opened, listen, folder, worker=worker)
        self._lock = threading.Lock()
        self.tracker = BudgetTracker(
            states=self.states, slots=1, elapsed=self._elapsed, overhead=lambda: 0.0
        )

    @property
    def id(self) -> int:
        """The search's id."""
        return self.opened.search.id

    def ask(
        self, asked: Asked, count: int, facts: Mapping[str, Any] | None = None
    ) -> list[Lease] | Waits | Ended | Spent:
        """Return leases for a worker: what it held is taken back, or given to it again.

        Args:
            asked: Who asks. The same request is answered with the same leases.
            count: How many trials it can train at the same time.
            facts: Of the task that the worker trains; None: of a loop of its own.

        Raises:
            AlreadyThere: The worker's task is not the search's.
            SpecError: The search has workers of another kind.
            Stale: The search was changed since this was made.
        """
        self._refuse_other_task(facts)
        with self._lock:
            mine = remote.leases_of(self.store, self.id, asked)
            same = [one for one in mine if asked.request and one.request == asked.request]
            if same:
                return [one for one in same if one.outcome is None] or Spent()
            found = self._held(mine[:count], asked)
            answer: Waits | Ended | None = None
            late = time.monotonic() + BOX
            while len(found) < count and answer is None:
                if found and time.monotonic() > late:
                    break
                step = self._next(asked)
                if isinstance(step, Lease):
                    found.append(step)
                else:
                    answer = step
            return found or answer or Waits(reason=RUNNING)

    def goes_on(self, lease: Lease) -> bool:
        """Decide whether a trial that cannot pause goes on at its rung, and store it.

        Returns False while another process decides.

        Raises:
            LeaseLost: The lease is over.
            Stale: The search was changed since this was made.
        """
        with self._lock, self.participant.turn((), running=True) as decides:
            if not decides:
                self._refuse_replaced()
                return False
            if self.participant.changed:
                raise Stale
            stop = self._next_stop(lease.trial.id, lease.stop)
            if stop is not None:
                self.store.go_on(lease.trial.id, lease.attempt, stop, self.participant.worker)
                self.participant.deciding = False
            else:
                with remote.telling(self.store, lease.trial.id, lease.attempt) as told:
                    telling.stop(told)
            return True

    def add(self, measured: Measured) -> tuple[TrialRecord, bool] | None:
        """Store a trial that was measured elsewhere; return it, and whether it is new.

        Returns None while another process decides.

        Raises:
            AlreadyThere: The search is over.
            SpecError: The trial cannot be one of this search.
            Stale: The search was changed since this was made.
        """
        with self._lock, suppress(LeaseLost), self.participant.turn(()) as decides:
            if not decides:
                self._refuse_replaced()
                return None
            if self.participant.changed:
                raise Stale
            return self._add(measured)
        return None

    def _refuse_other_task(self, facts: Mapping[str, Any] | None) -> None:
        name, model = self.opened.search.name, self.spec.model
        if self.spec.asked and facts is not None:
            raise SpecError(
                f"search '{name}' is trained by loops of its workers' own, so 'autotune worker' "
                "cannot; ask for its trials with autotune.client, or by HTTP without 'facts'"
            )
        if not self.spec.asked and facts is None:
            raise SpecError(
                f"search '{name}' trains model '{model}' by itself, so its trials cannot be asked "
                f"for by another loop; join it with: autotune worker --search {name} --server URL"
            )
        if facts is not None and (changed := changed_facts(self.opened.search.task, facts)):
            raise AlreadyThere(
                f"search '{name}' was begun with another {', '.join(changed)} than this worker "
                "has; give the worker the files and the machine that the search was begun with"
            )

    def _held(self, mine: Sequence[Lease], asked: Asked) -> list[Lease]:
        """Return what a worker goes on with that asks anew: it has nothing of it in hand."""
        found = []
        for held in mine:
            number = remote.begin_again(self.store, held, asked)
            if number is not None:
                found.append(remote.lease_of(self.store, held.trial.id, number))
        return found

    def _next(self, asked: Asked) -> Lease | Waits | Ended:
        """Decide on one trial."""
        self.over, job, decided = False, None, False
        with suppress(LeaseLost), self.participant.turn((), running=True) as decides:
            if decided := decides:
                if self.participant.changed:
                    raise Stale
                if self.participant.state is SearchState.COMPLETE:
                    return Ended(complete=True)
                self._go_on()
                job = self._decide(1, asked)
        if job is not None:
            return remote.lease_of(self.store, job.trial, job.attempt)
        if self.over:
            return self._ended()
        if not decided:
            self._refuse_replaced()
            return Waits(reason=BUSY)
        return Waits(reason=PAUSED if self.why() is Reason.PAUSED else RUNNING)

    def _refuse_replaced(self) -> None:
        """Raise Stale or NotFound where another search has the name, or none."""
        if remote.standing(self.store, self.opened.search.name).id != self.id:
            raise Stale

    def _go_on(self) -> None:
        """Store that a search which was stopped, and is told to go on, does."""
        if self.participant.state is SearchState.INTERRUPTED and self.why() is None:
            state, unless = SearchState.RUNNING, SearchState.COMPLETE
            self.store.update_search(self.opened.search.name, state=state, unless=unless)

    def _ended(self) -> Ended:
        complete = self.participant.state is SearchState.COMPLETE
        if complete:
            with suppress(StorageError), closing(Mirror(self.store.url)) as mirror:
                self.recorder.reflect(mirror)
        return Ended(complete=complete)

    def _elapsed(self) -> float:
        return self.participant.seconds

    def _spend(self) -> None:
        most = lease().total_seconds()
        self.participant.seconds = remote.elapse(self.store, self.id, most)
