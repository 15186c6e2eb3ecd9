"""One step of a user's own task before a search is stored, so that mistakes are told at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from autotune.devices import CPU
from autotune.errors import SpecError
from autotune.tasks.base import Measurement
from autotune.tasks.mistakes import telling
from autotune.tasks.training import Objective, read

SLACK = 1e-6  # rounding of a mean


def rehearse(
    text: str, model: nn.Module, objective: Objective, *, train: Any, validation: Any
) -> Measurement:
    """Compute loss and gradient of a training batch, and return what a validation batch gives.

    Args:
        text: What names the task: ``file.py:function``.
        model: One to throw away.
        objective: What is minimised.
        train: A training batch.
        validation: A validation batch.

    Raises:
        SpecError: One of them raised; its note is the traceback of the user's code.
    """
    with telling(f"the loss of {text}"):
        loss = objective.loss(model, train)
        if not loss.requires_grad:
            raise SpecError(
                f"the loss of {text} must depend on the model's parameters, got a number without "
                "a gradient; compute it from the model's output, without detach(), item() or "
                "gradients switched off"
            )
        loss.backward()  # type: ignore[no-untyped-call]
    model.eval()
    with torch.no_grad(), telling(f"measuring a validation batch of {text}"):
        [measured] = read([objective.measure(model, validation)], CPU)
        return measured


def refuse_percent(text: str, measured: Measurement | None) -> None:
    """Refuse an accuracy that is no fraction; raises SpecError."""
    right = None if measured is None else measured.accuracy
    if right is not None and not -SLACK <= right <= 1 + SLACK:
        hint = "" if math.isnan(right) else "; divide a percentage by 100"
        raise SpecError(
            f"the accuracy of {text} must be a fraction from 0 to 1, got {right:.4g}{hint}"
        )
