"""Other ways to search: Optuna's samplers and pruners, and plain chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats.qmc import Sobol

from autotune.pruners.ladder import ETA
from autotune.samplers.base import unwarned

Places = tuple[int, ...]  # of a setting's values on the axes of a table


class Peer(Protocol):
    """Proposes settings, and hears what they did."""

    halves: bool  # whether it may stop a trial at a rung: else only whole runs are begun

    def ask(self) -> tuple[int, Places]:
        """Return the next trial's number and setting."""

    def goes_on(self, trial: int, rung: int, loss: float) -> bool:
        """Hear a loss short of the end; say whether the trial goes on."""

    def tell(self, trial: int, loss: float, *, whole: bool) -> None:
        """Hear how a trial ended."""


@dataclass(kw_only=True)
class Chance:
    """Settings from a stream, whatever they do."""

    halves = False
    stream: Iterator[Places]
    asked: int = -1

    def ask(self) -> tuple[int, Places]:
        """Return the next of the stream."""
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
    """Return scrambled Sobol points, each moved to its cell of the grid."""
    points = Sobol(len(shape), scramble=True, rng=seed)

    def stream() -> Iterator[Places]:
        while True:
            unit = points.random(1)[0].tolist()
            yield tuple(min(int(u * size), size - 1) for u, size in zip(unit, shape, strict=True))

    return Chance(stream=stream())


class Optuna:
    """One of Optuna's samplers, and one of its pruners, on whole numbers; ``known`` go first."""

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
        """Ask the pruner; a rung's resource is a power of eta, whatever its steps."""
        with unwarned():
            self._trials[trial].report(loss, ETA**rung)
            return not self._trials[trial].should_prune()

    def tell(self, trial: int, loss: float, *, whole: bool) -> None:
        """Tell a whole run's loss; a diverged one is told as infinite, the worst result."""
        state = None if whole else self._pruned
        with unwarned():
            self._study.tell(self._trials.pop(trial), loss if whole else None, state=state)
