"""LightningCLI that trains as the search did: our groups, and a schedule stepped each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from lightning.pytorch.cli import LightningCLI
except ModuleNotFoundError:  # the same under its other name
    from pytorch_lightning.cli import LightningCLI

from autotune.errors import SpecError
from autotune.integrations.schedule import WarmupCosine
from autotune.optimizers import RuleOptimizer, split

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["CLI"]


class CLI(LightningCLI):  # type: ignore[misc]  # lightning is not always there
    """LightningCLI for the files of ``autotune export --as lightning``.

    Lightning's own makes one group of all parameters, decayed alike, and steps a schedule once an
    epoch.
    """

    @staticmethod
    def configure_optimizers(
        lightning_module: nn.Module, optimizer: Optimizer, lr_scheduler: Any = None
    ) -> dict[str, Any]:
        """Return optimizer and schedule; parameters with ndim <= 1 are not decayed.

        Raises:
            SpecError: The configuration has another schedule.
        """
        if not isinstance(lr_scheduler, WarmupCosine):
            raise SpecError(
                f"lr_scheduler must be {WarmupCosine.__name__} here, got "
                f"{type(lr_scheduler).__name__}; use LightningCLI for others"
            )
        told = {**optimizer.param_groups[0], **optimizer.defaults}
        optimizer.param_groups.clear()
        told.pop("initial_lr")  # the schedule, which is made anew, has taken its first step
        for group in _groups(optimizer, lightning_module):
            optimizer.add_param_group({**told, **group})
        schedule = WarmupCosine(optimizer, lr_scheduler.steps, lr_scheduler.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _groups(optimizer: Optimizer, module: nn.Module) -> list[dict[str, Any]]:
    if isinstance(optimizer, RuleOptimizer):
        return optimizer.split(module, optimizer.defaults)
    return split(module, optimizer.defaults.get("weight_decay", 0.0))
