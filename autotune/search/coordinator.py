"""The search: ask each study what to run next, run it, record it, until the budget is spent."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from autotune.engines import from_spec
from autotune.engines.base import Backend
from autotune.errors import LeaseLost, NothingUsable, StorageError
from autotune.results import comparison
from autotune.scheduler import racing, stages, widening
from autotune.scheduler.budget import Purse
from autotune.scheduler.study_state import StudyState
from autotune.search.events import Listener, Notice, SearchEnded, SearchStarted, Spent, ignore
from autotune.search.lock import COORDINATOR, folder_of, sitting
from autotune.search.opening import Opened, checked, open_search
from autotune.search.recorder import Recorder
from autotune.search.turns import Share
from autotune.seeds import derive
from autotune.studies import urls
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Command, Role, SearchState, TrialState
from autotune.studies.retry import Patience
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store

WAIT = 0.2  # seconds between looks at what other processes do while there is nothing to do
OUTAGE = 600.0  # seconds that the database may be away
POLL = 0.5  # seconds between looks at the halt flag while nothing is reported
HOPELESS = {TrialState.FAILED: 3, TrialState.DIVERGED: 9}  # trials without one measured loss
PATIENCE = 30.0  # seconds a step may take to end when a search is out of time
MIRRORED_EVERY = 30.0  # seconds between looks of Optuna's tools
SAVED_EVERY = 5.0  # seconds between writes of the time spent


def run(
    spec: SearchSpec,
    *,
    store: Store,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
) -> comparison.Comparison:
    """Search until the budget is spent, and return what was found.

    A stored search of the same name and spec is continued; a finished one is only read.

    Args:
        spec: What to search, with what budget.
        store: Where everything is kept, while it happens.
        listen: Told every event.
        halt: Set it to stop early: running steps are finished and saved, nothing new starts.

    Raises:
        AlreadyThere: The name belongs to a search with another spec.
        NothingUsable: No trial ended with a loss.
    """
    from_spec.ready(spec)
    folder = folder_of(store.url, spec.search_name)
    with sitting(folder, spec.search_name):
        worker = coordinator(store.url, folder)
        asked = checked(spec, store)
        # An engine that refuses to start must leave nothing stored.
        with nullcontext() if asked.finished else closing(from_spec.start(spec)) as engine:
            # Who held the lock before is dead: what it ran need not wait for its leases to end.
            opened = open_search(asked, store, dead=worker, blame=False)
            if engine:
                store.tell(spec.search_name, Command.CONTINUE)  # whatever its workers were told
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
    """Return the name under which a search's command runs trials: the same each time."""
    if urls.file(url) is not None:
        return COORDINATOR  # its lock lies beside the database, wherever that is moved
    return f"{COORDINATOR}-{socket.gethostname()}-{derive(str(folder.absolute())):08x}"


def refuse_nothing(opened: Opened) -> None:
    """Raise NothingUsable where nothing reached its last step with a loss."""
    trials = [trial for state in opened.states for trial in state.trials.values()]
    if any(t.state is TrialState.COMPLETE and t.loss is not None for t in trials):
        return
    reasons = [t.reason for t in trials if t.reason and t.state is not TrialState.STOPPED]
    why = f"the first said: {reasons[0]}" if reasons else "the budget ended first, raise it"
    raise NothingUsable(f"no trial of '{opened.search.name}' reached its end with a loss; {why}")


class Loop:
    """One process's part in a search; without a mirror, nothing of it is shown to Optuna's tools.

    Args:
        spec: What to search, with what budget.
        store: Where everything is kept.
        opened: The search.
        listen: Told every event.
        halt: Set to stop early.
        folder: Where checkpoints go.
        mirror: Optuna's tables.
        worker: Who this is.
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
        self.share = Share(
            store, opened.search, self.states, spec=spec, worker=worker, revision=opened.revision
        )
        self.recorder = Recorder(self.share, listen, spec=spec, folder=folder, mirror=mirror)
        self.stopping: float | None = None  # when workers were asked to stop
        self.foretold = not worker.startswith(COORDINATOR)  # who joins does not set the budget
        self.over = False  # the search is complete, or this process's part in it
        self.reflected = time.monotonic()
        self.recording = 0.0  # seconds of this sitting spent deciding and writing
        self.before = sum(state.runs() for state in self.states)
        self.store.patience = Patience(seconds=OUTAGE, wait=self._outage)

    def run(self, backend: Backend) -> None:
        """Run until nothing is left to start and nothing is under way; ends the backend."""
        self.purse = Purse(
            states=self.states,
            slots=backend.slots,
            elapsed=self._elapsed,
            overhead=self._overhead,
        )
        self._announce(backend.slots)
        try:
            self._work(backend)
        except BaseException:
            self._abandon()
            raise
        finally:
            backend.close()
        self.share.spend()
        self._reflect()
        self.listen(
            SearchEnded(
                name=self.opened.search.name,
                complete=self.share.state is SearchState.COMPLETE,
                seconds=self._elapsed(),
            )
        )
        if self.share.state is SearchState.COMPLETE:
            self._warn()

    def _work(self, backend: Backend) -> None:
        while not self.over:
            began = time.monotonic()
            self._beat(backend)
            self._fill(backend)
            self.recording += time.monotonic() - began
            if self.over:
                return
            reports = backend.reports(POLL)
            began = time.monotonic()
            for report in reports:
                if not self.recorder.take(report):
                    backend.interrupt(report.trial)
            self._tell()
            self._foretell()
            self._watch(backend)
            if not self.recorder.busy:
                self.halt.wait(self._idle)

    def _beat(self, backend: Backend) -> None:
        """Give a sign of life when it is time to, and do what the answer says."""
        answer = self.share.beat(self.recorder.own)
        if answer is None:
            return
        for trial in answer.lost:
            self.recorder.forget(trial)
            backend.interrupt(trial)

    def _fill(self, backend: Backend) -> None:
        """Give idle workers something to do, or end where nothing is left."""
        self._idle = 0.0
        # Whose turn ended before it had decided has to look again: others may have begun things.
        with suppress(LeaseLost):
            while self._free(backend):
                with self.share.turn(self.recorder.own) as decides:
                    started = decides and not self._closed() and self._start(backend)
                    if decides and not started:
                        self._end_if_over()
                if not started:
                    # Others run, decide or are waited for: there is no use in asking at once.
                    self._idle = WAIT if decides else 0.0
                    return

    def _free(self, backend: Backend) -> bool:
        """Say whether there is something to decide: what to start, or whether it is over."""
        if self.over:
            return False
        if self._ending():
            return not self.recorder.busy
        return len(self.recorder.busy) < backend.slots

    def _ending(self) -> bool:
        return self.stopping is not None or self._told_off()

    def _told_off(self) -> bool:
        """Say whether somebody wants this process to stop running trials."""
        return self.halt.is_set() or self.share.command is not Command.CONTINUE

    def _closed(self) -> bool:
        """Say whether another process ended the search, or began it anew with another spec."""
        self.over = self.share.state is SearchState.COMPLETE or self.share.changed
        return self.over

    def _start(self, backend: Backend) -> bool:
        """Start the next stretch of the study that has spent least."""
        if self._ending():
            return False
        self.purse = replace(self.purse, slots=backend.slots + len(self.share.others))
        for state in sorted(self.states, key=StudyState.committed):
            if self.purse.waits(state):
                continue
            searched = state.searched
            stretch = stages.following(state, partial(self.purse.affordable, state))
            if state.searched and not searched:
                self.recorder.end_search(state, self.purse.minutes())
            if stretch:
                backend.submit(self.recorder.start(state, stretch))
                return True
        return False

    def _end_if_over(self) -> None:
        """End what nobody can go on with; called within a turn that started nothing."""
        if self.recorder.busy or self.over:
            return
        if self.share.command is Command.PAUSE and not self.halt.is_set():
            return
        left = self._told_off() and not all(stages.complete(o) for o in self.states)
        if self.share.others:
            self.over = left
            return
        if left:
            self._leave()
        else:
            self._close()
        self.over = True

    def _leave(self) -> None:
        """Write down that nobody runs the search any more, unless somebody does."""
        if not self.share.others:
            self.share.state = SearchState.INTERRUPTED
            self.store.update_search(self.opened.search.name, state=SearchState.INTERRUPTED)

    def _abandon(self) -> None:
        """Write down what can be before an error is told, which may be that of the database."""
        self.store.patience = Patience()
        with suppress(StorageError):
            self.share.spend()
            self._leave()

    def _watch(self, backend: Backend) -> None:
        """Stop early when told to, out of time or without hope; end workers that do not answer."""
        minutes = self.spec.budget.resolved.minutes
        late = minutes is not None and self._elapsed() > minutes * 60
        now = time.monotonic()
        if self.stopping is None and (self._told_off() or late or self._hopeless()):
            self.stopping = now
            backend.interrupt()
        elif self.stopping is not None and late and now > self.stopping + PATIENCE:
            backend.kill()
        elif self.stopping is not None and not (self._told_off() or late or self._hopeless()):
            self.stopping = None  # it was only to pause

    def _outage(self, seconds: float, why: str) -> bool:
        """Wait for the database while what runs goes on running; say whether to give up."""
        self.listen(Notice(text=f"{why}; trying again"))
        return self.halt.wait(seconds)

    def _hopeless(self) -> bool:
        trials = [t for state in self.states for t in state.trials.values()]
        measured = any(curve for state in self.states for curve in state.losses.values())
        many = any(sum(t.state is s for t in trials) >= n for s, n in HOPELESS.items())
        return many and not measured

    def _reflect(self, every: float = 0.0) -> None:
        """Bring Optuna's tables up to date, where that was last done long ago."""
        now = time.monotonic()
        if now - self.reflected > every:
            self.recorder.reflect()
            self.reflected = now

    def _elapsed(self) -> float:
        return self.share.seconds + self.share.unspent()

    def _overhead(self) -> float:
        """Return the seconds of deciding and writing that a full run takes."""
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

    def _tell(self) -> None:
        if self.share.unspent() > SAVED_EVERY:
            self.share.spend()
            self._reflect(MIRRORED_EVERY)
        order = [Role.SEARCH, Role.SELECT, Role.JUDGE]
        names = {state.study.optimizer: state for state in self.states}
        best = {name: state.best() for name, state in names.items()}
        self.listen(
            Spent(
                stage=min((stages.stage(state) for state in self.states), key=order.index),
                runs={name: state.runs() for name, state in names.items()},
                planned={name: self.purse.planned(state) for name, state in names.items()},
                seconds=self._elapsed(),
                left=self.purse.left(),
                best={n: t.loss for n, t in best.items() if t and t.loss is not None},
            )
        )

    def _foretell(self) -> None:
        """Say, once every optimizer has run a little, whether the minutes will do."""
        if self.foretold or self._ending() or not all(one.runs() for one in self.states):
            return
        self.foretold = True  # later the pace is known better, but little can be done
        if text := self.purse.short():
            self.listen(Notice(text=text))

    def _close(self) -> None:
        """Stop what will not go on, and store what is recommended."""
        self.share.spend()
        for state in self.states:
            self.share.keep_turn()
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
        self.share.keep_turn()
        self.share.state = SearchState.COMPLETE
        self.store.update_search(self.opened.search.name, state=SearchState.COMPLETE)
        for left in self.folder.glob("*.p*t*"):  # states, and what a killed worker was writing
            left.unlink(missing_ok=True)

    def _warn(self) -> None:
        """Say where the budget did not reach, and where a range may end too early."""
        minutes = self.purse.enough()
        enough = f" to about {minutes} minutes" if minutes else ""
        for state in self.states:
            scarce = filter(None, [stages.scarce(state)])
            for text in (*widening.recommended(state, racing.chosen(state)), *scarce):
                self.listen(Notice(text=f"{state.study.optimizer}: {text}"))
            if not stages.complete(state):
                self.listen(
                    Notice(
                        text=f"the budget ended before {state.study.optimizer} was judged on "
                        f"{self.spec.seeds} seeds; raise it{enough} and run the same command again"
                    )
                )
