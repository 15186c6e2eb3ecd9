"""Muon: orthogonalised momentum for hidden matrices, and any other rule for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim.optimizer import ParamsT

from autotune.kernels.layout import precision
from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.given import GIVEN
from autotune.optimizers import check, collect, matrices, orthogonal, registry, sharded, transforms
from autotune.optimizers.arguments import documented
from autotune.optimizers.base import Group, Presets, RuleOptimizer, Space
from autotune.optimizers.gradients import Given
from autotune.optimizers.groups import split
from autotune.optimizers.options import AHEAD
from autotune.optimizers.scalars import Scalar

_SHARED = ("acceleration", "reckless_steps", *AHEAD, "max_grad_norm", "lr", "weight_decay")
_BETAS = (0.9, 0.95)
_ADJUSTMENTS = ("original", "match_rms_adamw")
# Recommended beside the code of Muon's author for a transformer.
_AUTHORS = {
    "lr": 0.02,
    "weight_decay": 0.01,
    "aux_lr": 3e-4,
    "aux_weight_decay": 0.01,
    "warmup": 0.1,
}
# The steps of matrices are then as large as AdamW's, so its settings are a start (Moonshot).
_MATCHED = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.1, "aux_weight_decay": 0.1}


@documented
class Muon(RuleOptimizer):
    """Muon: hidden matrices step by orthogonalised momentum, all else by another rule.

    With the gradient G of a hidden matrix P, momentum b, and B that begins at 0::

        B = b B + (1 - b) G
        M = (1 - b) G + b B                    (nesterov=False: B)
        O = M with its singular values near 1
        P = (1 - lr weight_decay) P - lr r O

    where r is ``adjust_lr_fn`` of P's shape: 'original' sqrt(max(1, rows / columns)),
    'match_rms_adamw' 0.2 sqrt(max(rows, columns)). O comes of ``ns_steps`` Newton-Schulz steps in
    bfloat16. A convolution's weight is a matrix with a row for each output channel. Other
    parameters step by the rule ``aux`` with its own defaults but for the arguments below.

    Hidden matrices are those of a group with ``matrices=True``; where a group does not say, those
    of its tensors that have two dimensions or more. ``Muon.split(model, hyper)`` makes groups of a
    model, in which embeddings and the last layer are with the others, as they should be.

    {win}
    Here x moves along r O, and with ``aux`` along its update; w is ``weight_decay``.

    Args:
        params: An iterable of tensors, of (name, tensor) pairs, or of dictionaries, one for each
            group. Tensors are real, one at least has two dimensions. A group has its tensors under
            'params', and may set ``matrices`` and any argument of Muon or of its ``aux`` rule.
        lr: Learning rate of the matrices: a number of at least 0, or a tensor that holds one.
            Default: 1e-3.
        weight_decay: Each step shrinks matrices by this share times lr; at least 0. Default: 0.1.
        momentum: How much of B a step keeps, in [0, 1). Default: 0.95.
        nesterov: Step along G and B, rather than along B. Default: True.
        ns_coefficients: Of the Newton-Schulz polynomial: 3 numbers.
            Default: (3.4445, -4.775, 2.0315).
        eps: Least norm that a matrix is divided by before; at least 0. Default: 1e-7.
        ns_steps: Newton-Schulz steps, from 1 to 99. Default: 5.
        adjust_lr_fn: 'original', also as None, or 'match_rms_adamw'. Default: 'original'.
        aux: Name of the rule of all other parameters, as 'adamw' or 'adan'. Default: 'adamw'.
        aux_lr: Their learning rate. Default: 3e-4.
        betas: Their betas, as many as the rule has; None is (0.9, 0.95) with 'adamw' and 'adam', as
            Muon's author has them, and another rule's own. Default: None.
        aux_weight_decay: Their weight decay, at least 0. Default: 0.01.
        {acceleration}
        {lookahead}
        backend: What runs the step: 'triton' (CUDA and ROCm), 'numba' (CPU), 'torch' (any device),
            or 'auto'; torch multiplies the matrices. Default: 'auto'.
        stochastic_rounding: Round bfloat16 parameters up or down at random instead of to nearest.
            Default: False.
        compact: Keep Win's extra tensors as bfloat16 differences from the parameter.
            Default: False.
        capturable: Not possible. Default: False.

    Raises:
        TypeError: As for other optimizers.
        ValueError: There is no matrix, a matrix is cut into pieces, ``aux`` is no plain rule of
            this package, ``capturable`` is True, or as for other optimizers.
        ImportError: ``backend`` needs a package that is not installed.

    Sources:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024, with the
        momentum of torch.optim.Muon, which it equals. 'match_rms_adamw': Liu et al.,
        arXiv:2502.16982.
        {win_source}

    Example:
        >>> import torch
        >>> from autotune.optimizers import build
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> optimizer = build("muon", model, {"lr": 0.02, "aux_lr": 3e-4})
        >>> [(g["matrices"], len(g["params"]), g["lr"]) for g in optimizer.param_groups]
        [(True, 1, 0.02), (False, 1, 0.0003), (False, 2, 0.0003)]
    """

    description = "Orthogonalised momentum for hidden matrices, AdamW for the rest"
    family = "sign"
    spare = ("momentum",)
    forms = ("win", "win2", "nema")
    stackable = False
    space: ClassVar[Space] = {
        "lr": ("log", 3e-4, 0.3),
        "aux_lr": ("log", 3e-5, 0.03),
        "decayed": ("choice", ("yes", "no")),
        "timescale": ("log", 30.0, 1e6),
        "aux_weight_decay": ("linear", 0.0, 0.2),
        "one_minus_momentum": ("log", 0.01, 0.3),
        "warmup": ("linear", 0.0, 0.5),
    }
    recommended: ClassVar[Mapping[str, Any]] = _AUTHORS
    win_recommended: ClassVar[Mapping[str, Any]] = _AUTHORS
    # The last is of AlgoPerf's self-tuning submissions in JAX; its betas 0.966 and 0.863 are left
    # out, as another ``aux`` may have none.
    presets: ClassVar[Presets] = (
        {"origin": "matched", **_MATCHED, "lr": 3e-3, "aux_lr": 3e-3, "warmup": 0.1},
        {"origin": "large-step", **_AUTHORS, "lr": 0.05, "aux_lr": 3e-3},
        {
            "origin": "algoperf",
            "lr": 3.9e-3,
            "aux_lr": 1.36e-4,
            "momentum": 0.956,
            "weight_decay": 0.024,
            "aux_weight_decay": 0.024,
            "warmup": 0.05,
        },
    )
    win_presets: ClassVar[Presets] = presets[:2]

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = orthogonal.COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = "original",
        aux: str = "adamw",
        aux_lr: float = 3e-4,
        betas: tuple[float, ...] | None = None,
        aux_weight_decay: float = 0.01,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        lookahead_stepsize: float = 0.5,
        lookahead_ema: float = 0.99,
        backend: str = "auto",
        stochastic_rounding: bool = False,
        compact: bool = False,
        capturable: bool = False,
    ) -> None:
        if capturable:
            raise ValueError(
                "muon multiplies matrices between two steps of a kernel, which no graph of its own "
                "captures, got capturable=True; leave it off"
            )
        own = _BETAS if betas is None and aux in ("adamw", "adam") else betas
        others = {"lr": aux_lr, "weight_decay": aux_weight_decay, "betas": own}
        self._adopt(aux, {name: value for name, value in others.items() if value is not None})
        matrix = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "acceleration": acceleration,
            "reckless_steps": reckless_steps,
            "lookahead_stepsize": lookahead_stepsize,
            "lookahead_ema": lookahead_ema,
            "matrices": True,
        }
        super().__init__(
            params,
            {**self._aux.defaults, **matrix},
            max_grad_norm=0.0,
            backend=backend,
            state_dtype=None,
            stochastic_rounding=stochastic_rounding,
            compact=compact,
        )
        self._scaling = False  # GradScaler's gradients come unscaled: they are added up outside
        if not any(group["matrices"] for group in self.param_groups):
            raise ValueError(
                "muon steps hidden matrices, got parameters without any; use "
                f"'{aux}', or another optimizer that steps what is left"
            )

    def _adopt(self, aux: str, hyper: Mapping[str, Any]) -> None:
        """Take over the rule of the parameters that are no hidden matrices."""
        if not _is_rule(aux):
            raise ValueError(
                f"aux must be the plain name of a rule of this package, as 'adamw', got {aux!r}"
            )
        self._named = (aux, dict(hyper))
        taken = {k: v for k, v in hyper.items() if k == "betas" or k in registry.defaults(aux)}
        self._aux = registry.create(aux, [torch.zeros(1, device="cpu")], **taken)
        # A group of theirs counts steps as they do; matrices need no count.
        self.shared_clock = self._aux.shared_clock  # type: ignore[misc]
        self.decays = self._aux.decays  # type: ignore[misc]

    @classmethod
    def split(cls, model: Module, hyper: Mapping[str, Any]) -> list[Group]:
        """Return a model's parameters in groups: matrices and others, with decay and without."""
        hidden = matrices.ids(model)
        found: list[Group] = []
        for matrix, name, usual in ((True, "weight_decay", 0.1), (False, "aux_weight_decay", 0.01)):
            for group in split(model, hyper.get(name, usual)):
                own = [p for p in group["params"] if (id(p) in hidden) is matrix]
                if own:
                    found.append({**group, "params": own, "matrices": matrix})
        return found

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; if it does not say what its tensors are, one of matrices and one of others.

        What it does not set comes from the constructor.
        """
        given = param_group["params"]
        listed = [given] if isinstance(given, Tensor) else list(given)
        if "matrices" in param_group or not listed:
            self._add({**param_group, "params": listed})
            return
        for matrix in (True, False):
            own = [each for each in listed if matrices.is_matrix(_tensor(each)) is matrix]
            if own:
                self._add({**param_group, "params": own, "matrices": matrix})

    def _add(self, group: Group) -> None:
        """Add a group of one kind."""
        check.switch("matrices", group.setdefault("matrices", True))
        tensors = [_tensor(each) for each in group["params"]]
        if group["matrices"]:
            for p in tensors:
                _refuse(p)
            if sharded.pieces(tensors):
                raise ValueError(_CUT.format("a piece that FSDP has flattened"))
        else:
            own = {k: v for k, v in self._aux.defaults.items() if k not in _SHARED}
            rates = {k: self._aux.defaults.get(k, 0.0) for k in ("lr", "weight_decay")}
            group = {**own, **rates, **group}
        super().add_param_group(group)

    def validate(self, group: Group) -> None:
        """Refuse values out of range; those of ``aux`` as it does itself."""
        super().validate(group)
        if group.get("max_grad_norm"):
            raise ValueError(
                "max_grad_norm must be 0 for muon, as the steps of its matrices are of one size "
                f"whatever their gradients', got {group['max_grad_norm']:g}; clip gradients before"
            )
        if not group["matrices"]:
            self._aux.validate(group)
            return
        for name in transforms.active(group):
            raise ValueError(
                f"{name} must be off for the matrices of muon, got {group[name]!r}; set it in a "
                "group with matrices=False"
            )
        check.fraction("momentum", group["momentum"])
        check.switch("nesterov", group["nesterov"])
        if group["adjust_lr_fn"] is not None:
            check.one_of("adjust_lr_fn", group["adjust_lr_fn"], _ADJUSTMENTS)
        _check_steps(group["ns_steps"], group["ns_coefficients"])

    def direction(self, group: Group) -> Part:
        """Return what orthogonalised, or the direction of ``aux``."""
        return GIVEN if group["matrices"] else self._aux.direction(group)

    def unaccelerated(self, group: Group) -> Part:
        """Return decoupled decay, or what ``aux`` has."""
        return DECOUPLED if group["matrices"] else self._aux.unaccelerated(group)

    def decay(self, group: Group) -> float:
        """Return the weight decay that the application applies."""
        return float(group["weight_decay"]) if group["matrices"] else self._aux.decay(group)

    def shaping(self, group: Group) -> Shaping | None:
        """Return the shaping of ``aux``; matrices have none."""
        return None if group["matrices"] else self._aux.shaping(group)

    def shaping_scalars(self, group: Group, step: Scalar, lr: Scalar) -> tuple[Scalar, ...]:
        """Return the scalars of the shaping of ``aux``."""
        return self._aux.shaping_scalars(group, step, lr)

    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return none for matrices, whose direction is computed before, else those of ``aux``."""
        return () if group["matrices"] else self._aux.scalars(group, step, fresh)

    def _advance(self, given: Given | None) -> None:
        """Take one step: matrices are handed their orthogonalised momentum as their gradient."""
        handed: dict[Tensor, tuple[Tensor, Tensor]] = {}
        ready = self.watch.groups(self)
        for group, plain in zip(self.param_groups, ready, strict=True):
            pairs = collect.with_gradient(self, group, given)
            if plain["matrices"]:
                pairs = self._oriented(plain, pairs)
            for p, g in pairs:
                handed[p] = (p if given is None else given[p][0], g)
        super()._advance(handed)

    def _oriented(
        self, group: Group, pairs: Sequence[tuple[Tensor, Tensor]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return matrices with their updates, and move their momentum."""
        moved = [self._moved(group, p, g).flatten(1) for p, g in pairs]
        turned = orthogonal.orthogonalised(
            moved, group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        rule = group["adjust_lr_fn"]
        return [
            (p, (o.to(m.dtype) * orthogonal.ratio(rule, o.shape)).view(p.shape))
            for (p, _), o, m in zip(pairs, turned, moved, strict=True)
        ]

    def _moved(self, group: Group, p: Tensor, g: Tensor) -> Tensor:
        """Move a matrix's momentum, and return what is to be orthogonalised."""
        if sharded.is_sharded(p):  # since the group was made
            raise ValueError(_CUT.format("a DTensor"))
        state, kept = self.state[p], group["momentum"]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p, dtype=precision(p))
        b = state["momentum"]
        own = g.to(b.dtype)
        b.lerp_(own, 1.0 - kept)
        return own.lerp(b, kept) if group["nesterov"] else b

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_named": self._named, "_scaling": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_named" in state:
            self._adopt(*state["_named"])
        super().__setstate__(state)


_CUT = "muon needs whole matrices, got {}; step those of each process by another optimizer"


def _is_rule(aux: str) -> bool:
    """Return whether a name is of a rule that steps along gradients alone, without acceleration."""
    if aux not in registry.names():
        return False
    cls, acceleration = registry.resolve(aux)
    return acceleration == "none" and cls.stackable and not getattr(cls, "second_order", False)


def _tensor(each: Any) -> Tensor:
    """Return a parameter, which may stand behind its name."""
    found: Tensor = each[1] if isinstance(each, tuple) else each
    return found


def _refuse(p: Tensor) -> None:
    """Refuse what is no whole matrix."""
    if not matrices.is_matrix(p):
        raise ValueError(
            "a group of matrices must hold tensors of two dimensions or more, got shape "
            f"{tuple(p.shape)}; put it into one with matrices=False"
        )
    if sharded.is_sharded(p):
        raise ValueError(_CUT.format("a DTensor"))


def _check_steps(steps: Any, coefficients: Iterable[float]) -> None:
    if not 1 <= check.count("ns_steps", steps) < orthogonal.LIMIT:
        raise ValueError(f"ns_steps must be from 1 to {orthogonal.LIMIT - 1}, got {steps}")
    if len(list(coefficients)) != 3:
        raise ValueError(f"ns_coefficients must be 3 numbers, got {coefficients!r}")
