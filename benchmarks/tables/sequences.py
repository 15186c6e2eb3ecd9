"""Tasks on sequences, recorded after those of ``places.py`` were searched.

``autotune bench record --model sequences.py:tongue`` trains one, as it does anybody's task.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autotune import Problem

SIGNS, LENGTH, TEXTS = 20, 16, 512
SIDE, PATCH, PICTURES, SHAPES = 12, 3, 768, 5

Batch = tuple[Tensor, Tensor]  # what goes in, and what should come out


class Tongue(nn.Module):
    """A recurrent network that guesses the next sign."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(SIGNS, 16)
        self.body = nn.GRU(16, 32, batch_first=True)
        self.head = nn.Linear(32, SIGNS)

    def forward(self, signs: Tensor) -> Tensor:
        """Return logits of each next sign, signs before places."""
        return self.head(self.body(self.embed(signs))[0]).transpose(1, 2)


class Patches(nn.Module):
    """One transformer layer on the patches of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH * PATCH, 24)
        self.place = nn.Parameter(0.02 * torch.randn((SIDE // PATCH) ** 2, 24))
        self.body = nn.TransformerEncoderLayer(
            24, 2, 48, dropout=0.0, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(24, SHAPES)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits of the shapes."""
        parts = nn.functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2)
        return self.head(self.body(self.embed(parts) + self.place).mean(1))


def tongue(seed: int) -> Problem:
    """A made-up language in which two signs tell much of the third: guess what follows."""
    draw = torch.Generator().manual_seed(0)
    chances = (2 * torch.randn(SIGNS, SIGNS, SIGNS, generator=draw)).softmax(2)
    text = torch.randint(SIGNS, (TEXTS, 2), generator=draw)
    for _ in range(LENGTH - 1):
        follows = torch.multinomial(chances[text[:, -2], text[:, -1]], 1, generator=draw)
        text = torch.cat([text, follows], dim=1)
    pairs = [(part[:, :-1], part[:, 1:]) for part in text.split(16)]
    return _problem(Tongue, pairs, seed, nn.functional.cross_entropy)


def patches(seed: int) -> Problem:
    """Bars, discs, rings and crosses somewhere in a noisy picture: say which."""
    draw = torch.Generator().manual_seed(0)
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    middle = 3 + 6 * torch.rand(2, PICTURES, 1, 1, generator=draw)
    down, across = down - middle[0], across - middle[1]
    far, level, upright = (down**2 + across**2).sqrt(), down.abs() < 1, across.abs() < 1
    kinds = [level & (far < 4), upright & (far < 4), far < 2.5, (far - 3).abs() < 0.8]
    kinds.append((level | upright) & (far < 3))
    kind = torch.randint(SHAPES, (PICTURES,), generator=draw)
    shapes = torch.stack(kinds)[kind, torch.arange(PICTURES)].float()
    shapes = shapes + 0.5 * torch.randn(PICTURES, SIDE, SIDE, generator=draw)
    pairs = list(zip(shapes.unsqueeze(1).split(24), kind.split(24), strict=True))
    return _problem(Patches, pairs, seed, nn.functional.cross_entropy)


def _problem(
    build: Callable[[], nn.Module],
    pairs: list[Batch],
    seed: int,
    compare: Callable[[Tensor, Tensor], Tensor],
) -> Problem:
    """Keep a quarter of the batches for validation; shuffle the others by the seed."""
    torch.manual_seed(seed)
    held = len(pairs) // 4
    train = [pairs[held + place] for place in torch.randperm(len(pairs) - held)]
    return Problem(
        model=build(),
        train=train,
        validation=pairs[:held],
        loss=lambda model, batch: compare(model(batch[0]), batch[1]),
    )
