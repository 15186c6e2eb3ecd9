"""Batches made once for each seed: kept while they fit, made again once something changed them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune.devices import Device
from autotune.tasks.resident import AHEAD, Resident
from autotune.tasks.resolve import resolve

SIZE = 4000  # bytes of a batch


class Made:
    """Makes batches of SIZE bytes and remembers of which steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, step: int) -> Any:
        self.steps.append(step)
        return torch.full((1000,), float(step)), {"step": step}


@pytest.fixture
def make():
    return Made()


def test_a_batch_of_a_seed_is_made_once(make):
    kept = Resident()
    first, again = (kept.batch(0, 3, make) for _ in range(2))
    assert make.steps == [3]
    assert first[0].data_ptr() == again[0].data_ptr()


def test_seeds_have_batches_of_their_own(make):
    kept = Resident()
    for seed in (0, 1, 0, 1):
        kept.batch(seed, 3, make)
    assert make.steps == [3, 3]


def fill(batch):
    batch[0].fill_(7)


def part(batch):
    batch[0][:2].zero_()


@pytest.mark.parametrize("change", [fill, part])
def test_a_batch_that_was_changed_is_made_again(make, change):
    kept = Resident()
    change(kept.batch(0, 3, make))
    assert kept.batch(0, 3, make)[0].tolist() == [3.0] * 1000
    change(kept.batch(0, 3, make))
    assert kept.batch(0, 3, make)[0].tolist() == [3.0] * 1000


def test_parts_taken_out_of_a_batch_are_in_the_next_one(make):
    kept = Resident()
    tensor, named = kept.batch(0, 3, make)
    del named["step"]
    tensor.requires_grad_()
    tensor, named = kept.batch(0, 3, make)
    assert (named, tensor.requires_grad, make.steps) == ({"step": 3}, False, [3])


def test_what_can_change_unseen_is_made_each_time():
    kept, arrays = Resident(), []

    def make(step):
        arrays.append(torch.full((2,), float(step)).numpy())
        return arrays[-1]

    kept.batch(0, 3, make).fill(7)
    assert kept.batch(0, 3, make).tolist() == [3, 3]


def test_the_seed_used_longest_ago_is_dropped_for_another(make):
    kept = Resident(most=4 * SIZE)
    for seed in (0, 0, 1, 1, 0, 2):
        kept.batch(seed, len(make.steps), make)
    made = list(make.steps)
    kept.batch(0, 0, make)
    kept.batch(2, 5, make)
    assert make.steps == made
    kept.batch(1, 2, make)
    assert make.steps == [*made, 2]


def test_what_one_seed_has_too_much_is_made_each_time(make):
    kept = Resident(most=2 * SIZE)
    for _ in range(2):
        for step in range(4):
            assert kept.batch(0, step, make)[1] == {"step": step}
    assert make.steps == [0, 1, 2, 3, 2, 3]


def test_what_does_not_fit_a_device_is_made_ahead(make):
    kept = Resident(Device("meta"), most=SIZE)
    steps = [kept.batch(0, step, make)[1]["step"] for step in range(5)]
    assert steps == [0, 1, 2, 3, 4]
    assert set(make.steps) <= set(range(5 + AHEAD))
    assert all(make.steps.count(step) == 1 for step in range(2, 5))


def test_an_error_ahead_is_told_at_its_step():
    def make(step):
        if step == 4:
            raise ValueError("no more")
        return torch.full((1000,), float(step))

    kept = Resident(Device("meta"), most=0)
    for step in range(4):
        kept.batch(0, step, make)
    with pytest.raises(ValueError, match="no more"):
        kept.batch(0, 4, make)


def test_batches_are_kept_on_their_device(make):
    kept = Resident(Device("meta"))
    assert kept.batch(0, 3, make)[0].is_meta
    assert kept.validation(lambda: [make(0)])[0][0].is_meta


def test_validation_batches_are_made_once_and_again_once_changed(make):
    kept = Resident()
    [(first, _)] = kept.validation(lambda: [make(0)])
    kept.validation(lambda: [make(0)])
    assert make.steps == [0]
    first.fill_(7)
    [(again, _)] = kept.validation(lambda: [make(0)])
    assert (again[0], make.steps) == (0, [0, 0])


def test_a_kept_batch_is_what_the_data_give():
    task = resolve("mlp")
    task.start(5).loss(2)
    for mine, theirs in zip(task.batch(5, 2), task.data.batch(5, 2, 32), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.stride() == theirs.stride()
