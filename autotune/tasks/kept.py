"""Batches that a process keeps from one job of a task to the next, so that none is read twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

MOST_BYTES = 512 << 20  # of all seeds together, once no run needs them
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Lazy(Sequence[Any]):
    """Batches that are read when the first of them is asked for."""

    def __init__(self, read: Callable[[], Sequence[Any]]) -> None:
        self._read: Callable[[], Sequence[Any]] | None = read
        self._found: Sequence[Any] = ()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all())

    def __getitem__(self, place: Any) -> Any:
        """Return the batch at a place."""
        return self._all()[place]

    def __iter__(self) -> Iterator[Any]:
        """Return them in order."""
        return iter(self._all())

    def _all(self) -> Sequence[Any]:
        if self._read is not None:
            self._found, self._read = self._read(), None
        return self._found


@dataclass(frozen=True)
class _Part:
    batches: Sequence[Any]
    written: Any  # what they were when they were read; None where that cannot be told
    size: int


class Kept:
    """Batches by what they were read for, at most MOST_BYTES beside those in use.

    Batches that a run has changed, or may have changed unseen, are read again.
    """

    def __init__(self) -> None:
        self._parts: dict[Any, _Part] = {}

    def of(self, what: Any, read: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """Return the batches kept for ``what``, else those that ``read`` returns."""
        known = self._parts.pop(what, None)
        self._shrink()
        if known is None or known.written is None or written(known.batches) != known.written:
            known = None  # what is read anew takes its place in memory
            batches = read()
            known = _Part(batches, written(batches), sum(sizes(batches).values()))
        self._parts[what] = known  # the last in use stands last
        return known.batches

    def _shrink(self) -> None:
        """Drop the oldest while they are too large together."""
        while sum(part.size for part in self._parts.values()) > MOST_BYTES:
            del self._parts[next(iter(self._parts))]


class _Unknown(Exception):
    """A value that could change without a sign of it."""


def written(batches: Sequence[Any]) -> Any:
    """Return a value that differs once a batch was changed; None where that cannot be told."""
    try:
        return [_sign(batch) for batch in batches]
    except (_Unknown, RecursionError):
        return None


def _sign(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.is_inference():
            raise _Unknown
        return id(value), value._version
    if isinstance(value, _PLAIN):
        return repr(value)
    return type(value), [(key, _sign(part)) for key, part in _inside(value)]


def _inside(value: Any) -> list[tuple[Any, Any]]:
    """Return the parts of a value by name or place."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if type(value).__module__ == "builtins" or not hasattr(value, "__dict__"):
        raise _Unknown
    if hasattr(value, "__array__") or hasattr(value, "__slots__"):
        raise _Unknown
    return list(vars(value).items())


def sizes(value: Any) -> dict[int, int]:
    """Return the bytes of each piece of memory that tensors lie in: views share one."""
    found: dict[int, int] = {}
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Tensor):
            memory = one.untyped_storage()
            found[memory.data_ptr()] = memory.nbytes()
        elif not isinstance(one, _PLAIN):
            try:
                left += [part for _, part in _inside(one)]
            except _Unknown:
                continue
    return found
