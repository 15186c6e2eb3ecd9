"""The tasks of ``transfer.py``: runs of a fraction of a second, in which no layer draws by chance.

Three are defined here, six are those of recorded tables, two are built in. Data of ``gpt-pico``,
``teacher`` and ``grammar`` are never seen twice; those of the others are, also in the short runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from autotune import Problem
from autotune.tasks.base import Task
from autotune.tasks.problem import OwnProblem
from autotune.tasks.resolve import resolve

sys.path.insert(0, str(Path(__file__).parent / "tables"))
import laws
import others
import places
import tabular

STEPS = 162  # of a short run
LONGEST = 10  # times as long is the longest run, of batches
LARGEST = 4  # times as large
FRESH = STEPS * LONGEST * LARGEST  # batches that no run is at the end of
SIGNS, LENGTH = 8, 10  # of a made-up language, and signs of a sentence
SMALL = {"mlp": 32, "gpt-pico": 2}  # samples of a batch of the built-in ones

Batch = tuple[Tensor, Tensor]  # what goes in, and what should come out
Recipe = Callable[[int], Problem]


class Attention(nn.Module):
    """One layer of causal attention and a network after it, over signs of a language."""

    def __init__(self) -> None:
        super().__init__()
        self.signs, self.places = nn.Embedding(SIGNS, 16), nn.Embedding(LENGTH, 16)
        self.first, self.second, self.last = (nn.LayerNorm(16) for _ in range(3))
        self.inward, self.outward = nn.Linear(16, 48), nn.Linear(16, 16)
        self.body = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, SIGNS)
        self.register_buffer("later", torch.ones(LENGTH, LENGTH).triu(1) * -1e9)

    def forward(self, signs: Tensor) -> Tensor:
        """Return logits of each next sign, signs before places."""
        x = self.signs(signs) + self.places.weight
        asked, keys, values = self.inward(self.first(x)).chunk(3, dim=-1)
        weights = (asked @ keys.mT / 4 + self.later).softmax(-1)
        x = x + self.outward(weights @ values)
        x = x + self.body(self.second(x))
        return self.head(self.last(x)).transpose(-1, -2)


class Mixer(nn.Module):
    """Patches of a picture, mixed over places and then over features."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.places = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16))
        self.features = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.first, self.second, self.head = nn.LayerNorm(16), nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits of the digits."""
        x = self.embed(patches)
        x = x + self.places(self.first(x).mT).mT
        x = x + self.features(self.second(x))
        return self.head(x.mean(-2))


def grammar(seed: int) -> Problem:
    """Sentences in which two signs tell much of the third, none seen twice."""
    torch.manual_seed(seed)
    train, validation = _sentences()
    return _problem(Attention(), train, validation, nn.functional.cross_entropy)


def teacher(seed: int) -> Problem:
    """What another network answers, with noise, to points that are never seen twice."""
    torch.manual_seed(seed)
    train, validation = _answers()
    student = nn.Sequential(
        nn.Linear(12, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1)
    )
    return _problem(student, train, validation, nn.functional.mse_loss)


def digits(seed: int) -> Problem:
    """Scikit-learn's digits of eight by eight pixels, in patches of two by two."""
    torch.manual_seed(seed)
    train, validation = _pictures()
    return _problem(Mixer(), train, validation, nn.functional.cross_entropy)


@cache
def _sentences() -> tuple[Sequence[Batch], Sequence[Batch]]:
    draw = torch.Generator().manual_seed(0)
    chances = (2 * torch.randn(SIGNS * SIGNS, SIGNS, generator=draw)).softmax(1).cumsum(1)
    text = torch.randint(SIGNS, (8 * (FRESH + 40), 2), generator=draw)
    for _ in range(LENGTH - 1):
        drawn = torch.rand(len(text), 1, generator=draw)
        follows = (chances[text[:, -2] * SIGNS + text[:, -1]] < drawn).sum(1, keepdim=True)
        text = torch.cat([text, follows.clamp(max=SIGNS - 1)], dim=1)
    batches = [(part[:, :-1], part[:, 1:]) for part in text.split(8)]
    return batches[40:], batches[:40]


@cache
def _answers() -> tuple[Sequence[Batch], Sequence[Batch]]:
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(32 * (FRESH + 16), 12, generator=draw)
    inward, outward = torch.randn(12, 24, generator=draw), torch.randn(24, 1, generator=draw)
    truth = (points @ inward / 12**0.5 * 1.5).sin() @ outward / 24**0.5
    truth = truth + 0.1 * torch.randn(truth.shape, generator=draw)
    batches = list(zip(points.split(32), truth.split(32), strict=True))
    return batches[16:], batches[:16]


@cache
def _pictures() -> tuple[Sequence[Batch], Sequence[Batch]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = torch.tensor(found.images, dtype=torch.float32)[:1792, None] / 16
    patches = nn.functional.unfold(pictures, 2, stride=2).mT.contiguous()
    mixed = torch.randperm(1792, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor(found.target)[mixed]
    batches = list(zip(patches[mixed].split(16), labels.split(16), strict=True))
    return batches[28:], batches[:28]


def _problem(
    model: nn.Module,
    train: Sequence[Batch],
    validation: Sequence[Batch],
    compare: Callable[[Tensor, Tensor], Tensor],
) -> Problem:
    return Problem(
        model=model,
        train=train,
        validation=validation,
        loss=lambda model, batch: compare(model(batch[0]), batch[1]),
    )


RECIPES: Mapping[str, Recipe] = {
    "denoise": others.denoise,
    "digits": digits,
    "field": places.field,
    "forces": laws.forces,
    "grammar": grammar,
    "graph": places.graph,
    "letters": laws.letters,
    "ratings": tabular.ratings,
    "teacher": teacher,
}
# Each with Adan, and with another one by turns.
OPTIMIZERS = {
    name: ("adan", ("adamw", "adan-win2")[place % 2])
    for place, name in enumerate((*SMALL, *RECIPES))
}


def task(name: str, steps: int = 1, batch: int = 1) -> Task:
    """Return a task.

    Args:
        name: Of the task.
        steps: Times as long as its short run.
        batch: Times its batch.
    """
    if name in SMALL:
        return resolve(name, steps=STEPS * steps, batch_size=SMALL[name] * batch)
    return OwnProblem(
        name=name, text=name, build=enlarged(RECIPES[name], batch), sha256="", steps=STEPS * steps
    )


def model(name: str) -> str | Recipe:
    """Return what ``autotune.tune`` takes as the task's model."""
    return name if name in SMALL else RECIPES[name]


def enlarged(recipe: Recipe, times: int) -> Recipe:
    """Return a recipe whose batches to train on are so many of its batches together."""

    def build(seed: int) -> Problem:
        problem = recipe(seed)
        return problem if times == 1 else replace(problem, train=list(_joined(problem, times)))

    return build


def _joined(problem: Problem, times: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches put together; those that fill no whole one are left out."""
    batches = list(problem.train)  # type: ignore[arg-type]
    for first in range(0, len(batches) - times + 1, times):
        parts = batches[first : first + times]
        yield tuple(torch.cat(column) for column in zip(*parts, strict=True))
