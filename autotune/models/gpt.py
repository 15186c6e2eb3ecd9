"""A small GPT over bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, scaled_dot_product_attention

from autotune.models.stacked import Weights, linear, norm


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large a GPT is."""

    layers: int
    width: int
    heads: int
    context: int
    vocabulary: int = 256


NANO = Shape(layers=2, width=64, heads=4, context=64)
PICO = Shape(layers=1, width=16, heads=2, context=32)


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.inward = nn.Linear(shape.width, 3 * shape.width)
        self.outward = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it."""
        query, key, value = self.inward(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return cast(Tensor, self.outward(mixed.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Attention and a two-layer network, each added to what comes in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.norm2 = nn.LayerNorm(shape.width)
        self.inward = nn.Linear(shape.width, 4 * shape.width)
        self.outward = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` refined."""
        x = x + self.attention(self.norm1(x))
        return cast(Tensor, x + self.outward(gelu(self.inward(self.norm2(x)))))


class GPT(nn.Module):
    """Tokens of shape (batch, time) to logits of the next; the head shares the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.layers)))
        self.norm = nn.LayerNorm(shape.width)
        self.apply(_initialise)
        for name, weight in self.named_parameters():
            if name.endswith("outward.weight"):  # GPT-2: keeps the residual's variance at depth
                nn.init.normal_(weight, std=0.02 / (2 * shape.layers) ** 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of shape (batch, time, vocabulary)."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return torch.matmul(self.norm(self.blocks(x)), self.tokens.weight.T)


def side_by_side(shape: Shape, weights: Weights, tokens: Tensor) -> Tensor:
    """Return the logits of replicas, of shape (replica, batch, time, vocabulary)."""
    count, batch, time = tokens.shape
    first = shape.vocabulary * torch.arange(count, device=tokens.device)[:, None, None]
    x = embedding(tokens + first, weights["tokens.weight"].flatten(0, 1))
    x = (x + weights["positions.weight"][:, None, :time]).flatten(1, 2)
    for i in range(shape.layers):
        x = _block(x, weights, f"blocks.{i}", (count * batch, time, 3, shape.heads, -1))
    logits = torch.bmm(norm(x, weights, "norm"), weights["tokens.weight"].mT)
    return logits.view(count, batch, time, shape.vocabulary)


def _block(x: Tensor, weights: Weights, name: str, heads: tuple[int, ...]) -> Tensor:
    inner = linear(norm(x, weights, f"{name}.norm1"), weights, f"{name}.attention.inward")
    query, key, value = inner.view(heads).permute(2, 0, 3, 1, 4)
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
    mixed = mixed.transpose(1, 2).reshape(x.shape)
    x = x + linear(mixed, weights, f"{name}.attention.outward")
    inner = linear(norm(x, weights, f"{name}.norm2"), weights, f"{name}.inward")
    return x + linear(gelu(inner), weights, f"{name}.outward")


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
