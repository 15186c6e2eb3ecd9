"""LAMB: Adam's direction scaled to the size of each parameter (arXiv:1904.00962)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.lamb import LAMB as DIRECTION
from autotune.kernels.rules.norms import TRUST
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root


@documented
class LAMB(RuleOptimizer):
    """LAMB: Adam whose step is scaled to the norm of each parameter, for large batches.

    With betas b1 and b2, the gradient g of the parameter p, t counted from 1, and |p| the norm of
    one parameter tensor::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p
        u = u |p| / |u|                        (not where |p|, |u| or weight_decay is 0)
        p = p - lr u

    {win}
    Here w is 0, as the decay is in u.

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v after bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-6.
        weight_decay: Times p, added to u before it is scaled; at least 0. Default: 1e-2.
        bias_correction: Divide m by 1 - b1^t and v by 1 - b2^t. Default: True.
        grad_averaging: Add (1 - b1) g to m, rather than g. Default: True.
        trust_clip: Use 1 where |p| / |u| is larger. Default: False.
        always_adapt: Scale by |p| / |u| also where ``weight_decay`` is 0. Default: False.
        {acceleration}
        {transforms}
        max_grad_norm: Largest norm of all gradients together, at least 0. If it is exceeded, the
            step uses gradients scaled down to it; ``p.grad`` is not changed. 0 is off (in the
            authors' code it sets every gradient to 0). Under a GradScaler on 'triton', which
            unscales inside the step, this is the way to clip. In ZeroRedundancyOptimizer set
            ``norm_group`` on its ``optim``, or each process clips its own part alone. Default: 1.0.
        {backend}

    Raises:
        {raises}

    Sources:
        You et al., arXiv:1904.00962, Algorithm 2, with the switches of the authors' code of Win
        (Lamb_Win).
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import LAMB
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = LAMB(model.parameters(), lr=8e-3, weight_decay=0.02)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> optimizer.param_groups[0]["step"]
        1
    """

    description = "Layer-wise adaptive moments, for large batches"
    shared_clock = True
    layerwise = True
    space: ClassVar[Space] = {
        "lr": ("log", 1e-4, 5e-2),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.3),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    presets: ClassVar[Presets] = (
        {"origin": "vision", "lr": 8e-3, "weight_decay": 2e-2, "warmup": 0.1},
        {"origin": "large-step", "lr": 2e-2, "weight_decay": 2e-2, "warmup": 0.2},
    )
    # The ResNets of github.com/sail-sg/win: both with Win2 and one with Win.
    win_recommended: ClassVar[Mapping[str, Any]] = {"lr": 8e-3, "weight_decay": 1e-2, "warmup": 0.1}
    win_presets: ClassVar[Presets] = (
        {"origin": "authors-vit", "lr": 5e-3, "weight_decay": 2e-2, "warmup": 0.2},
    )

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        bias_correction: bool = True,
        grad_averaging: bool = True,
        trust_clip: bool = False,
        always_adapt: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        max_grad_norm: float = 1.0,
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
            "bias_correction": bias_correction,
            "grad_averaging": grad_averaging,
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
        """Refuse a switch that is neither on nor off."""
        super().validate(group)
        for name in ("bias_correction", "grad_averaging", "trust_clip", "always_adapt"):
            check.switch(name, group[name])

    def direction(self, group: Group) -> Part:
        """Return LAMB's direction."""
        return DIRECTION

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the direction."""
        return 0.0

    def shaping(self, group: Group) -> Shaping | None:
        """Return the trust ratio; None without weight decay, unless ``always_adapt`` is set."""
        return TRUST if group["weight_decay"] or group["always_adapt"] else None

    def shaping_scalars(self, group: Group, step: Scalar, lr: Scalar) -> tuple[Scalar, ...]:
        """Return the largest trust ratio allowed."""
        return (1.0 if group["trust_clip"] else math.inf,)

    def clip_eps(self) -> float:
        """Return 0: LAMB divides by the norm itself."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the weight decay, and Adam's scalars as the switches set them."""
        b1, b2 = group["betas"]
        take = 1.0 - b1 if group["grad_averaging"] else 1.0
        c1, c2 = 1.0, 1.0
        if group["bias_correction"]:
            c1, c2 = debias(b1, step), root(debias(b2, step))
        decay = float(group["weight_decay"])
        return decay, 0.0, b1, take, b2, 1.0 - b2, c1, c2, group["eps"]
