"""Write a Trainer with the setting's optimizer and schedule; for transformers and its kin."""

from __future__ import annotations

from string import Template
from typing import Any

from autotune.export.header import lines
from autotune.export.python import docstring, entries, literal, rising
from autotune.export.run import OURS, run_of, terms
from autotune.results.tuned import Tuned

tables = True  # a schedule may be one
suffix = ".py"

FORM = "huggingface"
_FILE = Template('''\
"""$provenance

Use it in training, or mix Tuned into another Trainer, as TRL's SFTTrainer:

    args = TrainingArguments(output_dir="runs", **ARGUMENTS)
    trainer = TunedTrainer(model=model, args=args, train_dataset=data)
    trainer.train()
"""

from __future__ import annotations

from typing import Any

from autotune.integrations.huggingface import Tuned
from transformers import Trainer

OPTIMIZER = $optimizer
HYPER: dict[str, Any] = {
$hyper
}
$rising
# What TrainingArguments have to say besides; their own weight_decay and warmup_steps do nothing.
ARGUMENTS: dict[str, Any] = {
$arguments
}


class TunedTrainer(Tuned, Trainer):
    """The Trainer with the optimizer and the schedule that were found."""

    tuned_optimizer = OPTIMIZER
    tuned_hyper = HYPER
    $follows
''')


def render(tuned: Tuned) -> str:
    """Write a module with ``TunedTrainer`` and ``ARGUMENTS`` for ``TrainingArguments``."""
    run = run_of(tuned, FORM)
    arguments: dict[str, Any] = {
        "max_steps": run.steps,
        "learning_rate": tuned.hyper["lr"],
        "max_grad_norm": 0.0,
    }
    said = terms(
        run,
        undecayed=OURS,
        clip="by the optimizer, as in the search; max_grad_norm=0.0, whose default is 1",
    )
    return _FILE.substitute(
        provenance=docstring([*lines(tuned), *said]),
        optimizer=literal(tuned.optimizer),
        hyper=entries(tuned.hyper),
        rising=rising(tuned),
        follows="tuned_table = TABLE" if tuned.schedule.table else "tuned_warmup = WARMUP",
        arguments=entries(arguments),
    )
