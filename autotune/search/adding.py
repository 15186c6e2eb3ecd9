"""Trials that were measured elsewhere, on the search's own task: samplers learn from them.

As Optuna's ``add_trial`` does, with a line drawn: what nobody ran here is not counted in a budget,
decides about no other trial at a rung, is no finalist and is never judged or recommended. It is
stored among the search's trials, in its place: those that are proposed later know of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune.errors import AlreadyThere, SpecError
from autotune.scheduler.study_state import StudyState
from autotune.space.accepted import as_torch, refuse_arguments
from autotune.space.coordinates import DEFAULT_WARMUP
from autotune.space.spaces import Space, same
from autotune.studies.records import (
    NO_SEED,
    Point,
    Proposal,
    Role,
    TrialRecord,
    TrialState,
)
from autotune.studies.setting import Setting, flat
from autotune.studies.store import Store

ORIGIN = "added: "  # begins the origin of such a trial
ELSEWHERE = "measured elsewhere"  # where nothing else is said of where it is from


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run of the search's task that somebody else made.

    Args:
        optimizer: Which optimizer.
        hyper: Its keyword arguments; the others had its defaults.
        points: What was measured, by step. The last loss may be None or not finite: it diverged.
        warmup: Fraction of the schedule spent warming up; None: the 0.1 of searches.
        origin: Where it is from, in words.
    """

    optimizer: str
    hyper: Mapping[str, Any]
    points: Sequence[Point]
    warmup: float | None = None
    origin: str = ELSEWHERE

    @property
    def who(self) -> str:
        """What it is called in a sentence."""
        return f"the {self.optimizer} trial to add ({self.origin})"


def curve(losses: Mapping[int, float]) -> list[Point]:
    """Return losses by step as points."""
    return [Point(step=step, seconds=0.0, loss=loss) for step, loss in losses.items()]


def over(name: str) -> AlreadyThere:
    """Return the error of a search that is over."""
    return AlreadyThere(
        f"search '{name}' is over, so nothing would learn from a trial that is added; give it more "
        "to spend first"
    )


def add(
    store: Store, states: Sequence[StudyState], measured: Measured, turn: str
) -> tuple[TrialRecord, bool]:
    """Store a trial that was measured elsewhere; return it, and whether it is new.

    What is told twice is stored once. It is called by whose turn it is, which it may use up.

    Args:
        store: Where the search is.
        states: The search's studies, as they are now.
        measured: The trial.
        turn: Whose turn it is.

    Raises:
        LeaseLost: The turn was over.
        SpecError: The optimizer is not searched or refuses a value; the setting lies outside its
            space; a loss cannot be.
        UnknownName: An optimizer has no argument of that name.
    """
    state = _study(states, measured)
    setting = _setting(state.space, measured)
    points = _checked(measured, state)
    known = _there(state, setting, points)
    if known is not None:
        return known, False
    last = points[-1]
    how, reason = TrialState.COMPLETE, None
    if last.loss is None:
        how, reason = TrialState.DIVERGED, f"its loss was not finite at step {last.step}"
    elif last.step < state.target:
        how, reason = TrialState.STOPPED, f"measured until step {last.step} of {state.target}"
    proposal = Proposal(
        role=Role.ADDED,
        origin=ORIGIN + measured.origin,
        setting=setting,
        seed=NO_SEED,
        target=state.target,
    )
    found = store.add_measured(
        state.study.id, proposal, points, state=how, reason=reason, turn=turn
    )
    state.keep(found, points)
    return found, True


def _study(states: Sequence[StudyState], measured: Measured) -> StudyState:
    names = [state.study.optimizer for state in states]
    if measured.optimizer not in names:
        raise SpecError(
            f"{measured.who} has an optimizer that is not searched; give one of {', '.join(names)}"
        )
    return states[names.index(measured.optimizer)]


def _setting(space: Space, measured: Measured) -> Setting:
    """Return a setting as a point of the space; raises SpecError where it is none.

    A sampler sees coordinates only: it would take a setting beyond them for another one.
    """
    hyper = as_torch(measured.hyper)
    for name, value in flat(hyper):
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"{measured.who}: {name} must be finite, got {value}")
    refuse_arguments(measured.optimizer, hyper, space.defaults, measured.who)
    warmup = DEFAULT_WARMUP if measured.warmup is None else measured.warmup
    given = Setting(params={}, hyper={**space.defaults, **hyper}, warmup=warmup)
    there = space.preset(hyper, warmup, measured.origin).setting
    taken = space.setting(there.params)
    apart = list(_apart(given, taken))
    if apart:
        raise SpecError(
            f"{measured.who} lies outside the space of this search, which has no "
            f"{' and no '.join(apart)}; begin a search whose space holds it, or leave it out"
        )
    return replace(given, params=there.params)


def _apart(given: Setting, taken: Setting) -> Iterator[str]:
    """Yield what differs in a setting from what its coordinates say, with what is nearest."""
    if not same(given.warmup, taken.warmup):
        yield f"warmup {given.warmup:g} (the nearest is {taken.warmup:g})"
    own = dict(flat(taken.hyper))
    for name, value in flat(given.hyper):
        if not same(value, own.get(name)):
            yield f"{name} {value} (the nearest is {own.get(name)})"


def _checked(measured: Measured, state: StudyState) -> list[Point]:
    """Return the points of a curve that can be; raises SpecError."""
    points, last = list(measured.points), 0
    rungs = [step for step in state.ladder.steps if step >= state.ladder.first]
    if not points:
        raise SpecError(f"{measured.who} has no loss; give one at step {rungs[-1]}")
    for place, point in enumerate(points):
        if not last < point.step <= state.target:
            raise SpecError(
                f"{measured.who}: steps of losses have to rise from 1 to at most {state.target}, a "
                f"full run of this search, got step {point.step}"
            )
        last = point.step
        if not _finite(point.loss):
            if place < len(points) - 1:
                raise SpecError(
                    f"{measured.who}: only its last loss may be missing or not finite, got "
                    f"{point.loss} at step {point.step}"
                )
            points[place] = replace(point, loss=None)
    if points[-1].loss is not None and not {p.step for p in points} & set(rungs):
        raise SpecError(
            f"{measured.who} was measured at none of the steps at which this search compares "
            f"trials; give its loss at {', '.join(map(str, rungs))}, or at the last alone"
        )
    return points


def _finite(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


def _there(state: StudyState, setting: Setting, points: Sequence[Point]) -> TrialRecord | None:
    """Return the trial that was added before with the same setting and losses."""
    losses = {point.step: point.loss for point in points if point.loss is not None}
    for trial in state.of(Role.ADDED):
        if trial.state is TrialState.FAILED:  # void
            continue
        alike = as_torch(trial.setting.hyper) == as_torch(setting.hyper)
        again = alike and trial.setting.warmup == setting.warmup
        if again and trial.step == points[-1].step and state.losses[trial.id] == losses:
            return trial
    return None
