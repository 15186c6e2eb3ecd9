"""Write options for kohya's sd-scripts as a file that a shell sources; Win as well."""

from __future__ import annotations

from autotune.arguments.kohya import length, optimizer_words
from autotune.arguments.parts import text
from autotune.export.comment import comment
from autotune.export.instances import SCHEDULE
from autotune.export.run import complete, in_one_group, run_of, terms, warned
from autotune.export.words import NAME, array
from autotune.results.tuned import Tuned

suffix = ".sh"

FORM = "kohya"
_USAGE = f"""\
Use it in training: source FILE; accelerate launch train_network.py "${{{NAME}[@]}}" ...
"""
_DECAYED = "kohya's scripts decay all that they train, biases and norms too"
_PROCESSES = "accelerate steps the schedule once for each process: on several, it ends early"


def render(tuned: Tuned) -> str:
    """Write the array ``AUTOTUNE``: our class, its arguments and the search's schedule."""
    run = run_of(tuned, FORM)
    in_one_group(tuned, FORM)
    told = [
        *optimizer_words(tuned.optimizer, complete(tuned)),
        # Their own cosine begins at rate 0; with a class of one's own they refuse lr_warmup_steps.
        *("--lr_scheduler_type", SCHEDULE),
        *("--lr_scheduler_args", f"steps={run.steps}", f"warmup={text(tuned.warmup)}"),
        *length(run.steps),
    ]
    said = terms(
        run,
        undecayed="nothing",
        clip="by the optimizer, as in the search; --max_grad_norm 0, whose default is 1",
    )
    return comment(warned(tuned, _DECAYED, _PROCESSES), _USAGE, said) + array(told)
