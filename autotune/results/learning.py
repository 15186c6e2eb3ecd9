"""Whether anything was learned: no verdict ranks losses that a constant answer has too."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from autotune.results.intervals import Estimate, estimate, paired

LOSS, ACCURACY = "constant_loss", "constant_accuracy"  # facts of a task that knows them
SLACK = 0.005  # part of a constant's loss that counts as none
DOUBT = 0.05  # part of a loss that noise may explain, and no more
HIT = 0.02  # accuracy above a constant's that counts
FAR = 0.1  # part of a constant's loss above it at which a loss that fell is still on its way


def nothing_learned(
    losses: Mapping[int, float],
    firsts: Mapping[int, float],
    accuracy: float | None,
    facts: Mapping[str, Any],
) -> str | None:
    """Return what judged losses are no lower than, in words; None if something was learned.

    Args:
        losses: Validation losses at full length, by seed.
        firsts: Training losses before the first update, by seed.
        accuracy: Mean accuracy at full length.
        facts: Of the task: what the best constant answer achieves, where that is known.
    """
    if not losses:
        return None
    constant, hits = _number(facts, LOSS), _number(facts, ACCURACY)
    if constant is not None:
        if accuracy is not None and hits is not None and accuracy > hits + HIT:
            return None
        gain = estimate([constant - loss for loss in losses.values()])
        where = f"that of one constant answer ({constant:.4g})"
        fell = bool(firsts) and _since_start(losses, firsts) is None
        on_its_way = fell and gain.mean < -FAR * abs(constant)
        return where if _none(gain, constant) and not on_its_way else None
    return _since_start(losses, firsts)


def _since_start(losses: Mapping[int, float], firsts: Mapping[int, float]) -> str | None:
    """Return the loss before the first update, in words, if judged losses are no lower."""
    gain_since = paired(firsts, losses)
    if gain_since is None:
        return None
    first = mean(firsts[seed] for seed in losses.keys() & firsts.keys())
    where = f"the training loss before the first step ({first:.4g})"
    return where if _none(gain_since, first) else None


def _number(facts: Mapping[str, Any], name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) else None


def _none(gain: Estimate, size: float) -> bool:
    """Return whether a gain is none, or so small that noise may be all of it."""
    if gain.mean <= SLACK * abs(size):
        return True
    return gain.low is not None and gain.low <= 0 and gain.mean < DOUBT * abs(size)
