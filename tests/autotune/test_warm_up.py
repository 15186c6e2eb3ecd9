"""What a device does once in a process is no trial's cost; a device is pretended on the CPU."""

import time
from dataclasses import replace

import pytest

from autotune.devices import CPU, Device
from autotune.testing.trials import nested
from autotune.training import loading
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

SLOW = 0.2  # seconds that the first two steps of a process take
DEVICE = Device("cpu", 7)  # not the CPU, by name


class Counted:
    """A task on a device that is slow at first; counts the steps that are taken."""

    def __init__(self, task, device=DEVICE):
        self.task, self.device = task, device
        self.steps = 0

    def start(self, seed):
        run = self.task.start(seed)
        loss = run.loss

        def counted(step):
            self.steps += 1
            if self.steps <= 2:
                time.sleep(SLOW)
            return loss(step)

        run.loss = counted
        return run


@pytest.fixture
def task(monkeypatch):
    """Put the task of every job on a pretended device."""
    forget()
    counted = Counted(loading._task('{"model": "mlp", "steps": 9}', "{}"))
    monkeypatch.setattr(loading, "_task", lambda *_: counted)
    yield counted
    loading._warmed.clear()


def job(**changes):
    fields = {
        "trial": 1, "attempt": 1, "task": {"model": "mlp", "steps": 9}, "optimizer": "adamw",
        "hyper": {"lr": 1e-3}, "warmup": 0.1, "seed": 3, "start": 0, "stop": 3, "target": 9,
        "evaluate": (3,), **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def losses(job):
    reports = list(perform(job, lambda: False))
    assert reports[-1].outcome is Outcome.REACHED
    return [point.train_loss for report in reports for point in report.points], reports[-1].seconds


def test_a_rule_takes_two_steps_once_on_a_device(task):
    losses(job())
    assert task.steps == 3 + 2
    losses(job(hyper={"lr": 1e-2}, seed=4))
    assert task.steps == 6 + 2
    losses(job(optimizer="adan"))
    assert task.steps == 9 + 4
    losses(job(hyper={"lr": 1e-3, "acceleration": "win", "reckless_steps": (2.0, 8.0)}))
    assert task.steps == 12 + 6


def test_what_a_device_does_once_is_not_in_a_trials_seconds_nor_in_its_losses(task):
    warmed, seconds = losses(job())
    assert seconds < 2 * SLOW
    task.device = CPU
    assert losses(job())[0] == warmed


def test_the_cpu_takes_no_steps_for_nothing(task):
    task.device = CPU
    losses(job())
    assert task.steps == 3


def test_a_setting_that_diverges_at_once_diverges_in_its_trial(task):
    far = replace(job(hyper={"lr": 1e30}), stop=9)
    last = list(perform(far, lambda: False))[-1]
    assert last.outcome is Outcome.DIVERGED
    assert last.step >= 1
