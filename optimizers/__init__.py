"""Optimizers with the ``torch.optim`` interface, and their names; importing this loads no torch.

The class of every registered optimizer can be imported from here, as ``Lion`` of 'lion'.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.optimizers.adam import Adam, AdamW
    from autotune.optimizers.adan import Adan
    from autotune.optimizers.agvm import AGVM
    from autotune.optimizers.base import RuleOptimizer
    from autotune.optimizers.groups import layerwise, split
    from autotune.optimizers.lamb import LAMB
    from autotune.optimizers.lanton import LANTON
    from autotune.optimizers.registry import build, create, defaults, names, presets, space
    from autotune.optimizers.sgd import SGD
    from autotune.optimizers.stacked import Stacked

__all__ = [
    "AGVM",
    "LAMB",
    "LANTON",
    "SGD",
    "Adam",
    "AdamW",
    "Adan",
    "RuleOptimizer",
    "Stacked",
    "build",
    "create",
    "defaults",
    "layerwise",
    "names",
    "presets",
    "space",
    "split",
]

_HOMES = {
    "AGVM": "agvm",
    "LAMB": "lamb",
    "LANTON": "lanton",
    "SGD": "sgd",
    "Adam": "adam",
    "AdamW": "adam",
    "Adan": "adan",
    "RuleOptimizer": "base",
    "Stacked": "stacked",
    "build": "registry",
    "create": "registry",
    "defaults": "registry",
    "layerwise": "groups",
    "names": "registry",
    "presets": "registry",
    "space": "registry",
    "split": "groups",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(f"autotune.optimizers.{_HOMES[name]}"), name)
    if name.isidentifier() and not name.startswith("_"):
        found = import_module("autotune.optimizers.registry").class_named(name)
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    registry = import_module("autotune.optimizers.registry")
    return sorted({*__all__, *registry.class_names()})
