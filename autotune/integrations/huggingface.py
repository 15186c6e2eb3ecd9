"""The Trainer of transformers: a callback that reports, our parameter groups and our schedule.

Three habits of it change what a setting means. It decays by ``TrainingArguments.weight_decay``,
whatever an optimizer's arguments say, and by the names of parameters: ``Factory`` gives it our
groups instead. Its own schedules begin at a rate of 0: ``scheduler`` gives it ours. It clips
gradients at norm 1 unless ``TrainingArguments(max_grad_norm=0.0)`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotune.integrations.building import Found, optimizer_of, scheduler
from autotune.integrations.reports import Planned, Report, Reporter

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["Callback", "Factory", "Tuned", "factory", "scheduler"]


class Callback(TrainerCallback):
    """Reports the validation loss of each evaluation, and stops the Trainer when told to.

    Args:
        report: Where to; None is the trial's, without a trial ``autotune.report``, which does
            nothing outside a search.
        trial: The Trainer then evaluates at its steps, whatever ``eval_strategy`` says.
        metric: The loss among what the Trainer measured.
        accuracy: The accuracy there, a fraction; it may be missing.

    Example:
        >>> trainer = Trainer(model, args, callbacks=[Callback()], ...)  # doctest: +SKIP
    """

    def __init__(
        self,
        report: Report | None = None,
        *,
        trial: Planned | None = None,
        metric: str = "eval_loss",
        accuracy: str = "eval_accuracy",
    ) -> None:
        self._reporter = Reporter(report, trial, metric)
        self._accuracy = accuracy

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Evaluate where the trial is to be measured."""
        if self._reporter.due(state.global_step):
            control.should_evaluate = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Report what was measured; on every rank, since all of them have to stop."""
        if not self._reporter.tell(state.global_step, metrics or {}, self._accuracy):
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Warn if nothing was reported."""
        self._reporter.check()


class Factory:
    """Makes the optimizer of the whole model, as ``optimizer_cls_and_kwargs`` allows.

    The Trainer hands a factory the model rather than groups of its own making; what comes out has
    our groups, and ``TrainingArguments.weight_decay`` has no effect.
    """

    def __call__(self, model: nn.Module, *, optimizer: str, **hyper: Any) -> Optimizer:
        """Return the optimizer for a model; parameters with ndim <= 1 are not decayed.

        Args:
            model: What is trained.
            optimizer: Name of the optimizer.
            hyper: Its keyword arguments.
        """
        return optimizer_of(model, optimizer, hyper)


def factory(found: Found) -> tuple[type[Factory], dict[str, Any]]:
    """Return what ``Trainer(optimizer_cls_and_kwargs=...)`` takes for a setting.

    Args:
        found: A trial, ``autotune.load(...).best``, or what another tuner chose.
    """
    return Factory, {"optimizer": found.optimizer, **found.hyper}


class Tuned:
    """Mixed into a Trainer, gives it a setting's optimizer, with our groups, and our schedule.

    The schedule is as long as the Trainer trains. ``TrainingArguments`` of weight decay, betas and
    warm-up have no effect; ``max_grad_norm`` has.

    Example:
        >>> class TunedTrainer(Tuned, Trainer):  # doctest: +SKIP
        ...     tuned_optimizer, tuned_hyper, tuned_warmup = "adan", {"lr": 1e-3}, 0.1
    """

    tuned_optimizer: str
    tuned_hyper: Mapping[str, Any]
    tuned_warmup: float = 0.0
    tuned_table: Sequence[float] = ()  # a refined schedule, instead of warm-up and cosine
    model: Any  # these are the Trainer's
    optimizer: Any
    lr_scheduler: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """Return the optimizer; parameters with ndim <= 1 are not decayed."""
        if self.optimizer is None:
            whole = self.model if model is None else model
            self.optimizer = optimizer_of(whole, self.tuned_optimizer, self.tuned_hyper)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule, whose first step is not at rate 0."""
        if self.lr_scheduler is None:
            given = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = scheduler(
                given, num_training_steps, self.tuned_warmup, self.tuned_table
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler
