"""A network of one hidden layer on grey images."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from autotune.models.stacked import Weights, linear


class MLP(nn.Module):
    """Images of shape (batch, colour, height, width) to logits."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.inward = nn.Linear(inputs, hidden)
        self.outward = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, classes)."""
        return cast(Tensor, self.outward(self.inward(images.mean(1).flatten(1)).relu()))


def side_by_side(weights: Weights, images: Tensor) -> Tensor:
    """Return the logits of replicas, of shape (replica, batch, classes)."""
    grey = images.mean(2).flatten(2)
    return linear(linear(grey, weights, "inward").relu(), weights, "outward")
