"""Ask and tell: what a search runs next, for whoever runs it; what came of it is told back."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from autotune.errors import LeaseLost, StorageError
from autotune.scheduler import stages
from autotune.scheduler.budget import BudgetTracker
from autotune.search.adding import Measured
from autotune.search.advice import Advice
from autotune.search.deciding import Decider
from autotune.search.events import Listener, Notice, SearchEnded, SearchStarted, Spent
from autotune.search.lock import COORDINATOR
from autotune.search.opening import Opened
from autotune.search.overhead import Overhead
from autotune.search.proxy import Fit
from autotune.search.reasons import Reason
from autotune.search.taken import Over, Wait
from autotune.studies import urls
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Role, SearchState, TrialRecord
from autotune.studies.retry import Retry
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.training.job import Job, Outcome, Report

WAIT = 0.2  # seconds to wait for other processes when there is nothing to do
OUTAGE = 600.0  # seconds that the database may be unreachable
MIRRORED_EVERY = 30.0  # seconds between updates of Optuna's tables
SAVED_EVERY = 5.0  # seconds between writes of the time spent


class Asker(Decider):
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
        super().__init__(spec, store, opened, listen, folder, worker=worker, mirror=mirror)
        self.halt = halt
        self.costs = fit.costs if fit else {}
        advised = fit.needed if fit else None
        self.advice = Advice(self.states, spec.seeds, advised=advised or 0)
        # Other workers cannot change the budget.
        self.warned = advised is not None or not worker.startswith(COORDINATOR)
        self.mirrored = time.monotonic()
        self.store.retry = Retry(seconds=OUTAGE, wait=self._outage)

    @property
    def halted(self) -> bool:
        """Return whether this process is to end."""
        return self.halt.is_set()

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

    def goes_on(self, trial: int, step: int) -> bool | Wait:
        """Decide whether a trial that cannot pause goes on at a rung, of which its loss was told.

        Returns `Wait` while another process decides; False too where another took the trial over.
        """
        with self.counted():
            try:
                with self.participant.turn(self.recorder.own) as decides:
                    stop = self._next_stop(trial, step) if decides else None
                    if stop is not None:
                        self.recorder.go_on(trial, stop)
            except LeaseLost:  # the trial, or the turn that ended before the decision
                self._forget({trial: self.recorder.own[trial]})
                return Wait(0.0) if trial in self.recorder.own else False
            return stop is not None if decides else Wait(WAIT)

    def add(self, measured: Measured) -> TrialRecord | Wait:
        """Store a trial that was measured elsewhere; `Wait` while another process decides.

        Raises:
            AlreadyThere: The search is over.
            SpecError: The trial cannot be one of this search.
        """
        # Its time is not counted: it may be called before the search is begun here.
        with suppress(LeaseLost), self.participant.turn(self.recorder.own) as decides:
            if decides:
                return self._add(measured)[0]
        return Wait(WAIT)

    def _forget(self, held: Mapping[int, int]) -> None:
        """Give up those trials that another process has taken over."""
        participant = self.participant
        for lost in self.store.beat(participant.search.id, participant.worker, held).lost:
            self.recorder.forget(lost)

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
        before, paused = self.participant.paused, not self.busy and self.why() is Reason.PAUSED
        self.participant.rest(paused=paused)
        if paused is not before:
            name = shlex.quote(self.participant.search.name)
            way_on = f"told to pause; continue with: autotune tell {name} continue"
            self.listen(Notice(text=way_on if paused else "told to continue"))

    def counted(self) -> AbstractContextManager[None]:
        """Count the time of what is done here as deciding and writing."""
        return self.overhead.counted()

    def end(self) -> None:
        """Write what is left and tell listeners how the search ended for this process."""
        self.participant.spend()
        self._mirror()
        complete = self.participant.state is SearchState.COMPLETE
        name = self.opened.search.name
        self.listen(SearchEnded(name=name, complete=complete, seconds=self._elapsed()))
        if complete:
            for text in self._advice():
                self.listen(Notice(text=text))

    def _advice(self) -> Iterator[str]:
        """Yield what was too small or too narrow."""
        return self.advice.at_end(self.tracker)

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

    def _began(self, job: Job) -> None:
        self.overhead.began(job.trial)

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
