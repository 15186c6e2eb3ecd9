"""Methods to compare with: Optuna's samplers and pruners, and random search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats.qmc import Sobol

from autotune.pruners.ladder import ETA
from autotune.samplers.base import unwarned

Places = tuple[int, ...]  # index of a setting's value on each axis of a table


class Peer(Protocol):
    """Proposes settings and gets their results."""

    halves: bool  # whether it may stop a trial at a rung; if not, only whole runs are started

    def ask(self) -> tuple[int, Places]:
        """Return the next trial's number and setting."""

    def goes_on(self, trial: int, rung: int, loss: float) -> bool:
        """Take a loss at a rung; return whether the trial continues."""

    def tell(self, trial: int, loss: float, *, whole: bool) -> None:
        """Take the last loss of a trial."""


@dataclass(kw_only=True)
class Chance:
    """Settings from a stream that ignores all results."""

    halves = False
    stream: Iterator[Places]
    asked: int = -1

    def ask(self) -> tuple[int, Places]:
        """Return the next setting of the stream."""
        self.asked += 1
        return self.asked, next(self.stream)

    def goes_on(self, trial: int, rung: int, loss: float) -> bool:
        """Never stop a trial."""
        return True

    def tell(self, trial: int, loss: float, *, whole: bool) -> None:
        """Learn nothing."""


def uniform(shape: Sequence[int], seed: int) -> Chance:
    """Return uniform random search."""
    draw = np.random.default_rng(seed)

    def stream() -> Iterator[Places]:
        while True:
            yield tuple(int(draw.integers(size)) for size in shape)

    return Chance(stream=stream())


def sobol(shape: Sequence[int], seed: int) -> Chance:
    """Return scrambled Sobol points, each moved to its grid cell."""
    points = Sobol(len(shape), scramble=True, rng=seed)

    def stream() -> Iterator[Places]:
        while True:
            unit = points.random(1)[0].tolist()
            yield tuple(min(int(u * size), size - 1) for u, size in zip(unit, shape, strict=True))

    return Chance(stream=stream())


class Optuna:
    """An Optuna sampler and pruner on a grid; the ``known`` settings go first."""

    def __init__(
        self,
        shape: Sequence[int],
        sampler: Any,
        pruner: Any = None,
        known: Sequence[Places] = (),
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.halves = pruner is not None
        self._pruned = optuna.trial.TrialState.PRUNED
        self._study = optuna.create_study(
            sampler=sampler, pruner=pruner or optuna.pruners.NopPruner()
        )
        self._axes: dict[str, Any] = {
            str(axis): optuna.distributions.IntDistribution(0, size - 1)
            for axis, size in enumerate(shape)
        }
        self._trials: dict[int, Any] = {}
        for places in known:
            self._study.enqueue_trial(dict(zip(self._axes, places, strict=True)))

    def ask(self) -> tuple[int, Places]:
        """Return what the sampler proposes."""
        with unwarned():
            trial = self._study.ask(self._axes)
        self._trials[trial.number] = trial
        return trial.number, tuple(trial.params[axis] for axis in self._axes)

    def goes_on(self, trial: int, rung: int, loss: float) -> bool:
        """Ask the pruner; rung k has the resource ``eta**k``."""
        with unwarned():
            self._trials[trial].report(loss, ETA**rung)
            return not self._trials[trial].should_prune()

    def tell(self, trial: int, loss: float, *, whole: bool) -> None:
        """Tell the loss of a whole run; that of a diverged one is infinite."""
        state = None if whole else self._pruned
        with unwarned():
            self._study.tell(self._trials.pop(trial), loss if whole else None, state=state)
