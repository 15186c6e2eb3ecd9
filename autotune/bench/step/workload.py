"""What a benchmark of steps is asked to step: tensors shaped as well-known models', and where.

Importing this loads nothing heavy: the command line reads it for its help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from autotune.errors import UnknownName
from autotune.registry import unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shape = tuple[int, ...]

_BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))  # ResNet-50's stages: width, blocks


def elements(shapes: list[Shape]) -> int:
    """Return how many numbers tensors of these shapes hold."""
    return sum(prod(shape) for shape in shapes)


def _linear(inputs: int, outputs: int) -> Iterator[Shape]:
    yield from ((outputs, inputs), (outputs,))


def _norm(width: int) -> Iterator[Shape]:
    yield from ((width,), (width,))


def _conv(inputs: int, outputs: int, kernel: int) -> Iterator[Shape]:
    yield (outputs, inputs, kernel, kernel)
    yield from _norm(outputs)


def _resnet50() -> Iterator[Shape]:
    yield from _conv(3, 64, 7)
    inputs = 64
    for width, blocks in _BLOCKS:
        for block in range(blocks):
            yield from _conv(inputs, width, 1)
            yield from _conv(width, width, 3)
            yield from _conv(width, 4 * width, 1)
            if block == 0:
                yield from _conv(inputs, 4 * width, 1)
            inputs = 4 * width
    yield from _linear(inputs, 1000)


def _transformer(layers: int, width: int) -> Iterator[Shape]:
    for _ in range(layers):
        yield from _norm(width)
        yield from _linear(width, 3 * width)
        yield from _linear(width, width)
        yield from _norm(width)
        yield from _linear(width, 4 * width)
        yield from _linear(4 * width, width)
    yield from _norm(width)


def _vit_b() -> Iterator[Shape]:
    yield from ((1, 1, 768), (1, 197, 768), (768, 3, 16, 16), (768,))
    yield from _transformer(12, 768)
    yield from _linear(768, 1000)


def _gpt2(layers: int, width: int) -> Iterator[Shape]:
    yield from ((50257, width), (1024, width))
    yield from _transformer(layers, width)


SHAPES: Mapping[str, Callable[[], list[Shape]]] = {
    "resnet50": lambda: list(_resnet50()),
    "vit-b": lambda: list(_vit_b()),
    "gpt2": lambda: list(_gpt2(12, 768)),
    "gpt2-xl": lambda: list(_gpt2(48, 1600)),
    "small": lambda: [(64,)] * 1000,
}


DTYPES = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")
NOBODY = "none"  # to be measured against


@dataclass(frozen=True, kw_only=True)
class Workload:
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
class Options:
    """Who is measured, and how often; what is empty means everyone there is."""

    workload: Workload
    optimizers: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    rounds: int = 5
    first_steps: bool = True


_TILE = 1 << 20
_STRIDE = 4099  # elements by which a step's noise is shifted from the last one's


class Tensors:
    """Parameters, which implementations share, and gradients that are new at every step.

    Gradients alternate between two places, as those of a training loop that frees them never stay
    in one, and are written before each step, as by a backward pass: some optimizers leave scratch
    in them.
    """

    def __init__(self, shapes: Sequence[Shape], dtype: torch.dtype, device: str) -> None:
        import torch

        draw = torch.Generator().manual_seed(0)
        self.noise = torch.randn(2 * _TILE, generator=draw).to(device, dtype)
        self.params = [torch.empty(s, dtype=dtype, device=device) for s in shapes]
        self.places = [[torch.empty_like(p) for p in self.params] for _ in range(2)]
        self.turn = 0
        for p in self.params:
            _fill(p, self.noise[:_TILE])
            p.requires_grad_()

    def renew(self) -> None:
        """Give every parameter another gradient, at another address."""
        self.turn += 1
        shift = self.turn * _STRIDE % _TILE
        noise = self.noise[shift : shift + _TILE]
        for p, place in zip(self.params, self.places[self.turn % 2], strict=True):
            _fill(place, noise)
            p.grad = place.detach()


def _fill(tensor: Tensor, noise: Tensor) -> None:
    """Repeat the noise until the tensor is full."""
    flat = tensor.view(-1)
    whole = flat.numel() // _TILE * _TILE
    if whole:
        flat[:whole].view(-1, _TILE).copy_(noise)
    if whole < flat.numel():
        flat[whole:].copy_(noise[: flat.numel() - whole])
