"""One study in memory: its trials, their losses at rungs, and what they cost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotune.pruners.auto import highest_rung
from autotune.pruners.ladder import Ladder
from autotune.samplers.base import Observation
from autotune.scheduler.fairness import charged
from autotune.scheduler.forecast import forecasts
from autotune.scheduler.pace import Pace
from autotune.scheduler.policy import Policy
from autotune.space.coordinates import encode
from autotune.space.spaces import Candidate, Space
from autotune.studies.records import Point, Role, StudyRecord, TrialRecord, TrialState
from autotune.studies.setting import Setting

ENDED = frozenset({TrialState.COMPLETE, TrialState.STOPPED, TrialState.DIVERGED, TrialState.FAILED})
MODEL_NEEDS = 5  # trials at a rung before a model may be fitted to it


@dataclass(kw_only=True)
class StudyState:
    """One study in memory, kept equal to what is stored."""

    study: StudyRecord
    policy: Policy
    space: Space
    presets: Sequence[Candidate]  # the first is the optimizer's default
    ladder: Ladder
    earlier: Sequence[Candidate] = ()  # known from elsewhere; tried after the default
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    losses: dict[int, dict[int, float]] = field(default_factory=dict)  # trial -> step -> loss
    accuracies: dict[int, dict[int, float]] = field(default_factory=dict)  # likewise
    stops: dict[int, int] = field(default_factory=dict)  # running trial -> the step it trains to
    by_role: dict[Role, list[TrialRecord]] = field(default_factory=dict)  # in order of number
    charged: dict[Role, int] = field(default_factory=dict)  # steps spent, by role
    settings: set[str] = field(default_factory=set)  # of all search trials
    searched: bool = False  # the search is over: no further setting is tried
    timed: dict[int, Point] = field(default_factory=dict)  # trial -> the newest point of its curve
    pace: Pace = field(default_factory=Pace)  # of the steps between points
    live: set[int] = field(default_factory=set)  # trials that run now
    # Changed since it was last asked which trials stopped between two rungs, by id.
    changed: dict[int, TrialRecord] = field(default_factory=dict)

    @property
    def target(self) -> int:
        """Return the steps of a full run."""
        return self.ladder.steps[-1]

    def tried(self, setting: Setting) -> bool:
        """Return whether the search has tried a setting."""
        return self._written(setting) in self.settings

    def _written(self, setting: Setting) -> str:
        """Return a setting as text; tuples count as lists, as which they are stored.

        An argument that the optimizer has had only since the setting was stored is its default.
        """
        whole = {**self.space.defaults, **setting.hyper}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in whole.items()}
        return repr((sorted(plain.items()), setting.warmup))

    def place(self, trial: TrialRecord) -> int:
        """Return the number that a trial would have if none had been measured elsewhere."""
        added = self.by_role.get(Role.ADDED, ())
        return trial.number - bisect_left(added, trial.number, key=_number)

    def keep(self, trial: TrialRecord, points: Iterable[Point] = ()) -> None:
        """Store a trial's newest record and new points of its curve."""
        trial = completed(trial, self.space)
        if trial.role is Role.SEARCH and trial.id not in self.trials:
            self.settings.add(self._written(trial.setting))
        self._place(trial)
        curve = self.losses.setdefault(trial.id, {})
        right = self.accuracies.setdefault(trial.id, {})
        for point in points:
            if trial.role is not Role.ADDED:
                self._time(trial.id, point)
            if point.loss is not None:
                curve[point.step] = point.loss
            if point.accuracy is not None:
                right[point.step] = point.accuracy

    def _place(self, trial: TrialRecord) -> None:
        """Replace a trial's record by its newest one; each number exists once in a study."""
        known = self.trials.get(trial.id)
        self.trials[trial.id] = self.changed[trial.id] = trial
        (self.live.add if trial.state is TrialState.RUNNING else self.live.discard)(trial.id)
        steps = self._cost(trial) - (self._cost(known) if known else 0)
        self.charged[trial.role] = self.charged.get(trial.role, 0) + steps
        row = self.by_role.setdefault(trial.role, [])
        place = bisect_left(row, trial.number, key=_number)
        row[place : place + bool(known)] = [trial]

    def _time(self, trial: int, point: Point) -> None:
        last = self.timed.get(trial)
        # Each job counts its seconds from 0, and one without its saved state repeats steps.
        if last and last.step < point.step and last.seconds < point.seconds:
            seconds, steps = point.seconds - last.seconds, point.step - last.step
            self.pace.add(seconds, steps, evaluated=point.loss is not None)
        self.timed[trial] = point

    def of(self, role: Role) -> list[TrialRecord]:
        """Return the trials run for ``role``, by number."""
        return list(self.by_role.get(role, ()))

    def running(self) -> list[TrialRecord]:
        """Return the running trials."""
        return [self.trials[id] for id in sorted(self.live)]

    def runs(self) -> float:
        """Return the full runs spent in all stages."""
        return sum(self.charged.values()) / self.target

    def committed(self, role: Role | None = None) -> float:
        """Return the full runs spent in one stage or all, running jobs counted to their end."""
        steps = sum(self.charged.values()) if role is None else self.charged.get(role, 0)
        for id, stop in self.stops.items():
            trial = self.trials[id]
            if role is None or trial.role is role:
                steps += max(0, stop - self._cost(trial))
        return steps / self.target

    def _cost(self, trial: TrialRecord) -> int:
        return 0 if trial.role is Role.ADDED else charged(trial, self.ladder)

    def seconds(self) -> float:
        """Return the seconds spent training and evaluating."""
        return sum(trial.seconds for trial in self.trials.values())

    def _known(self) -> list[TrialRecord]:
        """Return the trials that samplers learn from, by number."""
        found = self.of(Role.SEARCH)
        added = self.by_role.get(Role.ADDED)
        return sorted([*found, *added], key=_number) if added else found

    def best(self) -> TrialRecord | None:
        """Return the completed search trial with the lowest loss."""
        complete = TrialState.COMPLETE
        done = [(t.loss, t.number, t) for t in self.of(Role.SEARCH) if t.state is complete]
        return min(done, default=(None, None, None))[-1]

    def forecast(self) -> list[Observation]:
        """Return the forecast for every setting that was measured or diverged."""
        trials = self._known()
        expected = forecasts(trials, self.losses, self.ladder)
        diverged, seen = TrialState.DIVERGED, []
        for trial in trials:
            if trial.state is diverged:
                seen.append(Observation(params=trial.setting.params, loss=None))
            elif trial.id in expected:
                forecast = expected[trial.id]
                seen.append(self._observation(trial, forecast.score, forecast.doubt))
        return seen

    def observed(self) -> list[Observation]:
        """Return the losses at one rung: the longest with enough trials."""
        trials = self._known()
        curves: Mapping[int, Mapping[int, float]] = {t.id: self.losses[t.id] for t in trials}
        step = highest_rung(curves, self.ladder, MODEL_NEEDS)
        seen = []
        for trial in trials:
            curve = self.losses[trial.id]
            if trial.state is TrialState.DIVERGED:
                seen.append(Observation(params=trial.setting.params, loss=None))
            elif step in curve:
                seen.append(self._observation(trial, curve[step]))
        return seen

    def _observation(self, trial: TrialRecord, loss: float, doubt: float = 0.0) -> Observation:
        curve = self.losses[trial.id]
        last = next(step for step in reversed(self.ladder.steps) if step in curve)
        return Observation(
            params=trial.setting.params,
            loss=loss,
            reached=last,
            reached_loss=curve[last],
            doubt=doubt,
        )


def _number(trial: TrialRecord) -> int:
    return trial.number


def completed(trial: TrialRecord, space: Space) -> TrialRecord:
    """Return a trial with a coordinate for each searched parameter, its arguments unchanged.

    One that was run before a parameter became free lacks that coordinate.
    """
    setting = trial.setting
    missing = [name for name in space.parameters if name not in setting.params]
    if not missing:
        return trial
    there = encode(setting.hyper, setting.warmup)
    added = {name: there.get(name, space.parameters[name].at(0.5)) for name in missing}
    return replace(trial, setting=replace(setting, params={**setting.params, **added}))
