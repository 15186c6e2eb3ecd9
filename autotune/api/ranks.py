"""The ranks of a process group that train one trial together: the first asks, all are answered."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any, TypeVar

from autotune.errors import AutotuneError

T = TypeVar("T")


class Ranks:
    """The ranks of ``torch.distributed``'s process group, or this process alone.

    Every method has to be called by all ranks, in the same order.
    """

    def __init__(self) -> None:
        # Where nobody has imported it, no group can be initialised.
        found: Any = sys.modules.get("torch.distributed")
        there = found is not None and found.is_available() and found.is_initialized()
        self._group = found if there else None
        self.count = int(found.get_world_size()) if there else 1
        self.first = not there or found.get_rank() == 0

    def agree(self, call: Callable[[], T]) -> T:
        """Return to all ranks what the call returns, or raise what it raises, on the first."""
        if self._group is None:
            return call()
        said: list[Any] = [None, None]
        if self.first:
            try:
                said[0] = call()
            except Exception as error:
                said[1] = _portable(error)
        self._group.broadcast_object_list(said, src=0)
        if said[1] is not None:
            raise said[1]
        answer: T = said[0]
        return answer

    def collect(self, call: Callable[[], T]) -> list[T]:
        """Return to all ranks what the call returns on each; raises what it raises on one."""
        if self._group is None:
            return [call()]
        mine: tuple[T | None, Exception | None]
        try:
            mine = (call(), None)
        except Exception as error:
            mine = (None, _portable(error))
        every: list[Any] = [None] * self.count
        self._group.all_gather_object(every, mine)
        for _, refused in every:
            if refused is not None:
                raise refused
        return [value for value, _ in every]


def mean(values: Iterable[float]) -> float:
    """Return the mean of numbers; equal ones stay what they are, to the last bit."""
    given = list(values)
    return given[0] if len(set(given)) == 1 else fmean(given)


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent to other ranks."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return AutotuneError(f"{type(error).__name__}: {error}")
    return error
