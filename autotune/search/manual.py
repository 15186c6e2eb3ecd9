"""A search run by hand: a caller's own loop asks for trials, trains them and tells their losses."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from autotune.errors import SpecError, StorageError
from autotune.scheduler.going_on import ended
from autotune.search.adding import Measured, over
from autotune.search.asking import Asker
from autotune.search.events import Listener, Notice
from autotune.search.growth import tell
from autotune.search.heartbeats import Heartbeats
from autotune.search.joining import Seat, join
from autotune.search.lock import folder_of
from autotune.search.reasons import Reason
from autotune.search.taken import Over, Taken, Wait, identity
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store
from autotune.training import told_state
from autotune.training.job import Job, Outcome, Report

LOOK = 0.05  # seconds until the turn to decide is asked for again


class Manual:
    """One process's part in a search whose trials its own loop trains.

    Threads may share it; each is given other trials.

    Args:
        spec: What to search, with what budget.
        url: Where it is stored.
        listen: Called with every event.
        pauses: Whether its loop can go on with a trial later; else rungs say at once who goes on.
    """

    def __init__(
        self, spec: SearchSpec, url: str, listen: Listener, *, pauses: bool = True
    ) -> None:
        self.spec, self.url, self.listen, self._pauses = spec, url, listen, pauses
        self.over = False  # nothing is left to do for this process
        self.folder = folder_of(url, spec.search_name)
        self._open: dict[int, Taken] = {}  # by the store's id
        self._used, self._lock = ExitStack(), threading.RLock()
        self._halt, self._pid = threading.Event(), os.getpid()
        with ExitStack() as used:
            self._store = used.enter_context(Store(url))
            self._held = used.enter_context(ExitStack())  # the search's lock
            seat = join(spec, self._store, listen, self._held)
            if seat.opened is not None:
                self._mirror = used.enter_context(closing(Mirror(url)))
                tell(seat.growth, spec.search_name, listen, self._mirror)
            self._used = used.pop_all()
        self._sit(seat)

    def _sit(self, seat: Seat) -> None:
        """Take a place in the search, after another one or for the first time."""
        self._seat, self._begun = seat, False
        if seat.opened is None:
            self._finish()
            return
        self._asker = Asker(
            seat.spec,
            self._store,
            seat.opened,
            self.listen,
            self._halt,
            self.folder,
            mirror=self._mirror,
            worker=seat.worker,
        )
        self._asker.recorder.pauses = self._pauses
        self._heart = Heartbeats(self.url, seat.opened.search.id, seat.worker)

    def ask(self, patience: float | None = None) -> Taken | Wait | Over:
        """Return the next trial to train, which others may have to end before.

        Args:
            patience: Seconds after which `Wait` is returned; None: never.

        Raises:
            SpecError: Only trials that this thread has not told yet are left.
        """
        waited = 0.0
        while True:
            with self._lock:
                answer = self._next()
            if not isinstance(answer, Wait):
                return answer
            if patience is not None and waited >= patience:
                return answer
            pause = max(answer.seconds, LOOK)
            waited += pause
            self._halt.wait(pause)

    def _next(self) -> Taken | Wait | Over:
        if self.over:
            return Over()
        slots = self._asker.busy + 1
        if not self._begun:
            self._start_clock()
            self._asker.begin(slots)
        self._hear()
        answer = self._asker.ask(slots)
        self._heart.command()  # older than what was read now
        if isinstance(answer, Job):
            return self._take(answer)
        if isinstance(answer, Over):
            return self._ended()
        self._refuse_to_wait(answer)
        self._asker.look()
        self._asker.rest()
        return answer

    def _start_clock(self) -> None:
        """Let the search's time run from the first trial that is asked for."""
        if not self._begun:
            self._begun = True
            self._asker.participant.start_clock()

    def _ended(self) -> Over | Wait:
        """Leave a search that is over; go on with one that another process has changed."""
        changed = self._asker.participant.changed
        for taken in list(self._open.values()):  # of other threads, where the spec has changed
            self._tell(taken, taken.report(Outcome.INTERRUPTED))
            del self._open[taken.job.trial]
        self._asker.end()
        if not changed:
            self._finish()
            return Over()
        self._heart.close()
        spec = parse(dict(self._store.search(self.spec.search_name).spec))
        self._sit(join(spec, self._store, self.listen, self._held))
        return Wait(0.0)

    def _refuse_to_wait(self, answer: Wait) -> None:
        """Raise where nobody but this thread can end what would be waited for."""
        untold = [one for one in self._open.values() if not one.over]
        mine = [one for one in untold if one.thread == threading.get_ident()]
        why = self._asker.why()
        decided = answer.seconds > 0 or why not in {None, Reason.PAUSED}
        others = len(mine) < len(untold) or self._asker.participant.others
        if mine and decided and not others:
            trials = ", ".join(one.who for one in mine)
            raise SpecError(
                f"there is nothing to ask for until what this process has asked for is told: "
                f"{trials}; call tuner.tell or tuner.fail for it first"
            )

    def _take(self, job: Job) -> Taken:
        state = next(one for one in self._asker.states if job.trial in one.trials)
        taken = Taken(job=job, number=state.trials[job.trial].number)
        self._restore(taken)
        self._open[job.trial] = taken
        self._hold()
        return taken

    def _restore(self, taken: Taken) -> None:
        """Give a trial the state that it was saved with, if there is one."""
        job = taken.job
        if not job.start or not job.resume:
            return
        path, at = Path(job.resume), job.start
        found = told_state.load(path, at, identity(self.spec.search_name, job), job.checksum)
        if found is None:
            what = "cannot be used" if path.exists() else "is not on this machine"
            text = f"{taken.who}: its state {path.name} {what}, so it begins at step 0 again"
            self.listen(Notice(text=text))
            return
        taken.start, taken.state = found
        taken.step = taken.start

    def measured(self, taken: Taken, step: int, loss: float, accuracy: float | None) -> bool:
        """Record a measurement; return whether to train on."""
        with self._lock:
            taken.refuse_told()
            self._hear()
            if taken.over:
                return False
            taken.check({step: loss})
            report = taken.measured(step, loss, accuracy)
            kept = self._tell(taken, report)
            if not kept or taken.over or step >= taken.job.stop:
                return False
            if not self._goes_on(taken):
                return False
            taken.leaves = self._asker.why() is not None
            return not taken.leaves

    def _goes_on(self, taken: Taken) -> bool:
        """Return whether a trial trains on; where it cannot pause, a rung decides."""
        job, step = taken.job, taken.step
        recorder = self._asker.recorder
        if job.pauses or recorder.state_of(job.trial).stops.get(job.trial) != step:
            return True
        while isinstance(answer := self._asker.goes_on(job.trial, step), Wait):
            self._halt.wait(max(answer.seconds, LOOK))
        if not answer and job.trial in recorder.own:
            self._tell(taken, taken.report(Outcome.STOPPED, reason=ended(step, job.target)))
        taken.over = taken.over or not answer
        return answer

    def tell(self, taken: Taken, losses: Mapping[int, float]) -> None:
        """Record further measurements and end a trial; raises SpecError where some are missing."""
        with self._lock:
            taken.refuse_told()
            if not taken.over:
                taken.check(losses, to=None if taken.leaves else taken.job.stop)
            for step, loss in losses.items():
                if taken.over:
                    self.listen(Notice(text=taken.dropped(step)))
                    break
                if self._tell(taken, taken.measured(step, loss, None)) and not taken.over:
                    self._goes_on(taken)
            self.end(taken)

    def end(self, taken: Taken) -> None:
        """End a trial whose loop has ended by itself."""
        self._end(taken, taken.ended())

    def fail(self, taken: Taken, reason: str, outcome: Outcome = Outcome.FAILED) -> None:
        """End a trial that cannot be trained."""
        with self._lock:
            taken.refuse_told()
            self._end(taken, taken.report(outcome, reason=reason))

    def leave(self, taken: Taken) -> None:
        """Give back a trial that its loop left: it is taken again."""
        if not taken.told:
            self._end(taken, taken.report(Outcome.INTERRUPTED))

    def add(self, measured: Measured) -> int:
        """Store a trial that was measured elsewhere; return its number.

        Raises:
            AlreadyThere: The search is over.
            SpecError: The trial cannot be one of this search.
        """
        while True:
            with self._lock:
                if self.over:
                    raise over(self.spec.search_name)
                answer = self._asker.add(measured)
            if not isinstance(answer, Wait):
                return answer.number
            self._halt.wait(answer.seconds)

    def save(self, taken: Taken, state: Mapping[str, Any], step: int | None) -> None:
        """Write the state of a trial after ``step`` steps; None: those measured last."""
        with self._lock:
            taken.refuse_told()
            job, at = taken.job, taken.saving(step)
            told_state.check(state)
            if job.checkpoint is None or at is None:
                return
            try:
                path, who = Path(job.checkpoint), identity(self.spec.search_name, job)
                taken.saved = told_state.save(path, state, at, who)
            except OSError as error:
                self.listen(Notice(text=f"{taken.who}: its state was not saved: {error}"))

    def close(self) -> None:
        """Give back what is not told, and leave the search; it can be gone on with."""
        if os.getpid() != self._pid:
            return  # a forked process: all this is its parent's
        with self._lock:
            if self.over:
                return
            with suppress(StorageError):
                for taken in list(self._open.values()):
                    self.leave(taken)
            if self._seat.first:
                self._start_clock()
                self._asker.abandon()
            self._finish()

    def _finish(self) -> None:
        self.over = True
        self._halt.set()
        if self._seat.opened is not None:
            self._heart.close()
        self._used.close()

    def _hear(self) -> None:
        """Take in what the heartbeats were answered."""
        if (command := self._heart.command()) is not None:
            self._asker.participant.command = command

    def _tell(self, taken: Taken, report: Report) -> bool:
        """Tell a report; return False where another process took the trial over."""
        kept = self._asker.tell(report)
        if not kept or report.outcome is not Outcome.PROGRESS:
            taken.over = True
        self._hold()
        self._asker.look()
        return kept

    def _end(self, taken: Taken, report: Report) -> None:
        with self._lock:
            taken.told, job = True, taken.job
            if self._open.get(job.trial) is not taken:
                return
            del self._open[job.trial]
            # Of a trial that another took over it says that nothing of it runs here any more.
            if self._asker.recorder.busy.get(job.trial) == job.attempt:
                self._tell(taken, report)

    def _hold(self) -> None:
        self._heart.hold(self._asker.recorder.own)
