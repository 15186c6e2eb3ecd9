"""The generators of a process: as they stand, as values that a file can hold, and put back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from autotune.devices import CPU, Device
from autotune.seeds import wide

Chance = dict[str, Any]


def sow(*parts: int | str, device: Device = CPU) -> None:
    """Seed the generators of torch on every device, of NumPy and of Python.

    Args:
        *parts: What the seed follows from.
        device: Where random numbers will be drawn besides the CPU.
    """
    seed = wide(*parts)
    device.generator()  # one that does not exist yet would be seeded later, with whatever came last
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def taken() -> Chance:
    """Return how all generators stand, as tensors, numbers and texts."""
    numpy: Any = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.random.get_rng_state(),
        "devices": _devices(),
        "numpy": [numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]],
        "python": [version, list(words), gauss],
    }


def put(chance: Chance) -> None:
    """Set all generators to how they stood."""
    torch.random.set_rng_state(chance["torch"])
    for kind, states in chance["devices"].items():
        module: Any = torch.get_device_module(kind)
        if isinstance(states, list):
            module.set_rng_state_all(states)
        else:
            module.set_rng_state(states)
    name, words, *rest = chance["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = chance["python"]
    random.setstate((version, tuple(numbers), gauss))


def _devices() -> dict[str, Any]:
    """Return the states of an accelerator's generators, once this process uses it."""
    found = torch.accelerator.current_accelerator()
    if found is None:
        return {}
    module: Any = torch.get_device_module(found.type)
    if not getattr(module, "is_initialized", torch.accelerator.is_available)():
        return {}
    each = getattr(module, "get_rng_state_all", module.get_rng_state)
    return {found.type: each()}
