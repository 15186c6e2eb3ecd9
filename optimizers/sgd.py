"""SGD: stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.sgd import SGD as DIRECTION
from autotune.kernels.rules.sgd import UNAVERAGED
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import LOOKAHEAD, Transforms
from autotune.optimizers.scalars import Scalar


@documented
class SGD(RuleOptimizer):
    """SGD: stochastic gradient descent with momentum, Nesterov's or plain.

    With the gradient g of the parameter p, and their sum B, which begins as the first gradient::

        g = g + weight_decay p                 (only without acceleration)
        B = momentum B + (1 - dampening) g
        u = g + momentum B                     (nesterov=False: B)
        p = p - lr u

    {win}
    Here w is ``weight_decay``, which is then not added to the gradient.

    {average}

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. The default is too
            small for most models; 0.1 is a usual start. Default: 1e-3.
        momentum: How much of the sum of gradients a step keeps, in [0, 1). Default: 0.9.
        dampening: Share of each gradient after the first that the sum leaves out, in [0, 1).
            Default: 0.0.
        weight_decay: Times p, added to the gradient; with acceleration, each step shrinks p by this
            share times lr instead. At least 0. Default: 0.0.
        nesterov: Step along g + momentum B, rather than along B. Default: True.
        eps: Added to the norm that ``max_grad_norm`` is compared with; at least 0. Default: 1e-8.
        {accelerations}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        The momentum of torch.optim.SGD; the decay under Win is that of the authors' code (SGD_Win).
        {win_source}
        {average_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import SGD
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = SGD([p], lr=0.1)
        >>> p.square().sum().backward()
        >>> optimizer.step()
        >>> p.detach()
        tensor([0.6200])
    """

    description = "Stochastic gradient descent with Nesterov momentum"
    family = "sgd"
    spare = ("momentum",)
    forms = ("win", "win2", "sf", "nema", "grokfast")
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "schedule-free": {"dampening": 0.0, "nesterov": True}
    }
    # Defaults of github.com/facebookresearch/schedule_free: 10 to 50 times the usual rate.
    sf_space: ClassVar[Space] = {
        "lr": ("log", 1e-3, 50.0),
        "one_minus_momentum": ("log", 1e-2, 0.3),
        "warmup": ("linear", 0.0, 0.2),
    }
    sf_recommended: ClassVar[Mapping[str, Any]] = {"lr": 1.0, "warmup": 0.05}
    sf_presets: ClassVar[Presets] = (
        {"origin": "vision", "lr": 5.0, "weight_decay": 1e-4, "warmup": 0.05},
        {"origin": "small-step", "lr": 0.3, "weight_decay": 5e-4, "warmup": 0.05},
    )
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
    # The authors' rates for Win are for batches of 1024 and 2048 images, too high for smaller ones.
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
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "eps": eps,
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
        """Refuse a momentum or a dampening out of range, and a ``nesterov`` that is no switch."""
        super().validate(group)
        check.fraction("momentum", group["momentum"])
        check.fraction("dampening", group["dampening"])
        check.switch("nesterov", group["nesterov"])

    def direction(self, group: Group) -> Part:
        """Return momentum's direction."""
        return UNAVERAGED if group["acceleration"] == "schedule-free" else DIRECTION

    def interpolation(self, group: Group) -> float:
        """Return the momentum."""
        return float(group["momentum"])

    def decay(self, group: Group) -> float:
        """Return the weight decay if an average or Win applies it, not the gradient."""
        in_gradient = group["acceleration"] in ("none", LOOKAHEAD)
        return 0.0 if in_gradient else float(group["weight_decay"])

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, the shares of B and g in the new B, and of g and B in the update."""
        momentum = group["momentum"]
        l2 = float(group["weight_decay"]) - self.decay(group)
        if group["acceleration"] == "schedule-free":
            return (l2,)
        shares = (0.0, 1.0) if fresh else (momentum, 1.0 - group["dampening"])
        ahead = (1.0, momentum) if group["nesterov"] else (0.0, 1.0)
        return (l2, *shares, *ahead)
