"""Write a configuration that nanoGPT's train.py executes; it has AdamW alone."""

from __future__ import annotations

from typing import Any

from autotune.arguments.parts import clipped, plain, refusal, refuse_unsaid
from autotune.errors import SpecError
from autotune.export.comment import comment
from autotune.export.python import literal
from autotune.export.run import complete, run_of, terms
from autotune.results.tuned import Tuned

suffix = ".py"

FORM = "nanogpt"
NANOGPT = "nanoGPT"
_USAGE = """\
Use it in training: python train.py FILE. Choose batch_size, gradient_accumulation_steps and
block_size for the batch below.
"""
_EPS = 1e-8  # what its AdamW has, which no key says


def render(tuned: Tuned) -> str:
    """Write nanoGPT's own keys, each in the type of its default.

    Raises:
        SpecError: It is another optimizer than AdamW, or has what nanoGPT has no key for.
    """
    run = run_of(tuned, FORM)
    left = plain(NANOGPT, tuned.optimizer, complete(tuned), ("adamw",))
    if tuned.optimizer != "adamw":
        raise refusal(NANOGPT, tuned.optimizer, "search adamw")
    if run.rising >= run.steps:
        raise SpecError("nanoGPT needs a step after the warm-up, got a warm-up of the whole run")
    beta1, beta2 = left.pop("betas", (0.9, 0.999))
    norm = clipped(left)
    left.pop("max_grad_norm", None)
    keys: dict[str, Any] = {
        "learning_rate": float(left.pop("lr")),
        "weight_decay": float(left.pop("weight_decay", 0.0)),
        "beta1": float(beta1),
        "beta2": float(beta2),
        "grad_clip": norm,
        "decay_lr": True,
        "warmup_iters": run.rising,
        "lr_decay_iters": run.steps,
        "max_iters": run.steps - 1,  # it takes one step more
        "min_lr": 0.0,
    }
    refuse_unsaid(NANOGPT, tuned.optimizer, left, {"amsgrad": False, "eps": _EPS})
    said = terms(
        run,
        undecayed="parameters with dim < 2, by nanoGPT",
        clip=f"all gradients at norm {norm}, by nanoGPT" if norm else "none (grad_clip = 0.0)",
    )
    body = "".join(f"{name} = {literal(value)}\n" for name, value in keys.items())
    return comment(tuned, _USAGE, said) + body
