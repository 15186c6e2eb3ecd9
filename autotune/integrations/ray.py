"""Ray Tune searches an optimizer's space: what ``Tuner`` takes as ``param_space``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune

from autotune.integrations.suggestion import from_config, presets
from autotune.space.config import space_of, written
from autotune.space.spaces import Choice, Parameter

__all__ = ["from_config", "param_space", "presets"]


def param_space(
    optimizer: str, *, steps: int, space: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return an optimizer's space; in the trainable, ``from_config`` reads the setting chosen.

    ``presets`` with the same arguments are what a searcher takes as ``points_to_evaluate``.

    Args:
        optimizer: Name of the optimizer.
        steps: Optimizer steps of the schedule.
        space: What to fix, narrow or choose, by parameter, as in ``autotune.tune``.

    Raises:
        SpecError: There is no such optimizer or parameter, or a range is empty.
    """
    whole = space_of(optimizer, space, steps)
    domains = {name: _domain(parameter) for name, parameter in whole.parameters.items()}
    return written(optimizer, steps, whole, domains)


def _domain(parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return tune.choice(list(parameter.options))
    make = tune.loguniform if parameter.log else tune.uniform
    return make(parameter.low, parameter.high)
