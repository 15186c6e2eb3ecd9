"""A step as one operator, so that ``torch.compile`` takes a whole train step as one graph.

The compiler does not look into the operator, which finds its optimizer by number and runs it as it
is: so a new learning rate recompiles nothing. It updates the tensors it is given, which may be a
compiler's copies of the parameters.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from autotune.optimizers import sharded

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer

_living: WeakValueDictionary[int, RuleOptimizer] = WeakValueDictionary()
_numbers = count()

_SCHEMA = "(int optimizer, int[] numbers, Tensor(a!)[] params, Tensor[] grads) -> ()"


def register(optimizer: RuleOptimizer) -> int:
    """Return a number that finds the optimizer while it lives."""
    number = next(_numbers)
    _living[number] = optimizer
    return number


def step(optimizer: int, params: list[Tensor]) -> None:
    """Take a step of the optimizer with this number; only for code that is being compiled."""
    numbers = [i for i, p in enumerate(params) if p.grad is not None]
    grads = [sharded.beside(params[i], params[i].grad) for i in numbers]
    # All parameters, as the compiler drops an operator that writes no tensor.
    pieces = [sharded.piece(p) for p in params]
    torch.ops.autotune.step(optimizer, numbers, pieces, grads)


def _step(optimizer: int, numbers: list[int], params: list[Tensor], grads: list[Tensor]) -> None:
    found = _living[optimizer]
    if list(map(id, found.parameters())) != list(map(id, found.tensors)):
        raise RuntimeError(
            "a compiled step needs the parameters its optimizer was made with, got others in "
            "param_groups; build a new optimizer"
        )
    pairs = zip(numbers, grads, strict=True)
    found.advance({found.tensors[i]: (params[i], g) for i, g in pairs})


# A step sends tables to the device; a captured graph would send the same ones again.
torch.library.custom_op(
    "autotune::step",
    _step,
    mutates_args=("params",),
    schema=_SCHEMA,
    tags=(torch.Tag.cudagraph_unsafe,),
)
