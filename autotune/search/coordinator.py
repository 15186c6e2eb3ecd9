"""The main loop: ask each study what to run next, run it, record it, until the budget is spent."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from autotune.engines import from_spec
from autotune.engines.base import Engine
from autotune.errors import LeaseLost, NothingUsable, StorageError
from autotune.results import comparison
from autotune.scheduler import racing, stages, widening
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.study_state import StudyState
from autotune.search.events import Listener, Notice, SearchEnded, SearchStarted, Spent, ignore
from autotune.search.lock import COORDINATOR, exclusive, folder_of
from autotune.search.opening import Opened, checked, open_search
from autotune.search.recorder import Recorder
from autotune.search.turns import Participant
from autotune.seeds import derive
from autotune.studies import urls
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Command, Role, SearchState, TrialState
from autotune.studies.retry import Retry
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.tasks.function import refuse_nested

WAIT = 0.2  # seconds to wait for other processes when there is nothing to do
OUTAGE = 600.0  # seconds that the database may be unreachable
POLL = 0.5  # seconds to wait for reports before the halt flag is checked
# A search without any measured loss ends after so many trials of one of these states.
HOPELESS = {TrialState.FAILED: 3, TrialState.DIVERGED: 9}
STEP_TIMEOUT = 30.0  # seconds that running steps get to end when the time is over
MIRRORED_EVERY = 30.0  # seconds between updates of Optuna's tables
SAVED_EVERY = 5.0  # seconds between writes of the time spent


def run(
    spec: SearchSpec,
    *,
    store: Store,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
) -> comparison.Comparison:
    """Search until the budget is spent and return the comparison.

    A stored search with the same name and spec is continued; a finished one is only read.

    Args:
        spec: What to search, with what budget.
        store: Where everything is stored, as it happens.
        listen: Called with every event.
        halt: Set it to stop early: running steps are finished and saved, nothing new starts.

    Raises:
        AlreadyThere: The name belongs to a search with another spec.
        NothingUsable: No trial ended with a loss.
    """
    refuse_nested()
    from_spec.ready(spec)
    folder = folder_of(store.url, spec.search_name)
    with exclusive(folder, spec.search_name):
        worker = coordinator(store.url, folder)
        asked = checked(spec, store)
        # An engine that refuses to start must leave nothing stored.
        with nullcontext() if asked.finished else closing(from_spec.start(spec)) as engine:
            # The process that held the lock before is dead, so its leases end at once.
            opened = open_search(asked, store, dead=worker, blame=False)
            if engine:
                store.tell(
                    spec.search_name, Command.CONTINUE
                )  # this cancels an earlier pause or stop
                halt = halt or threading.Event()
                with closing(Mirror(store.url)) as mirror:
                    loop = Loop(
                        spec, store, opened, listen, halt, folder, mirror=mirror, worker=worker
                    )
                    loop.run(engine)
    found = comparison.load(store, spec.search_name)
    if found.search.state is SearchState.COMPLETE:
        refuse_nothing(opened)
    return found


def coordinator(url: str, folder: Path) -> str:
    """Return the worker name of the search command: the same each time it runs."""
    if urls.file(url) is not None:
        return COORDINATOR  # its lock file moves with the database
    return f"{COORDINATOR}-{socket.gethostname()}-{derive(str(folder.absolute())):08x}"


def refuse_nothing(opened: Opened) -> None:
    """Raise NothingUsable if no trial reached its last step with a loss."""
    trials = [trial for state in opened.states for trial in state.trials.values()]
    if any(t.state is TrialState.COMPLETE and t.loss is not None for t in trials):
        return
    reasons = [t.reason for t in trials if t.reason and t.state is not TrialState.STOPPED]
    why = f"the first said: {reasons[0]}" if reasons else "the budget ended first, raise it"
    raise NothingUsable(f"no trial of '{opened.search.name}' reached its end with a loss; {why}")


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
    ) -> None:
        self.spec, self.store, self.opened = spec, store, opened
        self.listen, self.halt, self.folder = listen, halt, folder
        self.states = opened.states
        self.participant = Participant(
            store, opened.search, self.states, spec=spec, worker=worker, revision=opened.revision
        )
        self.recorder = Recorder(self.participant, listen, spec=spec, folder=folder, mirror=mirror)
        self.stopping: float | None = None  # when workers were asked to stop
        self.warned = not worker.startswith(COORDINATOR)  # other workers cannot change the budget
        self.over = False  # nothing is left to do for this process
        self.mirrored = time.monotonic()
        self.recording = 0.0  # seconds that this process spent deciding and writing
        self.before = sum(state.runs() for state in self.states)
        self.store.retry = Retry(seconds=OUTAGE, wait=self._outage)

    def run(self, engine: Engine) -> None:
        """Run until nothing is left to start and nothing runs; closes the engine."""
        self.tracker = BudgetTracker(
            states=self.states,
            slots=engine.slots,
            elapsed=self._elapsed,
            overhead=self._overhead,
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
            self._warn()

    def _work(self, engine: Engine) -> None:
        while not self.over:
            began = time.monotonic()
            self._beat(engine)
            self._fill(engine)
            self.recording += time.monotonic() - began
            if self.over:
                return
            reports = engine.reports(POLL)
            began = time.monotonic()
            for report in reports:
                if not self.recorder.take(report):
                    engine.interrupt(report.trial)
            self._report_progress()
            self._warn_of_shortage()
            self._watch(engine)
            if not self.recorder.busy:
                self.halt.wait(self._idle)

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
                    started = decides and not self._closed() and self._start(engine)
                    if decides and not started:
                        self._end_if_over()
                if not started:
                    # Other processes run trials or decide: asking again at once is useless.
                    self._idle = WAIT if decides else 0.0
                    return

    def _free(self, engine: Engine) -> bool:
        """Return whether there is something to decide: what to start, or whether to end."""
        if self.over:
            return False
        if self._ending():
            return not self.recorder.busy
        return len(self.recorder.busy) < engine.slots

    def _ending(self) -> bool:
        return self.stopping is not None or self._asked_to_stop()

    def _asked_to_stop(self) -> bool:
        """Return whether this process should stop running trials."""
        return self.halt.is_set() or self.participant.command is not Command.CONTINUE

    def _closed(self) -> bool:
        """Return whether another process ended the search or changed its spec."""
        self.over = self.participant.state is SearchState.COMPLETE or self.participant.changed
        return self.over

    def _start(self, engine: Engine) -> bool:
        """Start the next suggestion of the study that has spent the least."""
        if self._ending():
            return False
        self.tracker = replace(self.tracker, slots=engine.slots + len(self.participant.others))
        for state in sorted(self.states, key=StudyState.committed):
            if self.tracker.waits(state):
                continue
            searched = state.searched
            suggestion = stages.next_suggestion(state, partial(self.tracker.affordable, state))
            if state.searched and not searched:
                self.recorder.end_search(state, self.tracker.minutes_left())
            if suggestion:
                engine.submit(self.recorder.start(state, suggestion))
                return True
        return False

    def _end_if_over(self) -> None:
        """End the search if nobody can continue it; called in a turn that started nothing."""
        if self.recorder.busy or self.over:
            return
        if self.participant.command is Command.PAUSE and not self.halt.is_set():
            return
        left = self._asked_to_stop() and not all(stages.complete(o) for o in self.states)
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
        """Stop early if told to, out of time or hopeless; kill workers that do not answer."""
        minutes = self.spec.budget.resolved.minutes
        late = minutes is not None and self._elapsed() > minutes * 60
        now = time.monotonic()
        if self.stopping is None and (self._asked_to_stop() or late or self._hopeless()):
            self.stopping = now
            engine.interrupt()
        elif self.stopping is not None and late and now > self.stopping + STEP_TIMEOUT:
            engine.kill()
        elif self.stopping is not None and not (self._asked_to_stop() or late or self._hopeless()):
            self.stopping = None  # it was only a pause

    def _outage(self, seconds: float, why: str) -> bool:
        """Wait for the database while trials go on; return whether to give up."""
        self.listen(Notice(text=f"{why}; trying again"))
        return self.halt.wait(seconds)

    def _hopeless(self) -> bool:
        trials = [t for state in self.states for t in state.trials.values()]
        measured = any(curve for state in self.states for curve in state.losses.values())
        many = any(sum(t.state is s for t in trials) >= n for s, n in HOPELESS.items())
        return many and not measured

    def _mirror(self, every: float = 0.0) -> None:
        """Update Optuna's tables if the last update is ``every`` seconds ago."""
        now = time.monotonic()
        if now - self.mirrored > every:
            self.recorder.reflect()
            self.mirrored = now

    def _elapsed(self) -> float:
        return self.participant.seconds + self.participant.unspent()

    def _overhead(self) -> float:
        """Return the seconds of deciding and writing per full run."""
        runs = sum(state.runs() for state in self.states) - self.before
        return self.recording / runs if runs else 0.0

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
        if self.warned or self._ending() or not all(one.runs() for one in self.states):
            return
        self.warned = True  # a later warning would be more exact but come too late
        if text := self.tracker.shortage():
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
            judged = any(t.source == winner and t.loss for t in state.of(Role.JUDGE))
            self.recorder.close(state, winner if judged else None)
        self.participant.keep_turn()
        self.participant.state = SearchState.COMPLETE
        self.store.update_search(self.opened.search.name, state=SearchState.COMPLETE)
        for left in self.folder.glob("*.p*t*"):  # checkpoints, and files that a killed worker left
            left.unlink(missing_ok=True)

    def _warn(self) -> None:
        """Warn if the budget was too small or a range may be too narrow."""
        minutes = self.tracker.minutes_needed()
        enough = f" to about {minutes} minutes" if minutes else ""
        for state in self.states:
            scarce = filter(None, [stages.scarce(state)])
            for text in (*widening.recommended(state, racing.chosen(state)), *scarce):
                self.listen(Notice(text=f"{state.study.optimizer}: {text}"))
            if not stages.complete(state):
                self.listen(
                    Notice(
                        text=f"the budget ended before {state.study.optimizer} was judged on "
                        f"{self.spec.seeds} seeds. Raise it{enough} and run the same command again"
                    )
                )
