"""Settings as flat configurations, the form in which other tuners hand them to a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune import optimizers, registry
from autotune.errors import SpecError
from autotune.optimizers import registry as known_by
from autotune.space import controlled, spaces
from autotune.space.coordinates import Params
from autotune.space.presets import changed, over_runs, presets_of
from autotune.space.spaces import Candidate, Space
from autotune.studies.setting import Setting

OPTIMIZER, STEPS = "optimizer", "steps"  # what a configuration says besides coordinates
_REPLACED = {"timescale", "decayed"}  # by weight_decay, where a space fixes or searches that
NOTHING: Mapping[str, Any] = {}


def space_of(
    optimizer: str, changes: Mapping[str, Any] | None = None, steps: int | None = None
) -> Space:
    """Return an optimizer's space.

    Args:
        optimizer: Name of the optimizer.
        changes: What to fix, narrow or choose, by parameter: ``{"lr": {"high": 1e-2}}``.
        steps: Optimizer steps of a run, into which averages have to fit.

    Raises:
        UnknownName: There is no such optimizer, parameter or controller.
        MissingExtra: The package of an optimizer's dotted name is not installed.
        SpecError: A range is empty.
    """
    registry.check_optimizer(str(optimizer))
    space = changed(optimizer, changes or NOTHING)
    return space if steps is None else over_runs({optimizer: space}, steps)[optimizer]


def known(optimizer: str, space: Space) -> Sequence[Candidate]:
    """Return the settings to try first in a space, the authors' recommendation leading."""
    return presets_of(optimizer, space)


def setting_at(optimizer: str, params: Params, space: Space) -> Setting:
    """Return the setting at some coordinates.

    A known setting may have values that no coordinate says; at its coordinates they are its own.
    """
    settings = (candidate.setting for candidate in known(optimizer, space))
    found = next((setting for setting in settings if setting.params == params), None)
    return found or space.setting(params)


def written(optimizer: str, steps: int, space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration: what the space fixes, and something for each coordinate.

    Args:
        optimizer: Name of the optimizer.
        steps: Optimizer steps of the schedule.
        space: Its fixed values are constants.
        params: By coordinate: a value, or whatever a tuner draws one from.
    """
    return {OPTIMIZER: optimizer, STEPS: steps, **space.fixed, **params}


def read(config: Mapping[str, Any]) -> tuple[str, Setting, int]:
    """Return the optimizer, the setting and the steps that a configuration says.

    Args:
        config: As ``written``; what it holds besides is left alone.

    Raises:
        SpecError: A name is missing, or the optimizer is unknown.
    """
    for name in (OPTIMIZER, STEPS):
        if name not in config:
            raise SpecError(_missing(name))
    optimizer = str(config[OPTIMIZER])
    steps = int(config[STEPS])
    given = {name: config[name] for name in known_by.may_set(optimizer) if name in config}
    given |= {name: value for name, value in config.items() if controlled.is_word(name)}
    space = space_of(optimizer, given, steps=steps)
    names = spaces.known(optimizers.space(optimizer, given), space.defaults)
    params = {name: config[name] for name in sorted(names) if name in config}
    for name in space:
        if name not in params and not (name in _REPLACED and "weight_decay" in params):
            raise SpecError(_missing(name))
    return optimizer, setting_at(optimizer, params, space), steps


def _missing(name: str) -> str:
    return f"the configuration has no '{name}'; give it all that the space or the sweep file names"
