"""Translate checkpoints of the authors' code and of torch, and refuse those that do not fit.

Nothing here changes an optimizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.layout import precision
from autotune.optimizers import check
from autotune.optimizers.compact import SEQUENCES
from autotune.optimizers.sharded import is_sharded

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

_PROX = {False: "proximal", True: "decoupled"}  # the authors' no_prox
# How a step runs, not what it computes, so the constructor's choice holds. The last four are this
# project's: ZeroRedundancyOptimizer saves them in groups.
_CHOICES = (
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "backend",
    "state_dtype",
    "stochastic_rounding",
    "compact",
)
_FACTS = ("maximize", "decoupled_weight_decay")  # checked, then dropped
_WRITER = "load it into the optimizer that wrote it"
_WHERE = {True: "outside the gradient", False: "in the gradient"}
_SHARDED = {True: "sharded across processes", False: "whole"}


@dataclass(frozen=True)
class Kept:
    """Hides a tensor from ``torch.optim``, which would round it to its parameter's dtype."""

    tensor: Tensor

    def placed(self, p: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a copy with the layout and on the device of ``p``, in a dtype of its own."""
        empty = torch.empty_like(p, dtype=dtype, requires_grad=False)
        return empty.copy_(self.tensor)


def translated(optimizer: RuleOptimizer, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint under this project's names; raise ValueError if it does not fit."""
    own = optimizer.param_groups
    groups = [_group(group) for group in saved["param_groups"]]
    state = {i: _state(kept) for i, kept in saved["state"].items()}
    # Groups of other sizes are left to torch, which refuses them.
    if [len(group["params"]) for group in groups] == [len(group["params"]) for group in own]:
        groups = [
            {**{name: mine[name] for name in mine if name in optimizer.defaults}, **group}
            for mine, group in zip(own, groups, strict=True)
        ]
        for problem in _problems(optimizer, groups, state):
            raise ValueError(problem)
        for group in groups:
            optimizer.validate(group)
            check.at_least_zero("max_grad_norm", group.get("max_grad_norm", 0.0))
            for name in _FACTS:
                group.pop(name, None)
    kept = {i: {name: _kept(v) for name, v in values.items()} for i, values in state.items()}
    return {**saved, "param_groups": groups, "state": kept}


def unpack(state: Mapping[Any, dict[str, Any]], dtype: torch.dtype | None) -> None:
    """Replace each ``Kept`` by its tensor; averages are converted to the dtype."""
    for p, kept in state.items():
        for name, value in kept.items():
            if isinstance(value, Kept):
                kept[name] = _placed(value, p, None if name in SEQUENCES else dtype)


def _placed(kept: Kept, p: Any, dtype: torch.dtype | None) -> Tensor:
    return kept.placed(p, dtype or precision(p)) if isinstance(p, Tensor) else kept.tensor


def _kept(value: Any) -> Any:
    return Kept(value) if isinstance(value, Tensor) else value


def _group(saved: Group) -> Group:
    group = {name: value for name, value in saved.items() if name not in _CHOICES}
    if "no_prox" in group:
        group["decay"] = _PROX[bool(group.pop("no_prox"))]
    mode = group.pop("acceleration_mode", group.get("acceleration")) or "none"
    # The authors' code accelerates if the mode contains 'win', in lower case.
    group["acceleration"] = mode if "win" in mode else "none"
    return group


def _state(saved: Mapping[str, Any]) -> dict[str, Any]:
    state = {name: value for name, value in saved.items() if value is not None}
    if "momentum_buffer" in saved:  # of torch's SGD, which counts no steps
        state["momentum"] = state.pop("momentum_buffer", None)
        state.setdefault("step", 0)
    if "pre_grad" in saved:  # of Adan until December 2022; later code ignores it
        state.setdefault("neg_pre_grad", -state.pop("pre_grad"))
    if "step" in state:
        state["step"] = int(state["step"])
    return {name: value for name, value in state.items() if value is not None}


def _problems(
    optimizer: RuleOptimizer, groups: list[Group], state: Mapping[Any, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield a sentence for each reason why an optimizer cannot load a checkpoint."""
    limits = sorted({group["max_grad_norm"] for group in groups if "max_grad_norm" in group})
    if len(limits) > 1:
        yield (
            "max_grad_norm holds for the whole optimizer, got "
            f"{' and '.join(f'{limit:g}' for limit in limits)} in the checkpoint's groups; "
            "make them equal there"
        )
    for n, (group, own) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        yield from _of_group(optimizer, n, group, own)
        for i, p in zip(group["params"], own["params"], strict=True):
            if state.get(i):
                yield from _of_parameter(optimizer, group, state[i], i, p)
        if optimizer.shared_clock and "step" not in group and any(map(state.get, group["params"])):
            yield f"{_lacks(optimizer, 'step', f'group {n}', group)}; {_WRITER}"


def _of_group(optimizer: RuleOptimizer, n: int, group: Group, own: Group) -> Iterator[str]:
    name = type(optimizer).__name__
    if group.get("maximize"):
        yield (
            f"group {n} of the checkpoint has maximize=True, which {name} does not offer; "
            "negate the loss"
        )
    theirs, ours = group["acceleration"], own["acceleration"]
    if theirs != ours:
        yield (
            f"group {n} of the checkpoint has acceleration '{theirs}', the optimizer '{ours}'; "
            f"build it with acceleration='{theirs}'"
        )
    beside = bool(group.get("decoupled_weight_decay", optimizer.decoupled))
    if optimizer.decoupled not in (None, beside):
        yield (
            f"the checkpoint has weight decay {_WHERE[beside]}, {name} {_WHERE[not beside]}; "
            f"load it into {'AdamW' if beside else 'Adam'}"
        )


def _of_parameter(
    optimizer: RuleOptimizer, group: Group, saved: Mapping[str, Any], i: Any, p: Tensor
) -> Iterator[str]:
    counted = () if optimizer.shared_clock else ("step",)
    needed = (*optimizer.rule(group).buffers, *counted)
    for name, value in saved.items():
        if name not in (*needed, *optimizer.spare, *SEQUENCES):
            yield (
                f"the checkpoint has '{name}' of parameter {i}, "
                f"which {type(optimizer).__name__} does not keep; {_WRITER}"
            )
        if isinstance(value, Tensor):
            yield from _of_tensor(name, value, i, p)
    for name in needed:
        if name not in saved and name not in optimizer.spare:
            yield f"{_lacks(optimizer, name, f'parameter {i}', group)}; {_WRITER}"


def _of_tensor(name: str, value: Tensor, i: Any, p: Tensor) -> Iterator[str]:
    if value.shape != p.shape:
        yield (
            f"the checkpoint's '{name}' of parameter {i} has shape {tuple(value.shape)}, "
            f"the parameter {tuple(p.shape)}; load it with the model it was saved with"
        )
    if is_sharded(value) != is_sharded(p):
        yield (
            f"the checkpoint's '{name}' of parameter {i} is {_SHARDED[is_sharded(value)]}, "
            f"the parameter {_SHARDED[is_sharded(p)]}; "
            "load it with torch.distributed.checkpoint.state_dict"
        )


def _lacks(optimizer: RuleOptimizer, name: str, whose: str, group: Group) -> str:
    mode = group["acceleration"]
    under = "" if mode == "none" else f" with acceleration '{mode}'"
    return (
        f"the checkpoint lacks '{name}' of {whose}, which {type(optimizer).__name__}{under} keeps"
    )
