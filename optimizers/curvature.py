"""The diagonal of the Hessian, estimated by differentiating gradients once more.

Hutchinson's estimate is z * (H z) for random signs z. The signs are a function of the step, the
tensor and the element, as the random bits of ``kernels.rules.dither`` are: so a run can be repeated
and resumed, and nobody else's random numbers move.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def signs(like: Tensor, step: int, number: int) -> Tensor:
    """Return -1 or 1 for each element, each as often.

    Args:
        like: A tensor of the shape, dtype and device wanted.
        step: Of the tensor.
        number: Of the tensor, among those of its optimizer.
    """
    draw = torch.Generator(device=like.device)
    # Torch's generator on the CPU reads 32 bits of a seed, so these must depend on all of it.
    digest = hashlib.blake2b(f"probe {step} {number}".encode(), digest_size=4).digest()
    draw.manual_seed(int.from_bytes(digest))
    bits = torch.randint(0, 2, like.shape, generator=draw, device=like.device)
    return bits.to(like.dtype).mul_(2.0).sub_(1.0)


def estimated(
    params: Sequence[Tensor], grads: Sequence[Tensor], probes: Sequence[Tensor]
) -> list[Tensor]:
    """Return the size of z * (H z) for each parameter, where ``probes`` are z.

    The graph of the gradients is freed. A gradient without one is a constant, whose derivative
    is 0.

    Raises:
        RuntimeError: Some operation of the model cannot be differentiated twice.
    """
    traced = [k for k, g in enumerate(grads) if g.requires_grad]
    inputs = [p for p in params if p.requires_grad]
    products = torch.autograd.grad(
        [grads[k] for k in traced],
        inputs,
        grad_outputs=[probes[k].to(grads[k].dtype) for k in traced],
        allow_unused=True,
    )
    found = dict(zip(inputs, products, strict=True))
    return [_size(p, z, found.get(p)) for p, z in zip(params, probes, strict=True)]


def _size(p: Tensor, z: Tensor, product: Tensor | None) -> Tensor:
    return torch.zeros_like(p) if product is None else (z * product).abs()


def averaged(sizes: Tensor, block: int) -> Tensor:
    """Return each element's mean over its block; ``block`` is ``length`` of its tensor's."""
    if block == 1 or not sizes.numel():
        return sizes
    rows = sizes.reshape(-1, block)
    return rows.mean(dim=1, keepdim=True).expand_as(rows).reshape(sizes.shape)


def length(shape: Sequence[int], blocks: Sequence[int]) -> int:
    """Return how many elements of a tensor share a mean.

    Args:
        shape: Of the tensor.
        blocks: For tensors of 1 to 4 dimensions; 0 is a row, or a kernel of a convolution.

    Raises:
        ValueError: Blocks of that length do not fill the tensor.
    """
    if not 1 <= len(shape) <= len(blocks):
        return 1
    block = blocks[len(shape) - 1]
    if block == 0:
        block = 1 if len(shape) == 1 else math.prod(shape[-2:] if len(shape) == 4 else shape[-1:])
    if block and math.prod(shape) % block:
        raise ValueError(
            f"block_sizes[{len(shape) - 1}] must divide the elements of every tensor of "
            f"{len(shape)} dimensions, got {block} and shape {tuple(shape)}; use 0 or 1"
        )
    return max(block, 1)
