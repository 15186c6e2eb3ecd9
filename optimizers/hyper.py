"""Hyper-parameters of groups: plain and in range when given, and again when someone edits them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from autotune.optimizers import check
from autotune.optimizers.scalars import MULTIPLIER

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

_NEVER = object()


class Watch:
    """Remembers the hyper-parameters that were checked, so that a step checks only edited ones.

    Objects are compared, not values: so it costs next to nothing, and an edited group has other
    objects. Values that change in place are tensors, which are read at every step.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._but_rate = tuple([name for name in names if name != "lr"])
        self._others = itemgetter(*self._but_rate)
        self._checked: dict[int, tuple[Any, ...]] = {}
        self._tensors: dict[int, tuple[str, ...]] = {}

    def groups(self, optimizer: RuleOptimizer) -> list[Group]:
        """Return the groups of a step, with numbers where they have tensors.

        Raises:
            TypeError: Someone has set a group to a value of a wrong type.
            ValueError: A value is out of its range, or groups differ where they must not.
        """
        groups = optimizer.param_groups
        found = [self._group(optimizer, n, group) for n, group in enumerate(groups)]
        shared(groups, 0.0)
        return found

    def _group(self, optimizer: RuleOptimizer, n: int, group: Group) -> Group:
        known = self._checked.get(n)
        try:
            edited = known is None or not all(map(is_, self._others(group), known))
        except KeyError:  # groups may come from an earlier version's checkpoint
            edited = True
        if edited:
            self._take(optimizer, n, group)
        if MULTIPLIER in group and not (
            optimizer.capturable and isinstance(group[MULTIPLIER], Tensor)
        ):
            check.at_least_zero(MULTIPLIER, group[MULTIPLIER])
        if group.get("maximize"):  # torch's own would ascend from here on
            check.group_keys(group)
        lr = group["lr"]
        if type(lr) is not float or not 0.0 <= lr < math.inf:
            return self._with_rate(optimizer, n, group)
        return self._read(optimizer, group, self._tensors[n]) if self._tensors[n] else group

    def _take(self, optimizer: RuleOptimizer, n: int, group: Group) -> None:
        """Check a group that someone has edited, and remember its values."""
        known: tuple[Any, ...] = self._checked.get(n) or (_NEVER,) * len(self._but_rate)
        before = dict(zip(self._but_rate, known, strict=True))
        settle(optimizer, group, [k for k in self._but_rate if group.get(k) is not before[k]])
        self._checked[n] = self._others(group)
        self._tensors[n] = tuple([k for k in self._but_rate if check.holds_tensor(group[k])])

    def _with_rate(self, optimizer: RuleOptimizer, n: int, group: Group) -> Group:
        """Return a group whose learning rate is a tensor, or was set to what is no plain number."""
        lr = group["lr"] = check.plain(group["lr"])
        if optimizer.capturable and isinstance(lr, Tensor):
            return group  # read on the device: here it would be waited for
        tensors = self._tensors[n]
        plain = self._read(optimizer, group, tensors) if tensors else {**group}
        plain["lr"] = check.read(lr)
        check.rate("lr", plain["lr"])
        return plain

    def _read(self, optimizer: RuleOptimizer, group: Group, tensors: Sequence[str]) -> Group:
        plain = {**group, **{name: check.read(group[name]) for name in tensors}}
        unread = isinstance(group["lr"], Tensor)
        optimizer.validate({**plain, "lr": 0.0} if unread else plain)
        return plain


def settle(optimizer: RuleOptimizer, group: Group, names: Iterable[str] | None = None) -> None:
    """Make a group's hyper-parameters plain, and refuse those out of range.

    Args:
        optimizer: The optimizer of the group.
        group: What it lacks, it gets from the constructor's.
        names: The hyper-parameters that someone may have set; None is all of them.
    """
    for name in optimizer.watch.names if names is None else names:
        group[name] = check.plain(group[name] if name in group else optimizer.defaults[name])
        if name == "max_grad_norm":
            group[name] = limit(group[name])
    unread = optimizer.capturable and isinstance(group["lr"], Tensor)
    optimizer.validate({**group, "lr": 0.0} if unread else group)


def limit(value: Any) -> float:
    """Return a largest norm as a float, which is compared between groups."""
    check.at_least_zero("max_grad_norm", value)
    return float(value)


def limit_of_all(self: RuleOptimizer) -> float:
    """Largest norm of all gradients together; every group has it, and it must be the same."""
    groups = self.__dict__.get("param_groups", ())
    return shared(groups, self.defaults["max_grad_norm"])


def limit_all(self: RuleOptimizer, value: float) -> None:
    """Set it in every group."""
    largest = limit(check.plain(value))
    for group in self.param_groups:
        group["max_grad_norm"] = largest


def shared(groups: Sequence[Group], default: float) -> float:
    """Return the ``max_grad_norm`` of all groups, which must be one; ``default`` if none has it."""
    found: float = groups[0].get("max_grad_norm", default) if groups else default
    for group in groups:
        other = group.get("max_grad_norm", default)
        if other != found:
            both = f"{found!r} and {other!r}"
            raise ValueError(
                f"max_grad_norm holds for the whole optimizer, got {both} in its groups; "
                "set optimizer.max_grad_norm, or the same in every group"
            )
    return found


def upgrade(optimizer: RuleOptimizer) -> None:
    """Bring the pickle of an earlier version into form: its groups lacked some words."""
    if "watch" in optimizer.__dict__:
        return
    words = {"max_grad_norm": optimizer.__dict__.pop("max_grad_norm", 0.0)}
    if optimizer.decoupled is not None:
        words["decoupled_weight_decay"] = optimizer.decoupled
    for group in (optimizer.defaults, *optimizer.param_groups):
        group.update(words)
    optimizer.watch = Watch([name for name in optimizer.defaults if name != "differentiable"])
