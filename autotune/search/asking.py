"""Ask and tell: what a search runs next, for whoever runs it; what came of it is told back."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autotune.errors import LeaseLost, StorageError
from autotune.scheduler import racing, stages
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.study_state import StudyState
from autotune.search.advice import Advice
from autotune.search.events import Listener, Notice, SearchEnded, SearchStarted, Spent
from autotune.search.lock import COORDINATOR
from autotune.search.opening import Opened
from autotune.search.overhead import Overhead
from autotune.search.proxy import Fit
from autotune.search.reasons import LEAVING, Reason, reason
from autotune.search.recorder import Recorder
from autotune.search.turns import Participant
from autotune.studies import urls
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Role, SearchState, TrialState
from autotune.studies.retry import Retry
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.training.job import Job, Outcome, Report

WAIT = 0.2  # seconds to wait for other processes when there is nothing to do
OUTAGE = 600.0  # seconds that the database may be unreachable
MIRRORED_EVERY = 30.0  # seconds between updates of Optuna's tables
SAVED_EVERY = 5.0  # seconds between writes of the time spent


@dataclass(frozen=True)
class Wait:
    """There is no job now; asking again is useful after so many seconds, or a report."""

    seconds: float


@dataclass(frozen=True)
class Over:
    """There is nothing left to do for this process."""


class Asker:
    """One process's part in a search: asked for jobs, told what came of them.

    It starts nothing itself. Whoever drives it calls ``begin``, then ``ask``, ``tell``, ``beat``
    and ``look`` in any order until the answer is `Over`, then ``end``; ``abandon`` after an error.

    Args:
        spec: What to search, with what budget.
        store: Where everything is kept.
        opened: The search.
        listen: Called with every event.
        halt: Set to stop early.
        folder: Where checkpoints go.
        mirror: Optuna's tables; without it, Optuna's tools see nothing of the search.
        worker: Name of this process.
        fit: What was timed before the search was opened.
    """

    def __init__(  # noqa: PLR0913  what a search is made of
        self,
        spec: SearchSpec,
        store: Store,
        opened: Opened,
        listen: Listener,
        halt: threading.Event,
        folder: Path,
        *,
        mirror: Mirror | None = None,
        worker: str = COORDINATOR,
        fit: Fit | None = None,
    ) -> None:
        self.spec, self.store, self.opened = spec, store, opened
        self.listen, self.halt, self.folder = listen, halt, folder
        self.states = opened.states
        self.participant = Participant(
            store, opened.search, self.states, spec=spec, worker=worker, revision=opened.revision
        )
        self.recorder = Recorder(self.participant, listen, spec=spec, folder=folder, mirror=mirror)
        self.costs = fit.costs if fit else {}
        advised = fit.needed if fit else None
        self.advice = Advice(self.states, spec.seeds, advised=advised or 0)
        # Other workers cannot change the budget.
        self.warned = advised is not None or not worker.startswith(COORDINATOR)
        self.over = False  # nothing is left to do for this process
        self.reopened = -1  # trials when searches that had ended went on
        self.mirrored = time.monotonic()
        self.store.retry = Retry(seconds=OUTAGE, wait=self._outage)

    @property
    def busy(self) -> int:
        """Return how many jobs run here, with those that another process took over."""
        return len(self.recorder.busy)

    def begin(self, slots: int) -> None:
        """Announce the search; ``slots`` jobs can run here at the same time."""
        self.overhead = Overhead(slots)
        self.tracker = BudgetTracker(
            states=self.states,
            slots=slots,
            elapsed=self._elapsed,
            overhead=self.overhead.per_job,
            costs=self.costs,
        )
        self._announce(slots)

    def ask(self, slots: int) -> Job | Wait | Over:
        """Return a job to run now, with ``slots`` jobs that can run here at the same time.

        The search ends in the call that finds nothing left of it.
        """
        if not self._free(slots):
            return self._nothing(0.0)
        # If the turn ended before the decision, look again: others may have started trials.
        with self.counted(), suppress(LeaseLost):
            with self.participant.turn(self.recorder.own) as decides:
                job = self._decide(slots) if decides and not self._closed() else None
            # Other processes run trials or decide: asking again at once is useless.
            return job or self._nothing(WAIT if decides else 0.0)
        return self._nothing(0.0)

    def tell(self, report: Report) -> bool:
        """Record a report; return False if another process took its trial over: stop it."""
        with self.counted():
            if report.outcome is not Outcome.PROGRESS:
                self.overhead.ended(report.trial, report.seconds)
            return self.recorder.take(report)

    def beat(self) -> frozenset[int]:
        """Send a heartbeat when it is due; return the trials that it reports as lost: stop them."""
        with self.counted():
            answer = self.participant.beat(self.recorder.own)
            lost = frozenset() if answer is None else answer.lost
            for trial in lost:
                self.recorder.forget(trial)
            return lost

    def look(self) -> None:
        """Tell listeners how the search stands, and write what is due; after reports were told."""
        with self.counted():
            self._report_progress()
            self._warn_of_shortage()

    def rest(self) -> None:
        """Leave out of the search's time what passes while it is paused and nothing runs."""
        self.participant.rest(paused=not self.busy and self.why() is Reason.PAUSED)

    def counted(self) -> AbstractContextManager[None]:
        """Count the time of what is done here as deciding and writing."""
        return self.overhead.counted()

    def why(self) -> Reason | None:
        """Return why this process starts nothing now; None if it may start trials."""
        command = self.participant.command
        return reason(self.states, halted=self.halt.is_set(), command=command, late=self.late())

    def late(self) -> bool:
        """Return whether the minutes are over."""
        minutes = self.spec.budget.resolved.minutes
        return minutes is not None and self._elapsed() > minutes * 60

    def end(self) -> None:
        """Write what is left and tell listeners how the search ended for this process."""
        self.participant.spend()
        self._mirror()
        complete = self.participant.state is SearchState.COMPLETE
        name = self.opened.search.name
        self.listen(SearchEnded(name=name, complete=complete, seconds=self._elapsed()))
        if complete:
            for text in self.advice.at_end(self.tracker):
                self.listen(Notice(text=text))

    def abandon(self) -> None:
        """Store what is possible before an error is raised, perhaps one of the database."""
        self.store.retry = Retry()
        with suppress(StorageError):
            self.participant.spend()
            self._leave()

    def _nothing(self, seconds: float) -> Wait | Over:
        return Over() if self.over else Wait(seconds)

    def _free(self, slots: int) -> bool:
        """Return whether there is something to decide: what to start, or whether to end."""
        if self.over:
            return False
        if self.why() is not None:
            return not self.busy
        return self.busy < slots

    def _closed(self) -> bool:
        """Return whether another process ended the search or changed its spec."""
        self.over = self.participant.state is SearchState.COMPLETE or self.participant.changed
        return self.over

    def _decide(self, slots: int) -> Job | None:
        """Return a job, or end the search if nothing is left; for the reason that holds now."""
        why = self.why()
        # When it is late they are asked all the same: that nothing is left is for studies to say.
        if why in {None, Reason.LATE} and (job := self._start(slots)):
            return job
        self._end_if_over(why)
        return None

    def _start(self, slots: int) -> Job | None:
        """Start the next suggestion of the study that has spent the least."""
        self.tracker = replace(self.tracker, slots=slots + len(self.participant.others))
        trials = sum(len(state.trials) for state in self.states)
        # Once a trial: what seems affordable and is not must not be tried for ever.
        if trials != self.reopened and self.tracker.reopens():
            self.reopened = trials
            self.recorder.reopen()
        ended = False
        for state in sorted(self.states, key=StudyState.committed):
            if self.tracker.waits(state):
                continue
            searched = state.searched
            suggestion = stages.next_suggestion(state, partial(self.tracker.affordable, state))
            if state.searched and not searched:
                self.recorder.end_search(state, self.tracker.minutes_left())
                ended = True
            if suggestion:
                job = self.recorder.start(state, suggestion)
                self.overhead.began(job.trial)
                return job
        # Who waited for a search that is now over has not been asked.
        return self._start(slots) if ended else None

    def _end_if_over(self, why: Reason | None) -> None:
        """End the search if nobody can continue it; called in a turn that started nothing."""
        if self.busy or why is Reason.PAUSED:
            return
        left = why in LEAVING and not all(stages.complete(o) for o in self.states)
        if self.participant.others:
            self.over = left
            return
        if left:
            self._leave()
        else:
            self._close()
        self.over = True

    def _leave(self) -> None:
        """Store the search as interrupted, unless others still run it."""
        if not self.participant.others:
            self.participant.state = SearchState.INTERRUPTED
            self.store.update_search(self.opened.search.name, state=SearchState.INTERRUPTED)

    def _outage(self, seconds: float, why: str) -> bool:
        """Wait for the database while trials go on; return whether to give up."""
        self.listen(Notice(text=f"{why}; trying again"))
        return self.halt.wait(seconds)

    def _mirror(self, every: float = 0.0) -> None:
        """Update Optuna's tables if the last update is ``every`` seconds ago."""
        now = time.monotonic()
        if now - self.mirrored > every:
            self.recorder.reflect()
            self.mirrored = now

    def _elapsed(self) -> float:
        return self.participant.seconds + self.participant.unspent()

    def _announce(self, workers: int) -> None:
        search = self.opened.search
        self.listen(
            SearchStarted(
                name=search.name,
                storage=urls.mask(self.store.url),
                task=search.task,
                optimizers=self.spec.optimizers,
                rungs=self.states[0].ladder.steps,
                resumed=self.opened.resumed,
                workers=workers,
                engine=self.spec.engine,
            )
        )

    def _report_progress(self) -> None:
        if self.participant.unspent() > SAVED_EVERY:
            self.participant.spend()
            self._mirror(MIRRORED_EVERY)
        order = [Role.SEARCH, Role.SELECT, Role.JUDGE]
        names = {state.study.optimizer: state for state in self.states}
        best = {name: state.best() for name, state in names.items()}
        self.listen(
            Spent(
                stage=min((stages.stage(state) for state in self.states), key=order.index),
                runs={name: state.runs() for name, state in names.items()},
                planned={name: self.tracker.planned(state) for name, state in names.items()},
                seconds=self._elapsed(),
                left=self.tracker.seconds_left(),
                best={n: t.loss for n, t in best.items() if t and t.loss is not None},
            )
        )

    def _warn_of_shortage(self) -> None:
        """Warn once, after every optimizer has run a little, if the minutes are too few."""
        if self.warned or self.why() or not all(one.runs() for one in self.states):
            return
        self.warned = True  # a later warning would be more exact but come too late
        if text := self.advice.shortage(self.tracker):
            self.listen(Notice(text=text))

    def _close(self) -> None:
        """Stop all paused trials and store the recommendations."""
        self.participant.spend()
        for state in self.states:
            self.participant.keep_turn()
            idle = [
                trial
                for trial in state.of(Role.SEARCH)
                if trial.state in {TrialState.PAUSED, TrialState.WAITING}
            ]
            reasons = {t.id: f"at step {t.step} of {t.target} when the search ended" for t in idle}
            self.recorder.stop(state, reasons)
            winner = racing.chosen(state)
            measured = (t for t in state.of(Role.JUDGE) if t.loss is not None)
            judged = any(trial.source == winner for trial in measured)
            self.recorder.close(state, winner if judged else None)
        self.participant.keep_turn()
        self.participant.state = SearchState.COMPLETE
        self.store.update_search(self.opened.search.name, state=SearchState.COMPLETE)
        for left in self.folder.glob("*.p*t*"):  # checkpoints, and files that a killed worker left
            left.unlink(missing_ok=True)
