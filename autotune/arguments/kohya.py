"""Words for kohya's sd-scripts, which import an optimizer by its class: ours, Win as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.arguments.parts import averages, literal, rising, text
from autotune.optimizers.registry import importable, schedule


def words(optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> list[str]:
    """Write kohya's options; clipping is left to the optimizer, which was tuned with it."""
    if schedule(optimizer) == "constant":  # it saves the model without asking such an optimizer
        raise averages("kohya", optimizer)
    return [
        *optimizer_words(optimizer, hyper),
        *("--lr_scheduler", "cosine", "--lr_warmup_steps", text(rising(warmup, steps))),
        *length(steps),
    ]


def optimizer_words(optimizer: str, hyper: Mapping[str, Any]) -> list[str]:
    """Return the options that name the optimizer's class and its arguments."""
    arguments = {name: value for name, value in hyper.items() if name != "lr"}
    return [
        *("--optimizer_type", importable(optimizer)),
        *("--learning_rate", text(hyper["lr"])),
        *("--optimizer_args", *(f"{name}={literal(each)}" for name, each in arguments.items())),
    ]


def length(steps: int) -> list[str]:
    """Return the options for the steps, without clipping."""
    return ["--max_train_steps", text(steps), "--max_grad_norm", "0"]
