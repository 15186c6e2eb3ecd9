"""diffGrad: Adam that is slowed where the gradient hardly changes (arXiv:1909.11015)."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.diffgrad import DIFFGRAD
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, later, root


@documented
class DiffGrad(RuleOptimizer):
    """DiffGrad: Adam's step, times 1/2 to 1, the less the gradient changes the less of it.

    With betas b1 and b2, the gradient g of the parameter p, the one before it (0 at first), and t
    counted from 1::

        g = g + weight_decay p
        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        f = 1 / (1 + exp(-|previous g - g|))
        u = f m / (1 - b1^t) * sqrt(1 - b2^t) / (sqrt(v) + eps)
        p = p - lr u

    f depends on the size of gradients: where they change by less than 0.01, it is 1/2 to within
    1 %, and a loss times 1000 is trained otherwise.

    {win}
    Here w is 0, as the decay is in the gradient.

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v before bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Times p, added to the gradient; at least 0. Default: 0.0.
        as_published: Let f be 1/2 after the first step. So the authors' first code computes it
            where gradients stay in one buffer, as in its published experiments. Default: False.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Dubey et al., arXiv:1909.11015, as in the authors' second version, diffGrad_v2.py of
        github.com/shivram1987/diffGrad: the paper has eps beside the corrected root.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers.diffgrad import DiffGrad
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = DiffGrad([p], lr=0.1)
        >>> p.square().sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[p])
        ['exp_avg', 'exp_avg_sq', 'previous_grad', 'step']
    """

    description = "Adam with friction where the gradient hardly changes"
    timescale = False
    # Adam's space without a timescale: the L2 term is divided by the size of gradients.
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "one_minus_beta1": ("log", 2e-2, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 3e-3, "warmup": 0.2},
        {"origin": "short-memory", "lr": 3e-3, "betas": (0.9, 0.99), "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        as_published: bool = False,
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
            "as_published": as_published,
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
        """Refuse an ``as_published`` that is no switch."""
        super().validate(group)
        check.switch("as_published", group["as_published"])

    def direction(self, group: Group) -> Part:
        """Return diffGrad's direction."""
        return DIFFGRAD

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the gradient."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return Adam's scalars, and whether changes of the gradient are looked at."""
        b1, b2 = group["betas"]
        c1, c2 = debias(b1, step), root(debias(b2, step))
        seen = 1.0 - later(step) if group["as_published"] else 1.0
        l2 = float(group["weight_decay"])
        return l2, b1, 1.0 - b1, b2, 1.0 - b2, c1, c2, group["eps"] / c2, seen
