"""Tensors that are not plain memory are waited for, run by torch, or refused in a sentence."""

import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import Linear, Parameter
from torch.testing._internal.two_tensor import TwoTensor

from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan, Stacked
from autotune.testing.backends import BACKENDS, usable

ALL = [LAMB, SGD, Adam, AdamW, Adan]
RICH = {"acceleration": "win2", "max_grad_norm": 0.5, "compact": True}


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


def refused(sentence):
    return pytest.raises(ValueError, match=f"^{re.escape(sentence)}$")


def test_a_gradient_that_autograd_leaves_negated_is_descended(backend):
    shift = Parameter(torch.zeros(1))
    optimizer = SGD([shift], lr=0.5, momentum=0.0, backend=backend)
    (torch.complex(torch.ones(1), shift).conj() * (1 + 2j)).real.sum().backward()
    assert shift.grad.is_neg()
    optimizer.step()
    assert shift.item() == -1.0


@pytest.mark.parametrize("cls", ALL)
def test_clipping_and_every_rule_read_a_negated_gradient(backend, cls):
    ends = []
    for turn in (lambda g: g, lambda g: (-g)._neg_view()):
        p = Parameter(torch.linspace(-1.0, 1.0, 6).view(2, 3))
        optimizer = cls([p], backend=backend, lr=0.1, **RICH)
        for k in range(3):
            p.grad = turn(torch.linspace(-2.0, k, 6).view(2, 3))
            optimizer.step()
        ends.append(p.detach().clone())
    assert torch.equal(*ends)


def test_replicas_read_negated_gradients(backend):
    ends = []
    for turn in (lambda g: g, lambda g: (-g)._neg_view()):
        p = Parameter(torch.ones(2, 3))
        optimizer = Stacked("adamw", [p], [{"lr": 0.1, "max_grad_norm": 1.0}] * 2, backend)
        p.grad = turn(torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, -2.0]]))
        optimizer.step()
        ends.append(p.detach().clone())
    assert torch.equal(*ends)


@pytest.mark.parametrize("hyper", [{}, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("cls", ALL)
def test_a_model_without_memory_trains_by_torch(cls, hyper):
    with FakeTensorMode():
        model = Linear(3, 4)
        optimizer = cls(model.parameters(), **hyper)
        for _ in range(2):
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    assert optimizer.backend_used == "torch"
    assert type(optimizer.state[model.weight]["exp_avg" if cls is not SGD else "momentum"]) is (
        FakeTensor
    )


def test_a_fake_model_may_be_stepped_after_its_mode_ended():
    with FakeTensorMode():
        model = Linear(3, 4)
        model(torch.ones(2, 3)).sum().backward()
    AdamW(model.parameters()).step()


@pytest.mark.parametrize("name", ["numba", "triton"])
def test_a_backend_that_reads_memory_refuses_a_fake_parameter(name):
    sentence = (
        f"backend '{name}' reads memory, got a FakeTensor that has none of its own; "
        "use backend='torch'"
    )
    with FakeTensorMode(), usable(name), refused(sentence):
        AdamW(Linear(3, 4).parameters(), backend=name)


@pytest.mark.parametrize("cls", [SGD, AdamW, Adan])
def test_a_wrapper_s_parts_step_as_they_would_alone(cls):
    parts = [torch.linspace(-1.0, 1.0, 5), torch.linspace(0.0, 3.0, 5)]
    alone = [Parameter(part.clone()) for part in parts]
    both = Parameter(TwoTensor(*(part.clone() for part in parts)))
    optimizers = [cls([p], lr=0.1, backend="torch") for p in alone] + [cls([both], lr=0.1)]
    for k in range(2):
        grads = [torch.full((5,), k + 1.0), torch.linspace(-1.0, k, 5)]
        for p, g in zip(alone, grads, strict=True):
            p.grad = g.clone()
        both.grad = TwoTensor(*grads)
        for optimizer in optimizers:
            optimizer.step()
    assert optimizers[-1].backend_used == "torch"
    assert torch.equal(both.a, alone[0])
    assert torch.equal(both.b, alone[1])


def test_a_wrapper_beside_plain_parameters_leaves_them_their_backend():
    pytest.importorskip("numba")
    plain, wrapper = Parameter(torch.ones(3)), Parameter(TwoTensor(torch.ones(2), torch.ones(2)))
    optimizer = AdamW([plain, wrapper], lr=0.1)
    plain.grad, wrapper.grad = torch.ones(3), TwoTensor(torch.ones(2), -torch.ones(2))
    optimizer.step()
    assert optimizer.backend_used == "numba, torch"
    assert plain[0].item() == wrapper.a[0].item() < 1.0 < wrapper.b[0].item()


def test_a_parameter_class_of_ones_own_keeps_its_backend():
    pytest.importorskip("numba")

    class Named(Parameter):
        pass

    p = Named(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = AdamW([p])
    optimizer.step()
    assert optimizer.backend_used == "numba"


def test_data_replaced_between_steps_is_what_is_stepped(backend):
    p, q = (Parameter(torch.ones(4)) for _ in range(2))
    optimizers = [SGD([each], lr=0.1, backend=backend) for each in (p, q)]
    for k in range(3):
        kept = p.data
        p.data = p.data.clone() if k < 2 else p.data._neg_view().neg()
        kept.fill_(float("nan")) if kept.data_ptr() != p.data_ptr() else None
        for each, optimizer in zip((p, q), optimizers, strict=True):
            each.grad = torch.full((4,), k + 1.0)
            optimizer.step()
    assert torch.equal(p, q)


def test_replicas_follow_data_that_is_replaced(backend):
    hyper = {"lr": 0.1, "acceleration": "win2", "compact": True}
    stack, alone = Parameter(torch.ones(2, 3)), Parameter(torch.ones(3))
    together = Stacked("adamw", [stack], [hyper, hyper], backend)
    single = AdamW([alone], backend=backend, **hyper)
    for k in range(3):
        kept, stack.data = stack.data, stack.data * 2.0
        alone.data = alone.data * 2.0
        kept.fill_(float("nan"))
        stack.grad, alone.grad = torch.full((2, 3), k + 1.0), torch.full((3,), k + 1.0)
        together.step()
        single.step()
    assert torch.equal(stack[1], alone)
    found, wanted = together.rows[1].state_dict(), single.state_dict()
    assert torch.equal(found["state"][0]["y"], wanted["state"][0]["y"])


def test_a_model_on_the_meta_device_trains_by_torch():
    model = Linear(3, 4, device="meta")
    model(torch.ones(2, 3, device="meta")).sum().backward()
    optimizer = LAMB(model.parameters())
    optimizer.step()
    assert optimizer.backend_used == "torch"


def test_a_gradient_in_another_layout_is_named(backend):
    p = Parameter(torch.ones(3, 4).to_mkldnn())
    p.grad = torch.ones(3, 4).to_mkldnn()
    with refused(
        "AdamW takes dense gradients, got one in layout torch._mkldnn; make the parameter dense"
    ):
        AdamW([p], backend=backend).step()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", ["qint8", "int64"])
def test_a_gradient_in_integers_is_refused(backend, kind):
    made = torch.ones(3, dtype=torch.int64)
    if kind == "qint8":
        made = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    p = Parameter(made, requires_grad=False)
    p.grad = made.clone()
    with refused(f"gradients must be in floating point, got torch.{kind}; leave the parameter out"):
        AdamW([p], backend=backend).step()


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_a_nested_gradient_is_named(name):
    ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    p = Parameter(ragged)
    p.grad = ragged.clone()
    with refused("AdamW takes dense gradients, got a nested one; make the parameter dense"):
        AdamW([p], backend=name).step()
