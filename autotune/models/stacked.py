"""Layers of K replicas at once: weights and inputs are stacked along a first dimension.

``torch.func.vmap`` gives the same numbers, at half of the speed for a small MLP and, where it knows
no rule for attention, at less than one replica's after another.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

Weights = Mapping[str, Tensor]  # by the module's names


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Apply a linear layer to inputs of shape (replica, sample, feature)."""
    return torch.baddbmm(weights[f"{name}.bias"][:, None], x, weights[f"{name}.weight"].mT)


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Apply layer normalisation to inputs of shape (replica, sample, feature)."""
    gain, bias = weights[f"{name}.weight"][:, None], weights[f"{name}.bias"][:, None]
    return torch.addcmul(bias, layer_norm(x, x.shape[-1:]), gain)
