"""The scalars of many replicas at once: formulas are noted once, and computed with arrays.

What arrays compute is what numbers would, bit for bit: powers are taken one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import add, gt, itemgetter, mul, sub, truediv
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autotune.kernels.layout import Ints
from autotune.kernels.rule import Rows, Rule, Tape
from autotune.kernels.rules.schedule_free import SCHEDULE_FREE
from autotune.optimizers import averaging, check, scalars, tape

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

Numbers = NDArray[np.float64]  # one for each replica

_FEW = 4  # replicas that Python computes as fast as arrays do


class Formulas:
    """The rows of one group of all replicas.

    Attributes:
        groups: The group of each replica's optimizer, as of the last look.
    """

    def __init__(self, rows: Sequence[RuleOptimizer], i: int, rule: Rule) -> None:
        self._rows, self._i, self._rule = rows, i, rule
        self._values = itemgetter(*[name for name in rows[0].watch.names if name != "lr"])
        self._known: list[tuple[Any, ...]] | None = None
        # Replicas that share a tape, and their constants; none if a formula cannot be noted.
        self._noted: list[tuple[Tape, Ints, Sequence[Numbers]]] = []
        self.groups: list[Group] = []
        self._shares: list[float | None] = [None] * len(rows)

    def count(self) -> None:
        """Count a step of averages, if there are some; each group has numbers only."""
        if self._rule.application is SCHEDULE_FREE:
            self._shares = averaging.weights(self._rows, self.groups, self.groups)

    def look(self) -> bool:
        """Read the groups; return whether a hyper-parameter other than lr has changed."""
        self.groups = [row.param_groups[self._i] for row in self._rows]
        try:
            values = list(map(self._values, self.groups))
        except KeyError:  # groups may come from an earlier version's checkpoint
            self._known, self._noted = None, []
            return True
        if values == self._known:
            return False
        held = any(check.holds_tensor(value) for each in values for value in each)
        self._known = None if held else values
        self._noted = [] if held or len(values) <= _FEW else self._note()
        return True

    def _note(self) -> list[tuple[Tape, Ints, Sequence[Numbers]]]:
        found: dict[Tape, list[tuple[int, list[float]]]] = {}
        for k, (row, group) in enumerate(zip(self._rows, self.groups, strict=True)):
            noted = tape.noted(row, group, self._rule)
            if noted is None:
                return []
            found.setdefault(noted[0], []).append((k, noted[1]))
        return [
            (played, np.array([k for k, _ in own]), [*np.array([each for _, each in own]).T])
            for played, own in found.items()
        ]

    def lines(self, steps: Ints, fresh: Sequence[int] | None) -> Rows:
        """Return a row for each replica.

        Args:
            steps: Of each replica.
            fresh: Whether each replica's buffers are new; None if none are.
        """
        if fresh is not None or not self._noted:
            return self._one_by_one(steps, fresh or [0] * len(steps))
        rates = np.array([float(group["lr"]) for group in self.groups])
        if any(scalars.MULTIPLIER in group for group in self.groups):
            rates *= [float(group.get(scalars.MULTIPLIER, 1.0)) for group in self.groups]
        shares = np.array(self._shares, dtype=np.float64)  # NaN where there are none
        made = np.empty((len(steps), len(self._rule.scalars)))
        for played, own, constants in self._noted:
            given = steps[own].astype(np.float64), rates[own], shares[own]
            made[own] = _played(played, given, constants)
        return made

    def _one_by_one(self, steps: Ints, fresh: Sequence[int]) -> Rows:
        together = zip(self._rows, self.groups, steps.tolist(), fresh, self._shares, strict=True)
        return np.array(
            [
                scalars.row(row, group, self._rule, step, new, share=share)
                for row, group, step, new, share in together
            ]
        )


def _power(base: Numbers, exponent: Numbers) -> Numbers:
    """Raise as Python does; arrays would do it faster, and differ in the last bit."""
    return np.array([a**b for a, b in zip(base.tolist(), exponent.tolist(), strict=True)])


_DO: Mapping[str, Callable[..., Any]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": truediv,
    "pow": _power,
    "sqrt": lambda a, _: np.sqrt(a),
    "greater": lambda a, b: gt(a, b).astype(np.float64),
}


def _played(played: Tape, given: Sequence[Numbers], constants: Sequence[Numbers]) -> Rows:
    """Return what a tape makes of many steps, learning rates and shares, a row for each."""
    values = [*given, *constants]
    for name, a, b in played.work:
        values.append(_DO[name](values[a], values[b]))
    return np.stack([values[place] for place in played.columns], axis=1)
