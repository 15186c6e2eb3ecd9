"""Jobs performed in this process: real training, real files."""

from dataclasses import replace

import pytest
import torch

from autotune.testing.trials import setting_of
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

TASK = """
import time
import torch
from autotune import Problem


def problem(seed, loss=None, accuracy=None, model=None):
    torch.manual_seed(seed)
    inputs = torch.randn(48, 4)
    targets = inputs.sum(1, keepdim=True)
    return Problem(
        model=model or torch.nn.Linear(4, 1),
        train=list(zip(inputs[:32].split(8), targets[:32].split(8))),
        validation=[(inputs[32:], targets[32:])],
        loss=loss or (lambda m, batch: torch.nn.functional.mse_loss(m(batch[0]), batch[1])),
        accuracy=accuracy,
    )


def blind(seed):
    return problem(seed, accuracy=lambda model, batch: float("nan"))


def nan(seed):
    return problem(seed, loss=lambda model, batch: model(batch[0]).sum() * float("nan"))


def huge(seed):
    return problem(seed, loss=lambda model, batch: model(batch[0]).sum() + torch.empty(1 << 48))


def slow(seed):
    def loss(model, batch):
        time.sleep(0.01)
        return model[0](batch[0]).sum() ** 2

    heavy = torch.nn.Linear(1, 1)
    heavy.register_buffer("ballast", torch.zeros(1 << 20))
    return problem(seed, loss=loss, model=torch.nn.Sequential(torch.nn.Linear(4, 1), heavy))
"""

TARGET = 81
RUNGS = (3, 9, 27, 81)


@pytest.fixture(autouse=True)
def file(tmp_path):
    forget()
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return path


@pytest.fixture
def job(file, tmp_path):
    return Job(
        trial=1,
        attempt=1,
        task=task(file, "problem"),
        optimizer="adamw",
        setting=setting_of(hyper={"lr": 0.01}),
        seed=3,
        start=0,
        stop=TARGET,
        target=TARGET,
        evaluate=RUNGS,
        checkpoint=str(tmp_path / "trials" / "1-0.pt"),
    )


def task(file, function):
    return {"model": f"{file}:{function}", "data": None, "steps": TARGET, "batch_size": None}


def performed(job, interrupted=lambda: False):
    """Return the last report of a job, with the points of all."""
    reports = list(perform(job, interrupted, "one"))
    return replace(reports[-1], points=sum((report.points for report in reports), ()))


def losses(report):
    return {point.step: point.loss for point in report.points if point.loss is not None}


def test_the_last_report_names_the_worker_and_the_optimizers_backend(job):
    report = performed(job)
    assert report.worker == "one"
    assert report.facts["backend"] in {"numba", "torch"}


def test_a_failed_trial_says_its_backend_too(job, file):
    assert "backend" in performed(replace(job, task=task(file, "blind"))).facts


def test_an_accuracy_that_is_no_number_fails_the_trial(job, file):
    report = performed(replace(job, task=task(file, "blind")))
    assert report.outcome is Outcome.FAILED
    assert report.reason.startswith("ValueError: accuracy became nan at step 3 (steps.py:")


def test_a_loss_that_is_no_number_is_divergence(job, file):
    report = performed(replace(job, task=task(file, "nan")))
    assert report.outcome is Outcome.DIVERGED
    assert report.reason == "training loss became nan at step 1"


def test_memory_the_cpu_cannot_give_is_divergence(job, file):
    report = performed(replace(job, task=task(file, "huge")))
    assert report.outcome is Outcome.DIVERGED
    assert report.reason == "out of memory after step 0"


def test_a_paused_trial_goes_on_to_the_undisturbed_losses(job):
    whole = losses(performed(replace(job, checkpoint=None)))
    first = performed(replace(job, stop=9))
    rest = performed(replace(job, start=9))
    assert first.saved
    assert min(point.step for point in rest.points) > 9
    assert losses(first) | losses(rest) == whole


def test_an_older_state_is_gone_on_from(job):
    whole = losses(performed(replace(job, checkpoint=None)))
    performed(replace(job, stop=9))
    rest = performed(replace(job, start=27))
    assert min(point.step for point in rest.points) in range(10, 20)
    assert losses(rest) == {27: whole[27], 81: whole[81]}


@pytest.mark.parametrize(
    "changes",
    [
        {"setting": setting_of(hyper={"lr": 0.02})},
        {"seed": 4},
        {"setting": setting_of(hyper={"lr": 0.01}, warmup=0.2)},
        {"optimizer": "adan"},
        {"target": 100, "stop": 100},
    ],
)
def test_the_state_of_another_trial_is_not_gone_on_from(job, changes):
    performed(replace(job, stop=9))
    other = replace(job, start=9, **changes)
    afresh = performed(replace(other, start=0, checkpoint=None))
    assert untimed(performed(other)) == untimed(afresh)


def untimed(report):
    return [replace(point, seconds=0.0) for point in report.points]


def test_a_state_that_cannot_be_saved_is_said_and_the_trial_goes_on(job, tmp_path):
    (tmp_path / "trials").write_text("a file where the folder should be")
    report = performed(replace(job, stop=9))
    assert report.outcome is Outcome.REACHED
    assert not report.saved
    assert report.reason.startswith("its checkpoint was not saved: ")


def test_a_short_stretch_of_a_long_trial_is_saved(job, file):
    slow = replace(job, task=task(file, "slow"), evaluate=())
    assert performed(replace(slow, stop=20)).saved
    assert performed(replace(slow, start=20, stop=21)).saved


def test_an_interrupted_trial_is_saved_where_it_stopped(job):
    asked = iter([False, False, True, True])
    report = performed(job, lambda: next(asked))
    assert (report.outcome, report.step, report.saved) == (Outcome.INTERRUPTED, 3, True)


def test_nothing_is_saved_when_nobody_is_left_to_record_it(job, tmp_path):
    def gone():
        raise SystemExit

    with pytest.raises(SystemExit):
        list(perform(replace(job, stop=1), gone))
    assert not (tmp_path / "trials").exists()


def test_the_state_holds_the_peak_learning_rate(job, tmp_path):
    performed(replace(job, stop=9))
    state = torch.load(tmp_path / "trials" / "1-0.pt", weights_only=True)
    assert {group["lr"] for group in state["optimizer"]["param_groups"]} == {0.01}
