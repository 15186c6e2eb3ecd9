"""Translate checkpoints of the authors' code and of torch, and refuse those that do not fit.

Nothing here changes an optimizer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.layout import precision
from autotune.optimizers import averaging, check, hyper, options
from autotune.optimizers.compact import SEQUENCES
from autotune.optimizers.sharded import is_sharded

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

_PROX = {False: "proximal", True: "decoupled"}  # the authors' no_prox
_COUPLED = {False: "coupled", True: "decoupled"}  # torch's decoupled_weight_decay
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
_FACTS = ("maximize", "decoupled_weight_decay")  # checked, then dropped where a class has them not
# What optimizers of torch and of this project keep; other names are of wrappers, as Lookahead.
_KNOWN = frozenset(
    [
        "step",
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "exp_avg_diff",
        "neg_pre_grad",
        "pre_grad",
        "momentum",
        "x",
        "y",
        "z",
        "momentum_buffer",
        "square_avg",
        "grad_avg",
        "acc_delta",
        "sum",
        "exp_inf",
        "mu",
        "mu_product",
        "eta",
        "ax",
        "prev",
        "step_size",
        "row_var",
        "col_var",
        "variance",
    ]
)
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


@dataclass(frozen=True)
class Foreign:
    """Hides what a wrapper keeps beside our state from ``torch.optim``, which mangles strings."""

    value: Any


def translated(optimizer: RuleOptimizer, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint under this project's names; raise ValueError if it does not fit."""
    own = optimizer.param_groups
    kinds = "decay" in optimizer.watch.names
    groups = [_group(group, kinds) for group in saved["param_groups"]]
    numbers = {i for group in groups for i in group["params"]}
    known = words(optimizer) | _KNOWN
    state = {
        i: _state(kept, known, optimizer.computed)
        for i, kept in saved["state"].items()
        if i in numbers
    }
    # Groups of other sizes are left to torch, which refuses them.
    if [len(group["params"]) for group in groups] == [len(group["params"]) for group in own]:
        begun = _begun(optimizer, groups, state, known)
        groups = _completed(optimizer, groups)
        for problem in _problems(optimizer, groups, state, begun):
            raise ValueError(problem)
        for group in groups:
            hyper.settle(optimizer, group)
            for name in _FACTS:
                if name not in optimizer.watch.names:
                    group.pop(name, None)
    hidden = {
        i: {name: _hidden(v, name in known) for name, v in kept.items()}
        for i, kept in state.items()
    }
    return {**saved, "param_groups": groups, "state": {**saved["state"], **hidden}}


def words(optimizer: RuleOptimizer) -> set[str]:
    """Return the names under which an optimizer may keep something for a parameter."""
    buffers = {name for group in optimizer.param_groups for name in optimizer.rule(group).buffers}
    return {"step", *buffers, *SEQUENCES, *optimizer.spare}


def _completed(optimizer: RuleOptimizer, groups: Sequence[Group]) -> list[Group]:
    """Return a checkpoint's groups; what they lack, the optimizer's own have."""
    name = "max_grad_norm"
    found = [group[name] for group in groups if name in group]
    limit = {name: found[0]} if found else {}
    return [
        {**{name: mine[name] for name in mine if name in optimizer.defaults}, **limit, **group}
        for mine, group in zip(optimizer.param_groups, groups, strict=True)
    ]


def _begun(
    optimizer: RuleOptimizer,
    groups: Sequence[Group],
    state: Mapping[Any, Mapping[str, Any]],
    known: Set[str],
) -> set[Any]:
    """Return the parameters whose state must be whole.

    If this project wrote the groups, these are the parameters that have any state of ours. Else
    those with state of any kind: names that nobody knows may be of another optimizer.
    """
    # Groups of earlier versions lack these.
    since = (
        "max_grad_norm",
        "decoupled_weight_decay",
        "eps_after_correction",
        *averaging.HYPER,
        "cautious",
        "cautious_decay",
        *options.DEFAULTS,
    )
    names = [name for name in optimizer.watch.names if name not in since]
    ours = all(name in group for group in groups for name in names)
    return {i for i, kept in state.items() if (known & kept.keys() if ours else kept)}


def unpack(state: Mapping[Any, Any], dtype: torch.dtype | None) -> None:
    """Replace each ``Kept`` and ``Foreign`` by its value; averages are converted to the dtype."""
    for p, kept in state.items():
        for name, value in kept.items() if isinstance(p, Tensor) else ():
            if isinstance(value, Kept):
                kept[name] = value.placed(p, _dtype(name, dtype) or precision(p))
            elif isinstance(value, Foreign):
                kept[name] = _copied(value.value, p.device)


def _dtype(name: str, dtype: torch.dtype | None) -> torch.dtype | None:
    return None if name in SEQUENCES else dtype


def _copied(value: Any, home: torch.device) -> Any:
    """Return a copy of any value, with its tensors on a device."""
    if isinstance(value, Tensor):
        return value.detach().to(home, copy=True)
    if isinstance(value, dict):
        return {name: _copied(each, home) for name, each in value.items()}
    if isinstance(value, list):
        return [_copied(each, home) for each in value]
    if type(value) is tuple:
        return tuple([_copied(each, home) for each in value])
    return copy.deepcopy(value)


def _hidden(value: Any, known: bool) -> Any:
    if not known:
        return Foreign(value)
    return Kept(value) if isinstance(value, Tensor) else value


def _group(saved: Group, kinds: bool) -> Group:
    """Return a group in our words; ``kinds``: whether its optimizer has kinds of decay."""
    group = {name: value for name, value in saved.items() if name not in _CHOICES}
    if "no_prox" in group:
        group["decay"] = _PROX[bool(group.pop("no_prox"))]
    if kinds and "decay" not in group and "decoupled_weight_decay" in group:
        group["decay"] = _COUPLED[bool(group.pop("decoupled_weight_decay"))]
    mode = group.pop("acceleration_mode", group.get("acceleration")) or "none"
    # The authors' code accelerates if the mode contains 'win', in lower case.
    group["acceleration"] = mode if "win" in mode or mode in averaging.APART else "none"
    if "step" in group:
        group["step"] = check.count("step", group["step"])
    return group


def _state(
    saved: Mapping[str, Any], known: Set[str], computed: Sequence[str] = ()
) -> dict[str, Any]:
    state = {name: value for name, value in saved.items() if name not in computed}
    if (
        "momentum_buffer" in saved and "momentum" not in saved
    ):  # of torch's SGD, which counts no steps
        state["momentum"] = state.pop("momentum_buffer")
        state.setdefault("step", 0)
    if "pre_grad" in saved:  # of Adan until December 2022; later code ignores it
        last = state.pop("pre_grad")
        state.setdefault("neg_pre_grad", None if last is None else -last)
    if state.get("step") is not None:
        state["step"] = check.count("step", state["step"])
    return {name: v for name, v in state.items() if v is not None or name not in known}


def _problems(
    optimizer: RuleOptimizer,
    groups: list[Group],
    state: Mapping[Any, Mapping[str, Any]],
    begun: set[Any],
) -> Iterator[str]:
    """Yield a sentence for each reason why an optimizer cannot load a checkpoint."""
    limits = sorted({hyper.limit(check.plain(group["max_grad_norm"])) for group in groups})
    if len(limits) > 1:
        yield (
            "max_grad_norm holds for the whole optimizer, got "
            f"{' and '.join(f'{limit:g}' for limit in limits)} in the checkpoint's groups; "
            "make them equal there"
        )
    for n, (group, own) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        yield from _of_group(optimizer, n, group, own)
        for i, p in zip(group["params"], own["params"], strict=True):
            if i in begun:
                yield from _of_parameter(optimizer, group, state[i], i, p)
        if optimizer.shared_clock and "step" not in group and begun & set(group["params"]):
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
        own = name in (*needed, *optimizer.spare, *SEQUENCES)
        if not own and name in _KNOWN:
            yield (
                f"the checkpoint has '{name}' of parameter {i}, "
                f"which {type(optimizer).__name__} does not keep; {_WRITER}"
            )
        if own and isinstance(value, Tensor):
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
