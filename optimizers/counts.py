"""How many steps the replicas of a stack have taken, in arrays.

A replica's own optimizer is told when someone asks it: before it is saved, loaded or restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from autotune.kernels.layout import Ints
from autotune.optimizers import check
from autotune.optimizers.tentative import Groups, State

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


class Counts:
    """Steps of all replicas: by group if a group counts its steps, else by tensor of a group."""

    def __init__(self, rows: Sequence[RuleOptimizer]) -> None:
        self.shared, self._rows = rows[0].shared_clock, rows
        self._untold = [_Untold(self, k) for k in range(len(rows))]
        lengths = [1 if self.shared else len(g["params"]) for g in rows[0].param_groups]
        self._steps = [np.zeros((length, len(rows)), dtype=np.int64) for length in lengths]

    def catch_up(self) -> None:
        """Read the counts of replicas whose optimizers were asked, as those may have new ones."""
        for k, (row, untold) in enumerate(zip(self._rows, self._untold, strict=True)):
            if row._tentative is not untold:
                self._read(k, row)

    def _read(self, k: int, row: RuleOptimizer) -> None:
        for steps, group in zip(self._steps, row.param_groups, strict=True):
            counted = [group] if self.shared else [row.state.get(p, {}) for p in group["params"]]
            steps[:, k] = [check.count("step", each.get("step", 0)) for each in counted]

    def take(self, i: int, tensors: Sequence[int]) -> Ints:
        """Count a step of some tensors of a group; return a line of counts for each, or one."""
        steps = self._steps[i]
        if self.shared or len(tensors) == len(steps):
            steps += 1
            return steps
        steps[tensors] += 1
        return steps[tensors]

    def leave_untold(self) -> None:
        """Let each replica's optimizer ask for its counts before it is read."""
        for row, untold in zip(self._rows, self._untold, strict=True):
            row._tentative = untold

    def tell(self, k: int, state: State, groups: Groups) -> None:
        """Write the counts of a replica where its own optimizer has them."""
        for steps, group in zip(self._steps, groups, strict=True):
            if self.shared:
                group["step"] = int(steps[0, k])
                continue
            for p, count in zip(group["params"], steps[:, k].tolist(), strict=True):
                if count and p in state:
                    state[p]["step"] = count


class _Untold:
    """Steps that a replica's optimizer has not counted yet."""

    def __init__(self, counts: Counts, k: int) -> None:
        self._counts, self._k = counts, k

    def settle(self, state: State, groups: Groups, words: Callable[[], Set[str]]) -> None:
        """Count them."""
        self._counts.tell(self._k, state, groups)
