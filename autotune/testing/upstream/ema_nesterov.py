"""EMA-Nesterov's wrapper around an optimizer of torch, AdamW where nothing else is said.

It leaves parameters where the wrapped optimizer put them, and looks ahead before the next gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from autotune.testing.upstream import adamw

MEASURED = True
_OURS = ("lookahead_stepsize", "lookahead_ema")
# Which part of a run looks ahead, and whether the step follows the learning rate: of theirs, off.
_OFF = {
    "use_scheduled_lookahead_stepsize": (False,),
    "warmup_step": (0,),
    "rest_step": (None,),
    "prefill_steps": (0,),
    "rest_steps": (0,),
}


def around(base: ModuleType, hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments for an optimizer that is wrapped."""
    for name, off in _OFF.items():
        if name in hyper and hyper[name] not in off:
            raise ValueError(
                f"acceleration 'nesterov-ema' has no {name}, got {hyper[name]!r}; the groups' "
                "lookahead_stepsize may be set before a step"
            )
    given = {name: value for name, value in hyper.items() if name not in (*_OURS, *_OFF)}
    name, found = base.ours(given)
    return f"{name}-nema", {**found, **{k: hyper[k] for k in _OURS if k in hyper}}


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return around(adamw, hyper)
