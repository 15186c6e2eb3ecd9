"""Which sample comes when: a pure function of seed and step, so that a run resumes anywhere."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from autotune.data.seeds import generator


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, samples: int) -> Tensor:
    return torch.randperm(samples, generator=generator("order", seed, epoch))


def indices(seed: int, step: int, batch_size: int, samples: int) -> Tensor:
    """Return the samples of batch ``step``: each comes once an epoch, a batch may span epochs."""
    position, stop = step * batch_size, (step + 1) * batch_size
    parts = []
    while position < stop:
        epoch, first = divmod(position, samples)
        last = min(samples, first + stop - position)
        parts.append(_permutation(seed, epoch, samples)[first:last])
        position += last - first
    return torch.cat(parts)
