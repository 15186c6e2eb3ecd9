"""What may be done to gradients and steps of any rule, as data: options, defaults and ranges.

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
    coord_clip: float
    update_clip: float
    lookahead_stepsize: float
    lookahead_ema: float


DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "gradient_filter": "none",
        "mars_gamma": 0.025,
        "grokfast_alpha": 0.98,
        "grokfast_lamb": 2.0,
        "layer_clip": 0.0,
        "layer_split": "uniform",
        "coord_clip": 0.0,
        "update_clip": 0.0,
        "lookahead_stepsize": 0.5,
        "lookahead_ema": 0.99,
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
        "coord_clip": {"on": ()},
        "update_clip": {"on": ()},
    }
)
EXCLUDING = ("cautious",)  # switches of rules that one of these cannot be combined with
LOOKAHEAD = "nesterov-ema"  # an acceleration
AHEAD = ("lookahead_stepsize", "lookahead_ema")  # what it reads
FILTERS = tuple(READ["gradient_filter"])
# Those that a coordinate of a space has as one minus their value.
DECAYS = ("grokfast_alpha", "lookahead_ema")
# What a search varies once one is on. MARS' authors use a gamma of 0.025, those of Grokfast an
# alpha of 0.8 to 0.99 and a lamb of 0.1 to 5, those of EMA-Nesterov steps of 0.1 to 0.9 and an
# average that keeps 0.9 to 0.999.
SPACES: Mapping[str, Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "mars": {"mars_gamma": ("log", 2.5e-3, 0.1)},
        "grokfast": {
            "one_minus_grokfast_alpha": ("log", 5e-3, 0.2),
            "grokfast_lamb": ("log", 0.1, 5.0),
        },
        LOOKAHEAD: {
            "lookahead_stepsize": ("linear", 0.1, 0.9),
            "one_minus_lookahead_ema": ("log", 1e-3, 0.1),
        },
    }
)
# What a search varies of an option that is given a range without ends, or with one.
RANGES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"coord_clip": ("log", 0.01, 0.5), "update_clip": ("log", 0.01, 0.5)}
)
# The shortest and the longest half-life that a search tries, as parts of its runs.
HALF_LIVES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"one_minus_grokfast_alpha": (0.01, 0.2), "one_minus_lookahead_ema": (0.005, 0.1)}
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
    """Return what a search varies beside, by the filters and the look-ahead that may be on.

    Options that are asked for as ranges have their own, of which one end may be asked for.
    """
    words: list[str] = []
    for name in ("gradient_filter", "acceleration"):
        given = asked.get(name, ())
        words += (given,) if isinstance(given, str) else given
    found = {name: own for name, own in RANGES.items() if isinstance(asked.get(name), Mapping)}
    return found | {name: own for word in words for name, own in SPACES.get(word, {}).items()}


def idle(name: str, params: Mapping[str, Any]) -> bool:
    """Return whether a coordinate has no effect, as what reads it is off."""
    for switch, by_value in READ.items():
        for value, read in by_value.items():
            if name in map(coordinate, read) and switch in params:
                on = value if value in FILTERS else params[switch] or value
                return bool(params[switch] != on)
    return False
