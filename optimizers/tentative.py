"""A step that the device leaves out where gradients overflowed, and the host learns of later.

Counters and buffers are the host's. It counts on as if the step were taken, and takes that back
before the next one: by then the answer is there, and work is queued for the device meanwhile.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

State = MutableMapping[Tensor, dict[str, Any]]
Groups = Sequence[dict[str, Any]]


class Tentative:
    """What an optimizer knew before a step, and whether the step was left out."""

    def __init__(self, state: State, groups: Groups, overflow: Tensor) -> None:
        self.kept = {p: dict(state[p]) for p in state}
        self.steps = [group.get("step") for group in groups]
        self.told = overflow
        self.arrived: torch.cuda.Event | None = None
        if overflow.is_cuda:
            self.told = torch.empty_like(overflow, device="cpu", pin_memory=True)
            self.told.copy_(overflow, non_blocking=True)
            self.arrived = torch.cuda.current_stream(overflow.device).record_event()

    def settle(self, state: State, groups: Groups) -> None:
        """Bring back what was known, if the step was left out."""
        if self.arrived is not None:
            self.arrived.synchronize()
        if not self.told:
            return
        for p in [p for p in state if p not in self.kept]:
            del state[p]
        for p, kept in self.kept.items():
            state[p] = kept
        for group, step in zip(groups, self.steps, strict=False):
            group.pop("step", None)
            if step is not None:
                group["step"] = step
