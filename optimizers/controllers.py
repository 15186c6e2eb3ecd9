"""Controllers by name: what multiplies learning rates of parts of a model, by its gradients.

A controller is one class under the entry points ``autotune.controllers``. It writes the multiplier
of groups and leaves learning rates to schedules. Among the keyword arguments of an optimizer that
``build`` makes for a model, ``controller`` names one, and ``controller_`` begins the names of its
own. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any

from autotune.optimizers.nearest import near

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

    from autotune.optimizers.controller import Controller

GROUP = "autotune.controllers"
KEY = "controller"
NONE = "none"  # instead of a name
_OWN = f"{KEY}_"


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def names() -> list[str]:
    """Return the names of controllers, sorted."""
    return sorted(_entries())


def find(name: str) -> type[Controller]:
    """Return the class of a controller; raises ValueError for an unknown name."""
    if name not in _entries():
        listed = ", ".join([*names(), NONE])
        hint = near(str(name), names())
        raise ValueError(f"unknown controller {name!r}{hint} (known: {listed})")
    found: type[Controller] = _entries()[name].load()
    return found


def options(name: str) -> dict[str, Any]:
    """Return a controller's own keyword arguments with their defaults, as plain values."""
    found = find(name)
    given = signature(found).parameters
    return {key: given[key].default for key in found.options}


def begins(hyper: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments that are steps from the beginning of a run to where something begins."""
    return _named(hyper, "begins")


def decays(hyper: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments that say how much of an average a controller keeps."""
    return _named(hyper, "decays")


def _named(hyper: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    name = wanted(hyper)
    own = getattr(find(name), kind) if name in names() else ()
    return tuple(key for key in (f"{_OWN}{each}" for each in own) if hyper.get(key) is not None)


def parted(
    hyper: Mapping[str, Any], taken: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an optimizer's keyword arguments, and apart from them what is of its controller.

    Those that are ``taken`` are the optimizer's, whatever they are called.
    """
    named = {key for key in hyper if key == KEY or key.startswith(_OWN)}
    own = {key: hyper[key] for key in hyper if key in named.difference(taken)}
    return {key: value for key, value in hyper.items() if key not in own}, own


def wanted(hyper: Mapping[str, Any]) -> str | None:
    """Return the name of the controller that keyword arguments ask for; None where none is."""
    name = hyper.get(KEY, NONE)
    return None if name in (NONE, None) else str(name)


def attach(optimizer: Optimizer, model: Module, hyper: Mapping[str, Any]) -> None:
    """Let an optimizer's steps be controlled as keyword arguments ask for, if they do.

    Raises:
        TypeError: The controller has no such argument, or refuses the type of a value; or there are
            arguments and no controller.
        ValueError: There is no such controller, or it refuses the model, the optimizer or a value.
    """
    name = wanted(hyper)
    if name is None:
        for key in hyper if KEY not in hyper else ():
            raise TypeError(f"'{key}' is for a controller, got none; name it: {KEY}=NAME")
        return
    made: Any = find(name)  # each with arguments of its own
    made(optimizer, model, **_arguments(name, hyper)).attach()


def _arguments(name: str, hyper: Mapping[str, Any]) -> dict[str, Any]:
    known, found = options(name), {}
    for key, value in hyper.items():
        if key.startswith(_OWN):
            own = key.removeprefix(_OWN)
            if own not in known:
                listed = ", ".join(f"{_OWN}{each}" for each in known)
                raise TypeError(f"controller '{name}' takes no '{key}' (known: {listed})")
            found[own] = value
    return found
