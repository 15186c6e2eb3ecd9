"""AdEMAMix: AdamW with a second, slow mean of gradients (arXiv:2409.03137)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.ademamix import ADEMAMIX
from autotune.kernels.rules.decay import DECOUPLED
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, above, debias, root

_NOT_ZERO = 1e-8  # the authors' code adds it to a beta before its logarithm is taken


@documented
class AdEMAMix(RuleOptimizer):
    """AdEMAMix: AdamW whose step also follows a slow mean, in which old gradients count on.

    With betas b1, b2 and b3, the gradient g of the parameter p, and t counted from 1::

        m = b1 m + (1 - b1) g
        s = b3(t) s + (1 - b3(t)) g
        v = b2 v + (1 - b2) g^2
        u = (m / (1 - b1^t) + alpha(t) s) / (sqrt(v / (1 - b2^t)) + eps)
        p = (1 - lr weight_decay) p - lr u

    alpha(t) is ``alpha``, and b3(t) is b3. With a warm-up, alpha(t) rises from 0 in proportion to
    t, and b3(t) from b1 so that the steps after which half of s is kept grow in proportion to t.

    {win}
    Here w is ``weight_decay``.

    Args:
        {params}
        {lr}
        betas: How much of m, v and s a step keeps: 3 numbers in [0, 1), usually close to 1. Half of
            s is younger than log(1/2) / log(b3) steps, 6931 by default: in a run that is not at
            least three times as long it hardly grows. Default: (0.9, 0.999, 0.9999).
        eps: Added to the root of v after bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Each step shrinks p by this share times lr; at least 0. Default: 0.0.
        alpha: Weight of s; at least 0. Default: 2.0.
        alpha_warmup: Steps in which alpha(t) rises; the authors take the length of the run. 0 is
            none. Default: 0.
        beta3_warmup: Steps in which b3(t) rises; likewise. Default: 0.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Pagliardini et al., arXiv:2409.03137, as their code (github.com/apple/ml-ademamix) computes
        it. It has no Win: the combination is this project's.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("ademamix", model.parameters(), lr=1e-3, alpha=5.0)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[model.weight])
        ['exp_avg_fast', 'exp_avg_slow', 'exp_avg_sq', 'step']
    """

    description = "AdamW with a second, slow mean of gradients"
    decoupled = True
    decays = 3
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "one_minus_beta3": ("log", 1e-4, 0.1),
        "alpha": ("log", 1.0, 12.0),
        "warmup": ("linear", 0.0, 0.5),
    }
    # A longer half-life than a third of the run is one that a run does not see.
    half_lives: ClassVar[Mapping[str, tuple[float, float]]] = {"one_minus_beta3": (0.02, 1 / 3)}
    # AlgoPerf's (github.com/mlcommons/submissions_algorithms) without the ramps of 500,000 steps,
    # in which a short run would not see it. The first has AdamW's rates and a mean for short runs.
    presets: ClassVar[Presets] = (
        {
            "origin": "adamw-short-runs",
            "lr": 5e-3,
            "betas": (0.8, 0.99, 0.98),
            "weight_decay": 2e-2,
            "warmup": 0.2,
        },
        {
            "origin": "algoperf",
            "lr": 2e-3,
            "betas": (0.8, 0.995, 0.9995),
            "weight_decay": 0.1,
            "alpha": 8.0,
            "max_grad_norm": 0.5,
            "warmup": 0.02,
        },
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        alpha: float = 2.0,
        alpha_warmup: int = 0,
        beta3_warmup: int = 0,
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
            "alpha": alpha,
            "alpha_warmup": alpha_warmup,
            "beta3_warmup": beta3_warmup,
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
        """Refuse a weight of the slow mean below 0, and a warm-up that is no number of steps."""
        super().validate(group)
        check.at_least_zero("alpha", group["alpha"])
        for name in ("alpha_warmup", "beta3_warmup"):
            check.count(name, group[name])

    def direction(self, group: Group) -> Part:
        """Return AdEMAMix's direction."""
        return ADEMAMIX

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return betas, the weight of the slow mean, bias corrections, and ``eps``."""
        b1, b2, _ = group["betas"]
        b3, c1, c2 = _slow(group, step), debias(b1, step), root(debias(b2, step))
        betas = (b1, 1.0 - b1, b2, 1.0 - b2, b3, 1.0 - b3)
        return (*betas, _weight(group, step), c1, c2, group["eps"])


def _weight(group: Group, step: Scalar) -> Scalar:
    """Return alpha at a step."""
    alpha, rising = float(group["alpha"]), group["alpha_warmup"]
    if not rising:
        return alpha
    over = above(step, rising - 0.5)
    return (1.0 - over) * (step / rising * alpha) + over * alpha


def _slow(group: Group, step: Scalar) -> Scalar:
    """Return b3 at a step: it rises so that its half-life does in proportion to the step."""
    (b1, _, b3), rising = group["betas"], group["beta3_warmup"]
    if not rising:
        return b3
    first, last = _half_life(b1), _half_life(b3)
    share, over = step / rising, above(step, rising - 0.5)
    now = (1.0 - share) * first + share * last
    return (1.0 - over) * 0.5 ** (1.0 / (now + 1.0)) + over * b3


def _half_life(beta: float) -> float:
    """Return the steps after which half is kept, less 1."""
    return math.log(0.5) / math.log(beta + _NOT_ZERO) - 1.0
