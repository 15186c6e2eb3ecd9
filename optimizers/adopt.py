"""ADOPT: Adam that converges with any second beta (arXiv:2411.02853)."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.adopt import ADOPT as DIRECTION
from autotune.kernels.rules.decay import DECOUPLED
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar


@documented
class ADOPT(RuleOptimizer):
    """ADOPT: divide each gradient by the root mean square of those before it, then average.

    With betas b1 and b2, the gradient g of the parameter p, and t counted from 1::

        g = g + weight_decay p                 (decay='coupled')
        n = g / max(sqrt(v), eps)
        n = n within -c and c, where c = (t - 1)^clip_exponent
        m = b1 m + (1 - b1) n
        p = (1 - lr weight_decay) p - lr m     (decay='decoupled')
        v = b2 v + (1 - b2) g^2

    The first gradient of a parameter only becomes v = g^2: the parameter stays.

    {win}
    Here w is ``weight_decay``, or 0 with decay='coupled'.

    Args:
        {params}
        {lr}
        betas: How much of m and of v a step keeps: 2 numbers in [0, 1), usually close to 1.
            Default: (0.9, 0.9999).
        eps: Smallest root of v that gradients are divided by, at least 0. Default: 1e-6.
        weight_decay: How much parameters shrink, as ``decay`` has it; at least 0. Default: 0.0.
        decay: 'decoupled' shrinks p by this share times lr, 'coupled', the default of the authors'
            code, adds it times p to the gradient. Default: 'decoupled'.
        clip_exponent: How fast the bound of n grows, at least 0; None sets no bound, as the paper's
            first version. timm's default is 0.333. Default: 0.25.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Taniguchi et al., arXiv:2411.02853, Algorithm 2, whose bound is (t - 1)^(1/4); recordings
        of timm's Adopt are followed.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers.adopt import ADOPT
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = ADOPT([p], lr=0.1)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     p.square().sum().backward()
        ...     optimizer.step()
        >>> p.detach()
        tensor([0.9900])
    """

    description = "Adam that divides by the gradients before, and then averages"
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.5),
        "one_minus_beta2": ("log", 1e-5, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 3e-3, "weight_decay": 5e-2, "warmup": 0.2},
        {
            "origin": "short-memory",
            "lr": 3e-3,
            "betas": (0.9, 0.99),
            "weight_decay": 5e-2,
            "warmup": 0.2,
        },
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        decay: str = "decoupled",
        clip_exponent: float | None = 0.25,
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
            "decay": decay,
            "clip_exponent": clip_exponent,
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
        """Refuse an unknown decay, and an exponent that is negative."""
        super().validate(group)
        check.one_of("decay", group["decay"], ("decoupled", "coupled"))
        if group["clip_exponent"] is not None:
            check.at_least_zero("clip_exponent", group["clip_exponent"])

    def direction(self, group: Group) -> Part:
        """Return ADOPT's direction."""
        return DIRECTION

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def decay(self, group: Group) -> float:
        """Return the weight decay, or 0 if it is in the gradient."""
        return 0.0 if group["decay"] == "coupled" else float(group["weight_decay"])

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, the shares of the averages, and the bound.

        The first step keeps the square alone, and its update undoes what the application decays.
        """
        outside, eps = self.decay(group), group["eps"]
        l2 = float(group["weight_decay"]) - outside
        if fresh:
            return l2, 0.0, 0.0, 0.0, 1.0, 0.0, eps, -outside
        b1, b2 = group["betas"]
        exponent = group["clip_exponent"]
        bound = math.inf if exponent is None else (step - 1.0) ** exponent
        return l2, b1, 1.0 - b1, b2, 1.0 - b2, bound, eps, 0.0
