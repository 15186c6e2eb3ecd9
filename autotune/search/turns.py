"""Share one search between processes: they take turns to decide, each knowing all results."""

from __future__ import annotations

import random
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from autotune.scheduler import widening
from autotune.scheduler.study_state import StudyState
from autotune.studies.attempts import lease
from autotune.studies.records import (
    Answer,
    Changes,
    Command,
    Held,
    Point,
    SearchRecord,
    SearchState,
    TrialRecord,
    TrialState,
)
from autotune.studies.spec import Budget, SearchSpec, parse
from autotune.studies.store import Store

BEATS = 4  # heartbeats per lease
ASKING = 0.3  # seconds to try to get the turn before reports are read again
# Seconds between tries, doubled each time: without it, many workers starve the one that decides.
SHORTEST, LONGEST = 0.02, 0.6


def merge(states: Sequence[StudyState], found: Changes, own: Container[int] = ()) -> None:
    """Update states from the store, but for ``own`` trials: this process knows more of these.

    A trial is RUNNING only while a process holds its lease.
    """
    by_study = {state.study.id: state for state in states}
    for state in states:
        state.space = widening.recorded(state.space, found.spaces.get(state.study.id, {}))
    budget = parse(dict(found.spec)).budget.resolved
    for state in states:
        closed = found.recommended.get(state.study.id, {}).get("budget")
        state.searched = closed is not None and Budget(**closed) == budget
    for trial in found.trials:
        # An optimizer that joined since belongs to the spec with which this process begins anew.
        if trial.id not in own and trial.study in by_study:
            take(by_study[trial.study], trial, found.curves.get(trial.id, ()))
    for state in states:
        held = [found.held[trial] for trial in found.held if trial in state.trials]
        state.stops = {each.trial: each.stop for each in held if each.stop is not None}


def take(state: StudyState, trial: TrialRecord, points: Sequence[Point]) -> None:
    """Replace what a state knows of a trial by what the store says."""
    steps = {point.step for point in points}
    for known in (state.losses, state.accuracies):
        curve = known.get(trial.id, {})
        for step in set(curve) - steps:
            del curve[step]
    last = state.timed.get(trial.id)
    if last is not None and last.step not in steps:
        del state.timed[trial.id]  # its worker was lost, and the end of its curve too
        last = max((p for p in points if p.step < last.step), key=lambda p: p.step, default=None)
        if last is not None:
            state.timed[trial.id] = last
    new = [point for point in points if last is None or point.step > last.step]
    state.keep(_revived(trial, state), new)


def _revived(trial: TrialRecord, state: StudyState) -> TrialRecord:
    """Return a trial that the search stopped as paused if the search goes on."""
    if trial.state is TrialState.STOPPED and not trial.final and not state.searched:
        return replace(trial, state=TrialState.PAUSED)
    return trial


class Participant:
    """One process that takes part in a search.

    Args:
        store: Where the search is stored.
        search: The search.
        states: Its studies, as last read.
        spec: The spec that this process runs; if the stored one changes, the process ends.
        worker: Name of this process in the store.
        revision: Revision of the search when the states were read.
    """

    def __init__(
        self,
        store: Store,
        search: SearchRecord,
        states: Sequence[StudyState],
        *,
        spec: SearchSpec,
        worker: str,
        revision: int = -1,
    ) -> None:
        self.store, self.search, self.states = store, search, states
        self.worker = worker
        self.others: Mapping[int, Held] = {}  # what other processes run, by trial
        self.deciding = False  # whether it is this process's turn; ends when it starts a trial
        self.state = SearchState.RUNNING
        self.command = Command.CONTINUE
        self.changed = False  # whether the search goes on under another spec
        self.seconds = search.seconds
        self._spec = spec.model_dump(mode="json")
        self._revision = revision
        self._told = self._beaten = time.monotonic()
        self._pause = SHORTEST
        self.paused = False  # whether nothing runs here because of a pause

    @contextmanager
    def turn(self, own: Container[int], *, running: bool = False) -> Iterator[bool]:
        """Take the turn and read what others did; yields False if another process has the turn.

        ``running``: let the search's time run until now, and keep it as ``seconds``.
        """
        found = self._ask(running)
        self.deciding = found is not None
        try:
            if found is not None:
                self._take_in(found, own)
                self.seconds = found.seconds if running else self.seconds
            yield self.deciding
        finally:
            if self.deciding:
                self.store.leave_turn(self.search.id, self.worker)

    def _ask(self, running: bool) -> Changes | None:
        deadline, what = time.monotonic() + ASKING, (self.search.id, self.worker)
        while (found := self.store.decide(*what, self._revision, running=running)) is None:
            time.sleep(random.uniform(self._pause / 4, self._pause))
            self._pause = min(2 * self._pause, LONGEST)
            if time.monotonic() > deadline:
                return None
        self._pause = SHORTEST
        return found

    def keep_turn(self) -> None:
        """Extend the turn; raises LeaseLost if another process has taken it."""
        self.store.keep_turn(self.search.id, self.worker)

    def _take_in(self, found: Changes, own: Container[int]) -> None:
        """Take in what the other processes did."""
        merge(self.states, found, own)
        self._revision = found.revision
        self.state, self.command = found.state, found.command
        self.changed = self.changed or dict(found.spec) != self._spec
        self.others = {t: held for t, held in found.held.items() if t not in own}

    def restore(self, state: StudyState, trial: int) -> None:
        """Read a trial from the store that this process does not run any more."""
        take(state, self.store.trial(trial), self.store.curve(trial))

    def beat(self, held: Mapping[int, int]) -> Answer | None:
        """Send a heartbeat if it is due and return the answer; None if it is not due."""
        now = time.monotonic()
        if now - self._beaten < lease().total_seconds() / BEATS:
            return None
        answer = self.store.beat(self.search.id, self.worker, held)
        self._beaten, self.command = now, answer.command
        return answer

    def spend(self) -> None:
        """Add the time since the last call to the search's stored time."""
        now = time.monotonic()
        self.seconds = self.store.tick(self.search.id, now - self._told)
        self._told = now

    def start_clock(self) -> None:
        """Leave out the time until now: nothing of it was the search's."""
        self._told = self._beaten = time.monotonic()

    def rest(self, *, paused: bool) -> None:
        """Leave out the time since the last call if the search was paused then and is now."""
        if paused and not self.paused:
            self.spend()
        elif paused:
            self._told = time.monotonic()
        self.paused = paused

    def unspent(self) -> float:
        """Return the seconds that are not yet stored."""
        return time.monotonic() - self._told
