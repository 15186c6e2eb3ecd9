"""Tasks on rows and pairs: their tables were recorded when the engine was ready, to judge it.

``autotune bench record --model tabular.py:ratings`` trains one, as it does anybody's task.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autotune import Problem

PEOPLE, FILMS, TASTES, RANK = 240, 180, 6, 12
FEATURES, KINDS = 10, 7
VIEW, SHARED, VIEWED = 24, 8, 32

Batch = tuple[Tensor, ...]  # what goes in, and last what should come out


class Factors(nn.Module):
    """A rating as the product of what a person likes and what a film has, and a bias of each."""

    def __init__(self) -> None:
        super().__init__()
        self.people, self.films = nn.Embedding(PEOPLE, RANK), nn.Embedding(FILMS, RANK)
        self.kind, self.fame = nn.Embedding(PEOPLE, 1), nn.Embedding(FILMS, 1)
        for table in (self.people, self.films, self.kind, self.fame):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, person: Tensor, film: Tensor) -> Tensor:
        """Return one rating a pair."""
        liked = (self.people(person) * self.films(film)).sum(1)
        return liked + self.kind(person).squeeze(1) + self.fame(film).squeeze(1)


class Prices(nn.Module):
    """A network with batch normalisation on numbers and one category."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = nn.Embedding(KINDS, 4)
        self.body = nn.Sequential(
            nn.Linear(FEATURES + 4, 40), nn.BatchNorm1d(40), nn.ReLU(),
            nn.Linear(40, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 1),
        )  # fmt: skip

    def forward(self, numbers: Tensor, kind: Tensor) -> Tensor:
        """Return one price a row."""
        return self.body(torch.cat([numbers, self.kind(kind)], dim=1)).squeeze(1)


class Views(nn.Module):
    """Two encoders that give what was seen together the same direction."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = _encoder(), _encoder()
        self.sharpness = nn.Parameter(torch.tensor(1.5))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return how well each left view fits each right one."""
        ways = [nn.functional.normalize(way, dim=1) for way in (self.left(left), self.right(right))]
        return self.sharpness.exp() * ways[0] @ ways[1].T


def ratings(seed: int) -> Problem:
    """Noisy products of hidden tastes, a fifth of all pairs seen: tell others."""
    draw = torch.Generator().manual_seed(0)
    tastes = torch.randn(PEOPLE, TASTES, generator=draw) / TASTES**0.25
    traits = torch.randn(FILMS, TASTES, generator=draw) / TASTES**0.25
    chosen = torch.randperm(PEOPLE * FILMS, generator=draw)[: PEOPLE * FILMS // 5]
    person, film = chosen // FILMS, chosen % FILMS
    rating = (tastes @ traits.T)[person, film]
    rating = rating + 0.4 * torch.randn(rating.shape, generator=draw)
    return _problem(Factors, (person, film, rating), 96, seed, nn.functional.mse_loss)


def prices(seed: int) -> Problem:
    """Sums of steps, products and a category's own slope, with rare gross errors."""
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randn(1600, FEATURES, generator=draw)
    kind = torch.randint(KINDS, (1600,), generator=draw)
    slope = torch.randn(KINDS, generator=draw)
    price = slope[kind] * numbers[:, 0] + (numbers[:, 1] > 0.3) * 1.5 + numbers[:, 2].tanh()
    price = price + numbers[:, 3] * numbers[:, 4] + 0.3 * torch.randn(1600, generator=draw)
    wrong = torch.rand(1600, generator=draw) < 0.03
    price = price + wrong * 8 * torch.randn(1600, generator=draw)
    return _problem(Prices, (numbers, kind, price), 32, seed, nn.functional.huber_loss)


def views(seed: int) -> Problem:
    """Two noisy projections of the same hidden numbers: find which belong together."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(1600, SHARED, generator=draw)
    both = []
    for _ in range(2):
        project = torch.randn(SHARED, VIEW, generator=draw) / SHARED**0.5
        seen = (hidden @ project).tanh() + 0.2 * torch.randn(1600, VIEW, generator=draw)
        both.append(seen)
    places = torch.arange(1600) % VIEWED
    return _problem(Views, (*both, places), VIEWED, seed, nn.functional.cross_entropy)


def _encoder() -> nn.Module:
    return nn.Sequential(nn.Linear(VIEW, 48), nn.GELU(), nn.Linear(48, SHARED))


def _problem(
    build: Callable[[], nn.Module],
    columns: Batch,
    size: int,
    seed: int,
    compare: Callable[[Tensor, Tensor], Tensor],
) -> Problem:
    """Keep a fifth of the batches for validation; shuffle the others by the seed."""
    batches = list(zip(*(column.split(size) for column in columns), strict=True))
    torch.manual_seed(seed)
    held = len(batches) // 5
    train = [batches[held + place] for place in torch.randperm(len(batches) - held)]
    return Problem(
        model=build(),
        train=train,
        validation=batches[:held],
        loss=lambda model, batch: compare(model(*batch[:-1]), batch[-1]),
    )
