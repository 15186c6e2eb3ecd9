"""Tasks on points in a plane and on a graph, recorded after those of ``tabular.py`` were searched.

``autotune bench record --model places.py:field`` trains one, as it does anybody's task.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from autotune import Problem

WAVES, WIDTH, POINTS = 10, 40, 2048
NODES, GROUPS, SIGNS = 360, 6, 9

Batch = tuple[Tensor, Tensor]  # what goes in, and what should come out


class Field(nn.Module):
    """A height for each point of a plane, by waves of fixed directions."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.register_buffer("ways", 4 * torch.randn(2, WAVES, generator=draw))
        self.body = nn.Sequential(
            nn.Linear(2 * WAVES, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(),
            nn.Linear(WIDTH, 1),
        )  # fmt: skip

    def forward(self, points: Tensor) -> Tensor:
        """Return one height a point."""
        waves = points @ self.ways
        return self.body(torch.cat([waves.sin(), waves.cos()], dim=1)).squeeze(1)


class Graph(nn.Module):
    """Two rounds of asking the neighbours, then a group for each node."""

    def __init__(self, links: Tensor, signs: Tensor) -> None:
        super().__init__()
        self.register_buffer("links", links)
        self.register_buffer("signs", signs)
        self.first, self.again = nn.Linear(2 * SIGNS, 32), nn.Linear(64, 32)
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, GROUPS))

    def forward(self, nodes: Tensor) -> Tensor:
        """Return logits of the asked nodes' groups."""
        seen = self.first(torch.cat([self.signs, self.links @ self.signs], dim=1)).relu()
        seen = self.again(torch.cat([seen, self.links @ seen], dim=1)).relu()
        return self.head(seen[nodes])


def field(seed: int) -> Problem:
    """Hills and an edge with noise, known at two thousand points: tell others."""
    draw = torch.Generator().manual_seed(0)
    points = torch.rand(POINTS, 2, generator=draw)
    across, along = points.T
    height = (2 * math.pi * across).sin() * (3 * math.pi * along).cos()
    height = height + ((across - 0.5) ** 2 + (along - 0.4) ** 2 < 0.06) * 0.8
    height = height + 0.1 * torch.randn(POINTS, generator=draw)
    pairs = list(zip(points.split(32), height.split(32), strict=True))
    return _problem(Field, pairs, seed, nn.functional.mse_loss)


def graph(seed: int) -> Problem:
    """Six groups of nodes, most links within, uncertain signs: say each node's group."""
    draw = torch.Generator().manual_seed(0)
    group = torch.arange(NODES) % GROUPS
    same = group[:, None] == group
    near = torch.where(same, 0.06, 0.008) > torch.rand(NODES, NODES, generator=draw)
    links = (near | near.T | torch.eye(NODES, dtype=torch.bool)).float()
    links = links / links.sum(1, keepdim=True)
    signs = torch.randn(GROUPS, SIGNS, generator=draw)[group]
    signs = signs + 1.8 * torch.randn(NODES, SIGNS, generator=draw)
    nodes = torch.randperm(NODES, generator=draw)
    pairs = [(part, group[part]) for part in nodes.split(24)]
    return _problem(lambda: Graph(links, signs), pairs, seed, nn.functional.cross_entropy)


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
