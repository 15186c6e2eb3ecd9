"""Optimizers of other packages' entry points: refused in a sentence where they cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from inspect import Parameter, isclass, signature
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer

_SCALES = ("log", "linear")
_OF_ALL = ("warmup", "decayed", "timescale", "gamma1", "gamma_ratio")  # coordinates, not arguments


class BrokenPlugin(ValueError):
    """What a package registers as an optimizer is none that can be used."""


def loaded(entry: EntryPoint) -> type[RuleOptimizer]:
    """Return the class that an entry point names; raises BrokenPlugin."""
    from autotune.optimizers.base import RuleOptimizer

    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        raise broken(entry, error) from error
    if not (isclass(found) and issubclass(found, RuleOptimizer)):
        raise BrokenPlugin(
            f"optimizer '{entry.name}' must be a subclass of RuleOptimizer, which {entry.value} is "
            "not; an optimizer of torch's kind is searched by its dotted name, without an entry "
            "point"
        )
    for problem in _problems(cast(Any, found)):
        raise BrokenPlugin(f"space of optimizer '{entry.name}' ({entry.value}): {problem}")
    return found


def broken(entry: EntryPoint, error: BaseException) -> BrokenPlugin:
    """Return the error for an entry point that cannot be read or loaded."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return BrokenPlugin(
        f"optimizer '{entry.name}' cannot be loaded from {entry.value} ({said}); mend or uninstall "
        "its package"
    )


@cache  # a class is loaded each time that its name is
def _problems(cls: Any) -> tuple[str, ...]:
    """Return what is wrong with the ranges that a class declares."""
    given = signature(cls).parameters
    unread = (
        f"{name} says nothing of an argument of {cls.__name__} ({', '.join(given)})"
        for name in cls.space
        if not _is_read(name, given)
    )
    return (*unread, *_wrong(cls.space))


def _is_read(name: str, given: Mapping[str, Parameter]) -> bool:
    """Return whether a coordinate is an argument, one minus one or its part, or of all."""
    if name in _OF_ALL or name in given:
        return True
    kept = name.removeprefix("one_minus_")
    betas = getattr(given.get("betas"), "default", None)
    count = len(betas) if isinstance(betas, tuple) else 0
    parts = {f"beta{place}" for place in range(1, count + 1)}
    return kept != name and (kept in given or kept in parts)


def _wrong(space: Mapping[str, Any]) -> Iterator[str]:
    for name, given in space.items():
        scale, *ends = given
        if scale == "choice":
            continue
        if scale not in _SCALES:
            yield f"{name} must begin with 'log', 'linear' or 'choice', got {scale!r}"
        low, high = ends[:2]
        if not low < high or (scale == "log" and low <= 0):
            above = "0 < low < high" if scale == "log" else "low < high"
            yield f"{name} must have {above}, got {low} and {high}"
