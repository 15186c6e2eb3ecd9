"""A task that trains in milliseconds, as a user would bring it."""

import pytest

TASK = """
import time

import torch
from autotune import Problem


def problem(seed):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=draw)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    torch.manual_seed(seed)
    batches = list(zip(inputs[:64].split(8), targets[:64].split(8)))
    return Problem(
        model=torch.nn.Linear(4, 1),
        train=batches,
        validation=[(inputs[64:], targets[64:])],
        loss=lambda model, batch: torch.nn.functional.mse_loss(model(batch[0]), batch[1]),
    )


def known(batch, made):
    # The first look at a problem sees these, and is to find nothing wrong with it.
    return any(torch.equal(batch[0], first[0]) for first in (made.train[0], made.validation[0]))


def raising(seed):
    made = problem(seed)

    def loss(model, batch):
        if not known(batch, made):
            raise RuntimeError("the user's own mistake")
        return made.loss(model, batch)

    return Problem(model=made.model, train=made.train, validation=made.validation, loss=loss)


def hanging(seed):
    made = problem(seed)

    def loss(model, batch):
        if not known(batch, made):
            time.sleep(3600)
        return made.loss(model, batch)

    return Problem(model=made.model, train=made.train, validation=made.validation, loss=loss)


def nan(seed):
    made = problem(seed)
    return Problem(
        model=made.model,
        train=made.train,
        validation=made.validation,
        loss=lambda model, batch: model(batch[0]).sum() * float("nan"),
    )
"""


@pytest.fixture(scope="session")
def task_text():
    """The task, for a file that several tests share."""
    return TASK


@pytest.fixture
def task_file(tmp_path):
    path = tmp_path / "mytask.py"
    path.write_text(TASK)
    return path
