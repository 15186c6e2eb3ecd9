"""What a step asks of a GPU, counted without one: kernels, operators, tables, and Python's calls.

Tensors lie on the CPU, where the triton backend believes it may run; a launch only counts. So
parameters do not move, and all that the host does is done.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

_PACKAGE = str(Path(__file__).parents[1])  # installed
# Operators that look at memory or get it, but launch nothing.
_QUIET = (
    "view",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "empty",
    "expand",
    "lift_fresh",
    "permute",
    "reshape",
    "select",
    "slice",
    "split",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unsqueeze",
)


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that would launch a kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kind, _, name = function._schema.name.partition("::")
        if kind == "aten" and name not in _QUIET and not name.startswith("empty"):
            self.names[name] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def pretended() -> Iterator[Counter[str]]:
    """Let the triton backend run on the CPU, launching nothing; yield the kernels it would launch.

    Tables that it would send are counted under 'sent'.
    """
    pytest.importorskip("triton")
    from autotune.kernels import backends
    from autotune.kernels.triton import configs, step, tables

    kernels: Counter[str] = Counter()
    send, choose = tables._send, backends.choose

    def launch(what: Any, programs: int, *arguments: Any, **options: Any) -> None:
        kernels[what.fn.__name__] += bool(programs)

    def sent(*arguments: Any) -> Any:
        kernels["sent"] += 1
        return send(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "launch", launch)
        patch.setattr(tables, "_send", sent)
        patch.setattr(configs, "INTERPRETER", configs.NVIDIA)
        patch.setattr(
            backends,
            "choose",
            lambda name, p, *others: "triton" if name == "triton" else choose(name, p, *others),
        )
        tables.sent.cache_clear()
        yield kernels
        tables.sent.cache_clear()


def calls(work: Callable[[], object]) -> int:
    """Return how often functions of this package are called, but for nameless ones.

    Those of PyTorch are other ones in each of its versions, and so are comprehensions in Python's.
    """
    count = 0

    def told(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        code = frame.f_code
        own = code.co_filename.startswith(_PACKAGE) and not code.co_name.startswith("<")
        count += event == "call" and own and not code.co_flags & CO_GENERATOR

    sys.setprofile(told)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
