"""SGD: stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.sgd import SGD as DIRECTION
from autotune.optimizers import check
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.scalars import Scalar


class SGD(RuleOptimizer):
    """Stochastic gradient descent with momentum.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate; it suits few models as it is.
        momentum: Decay of the gradients' sum, close to one.
        dampening: The share of each gradient but the first that is left out of the sum.
        weight_decay: Times the parameter: added to the gradient without acceleration,
            and Win's proximal decay with it.
        nesterov: Step along the gradient plus the sum, rather than along the sum.
        eps: Added to the global norm when gradients are clipped.
        acceleration: 'none', 'win' or 'win2'.
        reckless_steps: How many times longer Win's second and Win2's third sequence step.
        max_grad_norm: Gradients are clipped to this global norm, without being written; 0 is off.
        backend: 'auto' picks 'triton' on CUDA and ROCm and 'numba' on CPU where installed,
            else 'torch'.
        state_dtype: None keeps state in float32, or in float64 for float64 parameters;
            torch.bfloat16 keeps averages in half the memory, rounded at random and without bias.
        stochastic_rounding: Round bfloat16 parameters at random too, rather than to nearest.
        compact: Keep Win's extra sequences as bfloat16 differences from the parameter.
        capturable: Keep counters and the learning rate, as a tensor, on the device, so that a CUDA
            graph can hold a step; ``group["lr"].fill_(rate)`` changes the rate of its replays.
    """

    description = "Stochastic gradient descent with Nesterov momentum"
    spare = ("momentum",)
    space: ClassVar[Space] = {
        "lr": ("log", 1e-4, 5.0),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_momentum": ("log", 1e-2, 0.5),
        "warmup": ("linear", 0.0, 0.5),
    }
    presets: ClassVar[Presets] = (
        {"origin": "vision", "lr": 0.1, "weight_decay": 5e-4, "warmup": 0.1},
        {"origin": "large-step", "lr": 0.5, "weight_decay": 1e-4, "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = (
        {"origin": "authors-vision", "lr": 0.8, "weight_decay": 5e-4, "warmup": 0.1},
        {"origin": "vanilla", "lr": 0.1, "weight_decay": 5e-4, "warmup": 0.1},
    )

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = True,
        eps: float = 1e-8,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        max_grad_norm: float = 0.0,
        backend: str = "auto",
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        compact: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "eps": eps,
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

    def validate(self, group: Group) -> None:
        """Refuse a momentum or a dampening out of range."""
        super().validate(group)
        check.fraction("momentum", group["momentum"])
        check.fraction("dampening", group["dampening"])

    def direction(self, group: Group) -> Part:
        """Return momentum's direction."""
        return DIRECTION

    def decay(self, group: Group) -> float:
        """Return the weight decay under Win; without it the decay is in the gradient."""
        return 0.0 if group["acceleration"] == "none" else float(group["weight_decay"])

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, the shares kept and taken, and those of the gradient and the sum."""
        momentum = group["momentum"]
        l2 = float(group["weight_decay"]) - self.decay(group)
        shares = (0.0, 1.0) if fresh else (momentum, 1.0 - group["dampening"])
        ahead = (1.0, momentum) if group["nesterov"] else (0.0, 1.0)
        return (l2, *shares, *ahead)
