"""LAMB as its paper's third version has it: no bias correction, and a norm of at most 10."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.lamb import LAMB as DIRECTION
from autotune.kernels.rules.norms import CLAMPED
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.lamb import LAMB
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar


@documented
class LAMBv3(RuleOptimizer):
    """LAMB v3: its paper's third version, without bias correction, and with a clamped norm.

    'lamb' is what NVIDIA, timm and Win's authors made of a later version. With betas b1 and b2, the
    gradient g of the parameter p, and |p| the norm of one parameter tensor::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        u = m / (sqrt(v) + eps) + weight_decay p
        u = u min(|p|, clamp) / |u|            (not where |p| or |u| is 0)
        p = p - lr u

    {win}
    Here w is 0, as the decay is in u.

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v, at least 0, so that nothing is divided by 0. Default: 1e-6.
        weight_decay: Times p, added to u before it is scaled; at least 0. Default: 0.0.
        clamp: The largest |p| that counts, at least 0. Default: 10.0.
        adam: Leave u as it is: Adam without bias correction. Default: False.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        You et al., arXiv:1904.00962v3. Its clamp of 10 and its switch ``adam`` are those of the
        port that is used most, github.com/cybertronai/pytorch-lamb. It has no Win: the combination
        is this project's.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("lamb-v3", model.parameters(), lr=8e-3, weight_decay=0.01)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[model.weight])
        ['exp_avg', 'exp_avg_sq', 'step']
    """

    description = "LAMB of its paper's third version, without bias correction"
    layerwise = True
    space: ClassVar[Space] = LAMB.space
    presets: ClassVar[Presets] = LAMB.presets
    win_presets: ClassVar[Presets] = LAMB.presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        clamp: float = 10.0,
        adam: bool = False,
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
            "clamp": clamp,
            "adam": adam,
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
        """Refuse a negative clamp, and an ``adam`` that is no switch."""
        super().validate(group)
        check.at_least_zero("clamp", group["clamp"])
        check.switch("adam", group["adam"])

    def direction(self, group: Group) -> Part:
        """Return LAMB's direction."""
        return DIRECTION

    def shaping(self, group: Group) -> Shaping | None:
        """Return the trust ratio of a clamped norm; None for Adam."""
        return None if group["adam"] else CLAMPED

    def shaping_scalars(self, group: Group, step: Scalar, lr: Scalar) -> tuple[Scalar, ...]:
        """Return the largest norm that counts; the ratio has no limit."""
        return group["clamp"], math.inf

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the direction."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the weight decay, and Adam's scalars without bias correction."""
        b1, b2 = group["betas"]
        decay = float(group["weight_decay"])
        return decay, 0.0, b1, 1.0 - b1, b2, 1.0 - b2, 1.0, 1.0, group["eps"]
