"""Adan: adaptive Nesterov momentum (arXiv:2208.06677)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from autotune.kernels.rule import Part
from autotune.kernels.rules.adan import ADAN, UNAVERAGED
from autotune.kernels.rules.decay import DECOUPLED, PROXIMAL
from autotune.optimizers import check
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, later, root


@documented
class Adan(RuleOptimizer):
    """Adan: Adam with Nesterov momentum, which it estimates from how the gradient changes.

    With betas b1, b2 and b3, the gradient g of the parameter p, its change d = g - previous g (0
    at the first step), and t counted from 1::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) d
        n = b3 n + (1 - b3) (g + b2 d)^2
        u = (m / (1 - b1^t) + b2 v / (1 - b2^t)) / (sqrt(n / (1 - b3^t)) + eps)
        p = (p - lr u) / (1 + lr weight_decay)        (decay='proximal')
        p = (1 - lr weight_decay) p - lr u            (decay='decoupled')

    {win}
    Here w is ``weight_decay``.

    {average}

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. From scratch, about
            5 times AdamW's. Default: 1e-3.
        betas: How much of m, v and n a step keeps: 3 numbers in [0, 1), usually close to 1. The
            paper prints one minus these, which is refused. Default: (0.98, 0.92, 0.99).
        eps: Added to the root of n after bias correction, at least 0, so that nothing is divided
            by 0. Default: 1e-8.
        weight_decay: Each step shrinks p by this share times lr; at least 0. From scratch, about a
            tenth of AdamW's. Default: 0.0.
        decay: 'proximal' or 'decoupled', which is AdamW's (the authors' ``no_prox=True``). Win
            and Schedule-Free, whose decay is at y, need 'proximal'. Default: 'proximal'.
        {cautious}
        {accelerations}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Xie et al., arXiv:2208.06677, Algorithm 1. Start-up and bias correction are those of the
        authors' code, github.com/sail-sg/Adan. It has no Win: the combination is this project's.
        {cautious_source}
        {win_source}
        {average_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import Adan
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = Adan(model.parameters(), lr=5e-3, weight_decay=0.02)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> optimizer.zero_grad()
    """

    description = "Adaptive Nesterov momentum"
    shared_clock = True
    decays = 3
    square_beta = 2
    spare = ("neg_pre_grad",)  # if missing, the gradient's next change counts as 0
    space: ClassVar[Space] = {
        "lr": ("log", 1e-4, 0.3),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 5e-3, 0.5),
        "one_minus_beta2": ("log", 5e-3, 0.3),
        "one_minus_beta3": ("log", 1e-3, 0.2),
        "warmup": ("linear", 0.0, 0.5),
    }
    # The authors' README and issues: from scratch 5 to 10 times AdamW's lr, beginning with 5, and
    # twice its warm-up; weight decay as in nearly all their recipes. AdamW's lr is torch's 1e-3.
    recommended: ClassVar[Mapping[str, Any]] = {"lr": 5e-3, "weight_decay": 2e-2, "warmup": 0.2}
    win_recommended: ClassVar[Mapping[str, Any]] = recommended  # Win's: the plain optimizer's
    presets: ClassVar[Presets] = (
        {
            "origin": "short-runs",
            "lr": 2e-2,
            "betas": (0.8, 0.9, 0.96),
            "weight_decay": 2e-2,
            "warmup": 0.2,
        },
        {"origin": "authors-tenfold", "lr": 1e-2, "weight_decay": 2e-2, "warmup": 0.2},
        {"origin": "authors-vision", "lr": 1.5e-2, "weight_decay": 2e-2, "warmup": 0.2},
        {
            "origin": "authors-language",
            "lr": 1.5e-3,
            "betas": (0.9, 0.9, 0.999),
            "weight_decay": 2e-2,
            "warmup": 0.1,
        },
    )
    win_presets: ClassVar[Presets] = presets
    forms = ("win", "win2", "sf", "nema", "mars", "grokfast")
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "win": {"decay": "proximal"},
        "win2": {"decay": "proximal"},
        "schedule-free": {"decay": "proximal", "cautious": False, "cautious_decay": False},
    }
    # Nobody has published one: the rates of the plain form, the rest of Schedule-Free's AdamW.
    sf_space: ClassVar[Space] = {
        "one_minus_beta1": ("log", 1e-2, 0.3),
        "warmup": ("linear", 0.0, 0.2),
    }
    sf_presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 1e-2, "weight_decay": 2e-2, "warmup": 0.05},
        {"origin": "authors-rate", "lr": 5e-3, "weight_decay": 2e-2, "warmup": 0.05},
    )

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decay: str = "proximal",
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
            "decay": decay,
            "cautious": cautious,
            "cautious_decay": cautious_decay,
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
        check.one_of("decay", group["decay"], ("proximal", "decoupled"))
        super().validate(group)

    def direction(self, group: Group) -> Part:
        """Return Adan's direction."""
        return UNAVERAGED if group["acceleration"] == "schedule-free" else ADAN

    def unaccelerated(self, group: Group) -> Part:
        """Return proximal or decoupled decay, as the group has it."""
        return PROXIMAL if group["decay"] == "proximal" else DECOUPLED

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return betas and bias corrections; the first change of a gradient counts as 0."""
        b1, b2, b3 = group["betas"]
        c2, c3 = debias(b2, step), root(debias(b3, step))
        seen = 0.0 if fresh else later(step)
        others = b2, 1.0 - b2, b3, 1.0 - b3
        if group["acceleration"] == "schedule-free":
            return seen, *others, c2, c3, group["eps"]
        return seen, b1, 1.0 - b1, *others, debias(b1, step), c2, c3, group["eps"]

    @torch.no_grad()
    def restart_opt(self) -> None:
        """Set averages and step counts to 0: the paper's restart, which no step does by itself."""
        self._settle()
        for group in self.param_groups:
            counter = group.get("step")
            group["step"] = counter.zero_() if isinstance(counter, Tensor) else 0
            for p in group["params"]:
                state = self.state.get(p, {})
                for name in ("exp_avg", "exp_avg_diff", "exp_avg_sq"):
                    if name in state:
                        state[name].zero_()
