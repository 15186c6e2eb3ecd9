"""The search: ask each study what to run next, run it, record it, until the budget is spent."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

from autotune import compare, racing, stages
from autotune.backends.base import Backend
from autotune.errors import NothingUsable
from autotune.events import Listener, Notice, SearchEnded, SearchStarted, Spent, ignore
from autotune.ledger import Ledger
from autotune.opening import Opened, open_search
from autotune.purse import Purse
from autotune.recorder import Recorder
from autotune.registry import load
from autotune.sitting import folder_of, sitting
from autotune.studies import urls
from autotune.studies.optuna import Mirror
from autotune.studies.records import Role, SearchState, TrialState
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store

POLL = 0.5  # seconds between looks at the halt flag while nothing is reported
HOPELESS = {TrialState.FAILED: 3, TrialState.DIVERGED: 9}  # trials without one measured loss
PATIENCE = 30.0  # seconds a step may take to end when a search is out of time
SAVED_EVERY = 5.0  # seconds between writes of the time spent


def run(
    spec: SearchSpec,
    *,
    store: Store,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
) -> compare.Comparison:
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
    folder = folder_of(store.url, spec.search_name)
    with sitting(folder, spec.search_name):
        opened = open_search(spec, store)
        if not opened.finished:
            mirror = Mirror(store.url)
            Loop(spec, store, opened, listen, halt or threading.Event(), folder, mirror).run()
    found = compare.load(store, spec.search_name)
    if found.search.state is SearchState.COMPLETE:
        _refuse_nothing(opened)
    return found


def _refuse_nothing(opened: Opened) -> None:
    """Raise NothingUsable where nothing reached its last step with a loss."""
    trials = [trial for ledger in opened.ledgers for trial in ledger.trials.values()]
    if any(t.state is TrialState.COMPLETE and t.loss is not None for t in trials):
        return
    reasons = [t.reason for t in trials if t.reason and t.state is not TrialState.STOPPED]
    why = f"the first said: {reasons[0]}" if reasons else "the budget ended first, raise it"
    raise NothingUsable(f"no trial of '{opened.search.name}' reached its end with a loss; {why}")


class Loop:
    """One sitting of a search; without a mirror, nothing of it is shown to Optuna's tools."""

    def __init__(
        self,
        spec: SearchSpec,
        store: Store,
        opened: Opened,
        listen: Listener,
        halt: threading.Event,
        folder: Path,
        mirror: Mirror | None = None,
    ) -> None:
        self.spec, self.store, self.opened = spec, store, opened
        self.listen, self.halt, self.folder = listen, halt, folder
        self.ledgers = opened.ledgers
        self.recorder = Recorder(
            opened.search,
            self.ledgers,
            store,
            listen,
            spec=spec,
            folder=folder,
            mirror=mirror,
        )
        self.stopping: float | None = None  # when workers were asked to stop
        self.recording = 0.0  # seconds of this sitting spent deciding and writing
        self.before = sum(ledger.runs() for ledger in self.ledgers)
        self.spent = opened.search.seconds

    def run(self, backend: Backend | None = None) -> None:
        """Run until nothing is left to start and nothing is under way.

        Args:
            backend: Where trials run; the one the spec names when left out.
        """
        if backend is None:
            backend = load("autotune.backends", self.spec.engine)(workers=self.spec.workers)
        self.purse = Purse(
            spec=self.spec,
            ledgers=self.ledgers,
            slots=backend.slots,
            elapsed=self._elapsed,
            overhead=self._overhead,
        )
        self._announce(backend.slots)
        try:
            began = time.monotonic()
            while self._fill(backend):
                self.recording += time.monotonic() - began
                reports = backend.reports(POLL)
                began = time.monotonic()
                for report in reports:
                    self.recorder.take(report)
                self._tell()
                self._watch(backend)
        except BaseException:
            self.store.update_search(self.opened.search.name, state=SearchState.INTERRUPTED)
            raise
        finally:
            backend.close()
            self._save_time()
        self._finish()
        self._save_time()

    def _fill(self, backend: Backend) -> bool:
        """Give idle workers something to do; say whether anything is under way."""
        while not self._ending() and self._busy() < backend.slots and self._start(backend):
            pass
        return self._busy() > 0

    def _ending(self) -> bool:
        return self.stopping is not None or self.halt.is_set()

    def _start(self, backend: Backend) -> bool:
        """Start the next stretch of the study that has spent least."""
        for ledger in sorted(self.ledgers, key=Ledger.committed):
            if self.purse.waits(ledger):
                continue
            searched = ledger.searched
            stretch = stages.following(ledger, self.spec, partial(self.purse.affordable, ledger))
            if ledger.searched and not searched:
                self.recorder.close(ledger, None)
            if stretch:
                backend.submit(self.recorder.start(ledger, stretch))
                return True
        return False

    def _busy(self) -> int:
        return sum(len(ledger.running()) for ledger in self.ledgers)

    def _watch(self, backend: Backend) -> None:
        """Stop early when told to, out of time or without hope; end workers that do not answer."""
        minutes = self.spec.budget.resolved.minutes
        late = minutes is not None and self._elapsed() > minutes * 60
        now = time.monotonic()
        if self.stopping is None and (self.halt.is_set() or late or self._hopeless()):
            self.stopping = now
            backend.interrupt()
        elif self.stopping is not None and late and now > self.stopping + PATIENCE:
            backend.kill()

    def _hopeless(self) -> bool:
        trials = [t for ledger in self.ledgers for t in ledger.trials.values()]
        measured = any(curve for ledger in self.ledgers for curve in ledger.losses.values())
        many = any(sum(t.state is s for t in trials) >= n for s, n in HOPELESS.items())
        return many and not measured

    def _elapsed(self) -> float:
        return self.spent + self.recorder.unspent()

    def _overhead(self) -> float:
        """Return the seconds of deciding and writing that a full run takes."""
        runs = sum(ledger.runs() for ledger in self.ledgers) - self.before
        return self.recording / runs if runs else 0.0

    def _save_time(self) -> None:
        self.spent += self.recorder.unspent()
        self.recorder.spend()

    def _announce(self, workers: int) -> None:
        search = self.opened.search
        self.listen(
            SearchStarted(
                name=search.name,
                storage=urls.mask(self.store.url),
                task=search.task,
                optimizers=self.spec.optimizers,
                rungs=self.ledgers[0].rungs.steps,
                resumed=self.opened.resumed,
                workers=workers,
                engine=self.spec.engine,
            )
        )

    def _tell(self) -> None:
        if self.recorder.unspent() > SAVED_EVERY:
            self._save_time()
        order = [Role.SEARCH, Role.SELECT, Role.JUDGE]
        names = {ledger.study.optimizer: ledger for ledger in self.ledgers}
        best = {name: ledger.best() for name, ledger in names.items()}
        self.listen(
            Spent(
                stage=min((stages.stage(ledger) for ledger in self.ledgers), key=order.index),
                runs={name: ledger.runs() for name, ledger in names.items()},
                planned={name: self.purse.planned(ledger) for name, ledger in names.items()},
                seconds=self._elapsed(),
                left=self.purse.left(),
                best={n: t.loss for n, t in best.items() if t and t.loss is not None},
            )
        )

    def _finish(self) -> None:
        """Write down how it ended; raise when nothing can be recommended."""
        interrupted = self.halt.is_set() and not all(
            stages.complete(ledger, self.spec) for ledger in self.ledgers
        )
        if not interrupted:
            self._close()
        state = SearchState.INTERRUPTED if interrupted else SearchState.COMPLETE
        self.store.update_search(self.opened.search.name, state=state)
        self.listen(
            SearchEnded(
                name=self.opened.search.name, complete=not interrupted, seconds=self._elapsed()
            )
        )
        if not interrupted:
            self._warn()

    def _close(self) -> None:
        """Stop what will not go on, and store what is recommended."""
        for ledger in self.ledgers:
            for trial in ledger.of(Role.SEARCH):
                if trial.state in {TrialState.PAUSED, TrialState.WAITING}:
                    reason = f"at step {trial.step} of {trial.target} when the search ended"
                    self.recorder.stop(ledger, trial, reason)
            winner = racing.chosen(ledger, self.spec)
            judged = any(t.source == winner and t.loss for t in ledger.of(Role.JUDGE))
            self.recorder.close(ledger, winner if judged else None)
        for left in self.folder.glob("*.p*t*"):  # states, and what a killed worker was writing
            left.unlink(missing_ok=True)

    def _warn(self) -> None:
        """Say where the budget did not reach."""
        for ledger in self.ledgers:
            if not stages.complete(ledger, self.spec):
                self.listen(
                    Notice(
                        text=f"the budget ended before {ledger.study.optimizer} was judged on "
                        f"{self.spec.seeds} seeds; raise it and run the same command again"
                    )
                )
