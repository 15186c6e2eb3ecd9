"""Batches as a user's loss is handed them: what it does to one leaves the kept one as it was read.

A loader gives each epoch new batches, so loops take entries out of them or write over them: next
time the same batch would lack the entry, or be scaled once more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from torch import Tensor, nn

Use = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Handed:
    """Calls the functions of a user with batches of their own.

    Containers are new at each call. Tensors are copied at the first call of a function, and at
    others only once one has written into some: most write into none, and copies take time.
    """

    _writes: dict[tuple[int, bool], bool] = field(default_factory=dict)

    def to(self, function: Use, model: nn.Module, batch: Any) -> Any:
        """Return what a function of a model and a batch returns."""
        use = (id(function), model.training)  # a loss may do other things when it is measured
        known = self._writes.get(use)
        given = apart(batch, tensors=known is not False)
        tensors = list(_tensors(given))
        before = [tensor._version for tensor in tensors]
        found = function(model, given)
        if not known:
            self._writes[use] = before != [tensor._version for tensor in tensors]
        return found


def apart(batch: Any, *, tensors: bool = False) -> Any:
    """Return a batch in containers of its own, however nested; ``tensors`` are copied if asked."""
    if isinstance(batch, Tensor):
        return _copied(batch) if tensors else batch
    if isinstance(batch, MutableMapping):
        made = copy.copy(batch)
        for key, part in batch.items():
            made[key] = apart(part, tensors=tensors)
        return made
    if type(batch) in (list, tuple):
        return type(batch)([apart(part, tensors=tensors) for part in batch])
    if isinstance(batch, tuple) and hasattr(batch, "_make"):  # a named one
        return batch._make([apart(part, tensors=tensors) for part in batch])
    if is_dataclass(batch) and hasattr(batch, "__dict__"):
        same: Any = copy.copy(batch)
        vars(same).update({k: apart(v, tensors=tensors) for k, v in vars(batch).items()})
        return same
    return batch


def _copied(tensor: Tensor) -> Tensor:
    if tensor.is_inference() or tensor.grad_fn is not None:
        return tensor  # has no count of what is written, or belongs to a graph
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _tensors(batch: Any) -> Iterator[Tensor]:
    """Yield the tensors of a batch that count what is written into them."""
    if isinstance(batch, Tensor):
        if not batch.is_inference():
            yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from _tensors(part)
    elif isinstance(batch, list | tuple):
        for part in batch:
            yield from _tensors(part)
    elif is_dataclass(batch) and hasattr(batch, "__dict__"):
        yield from _tensors(vars(batch))
