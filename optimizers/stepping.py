"""One step of an optimizer, from its gradients to the kernels that run, and what it can step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from autotune.kernels import backends
from autotune.kernels.triton import tables
from autotune.optimizers import capturable, check, checkpoints, clipping, collect, sharded
from autotune.optimizers.tentative import Tentative

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer
    from autotune.optimizers.gradients import Given


def check_group(optimizer: RuleOptimizer, group: Group) -> None:
    """Refuse parameters that no step can take in the way that the optimizer is asked to run."""
    for p in group["params"]:
        check.parameter(p, optimizer.stochastic_rounding)
        if optimizer.backend != "auto":  # which imports what it may pick, so not before a step
            backends.choose(optimizer.backend, sharded.piece(p))
    if optimizer.capturable:
        capturable.check(optimizer, group)


def once(group: Group) -> None:
    """Keep a parameter that is in a group twice only once; torch has warned of it.

    A launch that has it twice would count one step and update its averages by two.
    """
    places = {id(p): i for i, p in reversed([*enumerate(group["params"])])}
    if len(places) < len(group["params"]):
        for name in ("params", "param_names"):
            if name in group:
                group[name] = [group[name][i] for i in sorted(places.values())]


def advance(self: RuleOptimizer, given: Given | None) -> None:
    """Take one step, unless gradients overflowed; ``given`` has the tensors of a compiler."""
    self._settle()
    overflow = getattr(self, "found_inf", None)
    if overflow is not None and self.backend_used != "triton":
        if overflow:
            return
        overflow = None
    if overflow is not None and not tables.capturing(overflow.device):
        self._tentative = Tentative(self.state, self.param_groups, overflow)
    work, prelude = collect.updates(self, given)
    clip = clipping.factor(self, work, prelude)
    for (rule, backend, where), updates in work.items():
        run, sizes = backends.load(backend), None
        if where and (rule.shaping or rule.gradient_shaping):
            sizes = sharded.sizes(run, rule, updates, clip, where)
        run.step(rule, updates, clip, overflow, sizes)
    if self.capturable:
        self._settle()  # now: inside a graph the next step cannot wait for the device


def settle(self: RuleOptimizer) -> None:
    """Restore counts and state if the device skipped the last step because of overflow."""
    if self._tentative is not None:
        words = partial(checkpoints.words, self)
        self._tentative.settle(self.state, self.param_groups, words)
        self._tentative = None
