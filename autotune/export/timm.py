"""Write a configuration, which counts epochs; for timm's train.py."""

from __future__ import annotations

import math
from typing import Any

from autotune.arguments.parts import clipped
from autotune.arguments.timm import options
from autotune.export.comment import comment
from autotune.export.run import Run, complete, per_epoch, run_of, terms, warned, whole_epochs
from autotune.export.yaml import dumped
from autotune.results.tuned import Tuned

suffix = ".yaml"

FORM = "timm"
_USAGE = """\
Use it in training: train.py -c FILE --data-dir DATA --model MODEL. With other data, or another
batch, an epoch has other steps: export it again.
"""


def render(tuned: Tuned) -> str:
    """Write timm's own keys; the schedule is stepped each update.

    Raises:
        SpecError: timm does not have the optimizer, the steps of an epoch are not recorded, or the
            run is not of whole epochs.
    """
    run, updates = run_of(tuned, FORM), per_epoch(tuned, FORM)
    keys = options(tuned.optimizer, complete(tuned))
    epochs = whole_epochs(run, updates, FORM)
    norm = clipped(tuned.hyper)
    said = terms(
        run,
        undecayed="parameters with ndim <= 1 and what the model's no_weight_decay() names, by timm",
        counts=f"epochs of {updates} updates, and is stepped each update (sched_on_updates)",
        clip=f"all gradients at norm {norm}, by train.py" if norm else "none",
    )
    doubts = [] if run.rising % updates == 0 else [_lower(run)]
    document = {**keys, **_schedule(float(keys["lr"]), run, updates, epochs), **_batch(run)}
    return comment(warned(tuned, *doubts), _USAGE, said) + dumped(document)


def _schedule(lr: float, run: Run, updates: int, epochs: int) -> dict[str, Any]:
    """Return the schedule, the search's exactly where the warm-up is of whole epochs.

    With ``warmup_prefix`` timm's cosine begins after the warm-up, as ours. Its epochs then have to
    be whole numbers, or train.py cannot count them.
    """
    apart = run.rising % updates == 0
    rising = run.rising // updates if apart else run.rising / updates
    return {
        "sched": "cosine",
        "sched_on_updates": True,
        "epochs": epochs - rising if apart else epochs,
        "warmup_epochs": rising,
        "warmup_prefix": apart,
        "warmup_lr": lr / (run.rising + 1),
        "min_lr": 0.0,
        "cooldown_epochs": 0,
    }


def _lower(run: Run) -> str:
    start = 0.5 * (1 + math.cos(math.pi * run.rising / run.steps))
    return (
        f"a warm-up of {run.rising} steps is no whole number of epochs: timm's cosine then runs "
        f"from the first step, so that after the warm-up lr is {start:.3f} of the peak, not 1"
    )


def _batch(run: Run) -> dict[str, Any]:
    return {} if run.batch is None else {"batch_size": run.batch}
