"""Overrides for Hydra: a group ``optimizer`` to instantiate, and what makes a schedule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autotune.arguments.parts import text
from autotune.optimizers.registry import importable, schedule


def words(optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> list[str]:
    """Write overrides that set a key whether or not the configuration has it.

    ``_convert_: all`` gives the optimizer plain lists: others end in its checkpoints.
    """
    given = {"_target_": importable(optimizer), "_convert_": "all", **hyper}
    found = [f"++optimizer.{name}={_value(value)}" for name, value in given.items()]
    found += [f"++schedule.warmup={text(warmup)}", f"++schedule.steps={text(steps)}"]
    return [*found, "++schedule.type=constant"] if schedule(optimizer) == "constant" else found


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
