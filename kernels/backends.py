"""Which backend runs a parameter, and where its code is.

A backend is a module with ``step``, ``sizes``, ``squares`` and ``squares_of_each``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

import torch
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
            sizes: What ``sizes`` returned for each shaping, side by side, summed over processes
                that hold other pieces; None if no tensor is sharded.
        """

    def sizes(
        self, rule: Rule, updates: Sequence[Update], clip: Tensor | None, known: Tensor | None
    ) -> Tensor:
        """Return the sums of squares that a rule's shaping measures, a row for each tensor.

        A row ends with the number of the tensor's elements. ``known`` has what was measured for
        the shaping before, if there are two: then the second is measured.
        """

    def squares(self, grads: Sequence[Tensor]) -> Tensor:
        """Return the sum of all squares, in double precision."""

    def squares_of_each(self, stacks: Sequence[Tensor], count: int) -> Tensor:
        """Return the sum of squares of each replica, as ``squares`` adds up those of one.

        Args:
            stacks: Gradients of ``count`` replicas, stacked along the first dimension.
            count: How many replicas there are.
        """


@cache
def installed(module: str) -> bool:
    """Whether an optional package can be found."""
    return find_spec(module) is not None


@cache
def _import_error(module: str) -> str | None:
    """Return why an installed package cannot be imported: it may refuse another one's version."""
    try:
        import_module(module)
    except Exception as error:
        return _in_one_line(error)
    return None


@cache
def _driver_error() -> str | None:
    """Return why Triton cannot compile for this machine's GPU."""
    from triton.runtime import driver

    if not torch.cuda.is_available():
        return None
    try:
        driver.active.get_current_target()
    except Exception as error:
        return _in_one_line(error)
    return None


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def hindrance(module: str, device: str) -> str | None:
    """Return why an installed package cannot run kernels on a device, or None if it can."""
    error = _import_error(module)
    if error is None and module == "numba" and sys.modules["numba.core.config"].DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set"
    if error is None and module == "triton" and device == "cuda" and not interpreted():
        return _driver_error()
    return error


def _runs(module: str, device: str) -> bool:
    """Whether 'auto' may pick a package; one that is installed but cannot run is told."""
    if not installed(module):
        return False
    why = hindrance(module, device)
    if why is not None:
        _tell(module, device, why)
    return why is None


@cache
def _tell(module: str, device: str, why: str) -> None:
    """Warn that torch takes the place of a package; once, not at every step."""
    warnings.warn(
        f"parameters on {device} are stepped by torch, as {module} cannot run ({why}); "
        "mend that, or write backend='torch'",
        RuntimeWarning,
        stacklevel=2,
    )


def check(name: str) -> None:
    """Refuse a backend that is unknown, not installed, or cannot run."""
    if name not in NAMES:
        raise ValueError(f"backend must be 'auto', 'triton', 'numba' or 'torch', got {name!r}")
    if name == "triton" and not installed("triton"):
        raise ImportError("backend 'triton' needs the package triton; use backend='auto'")
    if name == "numba" and not installed("numba"):
        raise ImportError("backend 'numba' needs the cpu extra: pip install 'adan-autotune[cpu]'")
    if name in ("triton", "numba"):
        _refuse_hindered(name, "cpu")


def _refuse_hindered(name: str, device: str) -> None:
    why = hindrance(name, device)
    if why is not None:
        raise ImportError(f"backend '{name}' cannot run: {why}; use backend='torch'")


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
        _refuse_hindered(name, device)
    if name == "numba" and device != "cpu":
        raise ValueError(
            f"backend 'numba' runs parameters on cpu, got one on {device}; use backend='torch'"
        )
    if name != "auto":
        return name
    if device == "cuda" and _runs("triton", device) and not interpreted():
        return "triton"
    return "numba" if device == "cpu" and _runs("numba", device) else "torch"


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
