"""Launch settings of the triton backend: plain data, by architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many elements a program takes, how many at once, and on how many warps."""

    chunk: int  # a power of 2, as kernels take the upper bits of all its elements for equal
    block: int
    warps: int
    bits: int = 8  # of numbers, in a pass that counts them

    def __post_init__(self) -> None:
        if self.chunk < self.block or self.chunk & (self.chunk - 1):
            raise ValueError(
                f"chunk must be a power of 2 and at least a block of {self.block}, got {self.chunk}"
            )


# Four single-precision elements, 16 bytes, for each thread of a block. Not yet measured: chosen
# by the machine code, where Adan has 56 registers on sm_90 and nothing spills.
NVIDIA = Config(chunk=4096, block=512, warps=4)
AMD = Config(chunk=4096, block=1024, warps=4)  # of 64 threads
# Small tensors reach every branch, and what is summed over counts is summed one by one.
INTERPRETER = Config(chunk=32, block=16, warps=1, bits=4)
MEASURED: dict[str, Config] = {}
# What benchmarks/gpu.sh sweeps: the fastest of an architecture belongs above.
SWEPT = tuple(
    Config(chunk=chunk, block=block, warps=warps)
    for chunk, block, warps in (
        (1024, 512, 4),
        (2048, 512, 4),
        (4096, 512, 4),
        (4096, 1024, 4),
        (4096, 1024, 8),
        (8192, 1024, 8),
        (16384, 1024, 8),
        (65536, 1024, 8),
    )
)

_forced: ContextVar[Config | None] = ContextVar("launch settings to measure", default=None)


@contextmanager
def using(setting: Config) -> Iterator[None]:
    """Use these settings for launches on every device."""
    token = _forced.set(setting)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def architecture(device: torch.device) -> str:
    """Return the architecture that Triton compiles for, as 'sm_90' or 'gfx942'."""
    if torch.version.hip:
        name: str = torch.cuda.get_device_properties(device).gcnArchName
        return name.partition(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def config(device: torch.device) -> Config:
    """Return the settings for a device, which may be a CPU, where kernels are interpreted."""
    forced = _forced.get()
    if forced is not None:
        return forced
    return INTERPRETER if device.type == "cpu" else settings(architecture(device))


def settings(arch: str) -> Config:
    """Return the settings for an architecture: those measured, or its vendor's."""
    return MEASURED.get(arch, AMD if arch.startswith("gfx") else NVIDIA)
