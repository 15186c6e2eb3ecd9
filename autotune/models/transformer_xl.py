"""Transformer-XL: segments read one after another, each with a memory of those before.

Dai et al., arXiv:1901.02860: positions are relative (equation 5 and the shift of appendix B), and
no gradient goes through the memory. A forward is given whole windows and reads them segment by
segment, so the memory begins empty in every window and is the same whenever a step is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large a Transformer-XL is.

    Args:
        layers: Blocks.
        width: Numbers of a token.
        heads: Of attention.
        inner: Width of a block's second layer.
        vocabulary: Tokens.
        segment: Tokens that are read at once.
        memory: Tokens before them that are remembered.
        dropout: Share of activations that is set to 0 in training.
    """

    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int
    segment: int
    memory: int
    dropout: float = 0.0


class Attention(nn.Module):
    """Attention to a segment and the memory before it, by content and by distance."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.inward = nn.Linear(shape.width, 2 * shape.width, bias=False)
        self.distance = nn.Linear(shape.width, shape.width, bias=False)
        self.outward = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, memory: Tensor, place: Place) -> Tensor:
        """Mix each position with those before it, remembered ones too."""
        query = self._split(self.query(x))
        key, value = map(self._split, self.inward(torch.cat([memory, x], 1)).chunk(2, 2))
        distance = self._split(self.distance(place.distances)[None])
        scores = (query + place.content) @ key.mT
        scores = scores + shifted((query + place.position) @ distance.mT)
        scores = (scores * query.shape[-1] ** -0.5).masked_fill(place.hidden, -torch.inf)
        mixed = scores.softmax(-1) @ value
        return cast(Tensor, self.outward(mixed.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        """Return (batch, head, time, number) of (batch, time, width)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What attention in a segment shares over the layers.

    Args:
        distances: What stands for each distance, the largest first: (time, width).
        content: Added to queries before they meet keys: (heads, 1, number).
        position: Added to queries before they meet distances: alike.
        hidden: Which position does not see which: (segment, memory and segment).
    """

    distances: Tensor
    content: Tensor
    position: Tensor
    hidden: Tensor


class Block(nn.Module):
    """Attention and a two-layer network, each added to what comes in and then normalised."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.norm1 = nn.LayerNorm(shape.width)
        self.inward = nn.Linear(shape.width, shape.inner)
        self.outward = nn.Linear(shape.inner, shape.width)
        self.norm2 = nn.LayerNorm(shape.width)
        self.dropout = shape.dropout

    def forward(self, x: Tensor, memory: Tensor, place: Place) -> Tensor:
        """Return ``x`` refined."""
        x = self.norm1(x + self._dropped(self.attention(x, memory, place)))
        inner = self._dropped(self.inward(x).relu())
        return cast(Tensor, self.norm2(x + self._dropped(self.outward(inner))))

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class TransformerXL(nn.Module):
    """Tokens of shape (batch, time) to logits of the next; the head shares the embedding.

    Time is read in segments of ``shape.segment``; the last may be shorter.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        each = (shape.heads, 1, shape.width // shape.heads)
        self.content = nn.Parameter(torch.empty(each))
        self.position = nn.Parameter(torch.empty(each))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of shape (batch, time, vocabulary)."""
        empty = self.tokens.weight.new_empty(len(tokens), 0, self.shape.width)
        memory: Sequence[Tensor] = [empty] * self.shape.layers
        read = []
        for segment in torch.split(tokens, self.shape.segment, 1):
            found, memory = self._read(segment, memory)
            read.append(found)
        return torch.cat(read, 1) @ self.tokens.weight.T

    def _read(self, tokens: Tensor, memory: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return what is known after a segment, and what to remember of each layer's input."""
        x = self._dropped(self.tokens(tokens) * self.shape.width**0.5)
        place = self._place(tokens.shape[1], memory[0].shape[1])
        remembered = []
        for block, old in zip(self.blocks, memory, strict=True):
            remembered.append(self._remembered(old, x))
            x = block(x, old, place)
        return self._dropped(x), remembered

    def _remembered(self, old: Tensor, x: Tensor) -> Tensor:
        known = torch.cat([old, x.detach()], 1)
        return known[:, max(0, known.shape[1] - self.shape.memory) :]

    def _place(self, time: int, memory: int) -> Place:
        device, width = self.tokens.weight.device, self.shape.width
        back = torch.arange(memory + time - 1, -1, -1.0, device=device)
        rates = 10000 ** (-torch.arange(0, width, 2.0, device=device) / width)
        angles = back[:, None] * rates
        distances = torch.cat([angles.sin(), angles.cos()], 1)[:, :width]
        seen = torch.ones(time, memory + time, dtype=torch.bool, device=device)
        return Place(
            distances=self._dropped(distances),
            content=self.content,
            position=self.position,
            hidden=seen.triu(memory + 1),
        )

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.shape.dropout, self.training)


def shifted(scores: Tensor) -> Tensor:
    """Move row i of scores by distance to where the key of that distance from query i stands.

    Columns go from the largest distance to 0; those of keys after a query are left over.
    """
    *before, time, keys = scores.shape
    padded = torch.cat([scores.new_zeros(*before, time, 1), scores], -1)
    return padded.view(*before, keys + 1, time)[..., 1:, :].reshape(scores.shape)
