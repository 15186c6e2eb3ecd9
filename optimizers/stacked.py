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
from autotune.kernels.addresses import all_in_memory
from autotune.kernels.layout import Ints
from autotune.kernels.rule import Rows, Rule, Update
from autotune.kernels.rules.norms import clip_factor
from autotune.optimizers import averaging, buffers, collect, compact
from autotune.optimizers.base import Group, RuleOptimizer
from autotune.optimizers.counts import Counts
from autotune.optimizers.formulas import Formulas
from autotune.optimizers.registry import create, stacks

_Pairs = Sequence[tuple[Tensor, Tensor]]  # parameters and their gradients


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
            ``load_state_dict``, which also bring their step counts up to date; call ``reanchor`` of
            those whose weights you moved. Do not call their ``step``: they see no gradients.

    Raises:
        TypeError: ``create`` refuses a row's keyword or the type of its value.
        ValueError: A tensor is not contiguous or has not K entries, there are no rows, rows step by
            different formulas, a row is ``capturable``, a step needs more than gradients,
            ``create`` refuses a row's value, or the optimizer is another package's.
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
        if not stacks(name):
            raise ValueError(
                f"replicas step together by a rule of this package alone, got '{name}', whose own "
                "step does more; give each replica an optimizer of its own"
            )
        self.name, self.settings, self.backend = name, [dict(row) for row in rows], backend
        self._groups = _groups(params)
        for p in self.params:
            _check(p, len(rows))
        self.rows = tuple([self._row(k, setting) for k, setting in enumerate(self.settings)])
        self._rules = [self._rule(i) for i in range(len(self._groups))]
        self._whole: dict[Tensor, tuple[Tensor, ...]] = {}  # the state of all replicas
        self._order = {id(p): k for k, p in enumerate(self.params)}
        self._places = [{id(p): j for j, p in enumerate(g["params"])} for g in self._groups]
        self._counts = Counts(self.rows)
        self._formulas = [Formulas(self.rows, i, rule) for i, rule in enumerate(self._rules)]
        self._averages = any(row.averages for row in self.rows)
        self._limits: Tensor | None = None  # largest norm and eps, a column for each replica
        self._clipping = False
        for row in self.rows:
            row.register_load_state_dict_post_hook(lambda _: self._reloaded())

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
        for rule in found:
            for given in rule.direction.given:
                raise ValueError(
                    f"replicas must be stepped by their gradients alone, {self.name} needs their "
                    f"'{given}'; make an optimizer for each replica"
                )
        if len(found) > 1:
            first, second, *_ = found.values()
            raise ValueError(
                f"replicas must share one rule, got {self.name} with two, for "
                f"{self.settings[first]} and for {self.settings[second]}; stack them separately"
            )
        return next(iter(found))

    def _reloaded(self) -> None:
        """Gather the replicas' state again at the next step."""
        for row in self.rows:
            row._settle()
        self._whole.clear()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step of every replica; a tensor without gradient is left as it is."""
        edited = [formulas.look() for formulas in self._formulas]
        if any(edited):
            self._limits = None
        if self._averages:
            self._count_averages()
        self._counts.catch_up()
        work: dict[tuple[Rule, str], list[Update]] = {}
        for i, (rule, group) in enumerate(zip(self._rules, self._groups, strict=True)):
            pairs = collect.with_gradient(self.rows[0], group)
            updates = self._updates(i, rule, pairs)
            for chosen, own in self._by_backend(updates):
                work.setdefault((rule, chosen), []).extend(own)
        clip = self._clip(work)
        for (rule, chosen), updates in work.items():
            backends.load(chosen).step(rule, updates, clip)
        self._counts.leave_untold()

    def _count_averages(self) -> None:
        for row in self.rows:
            averaging.refuse_in_evaluation(row)
        for formulas in self._formulas:
            formulas.count()

    def eval(self) -> None:
        """Put each replica's average into its parameters, as its own optimizer does."""
        self._swap("eval")

    def train(self) -> None:
        """Put back what ``eval()`` took out."""
        self._swap("train")

    def _swap(self, way: str) -> None:
        for i, group in enumerate(self._groups):
            places = self._places[i]
            pairs = [(p, p) for p in group["params"]]
            self._follow(i, pairs, [places[id(p)] for p, _ in pairs])
        for row in self.rows:
            getattr(row, way)()

    def _by_backend(self, updates: Sequence[Update]) -> Iterator[tuple[str, Sequence[Update]]]:
        """Yield updates by backend; tensors in one place are not asked one by one."""
        params = [update.p for update in updates]
        if params and collect.together(params) and all_in_memory(params):
            yield backends.choose(self.backend, params[0]), updates
            return
        for update in updates:
            yield backends.choose(self.backend, update.p), [update]

    def _updates(self, i: int, rule: Rule, pairs: _Pairs) -> list[Update]:
        """Return the updates of a group's tensors, with a row of scalars for each replica."""
        places = self._places[i]
        tensors = [places[id(p)] for p, _ in pairs]
        self._follow(i, pairs, tensors)
        fresh = [
            None if p in self._whole else self._gather(p, i, j, rule)
            for (p, _), j in zip(pairs, tensors, strict=True)
        ]
        steps = self._counts.take(i, tensors)
        lines = self._lines(i, steps, fresh)
        keys: Sequence[Any] = [0] * len(pairs)
        if rule.dithered:
            order = np.array([self._order[id(p)] for p, _ in pairs], dtype=np.int64)
            keys = list((steps << 32) + order[:, None])
        return [
            Update(p, g, self._whole[p], line, key)
            for (p, g), line, key in zip(pairs, lines, keys, strict=True)
        ]

    def _follow(self, i: int, pairs: _Pairs, tensors: Sequence[int]) -> None:
        """Let the replicas' parameters be views of tensors whose data was replaced."""
        first = self.rows[0].param_groups[i]["params"]
        for (p, _), j in zip(pairs, tensors, strict=True):
            if first[j].data_ptr() != p.data_ptr():
                views = [row.param_groups[i]["params"][j] for row in self.rows]
                for view, own in zip(views, p.detach().unbind(), strict=True):
                    view.data = own

    def _lines(self, i: int, steps: Ints, fresh: Sequence[Sequence[int] | None]) -> list[Rows]:
        """Return the rows of each tensor; tensors that took the same steps share them."""
        compute, made = self._formulas[i].lines, dict[tuple[bytes, Any], Rows]()
        if not fresh:
            return []
        if not any(fresh) and (len(steps) == 1 or (steps == steps[0]).all()):
            return [compute(steps[0], None)] * len(fresh)
        found = []
        steps = np.broadcast_to(steps, (len(fresh), len(self.rows)))
        for own, new in zip(steps, fresh, strict=True):
            known = own.tobytes(), None if new is None else tuple(new)
            if known not in made:
                made[known] = compute(own, new)
            found.append(made[known])
        return found

    def _gather(self, p: Tensor, i: int, j: int, rule: Rule) -> list[int]:
        """Stack the replicas' state of a tensor; return for which of them it is new."""
        views = [row.param_groups[i]["params"][j] for row in self.rows]
        states = [row.state[view] for row, view in zip(self.rows, views, strict=True)]
        first = [buffers.fresh(rule, state) for state in states]
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
        if self._limits is None:
            each = [(row.max_grad_norm, row.clip_eps()) for row in self.rows]
            self._limits = torch.tensor(each, dtype=torch.float64, device="cpu").T
            self._clipping = any(limit for limit, _ in each)
        if not work or not self._clipping:
            return None
        total = _squares(work, len(self.rows))
        self._limits = self._limits.to(total.device)  # until someone edits one
        limit, eps = self._limits
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


def _squares(work: Mapping[tuple[Rule, str], Sequence[Update]], count: int) -> Tensor:
    """Return each replica's sum of the squares of all gradients, as its optimizer sums them."""
    home = next(iter(work.values()))[0].g.device
    found = [
        backends.load(backend).squares_of_each([update.g for update in updates], count).to(home)
        for (_, backend), updates in work.items()
    ]
    return found[0] if len(found) == 1 else torch.stack(found, dim=1).sum(dim=1)
