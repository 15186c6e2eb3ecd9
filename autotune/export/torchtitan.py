"""Write a module with torchtitan's configurations of optimizer and schedule; it has AdamW alone."""

from __future__ import annotations

from string import Template
from typing import Any

from autotune.arguments.parts import clipped, plain, refusal, refuse_unsaid
from autotune.export.header import lines
from autotune.export.python import docstring, entries
from autotune.export.run import complete, run_of, terms, warned
from autotune.results.tuned import Tuned

suffix = ".py"

FORM = "torchtitan"
NAME = "torchtitan"
UNDECAYED = r"norm|\.?bias$"  # one pattern, as torchtitan refuses those that match nothing
_FILE = Template('''\
"""$provenance

Use it in a function of the config registry:

    Trainer.Config(optimizer=optimizer(), lr_scheduler=schedule(), ...)

and give its training TRAINING.
"""

from __future__ import annotations

from typing import Any

from torchtitan.components.optimizer import (
    LRSchedulersContainer,
    OptimizersContainer,
    ParamGroupConfig,
)

UNDECAYED = $undecayed
HYPER: dict[str, Any] = {
$hyper
}
SCHEDULE: dict[str, Any] = {
$schedule
}
TRAINING: dict[str, Any] = {
$training
}


def optimizer() -> OptimizersContainer.Config:
    """Return two groups of AdamW, told apart by the names of parameters."""
    undecayed = {**HYPER, "weight_decay": 0.0}
    return OptimizersContainer.Config(
        param_groups=[
            ParamGroupConfig(
                pattern=UNDECAYED, optimizer_name="AdamW", optimizer_kwargs=undecayed
            ),
            ParamGroupConfig(pattern=".*", optimizer_name="AdamW", optimizer_kwargs=HYPER),
        ]
    )


def schedule() -> LRSchedulersContainer.Config:
    """Return the schedule: linear warm-up, then cosine."""
    return LRSchedulersContainer.Config(**SCHEDULE)
''')
_NAMES = "torchtitan tells parameters apart by name: with ndim <= 1 and without norm or bias in "
_NAMES += "their name, as a layer scale, they are decayed; add the name to UNDECAYED"


def render(tuned: Tuned) -> str:
    """Write ``optimizer()``, ``schedule()`` and ``TRAINING``.

    Raises:
        SpecError: It is another optimizer than AdamW.
    """
    run = run_of(tuned, FORM)
    left = plain(NAME, tuned.optimizer, complete(tuned), ("adamw",))
    if tuned.optimizer != "adamw":
        raise refusal(NAME, tuned.optimizer, "search adamw")
    norm = clipped(left)
    left.pop("max_grad_norm", None)
    names = ("lr", "betas", "eps", "weight_decay")
    hyper = {name: left.pop(name) for name in names if name in left}
    refuse_unsaid(NAME, tuned.optimizer, left, {"amsgrad": False})
    steep = f"torchtitan's warm-up has lr * k / {run.rising} at its k-th step, ours "
    steep += f"k / {run.rising + 1}"
    batch: dict[str, Any] = {} if run.batch is None else {"global_batch_size": run.batch}
    said = terms(
        run,
        undecayed="parameters with norm in their name, and biases",
        first=f"lr / {run.rising}" if run.rising else run.first,
        clip=f"all gradients at norm {norm}, by torchtitan" if norm else "none (a norm of 1e30)",
    )
    return _FILE.substitute(
        provenance=docstring([*lines(warned(tuned, _NAMES, *([steep] * bool(run.rising)))), *said]),
        undecayed=f'r"{UNDECAYED}"',
        hyper=entries(hyper),
        schedule=entries(
            {"warmup_steps": run.rising, "decay_type": "cosine", "min_lr_factor": 0.0}
        ),
        training=entries({"steps": run.steps, "max_norm": norm or 1e30, **batch}),
    )
