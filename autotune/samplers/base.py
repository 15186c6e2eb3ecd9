"""The one seam of samplers, and the way into it for any sampler of Optuna's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotune.spaces import Choice, Parameter, Params, Space


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known of a setting.

    Args:
        params: Its coordinates.
        loss: At the step that all observations share; None when it diverged.
        reached: The longest step at which it was measured.
        reached_loss: There.
    """

    params: Params
    loss: float | None
    reached: int = 0
    reached_loss: float | None = None


class Sampler(Protocol):
    """Proposes where to look next."""

    def __call__(
        self, space: Space, observed: Sequence[Observation], *, index: int, seed: int
    ) -> Params:
        """Return coordinates for proposal ``index`` (from 0, presets not counted).

        ``observed`` is sorted by trial; all its losses were measured at the same step. ``seed`` is
        the study's. The answer depends on nothing but the arguments.
        """


def optuna_distribution(parameter: Parameter) -> Any:
    """Return Optuna's distribution of a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.options)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def ask(sampler: Any, space: Space, observed: Sequence[Observation]) -> Params:
    """Return what one of Optuna's samplers proposes after ``observed``.

    A diverged trial counts as the worst loss seen and as a violated constraint: samplers ignore
    trials told as failed and go on proposing beside the cliff (measured; DESIGN 6).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    distributions = {name: optuna_distribution(p) for name, p in space.parameters.items()}
    losses = [seen.loss for seen in observed if seen.loss is not None]
    if not losses:
        observed = []  # where everything diverged, a model has nothing to tell apart
    worst = max(losses, default=0.0)
    study.add_trials(
        [
            optuna.create_trial(
                params=dict(seen.params),
                distributions=distributions,
                value=worst if seen.loss is None else seen.loss,
                constraints={"diverged": 1.0 if seen.loss is None else -1.0},
            )
            for seen in observed
        ]
    )
    return dict(study.ask(fixed_distributions=distributions).params)
