"""The bytes a step cannot avoid to move, from the buffers an optimizer keeps and their dtypes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autotune.optimizers import RuleOptimizer


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes a parameter: what a step reads and writes at least, and what is kept between steps."""

    reads: float
    writes: float
    state: float

    @property
    def total(self) -> float:
        """Return the bytes moved."""
        return self.reads + self.writes


def of(optimizer: torch.optim.Optimizer, p: Tensor) -> Traffic:
    """Return the traffic of an optimizer that has stepped ``p``, a parameter of several elements.

    Everything kept is read and written once. A trust ratio is known only after all of a tensor's
    update: the step then reads the parameter and the direction's new state again. Clipping reads
    all gradients before.
    """
    kept = {
        name: value.nbytes / p.numel()
        for name, value in optimizer.state[p].items()
        if isinstance(value, Tensor) and value.numel() == p.numel()
    }
    own, state = float(p.element_size()), sum(kept.values())
    again = 0.0
    if isinstance(optimizer, RuleOptimizer):
        group = optimizer.param_groups[0]
        if optimizer.trust_limit(group) is not None:
            again += own + sum(kept[name] for name in optimizer.direction(group).buffers)
        if optimizer.max_grad_norm:
            again += own
    return Traffic(reads=2 * own + state + again, writes=own + state, state=state)
