"""Which backend runs a parameter, and where its code is.

A backend is a module with ``step``, ``sizes`` and ``squares``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from torch import Tensor

from autotune.kernels.addresses import in_memory
from autotune.kernels.lang import interpreted
from autotune.kernels.rule import Rule, Update

NAMES = ("auto", "triton", "numba", "torch")

_MODULES = {
    "triton": "autotune.kernels.triton.step",
    "numba": "autotune.kernels.numba.step",
    "torch": "autotune.kernels.torch_step",
}


class Backend(Protocol):
    """A way to run rules."""

    def step(
        self,
        rule: Rule,
        updates: Sequence[Update],
        clip: Tensor | None,
        overflow: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> None:
        """Take one step, unless there was an overflow.

        Args:
            rule: The rule to apply.
            updates: The tensors to step, with their scalars.
            clip: Factor of the gradients: one number, or one for each replica.
            overflow: A number; nothing is written unless it is 0.
            sizes: The result of ``sizes``, summed over processes that hold other pieces; None if
                no tensor is sharded.
        """

    def sizes(self, rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> Tensor:
        """Return the sums of squares of each parameter and of its update, a row for each tensor."""

    def squares(self, grads: Sequence[Tensor]) -> Tensor:
        """Return the sum of all squares, in double precision."""


@cache
def installed(module: str) -> bool:
    """Whether an optional package can be found."""
    return find_spec(module) is not None


def check(name: str) -> None:
    """Refuse a backend that is unknown or not installed."""
    if name not in NAMES:
        raise ValueError(f"backend must be 'auto', 'triton', 'numba' or 'torch', got {name!r}")
    if name == "triton" and not installed("triton"):
        raise ImportError("backend 'triton' needs the package triton; use backend='auto'")
    if name == "numba" and not installed("numba"):
        raise ImportError("backend 'numba' needs the cpu extra: pip install 'adan-autotune[cpu]'")


def choose(name: str, p: Tensor, *others: Tensor) -> str:
    """Return the backend that runs a parameter when ``name`` was asked for.

    torch calls ROCm devices 'cuda' too.

    Args:
        name: What was asked for.
        p: The parameter; of a DTensor, this process's piece.
        others: Its gradient and buffers, if they may be wrappers.
    """
    device = p.device.type
    for tensor in (p, *others):
        if not in_memory(type(tensor)):
            return _run_by_operators(name, tensor)
    if name == "triton":
        _refuse_misplaced(device)
    if name == "numba" and device != "cpu":
        raise ValueError(
            f"backend 'numba' runs parameters on cpu, got one on {device}; use backend='torch'"
        )
    if name != "auto":
        return name
    if device == "cuda" and installed("triton") and not interpreted():
        return "triton"
    return "numba" if device == "cpu" and installed("numba") else "torch"


def _run_by_operators(name: str, wrapper: Tensor) -> str:
    """Return the backend that calls a wrapper's operators; kernels would read its memory."""
    if name in ("triton", "numba"):
        raise ValueError(
            f"backend '{name}' reads memory, got a {type(wrapper).__name__} that has none of its "
            "own; use backend='torch'"
        )
    return "torch"


def _refuse_misplaced(device: str) -> None:
    """Refuse compiled kernels on the CPU, and interpreted ones on another device."""
    if interpreted():
        if device != "cpu":
            raise ValueError(
                f"backend 'triton' runs on cpu under TRITON_INTERPRET, parameters are on {device}; "
                "unset TRITON_INTERPRET"
            )
    elif device != "cuda":
        raise ValueError(
            f"backend 'triton' needs a CUDA or ROCm device, parameters are on {device}; "
            "use backend='torch'"
        )


def load(name: str) -> Backend:
    """Return a backend's module."""
    return cast("Backend", import_module(_MODULES[name]))
