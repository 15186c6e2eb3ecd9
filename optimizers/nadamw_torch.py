"""NAdam as torch has it: Adam with Nesterov momentum whose share grows over the run."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.decay import DECOUPLED, DESCENT
from autotune.kernels.rules.nadamw import NADAMW
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.momentum import momentum, product
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root


@documented
class NAdamWTorch(RuleOptimizer):
    """Torch's NAdam: Adam with Nesterov momentum whose share b1(t) grows over the run.

    AlgoPerf's NAdamW, which 'nadamw' computes, has no such schedule. With betas b1 and b2, the
    gradient g of the parameter p, and t counted from 1::

        b1(t) = b1 (1 - 0.96^(t momentum_decay) / 2)
        M(t) = b1(1) b1(2) ... b1(t)
        g = g + weight_decay p                          (only decay='coupled')
        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        n = (1 - b1(t)) / (1 - M(t)) g + b1(t+1) / (1 - M(t+1)) m
        u = n / (sqrt(v / (1 - b2^t)) + eps)
        p = (1 - lr weight_decay) p - lr u              (decay='coupled': p - lr u)

    {win}
    Here w is ``weight_decay``, or 0 where the decay is in the gradient.

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. Default: 2e-3.
        {betas}
        eps: Added to the root of v after bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Each step shrinks p by this share times lr, or adds this times p to g; at
            least 0. Default: 0.0.
        momentum_decay: How fast b1(t) rises from b1 / 2 to b1; at least 0. Default: 4e-3.
        decay: 'decoupled', which is AdamW's; or 'coupled', an L2 term of the loss, as
            torch.optim.NAdam has it unless told otherwise. Default: 'decoupled'.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Dozat, Incorporating Nesterov Momentum into Adam, ICLR workshop 2016, as torch.optim.NAdam
        computes it; but M(t) is computed from the step, so b1 and ``momentum_decay`` count as if
        they had always been what they are, where torch keeps the product of what they were. Torch
        has no Win: the combination is this project's.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("nadamw-torch", model.parameters(), weight_decay=0.01)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> optimizer.param_groups[0]["momentum_decay"]
        0.004
    """

    description = "NAdam as torch has it, with a growing momentum"
    computed = ("mu_product",)
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 4e-3, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # What AdamW is tried with: nobody has published tuned points of this variant.
    presets: ClassVar[Presets] = (
        {
            "origin": "adamw-short-runs",
            "lr": 5e-3,
            "betas": (0.8, 0.99),
            "weight_decay": 2e-2,
            "warmup": 0.2,
        },
        {"origin": "vision", "lr": 1e-3, "weight_decay": 5e-2, "warmup": 0.1},
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        momentum_decay: float = 4e-3,
        decay: str = "decoupled",
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        max_grad_norm: float = 0.0,
        backend: str = "auto",
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        compact: bool = False,
        capturable: bool = False,
        **transforms: Unpack[Transforms],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decay": decay,
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
            transforms=transforms,
        )

    def validate(self, group: Group) -> None:
        """Refuse a momentum decay below 0, and an unknown decay."""
        super().validate(group)
        check.at_least_zero("momentum_decay", group["momentum_decay"])
        check.one_of("decay", group["decay"], ("decoupled", "coupled"))

    def direction(self, group: Group) -> Part:
        """Return NAdamW's direction."""
        return NADAMW

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay, or none, as the group has it."""
        return DECOUPLED if group["decay"] == "decoupled" else DESCENT

    def decay(self, group: Group) -> float:
        """Return the weight decay, or 0 where it is in the gradient."""
        return float(group["weight_decay"]) if group["decay"] == "decoupled" else 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, betas, shares of g and m, the root's correction, and ``eps``."""
        b1, b2 = group["betas"]
        rate = group["momentum_decay"]
        l2 = float(group["weight_decay"]) - self.decay(group)
        done, now = product(b1, rate, step), momentum(b1, rate, step)
        coming = momentum(b1, rate, step + 1)
        near, far = (1.0 - now) / (1.0 - done), coming / (1.0 - done * coming)
        c2 = root(debias(b2, step))
        return (l2, b1, 1.0 - b1, b2, 1.0 - b2, near, far, c2, group["eps"])
