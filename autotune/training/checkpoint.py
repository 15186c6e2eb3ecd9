"""Checkpoints of paused trials: written completely or not at all, and checked when read."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from autotune.devices import sticky
from autotune.studies import atomic
from autotune.training.verdict import out_of_memory

# Saving is skipped if training the same steps again is faster. The speed is that of a slow disk, so
# workers do not wait for one; on a fast disk, a few seconds of training are repeated.
BYTES_PER_SECOND = 200e6
SPARE_BYTES = 2e9  # that stay free on the disk

# torch raises RuntimeError if the disk is full; pickle raises the others for odd values.
UNWRITABLE = (RuntimeError, pickle.PicklingError, TypeError, AttributeError)
# Raised by torch.load and load_state_dict for a file that is cut, damaged or something else.
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


def worth_keeping(model: nn.Module, optimizer: torch.optim.Optimizer, seconds: float) -> bool:
    """Return whether saving and loading is faster than ``seconds`` of training from step 0."""
    return quicker(size(model, optimizer), seconds)


def quicker(size: int, seconds: float) -> bool:
    """Return whether writing and reading so many bytes takes less than ``seconds``."""
    return 2 * size / BYTES_PER_SECOND < seconds


def size(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes a checkpoint takes."""
    values = [*model.state_dict().values()]
    for state in optimizer.state.values():
        values += state.values()
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    identity: int,
    data: Mapping[str, Any] | None = None,
) -> str:
    """Write the state after ``step`` steps of the trial with that ``identity``.

    ``data``: where its batches are read, if what gives them can go on from there.

    Returns the file's checksum. Raises OSError for any problem; an older file then stays as it was.
    """
    state = {
        "identity": identity,
        "step": step,
        "model": own(model.state_dict()),
        "optimizer": own(optimizer.state_dict()),
        **({} if data is None else {"data": own(dict(data))}),
    }
    return write(path, state, size(model, optimizer))


def write(path: Path, state: dict[str, Any], size: int) -> str:
    """Write a state of about ``size`` bytes, and return the file's checksum; raises OSError."""
    _room(path, size)
    try:
        return _write(path, state)
    except UNWRITABLE as error:
        raise OSError(f"{path} was not written: {' '.join(str(error).split())[:200]}") from error


def own(state: Any) -> Any:
    """Return a state on the CPU with its own memory.

    A file with tensors of a GPU opens only where there is one, and torch would save all memory that
    a tensor shares.
    """
    if isinstance(state, dict):
        return {name: own(value) for name, value in state.items()}
    if isinstance(state, list):
        return [own(value) for value in state]
    if not isinstance(state, torch.Tensor):
        return state
    if state.device.type != "cpu":
        return state.cpu()
    return state.clone() if state.untyped_storage().nbytes() > state.nbytes else state


def put(path: Path, data: bytes) -> None:
    """Write a checkpoint that was saved elsewhere; if it raises OSError, an older file stays."""
    _room(path, len(data))
    with atomic.writing(path) as file:
        file.write(data)


def _room(path: Path, needed: int) -> None:
    """Raise OSError if so many bytes would fill the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    room = os.statvfs(path.parent)
    if room.f_bavail * room.f_frsize < needed + SPARE_BYTES:
        raise OSError(f"less than {SPARE_BYTES / 1e9:.0f} GB would be left on the disk of {path}")


def _write(path: Path, state: dict[str, Any]) -> str:
    with atomic.writing(path) as file:
        summed = _Summed(file)
        torch.save(state, summed)  # type: ignore[arg-type]  # it only writes
    return summed.checksum.hexdigest()


class _Summed:
    """A file that computes its checksum while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.checksum = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write some bytes and add them to the checksum."""
        self.checksum.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Write what is buffered."""
        self.file.flush()


def checksum(path: Path) -> str | None:
    """Return the checksum of a file; None if it cannot be read."""
    try:
        return atomic.checksum(path)
    except OSError:
        return None


def missing(path: Path, step: int) -> str:
    """Return why a trial that had reached a step begins again at its first."""
    what = "is damaged or another trial's" if path.exists() else "is not on this machine"
    return f"its checkpoint {path.name} {what}, so steps 1 to {step} were repeated"


def restore(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    identity: int,
    expected: str | None = None,
    load: Callable[[Mapping[str, Any]], None] | None = None,
) -> int | None:
    """Load a checkpoint of at most ``step`` steps and return its step.

    Its tensors are read into the CPU's memory, wherever they were when an older version saved them,
    and copied to where the model is.

    Returns None if the file is missing, damaged, another trial's or from a later step, or if its
    checksum is not the ``expected`` one. Model and optimizer may then be half loaded and must be
    built again. ``load`` takes where its batches are read, if the file says that. Raises what a GPU
    raises whose memory is full or which fails.
    """
    if expected is not None and checksum(path) != expected:
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        found = int(state["step"])
        if state["identity"] != identity or not 0 < found <= step:
            return None
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if load is not None and "data" in state:
            load(state["data"])
    except UNREADABLE as error:
        if out_of_memory(error) or sticky(error):
            raise  # the file is not at fault
        return None
    return found
