"""One search, several processes: each sees what all did, and one at a time decides what is next."""

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

BEATS = 4  # signs of life within a lease
ASKING = 0.3  # seconds to go on asking for a turn before looking at reports again
# Seconds between askings, doubled with each in vain: dozens that never rest starve who decides.
SHORTEST, LONGEST = 0.02, 0.6


def merge(states: Sequence[StudyState], found: Changes, own: Container[int] = ()) -> None:
    """Update states from the store, but for ``own`` trials: this process knows more of these.

    A trial is RUNNING only while somebody holds it.
    """
    by_study = {state.study.id: state for state in states}
    for state in states:
        state.space = widening.recorded(state.space, found.spaces.get(state.study.id, {}))
    budget = parse(dict(found.spec)).budget.resolved
    for state in states:
        closed = found.recommended.get(state.study.id, {}).get("budget")
        state.searched = state.searched or (closed is not None and Budget(**closed) == budget)
    for trial in found.trials:
        if trial.id not in own:
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
        del state.timed[trial.id]  # its worker was lost, and with it the end of the curve
        last = max((p for p in points if p.step < last.step), key=lambda p: p.step, default=None)
        if last is not None:
            state.timed[trial.id] = last
    new = [point for point in points if last is None or point.step > last.step]
    state.keep(_revived(trial, state), new)


def _revived(trial: TrialRecord, state: StudyState) -> TrialRecord:
    """Take up a stopped trial where a search goes on."""
    if trial.state is TrialState.STOPPED and not state.searched:
        return replace(trial, state=TrialState.PAUSED)
    return trial


class Share:
    """One process's part in a search.

    Args:
        store: Where the search is kept.
        search: The search.
        states: Its studies, as far as they are known.
        spec: What this process runs; another in the store ends its part.
        worker: The name by which the store knows this process.
        revision: Of the search, when the states were filled.
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
        self.others: Mapping[int, Held] = {}  # what is run elsewhere, by trial
        self.deciding = False  # whether it is this process's turn, until it has begun something
        self.state = SearchState.RUNNING
        self.command = Command.CONTINUE
        self.changed = False  # whether the search goes on under another spec
        self.seconds = search.seconds
        self._spec = spec.model_dump(mode="json")
        self._revision = revision
        self._told = self._beaten = time.monotonic()
        self._pause = SHORTEST

    @contextmanager
    def turn(self, own: Container[int]) -> Iterator[bool]:
        """Be the one who decides, knowing everything; gives False where another is deciding."""
        self.deciding = self._ask()
        try:
            if self.deciding:
                self.store.reap(self.search.id)
                self.update(own)
            yield self.deciding
        finally:
            if self.deciding:
                self.store.leave_turn(self.search.id, self.worker)

    def _ask(self) -> bool:
        deadline = time.monotonic() + ASKING
        while not self.store.take_turn(self.search.id, self.worker):
            time.sleep(random.uniform(self._pause / 4, self._pause))
            self._pause = min(2 * self._pause, LONGEST)
            if time.monotonic() > deadline:
                return False
        self._pause = SHORTEST
        return True

    def keep_turn(self) -> None:
        """Go on deciding; raises LeaseLost where that took too long and another decides."""
        self.store.keep_turn(self.search.id, self.worker)

    def update(self, own: Container[int]) -> None:
        """Learn what the other processes did."""
        found = self.store.changes(self.search.id, self._revision)
        merge(self.states, found, own)
        self._revision = found.revision
        self.state, self.command = found.state, found.command
        self.changed = self.changed or dict(found.spec) != self._spec
        self.others = {t: held for t, held in found.held.items() if t not in own}

    def restore(self, state: StudyState, trial: int) -> None:
        """Take a trial that is no longer this process's as the store has it."""
        take(state, self.store.trial(trial), self.store.curve(trial))

    def beat(self, held: Mapping[int, int]) -> Answer | None:
        """Give a sign of life when it is time to; None when it is not."""
        now = time.monotonic()
        if now - self._beaten < lease().total_seconds() / BEATS:
            return None
        answer = self.store.beat(self.search.id, self.worker, held)
        self._beaten, self.command = now, answer.command
        return answer

    def spend(self) -> None:
        """Add the time since it was last told to the search's."""
        now = time.monotonic()
        self.seconds = self.store.tick(self.search.id, now - self._told)
        self._told = now

    def unspent(self) -> float:
        """Return the seconds since time was last added."""
        return time.monotonic() - self._told
