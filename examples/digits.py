"""The data of the examples: scikit-learn's 1,797 handwritten digits of 8x8 pixels."""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset


@cache
def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return training and validation data: 64 pixels from 0 to 1, and the digit."""
    found = load_digits()
    images = torch.tensor(found.data / 16, dtype=torch.float32)
    data = TensorDataset(images, torch.tensor(found.target))
    return TensorDataset(*data[:1200]), TensorDataset(*data[1200:])


def network(seed: int) -> nn.Module:
    """Return a small network; equal seeds give equal weights."""
    torch.manual_seed(seed)
    layers = nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)
    return nn.Sequential(*layers)


def validation_loss(model: nn.Module) -> float:
    """Return the mean loss on the validation data; the model's mode is left as it was."""
    training, (images, labels) = model.training, digits()[1].tensors
    model.eval()
    with torch.no_grad():
        loss: Tensor = nn.functional.cross_entropy(model(images), labels)
    model.train(training)
    return float(loss)
