"""Residual networks for images: the real ResNet-50, and a small one for quick work."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from autotune.models.library import transformers
from autotune.models.products import use_products


def resnet50(classes: int) -> nn.Module:
    """Return ResNet-50 with fresh weights, from transformers' configuration; nothing is fetched."""
    library = transformers("the model 'resnet50'")
    config = library.ResNetConfig(num_labels=classes)
    model = cast(nn.Module, library.ResNetForImageClassification(config))
    use_products(model)
    return model


class ResidualBlock(nn.Module):
    """Two convolutions of 3 by 3 added to what comes in."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convolve1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.convolve2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` refined."""
        inner = self.norm1(self.convolve1(x)).relu()
        return cast(Tensor, (self.shortcut(x) + self.norm2(self.convolve2(inner))).relu())


class ResNetMini(nn.Module):
    """A stem, three stages of one block each, and a linear head over the mean."""

    def __init__(self, classes: int, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(
            ResidualBlock(first, first, 1),
            ResidualBlock(first, second, 2),
            ResidualBlock(second, third, 2),
        )
        self.head = nn.Linear(third, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, classes)."""
        return cast(Tensor, self.head(self.stages(self.stem(images)).mean((2, 3))))
