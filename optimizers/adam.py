"""Adam, which adds weight decay to the gradient, and AdamW, which shrinks the parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.adam import ADAM, AMSGRAD, UNAVERAGED
from autotune.kernels.rules.decay import DECOUPLED
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root

_SPACE: Space = {
    "lr": ("log", 3e-5, 0.1),
    "one_minus_beta1": ("log", 2e-2, 0.5),
    "one_minus_beta2": ("log", 1e-4, 0.1),
    "warmup": ("linear", 0.0, 0.5),
}
# The best in short runs of this project's tasks (docs/method.md); searches test rates around it.
_SHORT_RUNS: Mapping[str, Any] = {
    "origin": "short-runs",
    "lr": 5e-3,
    "betas": (0.8, 0.99),
    "warmup": 0.2,
}


@documented
class Adam(RuleOptimizer):
    """Adam: step along the mean gradient, divided by the root of its mean square.

    Weight decay is an L2 term of the loss. With betas b1 and b2, the gradient g of the parameter p,
    and t counted from 1::

        g = g + weight_decay p
        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2                (amsgrad: then the largest v so far)
        u = m / (1 - b1^t) * sqrt(1 - b2^t) / (sqrt(v) + eps)
        p = p - lr u

    {win}
    Here w is 0, as the decay is in the gradient.

    {average}

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v before bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Times p, added to the gradient; at least 0. Default: 0.0.
        amsgrad: Divide by the root of the largest v so far, rather than of v. Default: False.
        eps_after_correction: Add eps after bias correction, as torch.optim.Adam does:
            u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps). Default: False.
        {accelerations}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Kingma and Ba, arXiv:1412.6980, Algorithm 1, with ``eps`` where the authors' code of Win
        (Adam_Win) has it. AMSGrad: Reddi et al., arXiv:1904.09237.
        {win_source}
        {average_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import Adam
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = Adam(model.parameters(), lr=1e-3, acceleration="win2")
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[model.weight])
        ['exp_avg', 'exp_avg_sq', 'step', 'x', 'y']
    """

    description = "Adam with L2 in the gradient"
    decoupled: ClassVar[bool | None] = False
    timescale: ClassVar[bool] = False
    spare = ("max_exp_avg_sq",)
    forms = ("win", "win2", "sf", "nema", "mars", "grokfast")
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = {"schedule-free": {"amsgrad": False}}
    # The defaults and points of github.com/facebookresearch/schedule_free and its AlgoPerf entries;
    # short runs take higher rates than those, which end at 3e-2.
    sf_space: ClassVar[Space] = {
        "lr": ("log", 1e-4, 0.1),
        "one_minus_beta1": ("log", 1e-2, 0.3),
        "warmup": ("linear", 0.0, 0.2),
    }
    sf_recommended: ClassVar[Mapping[str, Any]] = {"lr": 2.5e-3, "warmup": 0.05}
    sf_presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 1e-2, "warmup": 0.05},
        {"origin": "algoperf-betas", "lr": 2.5e-3, "betas": (0.9, 0.9955), "warmup": 0.02},
    )
    # Adam divides the L2 term by the size of gradients, so it has no timescale to search.
    space: ClassVar[Space] = _SPACE
    presets: ClassVar[Presets] = (
        _SHORT_RUNS,
        {"origin": "large-step", "lr": 3e-3, "warmup": 0.2},
    )
    # All eight ImageNet configurations of github.com/sail-sg/win for Adam.
    win_recommended: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "weight_decay": 1e-5, "warmup": 0.1}
    win_presets: ClassVar[Presets] = (
        _SHORT_RUNS,
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
        eps_after_correction: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        r: float = 0.0,
        weight_lr_power: float = 2.0,
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
            "amsgrad": amsgrad,
            "eps_after_correction": eps_after_correction,
            "acceleration": acceleration,
            "reckless_steps": reckless_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
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
        """Refuse an ``amsgrad`` or an ``eps_after_correction`` that is no switch."""
        super().validate(group)
        check.switch("amsgrad", group["amsgrad"])
        check.switch("eps_after_correction", group.get("eps_after_correction", False))

    def direction(self, group: Group) -> Part:
        """Return Adam's direction, with or without the running maximum."""
        if group["acceleration"] == "schedule-free":
            return UNAVERAGED
        return AMSGRAD if group["amsgrad"] else ADAM

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the gradient."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, betas, bias corrections, and ``eps`` as it acts after these."""
        b1, b2 = group["betas"]
        c2 = root(debias(b2, step))
        after = group.get("eps_after_correction")  # which groups of earlier pickles lack
        eps = group["eps"] if after else group["eps"] / c2
        second = b2, 1.0 - b2
        if group["acceleration"] == "schedule-free":
            return group["weight_decay"], *second, c2, eps
        first = b1, 1.0 - b1
        return group["weight_decay"], *first, *second, debias(b1, step), c2, eps


@documented
class AdamW(Adam):
    """AdamW: Adam with weight decay of the parameter itself, not of the gradient.

    With betas b1 and b2, the gradient g of the parameter p, and t counted from 1::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2                (amsgrad: then the largest v so far)
        u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
        p = (1 - lr weight_decay) p - lr u

    {win}
    Here w is ``weight_decay``.

    {average}

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v after bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Each step shrinks p by this share times lr; at least 0. Default: 1e-2.
        amsgrad: Divide by the root of the largest v so far, rather than of v. Default: False.
        {cautious}
        {accelerations}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Loshchilov and Hutter, arXiv:1711.05101, Algorithm 2, as torch.optim.AdamW computes it.
        AMSGrad: Reddi et al., arXiv:1904.09237.
        {cautious_source}
        {win_source}
        {average_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import AdamW, split
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = AdamW(split(model, weight_decay=0.05), lr=2e-3)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> [group["weight_decay"] for group in optimizer.param_groups]
        [0.05, 0.0]
    """

    description = "Adam with decoupled weight decay"
    decoupled = True
    # Without a momentum of its own an update has its gradient's sign everywhere.
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "schedule-free": {"amsgrad": False, "cautious": False, "cautious_decay": False}
    }
    timescale = True
    # What MARS' authors train with: the first their defaults, the second their GPT-2.
    filter_presets: ClassVar[Mapping[str, Presets]] = {
        "mars": (
            {"origin": "mars-authors", "lr": 3e-3, "betas": (0.95, 0.99), "weight_decay": 0.0},
            {
                "origin": "mars-language",
                "lr": 6e-3,
                "betas": (0.95, 0.99),
                "weight_decay": 1e-2,
                "warmup": 0.02,
            },
        ),
    }
    sf_presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 1e-2, "weight_decay": 2e-2, "warmup": 0.05},
        {
            "origin": "algoperf-v2",
            "lr": 2.5e-3,
            "betas": (0.9, 0.9955),
            "weight_decay": 0.0812,
            "warmup": 0.02,
        },
    )
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
    # Five of the eight ImageNet configurations of github.com/sail-sg/win for AdamW.
    win_recommended: ClassVar[Mapping[str, Any]] = {"lr": 2e-3, "weight_decay": 5e-2, "warmup": 0.1}
    win_presets: ClassVar[Presets] = (
        {**_SHORT_RUNS, "weight_decay": 2e-2},
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
        cautious: bool = False,
        cautious_decay: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        r: float = 0.0,
        weight_lr_power: float = 2.0,
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
            "amsgrad": amsgrad,
            "cautious": cautious,
            "cautious_decay": cautious_decay,
            "acceleration": acceleration,
            "reckless_steps": reckless_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
        }
        super(Adam, self).__init__(
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

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def decay(self, group: Group) -> float:
        """Return the weight decay."""
        return float(group["weight_decay"])

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return an L2 term of 0, betas, bias corrections and ``eps``."""
        b1, b2 = group["betas"]
        c2 = root(debias(b2, step))
        if group["acceleration"] == "schedule-free":
            return 0.0, b2, 1.0 - b2, c2, group["eps"]
        return 0.0, b1, 1.0 - b1, b2, 1.0 - b2, debias(b1, step), c2, group["eps"]
