"""AdaGrad: steps divided by the root of the sum of all squared gradients."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.adagrad import ADAGRAD
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.scalars import Scalar


@documented
class Adagrad(RuleOptimizer):
    """AdaGrad: divide each gradient by the root of the sum of its squares so far.

    With the gradient g of the parameter p, the sum S, which begins at
    ``initial_accumulator_value``, and t counted from 1::

        g = g + weight_decay p
        S = S + g^2
        u = g / (sqrt(S) + eps) / (1 + (t - 1) lr_decay)
        p = p - lr u

    {win}
    Here w is 0, as the decay is in the gradient.

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. Default: 1e-2.
        lr_decay: How fast steps shrink with t, beside any schedule; at least 0. Default: 0.0.
        weight_decay: Times p, added to the gradient; at least 0. Default: 0.0.
        initial_accumulator_value: What S begins at, at least 0. Default: 0.0.
        eps: Added to the root of S, at least 0, so that nothing is divided by 0. Default: 1e-10.
        {acceleration}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Duchi et al., JMLR 12, 2011, as torch.optim.Adagrad computes it.
        {win_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers.adagrad import Adagrad
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = Adagrad([p], lr=0.1)
        >>> p.square().sum().backward()
        >>> optimizer.step()
        >>> p.detach()
        tensor([0.9000])
    """

    description = "Gradients over the root of the sum of their squares"
    timescale = False
    # As Adam's without a timescale: the L2 term is divided by the size of gradients.
    space: ClassVar[Space] = {"lr": ("log", 1e-4, 1.0), "warmup": ("linear", 0.0, 0.5)}
    presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 0.1, "warmup": 0.2},
        # Its defaults in Keras.
        {
            "origin": "keras",
            "lr": 1e-3,
            "initial_accumulator_value": 0.1,
            "eps": 1e-7,
            "warmup": 0.1,
        },
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
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
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
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
        """Refuse a decay of steps or a beginning of the sum that is negative."""
        super().validate(group)
        for name in ("lr_decay", "initial_accumulator_value"):
            check.at_least_zero(name, group[name])

    def direction(self, group: Group) -> Part:
        """Return AdaGrad's direction."""
        return ADAGRAD

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the gradient."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, what a new sum begins at, and the share of a step that is left."""
        begin = float(group["initial_accumulator_value"]) if fresh else 0.0
        share = 1.0 / (1.0 + (step - 1.0) * group["lr_decay"])
        return float(group["weight_decay"]), begin, share, group["eps"]
