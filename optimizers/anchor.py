"""Win's sequences, begun again where something else than a step has put the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.optimizers.sharded import piece

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


def begin_again(optimizer: RuleOptimizer, params: Iterable[Tensor] | None) -> None:
    """Put the sequences of these parameters, or of all, to where the parameters are."""
    chosen = None if params is None else _own(optimizer, params)
    for group in optimizer.param_groups:
        names = optimizer.rule(group).application.buffers
        for p in group["params"]:
            if names and p in optimizer.state and (chosen is None or id(p) in chosen):
                _put(optimizer.state[p], names, p)


def _put(state: dict[str, Any], names: Iterable[str], p: Tensor) -> None:
    """Write in place: CUDA graphs and stacks of replicas hold these tensors."""
    for name in names:
        if name not in state:
            continue
        sequence = piece(state[name])
        if sequence.dtype is torch.bfloat16:  # a difference from the parameter
            sequence.zero_()
        else:
            sequence.copy_(piece(p))


def _own(optimizer: RuleOptimizer, params: Iterable[Tensor]) -> set[int]:
    """Return the identities of parameters; refuse any that the optimizer does not step."""
    given = [params] if isinstance(params, Tensor) else list(params)
    known = set(map(id, optimizer.parameters()))
    for p in given:
        if id(p) not in known:
            raise ValueError(
                f"reanchor takes parameters of this {type(optimizer).__name__}, got "
                f"{_told(p)} that is none of them; leave params out to take all"
            )
    return set(map(id, given))


def _told(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value)
