"""Optimizers by name: those installed under the entry points ``autotune.optimizers``.

Each also has names for its other forms: ``NAME-win`` and ``NAME-win2``, the same class accelerated,
and ``NAME-sf``, Schedule-Free. Its class says which.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Literal

from autotune.optimizers.forms import ENDINGS, forms
from autotune.optimizers.forms import schedule as schedule_of

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

    from autotune.optimizers.base import RuleOptimizer

_NOT_HYPER = (
    "params",
    "backend",
    "state_dtype",
    "stochastic_rounding",
    "compact",
    "capturable",
)
# What an acceleration reads, and nothing else.
_READ = {
    "win": ("reckless_steps",),
    "win2": ("reckless_steps",),
    "schedule-free": ("r", "weight_lr_power"),
}
_OWN = {"none": "", "schedule-free": "sf_"}  # prefix of what a class says of a form
_WIN_SPACE = {"gamma1": ("log", 1.1, 8.0), "gamma_ratio": ("log", 1.0, 8.0)}


@cache
def _entries() -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group="autotune.optimizers"):
        taken = entries.setdefault(entry.name, entry)
        if taken.value != entry.value:
            raise ValueError(
                f"optimizer '{entry.name}' is registered twice, "
                f"as {taken.value} and as {entry.value}; uninstall one"
            )
    return entries


def names() -> list[str]:
    """Return every name that ``create`` knows, sorted.

    These are the optimizers installed under the entry points ``autotune.optimizers``, each also
    with '-win', '-win2' or '-sf' behind its name, as its class has these forms.

    Raises:
        ValueError: Two packages register different classes under one name.

    Example:
        >>> from autotune.optimizers import names
        >>> [name for name in names() if name.startswith("adan")]
        ['adan', 'adan-sf', 'adan-win', 'adan-win2']
    """
    return sorted({form for name, entry in _entries().items() for form in _forms(name, entry)})


def _forms(name: str, entry: EntryPoint) -> Iterator[str]:
    yield name
    for ending in forms(entry):
        yield f"{name}-{ending}"


def class_names() -> set[str]:
    """Return the names, in Python, of the registered classes of this package."""
    return {entry.attr for entry in _entries().values() if _is_ours(entry)}


def class_named(name: str) -> type[RuleOptimizer] | None:
    """Return the registered class of this package with a name of Python's, or None."""
    for entry in _entries().values():
        if entry.attr == name and _is_ours(entry):
            found: type[RuleOptimizer] = entry.load()
            return found
    return None


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.startswith("autotune.optimizers.")


def resolve(name: str) -> tuple[type[RuleOptimizer], str]:
    """Return the class behind a name, and the acceleration the name asks for."""
    base, _, ending = name.rpartition("-")
    if name in _entries():
        return _entries()[name].load(), "none"
    if base in _entries() and ending in forms(_entries()[base]):
        return _entries()[base].load(), ENDINGS[ending]
    raise ValueError(_unknown(f"unknown optimizer '{name}'", name, names()))


def _unknown(problem: str, given: str, known: Iterable[str]) -> str:
    listed = sorted(known)
    words = sorted(given.split("-"))
    turned = [name for name in listed if sorted(name.split("-")) == words]  # as sf-adamw
    close = turned or difflib.get_close_matches(given, listed, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{problem}{hint} (known: {', '.join(listed) or 'none'})"


def create(name: str, params: ParamsT, **hyper: Any) -> RuleOptimizer:
    """Return a new optimizer, chosen by name.

    Args:
        name: One of ``names()``; 'adamw-win2' is 'adamw' with ``acceleration='win2'``.
        params: What the class takes: tensors, (name, tensor) pairs, or dictionaries, one for each
            group.
        hyper: Keyword arguments of the class; the others keep its defaults.

    Raises:
        TypeError: The class takes no such keyword, or refuses the type of a value.
        ValueError: The name is unknown, ``acceleration`` contradicts it, or the class refuses a
            value.
        ImportError: ``backend`` needs a package that is not installed.

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("adamw-win2", model.parameters(), lr=2e-3)
        >>> type(optimizer).__name__, optimizer.param_groups[0]["acceleration"]
        ('AdamW', 'win2')
    """
    cls, acceleration = resolve(name)
    known = [key for key in signature(cls).parameters if key != "params"]
    for key in hyper:
        if key not in known:
            raise TypeError(_unknown(f"{name} takes no '{key}'", key, known))
    if acceleration != "none" and hyper.setdefault("acceleration", acceleration) != acceleration:
        raise ValueError(
            f"acceleration must be '{acceleration}' for {name}, got {hyper['acceleration']!r}; "
            f"use '{name.rpartition('-')[0]}' to choose it freely"
        )
    return cls(params, **hyper)


def defaults(name: str) -> dict[str, Any]:
    """Return the hyper-parameters an optimizer has when none is given."""
    cls, acceleration = resolve(name)
    given = signature(cls).parameters.values()
    hyper = {
        parameter.name: parameter.default
        for parameter in given
        if parameter.name not in _NOT_HYPER and parameter.default is not Parameter.empty
    }
    unread = set().union(*_READ.values()).difference(_READ.get(acceleration, ()))
    own = {k: v for k, v in hyper.items() if k not in {*unread, "acceleration"}}
    return own if acceleration == "none" else {**own, "acceleration": acceleration}


def schedule(name: str) -> Literal["cosine", "constant"]:
    """Return what the learning rate does after its warm-up: ``cosine`` to 0, or ``constant``."""
    return schedule_of([resolve(name)[1]])


def space(name: str) -> dict[str, tuple[Any, ...]]:
    """Return what a search may vary: ``('log' | 'linear', low, high)`` or ``('choice', values)``.

    ``timescale`` is ``1 / (lr * weight_decay)`` in steps, ``gamma_ratio`` the second of
    ``reckless_steps`` over the first, ``warmup`` a fraction of the schedule.
    """
    cls, acceleration = resolve(name)
    own = cls.sf_space if acceleration == "schedule-free" else _WIN_SPACE
    return dict(cls.space) if acceleration == "none" else {**cls.space, **own}


def half_lives(name: str) -> dict[str, tuple[float, float]]:
    """Return the shortest and longest half-life, as parts of a run, by coordinate of ``space``.

    Only registered optimizers say any.
    """
    return dict(resolve(name)[0].half_lives) if name in names() else {}


def presets(name: str) -> tuple[dict[str, Any], ...]:
    """Return settings to try first, each with its origin: what tuning is compared with leads.

    That is what the authors recommend (origin ``authors``), else the defaults (``default``). Each
    is ``defaults(name)`` with some values changed, plus ``origin`` and ``warmup``.
    """
    cls, acceleration = resolve(name)
    prefix = _OWN.get(acceleration, "win_")
    constant = schedule(name) == "constant"
    base = {**defaults(name), "origin": "default", "warmup": 0.05 if constant else 0.1}
    told, others = getattr(cls, f"{prefix}recommended"), getattr(cls, f"{prefix}presets")
    first = {**base, **told, "origin": "authors"} if told else base
    return (first, *({**base, **other} for other in others))
