"""One optimizer step for many replicas of a model, each with hyper-parameters of its own.

The replicas' tensors are stacked along a first dimension, so that one launch and one table serve
all of them. Each replica steps as its own optimizer would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from autotune.kernels import backends
from autotune.kernels.rule import Rows, Rule, Update
from autotune.kernels.rules.norms import clip_factor
from autotune.kernels.triton.tables import place, table
from autotune.optimizers import buffers, collect, compact, scalars
from autotune.optimizers.base import Group, RuleOptimizer
from autotune.optimizers.registry import create

_Clocks = tuple[tuple[int, bool], ...]  # of each replica: its step, and whether it is its first


class Stacked:
    """One optimizer step for K replicas of a model, each with its own hyper-parameters.

    Every replica gets, bit for bit, the step that its own optimizer would take on this backend: the
    formulas are those of the optimizer's class.

    Args:
        name: The optimizer, one of ``names()``.
        params: Tensors of shape (K, ...), contiguous, whose entry k along the first dimension is
            replica k's parameter; or dictionaries, one for each group, with such tensors under
            'params'. What a group sets holds for every replica.
        rows: K dictionaries of keyword arguments for ``create``, one for each replica. They may
            differ in numbers, not in what changes the formulas, as ``acceleration`` does.
        backend: What runs the step: 'triton' (CUDA and ROCm), 'numba' (CPU), 'torch' (any device),
            or 'auto', the first of these that is installed and runs on the parameters' device.
            Default: 'auto'.

    Attributes:
        rows: The replicas' own optimizers, K of them, over views of the stacked tensors. Set
            learning rates in their groups, and save and load with their ``state_dict`` and
            ``load_state_dict``; call ``reanchor`` of those whose weights you moved. Do not call
            their ``step``: they see no gradients.

    Raises:
        TypeError: ``create`` refuses a row's keyword or the type of its value.
        ValueError: A tensor is not contiguous or has not K entries, there are no rows, rows step by
            different formulas, a row is ``capturable``, or ``create`` refuses a row's value.
        ImportError: ``backend`` needs a package that is not installed.

    Sources:
        Those of the optimizer's class.

    Example:
        >>> import torch
        >>> from autotune.optimizers import Stacked
        >>> weights = torch.nn.Parameter(torch.ones(3, 2))
        >>> optimizer = Stacked("sgd", [weights], [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}])
        >>> weights.square().sum().backward()
        >>> optimizer.step()
        >>> weights.detach()[:, 0]
        tensor([ 0.6200,  0.2400, -0.1400])
    """

    def __init__(
        self,
        name: str,
        params: Sequence[Tensor] | Sequence[Group],
        rows: Sequence[Mapping[str, Any]],
        backend: str = "auto",
    ) -> None:
        self.name, self.settings, self.backend = name, [dict(row) for row in rows], backend
        self._groups = _groups(params)
        for p in self.params:
            _check(p, len(rows))
        self.rows = tuple([self._row(k, setting) for k, setting in enumerate(self.settings)])
        self._rules = [self._rule(i) for i in range(len(self._groups))]
        self._whole: dict[Tensor, tuple[Tensor, ...]] = {}  # the state of all replicas
        for row in self.rows:
            row.register_load_state_dict_post_hook(lambda _: self._whole.clear())

    @property
    def params(self) -> list[Tensor]:
        """Return the stacked parameters, in the order of their groups."""
        return [p for group in self._groups for p in group["params"]]

    def _row(self, k: int, setting: Mapping[str, Any]) -> RuleOptimizer:
        """Return the optimizer of one replica."""
        groups = [
            {**group, "params": [Parameter(p.detach()[k]) for p in group["params"]]}
            for group in self._groups
        ]
        if setting.get("capturable"):
            raise ValueError(
                "replicas count steps on the host, which a CUDA graph cannot, got capturable=True; "
                "leave it off"
            )
        return create(self.name, groups, **{**setting, "backend": self.backend})

    def _rule(self, i: int) -> Rule:
        """Return the rule that steps a group, the same for every replica."""
        found = {row.rule(row.param_groups[i]): k for k, row in enumerate(self.rows)}
        if len(found) > 1:
            first, second, *_ = found.values()
            raise ValueError(
                f"replicas must share one rule, got {self.name} with two, for "
                f"{self.settings[first]} and for {self.settings[second]}; stack them separately"
            )
        return next(iter(found))

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step of every replica; a tensor without gradient is left as it is."""
        work: dict[tuple[Rule, str], list[Update]] = {}
        for i, (rule, group) in enumerate(zip(self._rules, self._groups, strict=True)):
            for update in self._updates(i, rule, group["params"]):
                chosen = backends.choose(self.backend, update.p)
                work.setdefault((rule, chosen), []).append(update)
        clip = self._clip(work)
        for (rule, chosen), updates in work.items():
            backends.load(chosen).step(rule, updates, clip)

    def _updates(self, i: int, rule: Rule, params: Sequence[Tensor]) -> Iterator[Update]:
        """Yield the updates of a group's tensors, with a row of scalars for each replica."""
        groups = [row.param_groups[i] for row in self.rows]
        shared = self.rows[0].shared_clock
        if shared:
            for group in groups:
                group["step"] = group.get("step", 0) + 1
        lines: dict[_Clocks, Rows] = {}
        order = {p: k for k, p in enumerate(self.params)} if rule.dithered else {}
        for p, g in collect.with_gradient(self.rows[0], {"params": params}):
            j = next(j for j, other in enumerate(params) if other is p)
            self._follow(p, i, j)
            states = [
                row.state[group["params"][j]] for row, group in zip(self.rows, groups, strict=True)
            ]
            first = [False] * len(states) if p in self._whole else self._gather(p, i, j, rule)
            if not shared:
                for state in states:
                    state["step"] = state.get("step", 0) + 1
            counted = groups if shared else states
            clocks = tuple(zip([each["step"] for each in counted], first, strict=True))
            if clocks not in lines:
                lines[clocks] = self._lines(groups, rule, clocks)
            keys = tuple([(step << 32) + order[p] for step, _ in clocks]) if order else 0
            yield Update(p, g, self._whole[p], lines[clocks], keys)

    def _follow(self, p: Tensor, i: int, j: int) -> None:
        """Let the replicas' parameters be views of a tensor whose data was replaced."""
        views = [row.param_groups[i]["params"][j] for row in self.rows]
        if views[0].data_ptr() != p.data_ptr():
            for view, own in zip(views, p.detach().unbind(), strict=True):
                view.data = own

    def _lines(self, groups: Sequence[Group], rule: Rule, clocks: _Clocks) -> Rows:
        together = zip(self.rows, groups, clocks, strict=True)
        return np.array([scalars.row(row, group, rule, *clock) for row, group, clock in together])

    def _gather(self, p: Tensor, i: int, j: int, rule: Rule) -> list[bool]:
        """Stack the replicas' state of a tensor; return for which of them it is new."""
        views = [row.param_groups[i]["params"][j] for row in self.rows]
        states = [row.state[view] for row, view in zip(self.rows, views, strict=True)]
        first = [not all(name in state for name in rule.direction.buffers) for state in states]
        for row, view, state in zip(self.rows, views, states, strict=True):
            if rule.relative and state:
                compact.shorten(
                    state, [n for n in rule.application.buffers if n in state], view, view
                )
            buffers.begun(view, view, state, rule, row.state_dtype)
        self._whole[p] = tuple([torch.stack([s[name] for s in states]) for name in rule.buffers])
        for name, whole in zip(rule.buffers, self._whole[p], strict=True):
            for state, own in zip(states, whole.unbind(), strict=True):
                state[name] = own
        return first

    def _clip(self, work: Mapping[tuple[Rule, str], Sequence[Update]]) -> Tensor | None:
        """Return the factor that clips each replica's gradients, which are not changed."""
        if not work or not any(row.max_grad_norm for row in self.rows):
            return None
        total = _squares(work)
        given = np.array([(row.max_grad_norm, row.clip_eps()) for row in self.rows])
        sent = table(given.T.tobytes(), torch.float64, place(total.device))
        limit, eps = sent.reshape(2, len(self.rows))
        return torch.where(limit > 0.0, clip_factor(total.sqrt(), limit, eps), 1.0)

    def select(self, indices: Sequence[int]) -> Stacked:
        """Return some of the replicas, in that order, with copies of parameters and state."""
        for k in indices:
            if not 0 <= k < len(self.rows):
                raise IndexError(
                    f"a replica's index must be from 0 to {len(self.rows) - 1}, got {k}"
                )
        groups = [
            {**group, "params": [_selected(p, indices) for p in group["params"]]}
            for group in self._groups
        ]
        rows = [self.settings[k] for k in indices]
        chosen = Stacked(self.name, groups, rows, self.backend)
        for row, k in zip(chosen.rows, indices, strict=True):
            row.load_state_dict(self.rows[k].state_dict())
        return chosen

    def __repr__(self) -> str:
        return f"Stacked({self.name}, replicas: {len(self.rows)}, backend: {self.backend})"


def alike(name: str, settings: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return lists of indices of settings that share one rule, so that they can be stacked."""
    found: dict[tuple[Rule, ...], list[int]] = {}
    for k, setting in enumerate(settings):
        one, other = torch.zeros(1, device="cpu"), torch.zeros(1, device="cpu")
        groups: list[Group] = [{"params": [one]}, {"params": [other], "weight_decay": 0.0}]
        made = create(name, groups, **setting)
        found.setdefault(tuple([made.rule(group) for group in made.param_groups]), []).append(k)
    return list(found.values())


def _groups(params: Sequence[Any]) -> list[Group]:
    if params and isinstance(params[0], Mapping):
        return [{**group, "params": list(group["params"])} for group in params]
    return [{"params": list(params)}]


def _check(p: Tensor, count: int) -> None:
    """Refuse a tensor that is not a stack of this many replicas."""
    if not count:
        raise ValueError("rows must be one for each replica, got none")
    if p.ndim == 0 or len(p) != count or not p.is_contiguous():
        lies = "" if p.is_contiguous() else ", not contiguous"
        raise ValueError(
            f"a stacked parameter must be contiguous with {count} entries, one for each row, "
            f"got shape {tuple(p.shape)}{lies}; stack the replicas' tensors with torch.stack"
        )


def _selected(p: Tensor, indices: Sequence[int]) -> Parameter:
    return Parameter(p.detach()[list(indices)], requires_grad=p.requires_grad)


def _squares(work: Mapping[tuple[Rule, str], Sequence[Update]]) -> Tensor:
    """Return each replica's sum of the squares of all gradients, as its optimizer sums them."""
    home = next(iter(work.values()))[0].g.device
    found = []
    for (_, backend), updates in work.items():
        squares = backends.load(backend).squares
        each = zip(*(update.g.unbind() for update in updates), strict=True)
        found.append(torch.stack([squares(grads) for grads in each]).to(home))
    return torch.stack(found, dim=1).sum(dim=1)
