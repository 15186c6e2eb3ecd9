"""``autotune.report``: what a training script calls, wherever it runs.

The search that started the script named a channel in its environment. Everything the script starts
inherits that, so a rank of ``torchrun`` finds it as well. Nothing but Python's standard library is
imported; ``torch.distributed`` is used where the script has begun a process group itself.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import timedelta
from typing import Any

from autotune.command.keeper import REPORT

_PATIENCE = timedelta(days=365)  # how long the other ranks wait while a trial is paused
_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")  # who a process is, if known
_agreeing: list[tuple[Any, Any]] = []  # the process group of the script, and ours beside it


def report(step: int, loss: float, accuracy: float | None = None) -> bool:
    """Tell the search that runs this script a validation loss; return whether to go on.

    Without a search it does nothing and returns True. It waits while the trial is paused. Where
    ``torch.distributed`` has a process group, every rank has to call it: rank 0 reports, and all
    ranks return the same. Elsewhere a process that is not rank 0 does nothing and returns True.

    Args:
        step: Steps taken so far; the last report of a run is at its last step.
        loss: Validation loss; lower is better. NaN ends the trial as diverged.
        accuracy: The fraction that is right, 0 to 1; it is shown, and decides nothing.

    Returns:
        False where the trial is over: end the script, for it is ended soon otherwise.

    Raises:
        TypeError: An argument is no number.

    Example:
        >>> import autotune
        >>> autotune.report(100, 2.31)
        True
    """
    message: dict[str, float | None] = {
        "step": _number("step", step),
        "loss": _number("loss", loss),
    }
    message["accuracy"] = None if accuracy is None else _number("accuracy", accuracy)
    channel = os.environ.get(REPORT)
    ranks = _process_group()
    if channel is None:
        return True
    if ranks is not None:
        return _together(ranks, channel, message)
    return _ask(channel, message) if _is_first() else True


def _number(name: str, value: Any) -> float:
    try:
        return float(value)  # also of a tensor of one number
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def _is_first() -> bool:
    rank = next((os.environ[name] for name in _RANKS if name in os.environ), "0")
    return rank == "0"


def _process_group() -> Any:
    """Return ``torch.distributed`` where the script has a process group; None elsewhere."""
    ranks = sys.modules.get("torch.distributed")
    if ranks is None or not ranks.is_available() or not ranks.is_initialized():
        return None
    return ranks


def _together(ranks: Any, channel: str, message: dict[str, float | None]) -> bool:
    """Report on rank 0, and return its answer on all."""
    import torch

    group = _agreement(ranks)
    answer = torch.zeros(1)
    if ranks.get_rank() == 0:
        answer[0] = _ask(channel, message)
    ranks.broadcast(answer, src=0, group=group)
    return bool(answer.item())


def _agreement(ranks: Any) -> Any:
    """Return a group of all ranks that waits for as long as a trial is paused.

    The script's own would give up after its timeout, which is minutes for GPUs.
    """
    world = ranks.group.WORLD
    if not _agreeing or _agreeing[0][0] is not world:
        _agreeing[:] = [(world, ranks.new_group(backend="gloo", timeout=_PATIENCE))]
    return _agreeing[0][1]


def _ask(channel: str, message: dict[str, float | None]) -> bool:
    """Send a message and wait for the answer; a search that is gone wants no more."""
    address, _, secret = channel.partition("/")
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port))) as connection:
            text = json.dumps({"secret": secret, **message})
            connection.sendall(text.encode() + b"\n")
            return connection.recv(1) == b"1"
    except OSError:
        return False
