"""LAMB: Adam's direction scaled to the size of each parameter (arXiv:1904.00962)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.lamb import LAMB as DIRECTION
from autotune.kernels.rule import Part
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.scalars import Scalar, debias, root


class LAMB(RuleOptimizer):
    """Layer-wise adaptive moments.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decays, close to one, of the gradient and of its square.
        eps: Added to the denominator, after bias correction.
        weight_decay: Times the parameter, added to Adam's update before it is scaled.
        bias_correction: Divide the averages by what they lack in the first steps.
        grad_averaging: Take ``1 - betas[0]`` of each gradient, rather than all of it.
        trust_clip: Let a layer's ratio be at most 1.
        always_adapt: Scale by the ratio without weight decay too.
        acceleration: 'none', 'win' or 'win2'.
        reckless_steps: How many times longer Win's second and Win2's third sequence step.
        max_grad_norm: Gradients are clipped to this global norm, without being written; 0 is off
            (the authors' code then drops every gradient).
        backend: 'auto' picks 'triton' on CUDA and ROCm and 'numba' on CPU where installed,
            else 'torch'.
        state_dtype: None keeps state in float32, or in float64 for float64 parameters;
            torch.bfloat16 keeps averages in half the memory, rounded at random and without bias.
        stochastic_rounding: Round bfloat16 parameters at random too, rather than to nearest.
        compact: Keep Win's extra sequences as bfloat16 differences from the parameter.
        capturable: Keep counters and the learning rate, as a tensor, on the device, so that a CUDA
            graph can hold a step; ``group["lr"].fill_(rate)`` changes the rate of its replays.
    """

    description = "Layer-wise adaptive moments, for large batches"
    shared_clock = True
    space: ClassVar[Space] = {
        "lr": ("log", 1e-4, 5e-2),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.3),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    presets: ClassVar[Presets] = (
        {"origin": "vision", "lr": 8e-3, "weight_decay": 2e-2, "warmup": 0.1},
        {"origin": "large-step", "lr": 2e-2, "weight_decay": 2e-2, "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = (
        {"origin": "authors-resnet", "lr": 8e-3, "weight_decay": 1e-2, "warmup": 0.1},
        {"origin": "authors-vit", "lr": 5e-3, "weight_decay": 2e-2, "warmup": 0.2},
    )

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        bias_correction: bool = True,
        grad_averaging: bool = True,
        trust_clip: bool = False,
        always_adapt: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        max_grad_norm: float = 1.0,
        backend: str = "auto",
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        compact: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
            "grad_averaging": grad_averaging,
            "trust_clip": trust_clip,
            "always_adapt": always_adapt,
            "acceleration": acceleration,
            "reckless_steps": reckless_steps,
        }
        super().__init__(
            params,
            defaults,
            max_grad_norm=max_grad_norm,
            backend=backend,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            compact=compact,
            capturable=capturable,
        )

    def direction(self, group: Group) -> Part:
        """Return LAMB's direction."""
        return DIRECTION

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the direction."""
        return 0.0

    def trust_limit(self, group: Group) -> float | None:
        """Return None where the authors do not adapt: without decay, unless asked to."""
        if not group["weight_decay"] and not group["always_adapt"]:
            return None
        return 1.0 if group["trust_clip"] else math.inf

    def clip_eps(self) -> float:
        """Return 0: LAMB divides by the norm itself."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the weight decay, then Adam's scalars as the switches have them."""
        b1, b2 = group["betas"]
        take = 1.0 - b1 if group["grad_averaging"] else 1.0
        c1, c2 = 1.0, 1.0
        if group["bias_correction"]:
            c1, c2 = debias(b1, step), root(debias(b2, step))
        decay = float(group["weight_decay"])
        return decay, 0.0, b1, take, b2, 1.0 - b2, c1, c2, group["eps"]
