"""Rounding to bfloat16, to nearest or at random, the same bits on every backend.

Random bits do not come from a generator: they are a function of the step, the tensor, the element
and the role that is written. So a run can be repeated and resumed, and processes agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autotune.kernels.lang import jit, plain, tl


@jit
def mixed(word):
    """Return 32 bits, each of which depends on all 32 given; products stay below 2^63."""
    word = tl.cast((word ^ (word >> 16)) * 0x21F0AAAD, tl.uint32)
    word = tl.cast((word ^ (word >> 15)) * 0x735A2D97, tl.uint32)
    return word ^ (word >> 15)


@jit
def noise(at, key, role):
    """Return 16 random bits for element ``at`` of the tensor and step that ``key`` stands for.

    Two roles share 32 bits: each has half of them.
    """
    return noise_near(at, at >> 32, key, role)


@jit
def noise_near(at, high, key, role):
    """Return the same bits, given ``high = at >> 32``.

    A launch knows it of all elements of a chunk, so that their bits cost a quarter less.
    """
    salt = mixed(tl.cast(key, tl.uint32) ^ mixed(tl.cast(key >> 32, tl.uint32) ^ 0x5BD1E995))
    place = mixed(tl.cast(at, tl.uint32) ^ salt)
    pair = mixed(tl.cast(high, tl.uint32) ^ mixed(salt ^ (role >> 1)))
    return (mixed(place ^ pair) >> (16 * (role & 1))) & 0xFFFF


@jit
def nearest(bits):
    """Return the upper half of a float's bits, rounded to nearest, ties to even; NaN stays NaN."""
    bits = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC00000, bits)
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


@jit
def stochastic(bits, random):
    """Return the upper half of a float's bits, plus 1 as often as the part cut off is large."""
    endless = (bits & 0x7F800000) == 0x7F800000
    return tl.where(endless, nearest(bits), (bits + random) >> 16)


def places(p: Tensor) -> Tensor:
    """Return the number of each element, in the order of memory."""
    numbers = torch.empty_like(p, dtype=torch.int64, requires_grad=False)
    flat = numbers.as_strided((numbers.numel(),), (1,))
    torch.arange(numbers.numel(), out=flat, device=flat.device)
    return numbers


def dithered(value: Tensor, at: Tensor, key: int, role: int) -> Tensor:
    """Return values in bfloat16, rounded at random."""
    bits = value.float().view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    upper: Tensor = plain(stochastic)(bits, plain(noise)(at, key, role))
    return upper.to(torch.int16).view(torch.bfloat16)
