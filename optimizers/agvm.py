"""Learning rates of a model's modules by how noisy their gradients are: AGVM (arXiv:2210.11078).

The gradients of a batch's two halves agree less in a noisy module. Its rate is lowered, so that all
modules' gradients vary as much as those of one, the backbone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from autotune.optimizers import check, parts
from autotune.optimizers.controller import Controller, Grads, finite

_TINY = 1e-6
_LEAST, _MOST = 0.5, 10.0  # of the ratio of two disagreements

Pair = tuple[Sequence[Tensor], Sequence[Tensor]]


class AGVM(Controller):
    """Give noisier modules of a model smaller steps; for large batches and unlike modules.

    This is adaptive gradient variance modulation.

    Of each module i, with the gradients a and b of all its parameters on two halves of a batch, or
    at two steps in a row, and of the module 0 that it is compared with, at every ``interval``-th
    step from ``start`` on::

        c_i = 1 - cos(a_i, b_i)
        f_i = keep f_i + (1 - keep) sqrt(clip((c_0 + 1e-6) / (c_i + 1e-6), 0.5, 10))

    The rate of the module's steps from ``start`` on is lr f_i; f_i begins at 1. With an optimizer
    that keeps ``exp_avg_sq`` v by its decay b2, a and b are divided by sqrt(b2 v + (1 - b2) a^2) +
    eps, and so by b, before they are compared.

    Args:
        optimizer: One of this package; its groups are split by module. Make a schedule after this.
        model: Whose modules they are.
        modules: Names of modules, the first of which the others are compared with. What is in none
            keeps its rate. None: the children of the model, compared with that which has the most
            parameters.
        interval: Steps from one measurement to the next. Default: 5.
        keep: How much of the factors a measurement keeps, in [0, 1). Default: 0.97.
        start: The first step whose rates are changed, counted from 0. None: the first whose rate is
            not above that of the step before, where a warm-up ends. Default: None.
        as_published: Divide halves as the authors' code does, which takes a half of each half's
            mean for an optimizer with ``exp_avg_sq``, rather than the mean. Default: False.

    Raises:
        TypeError: A value is of a wrong type.
        ValueError: There is one module only, no module of a name, a value is out of its range, or
            the optimizer's groups cannot be controlled.

    Sources:
        Xue et al., arXiv:2210.11078, as in github.com/Sense-X/AGVM, whose halves are those of two
        groups of processes. It has no steps in a row: that is this project's, for loops that do not
        accumulate gradients.

    Example:
        >>> import torch
        >>> from autotune.optimizers import AGVM, create
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))
        >>> optimizer = create("adamw", model.parameters(), lr=1e-3)
        >>> controller = AGVM(optimizer, model, interval=1, keep=0.9)
        >>> for step in range(4):
        ...     optimizer.zero_grad()
        ...     model(torch.randn(2, 4)).square().mean().backward()
        ...     controller.step()
        ...     optimizer.step()
        >>> sorted(controller.multipliers)
        ['0', '1']
    """

    description = "Steps of modules in proportion to how well their gradients agree (AGVM)"
    options: ClassVar[tuple[str, ...]] = ("interval", "keep", "start")
    begins: ClassVar[tuple[str, ...]] = ("start",)
    decays: ClassVar[tuple[str, ...]] = ("keep",)

    def __init__(
        self,
        optimizer: Optimizer,
        model: Module,
        *,
        modules: Sequence[str] | None = None,
        interval: int = 5,
        keep: float = 0.97,
        start: int | None = None,
        as_published: bool = False,
    ) -> None:
        own = parts.modules(model) if modules is None else parts.chosen(model, modules)
        super().__init__(optimizer, own, interval)
        check.fraction("keep", keep)
        check.switch("as_published", as_published)
        if len(self.parts) < 2:
            raise ValueError(
                "AGVM compares modules, and the model has "
                f"{'one' if self.parts else 'none'} with parameters to train"
                f"{''.join(f', {name!r}' for name in self.parts)}; train without it"
            )
        sizes = {name: sum(map(torch.numel, own)) for name, own in self.parts.items()}
        first = max(sizes, key=sizes.__getitem__) if modules is None else next(iter(sizes))
        self._anchor, self._keep = list(sizes).index(first), float(keep)
        self._start = None if start is None else check.count("start", start)
        self._rate: float | None = None  # of the step before, until the start is known
        self._as_published = bool(as_published)
        self.begin()

    @torch.no_grad()
    def step(self) -> None:
        """Do as ``Controller.step``, and note where the warm-up ends."""
        if self._start is None:
            rate = float(self.optimizer.param_groups[0]["lr"])
            if self._rate is not None and rate <= self._rate:
                self._start = self.steps
            self._rate = rate
        super().step()

    def measure(self, first: Grads, second: Grads, halves: bool) -> None:
        """Move the factors by how much the gradients of each module disagree."""
        if self._start is None or self.steps < self._start:
            return
        scale = 2.0 if halves and not self._as_published else 1.0
        found = _disagreements(self._pairs(first, second, scale))
        if finite(found):
            factors = updated([*self.multipliers.values()], found, self._keep, self._anchor)
            self.multipliers = dict(zip(self.parts, factors, strict=True))

    def written(self) -> Mapping[str, float]:
        """Return the factors, but 1 before ``start``."""
        begun = self._start is not None and self.steps >= self._start
        return self.multipliers if begun else dict.fromkeys(self.parts, 1.0)

    def remembered(self) -> dict[str, Any]:
        """Return where it starts, and the rate before."""
        return {"start": self._start, "rate": self._rate}

    def recall(self, kept: Mapping[str, Any]) -> None:
        """Take them back."""
        self._start, self._rate = kept["start"], kept["rate"]

    def _pairs(self, first: Grads, second: Grads, scale: float) -> Iterable[Pair]:
        """Yield the gradients of each module as its optimizer scales them."""
        settings = {p: group for group in self.optimizer.param_groups for p in group["params"]}
        for own in self.parts.values():
            both = [p for p in own if p in first and p in second]
            yield tuple(  # type: ignore[misc]  # two
                [self._scaled(p, grads[p] * scale, settings[p]) for p in both]
                for grads in (first, second)
            )

    def _scaled(self, p: Tensor, g: Tensor, group: Mapping[str, Any]) -> Tensor:
        if "exp_avg_sq" not in self.optimizer.rule(dict(group)).buffers or "betas" not in group:
            return g
        square = self.optimizer.state.get(p, {}).get("exp_avg_sq")
        beta = float(group["betas"][self.optimizer.square_beta])
        known = torch.zeros_like(g) if square is None else square.to(g.dtype)
        return preconditioned(g, known, beta, float(group["eps"]))


def disagreement(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return one minus the cosine between a module's gradients on two halves of a batch.

    Args:
        first: Of all the module's parameters, on one half.
        second: On the other. If either is 0 everywhere, their cosine counts as 0.
    """
    return _disagreements([(first, second)])[0]


def _disagreements(pairs: Iterable[Pair]) -> list[float]:
    """Return those of many modules; a device is waited for once."""
    sums = [torch.stack([_product(a, b), _product(a, a), _product(b, b)]) for a, b in pairs]
    home = sums[0].device if sums else torch.device("cpu")
    found = torch.stack([each.to(home) for each in sums]).tolist()
    return [_apart(*each) for each in found]


def _product(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Return the inner product of gradients, in double precision where the device has it."""
    dtype = torch.float32 if any(g.device.type == "mps" for g in first) else torch.float64
    each = [
        (a.detach().to(dtype) * b.detach().to(dtype)).sum()
        for a, b in zip(first, second, strict=True)
    ]
    if not each:
        return torch.zeros((), dtype=dtype, device="cpu")
    return torch.stack([part.to(each[0].device) for part in each]).sum()


def _apart(product: float, first: float, second: float) -> float:
    size = math.sqrt(first) * math.sqrt(second)
    return 1.0 - product / size if size else 1.0


def preconditioned(g: Tensor, exp_avg_sq: Tensor, beta2: float, eps: float) -> Tensor:
    """Return a gradient as an optimizer of Adam's kind would scale it, for ``disagreement``.

    Args:
        g: The gradient.
        exp_avg_sq: The optimizer's mean square before its step.
        beta2: How much of it a step keeps.
        eps: Added to the root.
    """
    return g / ((beta2 * exp_avg_sq + (1.0 - beta2) * g.square()).sqrt() + eps)


def updated(
    factors: Sequence[float],
    disagreements: Sequence[float],
    keep: float = 0.97,
    anchor: int = 0,
) -> list[float]:
    """Return the factors on the modules' learning rates after another measurement.

    Args:
        factors: Those before; they begin at 1.
        disagreements: Of each module now.
        keep: How much of the factors stays, in [0, 1).
        anchor: Which module the others are compared with.

    Returns:
        Between the roots of 0.5 and of 10 in the long run.

    Raises:
        ValueError: There is none or another number of disagreements, or ``keep`` is out of range.

    Example:
        >>> updated([1.0, 1.0], [0.2, 0.8], keep=0.0)[1] < 1.0
        True
    """
    if not factors or len(factors) != len(disagreements):
        raise ValueError(
            f"disagreements must be one for each of {len(factors)} modules, got "
            f"{len(disagreements)}"
        )
    check.fraction("keep", keep)
    reference = disagreements[anchor] + _TINY
    ratios = [min(max(reference / (each + _TINY), _LEAST), _MOST) for each in disagreements]
    return [
        keep * factor + (1.0 - keep) * math.sqrt(ratio)
        for factor, ratio in zip(factors, ratios, strict=True)
    ]
