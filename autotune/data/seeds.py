"""Where chance comes from: random numbers follow a seed, and the caller's stay as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from autotune.devices import CPU, Device
from autotune.seeds import wide


def generator(*parts: int | str) -> torch.Generator:
    """Return a generator seeded by ``parts``."""
    return torch.Generator().manual_seed(wide(*parts))


@contextmanager
def seeded(*parts: int | str, device: Device = CPU) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python inside, and restore them after.

    ``device``: its generator is seeded as well.
    """
    seed = wide(*parts)
    python, numpy = random.getstate(), np.random.get_state()
    own = device.generator()
    before = None if own is None else own.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed looks at every kind of device: a hundred times slower.
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            if own is not None:
                own.manual_seed(seed)
            yield
    finally:
        if own is not None and before is not None:
            own.set_state(before)
        random.setstate(python)
        np.random.set_state(numpy)
