"""The interface of samplers, and an adapter for Optuna's samplers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from autotune.space.coordinates import Params
from autotune.space.spaces import Choice, Parameter, Space


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known about a setting.

    Args:
        params: Its coordinates.
        loss: At the step that all observations share; None if it diverged.
        reached: The last step at which it was measured.
        reached_loss: The loss at that step.
        doubt: Variance of the loss; above 0 if the loss is a forecast.
    """

    params: Params
    loss: float | None
    reached: int = 0
    reached_loss: float | None = None
    doubt: float = 0.0


class Sampler(Protocol):
    """Proposes the next point of a space."""

    def __call__(
        self, space: Space, observed: Sequence[Observation], *, index: int, seed: int
    ) -> Params:
        """Return coordinates for proposal ``index`` (from 0, presets not counted).

        ``observed`` is sorted by trial; all its losses were measured at the same step. ``seed`` is
        the study's. The result depends only on the arguments.
        """


def optuna_distribution(parameter: Parameter) -> Any:
    """Return Optuna's distribution of a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.options)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence Optuna's warnings about infinite losses and experimental features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def ask(sampler: Any, space: Space, observed: Sequence[Observation]) -> Params:
    """Return what an Optuna sampler proposes after ``observed``.

    A diverged trial counts as the worst loss seen and as a violated constraint. If it were told as
    failed, samplers would ignore it and go on proposing settings that diverge (measured).
    """
    import optuna

    study, distributions = _study(sampler, space)
    study.add_trials(
        [
            optuna.create_trial(
                params=dict(seen.params),
                distributions=distributions,
                value=loss,
                constraints={"diverged": 1.0 if seen.loss is None else -1.0},
            )
            for seen, loss in _with_losses(observed)
        ]
    )
    return dict(study.ask(fixed_distributions=distributions).params)


def replay(sampler: Any, space: Space, observed: Sequence[Observation], blank: int = 0) -> Params:
    """Return what an Optuna sampler proposes that keeps state about its own proposals.

    Everything observed is replayed as if it had proposed it, then ``blank`` proposals are drawn
    and thrown away.
    """
    study, distributions = _study(sampler, space)
    for seen, loss in _with_losses(observed):
        study.enqueue_trial(dict(seen.params))
        trial = study.ask(fixed_distributions=distributions)
        trial.set_constraint("diverged", 1.0 if seen.loss is None else -1.0)
        study.tell(trial, loss)
    for _ in range(blank):
        study.ask(fixed_distributions=distributions)
    return dict(study.ask(fixed_distributions=distributions).params)


def _study(sampler: Any, space: Space) -> tuple[Any, dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    return study, {name: optuna_distribution(p) for name, p in space.parameters.items()}


def _with_losses(observed: Sequence[Observation]) -> list[tuple[Observation, float]]:
    """Pair observations with the losses to tell Optuna; nothing if all diverged."""
    losses = [seen.loss for seen in observed if seen.loss is not None]
    if not losses:
        return []  # a model cannot learn from them
    worst = max(losses)
    return [(seen, worst if seen.loss is None else seen.loss) for seen in observed]
