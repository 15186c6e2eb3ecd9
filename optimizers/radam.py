"""RAdam: Adam that takes plain momentum steps until it knows the size of gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.adam import UNAVERAGED
from autotune.kernels.rules.decay import DECOUPLED, DESCENT
from autotune.kernels.rules.radam import RADAM
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, above, debias, root

_ENOUGH = 5.0  # averaged squares, as it were: from there on their mean is trusted


@documented
class RAdam(RuleOptimizer):
    """RAdam: Adam whose first steps are plain momentum, and whose next are shortened.

    With betas b1 and b2, the gradient g of the parameter p, and t counted from 1::

        g = g + weight_decay p                            (only decay='coupled')
        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        R = 2 / (1 - b2) - 1
        r = R - 2 t b2^t / (1 - b2^t)
        s = sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r))
        u = s m / (1 - b1^t) * sqrt(1 - b2^t) / (sqrt(v) + eps)    (r > 5)
        u = m / (1 - b1^t)                                         (otherwise)
        p = (1 - lr weight_decay) p - lr u                (decay='coupled': p - lr u)

    {win}
    Here w is ``weight_decay``, or 0 where the decay is in the gradient.

    {average}
    There u is g sqrt(1 - b2^t) / (sqrt(v) + eps sqrt(1 - b2^t)), and lr is multiplied by s where
    r > 4, by 0 before, as in its authors' code.

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to the root of v before bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Each step shrinks p by this share times lr, or adds this times p to g; at
            least 0. Default: 0.0.
        decay: 'decoupled', which is AdamW's; or 'coupled', an L2 term of the loss, as
            torch.optim.RAdam has it unless told otherwise. Default: 'decoupled'.
        {accelerations}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Liu et al., arXiv:1908.03265, Algorithm 2, as torch.optim.RAdam computes it. Torch has no
        Win: the combination is this project's.
        {win_source}
        {average_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("radam", model.parameters(), lr=1e-3, weight_decay=0.01)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[model.weight])
        ['exp_avg', 'exp_avg_sq', 'step']
    """

    description = "Adam that rectifies its first steps"
    forms = ("win", "win2", "sf")
    sf_space: ClassVar[Space] = {
        "lr": ("log", 1e-4, 0.1),
        "one_minus_beta1": ("log", 1e-2, 0.3),
        "warmup": ("linear", 0.0, 0.2),
    }
    # The default of github.com/facebookresearch/schedule_free, which needs no warm-up.
    sf_recommended: ClassVar[Mapping[str, Any]] = {"lr": 2.5e-3, "warmup": 0.0}
    sf_presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 1e-2, "weight_decay": 2e-2, "warmup": 0.0},
        {"origin": "default", "lr": 1e-3, "warmup": 0.0},
    )
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # What AdamW is tried with: RAdam is Adam once its squares are known.
    presets: ClassVar[Presets] = (
        {
            "origin": "adamw-short-runs",
            "lr": 5e-3,
            "betas": (0.8, 0.99),
            "weight_decay": 2e-2,
            "warmup": 0.2,
        },
        {"origin": "no-warmup", "lr": 1e-3, "weight_decay": 1e-2, "warmup": 0.0},
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
        decay: str = "decoupled",
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
            "decay": decay,
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
        """Refuse an unknown decay."""
        super().validate(group)
        check.one_of("decay", group["decay"], ("decoupled", "coupled"))

    def direction(self, group: Group) -> Part:
        """Return RAdam's direction."""
        return UNAVERAGED if group["acceleration"] == "schedule-free" else RADAM

    def pace(self, group: Group, step: Scalar) -> Scalar:
        """Return the rectification, 0 while too few squares are known."""
        return _rectified(group["betas"][1], step, 4.0)[0]

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay, or none, as the group has it."""
        return DECOUPLED if group["decay"] == "decoupled" else DESCENT

    def decay(self, group: Group) -> float:
        """Return the weight decay, or 0 where it is in the gradient."""
        return float(group["weight_decay"]) if group["decay"] == "decoupled" else 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, betas, the factor of m, and what it is divided by."""
        b1, b2 = group["betas"]
        l2 = float(group["weight_decay"]) - self.decay(group)
        known = (l2, b1, 1.0 - b1, b2, 1.0 - b2)
        c2 = root(debias(b2, step))
        if group["acceleration"] == "schedule-free":
            return l2, b2, 1.0 - b2, c2, group["eps"]
        c1 = debias(b1, step)
        shorter, on = _rectified(b2, step, _ENOUGH)
        far = (shorter * c2 + (1.0 - on)) / c1
        return (*known, far, on, on * group["eps"] + (1.0 - on))


def _rectified(b2: float, step: Scalar, enough: float) -> tuple[Scalar, Scalar]:
    """Return the factor of a step and 1, or twice 0 while the squares known are not enough."""
    most = 2.0 / (1.0 - b2) - 1.0
    if most <= enough:
        return 0.0, 0.0
    length = most - 2.0 * step * b2**step / debias(b2, step)
    on = above(length, enough)
    # Where it is off, the factor has to be a number too: there its root's content is below 0.
    length = on * length + (1.0 - on) * most
    short = (length - 4.0) * (length - 2.0) * most / ((most - 4.0) * (most - 2.0) * length)
    return on * root(short), on
