"""Lion: the sign of an interpolated momentum (arXiv:2302.06675)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.lion import LION
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar


@documented
class Lion(RuleOptimizer):
    """Lion: every element moves by lr, along the sign of a momentum; it keeps one average.

    With betas b1 and b2, and the gradient g of the parameter p::

        u = sign(b1 m + (1 - b1) g)            (the sign of 0 is 0)
        m = b2 m + (1 - b2) g
        p = (1 - lr weight_decay) p - lr u

    {win}
    Here w is ``weight_decay``.

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. A third to a tenth of
            AdamW's, as all elements of u are 1 in size. Default: 1e-4.
        betas: How much of m the sign is taken of, and how much of it a step keeps: 2 numbers in
            [0, 1), usually close to 1. (0.95, 0.98) for language models. Default: (0.9, 0.99).
        weight_decay: Each step shrinks p by this share times lr; at least 0. Three to ten times
            AdamW's. If it is to mean the share at the first lr instead, whatever that is, give it
            divided by that lr: then each step shrinks p by the share times lr / first lr.
            Default: 0.0.
        cautious: Multiply the elements of u that go against the gradient by ``cautious_factor``,
            and divide all of u by the mean of these factors over the tensor (at least 1e-5), so
            that the mean size stays. Default: False.
        cautious_factor: How much of what goes against the gradient is kept, in [0, 1).
            Default: 0.0.
        cautious_decay: Shrink only elements of which u times p is 0 or more: weights that u does
            not let grow. Not with Win. Default: False.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Chen et al., arXiv:2302.06675, Algorithm 2, as their code (github.com/google/automl)
        computes it. It has no Win: the combination is this project's, and no paper has tried it.
        {cautious_source}
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        >>> optimizer = create("lion", [p], lr=0.1)
        >>> p.grad = torch.tensor([0.5, -0.25, 0.0])
        >>> optimizer.step()
        >>> p.detach()
        tensor([ 0.9000, -1.9000,  3.0000])
    """

    description = "Sign of an interpolated momentum"
    family = "sign"
    decoupled = True
    forms = ("win", "win2", "nema", "mars", "grokfast")
    cautious_floor = 1e-5
    unfit: ClassVar[Mapping[str, Mapping[Any, str]]] = {
        "update_clip": {"on": "whose updates are of one size, but for zeros"}
    }
    space: ClassVar[Space] = {
        "lr": ("log", 1e-5, 1e-2),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.3),
        "one_minus_beta2": ("log", 3e-3, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # The authors: lr 3 to 10 times below AdamW's, weight decay as much above. AdamW's is 1e-3 and
    # 1e-2 by default.
    recommended: ClassVar[Mapping[str, Any]] = {"lr": 2e-4, "weight_decay": 5e-2, "warmup": 0.1}
    win_recommended: ClassVar[Mapping[str, Any]] = recommended
    # The first is a fifth of the lr, and five times the decay, of what AdamW is tried with.
    presets: ClassVar[Presets] = (
        {"origin": "fifth-of-adamw", "lr": 1e-3, "weight_decay": 0.1, "warmup": 0.2},
        {
            "origin": "algoperf",
            "lr": 2e-4,
            "betas": (0.95, 0.98),
            "weight_decay": 0.5,
            "warmup": 0.02,
        },
        {"origin": "authors-vision", "lr": 1e-4, "weight_decay": 10.0, "warmup": 0.1},
        {"origin": "authors-diffusion", "lr": 3e-5, "weight_decay": 0.1, "warmup": 0.1},
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        cautious: bool = False,
        cautious_factor: float = 0.0,
        cautious_decay: bool = False,
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
            "weight_decay": weight_decay,
            "cautious": cautious,
            "cautious_factor": cautious_factor,
            "cautious_decay": cautious_decay,
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
        """Return Lion's direction."""
        return LION

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def clip_eps(self) -> float:
        """Return 0: nothing of Lion's is divided."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return betas."""
        b1, b2 = group["betas"]
        return b1, 1.0 - b1, b2, 1.0 - b2
