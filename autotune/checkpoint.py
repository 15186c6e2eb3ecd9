"""The state of a paused trial on disk: written whole or not at all, and checked when read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

# Writing is skipped where training the same steps again is quicker. A pessimistic disk: on a fast
# one, a few seconds of training are repeated; on a slow one, workers do not queue for it.
BYTES_PER_SECOND = 200e6
SPARE_BYTES = 2e9  # left free on the disk


def worth_keeping(model: nn.Module, optimizer: torch.optim.Optimizer, seconds: float) -> bool:
    """Say whether saving and loading the state takes less time than ``seconds`` of training."""
    return 2 * size(model, optimizer) / BYTES_PER_SECOND < seconds


def size(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes a checkpoint takes."""
    tensors = [*model.state_dict().values()]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write the state after ``step`` steps; raises OSError and leaves an older file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    room = os.statvfs(path.parent)
    if room.f_bavail * room.f_frsize < size(model, optimizer) + SPARE_BYTES:
        raise OSError(f"less than {SPARE_BYTES / 1e9:.0f} GB would be left on the disk of {path}")
    part = path.with_suffix(".part")
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    try:
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> bool:
    """Load the state after ``step`` steps; False when the file is missing, broken or another's."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError):
        return False
    if state.get("step") != step:
        return False
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return True
