"""Widen a range if the best settings lie at its end: better ones may lie beyond.

A range that the user gave is a constraint and stays; so does the grid of a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune.pruners.auto import leaders
from autotune.scheduler.study_state import StudyState
from autotune.space import spaces
from autotune.space.coordinates import Params
from autotune.space.spaces import Range, Space, idle
from autotune.studies.records import Role, TrialRecord, TrialState

BAND = 0.1  # part of a range that counts as its end
BEST = 3  # a range is widened if this many best trials all lie at its end
FEWEST = 9  # trials before any range is widened
STEP = 0.25  # part of the first width that is added each time
FURTHEST = 0.5  # part of the first width that may be added at one end in total


@dataclass(frozen=True, kw_only=True)
class Widened:
    """A space with a wider range, and why."""

    space: Space
    reason: str


def widened(state: StudyState) -> Widened | None:
    """Return a study's space with wider ranges; None if no range needs it."""
    trials = state.of(Role.SEARCH)
    if len(trials) < FEWEST:
        return None
    best = leaders(trials, state.losses, state.ladder, BEST)
    if len(best) < BEST or min(trial.step for trial in best) < state.ladder.safe:
        return None  # short runs favour high learning rates
    diverged = [trial for trial in trials if trial.state is TrialState.DIVERGED]
    found = dict(_wider(state.space, best, diverged))
    if not found:
        return None
    reasons = [_reason(name, state.space, new, len(trials)) for name, new in found.items()]
    parameters = {**state.space.parameters, **found}
    return Widened(space=replace(state.space, parameters=parameters), reason="; ".join(reasons))


def _wider(
    space: Space, best: Sequence[TrialRecord], diverged: Sequence[TrialRecord]
) -> Iterator[tuple[str, Range]]:
    for name, parameter in space.parameters.items():
        if not isinstance(parameter, Range) or not parameter.log or name in space.asked:
            continue
        if any(idle(name, one.setting.params) for one in best):
            continue
        for upper in (False, True):
            there = [_at(parameter, one.setting.params[name], upper) for one in best]
            cliff = any(_at(parameter, one.setting.params[name], upper) for one in diverged)
            new = parameter.wider(upper, STEP, FURTHEST, most=_most(name))
            if all(there) and not cliff and new != parameter:
                yield name, new


def _at(parameter: Range, value: float | str, upper: bool) -> bool:
    unit = parameter.unit(value)
    return (1 - unit if upper else unit) < BAND


def _most(name: str) -> float:
    """Return the largest allowed value: no beta may be below zero."""
    return 1.0 if name.startswith("one_minus_") else math.inf


def _reason(name: str, space: Space, new: Range, count: int) -> str:
    old = space.parameters[name]
    if not isinstance(old, Range):
        raise TypeError(f"{name} is no range")
    end = f"upper end, {old.high:.3g}" if new.high > old.high else f"lower end, {old.low:.3g}"
    return (
        f"{name} is now searched from {new.low:.3g} to {new.high:.3g}, because the {BEST} best of "
        f"{count} settings lie at its {end}"
    )


def recorded(space: Space, data: Mapping[str, Sequence[Any]]) -> Space:
    """Return a space with the widened ranges that are stored in ``data``."""
    stored = spaces.from_data(data, {}).parameters
    wider = {
        name: range
        for name, range in stored.items()
        if isinstance(range, Range) and range.began is not None and name in space.parameters
    }
    return replace(space, parameters={**space.parameters, **wider}) if wider else space


def widened_ranges(data: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return a sentence about each widened range of a stored space."""
    found = []
    for name, parameter in spaces.from_data(data, {}).parameters.items():
        if isinstance(parameter, Range) and parameter.began is not None:
            low, high = parameter.began
            found.append(
                f"{name} was searched from {parameter.low:.3g} to {parameter.high:.3g}; the range "
                f"{low:.3g} to {high:.3g} was widened because the best settings lay at its end"
            )
    return found


def recommended(state: StudyState, number: int | None) -> Iterator[str]:
    """Warn if the recommended setting lies at an end of a range; the default was not searched."""
    for trial in state.of(Role.SEARCH):
        if number and trial.number == number:
            yield from warnings(trial.setting.params, state.space.as_data())


def warnings(params: Params, data: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Return a warning for each parameter that lies at an end of its range."""
    ranges = spaces.from_data(data, {})
    for name in ranges.edges(params):
        parameter = ranges.parameters[name]
        if not isinstance(parameter, Range) or idle(name, params):
            continue
        upper = parameter.unit(params[name]) > 0.5
        # Nothing lies below a range that starts at zero, nor above what no beta exceeds.
        if parameter.high < _most(name) if upper else parameter.low > 0:
            wide = "" if parameter.began is None else ", which was widened"
            yield (
                f"{name} = {params[name]:.3g} is at the {'upper' if upper else 'lower'} end of "
                f"its range, {parameter.low:.3g} to {parameter.high:.3g}{wide}: "
                "the best may lie beyond"
            )
