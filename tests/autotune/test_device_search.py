"""Which device a search computes on, what of it is stored, and who may join; no GPU is needed."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import autotune
from autotune import devices, environment
from autotune.devices import CPU, VISIBLE, Device
from autotune.drivers.nvml import Card
from autotune.errors import SpecError
from autotune.search.carried import task_arguments
from autotune.search.device import check_kind, device_of
from autotune.search.facts import changed_facts
from autotune.studies.spec import SearchSpec, differences, parse
from autotune.tasks.base import Problem
from autotune.tasks.given import offered
from autotune.tasks.resolve import chosen, placed, resolve
from autotune.training.job import Job
from autotune.training.loading import build
from autotune.training.runner import _identity

SPEC = SearchSpec(model="mlp")
META = Device("meta")
CARD = Card(name="G", capability=(9, 0), driver="1.2", memory=(3, 4))


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda visible: (CARD,))


def stored(**task):
    return SimpleNamespace(name="old", task={"model": "mlp", **task})


def test_facts_of_the_cpu_are_those_of_before_there_was_a_choice():
    assert "device" not in resolve("mlp").facts()
    assert task_arguments(SPEC, resolve("mlp").facts()).keys() == {
        "model", "data", "steps", "batch_size",
    }  # fmt: skip


def test_another_kind_of_device_is_another_task():
    here, there = resolve("mlp").facts(), placed(resolve("mlp"), META).facts()
    assert dict(there) == {**here, "device": "meta"}
    assert changed_facts(here, there) == ["kind of device"]
    assert task_arguments(SPEC, there)["device"] == "meta"


def test_a_checkpoint_of_the_cpu_is_known_as_before():
    job = Job(
        trial=1, attempt=1, task=task_arguments(SPEC, {}), optimizer="adan", seed=3, start=0,
        stop=1, target=2, evaluate=(), setting=SimpleNamespace(hyper={"lr": 0.1}, warmup=0.0),
    )  # fmt: skip
    assert _identity(job) == 117722090
    assert _identity(replace(job, task={**job.task, "device": "meta"})) != 117722090


def test_the_device_may_be_named_anew_when_a_search_goes_on():
    assert differences(SPEC, parse({"model": "mlp", "device": "cuda:1"})) == []


def test_a_device_of_no_kind_is_refused_where_it_is_written():
    rule = r"^device must be auto, cpu, cuda, cuda:<index> or mps, got 'gpu'$"
    with pytest.raises(SpecError, match=rule):
        parse({"model": "mlp", "device": "gpu"})


@pytest.mark.usefixtures("one_gpu")
def test_a_stored_search_goes_on_where_it_began():
    assert device_of(SPEC, stored()) == CPU
    assert device_of(SPEC, stored(device="cuda")) == Device("cuda")
    assert device_of(SPEC, None) == Device("cuda")


def test_a_stored_search_of_a_gpu_needs_one(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda visible: ())
    with pytest.raises(SpecError, match=r"^search 'old' computes on cuda: device 'cuda' is not"):
        device_of(SPEC, stored(device="cuda"))


def test_trials_on_ray_compute_on_the_gpus_they_ask_for():
    ray = SPEC.model_copy(update={"engine": "ray"})
    gpus = ray.model_copy(update={"ray": ray.ray.model_copy(update={"gpus_per_trial": 0.5})})
    assert device_of(ray, None) == CPU
    assert device_of(gpus, None) == Device("cuda")
    assert environment.facts(device_of(gpus, None))["device"] == "cuda"  # which is elsewhere
    rule = (
        r"^device 'cuda' with engine 'ray' needs gpus_per_trial: Ray shows a trial no other GPUs; "
        r"give --gpus-per-trial 1, or a part of one$"
    )
    with pytest.raises(SpecError, match=rule):
        device_of(ray.model_copy(update={"device": "cuda"}), None)


def test_a_worker_of_another_kind_of_device_is_refused():
    for asked in ("auto", "cuda", "cuda:1"):
        check_kind(stored(device="cuda"), asked)
    rule = (
        r"^search 'old' computes on cpu, got device 'cuda:1': the losses of one search are of one "
        r"kind of device; leave --device out, or --mixed lets it join, and every table of results "
        r"then says so$"
    )
    with pytest.raises(SpecError, match=rule):
        check_kind(stored(), "cuda:1")


class OnlyHere:
    """A task of a plugin that knows of no devices."""

    name = "plugin"


@pytest.mark.usefixtures("one_gpu")
def test_a_task_that_knows_no_devices_trains_on_the_cpu():
    task = OnlyHere()
    assert chosen(task, "auto") is task
    rule = (
        r"^model 'plugin' trains on the CPU alone, as its task has no method 'on'; "
        r"got device 'cuda', use device cpu$"
    )
    with pytest.raises(SpecError, match=rule):
        chosen(task, "cuda")


@pytest.mark.parametrize(
    ("visible", "alone"), [(None, "1"), ("4,7", "7"), ("GPU-a,GPU-b", "GPU-b")]
)
def test_a_gpu_asked_for_by_index_is_the_only_one_that_is_seen(monkeypatch, visible, alone):
    monkeypatch.setattr(devices, "gpus", lambda visible: (CARD, CARD))
    monkeypatch.delenv(VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    with devices.only("cuda:1") as text:
        assert (text, os.environ[VISIBLE]) == ("cuda", alone)
    assert os.environ.get(VISIBLE) == visible


@pytest.mark.usefixtures("one_gpu")
def test_the_environment_of_a_search_tells_its_gpu():
    told = environment.facts(Device("cuda"))
    assert (told["gpu"], told["capability"], told["driver"]) == ("G", "9.0", "1.2")
    assert "gpu" not in environment.facts()


def mixing(seed):
    def loss(model, x):
        return (model(x) - torch.zeros(4, 1)).square().mean()

    batches = [torch.ones(4, 1)] * 2
    return Problem(model=torch.nn.Linear(1, 1), train=batches, validation=batches, loss=loss)


def test_a_loss_that_makes_tensors_on_the_cpu_is_told_of_by_its_line():
    with offered(mixing, "inline") as text:
        run, _ = build(placed(resolve(text, steps=3), META), "adan", {"lr": 0.1}, 0)
        line = mixing.__code__.co_firstlineno + 2
        rule = (
            rf"^the loss or the model uses a tensor of another device at test_device_search.py:"
            rf"{line}, where weights and batches are on meta; make it there, as in "
            r"torch.zeros\(n, device=x.device\)$"
        )
        with pytest.raises(SpecError, match=rule):
            run.loss(0)


def fine(seed):
    batches = [torch.ones(4, 1)] * 2
    return Problem(
        model=torch.nn.Linear(1, 1),
        train=batches,
        validation=batches,
        loss=lambda model, x: model(x).square().mean(),
        accuracy=lambda model, x: (model(x) > 0).float().mean(),
    )


def test_a_problem_of_a_users_trains_on_a_device():
    with offered(fine, "inline") as text:
        task = placed(resolve(text, steps=3), META)
        run = task.start(0)
        assert run.loss(0).is_meta
        assert all(one.loss.is_meta and one.accuracy.is_meta for one in run.unread())
        assert task.facts()["device"] == "meta"


@pytest.mark.parametrize(
    ("model", "capability", "precision"),
    [
        ("resnet-mini", (8, 0), "bf16 autocast, channels_last"),
        ("resnet-mini", (7, 5), "float32"),
        ("mlp", (9, 0), "float32"),
    ],
)
def test_convolutions_are_bfloat16_on_gpus_built_for_it(monkeypatch, model, capability, precision):
    monkeypatch.setattr(devices, "gpus", lambda visible: (replace(CARD, capability=capability),))
    task = placed(resolve(model), Device("cuda"))
    assert task.facts()["precision"] == precision
    assert task.device == Device("cuda")


@pytest.mark.usefixtures("one_gpu")
def test_asking_for_facts_on_a_gpu_starts_no_cuda():
    assert placed(resolve("resnet-mini"), Device("cuda")).facts()["device"] == "cuda"
    assert not torch.cuda.is_initialized()


def test_python_asks_for_a_device_as_the_command_does(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "gpus", lambda visible: (CARD,))
    with pytest.raises(SpecError, match=r"^device 'cuda:9' is not there: cuda:0 alone is$"):
        autotune.tune("mlp", trials=2, device="cuda:9", storage=tmp_path / "a.db", progress="off")
    assert not (tmp_path / "a.db").exists()
