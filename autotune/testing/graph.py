"""What a CUDA graph does, without a device: a step is recorded, and done again in the same memory.

As on a device nothing on the host runs at a replay: operators and kernels meet the tensors and the
numbers they were recorded with. What a capture does not allow raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes


class Graph(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A recording; what a device would only note is also done meanwhile.

    Attributes:
        new: Tensors that were allocated.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.new: list[Tensor] = []
        self._work: list[Callable[[], None]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        if any(isinstance(value, bool | int | float) for value in _pytree.tree_leaves(made)):
            raise AssertionError(f"{function} tells the host what is on the device")
        given = {t.data_ptr() for t in _tensors((args, kwargs))}
        self.new += [t for t in _tensors(made) if t.numel() and t.data_ptr() not in given]
        self._work.append(lambda: _again(function, args, kwargs or {}, _tensors(made)))
        return made

    def recording(self, real: Callable[..., None]) -> Callable[..., None]:
        """Return a launch of kernels that is recorded."""

        def launch(*arguments: Any, **options: Any) -> None:
            with _disable_current_modes():
                real(*arguments, **options)
            self._work.append(lambda: real(*arguments, **options))

        return launch

    def replay(self) -> None:
        """Do what was recorded."""
        with torch.no_grad():
            for piece in self._work:
                piece()


def _again(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], made: Sequence[Tensor]
) -> None:
    """Write what a function returns now to where it was returned; memory it only got is NaN."""
    empty = "empty" in function.name()
    for old, new in zip(made, _tensors(function(*args, **kwargs)), strict=True):
        if empty and old.is_floating_point():
            old.fill_(float("nan"))
        elif not empty and old.data_ptr() != new.data_ptr():
            old.copy_(new)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(values) if isinstance(leaf, Tensor)]


@contextmanager
def capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    """Record what is done meanwhile, as if on a stream that is being captured."""
    from autotune.kernels.triton import step, tables

    def send(content: bytes, dtype: torch.dtype, where: tables.Place) -> Tensor:
        raise AssertionError("a table is sent while a graph is captured")

    graph = Graph()
    with monkeypatch.context() as patch:
        patch.setattr(tables, "capturing", lambda device: True)
        patch.setattr(tables, "_send", send)
        patch.setattr(step, "launch", graph.recording(step.launch))
        with graph:
            yield graph
