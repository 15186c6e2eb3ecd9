"""What a benchmark of steps is asked to do, before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.bench.step.shapes import SHAPES, Shape, elements
from autotune.errors import UnknownName
from autotune.registry import unknown

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")
NOBODY = "none"  # to be measured against


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The tensors that are stepped, and where."""

    shapes: str
    dtype: str
    device: str
    threads: int

    def __post_init__(self) -> None:
        if self.shapes not in SHAPES:
            raise UnknownName(unknown("shapes", self.shapes, SHAPES))

    @property
    def tensors(self) -> list[Shape]:
        """The shapes themselves."""
        return SHAPES[self.shapes]()

    @property
    def parameters(self) -> int:
        """How many numbers a step changes."""
        return elements(self.tensors)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of parameters and gradients."""
        import torch

        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is measured, and how often; what is empty means everyone there is."""

    stage: Stage
    optimizers: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    rounds: int = 5
    first_steps: bool = True
