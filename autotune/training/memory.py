"""Who held the memory of a GPU when a trial had too little of it."""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass

import torch

from autotune import devices

# Of a GPU: for contexts and libraries, the own ones and those of processes that hold no tensors.
BESIDE = 0.08
_ASKED = re.compile(r"Tried to allocate ([\d.]+ [KMGT]?i?B)")


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """What a GPU's memory held when there was too little, in bytes.

    Args:
        own: The most that tensors of this process took at a time.
        others: What processes beside this one hold, and the contexts of all.
        total: All of it.
        asked: What was asked for then, as the error says it, such as "20.00 MiB".
    """

    own: int
    others: int
    total: int
    asked: str | None = None

    @property
    def crowded(self) -> bool:
        """Whether others hold so much that the trial may have had too little for that alone."""
        return self.others > BESIDE * self.total

    def misfit(self, model: str, optimizer: str) -> str:
        """Say that no setting of an optimizer can train a model here, and what to do."""
        more = f"{self.asked} more" if self.asked else "more"
        gpu = f"the {_gib(self.total)} of this GPU"
        gpu += f", where others hold {_gib(self.others)}," if self.crowded else ""
        return (
            f"{model} with {optimizer} does not fit into {gpu} at any setting: it had "
            f"{_gib(self.own)} and needed {more}, before its first measurement; give a smaller "
            "--batch-size or model, a larger GPU, or --device cpu"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def shortage(error: BaseException) -> Shortage | None:
    """Return what the GPU held when an error said that memory is missing.

    Returns None if the CPU's is missing, or if the device does not say, as Apple's.
    """
    of_gpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" not in str(error)
    if not of_gpu or not torch.accelerator.is_available():
        return None
    try:
        free, total = torch.accelerator.get_memory_info()
    except (RuntimeError, NotImplementedError):
        return None
    asked = _ASKED.search(str(error))
    return Shortage(
        own=torch.accelerator.max_memory_allocated(),
        others=max(0, total - free - torch.accelerator.memory_reserved()),
        total=total,
        asked=asked[1] if asked else None,
    )


def release() -> None:
    """Free what a failed trial has left on a GPU: errors and models may hold each other."""
    if torch.accelerator.is_available():
        gc.collect()
        devices.release()
