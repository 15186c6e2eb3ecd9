"""What an optimizer tells torch's GradScaler: who undoes the scale of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


def inside(self: RuleOptimizer) -> bool:
    """Whether GradScaler leaves gradients to the step, and sets grad_scale and found_inf here.

    True if Triton runs all parameters: the device then skips a step that overflowed. Others are
    called only if nothing overflowed, with gradients that are unscaled, and may be clipped.
    """
    return self.backend_used == "triton" if self._scaling is None else self._scaling


def claim(self: RuleOptimizer, claimed: bool) -> None:
    """Let a user, or a wrapper, say it instead."""
    self._scaling = claimed
