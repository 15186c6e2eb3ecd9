"""A database that is away for a while: the same change is tried again until it is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from autotune.studies.errors import Unavailable

_FIRST, _LONGEST = 0.1, 5.0  # seconds between tries, doubled from the first to the longest


def _sleep(seconds: float, _sentence: str) -> bool:
    time.sleep(seconds)
    return False


@dataclass(kw_only=True)
class Retry:
    """How long to go on trying; nothing is tried twice unless ``seconds`` is set.

    Args:
        seconds: How long a database may be away.
        wait: Waits so many seconds, is told why, and says whether to give up.
    """

    seconds: float = 0.0
    wait: Callable[[float, str], bool] = _sleep


class _Waiting(Protocol):
    retry: Retry


S = TypeVar("S", bound=_Waiting)
P = ParamSpec("P")
T = TypeVar("T")


def retried(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """Let a method that is one transaction, and may be repeated, outlast an absent database."""

    @wraps(method)
    def trying(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        deadline, pause = time.monotonic() + self.retry.seconds, _FIRST
        while True:
            try:
                return method(self, *args, **kwargs)
            except Unavailable as error:
                late = time.monotonic() + pause > deadline
                if late or self.retry.wait(pause, str(error)):
                    raise
            pause = min(2 * pause, _LONGEST)

    return cast(Callable[Concatenate[S, P], T], trying)
