"""LARS: momentum over gradients scaled to the size of each parameter (arXiv:1708.03888)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.lars import LARS as SHAPING
from autotune.kernels.rules.sgd import SGD as DIRECTION
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar


@documented
class LARS(RuleOptimizer):
    """LARS: momentum over gradients that are scaled to the norm of each parameter.

    With the gradient g of the parameter p, |p| the norm of one parameter tensor, and the sum B,
    which begins as the first scaled gradient::

        r = trust_coeff |p| / (|g| + weight_decay |p| + eps)     (1 where |p| or |g| is 0)
        g = r (g + weight_decay p)                               (not where weight_decay is 0)
        B = momentum B + (1 - dampening) g
        u = g + momentum B                                       (nesterov=False: B)
        p = p - lr u

    {win}
    Here w is 0, as the decay is in u.

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. It multiplies
            ``trust_coeff``: 1 to 30 are usual. Default: 1.0.
        momentum: How much of the sum of gradients a step keeps, in [0, 1). Default: 0.9.
        dampening: Share of each gradient after the first that the sum leaves out, in [0, 1).
            Default: 0.0.
        weight_decay: Times p, added to the gradient before it is scaled; at least 0. Where it is 0,
            gradients are not scaled. Default: 1e-4.
        nesterov: Step along g + momentum B, rather than along B. Default: False.
        trust_coeff: How far a step goes, as a share of |p| at lr 1; at least 0. Default: 1e-3.
        eps: Added to |g|, and to the norm that ``max_grad_norm`` is compared with; at least 0.
            Default: 1e-8.
        trust_clip: Use 1 where r / lr is larger, and r / lr elsewhere (LARC). Default: False.
        always_adapt: Scale gradients also where ``weight_decay`` is 0. Default: False.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        You et al., arXiv:1708.03888, with the switches of timm's ``Lars``, which has
        no momentum and no weight decay by default. It has no Win: the
        combination is this project's, and no paper has tried it.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> p = torch.nn.Parameter(torch.full((4,), 2.0))
        >>> optimizer = create("lars", [p], lr=10.0, momentum=0.0, eps=0.0)
        >>> p.grad = torch.full((4,), 500.0)
        >>> optimizer.step()
        >>> p.detach()
        tensor([1.9800, 1.9800, 1.9800, 1.9800])
    """

    description = "Layer-wise adaptive rates for momentum, for large batches"
    family = "sgd"
    layerwise = True
    spare = ("momentum",)
    # Always with decay: without, gradients are not scaled, and this is SGD.
    space: ClassVar[Space] = {
        "lr": ("log", 0.03, 30.0),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_momentum": ("log", 1e-2, 0.5),
        "trust_coeff": ("log", 3e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # The authors' AlexNet at a batch of 4096, whose rate is 8 for 1000 times the trust coefficient.
    recommended: ClassVar[Mapping[str, Any]] = {
        "lr": 8.0,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "warmup": 0.05,
    }
    win_recommended: ClassVar[Mapping[str, Any]] = recommended
    presets: ClassVar[Presets] = (
        {
            "origin": "small-rate",
            "lr": 0.5,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "trust_coeff": 2e-2,
            "warmup": 0.1,
        },
        {"origin": "vision", "lr": 4.0, "momentum": 0.9, "weight_decay": 1e-4, "warmup": 0.1},
        {"origin": "large-step", "lr": 20.0, "momentum": 0.9, "weight_decay": 1e-4, "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = presets

    unfit: ClassVar[Mapping[str, Mapping[Any, str]]] = {
        "gradient_filter": {"mars": "which scales each tensor's gradient itself"},
        "layer_clip": {"on": "which scales each tensor's gradient itself"},
        "coord_clip": {"on": "which scales each tensor's gradient itself"},
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 1e-4,
        *,
        nesterov: bool = False,
        trust_coeff: float = 1e-3,
        eps: float = 1e-8,
        trust_clip: bool = False,
        always_adapt: bool = False,
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
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "trust_coeff": trust_coeff,
            "eps": eps,
            "trust_clip": trust_clip,
            "always_adapt": always_adapt,
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
        """Refuse shares out of range, a negative trust coefficient, and what is no switch."""
        super().validate(group)
        for name in ("momentum", "dampening"):
            check.fraction(name, group[name])
        check.at_least_zero("trust_coeff", group["trust_coeff"])
        for name in ("nesterov", "trust_clip", "always_adapt"):
            check.switch(name, group[name])

    def direction(self, group: Group) -> Part:
        """Return momentum's direction."""
        return DIRECTION

    def shaping(self, group: Group) -> Shaping | None:
        """Return the scale of gradients; None without decay, unless ``always_adapt`` is set."""
        return SHAPING if group["weight_decay"] or group["always_adapt"] else None

    def shaping_scalars(self, group: Group, step: Scalar, lr: Scalar) -> tuple[Scalar, ...]:
        """Return the trust coefficient, the decay, ``eps``, the unit and the limit of the ratio."""
        unit, limit = (lr, 1.0) if group["trust_clip"] else (1.0, math.inf)
        return group["trust_coeff"], float(group["weight_decay"]), group["eps"], unit, limit

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the gradient."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return no L2 term, the shares of B and g in the new B, and of g and B in the update."""
        momentum = group["momentum"]
        # Without momentum there is no sum to dampen.
        begun = momentum and not fresh
        shares = (momentum, 1.0 - group["dampening"]) if begun else (0.0, 1.0)
        ahead = (1.0, momentum) if group["nesterov"] else (0.0, 1.0)
        return (0.0, *shares, *ahead)
