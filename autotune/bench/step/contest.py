"""Everyone takes turns, A B C A B C: what slows the machine for a while slows all of them alike."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from autotune.bench.step.clock import Clock, Lap
from autotune.bench.step.contender import Stepper, quiet
from autotune.bench.step.stream import Stream

WARM = 2  # the first step allocates the state, and compiles
TIMED = 3  # steps a turn


class Numbers(Protocol):
    """What is stepped."""

    params: Any

    def renew(self) -> None:
        """Give every parameter another gradient."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A contender's timed steps in one round, each beside a pass of the stream."""

    steps: tuple[Lap, ...]
    streams: tuple[Lap, ...]
    peak: int | None = None  # bytes of device memory it took above what was there before


@dataclass(kw_only=True)
class Contest:
    """Who is timed, with what.

    A contender is built anew at each of its turns, so that only one holds state at a time.
    """

    contenders: Sequence[Stepper]
    tensors: Numbers
    stream: Stream
    clock: Clock
    memory: Callable[[], AbstractContextManager[Callable[[], int | None]]]
    turns: dict[str, list[Turn]] = field(default_factory=lambda: defaultdict(list))

    def play(self, rounds: int) -> Iterator[int]:
        """Time everyone once a round, in alternating order; yield each round that is complete."""
        gc.freeze()  # what is there already is not searched for garbage between turns
        try:
            for number in range(rounds):
                order = self.contenders if number % 2 == 0 else self.contenders[::-1]
                played = {contender.name: self._turn(contender) for contender in order}
                for name, turn in played.items():
                    self.turns[name].append(turn)
                yield number + 1
        finally:
            gc.unfreeze()

    def _turn(self, contender: Stepper) -> Turn:
        with quiet(), self.memory() as peak:
            optimizer = contender.build(self.tensors.params)
            for _ in range(WARM):
                self.tensors.renew()
                optimizer.step()
            pairs = [self._pair(optimizer.step) for _ in range(TIMED)]
            used = peak()
        del optimizer
        gc.collect()
        steps, streams = zip(*pairs, strict=True)
        return Turn(steps=steps, streams=streams, peak=used)

    def _pair(self, step: Callable[[], object]) -> tuple[Lap, Lap]:
        stream = self.clock.lap(self.stream)
        self.tensors.renew()
        return self.clock.lap(step), stream
