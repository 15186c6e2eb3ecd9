"""Whatever moves between two steps is seen: nothing is known by its address alone."""

import copy
import gc
import weakref

import pytest
import torch

from autotune.kernels import plan, torch_step
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.decay import DESCENT
from autotune.kernels.rules.sgd import SGD
from autotune.kernels.triton import tables
from autotune.optimizers import AdamW
from autotune.testing.backends import usable

RULE = Rule(direction=SGD, application=DESCENT)
ROW = (0.1, 0.9, 0.5, 1.0, 0.9, 0.1)


@pytest.fixture(autouse=True)
def triton_step():
    with usable("triton"):
        from autotune.kernels.triton import step as triton_step

        yield triton_step


def agree(triton_step, p, g, m, row=ROW):
    """Step both ways; the tensors stay the very same for the triton one."""
    other = copy.deepcopy([p, g, m])
    triton_step.step(RULE, [Update(p, g, (m,), row)], None)
    torch_step.step(RULE, [Update(other[0], other[1], (other[2],), row)], None)
    for a, b in zip((p, g, m), other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.fixture
def tensors(triton_step):
    made = [torch.randn(6, 6) for _ in range(3)]
    agree(triton_step, *made)
    return made


@pytest.mark.parametrize("role", [0, 1, 2], ids=["parameter", "gradient", "buffer"])
class TestReplaced:
    def test_by_memory_elsewhere(self, triton_step, tensors, role):
        tensors[role].data = torch.randn(6, 6)
        agree(triton_step, *tensors)

    def test_by_another_tensor(self, triton_step, tensors, role):
        tensors[role] = torch.randn(6, 6)
        agree(triton_step, *tensors)

    def test_by_other_strides_at_the_same_address(self, triton_step, tensors, role):
        tensors[role].t_()
        agree(triton_step, *tensors)

    def test_by_another_dtype_at_the_same_address(self, triton_step, tensors, role):
        tensor = tensors[role]
        memory = torch.zeros(144)
        tensor.data = memory[:36].view(6, 6)
        agree(triton_step, *tensors)
        address = tensor.data_ptr()
        tensor.data = memory.view(torch.float64)[:36].view(6, 6)
        assert tensor.data_ptr() == address
        agree(triton_step, *tensors)

    def test_by_gaps_at_the_same_address(self, triton_step, tensors, role):
        memory = torch.randn(6, 12)
        tensors[role].data = memory.view(-1)[:36].view(6, 6)
        agree(triton_step, *tensors)
        tensors[role].data = memory[:, :6]
        agree(triton_step, *tensors)
        tensors[role].data = memory[:, ::2]
        agree(triton_step, *tensors)


def test_a_shorter_tensor_at_the_same_address(triton_step, tensors):
    for tensor in tensors:
        tensor.data = tensor.view(-1)[:7]
    agree(triton_step, *tensors)


def test_a_view_that_loses_its_alignment(triton_step, tensors):
    memory = torch.randn(37)
    for start in (0, 1, 0):
        tensors[0].data = memory[start : start + 36].view(6, 6)
        agree(triton_step, *tensors)


def test_scalars_that_change(triton_step, tensors):
    for lr in (0.5, 0.0, 0.25):
        agree(triton_step, *tensors, row=(*ROW[:5], lr))


def advance(optimizer, p, seed):
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)).to(p.dtype)
    optimizer.step()


def test_a_loaded_state_is_the_one_that_moves():
    p, q = torch.nn.Parameter(torch.ones(40)), torch.nn.Parameter(torch.ones(40))
    fused, plain = AdamW([p], backend="triton"), AdamW([q], backend="torch")
    for optimizer, tensor in ((fused, p), (plain, q)):
        advance(optimizer, tensor, 0)
        saved = copy.deepcopy(optimizer.state_dict())
        advance(optimizer, tensor, 1)
        optimizer.load_state_dict(saved)
        advance(optimizer, tensor, 2)
    torch.testing.assert_close(p, q)
    torch.testing.assert_close(fused.state[p]["exp_avg"], plain.state[q]["exp_avg"])


def test_a_group_added_and_a_model_converted_are_seen():
    models = [torch.nn.Linear(5, 3) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model, backend in zip(models, ("triton", "torch"), strict=True):
        optimizer = AdamW([model.weight], lr=0.1, backend=backend)
        advance(optimizer, model.weight, 0)
        optimizer.add_param_group({"params": [model.bias], "lr": 0.2})
        for seed, dtype in ((1, torch.float32), (3, torch.float64), (5, torch.bfloat16)):
            model.zero_grad()
            model.to(dtype)
            model.bias.grad = torch.ones(3, dtype=dtype)
            advance(optimizer, model.weight, seed)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-2)


def test_state_moved_to_another_device_is_refused(triton_step, tensors):
    p, g, m = tensors
    sentence = (
        "^state must be where its parameter is, on cpu, got it on meta; "
        "move the model before its optimizer is made or loaded$"
    )
    for _ in range(2):
        with pytest.raises(ValueError, match=sentence):
            triton_step.step(RULE, [Update(p, g, (m.to("meta"),), ROW)], None)


@pytest.mark.parametrize(
    ("changes", "count"), [([], 0), (["grad"], 1), (["row"], 1), (["grad", "row"], 2)], ids=str
)
def test_only_what_changed_is_sent_again(triton_step, changes, count):
    tables.sent.cache_clear()
    p, g, m, other = torch.rand(4, 40)
    triton_step.step(RULE, [Update(p, g, (m,), ROW)], None)
    sent = tables.sent.cache_info().misses
    g = other if "grad" in changes else g
    row = (*ROW[:5], 0.75) if "row" in changes else ROW
    triton_step.step(RULE, [Update(p, g, (m,), row)], None)
    assert tables.sent.cache_info().misses - sent == count


def test_no_tensor_is_kept_alive(triton_step):
    kept = []
    for _ in range(3):
        p, g, m = torch.rand(5), torch.rand(5), torch.rand(10)[::2]
        triton_step.step(RULE, [Update(p, g, (m,), ROW)], None)
        kept += [weakref.ref(tensor) for tensor in (p, g, m)]
        del p, g, m
    gc.collect()
    assert [ref() for ref in kept] == [None] * 9


def test_plans_are_bounded(triton_step):
    for _ in range(100):
        triton_step.step(RULE, [Update(*torch.rand(2, 3), (torch.rand(3),), ROW)], None)
    assert plan._plan.cache_info().currsize <= 64


def test_plans_of_few_tensors_are_bounded_too():
    for k in range(2000):
        plan._small_plan((k,), len)
    assert plan._small_plan.cache_info().currsize <= 1024
    plan._small_plan.cache_clear()


def test_plans_of_many_tensors_are_bounded(triton_step):
    for _ in range(70):
        updates = [Update(*torch.rand(2, 3), (torch.rand(3),), ROW) for _ in range(plan._FEW + 1)]
        triton_step.step(RULE, updates, None)
    assert plan._plan.cache_info().currsize <= 64
