"""Optuna searches an optimizer's space: presets first, and what diverges counts as infeasible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import optuna
from optuna.trial import TrialState

from autotune.errors import SpecError
from autotune.integrations.suggestion import Suggestion, of
from autotune.space.config import known, setting_at, space_of
from autotune.space.spaces import Choice, Parameter

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["Guard", "enqueue_presets", "guard", "sampler", "suggest"]

STEPS = "autotune_steps"  # attribute of a study: what its losses were measured after
DIVERGED = "diverged"  # name of the constraint, and of the attribute that says why


def sampler(*, seed: int | None = None) -> BaseSampler:
    """Return Optuna's TPE, which learns from infeasible trials too.

    It leaves running trials alone: those of processes that were killed stay running for ever, and
    keep Optuna's default from settings like theirs.

    Args:
        seed: Of its draws; None draws anew each time.
    """
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)


def enqueue_presets(
    study: optuna.Study, optimizer: str, *, steps: int, space: Mapping[str, Any] | None = None
) -> int:
    """Let a study try known settings first, the authors' recommendation leading.

    Called again, it adds none twice.

    Args:
        study: What ``optuna.create_study`` returned.
        optimizer: Name of the optimizer.
        steps: Optimizer steps of a run; a study compares runs of one length.
        space: What to fix, narrow or choose, by parameter, as in ``autotune.tune``.

    Returns:
        How many settings are known.

    Raises:
        SpecError: The study has runs of other steps, there is no such optimizer or parameter, or a
            range is empty.
    """
    whole = space_of(optimizer, space, steps)
    _same_steps(study, steps)
    found = known(optimizer, whole)
    for candidate in found:
        params = dict(candidate.setting.params)
        study.enqueue_trial(params, {"origin": candidate.origin}, skip_if_exists=True)
    return len(found)


def suggest(
    trial: optuna.trial.BaseTrial,
    optimizer: str,
    *,
    steps: int,
    space: Mapping[str, Any] | None = None,
) -> Suggestion:
    """Let a trial choose a setting in an optimizer's space.

    The trial's parameters are the space's coordinates: ``lr``, ``timescale`` (1 / (lr * weight
    decay), in steps), ``one_minus_beta1`` and so on. All are chosen in every trial.

    Args:
        trial: The argument of an objective, or a ``FixedTrial`` of ``study.best_params``.
        optimizer: Name of the optimizer.
        steps: Optimizer steps of a run; a study compares runs of one length.
        space: What to fix, narrow or choose, by parameter, as in ``autotune.tune``.

    Returns:
        The setting, which unpacks into ``(hyper, warmup)``.

    Raises:
        SpecError: The study has runs of other steps, there is no such optimizer or parameter, or a
            range is empty.

    Example:
        >>> import optuna
        >>> from autotune.integrations.optuna import suggest
        >>> trial = optuna.create_study().ask()
        >>> hyper, warmup = suggest(trial, "adan", steps=500, space={"lr": 1e-3})
        >>> hyper["lr"], len(hyper["betas"])
        (0.001, 3)
    """
    whole = space_of(optimizer, space, steps)
    if isinstance(trial, optuna.Trial):
        _same_steps(trial.study, steps)
    params = {name: _chosen(trial, name, parameter) for name, parameter in whole.parameters.items()}
    return of(optimizer, setting_at(optimizer, params, whole), steps)


def _chosen(trial: optuna.trial.BaseTrial, name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.options)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)


def _same_steps(study: optuna.Study, steps: int) -> None:
    """Refuse to compare losses after different numbers of steps."""
    before = study.user_attrs.get(STEPS)
    if before is None:
        study.set_user_attr(STEPS, steps)
    elif before != steps:
        raise SpecError(
            f"study '{study.study_name}' has runs of {before} steps, whose losses do not compare "
            f"with those after {steps}; give another study"
        )


def guard(trial: optuna.trial.BaseTrial) -> Guard:
    """Return what takes a trial's losses, and tells Optuna of pruning and divergence.

    A failed trial teaches Optuna's samplers nothing: they go on proposing what diverges. So a loss
    that is not finite, and an exception that says so or that memory is missing, make the trial
    infeasible, with the worst finite loss of the study; where there is none yet, it is pruned. Any
    other exception passes.

    Args:
        trial: The argument of an objective.

    Raises:
        SpecError: The study has several objectives, or maximises one.

    Example:
        >>> def objective(trial):
        ...     adan = suggest(trial, "adan", steps=500)
        ...     with guard(trial) as run:
        ...         for step, loss in train(adan):
        ...             if not run.report(step, loss):
        ...                 break
        ...     return run.loss
    """
    return Guard(trial)


class Guard:
    """The losses of one trial; a context manager."""

    def __init__(self, trial: optuna.trial.BaseTrial) -> None:
        self._trial = trial
        self._study = trial.study if isinstance(trial, optuna.Trial) else None
        self._losses: dict[int, float] = {}
        self._why: str | None = None  # it is infeasible
        self._pruned = False
        self._loss: float | None = None
        if self._study is not None:
            _check_minimised(self._study)

    @property
    def loss(self) -> float:
        """What the objective returns: the last loss, or the study's worst if the trial diverged.

        Raises:
            SpecError: The ``with`` block has not ended, or no loss was reported in it.
        """
        if self._loss is None:
            raise SpecError("the loss is known after the with block of guard(trial)")
        return self._loss

    def report(self, step: int, loss: float, accuracy: float | None = None) -> bool:
        """Take a measurement; return whether to train on.

        Args:
            step: Optimizer steps done.
            loss: On validation data.
            accuracy: A fraction, kept as an attribute of the trial.
        """
        if not math.isfinite(loss):
            self._why = f"loss {loss} at step {step}"
            return False
        self._losses[step] = float(loss)
        self._trial.report(float(loss), step)
        if accuracy is not None:
            self._trial.set_user_attr("accuracy", float(accuracy))
        self._pruned = not self._ended(step) and self._trial.should_prune()
        return not self._pruned

    def _ended(self, step: int) -> bool:
        """Return whether this is the last step: nothing is saved by pruning there."""
        steps = self._study.user_attrs.get(STEPS, math.inf) if self._study else math.inf
        return step >= steps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Say how the trial ended; keep back an exception that says that it diverged."""
        if error is not None and not isinstance(error, optuna.TrialPruned):
            self._why = _divergence(error)
            if self._why is None:
                return False
        self._trial.set_constraint(DIVERGED, -1.0 if self._why is None else 1.0)
        if self._why is not None:
            self._infeasible(self._why)
            return True
        if self._pruned:
            raise optuna.TrialPruned(f"pruned at step {max(self._losses)}")
        if error is None:
            self._loss = self._last()
        return False

    def _infeasible(self, why: str) -> None:
        self._trial.set_user_attr(DIVERGED, why)
        losses = [*self._losses.values(), *_finite(self._study)]
        if not losses:
            raise optuna.TrialPruned(why)
        self._loss = max(losses)

    def _last(self) -> float:
        if not self._losses:
            raise SpecError(
                "no loss was reported; call report(step, loss) in the with block of guard(trial)"
            )
        return self._losses[max(self._losses)]


def _check_minimised(study: optuna.Study) -> None:
    if study.directions != [optuna.study.StudyDirection.MINIMIZE]:
        words = ", ".join(direction.name.lower() for direction in study.directions)
        raise SpecError(f"guard needs a study that minimises the loss alone, got one to {words}")


def _divergence(error: BaseException) -> str | None:
    """Return how an exception says that a setting cannot be trained, or None."""
    from autotune.training.verdict import describe, out_of_memory

    if isinstance(error, FloatingPointError | OverflowError):
        return describe(error)
    return f"out of memory: {describe(error)}" if out_of_memory(error) else None


def _finite(study: optuna.Study | None) -> list[float]:
    """Return the losses of a study's trials that ended."""
    if study is None:
        return []
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    values = [trial.value for trial in study.get_trials(deepcopy=False, states=ended)]
    return [value for value in values if value is not None and math.isfinite(value)]
