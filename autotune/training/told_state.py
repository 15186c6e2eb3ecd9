"""The state that a caller's own loop saves of its trial: plain values, safe to load again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from autotune.errors import SpecError
from autotune.training.checkpoint import UNREADABLE, checksum, own, write

PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device)


def save(path: Path, state: Mapping[str, Any], step: int, identity: int) -> str:
    """Write the state of a trial after ``step`` steps, and return the file's checksum.

    Raises:
        SpecError: It holds something else than tensors and plain values.
        OSError: It cannot be written; an older file then stays as it was.
    """
    whole = {"identity": identity, "step": step, "state": _plain(state, "state")}
    return write(path, whole, sum(tensor.nbytes for tensor in _tensors(whole)))


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from _tensors(value)


def load(
    path: Path, most: int, identity: int, expected: str | None
) -> tuple[int, dict[str, Any]] | None:
    """Return the step of a saved state, which is at most ``most``, and the state, on the CPU.

    Returns None if the file is missing, damaged, another trial's, or not the ``expected`` one.
    """
    if expected is not None and checksum(path) != expected:
        return None
    try:
        found: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        step, state = int(found["step"]), dict(found["state"])
        known = found["identity"]
    except UNREADABLE:
        return None
    return (step, state) if known == identity and 0 < step <= most else None


def check(state: Mapping[str, Any]) -> None:
    """Raise SpecError where a state holds something else than tensors and plain values."""
    _plain(state, "state", lambda tensor: tensor)


def _plain(value: Any, where: str, tensor: Callable[[torch.Tensor], torch.Tensor] = own) -> Any:
    """Return a copy of dicts, lists and tuples, their tensors on the CPU with their own memory.

    ``where``: what the value is called, as in ``state['optimizer']``.
    """
    if isinstance(value, torch.Tensor):
        return tensor(value.detach())
    if isinstance(value, Mapping):
        keys = (_plain(key, where, tensor) for key in value)
        return {key: _plain(value[key], f"{where}[{key!r}]", tensor) for key in keys}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{where}[{at}]", tensor) for at, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if type(value) in PLAIN:
        return value
    raise SpecError(
        f"{where} is a {type(value).__name__}: a saved state may hold tensors, numbers, texts and "
        "None, in dicts, lists and tuples, so that loading it runs no code; save its state_dict() "
        "or torch.as_tensor of it"
    )
