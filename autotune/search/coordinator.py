"""The main loop: ask each study what to run next, run it, record it, until the budget is spent."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from autotune.engines import from_spec
from autotune.engines.base import Engine
from autotune.errors import LeaseLost, StorageError
from autotune.results import comparison
from autotune.scheduler import racing, stages
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.study_state import StudyState
from autotune.search import proxy
from autotune.search.advice import Advice
from autotune.search.events import Listener, Notice, SearchEnded, SearchStarted, Spent, ignore
from autotune.search.growth import tell
from autotune.search.lock import COORDINATOR, coordinator, exclusive, folder_of
from autotune.search.opening import Opened, Prepared, charged, open_search
from autotune.search.overhead import Overhead
from autotune.search.proxy import Fit
from autotune.search.reasons import LEAVING, Reason, reason
from autotune.search.recorder import Recorder
from autotune.search.renewal import news, refuse_nothing, renewed
from autotune.search.turns import Participant
from autotune.studies import urls
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Command, Role, SearchState, TrialState
from autotune.studies.retry import Retry
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.tasks.script import refuse_nested
from autotune.training.job import Outcome, Report

WAIT = 0.2  # seconds to wait for other processes when there is nothing to do
OUTAGE = 600.0  # seconds that the database may be unreachable
POLL = 0.5  # seconds to wait for reports before the halt flag is checked
STEP_TIMEOUT = 30.0  # seconds that running steps get to end when the time is over
MIRRORED_EVERY = 30.0  # seconds between updates of Optuna's tables
SAVED_EVERY = 5.0  # seconds between writes of the time spent


def run(
    spec: SearchSpec,
    *,
    store: Store,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
    prepared: Prepared | None = None,
) -> comparison.Comparison:
    """Search until the budget is spent and return the comparison.

    A stored search with the same name and spec is continued, its failed trials are tried again; a
    finished one without any is only read.

    Args:
        spec: What to search, with what budget.
        store: Where everything is stored, as it happens.
        listen: Called with every event.
        halt: Set it to stop early: running steps are finished and saved, nothing new starts.
        prepared: What ``opening.prepare`` returned, if it was called before.

    Raises:
        AlreadyThere: The name belongs to a search with another spec.
        NothingUsable: No trial ended with a loss.
    """
    refuse_nested()
    from_spec.ready(spec)
    halt = halt or threading.Event()
    folder = folder_of(store.url, spec.search_name)
    with exclusive(folder, spec.search_name):
        worker = coordinator(store.url, folder)
        asked = renewed(spec, store, prepared)
        # An engine that refuses to start must leave nothing stored.
        starting = None if asked.finished else from_spec.start(spec, asked.facts)
        with nullcontext() if starting is None else closing(starting) as engine:
            if text := news(asked):
                listen(Notice(text=text))
            fit = proxy.fit(asked, engine, listen, halt) if engine else Fit(asked=asked)
            # The process that held the lock before is dead, so its leases end at once.
            opened = open_search(fit.asked, store, dead=worker, blame=False)
            if engine:
                if text := from_spec.notice(engine):
                    listen(Notice(text=text))
                store.tell(spec.search_name, Command.CONTINUE)  # an earlier pause or stop is over
                opened = charged(opened, store, fit.seconds)
                with closing(Mirror(store.url)) as mirror:
                    tell(asked.growth, spec.search_name, listen, mirror)
                    loop = partial(Loop, fit.asked.spec, store, opened, listen, halt, folder)
                    loop(mirror=mirror, worker=worker, fit=fit).run(engine)
    found = comparison.load(store, spec.search_name)
    if found.search.state is SearchState.COMPLETE:
        refuse_nothing(opened)
    return found


class Loop:
    """The loop of one process that takes part in a search.

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
        self.asked: float | None = None  # when running jobs were asked to save and stop
        # Other workers cannot change the budget.
        self.warned = advised is not None or not worker.startswith(COORDINATOR)
        self.over = False  # nothing is left to do for this process
        self.reopened = -1  # trials when searches that had ended went on
        self.mirrored = time.monotonic()
        self.store.retry = Retry(seconds=OUTAGE, wait=self._outage)

    def run(self, engine: Engine) -> None:
        """Run until nothing is left to start and nothing runs; closes the engine."""
        self.overhead = Overhead(engine.slots)
        self.tracker = BudgetTracker(
            states=self.states,
            slots=engine.slots,
            elapsed=self._elapsed,
            overhead=self.overhead.per_job,
            costs=self.costs,
        )
        self._announce(engine.slots)
        try:
            self._work(engine)
        except BaseException:
            self._abandon()
            raise
        finally:
            engine.close()
        self.participant.spend()
        self._mirror()
        self.listen(
            SearchEnded(
                name=self.opened.search.name,
                complete=self.participant.state is SearchState.COMPLETE,
                seconds=self._elapsed(),
            )
        )
        if self.participant.state is SearchState.COMPLETE:
            for text in self.advice.at_end(self.tracker):
                self.listen(Notice(text=text))

    def _work(self, engine: Engine) -> None:
        while not self.over:
            with self.overhead.counted():
                self._beat(engine)
                self._fill(engine)
            if self.over:
                return
            reports = engine.reports(POLL)
            with self.overhead.counted():
                self._take(reports, engine)
                self._report_progress()
                self._warn_of_shortage()
                self._watch(engine)
            idle = not self.recorder.busy
            self.participant.rest(paused=idle and self._why() is Reason.PAUSED)
            if idle:
                self.halt.wait(self._idle)

    def _take(self, reports: Sequence[Report], engine: Engine) -> None:
        """Record reports; jobs that other processes took over are stopped."""
        for report in reports:
            if report.outcome is not Outcome.PROGRESS:
                self.overhead.ended(report.trial, report.seconds)
            if not self.recorder.take(report):
                engine.interrupt(report.trial)

    def _beat(self, engine: Engine) -> None:
        """Send a heartbeat when it is due, and stop the trials that it reports as lost."""
        answer = self.participant.beat(self.recorder.own)
        if answer is None:
            return
        for trial in answer.lost:
            self.recorder.forget(trial)
            engine.interrupt(trial)

    def _fill(self, engine: Engine) -> None:
        """Start jobs on idle workers, or end the search if nothing is left."""
        self._idle = 0.0
        # If the turn ended before the decision, look again: others may have started trials.
        with suppress(LeaseLost):
            while self._free(engine):
                with self.participant.turn(self.recorder.own) as decides:
                    started = decides and not self._closed() and self._decide(engine)
                if not started:
                    # Other processes run trials or decide: asking again at once is useless.
                    self._idle = WAIT if decides else 0.0
                    return

    def _free(self, engine: Engine) -> bool:
        """Return whether there is something to decide: what to start, or whether to end."""
        if self.over:
            return False
        if self._why() is not None:
            return not self.recorder.busy
        return len(self.recorder.busy) < engine.slots

    def _why(self) -> Reason | None:
        """Return why this process starts nothing now; None if it may start trials."""
        command = self.participant.command
        return reason(self.states, halted=self.halt.is_set(), command=command, late=self._late())

    def _late(self) -> bool:
        minutes = self.spec.budget.resolved.minutes
        return minutes is not None and self._elapsed() > minutes * 60

    def _closed(self) -> bool:
        """Return whether another process ended the search or changed its spec."""
        self.over = self.participant.state is SearchState.COMPLETE or self.participant.changed
        return self.over

    def _decide(self, engine: Engine) -> bool:
        """Start a job, or end the search if nothing is left; both for the reason that holds now."""
        why = self._why()
        # When it is late they are asked all the same: that nothing is left is for studies to say.
        if why in {None, Reason.LATE} and self._start(engine):
            self.asked = None  # nobody asked this job to stop
            return True
        self._end_if_over(why)
        return False

    def _start(self, engine: Engine) -> bool:
        """Start the next suggestion of the study that has spent the least."""
        self.tracker = replace(self.tracker, slots=engine.slots + len(self.participant.others))
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
                engine.submit(job)
                return True
        # Who waited for a search that is now over has not been asked.
        return ended and self._start(engine)

    def _end_if_over(self, why: Reason | None) -> None:
        """End the search if nobody can continue it; called in a turn that started nothing."""
        if self.recorder.busy or why is Reason.PAUSED:
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

    def _abandon(self) -> None:
        """Store what is possible before an error is raised, perhaps one of the database."""
        self.store.retry = Retry()
        with suppress(StorageError):
            self.participant.spend()
            self._leave()

    def _watch(self, engine: Engine) -> None:
        """Ask running jobs to stop if there is a reason; kill workers that do not answer."""
        now = time.monotonic()
        if self._why() is None:
            self.asked = None
        elif self.asked is None:
            self.asked = now
            engine.interrupt()
        elif self._late() and now > self.asked + STEP_TIMEOUT:
            engine.kill()

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
        if self.warned or self._why() or not all(one.runs() for one in self.states):
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
