"""DeepSpeed: optimizer and schedule of a configuration that an export wrote.

DeepSpeed itself is not imported: ``deepspeed.initialize`` takes both as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune.errors import SpecError
from autotune.integrations.building import optimizer_of, scheduler

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

__all__ = ["built"]

KEY = "autotune"


def built(model: nn.Module, config: Mapping[str, Any]) -> tuple[Optimizer, LambdaLR]:
    """Return what ``deepspeed.initialize`` takes as ``optimizer`` and ``lr_scheduler``.

    Args:
        model: What is trained; its parameters with ndim <= 1 are not decayed.
        config: The file of ``autotune export --as deepspeed``, read as JSON.

    Raises:
        SpecError: The configuration is not of such a file.
    """
    if KEY not in config:
        raise SpecError(f"the configuration has no '{KEY}'; give it autotune export --as deepspeed")
    found = config[KEY]
    optimizer = optimizer_of(model, found["optimizer"], found["hyper"])
    return optimizer, scheduler(optimizer, found["steps"], found["warmup"])
