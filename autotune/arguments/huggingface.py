"""Words for scripts whose options are Hugging Face's ``TrainingArguments``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.arguments.parts import plain, refusal, refuse_unsaid, rising, text

HF = "Hugging Face's Trainer"


def words(optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> list[str]:
    """Write options of ``TrainingArguments``, which names AdamW alone of ours.

    Raises:
        SpecError: It is another optimizer, or AMSGrad.
    """
    left = plain(HF, optimizer, hyper, ("adamw",))
    if optimizer != "adamw":
        raise refusal(HF, optimizer, "search adamw")
    beta1, beta2 = left.pop("betas", (0.9, 0.999))
    found = {
        "optim": "adamw_torch",
        "learning_rate": left.pop("lr"),
        "weight_decay": left.pop("weight_decay", 0.0),
        "adam_beta1": beta1,
        "adam_beta2": beta2,
        "adam_epsilon": left.pop("eps", 1e-8),
        "max_grad_norm": left.pop("max_grad_norm", 0.0),  # its default is 1
        "lr_scheduler_type": "cosine",
        "warmup_steps": rising(warmup, steps),
        "max_steps": steps,
    }
    refuse_unsaid(HF, optimizer, left, {"amsgrad": False})
    return [word for name, value in found.items() for word in (f"--{name}", text(value))]
