"""Learning rates of layers by the noise of their gradients, after LANTON (arXiv:2510.14009)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from autotune.optimizers import check, matrices, orthogonal
from autotune.optimizers.controller import Controller, Grads, finite
from autotune.optimizers.parts import Parts, layers

_KINDS = ("matrix", "table", "vector")  # hidden matrices; embeddings and heads; what has one axis


class LANTON(Controller):
    """Give layers with noisier gradients smaller steps; for transformers of many equal blocks.

    Of the hidden matrices of each layer l, of its embeddings and heads, and of its vectors, with
    the gradients G of this step and G' of the one before, or those of two halves of a batch, and
    the norm that is dual to the one that steps are measured in::

        H_l = keep H_l + (1 - keep) |G - G'|^2                  (H_l begins at 0)
        a_l = alpha / sqrt(alpha^2 + H_l)
        multiplier_l = sqrt(a_l / the largest a of the same kind)

    So the quietest layer of a kind keeps its rate, and none is raised. The norm is the sum of
    absolute values for optimizers that divide by the size of gradients or take their signs, the
    root of the sum of squares for SGD, and for Muon's matrices the sum of singular values, about
    as Newton-Schulz steps find it.

    Args:
        optimizer: One of this package; its groups are split by layer. Make a schedule after this.
        model: Whose layers they are.
        alpha: The noise from which on a rate is lowered, in the unit of the norm; above 0. The
            smaller, the more the layers differ, up to the fourth root of the ratio of their H.
            Default: 1.0.
        keep: How much of H a measurement keeps, in [0, 1). Default: 0.95.
        interval: Steps from one measurement to the next. Default: 1, as in the paper.

    Raises:
        TypeError: A value is of a wrong type.
        ValueError: No kind has two layers, a value is out of its range, or the optimizer's groups
            cannot be controlled.

    Sources:
        Hao et al., arXiv:2510.14009, whose optimizer orthogonalises all hidden matrices; ``muon``
        with this is its like. Other optimizers with it are this project's. The authors' code is not
        public, so nothing is compared with it, and the defaults are not theirs.

    Example:
        >>> import torch
        >>> from autotune.optimizers import LANTON, build
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(3)])
        >>> optimizer = build("adamw", model, {"lr": 1e-3})
        >>> controller = LANTON(optimizer, model, alpha=0.1)
        >>> for step in range(3):
        ...     optimizer.zero_grad()
        ...     model(torch.randn(2, 4)).square().mean().backward()
        ...     controller.step()
        ...     optimizer.step()
        >>> max(controller.multipliers.values())
        1.0
    """

    description = "Smaller steps of layers whose gradients change more from step to step (LANTON)"
    options: ClassVar[tuple[str, ...]] = ("alpha", "keep", "interval")
    decays: ClassVar[tuple[str, ...]] = ("keep",)

    def __init__(
        self,
        optimizer: Optimizer,
        model: Module,
        *,
        alpha: float = 1.0,
        keep: float = 0.95,
        interval: int = 1,
    ) -> None:
        super().__init__(optimizer, _by_kind(model), interval)
        check.fraction("keep", keep)
        if not (math.isfinite(check.number("alpha", alpha)) and alpha > 0.0):
            raise ValueError(f"alpha must be above 0 and finite, got {float(alpha):g}")
        kinds = [_kind(name) for name in self.parts]
        if all(kinds.count(kind) < 2 for kind in _KINDS):
            raise ValueError(
                "LANTON compares layers of a kind (hidden matrices, embeddings and heads, vectors),"
                " and the model has no two of any; train without it"
            )
        self._alpha, self._keep = float(alpha), float(keep)
        self._noise = dict.fromkeys(self.parts, 0.0)  # H
        self.begin()

    def measure(self, first: Grads, second: Grads, halves: bool) -> None:
        """Move the noise of each layer, and set the multipliers by it."""
        scale = 2.0 if halves else 1.0
        norms = self._norms({p: (second[p] - first[p]) * scale for p in second if p in first})
        if not finite([*norms.values()]):
            return
        for name, norm in norms.items():
            self._noise[name] = self._keep * self._noise[name] + (1.0 - self._keep) * norm**2
        self.multipliers = lowered(self._noise, self._alpha)

    def remembered(self) -> dict[str, Any]:
        """Return the noise of each layer."""
        return {"noise": dict(self._noise)}

    def recall(self, kept: Mapping[str, Any]) -> None:
        """Take it back."""
        self._noise = dict(kept["noise"])

    def _norms(self, changes: Grads) -> dict[str, float]:
        """Return the norm of each layer's change; a device is waited for once."""
        turned = {
            p
            for group in self.optimizer.param_groups
            for p in group["params"]
            if group.get("matrices")
        }
        found = {
            name: self._norm([changes[p] for p in own if p in changes], own[0] in turned)
            for name, own in self.parts.items()
        }
        there = [norm for norm in found.values() if norm is not None]
        values = iter(torch.stack([n.to(there[0].device) for n in there]).tolist() if there else [])
        return {name: next(values) for name, norm in found.items() if norm is not None}

    def _norm(self, changes: Sequence[Tensor], turned: bool) -> Tensor | None:
        if not changes:
            return None
        if turned:
            return torch.stack(_nuclear([change.flatten(1) for change in changes])).sum()
        power = 2.0 if self.optimizer.family == "sgd" else 1.0
        each = [torch.linalg.vector_norm(change.float(), power) for change in changes]
        whole: Tensor = torch.linalg.vector_norm(torch.stack(each), power)
        return whole


def lowered(noise: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Return the multipliers of layers, each compared with the quietest of its kind.

    Args:
        noise: H of each layer; its kind is what its name says after a colon.
        alpha: As ``LANTON`` has it.

    Example:
        >>> lowered({"a:matrix": 0.0, "b:matrix": 15.0, "c:vector": 99.0}, 1.0)
        {'a:matrix': 1.0, 'b:matrix': 0.5, 'c:vector': 1.0}
    """
    shares = {name: alpha / math.sqrt(alpha**2 + each) for name, each in noise.items()}
    most = {
        kind: max((share for name, share in shares.items() if _kind(name) == kind), default=1.0)
        for kind in _KINDS
    }
    return {name: math.sqrt(share / most[_kind(name)]) for name, share in shares.items()}


def _by_kind(model: Module) -> Parts:
    """Return the parameters of each layer, those of a kind apart."""
    hidden, found = matrices.ids(model), Parts()
    for name, own in layers(model).items():
        for p in own:
            kind = "matrix" if id(p) in hidden else "table" if p.ndim > 1 else "vector"
            found.setdefault(f"{name}:{kind}", []).append(p)
    return found


def _kind(name: str) -> str:
    return name.rpartition(":")[2]


def _nuclear(changes: Sequence[Tensor]) -> list[Tensor]:
    """Return about the sum of each matrix's singular values."""
    turned = orthogonal.orthogonalised(changes, orthogonal.COEFFICIENTS, 5, 1e-7)
    return [(m * o.to(m.dtype)).sum().float() for m, o in zip(changes, turned, strict=True)]
