"""AdaBelief: step sizes by how far gradients are from their average (arXiv:2010.07468)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.adabelief import ADABELIEF, AMSGRAD
from autotune.kernels.rules.decay import DECOUPLED, FIXED
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root

_DECAYS = ("decoupled", "coupled", "fixed")
_SURE = 5.0  # length of the average from which its variance is known well enough


@documented
class AdaBelief(RuleOptimizer):
    """AdaBelief: step along the mean gradient, further where gradients are as it foretells.

    With betas b1 and b2, the gradient g of the parameter p, and t counted from 1 for each
    parameter::

        p = (1 - lr weight_decay) p            (decay='decoupled')
        p = (1 - weight_decay) p               (decay='fixed')
        g = g + weight_decay p                 (decay='coupled')
        m = b1 m + (1 - b1) g
        s = b2 s + (1 - b2) (g - m)^2 + eps    (amsgrad: then the largest s so far)
        u = m / (1 - b1^t) / (sqrt(s / (1 - b2^t)) + eps)
        p = p - lr u

    With ``rectify`` u is as in RAdam, where r(t) = 2 / (1 - b2) - 1 - 2 t b2^t / (1 - b2^t)::

        u = m / (1 - b1^t)                     (r(t) < 5; degenerated_to_sgd=False: 0)
        u = sqrt(1 - b2^t) c(t) m / (1 - b1^t) / (sqrt(s) + eps)
        c(t)^2 = (r(t) - 4) (r(t) - 2) r / ((r - 4) (r - 2) r(t)),    r = 2 / (1 - b2) - 1

    {win}
    Here w is ``weight_decay``, or 0 with decay='coupled'.

    Args:
        {params}
        {lr}
        {betas}
        eps: Added to s at every step, and to its root; at least 0. As the sum of what was added
            bounds s from below, it decides how adaptive steps are: the authors take 1e-8 where SGD
            does better than Adam, and else 1e-16. Default: 1e-16.
        weight_decay: How much parameters shrink, as ``decay`` has it; at least 0. Default: 0.0.
        decay: 'decoupled' shrinks p by this share times lr, 'fixed' by this share whatever lr is,
            'coupled' adds it times p to the gradient. Win takes no 'fixed'. Default: 'decoupled'.
        rectify: Take the variance of s into account, as RAdam. Default: True.
        degenerated_to_sgd: With ``rectify``, go along m while that variance is not known, rather
            than not at all. Default: True.
        amsgrad: Divide by the root of the largest s so far. As in the authors' code the largest is
            kept, but not used, under ``rectify``. Default: False.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Zhuang et al., arXiv:2010.07468v5, Algorithm 2, with all options of the authors' package
        adabelief-pytorch 0.2.1. Clipping gradients element by element is against its idea: the
        clipped ones seem foretold.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers.adabelief import AdaBelief
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = AdaBelief(model.parameters(), eps=1e-8, weight_decay=1e-2, rectify=False)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[model.weight])
        ['exp_avg', 'exp_avg_var', 'step']
    """

    description = "Adam that divides by how far gradients are from their mean"
    spare = ("max_exp_avg_var",)
    space: ClassVar[Space] = {
        "lr": ("log", 3e-5, 0.1),
        "eps": ("log", 1e-16, 1e-8),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e8),
        "one_minus_beta1": ("log", 2e-2, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # The rows of the authors' README for ImageNet and for a transformer; both decoupled.
    presets: ClassVar[Presets] = (
        {
            "origin": "authors-vision",
            "lr": 1e-3,
            "eps": 1e-8,
            "weight_decay": 1e-2,
            "rectify": False,
            "warmup": 0.1,
        },
        {"origin": "authors-language", "lr": 5e-4, "weight_decay": 1e-4, "warmup": 0.1},
        {"origin": "large-step", "lr": 3e-3, "eps": 1e-8, "rectify": False, "warmup": 0.2},
    )
    win_presets: ClassVar[Presets] = presets
    unfit: ClassVar[Mapping[str, Mapping[Any, str]]] = {
        "coord_clip": {"on": "to which clipped gradients seem foretold"}
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        *,
        decay: str = "decoupled",
        rectify: bool = True,
        degenerated_to_sgd: bool = True,
        amsgrad: bool = False,
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
            "decay": decay,
            "rectify": rectify,
            "degenerated_to_sgd": degenerated_to_sgd,
            "amsgrad": amsgrad,
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
        """Refuse an unknown decay, a fixed one under Win, and what is no switch."""
        super().validate(group)
        check.one_of("decay", group["decay"], _DECAYS)
        for name in ("rectify", "degenerated_to_sgd", "amsgrad"):
            check.switch(name, group[name])
        if group["decay"] == "fixed" and group["acceleration"] != "none":
            raise ValueError(
                "decay must be 'decoupled' or 'coupled' when acceleration is "
                f"'{group['acceleration']}', got 'fixed'"
            )

    def direction(self, group: Group) -> Part:
        """Return AdaBelief's direction, with or without the running maximum."""
        return AMSGRAD if group["amsgrad"] and not group["rectify"] else ADABELIEF

    def unaccelerated(self, group: Group) -> Part:
        """Return a decay beside the gradient, as the group has it."""
        return FIXED if group["decay"] == "fixed" else DECOUPLED

    def decay(self, group: Group) -> float:
        """Return the weight decay, or 0 if it is in the gradient."""
        return 0.0 if group["decay"] == "coupled" else float(group["weight_decay"])

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, the betas, and how m is scaled with and without its divisor."""
        b1, b2 = group["betas"]
        l2 = float(group["weight_decay"]) - self.decay(group)
        near, plain, c2 = 1.0 / debias(b1, step), 0.0, root(debias(b2, step))
        if group["rectify"]:
            sure, scale = rectified(b2, step)
            plain = near * (1.0 - sure) if group["degenerated_to_sgd"] else 0.0
            near, c2 = sure * near * c2 * scale, 1.0
        return l2, b1, 1.0 - b1, b2, 1.0 - b2, near, plain, c2, group["eps"]


def rectified(b2: float, step: Scalar) -> tuple[Scalar, Scalar]:
    """Return whether the variance of an average is known well enough, as 1 or 0, and RAdam's scale.

    Args:
        b2: How much of the average a step keeps.
        step: Counted from 1.
    """
    most = 2.0 / (1.0 - b2) - 1.0
    if most < _SURE:
        return 0.0, 1.0
    power = b2**step
    now = most - 2.0 * step * power / (1.0 - power)
    sure = _at_least(now, _SURE)
    share = (now - 4.0) / (most - 4.0) * (now - 2.0) / now * most / (most - 2.0)
    return sure, root(sure * share + (1.0 - sure))


def _at_least(value: Scalar, bound: float) -> Scalar:
    short = (0.0 - value) > -bound  # the one comparison that is noted for a device
    return 1.0 - (float(short) if isinstance(short, bool) else short.double())
