"""The space behind a setting: what an export says that another tool is to search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autotune import optimizers, registry
from autotune.errors import SpecError
from autotune.export.header import lines, printable
from autotune.results.tuned import Tuned
from autotune.space import spaces
from autotune.space.config import written
from autotune.space.coordinates import encode
from autotune.space.spaces import Space


def space(tuned: Tuned, form: str) -> Space:
    """Return the space that a setting was found in; refuse a record without one."""
    if tuned.target:
        raise SpecError(
            f"export '{form}' writes the space that was searched, which no rule restates; leave "
            "the target out"
        )
    if not tuned.space:
        raise SpecError(f"export '{form}' needs the space that was searched, which is not recorded")
    registry.check_optimizer(tuned.optimizer)
    return spaces.from_data(tuned.space, optimizers.defaults(tuned.optimizer, tuned.space))


def configuration(tuned: Tuned, form: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a script is told: the optimizer, the steps of its run, and ``params``."""
    steps = tuned.tuned_on.get("steps")
    if not isinstance(steps, int):
        raise SpecError(f"export '{form}' needs the steps of a run, which are not recorded")
    return written(tuned.optimizer, steps, space(tuned, form), params)


def found(tuned: Tuned, form: str) -> dict[str, Any]:
    """Return the coordinates of the setting, and those of its values that the space leaves alone.

    A timescale that the setting does not have, as it does not decay, is the middle of its range.
    """
    whole, coordinates = space(tuned, form), encode(tuned.hyper, tuned.warmup)
    params = {
        name: coordinates.get(name, parameter.at(0.5))
        for name, parameter in whole.parameters.items()
    }
    told = whole.setting(params)
    there = encode(told.hyper, told.warmup)
    apart = {
        name: value
        for name, value in coordinates.items()
        if name not in {"timescale", "decayed"} and not spaces.same(value, there.get(name))
    }
    return {**params, **apart}


def comment(tuned: Tuned, form: str, usage: str) -> str:
    """Return the lines that a file opens with: how to use it, where it comes from, what was found.

    Args:
        tuned: The record.
        form: Name of the export.
        usage: How to use the file, a line each.
    """
    best = ", ".join(f"{name} {json.dumps(value)}" for name, value in found(tuned, form).items())
    told = [*usage.splitlines(), *lines(tuned), f"found: {best}"]
    return "".join(f"# {printable(line).lstrip('@')}".rstrip() + "\n" for line in told)
