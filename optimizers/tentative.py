"""A step that the device skips if gradients overflowed, which the host learns only later.

The host counts as if the step were taken, and undoes that before the next step if it was skipped.
So it never waits right after a step, and the device always has work queued.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence, Set
from typing import Any, Protocol

import torch
from torch import Tensor

from autotune.optimizers.averaging import KEPT

_COUNTS = ("step", *KEPT)  # what a group counts
State = MutableMapping[Tensor, dict[str, Any]]
Groups = Sequence[dict[str, Any]]


class Pending(Protocol):
    """What an optimizer has to settle before its state is read, or takes another step."""

    def settle(self, state: State, groups: Groups, words: Callable[[], Set[str]]) -> None:
        """Bring state and groups up to date; ``words`` tells the names that are ours."""


class Tentative:
    """An optimizer's state before a step, and whether the device skipped the step."""

    def __init__(self, state: State, groups: Groups, overflow: Tensor) -> None:
        self.kept = {p: dict(state[p]) for p in state if isinstance(p, Tensor)}
        self.counts = [{k: group.get(k) for k in _COUNTS} for group in groups]
        self.skipped = overflow
        self.copied: torch.cuda.Event | None = None
        if overflow.is_cuda:
            self.skipped = torch.empty_like(overflow, device="cpu", pin_memory=True)
            self.skipped.copy_(overflow, non_blocking=True)
            self.copied = torch.cuda.current_stream(overflow.device).record_event()

    def settle(self, state: State, groups: Groups, words: Callable[[], Set[str]]) -> None:
        """Restore the state from before the step, if the step was skipped.

        What is not under our ``words`` is a wrapper's, and stays as it is now.
        """
        if self.copied is not None:
            self.copied.synchronize()
        if not self.skipped:
            return
        ours = words()
        for p in [p for p in state if isinstance(p, Tensor)]:
            before = {k: v for k, v in self.kept.get(p, {}).items() if k in ours}
            others = {k: v for k, v in state[p].items() if k not in ours}
            if before or others or p in self.kept:
                state[p] = {**before, **others}
            else:
                del state[p]
        for group, counts in zip(groups, self.counts, strict=False):
            for name, count in counts.items():
                group.pop(name, None)
                if count is not None:
                    group[name] = count
