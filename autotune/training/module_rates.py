"""Learning rates of a model's modules by how noisy their gradients are: AGVM (arXiv:2210.11078).

The gradients of a batch's two halves agree less in a noisy module. Its rate is lowered, so that all
modules' gradients vary as much as those of the first, the backbone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-6
_LEAST, _MOST = 0.5, 10.0  # of the ratio of two disagreements


def disagreement(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return one minus the cosine between a module's gradients on two halves of a batch.

    Args:
        first: Of all the module's parameters, on one half.
        second: On the other. If either is 0 everywhere, their cosine counts as 0.
    """
    a, b = (torch.cat([g.detach().double().flatten() for g in grads]) for grads in (first, second))
    size = float(a.norm() * b.norm())
    return 1.0 - float(a @ b) / size if size else 1.0


def preconditioned(g: Tensor, exp_avg_sq: Tensor, beta2: float, eps: float) -> Tensor:
    """Return a gradient as an optimizer of Adam's kind would scale it, for ``disagreement``.

    Args:
        g: The gradient.
        exp_avg_sq: The optimizer's mean square before its step.
        beta2: How much of it a step keeps.
        eps: Added to the root.
    """
    return g / ((beta2 * exp_avg_sq + (1.0 - beta2) * g.square()).sqrt() + eps)


def updated(
    factors: Sequence[float], disagreements: Sequence[float], keep: float = 0.97
) -> list[float]:
    """Return the factors on the modules' learning rates after another measurement.

    Args:
        factors: Those before; they begin at 1.
        disagreements: Of each module now; the first is compared with.
        keep: How much of the factors stays, in [0, 1).

    Returns:
        Between the roots of 0.5 and of 10 in the long run.

    Raises:
        ValueError: There is none or another number of disagreements, or ``keep`` is out of range.

    Sources:
        Xue et al., arXiv:2210.11078, as in github.com/Sense-X/AGVM; two groups of processes are
        its two halves, two micro-batches do as well. In its code each half's gradient of an Adam
        is also divided by the number of processes; this project's callers do not.

    Example:
        >>> updated([1.0, 1.0], [0.2, 0.8], keep=0.0)[1] < 1.0
        True
    """
    if not factors or len(factors) != len(disagreements):
        raise ValueError(
            f"disagreements must be one for each of {len(factors)} modules, got "
            f"{len(disagreements)}"
        )
    if not 0.0 <= keep < 1.0:
        raise ValueError(f"keep must be in [0, 1), got {keep:g}")
    reference = disagreements[0] + _TINY
    ratios = [min(max(reference / (each + _TINY), _LEAST), _MOST) for each in disagreements]
    return [
        keep * factor + (1.0 - keep) * math.sqrt(ratio)
        for factor, ratio in zip(factors, ratios, strict=True)
    ]


def due(step: int, start: int, interval: int) -> bool:
    """Return whether modules are measured at ``step``, counted from 0.

    Args:
        step: The step to be taken.
        start: The first step whose rates are scaled: after the warm-up.
        interval: Steps from one measurement to the next.
    """
    return step >= start and step % interval == 0
