"""Checkpoints in our words: the authors' and torch's are translated, what cannot go on is refused.

Nothing here changes an optimizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.eager import precision
from autotune.optimizers import check
from autotune.optimizers.compact import SEQUENCES
from autotune.optimizers.sharded import is_cut

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

_PROX = {False: "proximal", True: "decoupled"}  # the authors' no_prox
# How a step runs, not what it does; the last four are ours, where ZeroRedundancyOptimizer saved
# them.
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
_FACTS = ("maximize", "decoupled_weight_decay")  # looked at, then dropped
_WRITER = "load it into the optimizer that wrote it"
_WHERE = {True: "beside the gradient", False: "in the gradient"}
_CUT = {True: "cut across processes", False: "whole"}


@dataclass(frozen=True)
class Kept:
    """A tensor that ``torch.optim`` is not to round to its parameter's dtype while loading."""

    tensor: Tensor

    def placed(self, p: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a copy as ``p`` would have it: its layout and device, in the state's dtype."""
        empty = torch.empty_like(p, dtype=dtype, requires_grad=False)
        return empty.copy_(self.tensor)


def translated(optimizer: RuleOptimizer, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint in our words; raise ValueError where the optimizer could not go on."""
    own = optimizer.param_groups
    groups = [_group(group) for group in saved["param_groups"]]
    state = {i: _state(kept) for i, kept in saved["state"].items()}
    # Groups of other sizes are refused by torch, in its words.
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
    """Put tensors that were kept from rounding into their places; averages take the dtype."""
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
    # The authors accelerate when the word contains 'win' and do not when it is, say, 'Win'.
    group["acceleration"] = mode if "win" in mode else "none"
    return group


def _state(saved: Mapping[str, Any]) -> dict[str, Any]:
    state = {name: value for name, value in saved.items() if value is not None}
    if "momentum_buffer" in saved:  # torch's SGD, which does not count
        state["momentum"] = state.pop("momentum_buffer", None)
        state.setdefault("step", 0)
    if "pre_grad" in saved:  # Adan's until December 2022; later code leaves it behind, unused
        state.setdefault("neg_pre_grad", -state.pop("pre_grad"))
    if "step" in state:
        state["step"] = int(state["step"])
    return {name: value for name, value in state.items() if value is not None}


def _problems(
    optimizer: RuleOptimizer, groups: list[Group], state: Mapping[Any, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield a sentence for whatever keeps an optimizer from going on with a checkpoint."""
    limits = sorted({group["max_grad_norm"] for group in groups if "max_grad_norm" in group})
    if len(limits) > 1:
        yield (
            "max_grad_norm is one for the whole optimizer, got "
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
            f"the checkpoint decays weights {_WHERE[beside]}, {name} {_WHERE[not beside]}; "
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
            f"the parameter {tuple(p.shape)}; load it beside the model it was trained with"
        )
    if is_cut(value) != is_cut(p):
        yield (
            f"the checkpoint's '{name}' of parameter {i} is {_CUT[is_cut(value)]}, the parameter "
            f"{_CUT[is_cut(p)]}; load it by torch.distributed.checkpoint.state_dict"
        )


def _lacks(optimizer: RuleOptimizer, name: str, whose: str, group: Group) -> str:
    mode = group["acceleration"]
    under = "" if mode == "none" else f" with acceleration '{mode}'"
    return (
        f"the checkpoint lacks '{name}' of {whose}, which {type(optimizer).__name__}{under} keeps"
    )
