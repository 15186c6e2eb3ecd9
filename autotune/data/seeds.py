"""Where chance comes from: random numbers follow a seed, and the caller's stay as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from autotune.seeds import wide


def generator(*parts: int | str) -> torch.Generator:
    """Return a generator seeded by ``parts``."""
    return torch.Generator().manual_seed(wide(*parts))


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python inside, and restore them after."""
    seed = wide(*parts)
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed looks at every kind of device: a hundred times slower.
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
