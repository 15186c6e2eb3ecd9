"""Adam and AdamW: the same direction, with weight decay in the gradient or beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.adam import ADAM, AMSGRAD
from autotune.kernels.decay import DECOUPLED
from autotune.kernels.rule import Part
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.scalars import Scalar, debias, root

_SPACE: Space = {
    "lr": ("log", 3e-5, 0.1),
    "one_minus_beta1": ("log", 2e-2, 0.5),
    "one_minus_beta2": ("log", 1e-4, 0.1),
    "warmup": ("linear", 0.0, 0.5),
}
# Found in short runs of this project's own tasks (docs/method.md); rates are tested around it.
_SHORT_RUNS: Mapping[str, Any] = {
    "origin": "short-runs",
    "lr": 5e-3,
    "betas": (0.8, 0.99),
    "warmup": 0.2,
}


class Adam(RuleOptimizer):
    """Adam, where weight decay is an L2 term of the loss.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decays, close to one, of the gradient and of its square.
        eps: Added to the root of the mean square before its bias is corrected.
        weight_decay: Times the parameter, added to the gradient.
        amsgrad: Divide by the largest mean square so far.
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

    description = "Adam with L2 in the gradient"
    decoupled: ClassVar[bool | None] = False
    spare = ("max_exp_avg_sq",)
    # An L2 term under a preconditioner has no timescale, so it is not searched as one.
    space: ClassVar[Space] = _SPACE
    presets: ClassVar[Presets] = (
        _SHORT_RUNS,
        {"origin": "large-step", "lr": 3e-3, "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = (
        _SHORT_RUNS,
        {"origin": "authors-vision", "lr": 1e-3, "weight_decay": 1e-5, "warmup": 0.1},
        {"origin": "large-step", "lr": 3e-3, "warmup": 0.2},
    )

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        amsgrad: bool = False,
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
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
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
        """Return Adam's direction, with or without the running maximum."""
        return AMSGRAD if group["amsgrad"] else ADAM

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the gradient."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the decays, their corrections, and ``eps`` as if it were added before them."""
        b1, b2 = group["betas"]
        c1, c2 = debias(b1, step), root(debias(b2, step))
        return group["weight_decay"], b1, 1.0 - b1, b2, 1.0 - b2, c1, c2, group["eps"] / c2


class AdamW(Adam):
    """Adam with weight decay beside the gradient.

    The arguments are Adam's, but ``eps`` is added after bias correction, and ``weight_decay``
    shrinks the parameter: before the step, or when accelerated by Win's proximal step.
    """

    description = "Adam with decoupled weight decay"
    decoupled = True
    space: ClassVar[Space] = {
        **_SPACE,
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
    }
    presets: ClassVar[Presets] = (
        {**_SHORT_RUNS, "weight_decay": 2e-2},
        {"origin": "vision", "lr": 1e-3, "weight_decay": 5e-2, "warmup": 0.1},
        {
            "origin": "language",
            "lr": 1e-3,
            "betas": (0.9, 0.95),
            "weight_decay": 0.1,
            "warmup": 0.1,
        },
        {"origin": "large-step", "lr": 3e-3, "weight_decay": 5e-2, "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = (
        {**_SHORT_RUNS, "weight_decay": 2e-2},
        {"origin": "authors-vision", "lr": 2e-3, "weight_decay": 5e-2, "warmup": 0.1},
        {"origin": "authors-resnet50-win", "lr": 8e-3, "weight_decay": 5e-2, "warmup": 0.1},
        {"origin": "vanilla", "lr": 1e-3, "weight_decay": 5e-2, "warmup": 0.1},
    )

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        amsgrad: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        max_grad_norm: float = 0.0,
        backend: str = "auto",
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        compact: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad=amsgrad,
            acceleration=acceleration,
            reckless_steps=reckless_steps,
            max_grad_norm=max_grad_norm,
            backend=backend,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            compact=compact,
            capturable=capturable,
        )

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def decay(self, group: Group) -> float:
        """Return the weight decay."""
        return float(group["weight_decay"])

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the decays, their corrections and ``eps``; no L2 term."""
        b1, b2 = group["betas"]
        c1, c2 = debias(b1, step), root(debias(b2, step))
        return 0.0, b1, 1.0 - b1, b2, 1.0 - b2, c1, c2, group["eps"]
