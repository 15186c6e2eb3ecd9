"""Tasks with laws to find, of a grammar and of nature, for searches the engine has not met.

``autotune bench record --model laws.py:letters`` trains one, as it does anybody's task.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap

from autotune import Problem

SIGNS, WINDOW, LENGTH, TEXTS = "abcdefghijklmnopqrstuvwxyz .", 8, 16, 768
KINDS = {"article": 4, "adjective": 40, "noun": 120, "verb": 60}
PARTICLES, STATES, BUMPS = 5, 768, 8

Batch = tuple[Tensor, Tensor]  # what goes in, and what should come out


class Window(nn.Module):
    """Two layers over the eight letters before each one, with no memory of earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(SIGNS), 8)
        self.body = nn.Sequential(nn.Linear(8 * WINDOW, 48), nn.ReLU(), nn.Linear(48, len(SIGNS)))

    def forward(self, text: Tensor) -> Tensor:
        """Return logits of what follows each window, signs before places."""
        windows = self.embed(text).unfold(1, WINDOW, 1).flatten(2)
        return self.body(windows).transpose(1, 2)


class Potential(nn.Module):
    """An energy learnt through its slope: each particle's share is told from what is around it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * BUMPS, 40), nn.Linear(40, 40)
        self.last = nn.Linear(40, 1, bias=False)

    def forward(self, around: Tensor) -> Tensor:
        """Return the forces, of what is around each particle and how that turns with places."""
        first = self.first(around[..., 0]).tanh()
        second = self.second(first).tanh()
        slope = (self.last.weight * (1 - second**2)) @ self.second.weight
        slope = (slope * (1 - first**2)) @ self.first.weight
        return -torch.einsum("bnf,bnfp->bp", slope, around[..., 1:])


def letters(seed: int) -> Problem:
    """Sentences of made-up words, few of them frequent, whose endings agree: guess each letter."""
    return _problem(Window, _texts(), seed, nn.functional.cross_entropy)


def forces(seed: int) -> Problem:
    """Charged particles that bind the closer the fewer neighbours they have: tell the forces."""
    return _problem(Potential, _states(), seed, nn.functional.mse_loss)


@cache
def _texts() -> list[Batch]:
    draw, long = random.Random(0), WINDOW + LENGTH
    words = {kind: [_word(draw) for _ in range(count)] for kind, count in KINDS.items()}
    text = "".join(_sentence(draw, words) for _ in range(TEXTS))[: TEXTS * long]
    signs = torch.tensor([SIGNS.index(sign) for sign in text]).view(TEXTS, long)
    return [(part[:, :-1], part[:, WINDOW:]) for part in signs.split(12)]


def _word(draw: random.Random) -> str:
    """Make up one to three syllables."""
    return "".join(
        draw.choice("bcdfghklmnprstvz") + draw.choice(["a", "e", "i", "o", "u", "ar", "en", "is"])
        for _ in range(draw.randint(1, 3))
    )


def _sentence(draw: random.Random, words: dict[str, list[str]]) -> str:
    """Say who does what to whom: a verb ends as who does it."""
    who, whom = draw.choice(["o", "im"]), draw.choice(["o", "im"])
    said = [*_phrase(draw, words, who), _pick(draw, words["verb"]) + ("t" if who == "o" else "nt")]
    return " ".join(said + _phrase(draw, words, whom)) + ". "


def _phrase(draw: random.Random, words: dict[str, list[str]], ending: str) -> list[str]:
    """Name a thing, at times with an adjective that ends like it."""
    kinds = ["adjective", "noun"] if draw.random() < 0.4 else ["noun"]
    return [_pick(draw, words["article"])] + [_pick(draw, words[kind]) + ending for kind in kinds]


def _pick(draw: random.Random, words: list[str]) -> str:
    """Draw a word, the n-th with a chance like 1 / n."""
    return draw.choices(words, [1 / (place + 1) for place in range(len(words))])[0]


@cache
def _states() -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0], [1.0, 1.0]])
    places = corners + 0.3 * torch.randn(STATES, PARTICLES, 2, generator=draw)
    charges = torch.randint(2, (STATES, PARTICLES), generator=draw) * 2.0 - 1
    turns = vmap(jacrev(_around))(places, charges).flatten(3)
    around = torch.cat([vmap(_around)(places, charges).unsqueeze(3), turns], dim=3)
    truth = -vmap(grad(_energy))(places, charges).flatten(1)
    return list(zip(around.split(16), (truth / truth.std()).split(16), strict=True))


def _around(places: Tensor, charges: Tensor) -> Tensor:
    """Count, for each particle, others of its charge and of the other one about each distance."""
    far, product = _pairs(places, charges)
    bumps = (-4 * (far.unsqueeze(2) - torch.linspace(0.5, 3.5, BUMPS)) ** 2).exp()
    same = (product > 0).unsqueeze(2)
    return torch.cat([(bumps * same).sum(1), (bumps * ~same).sum(1)], dim=1)


def _energy(places: Tensor, charges: Tensor) -> Tensor:
    """Let charges act through a screen, cores repel, and neighbours bind as their number's root."""
    far, product = _pairs(places, charges)
    pairs = product * (-far).exp() / (far + 0.3) + 0.5 * (-4 * far**2).exp()
    return pairs.sum() / 2 - (-far).exp().sum(1).sqrt().sum()


def _pairs(places: Tensor, charges: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each other particle is from each one, and the product of their charges."""
    others = [torch.arange(PARTICLES).roll(by) for by in range(1, PARTICLES)]
    other = torch.stack(others, dim=1)
    far = (places.unsqueeze(1) - places[other]).norm(dim=2)
    return far, charges.unsqueeze(1) * charges[other]


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
