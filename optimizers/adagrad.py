"""AdaGrad: steps divided by the root of the sum of all squared gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from autotune.kernels.layout import precision
from autotune.kernels.rule import Part
from autotune.kernels.rules.adagrad import ADAGRAD, BY_ROWS
from autotune.optimizers import check, collect, rows, sharded, transforms
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar

if TYPE_CHECKING:
    from autotune.optimizers.gradients import Given


@documented
class Adagrad(RuleOptimizer):
    """AdaGrad: divide each gradient by the root of the sum of its squares so far.

    With the gradient g of the parameter p, the sum S, which begins at
    ``initial_accumulator_value``, and t counted from 1::

        g = g + weight_decay p
        S = S + g^2
        u = g / (sqrt(S) + eps) / (1 + (t - 1) lr_decay)
        p = p - lr u

    With accumulate='rows' it is the AdaGrad-Norm of AdAdaGrad's authors, as their code has it. A
    row of a matrix and an output channel of a convolution share one sum, to which the squared norm
    of their gradient is added. To the sums of any other tensor, its squared gradient is added, and
    the row norms of the matrix before it among the parameters, as if it were that matrix's bias.
    The decay is along the gradient, not along p::

        B = momentum B + (1 - momentum) g
        u = (B / (sqrt(S) + eps) + weight_decay g) / (1 + (t - 1) lr_decay)

    {win}
    Here w is 0, as the decay is in the gradient.

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. Default: 1e-2.
        lr_decay: How fast steps shrink with t, beside any schedule; at least 0. Default: 0.0.
        weight_decay: Times p, added to the gradient, or by rows as above; at least 0. Default: 0.0.
        initial_accumulator_value: What S begins at, at least 0. Default: 0.0.
        eps: Added to the root of S, at least 0, so that nothing is divided by 0. Default: 1e-10.
        accumulate: 'elements', or 'rows', which is for replaying that code: it depends on the order
            of parameters, and takes neither DTensors nor ``capturable`` nor ``max_grad_norm``.
            Default: 'elements'.
        momentum: How much of B a step keeps, in [0, 1); only by rows. Default: 0.0.
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Duchi et al., JMLR 12, 2011, as torch.optim.Adagrad computes it. By rows: Lau et al.,
        arXiv:2402.11215, adagradnorm.py of github.com/timlautk/AdAdaGrad.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers.adagrad import Adagrad
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = Adagrad([p], lr=0.1)
        >>> p.square().sum().backward()
        >>> optimizer.step()
        >>> p.detach()
        tensor([0.9000])
    """

    description = "Gradients over the root of the sum of their squares"
    timescale = False
    # As Adam's without a timescale: the L2 term is divided by the size of gradients.
    space: ClassVar[Space] = {"lr": ("log", 1e-4, 1.0), "warmup": ("linear", 0.0, 0.5)}
    presets: ClassVar[Presets] = (
        {"origin": "large-step", "lr": 0.1, "warmup": 0.2},
        # Its defaults in Keras.
        {
            "origin": "keras",
            "lr": 1e-3,
            "initial_accumulator_value": 0.1,
            "eps": 1e-7,
            "warmup": 0.1,
        },
    )
    win_presets: ClassVar[Presets] = presets

    unfit: ClassVar[Mapping[str, Mapping[Any, str]]] = {
        "gradient_filter": {"mars": "which has no average of gradients to correct"}
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        accumulate: str = "elements",
        momentum: float = 0.0,
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
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "accumulate": accumulate,
            "momentum": momentum,
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
        """Refuse what is out of range, and a momentum that would not be used."""
        super().validate(group)
        for name in ("lr_decay", "initial_accumulator_value"):
            check.at_least_zero(name, group[name])
        check.one_of("accumulate", group["accumulate"], ("elements", "rows"))
        check.fraction("momentum", group["momentum"])
        if group["accumulate"] == "rows":
            self._refuse_by_rows(group)
        if group["accumulate"] == "elements" and group["momentum"]:
            raise ValueError(
                f"momentum must be 0 unless accumulate is 'rows', got {float(group['momentum']):g}"
            )

    def _refuse_by_rows(self, group: Group) -> None:
        if self.capturable:
            raise ValueError("capturable must be False when accumulate is 'rows', got True")
        for name in transforms.active(group, transforms.OF_GRADIENTS):
            raise ValueError(
                f"{name} must be off when accumulate is 'rows', which adds up squares of gradients "
                f"as they come, got {group[name]!r}"
            )
        if group["max_grad_norm"]:
            raise ValueError(
                "max_grad_norm must be 0 when accumulate is 'rows', got "
                f"{float(group['max_grad_norm']):g}; clip gradients before the step"
            )

    def direction(self, group: Group) -> Part:
        """Return AdaGrad's direction, by elements or by rows."""
        return BY_ROWS if group["accumulate"] == "rows" else ADAGRAD

    def decay(self, group: Group) -> float:
        """Return 0: the decay is in the gradient."""
        return 0.0

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the L2 term, what a new sum begins at, and the share of a step that is left."""
        begin = float(group["initial_accumulator_value"]) if fresh else 0.0
        share = 1.0 / (1.0 + (step - 1.0) * group["lr_decay"])
        decay, keep = float(group["weight_decay"]), group["momentum"]
        if group["accumulate"] == "rows":
            return begin, share, keep, 1.0 - keep, decay, group["eps"]
        return decay, begin, share, group["eps"]

    def _advance(self, given: Given | None) -> None:
        """Take one step; where sums are kept by rows, find before it what is added to them."""
        found = self._by_rows(given)
        self._give(found)
        super()._advance(given)
        for p, _ in found:
            self.state[p].pop("squares", None)
            if not self.state[p]:  # the step was skipped, as it had overflowed
                del self.state[p]

    def _by_rows(self, given: Given | None) -> list[tuple[Tensor, Tensor]]:
        """Return the parameters whose sums are kept by rows and have a gradient, with it."""
        groups = [group for group in self.param_groups if group["accumulate"] == "rows"]
        found = [pair for group in groups for pair in collect.with_gradient(self, group, given)]
        if any(sharded.is_sharded(p) for p, _ in found):
            raise ValueError("accumulate='rows' takes whole tensors, got a DTensor; use 'elements'")
        return found

    def _give(self, found: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep what each gradient adds to its sums; GradScaler may leave its scale to the step."""
        scale: Tensor | None = getattr(self, "grad_scale", None)
        grads = [g.to(precision(p)) for p, g in found]
        if scale is not None:
            grads = [g / scale.to(g) for g in grads]
        for (p, _), squares in zip(found, rows.added(grads), strict=True):
            kept = torch.empty_like(p, dtype=self.state_dtype or precision(p))
            self.state[p]["squares"] = kept.copy_(squares)
