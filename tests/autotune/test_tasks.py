"""Registered tasks: the contract over all of them, and what is special about each."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune import registry
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.models.gpt import GPT, NANO
from autotune.models.resnet import ResNetMini, resnet50
from autotune.tasks.batchnorm import fresh_statistics
from autotune.tasks.precision import Precision
from autotune.tasks.resolve import resolve
from autotune.testing.tasks import LARGE, TaskContract, weights


class TestRegisteredTasks(TaskContract):
    @pytest.fixture(params=sorted(set(registry.names("autotune.tasks")) - LARGE))
    def task(self, request):
        return resolve(request.param)


def test_resnet50_is_the_real_one():
    model = resnet50(1000)
    sizes = [weight.numel() for weight in model.parameters()]
    assert (len(sizes), sum(sizes)) == (161, 25_557_032)


def test_resnet50_takes_its_head_from_the_data():
    facts = resolve("resnet50").facts()
    assert facts["parameters"] == 25_557_032 - 900 * 2049
    assert (facts["tensors"], facts["classes"]) == (161, 100)


def test_a_model_is_counted_without_its_numbers():
    made, task = [], resolve("mlp")

    def build(seed):
        made.append(torch.empty(()).device.type)
        return task.build(seed)

    assert replace(task, build=build).facts()["parameters"] == task.facts()["parameters"]
    assert made == ["meta"]


def test_a_model_that_computes_while_it_is_built_is_counted_as_well():
    def build(seed):
        return torch.nn.Linear(3, int(torch.full((), 2.0).item()))

    assert replace(resolve("mlp"), build=build).facts()["parameters"] == 8


def test_resnet50_computes_in_float32_on_every_processor(monkeypatch):
    fast = {"avx2": True, "avx512_f": True, "avx512_bf16": True}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: fast)
    assert resolve("resnet50").facts()["precision"] == "float32"


def test_a_task_in_bfloat16_computes_convolutions_in_it_channels_last():
    task = replace(resolve("resnet-mini", batch_size=2), precision=Precision.BFLOAT16)
    run, seen = task.start(0), []
    run.model.stem[0].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    assert run.loss(0).dtype is torch.float32
    assert seen[0].dtype is torch.bfloat16
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert task.facts()["precision"] == "bf16 autocast, channels_last"


def test_resnet50_without_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra) as refused:
        resnet50(10)
    assert str(refused.value) == (
        "the model 'resnet50' needs the models extra: pip install 'adan-autotune[models]'"
    )


@pytest.mark.parametrize(
    ("model", "least", "most"),
    [(GPT(NANO), 110_000, 125_000), (ResNetMini(100), 50_000, 200_000)],
    ids=["gpt-nano", "resnet-mini"],
)
def test_small_models_are_small(model, least, most):
    assert least < sum(weight.numel() for weight in model.parameters()) < most


def test_gpt_does_not_see_the_future():
    torch.manual_seed(0)
    model = GPT(NANO)
    tokens = torch.randint(256, (1, 64))
    changed = tokens.clone()
    changed[0, 40:] = 0
    torch.testing.assert_close(model(tokens)[:, :40], model(changed)[:, :40])


def test_gpt_starts_near_the_loss_of_guessing():
    assert abs(resolve("gpt-nano").start(0).loss(0).item() - math.log(256)) < 0.3


def test_seeds_differ_in_weights_and_batches():
    task = resolve("resnet-mini")
    one, other = task.start(0), task.start(1)
    assert not torch.equal(weights(one)[0], weights(other)[0])
    other.model.load_state_dict(one.model.state_dict())
    assert one.loss(0) != other.loss(0)


def test_a_run_resumed_at_a_step_goes_on_as_if_never_stopped():
    task = resolve("resnet-mini", steps=6)
    whole, first, second = task.start(5), task.start(5), task.start(5)
    expected = _train(whole, range(6))
    _train(first, range(3))
    first.evaluate()
    second.model.load_state_dict(first.model.state_dict())
    assert _train(second, range(3, 6)) == expected[3:]


def _train(run, steps):
    losses = []
    for step in steps:
        loss = run.loss(step)
        run.model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in run.model.parameters():
                weight.sub_(weight.grad, alpha=0.1)
        losses.append(loss.item())
    return losses


def test_batch_normalisation_is_measured_with_statistics_of_now_and_restored():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    inputs = 5 + 2 * torch.randn(4096, 3)
    with fresh_statistics(model, lambda: model(inputs)):
        inside = model[0].running_mean.clone()
    torch.testing.assert_close(inside, inputs.mean(0))
    assert torch.equal(model[0].running_mean, torch.zeros(3))
    assert (model[0].momentum, model[0].num_batches_tracked.item()) == (0.1, 0)


def test_a_frozen_normalisation_keeps_its_statistics():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3)).eval()
    with fresh_statistics(model, lambda: model(5 + torch.randn(64, 3))):
        assert torch.equal(model[0].running_mean, torch.zeros(3))


def test_steps_and_batch_size_are_taken():
    task = resolve("gpt-nano", steps=7, batch_size=2)
    assert (task.steps, task.batch_size) == (7, 2)
    assert (task.facts()["steps"], task.facts()["batch_size"]) == (7, 2)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("convnext-mini", 8),
        ("mae-mini", 12),
        ("mlp", 8),
        ("resnet-mini", 12),
        ("swin-mini", 12),
        ("vit-mini", 12),
    ],
)
def test_images_of_a_size_that_is_asked_for_are_trained_and_measured_on(model, size):
    own, task = resolve(model), resolve(model, image_size=size)
    assert own.data.recipe.size > size
    assert task.facts()["image_size"] == size
    assert task.facts()["data_hash"] != own.facts()["data_hash"]
    run = task.start(0)
    assert {tuple(images.shape[1:]) for images, _ in task.validation()} == {(3, size, size)}
    assert run.loss(0).isfinite()
    assert math.isfinite(run.evaluate().loss)
    assert resolve(model, image_size=own.data.recipe.size).facts() == own.facts()


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        ("vit-mini", 13, "image_size of 'vit-mini' must be a multiple of 4 from 8 on, got 13"),
        ("swin-mini", 8, "image_size of 'swin-mini' must be a multiple of 4 from 12 on, got 8"),
        ("resnet50", 6, "image_size of 'resnet50' must be a multiple of 2 from 8 on, got 6"),
        (
            "gpt-pico",
            8,
            "image_size is for models whose images may have another size, got model 'gpt-pico'; "
            "leave it out (timm: and hf: say it in the model: timm:NAME?img_size=64)",
        ),
    ],
)
def test_a_size_that_a_network_does_not_take_is_refused(model, size, sentence):
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        resolve(model, image_size=size)


def test_only_digits_become_smaller_for_want_of_minutes(tmp_path):
    file = tmp_path / "own.npz"
    np.savez(file, images=np.random.default_rng(0).random((8, 9, 9)), labels=np.arange(8) % 2)
    assert resolve("vit-mini").shortest.image_size == 12
    assert resolve("vit-mini", data=str(file), look=False).shortest.image_size is None


@pytest.mark.parametrize("name", ["steps", "batch_size"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(SpecError, match=rf"^{name} must be at least 1, got 0$"):
        resolve("gpt-nano", **{name: 0})


@pytest.mark.parametrize(
    ("model", "data", "most"),
    [("gpt-nano", "stdlib-lm", None), ("resnet-mini", "digits-pair", 1347)],
)
def test_a_batch_larger_than_an_epoch_is_refused(model, data, most):
    if most is None:
        most = (resolve(model).facts()["train_bytes"] - 1) // 64
    assert resolve(model, batch_size=most).batch_size == most
    with pytest.raises(
        SpecError,
        match=rf"^batch_size must be at most {most}, the training samples of data '{data}', "
        rf"got {most + 1}$",
    ):
        resolve(model, batch_size=most + 1)


def test_data_that_a_model_of_text_does_not_take_is_refused_with_what_it_takes():
    with pytest.raises(UnknownName) as refused:
        resolve("gpt-nano", data="./corpus.txt")
    assert str(refused.value) == (
        "text data must be 'stdlib-lm', the source of Python's standard library, or the path of a "
        "text file, a folder of them, tokens in .bin or a data set on disk, got './corpus.txt', "
        "which does not exist"
    )


def test_an_unknown_model_suggests():
    with pytest.raises(UnknownName) as refused:
        resolve("resnet5")
    assert str(refused.value) == (
        "unknown model 'resnet5'; did you mean 'resnet50'? (known: bert-base, bert-mini, "
        "convnext-mini, convnext-tiny, detr-mini, detr-r50, gpt-nano, gpt-pico, gpt2, gpt2-medium, "
        "gpt2-mini, hf:CONFIG, mae-base, mae-mini, mlp, resnet-mini, resnet50, swin-mini, "
        "swin-tiny, timm:NAME, txl-base, txl-mini, vit-base, vit-mini, vit-small)"
    )
