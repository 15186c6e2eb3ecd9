"""What may be done to the gradients of any rule, as data: options, their defaults and ranges.

Off by default, options are told of only where they are asked for. No torch is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict


class Transforms(TypedDict, total=False):
    """The keyword arguments that constructors share."""

    gradient_filter: str
    mars_gamma: float
    grokfast_alpha: float
    grokfast_lamb: float
    layer_clip: float
    layer_split: str


DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "gradient_filter": "none",
        "mars_gamma": 0.025,
        "grokfast_alpha": 0.98,
        "grokfast_lamb": 2.0,
        "layer_clip": 0.0,
        "layer_split": "uniform",
    }
)
# Options that turn something on, the values that do, and what is read then.
READ: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "gradient_filter": {
            "mars": ("mars_gamma",),
            "grokfast": ("grokfast_alpha", "grokfast_lamb"),
        },
        "layer_clip": {"on": ("layer_split",)},
    }
)
FILTERS = tuple(READ["gradient_filter"])
# Those that a coordinate of a space has as one minus their value.
DECAYS = ("grokfast_alpha",)
# What a search varies once a filter is on. MARS' authors use a gamma of 0.025, those of Grokfast an
# alpha of 0.8 to 0.99 and a lamb of 0.1 to 5.
SPACES: Mapping[str, Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "mars": {"mars_gamma": ("log", 2.5e-3, 0.1)},
        "grokfast": {
            "one_minus_grokfast_alpha": ("log", 5e-3, 0.2),
            "grokfast_lamb": ("log", 0.1, 5.0),
        },
    }
)
# The shortest and the longest half-life that a search tries, as parts of its runs.
HALF_LIVES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"one_minus_grokfast_alpha": (0.01, 0.2)}
)


def coordinate(option: str) -> str:
    """Return the name under which a space has an option."""
    return f"one_minus_{option}" if option in DECAYS else option


def beside(asked: Iterable[str]) -> dict[str, Any]:
    """Return the options that belong to some coordinates, with their defaults."""
    given = set(asked)
    found: dict[str, Any] = {}
    for name, by_value in READ.items():
        together = (name, *(option for read in by_value.values() for option in read))
        if not given.isdisjoint({*together, *map(coordinate, together)}):
            found |= {option: DEFAULTS[option] for option in together}
    return found


def ranges(asked: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return what a search varies beside, by the filters that a space's changes allow."""
    given = asked.get("gradient_filter", ())
    words = (given,) if isinstance(given, str) else given
    return {name: own for word in words for name, own in SPACES.get(word, {}).items()}


def idle(name: str, params: Mapping[str, Any]) -> bool:
    """Return whether a coordinate has no effect, as what reads it is off."""
    for switch, by_value in READ.items():
        for value, read in by_value.items():
            if name in map(coordinate, read) and switch in params:
                on = value if value in FILTERS else params[switch] or value
                return bool(params[switch] != on)
    return False
