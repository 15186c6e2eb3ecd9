"""A task of another kind again: one layer of attention that finds a token by the one before it.

``autotune bench record --model attention.py:recall`` trains it, as it does anybody's task.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autotune import Problem

TOKENS, LENGTH, WIDTH, BATCH = 12, 9, 24, 32


class Recall(nn.Module):
    """Attention from the last token to all others, whose keys know the token before them."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.before = nn.Embedding(TOKENS, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of the token that followed the last one's earlier place."""
        own = self.own(tokens)
        keys = own + self.before(tokens.roll(1, dims=1))
        asked = own[:, -1:]
        found, _ = self.attention(asked, keys[:, :-1], keys[:, :-1], need_weights=False)
        return self.head((asked + found).squeeze(1))


def recall(seed: int) -> Problem:
    """Tokens, no two of them alike, and one of them again: say what followed it."""
    draw = torch.Generator().manual_seed(0)
    order = torch.rand(1600, TOKENS, generator=draw).argsort(dim=1)[:, :LENGTH]
    place = torch.randint(LENGTH - 1, (1600, 1), generator=draw)
    tokens = torch.cat([order, order.gather(1, place)], dim=1)
    answers = order.gather(1, place + 1).squeeze(1)
    pairs = list(zip(tokens.split(BATCH), answers.split(BATCH), strict=True))
    torch.manual_seed(seed)
    held = len(pairs) // 5
    train = [pairs[held + place] for place in torch.randperm(len(pairs) - held)]
    return Problem(
        model=Recall(),
        train=train,
        validation=pairs[:held],
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    )
