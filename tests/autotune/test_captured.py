"""Whole steps as graphs, recorded without a device: what replays compute, and who is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import nn

from autotune.devices import Device
from autotune.tasks.precision import Precision
from autotune.tasks.resolve import resolve
from autotune.tasks.training import CrossEntropy
from autotune.testing.backends import usable
from autotune.testing.graph import capture
from autotune.testing.launches import calls
from autotune.training import captured, checkpoint
from autotune.training.ahead import train_ahead
from autotune.training.captured import WARM, WHOLE, Captured, optimizer_for, sending, stepper
from autotune.training.norms import Norms
from autotune.training.pulse import silent
from autotune.training.steps import Segment, queue_step

STEPS = WARM + 3
HYPER = {"lr": 0.05, "weight_decay": 0.1, "backend": "triton"}


class Recorded:
    """A graph of the CPU, which does while it records what a device does right after."""

    def record(self, work):
        with pytest.MonkeyPatch.context() as patch, capture(patch) as self._graph:
            work()

    def replay(self):
        self._graph.replay()

    aside = staticmethod(nullcontext)


@dataclass(frozen=True)
class Recording(Device):
    """The CPU as a device that takes graphs."""

    kind: str = "cpu"

    def graph(self):
        return Recorded()


DEVICE = Recording()


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Let kernels run on the CPU, and recording cost nothing."""
    monkeypatch.setattr(captured, "COST", 0.0)
    monkeypatch.setattr(captured, "_timed", [])
    with usable("triton"):
        yield


def _coarse():
    return nn.AvgPool2d(12), nn.Flatten()


def net(classes):
    """A network that normalises, and draws."""
    return nn.Sequential(
        *_coarse(),
        nn.Linear(3, 4, bias=False),
        nn.BatchNorm1d(4, affine=False),
        nn.Dropout(0.5),
        nn.Linear(4, classes, bias=False),
    )


@cache
def made():
    small = resolve("mlp", steps=STEPS, batch_size=4)
    return replace(small, build=lambda seed: net(small.data.classes), side_by_side=None)


@pytest.fixture
def task():
    return made()


def begun(task, name="adamw", hyper=HYPER):
    run = task.start(0)
    return run, optimizer_for(run, name, hyper, DEVICE)


def rate(optimizer, step):
    """Set what a schedule would."""
    for group in optimizer.param_groups:
        group["lr"].fill_(0.05 / (step + 1))


def taken(step, optimizer, first, last):
    found = []
    for number in range(first, last):
        rate(optimizer, number)
        found.append(step(number).item())
    return found


def state(run, optimizer):
    return run.model.state_dict(), optimizer.state_dict()["state"]


@cache
def one_by_one(precision=Precision.FLOAT32):
    """Return losses and state of the task in a precision, by steps that are never recorded."""
    run, optimizer = begun(replace(made(), precision=precision))
    losses = taken(lambda step: queue_step(run, optimizer, step), optimizer, 0, STEPS)
    return losses, state(run, optimizer)


def assert_same(one, other):
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_replays_compute_what_steps_do(task):
    run, optimizer = begun(task)
    graph = Captured(run, optimizer, DEVICE, STEPS)
    losses = taken(graph, optimizer, 0, STEPS)
    assert run.graph == WHOLE
    assert sending(run) == {"graph": WHOLE}
    assert_same((losses, state(run, optimizer)), one_by_one())


def test_a_run_that_paused_goes_on_as_if_it_had_not(task, tmp_path):
    path, (run, optimizer) = tmp_path / "state", begun(task)
    losses = taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, WARM + 2)
    assert run.graph == WHOLE
    checkpoint.save(path, run.model, optimizer, WARM + 2, 1)
    run, optimizer = begun(task)
    assert checkpoint.restore(path, run.model, optimizer, WARM + 2, 1) == WARM + 2
    losses += taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, WARM + 2, STEPS)
    assert_same((losses, state(run, optimizer)), one_by_one())


def test_curves_with_measurements_between_are_those_of_steps_one_by_one(task, monkeypatch):
    segment = Segment(
        start=0, stop=STEPS, target=STEPS, warmup=0.3, evaluate=frozenset({5, STEPS}), every=1
    )

    def curve(device):
        run, optimizer = begun(task)
        points = train_ahead(run, optimizer, segment, lambda: False, silent, device)
        found = [(p.step, p.train_loss, p.loss, p.accuracy) for p in points]
        assert {float(g["lr"]) for g in optimizer.param_groups} == {0.05}
        return found, run.graph

    graphed, alone = curve(DEVICE), curve(Device("cpu"))
    assert (graphed[1], alone[1]) == (WHOLE, None)
    assert graphed[0] == alone[0]
    assert len(alone[0]) == STEPS


def test_a_replay_leaves_the_host_nothing_to_do(task):
    plain = nn.Sequential(*_coarse(), nn.Linear(3, 100))
    run, optimizer = begun(replace(task, build=lambda seed: plain))
    graph = Captured(run, optimizer, DEVICE, STEPS)
    alone = calls(lambda: taken(graph, optimizer, 0, 1))
    taken(graph, optimizer, 1, WARM + 1)
    graph._graph._graph._work.clear()  # of the device, which is the host here
    assert calls(lambda: graph(WARM + 1)) < alone / 4
    assert not graph._draws


class Asking(CrossEntropy):
    """A loss that asks the device for a number."""

    def loss(self, model, batch):
        least = batch[0].min().item()  # before anything runs: the CPU does what a device would note
        return super().loss(model, batch) * (1.0 if least < 0 else 2.0)


def test_a_step_that_no_graph_holds_is_taken_alone_and_told_of(task):
    asking = replace(task, objective=Asking)
    run, optimizer = begun(asking)
    losses = taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, STEPS)
    assert run.graph.startswith("steps one by one: AssertionError: aten._local_scalar_dense")
    assert_same((losses, state(run, optimizer)), one_by_one())


def test_what_spoils_the_process_is_raised(task, monkeypatch):
    def broken(self, work):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Recorded, "record", broken)
    run, optimizer = begun(task)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, WARM + 1)
    monkeypatch.setattr(
        Recorded, "record", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA error: capturing"))
    )
    run, optimizer = begun(task)
    taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, WARM + 1)
    assert run.graph == "steps one by one: RuntimeError: CUDA error: capturing"


def test_few_steps_are_not_worth_a_recording(task, monkeypatch):
    monkeypatch.setattr(captured, "COST", 1e6)
    run, optimizer = begun(task)
    taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, WARM + 1)
    assert run.graph.endswith(" s at most, and take 1e+06 s")
    monkeypatch.setattr(captured, "_timed", [0.0])  # what the last recording took counts
    run, optimizer = begun(task)
    taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, WARM + 1)
    assert run.graph == WHOLE


def test_an_optimizer_that_no_graph_holds_steps_as_before(task):
    run, optimizer = begun(task, "muon", {"lr": 0.05})
    assert not optimizer.capturable
    stepper(run, optimizer, DEVICE, STEPS)
    assert run.graph == "steps one by one: no graph holds those of Muon"
    run, optimizer = begun(task, "torch.optim.RMSprop", {"lr": 0.05})
    stepper(run, optimizer, DEVICE, STEPS)
    assert run.graph == "steps one by one: no graph holds those of RMSprop"


def test_steps_whose_gradients_are_looked_at_are_taken_one_by_one(task):
    run, optimizer = begun(task)
    norms = Norms(optimizer)
    take = stepper(run, optimizer, DEVICE, STEPS)
    assert run.graph == "steps one by one: what looks at each step's gradients is in no graph"
    taken(take, optimizer, 0, STEPS)
    assert [one.step for one in norms.read()] == list(range(1, STEPS + 1))


class Waiting(CrossEntropy):
    """A loss that says that it asks."""

    waits = True


def test_steps_of_strangers_and_of_what_waits_are_never_recorded(task):
    for other in (replace(task, origin={"model": "a.py:f"}), replace(task, objective=Waiting)):
        run = other.start(0)
        assert not captured.capturable(run, DEVICE)
    assert captured.capturable(task.start(0), DEVICE)
    assert not captured.capturable(task.start(0), Device("cpu"))


def test_a_scaled_loss_is_scaled_in_a_graph_too(task):
    half = replace(task, precision=Precision.FLOAT16_ALONE)
    run, optimizer = begun(half)
    losses = taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, STEPS)
    assert run.graph == WHOLE
    assert 0 < run.scaler.get_scale() < 2**16  # the first steps overflowed
    assert_same((losses, state(run, optimizer)), one_by_one(Precision.FLOAT16_ALONE))


def test_a_recording_that_fails_in_the_optimizer_leaves_no_scale_behind(task, monkeypatch):
    def record(self, work):
        def step(*_):
            raise RuntimeError("not while a graph is captured")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizer, "step", step)
            work()

    monkeypatch.setattr(Recorded, "record", record)
    run, optimizer = begun(replace(task, precision=Precision.FLOAT16_ALONE))
    scales = []
    optimizer.register_step_pre_hook(lambda own, *_: scales.append(own.grad_scale.item()))
    taken(Captured(run, optimizer, DEVICE, STEPS), optimizer, 0, STEPS)
    assert run.graph == "steps one by one: RuntimeError: not while a graph is captured"
    assert 0 < max(scales) <= 2**16
