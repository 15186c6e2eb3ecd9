"""Parameter groups from a model: no weight decay on what is not a matrix."""

from __future__ import annotations

from typing import Any

from torch.nn import Module


def split(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups, with and without weight decay.

    Biases, gains of normalisation layers and other parameters of at most one dimension are not
    decayed. Frozen parameters are left out, and so is a group that would be empty.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
