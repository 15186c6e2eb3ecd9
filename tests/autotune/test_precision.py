"""What a network computes in: facts that are true to their label, and who is refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autotune.devices import CPU, Device
from autotune.errors import AlreadyThere, SpecError
from autotune.search.carried import task_arguments
from autotune.search.coordinator import run
from autotune.search.device import check_precision, computed
from autotune.search.opening import as_begun
from autotune.search.worker import Terms, _otherwise, work
from autotune.studies.spec import SearchSpec, differences, parse
from autotune.studies.store import Store
from autotune.tasks.base import Problem
from autotune.tasks.given import offered
from autotune.tasks.precision import Precision, precise
from autotune.tasks.replicas import batchable
from autotune.tasks.resolve import in_precision, placed, resolve
from autotune.training import checkpoint, loading, runner
from autotune.training.loading import build
from autotune.training.steps import take_step

SPEC = SearchSpec(model="mlp")
META = Device("meta")


def asked(word: str) -> SearchSpec:
    return SPEC.model_copy(update={"precision": word})


def dtypes(task):
    """Return what the linear layers of a task answer in during a step."""
    training, found = task.start(0), set()
    for module in training.model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: found.add(output.dtype))
    loss = training.loss(1)
    assert (loss.dtype, loss.isfinite().item()) == (torch.float32, True)
    return found


@pytest.mark.parametrize(
    ("name", "said"),
    [("gpt-pico", "bf16 autocast"), ("resnet-mini", "bf16 autocast, channels_last")],
)
def test_a_task_computes_in_what_its_facts_say(name, said):
    task = resolve(name, batch_size=2)
    half = in_precision(task, "bf16")
    assert half.facts()["precision"] == said
    assert (dtypes(half), dtypes(task)) == ({torch.bfloat16}, {torch.float32})
    images = [p for p in half.model(0).parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in images)


def test_a_precision_of_the_own_choice_is_the_task_as_it_was():
    task = resolve("mlp")
    assert in_precision(task, "auto") is task
    assert in_precision(task, "float32").facts() == task.facts()
    assert task_arguments(asked("float32"), task.facts()) == task_arguments(SPEC, task.facts())


def test_a_job_carries_the_precision_that_was_asked_for():
    facts = in_precision(resolve("mlp"), "bf16").facts()
    carried = task_arguments(asked("bf16"), facts)
    assert carried["precision"] == "bf16 autocast"
    assert resolve(**carried).facts() == facts


@pytest.mark.parametrize("word", ["float32", "bf16", "fp16"])
def test_on_a_device_a_job_says_what_its_task_alone_would_not_compute_in(word, monkeypatch):
    monkeypatch.setattr(Device, "capability", lambda self: (9, 0))
    facts = placed(resolve("resnet-mini"), META).computed(word).facts()
    assert "precision" not in task_arguments(SPEC, facts)
    assert task_arguments(asked(word), facts)["precision"].split()[0] == word


@pytest.mark.parametrize(
    ("word", "device", "sentence"),
    [
        (
            "fp16",
            CPU,
            r"^precision 'fp16' needs a GPU, got device 'cpu'; use precision bf16 or float32$",
        ),
        (
            "bf16",
            Device("mps"),
            r"^precision 'bf16' is not for device 'mps', which computes in float32; use precision "
            r"float32$",
        ),
        (
            "bf16",
            Device("meta"),
            r"^precision 'bf16' needs a GPU of compute capability 8\.0, 'meta' has 7\.5; use "
            r"precision fp16 or float32$",
        ),
    ],
)
def test_a_device_that_does_not_compute_in_it_is_told_of(monkeypatch, word, device, sentence):
    old = device.kind == "meta"
    monkeypatch.setattr(Device, "capability", lambda self: (7, 5) if old else None)
    with pytest.raises(SpecError, match=sentence):
        precise(word, nn.Linear(1, 1), device)


def test_a_word_that_is_none_is_refused_where_it_is_written():
    rule = r"^precision must be auto, float32, bf16 or fp16, got 'half'$"
    with pytest.raises(SpecError, match=rule):
        parse({"model": "mlp", "precision": "half"})


def own(seed):
    batches = [torch.ones(4, 1)] * 3
    return Problem(
        model=nn.Linear(1, 1), train=batches, validation=batches,
        loss=lambda model, x: model(x).square().mean(),
    )  # fmt: skip


def test_a_problem_says_its_precision_itself():
    rule = (
        r"^precision is for models that are trained by this package's losses, 'own' brings its "
        r"own, whose precision is said by Problem\(precision='bf16'\); got 'bf16', leave it "
        r"out$"
    )
    with offered(own, "inline") as text, pytest.raises(SpecError, match=rule):
        in_precision(resolve(text, steps=3), "bf16")


def test_an_optimizer_that_cannot_undo_a_scale_is_refused():
    spec = asked("fp16").model_copy(update={"optimizers": ("adan", "adahessian")})
    rule = r"^precision 'fp16' scales losses, which adahessian cannot undo in its second deriv"
    with pytest.raises(SpecError, match=rule):
        computed(placed(resolve("mlp"), META), spec)


def test_replicas_compute_in_float32():
    rule = r"^runs side by side compute in float32, got model 'mlp' in bf16 autocast; run it on "
    with pytest.raises(SpecError, match=rule):
        batchable(in_precision(resolve("mlp"), "bf16"))


def test_a_worker_of_another_precision_is_refused():
    stored = SimpleNamespace(name="old", task={"precision": "bf16 autocast"})
    check_precision(stored, "auto")
    check_precision(stored, "bf16")
    check_precision(stored, "float32", mixed=True)
    rule = (
        r"^search 'old' computes in bf16 autocast, got precision 'float32': the losses of one "
        r"search are of one precision; leave --precision out, or --mixed lets it join, and every "
        r"table of results then says so$"
    )
    with pytest.raises(SpecError, match=rule):
        check_precision(stored, "float32")
    assert _otherwise(Terms(precision="bf16")) is None
    assert _otherwise(Terms(mixed=True)) == {"device": "auto"}
    both = Terms(precision="bf16", device="cuda:1", mixed=True)
    assert _otherwise(both) == {"device": "cuda", "precision": "bf16"}


def test_a_search_goes_on_in_its_precision_and_refuses_another(tmp_path):
    few = {"model": "mlp", "optimizers": ["sgd"], "budget": {"trials": 2}, "engine": "inline"}
    spec = parse({**few, "steps": 9, "precision": "bf16"})
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        run(spec, store=store)
        stored = store.search("mlp")
        assert stored.task["precision"] == "bf16 autocast"
        silent = parse({**few, "steps": 9})
        assert differences(spec, silent) == []
        assert as_begun(silent, stored).precision == "bf16"
        run(silent, store=store)  # of a complete search, it is only read
        assert store.search("mlp").spec["precision"] == "bf16"
        with pytest.raises(
            AlreadyThere, match=r"^search 'mlp' is already in .* another precision; "
        ):
            run(silent.model_copy(update={"precision": "float32"}), store=store)
        with pytest.raises(SpecError, match=r"^search 'mlp' computes in bf16 autocast, got preci"):
            work("mlp", store=store, terms=Terms(engine="inline", precision="float32"))


@pytest.fixture
def scaled():
    """Return a network in fp16, which the CPU computes, if slowly."""
    return replace(resolve("mlp", batch_size=8), precision=Precision.FLOAT16_ALONE)


def trained(task, steps, scale=None, path=None):
    """Return a run after some steps, and its optimizer; saved and loaded in the middle."""
    training, optimizer = build(task, "adamw", {"lr": 1e-2}, 0)
    if scale is not None:
        training.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    for step in range(steps):
        if path and step == steps // 2:
            checkpoint.save(path, training.model, optimizer, step, 1, training.data_state())
            training, optimizer = build(task, "adamw", {"lr": 1e-2}, 0)
            found = checkpoint.restore(
                path, training.model, optimizer, step, 1, load=training.load_data
            )
            assert found == step
        take_step(training, optimizer, step)
    return training, optimizer


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


def test_a_step_that_overflows_is_left_out_and_the_scale_halved(scaled):
    begun, _ = trained(scaled, 0)
    training, optimizer = trained(scaled, 1, scale=2.0**60)
    assert torch.equal(weights(training), weights(begun))
    assert training.scaler.get_scale() == 2.0**59
    assert not optimizer.state
    training, _ = trained(scaled, 1)
    assert not torch.equal(weights(training), weights(begun))


def test_a_scale_changes_no_step_in_float32():
    task = resolve("mlp", batch_size=8)
    (one, _), (other, _) = trained(task, 3), trained(task, 3, scale=2.0**10)
    assert torch.equal(weights(one), weights(other))


def test_a_scaled_run_goes_on_as_if_it_had_not_paused(scaled, tmp_path):
    (whole, _), (paused, _) = (
        trained(scaled, 6, scale, path)
        for scale, path in ((2.0**30, None), (2.0**30, tmp_path / "state"))
    )
    assert torch.equal(weights(whole), weights(paused))
    assert whole.scaler.state_dict() == paused.scaler.state_dict()
    assert whole.scaler.get_scale() < 2.0**30


def test_a_worker_that_may_compute_otherwise_trains_in_what_it_says(tmp_path, monkeypatch):
    halt, trained_in, load = threading.Event(), [], loading.task_of
    halt.set()
    few = {"model": "mlp", "optimizers": ["sgd"], "budget": {"trials": 2}, "engine": "inline"}
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        run(parse({**few, "steps": 9}), store=store, halt=halt)
        monkeypatch.setattr(
            runner, "task_of", lambda job: trained_in.append(load(job)) or trained_in[-1]
        )
        work("mlp", store=store, terms=Terms(engine="inline", precision="bf16", mixed=True))
        assert store.search("mlp").task["mixed"] == ["cpu in float32", "cpu in bf16 autocast"]
        assert store.search("mlp").spec["precision"] == "auto"
    assert {task.precision.word for task in trained_in} == {"bf16"}
