"""AdaHessian: Adam by the curvature of the loss (arXiv:2006.00719)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from autotune.kernels.layout import precision
from autotune.kernels.rule import Part
from autotune.kernels.rules.adahessian import ADAHESSIAN, RAISED
from autotune.kernels.rules.decay import DECOUPLED
from autotune.optimizers import check, curvature, gradients, sharded
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar, debias, root

_KERNELS = (1, 1, 1, 0)
_AGAIN = "AdaHessian differentiates gradients once more"


@documented
class AdaHessian(RuleOptimizer):
    """AdaHessian: divide the mean gradient by the curvature of the loss, not by its own size.

    With betas b1 and b2, the gradient g of the parameter p, random signs z, the Hessian H, and t
    counted from 1::

        D = |z (H z)|, and its mean over each block
        m = b1 m + (1 - b1) g
        h = b2 h + (1 - b2) D^2
        u = m / (1 - b1^t) / (sqrt(h / (1 - b2^t))^hessian_power + eps)
        p = (1 - lr weight_decay) p - lr u

    H z takes a second backward pass through the graph of the gradients. Compute these by
    ``optimizer.backward(loss)``: ``loss.backward(create_graph=True)`` does as well, but binds
    parameters and gradients in a cycle that is freed late. ``step`` frees the graph. z is the same
    for the same step and tensor, so that a run can be repeated.

    {win}
    Here w is ``weight_decay``.

    Args:
        {params}
        lr: Learning rate: a number of at least 0, or a tensor that holds one. Default: 0.15.
        {betas}
        eps: Added to the power of the root of h, at least 0, so that nothing is divided by 0.
            Default: 1e-4.
        weight_decay: Each step shrinks p by this share times lr; at least 0. Default: 0.0.
        hessian_power: How much of the curvature is divided by, from 0 to 1. Default: 1.0.
        block_sizes: How many neighbours share the mean of their D, in tensors of 1, 2, 3 and 4
            dimensions: 1 is each for itself, 0 is a row, or with 4 dimensions a kernel. It is 0 for
            all in the authors' code for language. Default: (1, 1, 1, 0).
        {acceleration}
        {transforms}
        {max_grad_norm}
        {backend}

    Raises:
        {raises}

    Sources:
        Yao et al., arXiv:2006.00719, Algorithm 1. Like the authors' code it averages the sizes of
        z (H z), where the paper averages them with their signs.
        {win_source}
        {transform_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers.adahessian import AdaHessian
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = AdaHessian([p], lr=0.5)
        >>> optimizer.backward(p.square().sum())
        >>> optimizer.step()
        >>> p.detach()
        tensor([0.5000])
    """

    description = "Adam by the curvature of the loss, with a second backward pass"
    second_order = True
    stackable = False
    spare = ("hessian",)  # made anew for each step
    space: ClassVar[Space] = {
        "lr": ("log", 1e-3, 1.0),
        "eps": ("log", 1e-8, 1e-2),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "one_minus_beta1": ("log", 2e-2, 0.5),
        "one_minus_beta2": ("log", 1e-4, 0.1),
        "warmup": ("linear", 0.0, 0.5),
    }
    # The authors' settings for CIFAR, whose script divides a decay of 5e-4 by lr, and for IWSLT14.
    presets: ClassVar[Presets] = (
        {"origin": "authors-vision", "weight_decay": 5e-4 / 0.15, "warmup": 0.0},
        {
            "origin": "authors-language",
            "lr": 0.047,
            "betas": (0.9, 0.98),
            "weight_decay": 1e-4,
            "warmup": 0.1,
        },
    )
    win_presets: ClassVar[Presets] = presets

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.15,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-4,
        weight_decay: float = 0.0,
        *,
        hessian_power: float = 1.0,
        block_sizes: tuple[int, int, int, int] = _KERNELS,
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
        if check.plain(capturable):
            raise ValueError(f"{_AGAIN}, which no CUDA graph captures; leave capturable=True off")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "hessian_power": hessian_power,
            "block_sizes": block_sizes,
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
        self._step_supports_amp_scaling = True  # so that GradScaler calls a step that refuses it

    def validate(self, group: Group) -> None:
        """Refuse a power or a block out of range."""
        super().validate(group)
        power = check.number("hessian_power", group["hessian_power"])
        if not 0.0 <= power <= 1.0:
            raise ValueError(f"hessian_power must be in [0, 1], got {power:g}")
        sizes = group["block_sizes"]
        if not isinstance(sizes, tuple) or len(sizes) != len(_KERNELS):
            raise ValueError(f"block_sizes must be {len(_KERNELS)} numbers, got {sizes!r}")
        for i, size in enumerate(sizes):
            check.count(f"block_sizes[{i}]", size)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; refuse tensors that blocks do not fill, or that processes share."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            for p in group["params"]:
                if sharded.is_sharded(p):
                    raise ValueError(f"{_AGAIN}, which DTensors do not, got one; use whole tensors")
                curvature.length(p.shape, group["block_sizes"])
        except ValueError:
            self.param_groups.pop()
            self.tensors = self.parameters()
            raise

    def direction(self, group: Group) -> Part:
        """Return AdaHessian's direction."""
        return ADAHESSIAN if group["hessian_power"] == 1.0 else RAISED

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay."""
        return DECOUPLED

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return betas, bias corrections, the power and ``eps``."""
        b1, b2 = group["betas"]
        c1, c2 = debias(b1, step), root(debias(b2, step))
        return b1, 1.0 - b1, b2, 1.0 - b2, c1, c2, group["hessian_power"], group["eps"]

    def backward(self, loss: Tensor) -> None:
        """Compute gradients that can be differentiated again; add them to those there are.

        Args:
            loss: A tensor of one number.
        """
        params = [p for p in self.parameters() if p.requires_grad]
        with torch.enable_grad():
            made = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
            for p, g in zip(params, made, strict=True):
                if g is not None:
                    p.grad = g if p.grad is None else p.grad + g

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Differentiate the gradients, free their graph, and take one step.

        Args:
            closure: Called first, if given: it computes the gradients, and returns the loss.

        Returns:
            The loss that ``closure`` returned, or None.

        Raises:
            RuntimeError: The gradients have no graph, or an operation of the model cannot be
                differentiated twice; it is compiled, called inside a backward pass, by GradScaler,
                or by one of several processes.
            ValueError, TypeError: As other optimizers' steps.
        """
        self._refuse_surroundings()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._probe()
        super().step()
        for p in self.parameters():
            self.state.get(p, {}).pop("hessian", None)
        return loss

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]  # as in the base

    def _refuse_surroundings(self) -> None:
        """Refuse what a second backward pass cannot go through."""
        if torch.compiler.is_compiling():
            raise RuntimeError(
                f"{_AGAIN}, which compiled code cannot; compile nothing but the loss"
            )
        scaled = [self.__dict__.pop(name, None) for name in ("grad_scale", "found_inf")]
        if any(value is not None for value in scaled):
            raise RuntimeError(
                f"{_AGAIN}, which GradScaler does not undo; train in bfloat16 or float32 without it"
            )
        if torch._C._current_graph_task_id() != -1:
            raise RuntimeError(f"{_AGAIN}, so it cannot step inside a backward pass; step after it")
        distributed = torch.distributed
        several = distributed.is_available() and distributed.is_initialized()
        if several and distributed.get_world_size() > 1:
            raise RuntimeError(
                f"{_AGAIN}, each process those of its own batch; train in one process"
            )

    def _probe(self) -> None:
        """Keep the curvature of each parameter that has a gradient, and free the graph."""
        name, order = type(self).__name__, {p: i for i, p in enumerate(self.parameters())}
        found = [
            (p, g, check.read(group["block_sizes"]))
            for group in self.param_groups
            for p, g in gradients.checked(name, group["params"], None)
        ]
        if not found:
            return
        params, grads, _ = zip(*found, strict=True)
        steps = [int(self.state.get(p, {}).get("step", 0)) for p in params]
        probes = [curvature.signs(p, step, order[p]) for p, step in zip(params, steps, strict=True)]
        for (p, g, blocks), sizes in zip(found, _sizes(params, grads, probes), strict=True):
            p.grad = g.detach()
            kept = torch.empty_like(p, dtype=self.state_dtype or precision(p))
            shared = curvature.averaged(sizes, curvature.length(p.shape, blocks))
            self.state[p]["hessian"] = kept.copy_(shared)


def _sizes(
    params: Sequence[Tensor], grads: Sequence[Tensor], probes: Sequence[Tensor]
) -> list[Tensor]:
    """Return the curvature of parameters; refuse gradients that cannot be differentiated."""
    if not any(g.requires_grad for g in grads):
        # torch.distributed.checkpoint makes state by a step along zeros.
        if not any(bool(g.any()) for g in grads):
            return [torch.zeros_like(p) for p in params]
        raise RuntimeError(
            f"{_AGAIN}, got gradients without a graph; compute them by "
            "optimizer.backward(loss) or loss.backward(create_graph=True)"
        )
    try:
        return curvature.estimated(params, grads, probes)
    except RuntimeError as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise RuntimeError(
            f"{_AGAIN}, which this model does not allow ({said}); compute attention under "
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), and do not compile the model"
        ) from error
