"""Write options as a file that a shell sources; for open_clip's training."""

from __future__ import annotations

from autotune.arguments.openclip import words
from autotune.arguments.parts import clipped, text
from autotune.export.comment import comment
from autotune.export.run import complete, per_epoch, run_of, terms, warned, whole_epochs
from autotune.export.words import NAME, array
from autotune.results.tuned import Tuned

suffix = ".sh"

FORM = "openclip"
_USAGE = f"""\
Use it in training: source FILE; python -m open_clip_train.main "${{{NAME}[@]}}" ...
"""
_KWARGS = "open_clip 3.3.0 does not have --opt-kwargs, which this needs: use a later one"
_UNDECAYED = {
    "adamw": "parameters with ndim < 2, and those with bn, ln, bias or logit_scale in their names",
    "adan": "parameters with ndim <= 1 and what the model's no_weight_decay() names, by timm",
}


def render(tuned: Tuned) -> str:
    """Write the array ``AUTOTUNE``, in the words of ``autotune.arguments``.

    Raises:
        SpecError: open_clip does not have the optimizer, the steps of an epoch are not recorded, or
            the run is not of whole epochs.
    """
    run, updates = run_of(tuned, FORM), per_epoch(tuned, FORM)
    epochs = whole_epochs(run, updates, FORM)
    told = words(tuned.optimizer, complete(tuned), tuned.warmup, run.steps)
    norm = clipped(tuned.hyper)
    doubts = [_first(run.rising)] if run.rising else []
    doubts += [_KWARGS] if "--opt-kwargs" in told else []
    said = terms(
        run,
        undecayed=_UNDECAYED[tuned.optimizer],
        first=f"lr / {run.rising}" if run.rising else run.first,
        counts=f"optimizer steps; the run is {epochs} epochs of {updates}",
        clip=f"all gradients at norm {norm}, by open_clip" if norm else "none",
    )
    told += ["--epochs", text(epochs)]
    return comment(warned(tuned, *doubts), _USAGE, said) + array(told)


def _first(rising: int) -> str:
    return f"open_clip's warm-up has lr * k / {rising} at its k-th step, ours k / {rising + 1}"
