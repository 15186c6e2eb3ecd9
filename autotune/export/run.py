"""The run that a setting is exported for, and what a file says of it besides the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotune.arguments.parts import rising
from autotune.errors import SpecError
from autotune.optimizers import forms
from autotune.optimizers.base import RuleOptimizer
from autotune.optimizers.controllers import wanted
from autotune.optimizers.options import LOOKAHEAD
from autotune.optimizers.registry import is_foreign, resolve, second_order
from autotune.results.tuned import Tuned

OURS = "parameters with ndim <= 1 and what the model's no_weight_decay() names, as in the search"
BY_OPTIMIZER = "by the optimizer, as in the search; the trainer's own is off"
_TOLD = ("huggingface",)  # trainers that call the optimizer's eval() and train() themselves


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, counted in optimizer steps.

    Args:
        steps: Of the whole schedule.
        rising: Of the warm-up.
        batch: Samples of a step; None where they are not recorded.
        table: Whether lr follows a table instead of warm-up and cosine.
    """

    steps: int
    rising: int
    batch: int | None
    table: bool = False

    @property
    def first(self) -> str:
        """What the first step's rate is, by the search's schedule."""
        if self.table:
            return "lr x the table's first value"
        if not self.rising:
            return "lr, as there is no warm-up"
        return f"lr / {self.rising + 1}, as in the search"


def run_of(tuned: Tuned, form: str) -> Run:
    """Return the run a setting is for: the target's where there is one, else the search's.

    Args:
        tuned: The record.
        form: Name of the export, for the sentence.

    Raises:
        SpecError: Its steps are not recorded, or a trainer of its own cannot train so: the rate
            stays after the warm-up, or steps differentiate the gradients once more.
    """
    _check_trainable(tuned, form)
    steps = tuned.target.get("steps", tuned.tuned_on.get("steps"))
    if not isinstance(steps, int):
        raise SpecError(
            f"export '{form}' needs the steps of a run, which are not recorded; use --as torch, "
            "whose schedule is given them in the script"
        )
    batch = tuned.target.get("batch_size", tuned.tuned_on.get("batch_size"))
    table = bool(tuned.schedule.table)
    return Run(steps=steps, rising=rising(tuned.warmup, steps), batch=batch, table=table)


def _check_trainable(tuned: Tuned, form: str) -> None:
    if tuned.schedule.type not in {"cosine", "table"}:
        raise SpecError(
            f"export '{form}' has a cosine and no average of weights, and {tuned.optimizer} trains "
            f"at a {tuned.schedule.type} rate and measures an average; use --as torch"
        )
    if looks_ahead(tuned) and form not in _TOLD:
        raise SpecError(
            f"export '{form}' measures and saves the weights as they are, and {tuned.optimizer} "
            f"puts in those to measure by optimizer.eval(); use --as torch or {' or '.join(_TOLD)}"
        )
    if second_order(tuned.optimizer):
        raise SpecError(
            f"export '{form}' leaves the gradients to the trainer, and {tuned.optimizer} has to "
            "compute them itself, by optimizer.backward(loss); use --as torch"
        )


def looks_ahead(tuned: Tuned) -> bool:
    """Tell whether a setting takes gradients ahead of the weights that are measured."""
    return bool(tuned.hyper.get("acceleration") == LOOKAHEAD)


def in_one_group(tuned: Tuned, form: str) -> None:
    """Refuse an optimizer whose groups differ in more than decay, as Muon's; raises SpecError."""
    if is_foreign(tuned.optimizer):
        return
    kinds = resolve(tuned.optimizer)[0].__mro__
    if any("split" in vars(kind) for kind in kinds[: kinds.index(RuleOptimizer)]):
        raise SpecError(
            f"export '{form}' hands over parameters without saying which are matrices of layers, "
            f"and {tuned.optimizer} has to know; use --as torch"
        )


def per_epoch(tuned: Tuned, form: str) -> int:
    """Return the steps of an epoch; raises SpecError where the record does not know them."""
    found = tuned.target.get("steps_per_epoch")
    if not isinstance(found, int):
        raise SpecError(
            f"export '{form}' counts epochs, and how many steps one has is not recorded; give "
            "--target-epochs and --target-samples"
        )
    return found


def whole_epochs(run: Run, updates: int, form: str) -> int:
    """Return the epochs of a run; raises SpecError where they are no whole number."""
    if run.steps % updates:
        raise SpecError(
            f"export '{form}' needs whole epochs, of {updates} steps here, got a run of "
            f"{run.steps} steps; give whole --target-epochs"
        )
    return run.steps // updates


def complete(tuned: Tuned, controlled: bool = False) -> dict[str, Any]:
    """Return the arguments of a setting's class, with what its name says of its form.

    Args:
        tuned: The record.
        controlled: Whether those of a controller go along; else raises SpecError where it has one.
    """
    if not controlled:
        refuse_controlled(tuned)
    hyper = dict(tuned.hyper)
    if is_foreign(tuned.optimizer):
        return hyper
    return {**forms.arguments(resolve(tuned.optimizer)[1]), **hyper}


def refuse_controlled(tuned: Tuned) -> None:
    """Refuse a setting with a controller, which a class alone does not have; raises SpecError."""
    name = wanted(tuned.hyper)
    if name is not None:
        raise SpecError(
            f"{tuned.optimizer} was tuned with controller '{name}', which needs the model: "
            "autotune.optimizers.build has it; use --as torch, hydra, huggingface or json"
        )


def warned(tuned: Tuned, *doubts: str) -> Tuned:
    """Return the record with what this form cannot say among its warnings."""
    return replace(tuned, warnings=(*tuned.warnings, *doubts))


def terms(run: Run, **said: str) -> list[str]:
    """Return how a file is to be read: what is undecayed, the first step, what counts, the clip.

    Args:
        run: Whose steps and batch are said first.
        said: ``undecayed``, ``first``, ``counts`` and ``clip``, a phrase each.
    """
    batch = "not recorded" if run.batch is None else f"{run.batch} samples an optimizer step"
    words: Mapping[str, str] = {
        "here undecayed": said["undecayed"],
        "first step": said.get("first", run.first),
        "the schedule counts": said.get("counts", "optimizer steps"),
        "clipping": said.get("clip", BY_OPTIMIZER),
        "batch": batch,
    }
    rate = "lr by a table" if run.table else f"{run.rising} of them warm-up, then cosine to 0"
    return [
        f"run: {run.steps} optimizer steps, {rate}",
        *(f"{name}: {phrase}" for name, phrase in words.items()),
    ]
