"""StableAdamW: AdamW that shortens a tensor's step after surprising gradients."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.lamb import LAMB as DIRECTION
from autotune.kernels.rules.stable import STABLE
from autotune.optimizers.adam import AdamW
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root


@documented
class StableAdamW(RuleOptimizer):
    """StableAdamW: AdamW that shortens the steps of tensors whose gradients surprise it.

    It replaces clipping of gradients. With betas b1 and b2, the gradient g of the parameter p, and
    t counted from 1::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p
        RMS = sqrt(mean(g^2 / max(v / (1 - b2^t), eps^2)))       (the mean over one tensor)
        p = p - lr / max(1, RMS) u

    {win}
    Here w is 0, as the decay is in u.

    Args:
        {params}
        {lr}
        betas: How much of m and of v a step keeps: 2 numbers in [0, 1), usually close to 1.
            Default: (0.9, 0.99).
        eps: Added to the root of v after bias correction, at least 0, so that nothing is divided
            by 0; and the least root of v that RMS divides by. Default: 1e-6.
        weight_decay: Each step shrinks p by this share times its learning rate; at least 0.
            Default: 1e-2.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Wortsman et al., arXiv:2304.13013, Algorithm 2, with the defaults of torch-optimi, whose
        average is the same written another way. It has no Win: the combination is this project's,
        and no paper has tried it.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> p = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = create("stableadamw", [p], lr=0.1, betas=(0.0, 0.75), weight_decay=0.0)
        >>> for size in (1.0, 8.0):
        ...     p.grad = torch.full((2,), size)
        ...     optimizer.step()
        >>> p.detach()  # AdamW would be at 0.7681
        tensor([0.8000, 0.8000])
    """

    description = "AdamW with updates clipped by the surprise of each tensor"
    shared_clock = True
    space: ClassVar[Space] = AdamW.space
    presets: ClassVar[Presets] = AdamW.presets
    win_presets: ClassVar[Presets] = AdamW.win_presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
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
        """Return Adam's direction with the decay in it, as lr of both is shortened."""
        return DIRECTION

    def shaping(self, group: Group) -> Shaping | None:
        """Return what shortens a step."""
        return STABLE

    def shaping_scalars(self, group: Group, step: Scalar, lr: Scalar) -> tuple[Scalar, ...]:
        """Return the bias correction of the root of v, and ``eps``."""
        return root(debias(group["betas"][1], step)), group["eps"]

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the direction."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the weight decay, then Adam's scalars."""
        b1, b2 = group["betas"]
        c1, c2 = debias(b1, step), root(debias(b2, step))
        decay = float(group["weight_decay"])
        return decay, 0.0, b1, 1.0 - b1, b2, 1.0 - b2, c1, c2, group["eps"]
