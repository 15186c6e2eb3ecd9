"""One process's part in a validation: a search whose settings are given and which only judges."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autotune.scheduler import validating
from autotune.scheduler.fitting import Cost
from autotune.scheduler.stages import Suggestion
from autotune.scheduler.study_state import StudyState
from autotune.search.asking import MIRRORED_EVERY, SAVED_EVERY, Asker
from autotune.search.events import Listener, Spent
from autotune.search.opening import Opened
from autotune.search.reasons import hopeless
from autotune.studies.records import Asked, Proposal, Role, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.studies.validations import Entrant, Plan
from autotune.training.job import Job

_LEFT = (TrialState.WAITING, TrialState.PAUSED)


class Validator(Asker):
    """Asks what a validation runs next, and ends it when nothing is left.

    Args:
        plan: What it runs.
        spec: The spec of its stage.
        store: Where everything is kept.
        opened: Its stage.
        listen: Called with every event.
        halt: Set to stop early.
        folder: Where checkpoints go.
        worker: Name of this process.
        costs: What a run takes, by optimizer, at the pace of the search.
    """

    def __init__(  # noqa: PLR0913  what a search is made of
        self,
        plan: Plan,
        spec: SearchSpec,
        store: Store,
        opened: Opened,
        listen: Listener,
        halt: threading.Event,
        folder: Path,
        *,
        worker: str,
        costs: Mapping[str, Cost],
    ) -> None:
        super().__init__(spec, store, opened, listen, halt, folder, worker=worker)
        self.plan = plan
        self.costs = dict(costs)
        self.warned = True  # that the minutes are too few was said before it began
        self._by_optimizer = {state.study.optimizer: state for state in self.states}

    def _start(self, slots: int, asked: Asked | None) -> Job | None:
        """Go on with a run that was interrupted, else start the next."""
        self.tracker = replace(self.tracker, slots=slots + len(self.participant.others))
        found = self._unfinished() or self._next()
        if found is None:
            return None
        job = replace(self.recorder.start(*found, asked), schedule=self._schedule(found[1]))
        self._began(job)
        return job

    def _schedule(self, suggestion: Suggestion) -> tuple[float, ...]:
        """Return the factors on lr of the setting that a run is of, where these are a table."""
        proposed = suggestion.trial or suggestion.proposal
        key = proposed.origin if proposed else None
        return next(each.schedule for each in self.plan.entrants if each.key == key)

    def _unfinished(self) -> tuple[StudyState, Suggestion] | None:
        for state in self.states:
            for trial in state.of(Role.VALIDATE):
                if trial.state in _LEFT and self._in_time(state):
                    return state, Suggestion(trial=trial, stop=trial.target)
        return None

    def _in_time(self, state: StudyState) -> bool:
        """Return whether a run that has begun may go on: its part of the runs was paid before."""
        minutes = self.policy_minutes
        pace = self.tracker.pace(state)
        return minutes is None or (pace or 0.0) <= minutes * 60 - self._elapsed()

    @property
    def policy_minutes(self) -> float | None:
        """Return the limit in minutes, if there is one."""
        return self.spec.budget.resolved.minutes

    def _next(self) -> tuple[StudyState, Suggestion] | None:
        found = self._asked(self._pays)
        if found is None:
            return None
        entrant, seed = found
        proposal = Proposal(
            role=Role.VALIDATE,
            origin=entrant.key,
            setting=entrant.setting,
            seed=seed,
            target=self.plan.steps,
            source=entrant.source,
        )
        suggestion = Suggestion(trial=None, proposal=proposal, stop=self.plan.steps)
        return self._by_optimizer[entrant.optimizer], suggestion

    def _asked(self, affordable: validating.Affordable) -> tuple[Entrant, int] | None:
        return validating.next_run(
            self.plan,
            self._trials(),
            seeds=self.spec.seeds,
            more=self.policy_minutes is not None,
            affordable=affordable,
        )

    def _pays(self, optimizers: Sequence[str]) -> bool:
        return self.tracker.pays([self._by_optimizer[name] for name in optimizers])

    def _trials(self) -> list[TrialRecord]:
        return [trial for state in self.states for trial in state.of(Role.VALIDATE)]

    def _complete(self) -> bool:
        """Return whether every setting was run on all its seeds."""
        if any(trial.state in {*_LEFT, TrialState.RUNNING} for trial in self._trials()):
            return False
        return self._outstanding() == 0

    def _outstanding(self) -> int:
        """Return how many runs are left of those asked for, as far as that is known."""
        begun = {(trial.origin, trial.seed) for trial in self._trials()}
        found = validating.losses(self._trials())
        seeds = range(self.plan.first_seed, self.plan.first_seed + self.spec.seeds)
        left = 0
        for lap, seed in enumerate(seeds):
            known, unknown = validating.runners(self.plan, lap, found)
            left += sum((each.key, seed) not in begun for each in (*known, *unknown))
        ranked = [each for each in self.plan.entrants if each.which == validating.RANKED]
        return left + sum((each.key, self.plan.first_seed) not in begun for each in ranked)

    def _conclude(self) -> None:
        """Leave the recommendations as the search has them."""

    def _advice(self) -> Iterator[str]:
        """Yield what the budget did not pay for."""
        left = self._outstanding()
        if left and not hopeless(self.states):
            runs = "1 run" if left == 1 else f"{left} runs"
            yield f"the budget ended before {runs} of the validation; raise it and repeat the call"

    def _report_progress(self) -> None:
        if self.participant.unspent() > SAVED_EVERY:
            self.participant.spend()
            self._mirror(MIRRORED_EVERY)
        spent = {name: state.runs() for name, state in self._by_optimizer.items()}
        self.listen(
            Spent(
                stage=Role.VALIDATE,
                runs=spent,
                planned=self._planned(spent),
                seconds=self._elapsed(),
                left=self._seconds_left(sum(spent.values())),
            )
        )

    def _planned(self, spent: Mapping[str, float]) -> dict[str, float]:
        """Return the full runs of each optimizer in the end, where none drops out."""
        each = dict.fromkeys(spent, 0.0)
        for entrant in self.plan.entrants:
            ranked = entrant.which == validating.RANKED
            each[entrant.optimizer] += 1 if ranked else self.spec.seeds
        return {name: max(runs, spent[name]) for name, runs in each.items()}

    def _seconds_left(self, spent: float) -> float | None:
        if self.policy_minutes is not None:
            return max(0.0, self.policy_minutes * 60 - self._elapsed())
        paces = [pace for state in self.states if (pace := self.tracker.pace(state)) is not None]
        runs = self._outstanding() + sum(o.committed() for o in self.states) - spent
        return max(paces) * runs / self.tracker.slots if paces else None
