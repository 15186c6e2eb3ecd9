"""Launch settings of the triton backend: plain data, by architecture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many elements a program takes, how many of them at once, and on how many warps."""

    chunk: int
    block: int
    warps: int


# Four single-precision elements, 16 bytes, for each thread of a block. Not yet measured: chosen
# by the machine code, where Adan has 56 registers on sm_90 and nothing spills.
NVIDIA = Config(chunk=4096, block=512, warps=4)
AMD = Config(chunk=4096, block=1024, warps=4)  # of 64 threads
INTERPRETER = Config(chunk=32, block=16, warps=1)  # small tensors reach every branch
MEASURED: dict[str, Config] = {}


@cache
def architecture(device: torch.device) -> str:
    """Return what Triton compiles for: 'sm_90', 'gfx942'."""
    if torch.version.hip:
        name: str = torch.cuda.get_device_properties(device).gcnArchName
        return name.partition(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def config(device: torch.device) -> Config:
    """Return the settings for a device; on a CPU, where kernels are interpreted."""
    return INTERPRETER if device.type == "cpu" else settings(architecture(device))


def settings(arch: str) -> Config:
    """Return the settings for an architecture: those measured, or its maker's."""
    return MEASURED.get(arch, AMD if arch.startswith("gfx") else NVIDIA)
