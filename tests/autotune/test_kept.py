"""A user's batches are read once for each seed in a process, in the order they always had."""

from itertools import count, islice

import pytest
import torch

from autotune.data.order import indices
from autotune.data.seeds import seeded
from autotune.studies.setting import Setting
from autotune.tasks import kept
from autotune.tasks.base import Problem
from autotune.tasks.given import offered
from autotune.tasks.kept import Kept
from autotune.tasks.resolve import resolve
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

STEPS = 27


class Counted:
    """Batches that count how often they are read, with noise of the global generator."""

    def __init__(self, length=40):
        self.length, self.read = length, []

    def __iter__(self):
        for place in range(self.length) if self.length else count():
            self.read.append(place)
            yield torch.full((4, 1), float(place)) + torch.rand(4, 1)


@pytest.fixture
def batches():
    return Counted(), Counted(3)


@pytest.fixture
def given(batches):
    seen = []

    def problem(seed):
        def loss(model, x):
            if model.training:
                seen.append(x.clone())
            return model(x).square().mean()

        return Problem(
            model=torch.nn.Linear(1, 1), train=batches[0], validation=batches[1], loss=loss
        )

    problem.seen = seen
    with offered(problem, "inline") as text:
        forget()
        yield problem, text


def _job(text, start, stop, seed=5, trial=1):
    return Job(
        trial=trial, attempt=1, task={"model": text, "steps": STEPS},
        optimizer="adamw", setting=Setting(params={}, hyper={"lr": 1e-3}, warmup=0.0), seed=seed,
        start=start, stop=stop, target=STEPS, evaluate=(stop,),
    )  # fmt: skip


def _run(job):
    [*_, last] = perform(job, lambda: False)
    assert last.outcome is Outcome.REACHED, last.reason
    return last


def test_a_trial_that_goes_on_does_not_read_its_batches_again(given, batches):
    for start, stop in ((0, 3), (3, 9), (9, 27)):
        _run(_job(given[1], start, stop))
    assert len(batches[0].read) == STEPS
    assert len(batches[1].read) == 3


def test_another_trial_of_the_seed_reads_nothing_and_one_of_another_seed_its_own(given, batches):
    one = _run(_job(given[1], 0, 9, trial=1))
    other = _run(_job(given[1], 0, 9, trial=2))
    assert len(batches[0].read) == STEPS
    assert [p.loss for p in one.points] == [p.loss for p in other.points]
    _run(_job(given[1], 0, 9, seed=6))
    assert len(batches[0].read) == 2 * STEPS


def test_which_batch_comes_at_which_step_is_as_it_always_was(given):
    given[0].seen.clear()
    _run(_job(given[1], 0, STEPS))
    with seeded("batches", 5):
        train = list(islice(Counted(), STEPS))
    for step, batch in enumerate(given[0].seen):
        assert torch.equal(batch, train[int(indices(5, step, 1, STEPS))])


def test_validation_batches_draw_after_those_to_train_on(given, batches):
    run = resolve(given[1], steps=STEPS, look=False).start(5)
    with seeded("batches", 5):
        list(islice(Counted(), STEPS))
        held_out = list(Counted(3))
    expected = sum(run.model(x).square().mean().item() for x in held_out) / 3
    assert run.evaluate().loss == pytest.approx(expected)


def test_the_first_look_reads_at_most_two_training_batches(given, batches):
    task = resolve(given[1], steps=STEPS)
    task.rehearse()
    assert len(batches[0].read) <= 2
    assert task.facts()["validation_size"] == 12
    assert task.batch_size == 4


def test_an_endless_stream_is_looked_at_by_its_first_batches(given, batches):
    batches[0].length = None
    task = resolve(given[1], steps=STEPS)
    task.rehearse()
    assert len(batches[0].read) <= 2
    _run(_job(given[1], 0, 9))
    assert max(batches[0].read) == STEPS - 1


def test_a_worker_does_not_read_what_the_command_looked_at(given, batches):
    resolve(given[1], steps=STEPS, look=False).start(0)
    assert batches[0].read == batches[1].read == []


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: torch.ones(3), lambda batch: batch.add_(1)),
        (lambda: {"x": torch.ones(3), "y": torch.ones(3)}, lambda batch: batch.pop("y")),
        (lambda: [torch.ones(3)], lambda batch: batch.append(torch.ones(3))),
        (lambda: (torch.ones(3), [1, 2]), lambda batch: batch[1].clear()),
        (lambda: torch.ones(3).numpy(), lambda batch: batch.fill(7)),
        (lambda: {"x": torch.ones(2, 3)}, lambda batch: batch["x"][0].zero_()),
    ],
    ids=["in place", "popped", "appended", "within", "array", "view"],
)
def test_batches_that_a_run_changed_are_read_again(make, change):
    held, reads = Kept(), []

    def read():
        reads.append(1)
        return [make(), make()]

    change(held.of(1, read)[0])
    again = held.of(1, read)
    assert len(reads) == 2
    assert repr(again[0]) == repr(make())


def test_batches_that_stayed_as_they_were_are_the_same_objects():
    class Both:
        def __init__(self):
            self.x, self.text = torch.ones(3), ["a"]

    held, reads = Kept(), [[(torch.ones(2), {"y": torch.ones(1)}), Both(), None, 3, "text"]]
    first = held.of(1, reads.pop)
    assert held.of(1, reads.pop) is first


def test_no_more_than_the_stated_memory_is_kept_for_later(monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    held, reads = Kept(), []

    def read(size):
        reads.append(size)
        return [torch.zeros(size // 4)]

    held.of(1, lambda: read(600))
    held.of(2, lambda: read(300))
    held.of(1, lambda: read(600))
    assert reads == [600, 300]
    held.of(3, lambda: read(4000))  # larger than all that is kept, and in use
    held.of(3, lambda: read(4000))
    assert reads == [600, 300, 4000]
    held.of(1, lambda: read(600))
    assert reads == [600, 300, 4000]
    held.of(3, lambda: read(4000))
    assert reads == [600, 300, 4000, 4000]


def test_views_of_one_piece_of_memory_count_once(monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    held, whole = Kept(), torch.zeros(200)
    held.of(1, lambda: list(whole.split(10)))
    held.of(2, lambda: [torch.zeros(10)])
    assert held.of(1, list)
