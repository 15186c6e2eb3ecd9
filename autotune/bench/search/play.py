"""Run another method on recorded curves, with several workers, a simulated clock and a budget."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace

import numpy as np

from autotune.bench.search.grid import Ground
from autotune.bench.search.peers import Peer
from autotune.bench.search.trace import ROUNDING, Trace


@dataclass(frozen=True, kw_only=True)
class Arena:
    """What a method may know and spend.

    Args:
        ground: Recorded runs on the seeds that a search may see.
        runs: Full runs to spend in all.
        workers: Trials that run at the same time.
        seed: Random seed of this repetition.
    """

    ground: Ground
    runs: float
    workers: int
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of values of each parameter."""
        return self.ground.table.shape

    def with_runs(self, runs: float) -> Arena:
        """Return a copy with another budget."""
        return replace(self, runs=runs)


@dataclass(order=True)
class _Trial:
    due: float  # when it reaches its next rung
    order: int
    id: int = field(compare=False)
    number: int = field(compare=False)
    curve: list[tuple[int, float]] = field(compare=False)
    began: float = field(compare=False)
    rung: int = field(default=0, compare=False)  # the next


def play(arena: Arena, peer: Peer, share: float = 1.0) -> Trace:
    """Return what a method spent and recommended.

    Args:
        arena: The recorded runs and the budget.
        peer: The method.
        share: Part of each full run that is counted.
    """
    return _Game(arena, peer, share).play()


class _Game:
    def __init__(self, arena: Arena, peer: Peer, share: float) -> None:
        self.arena, self.peer = arena, peer
        self.table = arena.ground.table
        self.left = arena.runs / share  # full runs not yet spent or promised
        self.trace = Trace(default=arena.ground.default, share=share)
        self.clock = 0.0
        self.running: list[_Trial] = []
        self.draw = np.random.default_rng([arena.seed, 1])
        self.seen: dict[int, tuple[int, float, int]] = {}  # by trial: -step, loss there, setting
        self.asked = 0

    def play(self) -> Trace:
        """Start trials while there is budget, and run them to their ends."""
        while self._fill():
            trial = heapq.heappop(self.running)
            self.clock = trial.due
            self._reach(trial)
        return self.trace

    def _fill(self) -> bool:
        while len(self.running) < self.arena.workers and self._pay(0 if self.peer.halves else -1):
            self._start()
        return bool(self.running)

    def _pay(self, rung: int, start: int = 0) -> bool:
        """Reserve the cost of reaching a rung; return whether the budget allows it."""
        cost = (self.table.rungs[rung] - start) / self.table.target
        if cost > self.left + ROUNDING:
            return False
        self.left -= cost
        return True

    def _start(self) -> None:
        id, places = self.peer.ask()
        number = self.table.number(places)
        # Each trial has its own seed, as for users who set none.
        curve = self.table.curve(int(self.draw.integers(self.table.seeds)), number)
        due = self.clock + self.table.rungs[0] / self.table.target
        trial = _Trial(due, self.asked, id, number, curve, self.clock)
        self.asked += 1
        heapq.heappush(self.running, trial)

    def _reach(self, trial: _Trial) -> None:
        """Report a loss at a rung and continue to the next if method and budget allow it."""
        step, loss = trial.curve[trial.rung]
        self._recommend(trial, step, loss)
        whole = trial.rung == len(self.table.rungs) - 1 or math.isinf(loss)
        if not whole and self._goes_on(trial, step, loss):
            trial.rung += 1
            trial.due = self.clock + (self.table.rungs[trial.rung] - step) / self.table.target
            heapq.heappush(self.running, trial)
            return
        self.trace.intervals.append((trial.began, self.clock))
        if not self.peer.halves:
            self.left += 1 - step / self.table.target  # a diverged run ends early
        self.peer.tell(trial.id, loss, whole=whole)

    def _recommend(self, trial: _Trial, step: int, loss: float) -> None:
        """Recommend the lowest loss among the trials that went furthest; never a diverged one."""
        self.seen[trial.order] = (-step, loss, trial.number)
        if math.isinf(loss):
            del self.seen[trial.order]
        if self.seen:
            self.trace.recommend(self.clock, min(self.seen.values())[-1])

    def _goes_on(self, trial: _Trial, step: int, loss: float) -> bool:
        if not self.peer.goes_on(trial.id, trial.rung, loss):
            return False
        return not self.peer.halves or self._pay(trial.rung + 1, step)
