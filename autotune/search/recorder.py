"""Record what happens to trials: in the store, in memory and for listeners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from autotune.errors import LeaseLost, SpecError, Unavailable
from autotune.scheduler import stopping
from autotune.scheduler.stages import Suggestion
from autotune.scheduler.study_state import StudyState
from autotune.scheduler.widening import Widened
from autotune.search import earlier, gradients
from autotune.search.alike import Alike, coarse
from autotune.search.carried import task_arguments
from autotune.search.events import Listener, Notice, TrialEnded, TrialProgressed, TrialStarted
from autotune.search.facts import unknown_size
from autotune.search.repeats import Repeats
from autotune.search.turns import Participant
from autotune.seeds import training
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Asked, Role, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec
from autotune.tasks.function import edited, expected
from autotune.training.job import Job, Outcome, Report

STATES = {
    Outcome.DIVERGED: TrialState.DIVERGED,
    Outcome.FAILED: TrialState.FAILED,
    Outcome.STOPPED: TrialState.STOPPED,
}


class Recorder:
    """Turns suggestions into jobs and reports into records.

    Args:
        participant: This process as a part of the search.
        listen: Called with every event.
        spec: The spec of the search.
        folder: Where checkpoints go.
        mirror: Optuna's tables, which get every finished search trial.
    """

    def __init__(
        self,
        participant: Participant,
        listen: Listener,
        *,
        spec: SearchSpec,
        folder: Path,
        mirror: Mirror | None = None,
    ) -> None:
        self.participant, self.listen = participant, listen
        self.search, self.states = participant.search, participant.states
        self.store = participant.store
        self.spec, self.folder = spec, folder.absolute()
        self._mirror = mirror
        self.pauses = True  # whether trials that run here can go on later
        self._alike = Alike(store=self.store, search=self.search, coarse=coarse(self.search.task))
        self._repeats = Repeats.of(self.search.task)
        if text := unknown_size(self.search.task):
            listen(Notice(text=text))
        for text in earlier.notices(spec, {s.study.optimizer: s.space for s in self.states}):
            listen(Notice(text=text))
        self.own: dict[int, int] = {}  # attempts that run here, by trial
        self.busy: dict[int, int] = {}  # the same, with trials that another process took over

    @cached_property
    def _content(self) -> dict[str, str]:
        """What the model's files have to be, read where this process trains."""
        return expected(self.search.task)

    def start(self, state: StudyState, suggestion: Suggestion, asked: Asked | None = None) -> Job:
        """Store a suggestion as started and return its job; this ends the process's turn.

        Raises SpecError where the model's files are not those that the search was begun with.

        ``asked``: who trains it, if that is not this process; it has the model's files then.
        """
        if asked is None:
            self._check_content()
        if suggestion.wider is not None:
            self._widen(state, suggestion.wider)
        if suggestion.notice is not None:
            self.listen(Notice(text=f"{state.study.optimizer}: {suggestion.notice}"))
        who = asked or Asked(worker=self.participant.worker, pauses=self.pauses)
        trial, attempt = self._lease(state, suggestion, who)
        self.participant.deciding = False
        running = replace(trial, state=TrialState.RUNNING)
        state.keep(running)
        if asked is None:
            self.own[trial.id] = self.busy[trial.id] = attempt
        state.stops[trial.id] = suggestion.stop
        self.listen(
            TrialStarted(optimizer=state.study.optimizer, trial=running, stop=suggestion.stop)
        )
        return Job(
            trial=trial.id,
            attempt=attempt,
            task=task_arguments(self.spec, self.search.task),
            optimizer=state.study.optimizer,
            setting=trial.setting,
            seed=training(self.spec.seed, trial.seed),
            start=trial.step,
            stop=suggestion.stop if who.pauses else trial.target,
            target=trial.target,
            evaluate=state.ladder.steps,
            # One name per attempt, because an older attempt may still write its own file.
            checkpoint=str(self.folder / f"{trial.study}-{trial.number}-{attempt}.pt"),
            resume=str(self.folder / trial.checkpoint) if trial.checkpoint else None,
            checksum=trial.checksum,
            content=self._content if asked is None else {},
            pauses=who.pauses,
            norms=gradients.norms(self.spec.record_norms, trial),
            noise=gradients.noise(self.spec.measure_noise, trial),
        )

    def _check_content(self) -> None:
        changed = edited(self.spec.model, self._content)
        if changed:
            raise SpecError(
                f"{' and '.join(changed)} changed since search '{self.search.name}' began, which "
                "keeps what was run; undo the change to go on, or give --search NAME (in Python, "
                "name=) to begin another one"
            )

    def _widen(self, state: StudyState, wider: Widened) -> None:
        """Store a study's new ranges before a setting in them is stored, and tell the user."""
        state.space = wider.space
        optimizer = state.study.optimizer
        self.store.update_search(self.search.name, space={optimizer: wider.space.as_data()})
        self.listen(Notice(text=f"{optimizer}: {wider.reason}"))

    def _lease(
        self, state: StudyState, suggestion: Suggestion, asked: Asked
    ) -> tuple[TrialRecord, int]:
        turn, stop = self.participant.worker, suggestion.stop
        if suggestion.trial is not None:
            number = self.store.begin(suggestion.trial.id, asked, stop=stop, turn=turn)
            return suggestion.trial, number
        if suggestion.proposal is None:
            raise ValueError("a suggestion needs a trial or a proposal")
        begun = self.store.begin_new(
            state.study.id, suggestion.proposal, asked, stop=stop, turn=turn
        )
        return begun, 1

    def go_on(self, trial: int, stop: int) -> None:
        """Store that a trial which runs here trains on to a later rung; this ends the turn.

        Raises LeaseLost where another process took the trial over.
        """
        self.store.go_on(trial, self.own[trial], stop, self.participant.worker)
        self.participant.deciding = False
        self.state_of(trial).stops[trial] = stop

    def take(self, report: Report) -> bool:
        """Record a report; return False if another process has taken over its trial.

        Reports of older attempts are ignored; those of a trial that was taken over are not stored.
        Raises SpecError where no setting can be trained on this machine.
        """
        if self.busy.get(report.trial) != report.attempt:
            return True
        over = report.outcome is not Outcome.PROGRESS
        if over:
            del self.busy[report.trial]
        if report.trial not in self.own:
            return False
        if report.outcome is Outcome.FAILED:
            self._check_content()  # the files' fault rather than the trial's
        if report.misfit is not None:  # the GPU's fault rather than the trial's
            report = replace(report, outcome=Outcome.LOST, blame=False)
        state = self.state_of(report.trial)
        try:
            if over:
                self._end(state, report)
            else:
                self._progress(state, report)
        except LeaseLost:
            self.forget(report.trial)
            return False
        if report.misfit is not None:
            raise SpecError(report.misfit)
        return True

    def forget(self, trial: int) -> None:
        """Give up a trial that another process has taken over."""
        if self.own.pop(trial, None) is None:
            return
        state = self.state_of(trial)
        who = f"{state.study.optimizer} trial {state.trials[trial].number}"
        self.listen(
            Notice(text=f"{who}: another worker took it over, because this one did not answer")
        )
        self.participant.restore(state, trial)

    def stop(self, state: StudyState, reasons: Mapping[int, str]) -> None:
        """Stop paused trials that the search will not continue."""
        for kept in self.store.stop_trials(state.study.id, reasons):
            state.keep(kept)
            self._remove(kept)

    def close(self, state: StudyState, source: int | None) -> None:
        """Store that a study's search is over for this budget, and what it recommends.

        A judged recommendation stays until another one is judged.
        """
        known = self.store.recommendation(state.study.id) or {"source": None}
        budget = self.spec.budget.resolved.model_dump(mode="json")
        source = known["source"] if source is None else source
        content = {"source": source, "budget": budget}
        if known.get("budget") == budget and "ended" in known:
            content["ended"] = known["ended"]
        self.store.save_recommendation(state.study.id, content)

    def end_search(self, state: StudyState, minutes: float | None) -> None:
        """Store that no further setting is tried; tell the user if that is early."""
        self.close(state, None)
        ended = stopping.why_stopped(state, minutes)
        if ended is not None:
            known = self.store.recommendation(state.study.id) or {}
            self.store.save_recommendation(state.study.id, {**known, "ended": ended})
            self.listen(Notice(text=f"{state.study.optimizer}: {ended}"))

    def reopen(self) -> None:
        """Store that searches that ended for want of time go on, and tell the user."""
        for state in self.states:
            if not stopping.reached(state):
                state.searched = False
                known = self.store.recommendation(state.study.id) or {}
                self.store.save_recommendation(state.study.id, {"source": known.get("source")})
        self.listen(Notice(text="minutes are left, so more settings are tried"))

    def state_of(self, trial: int) -> StudyState:
        """Return the study of a trial."""
        return next(state for state in self.states if trial in state.trials)

    def _remove(self, trial: TrialRecord) -> None:
        """Delete all checkpoints of a trial except the recorded one."""
        for file in self.folder.glob(f"{trial.study}-{trial.number}*.p*t"):
            name = file.stem.split("-")
            if name[:2] == [str(trial.study), str(trial.number)] and file.name != trial.checkpoint:
                file.unlink(missing_ok=True)

    def _progress(self, state: StudyState, report: Report) -> None:
        trial = state.trials[report.trial]
        self.store.add_points(report.trial, report.attempt, report.points, report.gradients)
        self._keep_points(state, trial, report)

    def _keep_points(self, state: StudyState, trial: TrialRecord, report: Report) -> None:
        """Keep a report's points in memory and send them to listeners."""
        known = state.losses.get(trial.id, {})
        if text := self._repeats.look(state.study.optimizer, trial, known, report):
            self.listen(Notice(text=text))
        state.keep(trial, report.points)
        if text := self._alike.look(state.study.optimizer, trial, report):
            self.listen(Notice(text=text))
        for point in report.points:
            self.listen(
                TrialProgressed(
                    optimizer=state.study.optimizer,
                    number=trial.number,
                    step=point.step,
                    loss=point.loss,
                    train_loss=point.train_loss,
                )
            )

    def _end(self, state: StudyState, report: Report) -> None:
        trial = state.trials[report.trial]
        before = state.best()
        kept = self._lost(state, report) if report.outcome is Outcome.LOST else None
        if kept is None:
            self._keep_points(state, trial, report)
            kept = self._kept(state, trial, report)
        del self.own[trial.id]
        state.stops.pop(trial.id, None)
        self._remove(kept)
        best = state.best()
        self.listen(TrialEnded(optimizer=state.study.optimizer, trial=kept, best=best != before))
        if kept.state not in {TrialState.DIVERGED, TrialState.STOPPED} and report.reason:
            who = f"{state.study.optimizer} trial {trial.number}"
            self.listen(Notice(text=f"{who}: {report.reason}"))

    def _lost(self, state: StudyState, report: Report) -> TrialRecord:
        """Set a trial whose worker died back to its last checkpoint."""
        reason = report.reason or "its worker died"
        self.store.lose(report.trial, report.attempt, reason, blame=report.blame)
        self.participant.restore(state, report.trial)
        return state.trials[report.trial]

    def _kept(self, state: StudyState, trial: TrialRecord, report: Report) -> TrialRecord:
        reached, step = self._reached(trial, report)
        loss = state.losses[trial.id].get(step) if reached is not TrialState.DIVERGED else None
        right = state.accuracies[trial.id].get(step) if loss is not None else None
        file = f"{trial.study}-{trial.number}-{report.attempt}.pt"
        kept = self.store.record(
            trial.id,
            report.attempt,
            state=reached,
            step=step,
            loss=loss,
            accuracy=right,
            seconds=report.seconds,
            reason="\n".join(filter(None, (report.reason, *report.output))) or None,
            points=report.points,
            measured=report.gradients,
            checkpoint=(file, report.checksum) if report.saved and report.checksum else None,
        )
        state.keep(kept)
        return kept

    def _reached(self, trial: TrialRecord, report: Report) -> tuple[TrialState, int]:
        """Return a trial's new state and the step that it has reached."""
        if report.outcome in STATES:
            return STATES[report.outcome], report.step
        if report.step >= trial.target:
            return TrialState.COMPLETE, report.step
        # A trial that repeated steps and was interrupted early does not lose steps.
        step = max(report.step, trial.step)
        return (TrialState.PAUSED if step else TrialState.WAITING), step

    def reflect(self, mirror: Mirror | None = None) -> None:
        """Write finished search trials into Optuna's tables, for Optuna's tools.

        If that fails, it is done the next time: the search does not depend on it.

        ``mirror``: the tables, if not those given before.
        """
        mirror = mirror or self._mirror
        if mirror is None:
            return
        for state in self.states:
            name = f"{self.search.name}/{state.study.optimizer}"
            trials, space = state.of(Role.SEARCH), state.space.as_data()
            try:
                mirror.tell_all(name, trials, space, self.store.curve)
            except Unavailable as error:
                self.listen(Notice(text=f"Optuna's tables are not up to date: {error}"))
