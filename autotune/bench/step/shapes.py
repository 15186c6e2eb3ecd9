"""The tensors of well-known models, from the arithmetic of their architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod

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
