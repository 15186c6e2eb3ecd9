"""What a search runs next, decided by one process at a time, whoever trains it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from autotune.scheduler import going_on, racing, stages
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.stages import Suggestion
from autotune.scheduler.study_state import StudyState
from autotune.search import adding
from autotune.search.adding import Measured
from autotune.search.events import Listener, Notice
from autotune.search.opening import Opened
from autotune.search.reasons import LEAVING, Reason, reason
from autotune.search.recorder import Recorder
from autotune.search.turns import Participant
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Asked, Role, SearchState, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.training.job import Job


class Decider:
    """Asks the studies of a search what to run next, and ends it when nothing is left.

    Args:
        spec: What to search, with what budget.
        store: Where everything is kept.
        opened: The search.
        listen: Called with every event.
        folder: Where checkpoints go.
        worker: Name of this process.
        mirror: Optuna's tables; without it, Optuna's tools see nothing of the search.
    """

    tracker: BudgetTracker

    def __init__(
        self,
        spec: SearchSpec,
        store: Store,
        opened: Opened,
        listen: Listener,
        folder: Path,
        *,
        worker: str,
        mirror: Mirror | None = None,
    ) -> None:
        self.spec, self.store, self.opened = spec, store, opened
        self.listen, self.folder = listen, folder
        self.states = opened.states
        self.participant = Participant(
            store, opened.search, self.states, spec=spec, worker=worker, revision=opened.revision
        )
        self.recorder = Recorder(self.participant, listen, spec=spec, folder=folder, mirror=mirror)
        self.over = False  # nothing is left to do for this process
        self.reopened = -1  # trials when searches that had ended went on

    @property
    def busy(self) -> int:
        """Return how many jobs run here, with those that another process took over."""
        return len(self.recorder.busy)

    @property
    def halted(self) -> bool:
        """Return whether this process is to end."""
        return False

    def why(self) -> Reason | None:
        """Return why this process starts nothing now; None if it may start trials."""
        command = self.participant.command
        return reason(self.states, halted=self.halted, command=command, late=self.late())

    def late(self) -> bool:
        """Return whether the minutes are over."""
        minutes = self.spec.budget.resolved.minutes
        return minutes is not None and self._elapsed() > minutes * 60

    def _elapsed(self) -> float:
        """Return the seconds that the search has taken."""
        return self.participant.seconds + self.participant.unspent()

    def _spend(self) -> None:
        """Store the seconds that the search has taken."""
        self.participant.spend()

    def _began(self, job: Job) -> None:
        """Note that a job was begun."""

    def _add(self, measured: Measured) -> tuple[TrialRecord, bool]:
        """Store a trial that was measured elsewhere, in this process's turn."""
        if self.participant.state is SearchState.COMPLETE:
            raise adding.over(self.opened.search.name)
        found, new = adding.add(self.store, self.states, measured, self.participant.worker)
        if new:
            self.participant.deciding = False
            who = f"{measured.optimizer} trial {found.number}"
            text = f"{who} was added ({measured.origin}): samplers know it, and it does not count"
            self.listen(Notice(text=text))
        return found, new

    def _closed(self) -> bool:
        """Return whether another process ended the search or changed its spec."""
        self.over = self.participant.state is SearchState.COMPLETE or self.participant.changed
        return self.over

    def _decide(self, slots: int, asked: Asked | None = None) -> Job | None:
        """Return a job, or end the search if nothing is left; for the reason that holds now.

        ``asked``: who trains it, if that is not this process.
        """
        why = self.why()
        # When it is late they are asked all the same: that nothing is left is for studies to say.
        if why in {None, Reason.LATE} and (job := self._start(slots, asked)):
            return job
        self._end_if_over(why)
        return None

    def _start(self, slots: int, asked: Asked | None) -> Job | None:
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
            suggestion = self._suggested(
                state, self.recorder.pauses if asked is None else asked.pauses
            )
            if state.searched and not searched:
                self.recorder.end_search(state, self.tracker.minutes_left())
                ended = True
            if suggestion:
                job = self.recorder.start(state, suggestion, asked)
                self._began(job)
                return job
        # Who waited for a search that is now over has not been asked.
        return self._start(slots, asked) if ended else None

    def _suggested(self, state: StudyState, pauses: bool) -> Suggestion | None:
        """Return what a study runs next on a worker that can pause, or cannot."""
        affordable = partial(self.tracker.affordable, state)
        found = stages.next_suggestion(state, affordable)
        if pauses or found is None or found.trial is None or not found.trial.step:
            return found
        # It would repeat the steps that another worker has taken, and may go on from.
        return stages.try_new(state, affordable) or found

    def _next_stop(self, trial_id: int, step: int) -> int | None:
        """Return where a trial that cannot pause trains on to from a rung; None: it is over."""
        state = self.recorder.state_of(trial_id)
        affordable = partial(self.tracker.affordable, state)
        return going_on.next_stop(state, state.trials[trial_id], step, affordable)

    def _end_if_over(self, why: Reason | None) -> None:
        """End the search if nobody can continue it; called in a turn that started nothing."""
        if self.busy or why is Reason.PAUSED:
            return
        left = why in LEAVING and not self._complete()
        if self.participant.others:
            self.over = left
            return
        if left:
            self._leave()
        else:
            self._close()
        self.over = True

    def _complete(self) -> bool:
        """Return whether all was run that the budget asks for."""
        return all(stages.complete(state) for state in self.states)

    def _leave(self) -> None:
        """Store the search as interrupted, unless others still run it."""
        if not self.participant.others:
            self.participant.state = SearchState.INTERRUPTED
            self.store.update_search(self.opened.search.name, state=SearchState.INTERRUPTED)

    def _close(self) -> None:
        """Conclude, store that the search is complete, and remove what no trial needs."""
        self._spend()
        self._conclude()
        self.participant.keep_turn()
        self.participant.state = SearchState.COMPLETE
        self.store.update_search(self.opened.search.name, state=SearchState.COMPLETE)
        for left in self.folder.glob("*.p*t*"):  # checkpoints, and files that a killed worker left
            left.unlink(missing_ok=True)

    def _conclude(self) -> None:
        """Stop all paused trials and store the recommendations."""
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
