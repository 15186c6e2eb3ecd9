"""What may be done to the gradients of any rule: parts and scalars, and what cannot be combined.

Each is off by default. The constructors of this package's classes take them all; ``documented``
writes them into their signatures.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules import coord_clip, grokfast, mars, norms
from autotune.optimizers import check
from autotune.optimizers.options import DEFAULTS

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer
    from autotune.optimizers.scalars import Scalar


FILTERS: Mapping[str, Part] = MappingProxyType({"mars": mars.MARS, "grokfast": grokfast.GROKFAST})
BUFFERS = tuple(name for part in FILTERS.values() for name in part.buffers)
_SPLITS = ("uniform", "dim")


class Refusal(NamedTuple):
    """An option that excludes another: ``name`` with one of its values, ``other`` with one."""

    name: str
    value: Any
    other: str
    with_: Any
    why: str


ON = "on"  # any value but the default
# What cannot be combined, whatever the rule; a class adds in ``unfit`` what its rule cannot take.
REFUSED = (
    Refusal(
        "gradient_filter",
        "mars",
        "acceleration",
        "schedule-free",
        "which leaves out the average that MARS corrects for",
    ),
    Refusal("gradient_filter", "mars", "layer_clip", ON, "as MARS clips each tensor itself"),
    Refusal("coord_clip", ON, "gradient_filter", "mars", "as MARS clips each tensor itself"),
    Refusal("coord_clip", ON, "layer_clip", ON, "which clips the same gradients"),
    Refusal("update_clip", ON, "cautious", True, "which scales what it leaves of an update"),
)


def check_group(optimizer: RuleOptimizer, group: Group) -> None:
    """Refuse options out of range, and what cannot be combined."""
    given = {name: group.get(name, default) for name, default in DEFAULTS.items()}
    check.one_of("gradient_filter", given["gradient_filter"], ("none", *FILTERS))
    for name in ("mars_gamma", "grokfast_lamb", "layer_clip"):
        check.at_least_zero(name, given[name])
    check.fraction("grokfast_alpha", given["grokfast_alpha"])
    check.at_least_zero("lookahead_stepsize", given["lookahead_stepsize"])
    check.fraction("lookahead_ema", given["lookahead_ema"])
    check.one_of("layer_split", given["layer_split"], _SPLITS)
    for name in ("coord_clip", "update_clip"):
        check.fraction(name, given[name])
    for name, excluded in optimizer.unfit.items():
        for value, why in excluded.items():
            if name in given and _is(given[name], name, value):
                raise ValueError(
                    f"{_off(name)} for {type(optimizer).__name__}, {why}, got {given[name]!r}"
                )
    for name, value, other, with_, why in REFUSED:
        beside = given.get(other, group.get(other))
        if _is(given[name], name, value) and _is(beside, other, with_):
            raise ValueError(f"{_off(name)} when {other} is {beside!r}, {why}, got {given[name]!r}")
    if given["gradient_filter"] == "mars" and not first_decay(group) > 0.0:
        word = "betas[0]" if "betas" in group else "momentum"
        raise ValueError(
            f"{word} must be above 0 when gradient_filter is 'mars', which corrects an average of "
            "gradients, got 0"
        )
    if given["update_clip"] and optimizer.shaping(group) is not None:
        raise ValueError(
            f"{_off('update_clip')} for {type(optimizer).__name__}, which scales the step of each "
            f"tensor itself, got {given['update_clip']!r}"
        )
    optimizer._filters |= given["gradient_filter"] != "none"


def _is(value: Any, name: str, excluded: Any) -> bool:
    return bool(value != DEFAULTS[name] if excluded == ON else value == excluded)


def _off(name: str) -> str:
    return f"{name} must be {DEFAULTS[name]!r}"


OF_GRADIENTS = ("gradient_filter", "layer_clip", "coord_clip")


def active(group: Group, words: Sequence[str] = (*OF_GRADIENTS, "update_clip")) -> list[str]:
    """Return those options of a group that are not off."""
    return [name for name in words if group.get(name, DEFAULTS[name]) != DEFAULTS[name]]


def first_decay(group: Group) -> float:
    """Return how much of its first average of gradients a rule keeps; 0 if it has none."""
    betas = group.get("betas")
    return float(group.get("momentum", 0.0) if betas is None else betas[0])


def gradient_shaping(group: Group) -> Shaping | None:
    """Return what shapes a group's gradients before the rule."""
    if group.get("gradient_filter") == "mars":
        return mars.CLIPPED
    if group.get("coord_clip"):
        return coord_clip.GRADIENT
    return norms.WITHIN if group.get("layer_clip") else None


def filter_scalars(group: Group, fresh: bool) -> tuple[Scalar, ...]:
    """Return the scalars of a group's filter; ``fresh`` if it has seen no gradient yet."""
    if group["gradient_filter"] == "mars":
        decay = first_decay(group)
        return (group["mars_gamma"] * (decay / (1.0 - decay)),)
    alpha, lamb = group["grokfast_alpha"], group["grokfast_lamb"]
    return (0.0, 1.0, lamb) if fresh else (alpha, 1.0 - alpha, lamb)


def gradient_scalars(optimizer: RuleOptimizer, group: Group) -> tuple[Scalar, ...]:
    """Return the scalars of what shapes a group's gradients."""
    if group.get("gradient_filter") == "mars":
        return ()
    if group.get("coord_clip"):
        return coord_clip.share(group["coord_clip"])
    layers = [
        p for each in optimizer.param_groups if each.get("layer_clip") for p in each["params"]
    ]
    if group["layer_split"] == "dim":
        return group["layer_clip"] / math.sqrt(sum(p.numel() for p in layers)), 1.0
    return group["layer_clip"] / math.sqrt(len(layers)), 0.0


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options, with defaults for those not given; refuse a name that is none.

    Raises:
        TypeError: A keyword is unknown.
    """
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(check.unknown(name))
    return {**DEFAULTS, **given}


def written_out(init: Callable[..., Any]) -> inspect.Signature | None:
    """Return a constructor's signature with the options by name, if it takes them."""
    own = inspect.signature(init)
    found = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(found) == len(own.parameters) or "transforms" not in own.parameters:
        return None
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=DEFAULTS[name],
            annotation=type(DEFAULTS[name]).__name__,
        )
        for name in DEFAULTS
    ]
    at = [p.name for p in found].index("max_grad_norm")
    return own.replace(parameters=[*found[:at], *options, *found[at:]])
