"""Keeps store, memory and listeners in step while a search runs; the only writer of the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.backends.base import Job, Outcome, Report
from autotune.events import Listener, Notice, TrialEnded, TrialProgressed, TrialStarted
from autotune.ledger import Ledger
from autotune.opening import task_arguments
from autotune.seeds import training
from autotune.stages import Stretch
from autotune.studies.optuna import Mirror
from autotune.studies.records import Role, SearchRecord, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store

ATTEMPTS = 3  # at a stretch, when workers die

STATES = {
    Outcome.DIVERGED: TrialState.DIVERGED,
    Outcome.FAILED: TrialState.FAILED,
}


class Recorder:
    """Turns stretches into jobs and reports into records.

    Args:
        search: The search that runs.
        ledgers: Its studies.
        store: Where everything is kept.
        listen: Told what happened.
        spec: What was asked for.
        folder: Where checkpoints go.
        mirror: Shown every search trial that is over.
    """

    def __init__(
        self,
        search: SearchRecord,
        ledgers: Sequence[Ledger],
        store: Store,
        listen: Listener,
        *,
        spec: SearchSpec,
        folder: Path,
        mirror: Mirror | None = None,
    ) -> None:
        self.search, self.ledgers, self.store, self.listen = search, ledgers, store, listen
        self.spec, self.folder = spec, folder
        self._mirror = mirror
        self._attempts: dict[int, int] = {}
        self._lost: dict[int, int] = {}  # workers that died, by trial
        self._told = time.monotonic()

    def start(self, ledger: Ledger, stretch: Stretch) -> Job:
        """Store a stretch as begun and return its job."""
        trial = stretch.trial or self._add(ledger, stretch)
        attempt = self.store.begin(trial.id, self.spec.engine)
        running = replace(trial, state=TrialState.RUNNING)
        ledger.keep(running)
        self._attempts[trial.id] = attempt
        ledger.stops[trial.id] = stretch.stop
        self.listen(
            TrialStarted(optimizer=ledger.study.optimizer, trial=running, stop=stretch.stop)
        )
        return Job(
            trial=trial.id,
            attempt=attempt,
            task=task_arguments(self.spec),
            optimizer=ledger.study.optimizer,
            hyper=trial.hyper,
            warmup=trial.warmup,
            seed=training(self.spec.seed, trial.seed),
            start=trial.step,
            stop=stretch.stop,
            target=trial.target,
            evaluate=ledger.rungs.steps,
            checkpoint=str(self._checkpoint(trial)),
        )

    def take(self, report: Report) -> None:
        """Record a report; one of an older attempt is ignored."""
        if self._attempts.get(report.trial) != report.attempt:
            return
        ledger = next(ledger for ledger in self.ledgers if report.trial in ledger.trials)
        if report.outcome is Outcome.PROGRESS:
            self._progress(ledger, report)
        else:
            self._end(ledger, report)

    def stop(self, ledger: Ledger, trial: TrialRecord, reason: str) -> None:
        """Close a paused trial that the search will not take further."""
        attempt = self.store.begin(trial.id, self.spec.engine)
        kept = self._record(ledger, trial, attempt, state=TrialState.STOPPED, reason=reason)
        self._checkpoint(trial).unlink(missing_ok=True)
        self._reflect(ledger, kept)

    def close(self, ledger: Ledger, source: int | None) -> None:
        """Store that a study's search is over under this budget, and what it recommends.

        A recommendation that was judged stands until another one is.
        """
        known = self.store.recommendation(ledger.study.id) or {"source": None}
        budget = self.spec.budget.resolved.model_dump(mode="json")
        source = known["source"] if source is None else source
        self.store.save_recommendation(ledger.study.id, {"source": source, "budget": budget})

    def spend(self) -> None:
        """Add the time since it was last told to the search's."""
        now = time.monotonic()
        self.store.update_search(self.search.name, add_seconds=now - self._told)
        self._told = now

    def unspent(self) -> float:
        """Return the seconds since time was last added."""
        return time.monotonic() - self._told

    def _add(self, ledger: Ledger, stretch: Stretch) -> TrialRecord:
        if stretch.proposal is None:
            raise ValueError("a stretch needs a trial or a proposal")
        return self.store.add_trial(ledger.study.id, stretch.proposal)

    def _checkpoint(self, trial: TrialRecord) -> Path:
        return self.folder / f"{trial.study}-{trial.number}.pt"

    def _progress(self, ledger: Ledger, report: Report) -> None:
        trial = ledger.trials[report.trial]
        self.store.add_points(report.trial, report.attempt, report.points)
        self._hear(ledger, trial, report)

    def _hear(self, ledger: Ledger, trial: TrialRecord, report: Report) -> None:
        """Keep a report's points in memory and tell listeners."""
        ledger.keep(trial, report.points)
        for point in report.points:
            self.listen(
                TrialProgressed(
                    optimizer=ledger.study.optimizer,
                    number=trial.number,
                    step=point.step,
                    loss=point.loss,
                    train_loss=point.train_loss,
                )
            )

    def _end(self, ledger: Ledger, report: Report) -> None:
        trial = ledger.trials[report.trial]
        before = ledger.best()
        self._hear(ledger, trial, report)
        curve = ledger.losses[trial.id]
        state, step = self._state(trial, report)
        kept = self._record(
            ledger,
            trial,
            report.attempt,
            state=state,
            step=step,
            loss=curve.get(step) if state is not TrialState.DIVERGED else None,
            seconds=report.seconds,
            reason=report.reason,
            points=report.points,
        )
        ledger.stops.pop(trial.id, None)
        if state in {TrialState.COMPLETE, TrialState.DIVERGED, TrialState.FAILED}:
            self._checkpoint(trial).unlink(missing_ok=True)
            self._reflect(ledger, kept)
        best = ledger.best()
        self.listen(TrialEnded(optimizer=ledger.study.optimizer, trial=kept, best=best != before))
        if state is not TrialState.DIVERGED and report.reason:
            who = f"{ledger.study.optimizer} trial {trial.number}"
            self.listen(Notice(text=f"{who}: {report.reason}"))

    def _state(self, trial: TrialRecord, report: Report) -> tuple[TrialState, int]:
        """Return a trial's state and the step it counts as having reached."""
        if report.outcome is Outcome.LOST:
            lost = self._lost[trial.id] = self._lost.get(trial.id, 0) + 1
            if lost >= ATTEMPTS:
                return TrialState.FAILED, trial.step
            return (TrialState.PAUSED if trial.step else TrialState.WAITING), trial.step
        if report.outcome in STATES:
            return STATES[report.outcome], report.step
        if report.step >= trial.target:
            return TrialState.COMPLETE, report.step
        # One that took its steps again and was interrupted before it caught up is where it was.
        step = max(report.step, trial.step)
        return (TrialState.PAUSED if step else TrialState.WAITING), step

    def _record(
        self, ledger: Ledger, trial: TrialRecord, attempt: int, **changes: Any
    ) -> TrialRecord:
        known = {
            "step": trial.step,
            "loss": trial.loss,
            "seconds": 0.0,
            "reason": None,
            "points": (),
        }
        facts: dict[str, Any] = {**known, **changes}
        if facts["loss"] is not None:
            facts["accuracy"] = ledger.accuracies[trial.id].get(facts["step"])
        kept = self.store.record(trial.id, attempt, **facts)
        ledger.keep(kept)
        return kept

    def _reflect(self, ledger: Ledger, trial: TrialRecord) -> None:
        """Show an ended search trial to Optuna's tools, in Optuna's own tables."""
        if self._mirror and trial.role is Role.SEARCH:
            name = f"{self.search.name}/{ledger.study.optimizer}"
            self._mirror.tell(name, trial, ledger.space.as_data(), self.store.curve(trial.id))
