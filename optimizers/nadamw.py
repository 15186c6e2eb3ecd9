"""NAdamW as AlgoPerf has it: AdamW that looks ahead along the gradient."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.nadamw import NADAMW
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root


@documented
class NAdamW(RuleOptimizer):
    """NAdamW: AdamW that steps where its mean gradient will be after the same gradient again.

    This is the rule of AlgoPerf's baselines, of optax and of timm. ``torch.optim.NAdam`` is
    another, which 'nadamw-torch' computes. With betas b1 and b2, the gradient g of the parameter p,
    and t counted from 1::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        u = (b1 m + (1 - b1) g) / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
        p = (1 - lr weight_decay) p - lr u

    {win}
    Here w is ``weight_decay``.

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v after bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Each step shrinks p by this share times lr; at least 0. Default: 1e-2.
        {cautious}
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Dozat, Incorporating Nesterov Momentum into Adam, ICLR workshop 2016, without its schedule
        of momentum, as the baselines of AlgoPerf have it (github.com/mlcommons). They have no Win:
        the combination is this project's.
        {cautious_source}
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("nadamw", model.parameters(), lr=2e-3, weight_decay=0.08)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[model.weight])
        ['exp_avg', 'exp_avg_sq', 'step']
    """

    description = "AdamW with Nesterov's look ahead, as AlgoPerf has it"
    decoupled = True
    forms = ("win", "win2", "nema", "mars", "grokfast")
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 4e-3, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # The first is what AdamW is tried with, the others are points that AlgoPerf's submissions tuned
    # (github.com/mlcommons/submissions_algorithms): two over all workloads, one for its ResNet.
    presets: ClassVar[Presets] = (
        {
            "origin": "adamw-short-runs",
            "lr": 5e-3,
            "betas": (0.8, 0.99),
            "weight_decay": 2e-2,
            "warmup": 0.2,
        },
        {
            "origin": "algoperf",
            "lr": 1.91e-3,
            "betas": (0.9091, 0.9989),
            "weight_decay": 8.12e-2,
            "warmup": 0.1,
        },
        {
            "origin": "algoperf-v0.5",
            "lr": 1.749e-3,
            "betas": (0.9327, 0.9955),
            "weight_decay": 8.12e-2,
            "warmup": 0.02,
        },
        {
            "origin": "algoperf-resnet",
            "lr": 4.13e-3,
            "betas": (0.9922, 0.9966),
            "weight_decay": 5.37e-2,
            "warmup": 0.05,
        },
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        cautious: bool = False,
        cautious_decay: bool = False,
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
            "cautious": cautious,
            "cautious_decay": cautious_decay,
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

    def direction(self, group: Group) -> Part:
        """Return NAdamW's direction."""
        return NADAMW

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return an L2 term of 0, betas, shares of g and m, the root's correction, and ``eps``."""
        b1, b2 = group["betas"]
        c1, c2 = debias(b1, step), root(debias(b2, step))
        ahead = (1.0 - b1) / c1, b1 / c1
        return (0.0, b1, 1.0 - b1, b2, 1.0 - b2, *ahead, c2, group["eps"])
