"""Clipping by the global norm: the factor stays on the device, gradients are not changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autotune.kernels import backends
from autotune.kernels.layout import sums
from autotune.kernels.rule import Update
from autotune.kernels.rules.norms import clip_factor
from autotune.optimizers import sharded

if TYPE_CHECKING:
    from autotune.kernels.triton.prelude import Prelude
    from autotune.optimizers.base import RuleOptimizer
    from autotune.optimizers.collect import Work


def factor(optimizer: RuleOptimizer, work: Work, prelude: Prelude | None) -> Tensor | None:
    """Return the factor of gradients, which also undoes GradScaler's scale; None is 1.

    If a step has a prelude, this is launched, with or without a factor to compute.
    """
    limit = optimizer.max_grad_norm
    scale: Tensor | None = getattr(optimizer, "grad_scale", None)
    if not limit or not (work or optimizer.norm_group):
        if prelude is not None:
            return prelude.run(None, scale)
        return None if scale is None else torch.reciprocal(scale).reshape(())
    parts = [_squares(key[1], key[2], updates) for key, updates in work.items()]
    if not parts:
        home = _home(optimizer)
        parts = [torch.zeros((), dtype=sums(home), device=home)]
    home = parts[-1].device  # if all are on one device, nothing is copied or waited for
    total = parts[0]
    if len(parts) > 1:
        total = torch.stack([part.to(home, parts[-1].dtype) for part in parts]).sum()
    if optimizer.norm_group:
        torch.distributed.all_reduce(total, group=optimizer.norm_group)
    if prelude is not None:
        return prelude.run(total, scale)
    if scale is None:
        return clip_factor(total.sqrt(), limit, optimizer.clip_eps())
    scale = scale.to(home, sums(home)).reshape(())
    return clip_factor(total.sqrt() / scale, limit, optimizer.clip_eps()) / scale


def _home(optimizer: RuleOptimizer) -> torch.device:
    """Return where an optimizer's parameters are, or the CPU if it has none."""
    return next((p.device for p in optimizer.tensors), torch.device("cpu"))


def _squares(backend: str, where: sharded.Span | None, updates: Sequence[Update]) -> Tensor:
    squares = backends.load(backend).squares([update.g for update in updates])
    return sharded.completed(squares, where) if where else squares
