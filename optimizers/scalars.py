"""The scalars of a step: numbers, or with ``capturable`` what is computed on the device.

Both are in double precision.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from autotune.kernels.rule import Rule
from autotune.kernels.rules import coord_clip
from autotune.optimizers import transforms
from autotune.optimizers.options import LOOKAHEAD

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

# Key of a group: what its learning rate is multiplied by in a step, and so decoupled decay, which
# has the rate in it. Weights of Schedule-Free's average follow the rate alone.
MULTIPLIER = "multiplier"

UNFILTERED = 2  # added to ``fresh`` where a filter has seen no gradient yet
Scalar = Any  # a number, a tensor, or a stand-in of tape.py; the same expressions take all


def row(
    optimizer: RuleOptimizer,
    group: Group,
    rule: Rule,
    step: Scalar,
    fresh: int,
    lr: Scalar | None = None,
    share: Scalar | None = None,
) -> tuple[Scalar, ...]:
    """Return a rule's scalars for a step of a group, in the rule's order.

    Args:
        optimizer: The optimizer of the group.
        group: The group.
        rule: The rule that steps it.
        step: Counted from 1.
        fresh: Whether this is the first gradient its parameter has had, as ``buffers.held`` says.
        lr: The learning rate with the group's multiplier, if they are not numbers of the group.
        share: The weight of a new base point in Schedule-Free's average.
    """
    gammas = group["reckless_steps"]
    if lr is None:
        lr = float(group["lr"]) * float(group.get(MULTIPLIER, 1.0))
    known = {
        "lr": lr,
        "weight_decay": optimizer.decay(group),
        "gamma1": gammas[0],
        "gamma2": gammas[1],
    }
    if group["acceleration"] == LOOKAHEAD:
        known["beta"], keep = group["lookahead_stepsize"], group["lookahead_ema"]
        known["keep"], known["take"] = keep, 1.0 - keep
    if share is not None:
        known["lr"] = known["lr"] * optimizer.pace(group, step)
        known["weight"] = share
        known["ahead"] = ahead(optimizer.interpolation(group), share)
    applying = map(known.__getitem__, rule.application.scalars)
    ending: tuple[Scalar, ...] = ()
    if rule.shaping is coord_clip.UPDATE:
        ending = coord_clip.share(group["update_clip"])
    elif rule.shaping is not None:
        ending = optimizer.shaping_scalars(group, step, known["lr"])
    own = optimizer.scalars(group, step, fresh % UNFILTERED > 0)
    if len(own) != len(rule.direction.scalars):
        raise _uncounted(optimizer, rule, len(own))
    if rule.filter is None and rule.gradient_shaping is None:
        return (*own, *applying, *ending)
    filtering = early = ()
    if rule.filter is not None:
        filtering = transforms.filter_scalars(group, fresh >= UNFILTERED)
    if rule.gradient_shaping is not None:
        early = transforms.gradient_scalars(optimizer, group)
    return (*own, *applying, *filtering, *early, *ending)


def _uncounted(optimizer: RuleOptimizer, rule: Rule, got: int) -> ValueError:
    """Return the error for scalars that a direction would take for others."""
    names = ", ".join(rule.direction.scalars)
    return ValueError(
        f"{type(optimizer).__name__}.scalars must return {len(rule.direction.scalars)} numbers "
        f"({names}), as its direction says, got {got}"
    )


def ahead(beta: float, share: Scalar) -> Scalar:
    """Return how far y moves along an update, as a part of how far z moves."""
    return 1.0 - beta * (1.0 - share)


def debias(decay: float, step: Scalar) -> Scalar:
    """Return the bias correction: the divisor of an average that began at zero."""
    return 1.0 - decay**step


def root(value: Scalar) -> Scalar:
    """Return the square root."""
    return math.sqrt(value) if isinstance(value, float) else value.sqrt()


def later(step: Scalar) -> Scalar:
    """Return 0 for the first step, and 1 for others."""
    return float(step > 1) if isinstance(step, int) else (step > 1).double()


def above(value: Scalar, limit: float) -> Scalar:
    """Return 1 where a value is above a limit, and 0 elsewhere."""
    return float(value > limit) if isinstance(value, int | float) else (value > limit).double()


def below(value: Scalar, limit: float) -> Scalar:
    """Return the smaller of a value and a limit, which is finite."""
    over = above(value, limit)
    return value * (1.0 - over) + limit * over
