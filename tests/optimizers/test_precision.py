"""State and parameters in bfloat16: what is saved in memory, and what is not lost by it."""

import copy

import pytest
import torch

from autotune.optimizers import SGD, AdamW, Adan, create
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import advance, parameter, saved_and_loaded, under_test

HALVED = {"state_dtype": torch.bfloat16, "stochastic_rounding": True, "compact": True}
SEQUENCES = ("x", "y")
SOME = ["adan", "adamw-win2", "lamb-win"]  # each combination of dtypes is compiled anew


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


def trained(name, steps=6, dtype=torch.float32, size=40, **hyper):
    p = parameter(size, dtype)
    optimizer = create(name, [p], lr=0.05, **hyper)
    advance(optimizer, p, range(steps))
    return p.detach(), optimizer.state[p]


@pytest.mark.parametrize("name", SOME)
def test_averages_are_kept_in_bfloat16_and_weights_are_not(backend, name):
    p, state = trained(name, backend=backend, state_dtype=torch.bfloat16)
    assert p.dtype is torch.float32
    for key, value in state.items():
        if key != "step":
            assert value.dtype is (torch.float32 if key in ("z", *SEQUENCES) else torch.bfloat16)


@pytest.mark.parametrize("name", SOME)
def test_state_in_bfloat16_changes_a_run_little(backend, name):
    expected, _ = trained(name, backend=backend)
    actual, _ = trained(name, backend=backend, state_dtype=torch.bfloat16)
    assert not torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", SOME)
def test_backends_make_the_same_of_less_memory(backend, name):
    for dtype in (torch.float32, torch.bfloat16):
        expected, _ = trained(name, dtype=dtype, backend="torch", **HALVED)
        actual, _ = trained(name, dtype=dtype, backend=backend, **HALVED)
        torch.testing.assert_close(actual, expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("name", under_test())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_single_precision_may_be_asked_for(name, dtype):
    expected, wide = trained(name, dtype=dtype, backend="torch")
    actual, state = trained(name, dtype=dtype, backend="torch", state_dtype=torch.float32)
    averages = [k for k in state if k not in ("step", "z", *SEQUENCES)]
    assert {state[k].dtype for k in averages} <= {torch.float32}
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    rounded = any(not torch.equal(state[k].double(), wide[k].double()) for k in averages)
    assert rounded == (dtype is torch.float64 and name != "sgd-sf")  # which has no averages


def test_a_step_below_half_a_bit_is_lost_without_stochastic_rounding(backend):
    moved = []
    for stochastic in (False, True):
        p = torch.nn.Parameter(torch.ones(2**9, dtype=torch.bfloat16))
        optimizer = SGD(
            [p], 2.0**-10, momentum=0.0, backend=backend, stochastic_rounding=stochastic
        )
        p.grad = torch.ones_like(p)
        for _ in range(4):
            optimizer.step()
        moved.append(1.0 - float(p.detach().double().mean()))
    assert moved[0] == 0.0
    assert moved[1] == pytest.approx(4 * 2.0**-10, rel=0.2)


def test_tensors_alike_are_rounded_apart():
    p, q = (parameter(1000) for _ in range(2))
    optimizer = Adan([p, q], state_dtype=torch.bfloat16)
    optimizer.step()
    first, second = optimizer.state[p]["exp_avg"], optimizer.state[q]["exp_avg"]
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, second, rtol=0.01, atol=0.0)


def test_a_tensor_rounds_the_same_whichever_of_the_others_have_gradients():
    runs = []
    for alone in (False, True):
        p, q = (parameter(100) for _ in range(2))
        if alone:
            p.grad = None
        optimizer = Adan([p, q], state_dtype=torch.bfloat16)
        optimizer.step()
        runs.append(optimizer.state[q]["exp_avg"])
    assert torch.equal(*runs)


@pytest.mark.parametrize("name", under_test())
@pytest.mark.parametrize("early", [True, False], ids=["state first", "parameters first"])
def test_a_run_in_less_memory_is_resumed_bit_for_bit(name, early):
    for dtype in (torch.float32, torch.bfloat16):
        p, q = parameter(300, dtype), torch.nn.Parameter(torch.zeros(300, dtype=dtype))
        first = create(name, [p], lr=0.3, backend="torch", **HALVED)
        advance(first, p, range(4))
        saved, weights = saved_and_loaded(first.state_dict()), p.detach().clone()
        second = create(name, [q], lr=0.1, backend="torch", **HALVED)
        if not early:
            q.data.copy_(weights)
        second.load_state_dict(saved)
        q.data.copy_(weights)
        for optimizer, tensor in ((first, p), (second, q)):
            advance(optimizer, tensor, range(4, 8))
        assert torch.equal(p, q)


def test_sequences_are_saved_as_others_keep_them():
    plain, compact = (parameter(50) for _ in range(2))
    states = []
    for p, hyper in ((plain, {}), (compact, {"compact": True})):
        optimizer = AdamW([p], lr=0.05, acceleration="win2", **hyper)
        advance(optimizer, p, range(5))
        states.append(optimizer.state_dict()["state"][0])
        assert optimizer.state[p]["x"].dtype is (torch.bfloat16 if hyper else torch.float32)
    torch.testing.assert_close(compact, plain, rtol=0.0, atol=1e-3)
    for name in SEQUENCES:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("hyper", [{}, {"compact": True}], ids=["plain", "compact"])
def test_a_compact_checkpoint_is_anyones(hyper):
    p = parameter(50)
    optimizer = AdamW([p], lr=0.05, acceleration="win2", compact=not hyper)
    advance(optimizer, p, range(3))
    q = copy.deepcopy(p)
    other = AdamW([q], acceleration="win2", **hyper)
    other.load_state_dict(optimizer.state_dict())
    advance(optimizer, p, range(3, 6))
    advance(other, q, range(3, 6))
    torch.testing.assert_close(q, p, rtol=0.0, atol=1e-3)


def test_a_checkpoint_is_written_before_the_first_step_after_loading():
    p = parameter(50)
    optimizer = AdamW([p], acceleration="win", compact=True)
    advance(optimizer, p, range(3))
    saved = optimizer.state_dict()["state"][0]["x"]
    optimizer.load_state_dict(optimizer.state_dict())
    assert torch.equal(optimizer.state_dict()["state"][0]["x"], saved)


def test_a_checkpoint_in_single_precision_loads_into_half_of_it():
    p = parameter(5)
    first, second = Adan([p]), Adan([p], state_dtype=torch.bfloat16)
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.state[p]["exp_avg"].dtype is torch.bfloat16
    first.load_state_dict(second.state_dict())
    assert first.state[p]["exp_avg"].dtype is torch.float32


def test_groups_may_repeat_what_is_one_for_the_whole_optimizer():
    group = {"params": [parameter(2)], **HALVED}
    assert not set(HALVED) & set(Adan([{**group}], **HALVED).param_groups[0])
    sentence = (
        r"^state_dtype holds for the whole optimizer, got another value in a group; "
        r"set it in the constructor$"
    )
    with pytest.raises(ValueError, match=sentence):
        Adan([group])


def test_half_precision_of_the_other_kind_is_not_rounded_at_random():
    sentence = (
        r"^stochastic_rounding is for parameters in bfloat16, got one in torch\.float16; "
        r"leave it off, or make the model bfloat16$"
    )
    with pytest.raises(ValueError, match=sentence):
        AdamW([parameter(2, torch.float16)], stochastic_rounding=True)
