"""Settings that are known from elsewhere: checked before a search begins, and tried first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotune.errors import SpecError
from autotune.optimizers import controllers
from autotune.optimizers.controllers import NONE
from autotune.space.accepted import as_torch, refuse_arguments
from autotune.space.coordinates import DEFAULT_WARMUP, encode
from autotune.space.presets import KNOWN, presets_of
from autotune.space.spaces import Candidate, Range, Space
from autotune.studies.earlier import IMPORTED, KEY, Earlier, unequal
from autotune.studies.spec import SearchSpec


def candidates(spec: SearchSpec, optimizer: str, space: Space) -> tuple[Candidate, ...]:
    """Return the settings of an optimizer that are known from elsewhere, in their order.

    None trains as another does, nor as what is always tried.
    """
    tried = [one.setting for one in presets_of(optimizer, space)[:KNOWN]]
    found: list[Candidate] = []
    for one in _own(spec, optimizer):
        made = space.preset(_hyper(one), _warmup(one), IMPORTED + one.origin)
        if not any(made.setting.trains_like(other) for other in tried):
            tried.append(made.setting)
            found.append(made)
    return tuple(found)


def check(spec: SearchSpec, spaces: Mapping[str, Space]) -> None:
    """Refuse settings that the search cannot try as they are.

    Raises:
        SpecError: Their optimizer is not searched or refuses a value, the space that the user gave
            does not hold them, or the budget does not pay for all of them.
        UnknownName: An optimizer has no argument of that name.
    """
    for one in spec.try_first:
        if one.optimizer not in spaces:
            raise SpecError(
                f"{KEY}: {one.origin} is a setting of {one.optimizer}, which is not searched; "
                f"add --optimizer {one.optimizer} or leave it out"
            )
        _check_controller(one, spaces[one.optimizer])
        known = spaces[one.optimizer].defaults
        refuse_arguments(one.optimizer, _hyper(one), known, f"{KEY}, {one.origin}")
        _check_place(one, spaces[one.optimizer])
    limit = spec.budget.resolved.trials
    for name, space in spaces.items():
        count = len(candidates(spec, name, space)) if spec.try_first else 0
        if limit is not None and count >= limit:
            raise SpecError(
                f"{KEY} has {count} settings of {name}, and {limit} trials pay for the default and "
                f"{limit - 1} more; raise trials or give fewer"
            )


def notices(spec: SearchSpec, spaces: Mapping[str, Space]) -> Iterator[str]:
    """Yield what a user should know of these settings, a sentence each."""
    for name, space in spaces.items():
        for one in _own(spec, name):
            beyond = list(_beyond(one, space))
            if beyond:
                ranges = ", ".join(beyond)
                yield f"{name}: {one.origin} is tried as it is, beyond what is searched in {ranges}"
    yield from filter(None, [unequal(spec.model_dump(mode="json"))])


def _own(spec: SearchSpec, optimizer: str) -> list[Earlier]:
    return [one for one in spec.try_first if one.optimizer == optimizer]


def _hyper(one: Earlier) -> dict[str, Any]:
    return as_torch(one.hyper)


def _warmup(one: Earlier) -> float:
    return DEFAULT_WARMUP if one.warmup is None else one.warmup


def _check_controller(one: Earlier, space: Space) -> None:
    """Refuse a controller that the search has none of, and none where all settings have one."""
    asked = one.hyper.get(controllers.KEY, NONE)
    every = space.fixed.get(controllers.KEY, NONE)
    if asked != NONE and controllers.KEY not in space.defaults:
        raise SpecError(
            f"{KEY}, {one.origin}: it has controller '{asked}', and this search has none; add "
            f"--controller {asked} or leave the setting out"
        )
    if asked == NONE and every != NONE:
        raise SpecError(
            f"{KEY}, {one.origin}: it has no controller, and all settings of this search have "
            f"'{every}'; give --set 'space.controller=[none, {every}]' instead of --controller to "
            "search both, or leave the setting out"
        )


def _check_place(one: Earlier, space: Space) -> None:
    moved = space.moved(_hyper(one), _warmup(one))
    if moved:
        was = encode({**space.defaults, **_hyper(one)}, _warmup(one))
        told = ", ".join(f"{name} {was.get(name, 'none')}" for name in moved)
        raise SpecError(
            f"{KEY}, {one.origin}: {told} is outside the space that you gave; widen that or leave "
            "the setting out"
        )


def _beyond(one: Earlier, space: Space) -> Iterator[str]:
    """Yield the ranges that do not hold a setting."""
    there = encode({**space.defaults, **_hyper(one)}, _warmup(one))
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Range) and name in there:
            value = float(there[name])
            slack = 1e-9 * abs(value)
            if not parameter.low - slack <= value <= parameter.high + slack:
                yield name
