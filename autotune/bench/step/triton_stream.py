"""A GPU's stream of six reads and five writes, in Triton: what no step like Adan's can outrun."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _pass(arrays, size, factor, block: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    added = tl.load(arrays + at)
    for _ in tl.static_range(5):
        arrays += size
        tl.store(arrays + at, tl.load(arrays + at) * factor + added)


class TritonStream:
    """Scales five arrays in place, adding a sixth to each."""

    kind = "6 reads, 5 writes"

    def __init__(self, elements: int, device: str = "cuda") -> None:
        self.blocks = elements // _BLOCK
        self.arrays = torch.ones(6, self.blocks * _BLOCK, device=device)
        self.size = 11 * self.arrays[0].nbytes

    def __call__(self) -> object:
        """Make one pass."""
        return _pass[(self.blocks,)](self.arrays, self.arrays.shape[1], 0.5, block=_BLOCK)
