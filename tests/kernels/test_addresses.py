"""Kernels read values, not addresses: lazy bits are resolved, and what has no memory is refused."""

import re
from dataclasses import replace

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor

from autotune.kernels import backends, torch_step
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.adam import ADAM
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.norms import TRUST
from autotune.testing.backends import BACKENDS, usable

ADAMW = Rule(direction=ADAM, application=DECOUPLED)
ROW = (0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2)


@pytest.fixture(params=["numba", "triton"])
def backend(request):
    with usable(request.param):
        yield backends.load(request.param)


@pytest.fixture(params=BACKENDS)
def any_backend(request):
    with usable(request.param):
        yield backends.load(request.param)


def negated(values):
    """Return a view whose memory holds the negatives of these values."""
    return (-values)._neg_view()


def imaginary(values):
    """Return the same as autograd does: the imaginary part of a conjugate, with gaps."""
    return torch.complex(torch.zeros_like(values), -values).conj().imag


def zeros(values):
    return torch._efficientzerotensor(values.shape)


LAZY = pytest.mark.parametrize("lazy", [negated, imaginary, zeros], ids=lambda f: f.__name__)
SIGNED = pytest.mark.parametrize("lazy", [negated, imaginary], ids=lambda f: f.__name__)


def tensors():
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(50, generator=draw) for _ in range(2)] + [torch.rand(50) for _ in range(2)]


def step(backend, p, g, *state):
    backend.step(ADAMW, [Update(p, g, state, ROW)], None)
    return [tensor.clone() for tensor in (p, *state)]


def agree(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b.resolve_neg(), rtol=1e-5, atol=1e-6)


@LAZY
def test_a_gradient_that_memory_does_not_show(backend, lazy):
    p, g, *state = tensors()
    g = lazy(g)
    plain = [p.clone(), g.clone().resolve_neg(), *(s.clone() for s in state)]
    agree(step(backend, p, g, *state), step(torch_step, *plain))


@SIGNED
def test_a_parameter_and_state_that_memory_does_not_show(backend, lazy):
    plain = tensors()
    p, g, *state = (lazy(t) if i != 1 else t.clone() for i, t in enumerate(plain))
    agree(step(backend, p, g, *state), step(torch_step, *plain))
    assert p.is_neg()


def test_a_sign_that_comes_and_goes_while_the_address_stays(backend):
    p, g, *state = tensors()
    plain = [t.clone() for t in (p, g, *state)]
    for k in range(4):
        p.data, plain[0].data = p.data._neg_view(), -plain[0].data
        shown = g._neg_view() if k % 2 else g
        signed = [plain[0], -plain[1] if k % 2 else plain[1], *plain[2:]]
        agree(step(backend, p, shown, *state), step(torch_step, *signed))


def test_zeros_without_memory_among_other_gradients(backend):
    p, g, *state = tensors()
    plain = [t.clone() for t in (p, g, *state)]
    for gradient in (g, zeros(g), g):
        other = torch.zeros(50) if gradient is not g else g
        agree(step(backend, p, gradient, *state), step(torch_step, plain[0], other, *plain[2:]))


@LAZY
def test_squares_of_gradients_that_memory_does_not_show(backend, lazy):
    torch.manual_seed(0)
    values = torch.complex(torch.randn(20), torch.randn(20)).real
    expected = float(lazy(values).double().square().sum())
    assert float(backend.squares([lazy(values), torch.ones(2)])) == pytest.approx(expected + 2.0)


def test_sizes_of_a_negated_gradient(backend):
    p, g, *state = tensors()
    rule, row = replace(ADAMW, shaping=TRUST), (*ROW, 2.0)
    found = backend.sizes(rule, [Update(p, negated(g), tuple(state), row)], None)
    expected = torch_step.sizes(rule, [Update(p, g, tuple(state), row)], None)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", [0, 1], ids=["parameter", "gradient"])
def test_freed_storage_is_refused_at_any_step(any_backend, which):
    given = tensors()
    step(any_backend, *given)
    given[which].untyped_storage().resize_(0)
    sentence = (
        "a step needs whole tensors, got one of shape (50,) whose storage has 0 of 200 bytes; "
        "step after what freed it has brought it back"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        step(any_backend, *given)


def test_squares_of_a_freed_gradient_are_refused(any_backend):
    g = torch.ones(5)
    g.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="whose storage has 0 of 20 bytes"):
        any_backend.squares([g])


def test_freed_state_is_refused(backend):
    given = tensors()
    step(backend, *given)
    given[3].untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="whose storage has 0 of 200 bytes"):
        step(backend, *given)


def test_storage_that_ends_within_a_tensor_is_refused(backend):
    given = tensors()
    given[1] = torch.ones(60)[10:]
    given[1].untyped_storage().resize_(44)
    with pytest.raises(ValueError, match="whose storage has 44 of 240 bytes"):
        step(backend, *given)


def test_zeros_without_memory_cannot_be_stepped(backend):
    p, g, *state = tensors()
    with pytest.raises(ValueError, match=r"^a step writes parameters and state, got zeros of"):
        step(backend, zeros(p), g, *state)


@pytest.mark.parametrize("which", range(3), ids=["parameter", "gradient", "state"])
def test_a_wrapper_is_refused_by_what_reads_memory(backend, which):
    given = tensors()
    given[which] = TwoTensor(given[which], given[which])
    sentence = (
        "kernels read memory, got a TwoTensor that has none of its own; use backend='torch', or "
        "pass a dense tensor"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        step(backend, *given)


def test_a_functional_tensor_is_refused_by_what_reads_memory(backend):
    p, g, *state = tensors()
    with pytest.raises(ValueError, match="that has none of its own"):
        step(backend, p, torch._to_functional_tensor(g), *state)


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad], ids=["vmap", "grad"])
def test_a_transform_s_tensor_is_refused_by_what_reads_memory(backend, transform):
    p, _, *state = tensors()

    def inside(g):
        with pytest.raises(ValueError, match=r"^kernels read memory, got a Tensor that has none"):
            backend.step(ADAMW, [Update(p, g, tuple(state), ROW)], None)
        return g.sum()

    transform(inside)(torch.ones(50) if transform is torch.func.grad else torch.ones(2, 50))
