"""What only the triton backend promises, in its interpreter."""

import pytest
import torch

from autotune.kernels import backends, lang, torch_step
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.decay import DECOUPLED, DESCENT
from autotune.kernels.rules.lamb import LAMB as LAMB_DIRECTION
from autotune.kernels.rules.norms import TRUST
from autotune.kernels.rules.sgd import SGD as SGD_DIRECTION
from autotune.optimizers import Adan
from autotune.testing.backends import usable
from autotune.testing.optimizers import in_kernels
from autotune.testing.trajectories import drawn, final

HALVES = [torch.bfloat16, torch.float16]
COPYING = Rule(direction=SGD_DIRECTION, application=DESCENT)
COPY = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)  # the buffer becomes the gradient, the parameter stays


@pytest.fixture
def triton_step():
    with usable("triton"):
        from autotune.kernels.triton import step as triton_step

        yield triton_step


def every_pattern(dtype):
    """Return all numbers of a 16-bit dtype."""
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def same(actual, expected):
    """Compare bits, but for those of a NaN."""
    assert actual.dtype == expected.dtype
    assert torch.equal(actual.isnan(), expected.isnan())
    known = ~expected.isnan()
    size = torch.int16 if expected.element_size() == 2 else torch.int32
    assert torch.equal(actual[known].view(size), expected[known].view(size))


@pytest.fixture
def wide(monkeypatch):
    """Let a program take much at once: the interpreter's time goes by programs."""
    from autotune.kernels.triton import configs

    setting = configs.Config(chunk=4096, block=4096, warps=1)
    monkeypatch.setattr(configs, "INTERPRETER", setting)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_precision_number_is_read_as_it_is(triton_step, wide, dtype):
    g, b = every_pattern(dtype), torch.zeros(2**16)
    triton_step.step(COPYING, [Update(torch.zeros(2**16), g, (b,), COPY)], None)
    same(b, 0.0 + g.float())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_precision_number_is_written_as_it_was(triton_step, wide, dtype):
    p = every_pattern(dtype)
    p = p[torch.isfinite(p)]
    before = p.clone()
    triton_step.step(COPYING, [Update(p, torch.zeros_like(p), (torch.zeros(len(p)),), COPY)], None)
    same(p, before)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_single_precision_is_rounded_to_nearest_even(triton_step, wide, dtype):
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randint(-(2**31), 2**31, (2**15,), generator=draw, dtype=torch.int64)
    halfway = (every_pattern(torch.bfloat16).view(torch.int16).to(torch.int64) << 16) + 0x8000
    g = torch.cat([patterns, halfway]).to(torch.int32).view(torch.float32)
    b = torch.zeros(len(g), dtype=dtype)
    triton_step.step(COPYING, [Update(torch.zeros(len(g)), g, (b,), COPY)], None)
    same(b, (0.0 + g).to(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", in_kernels())
def test_half_precision_parameters_follow_torch(triton_step, name, dtype):
    hyper = {"lr": 0.1, "weight_decay": 0.2, "max_grad_norm": 0.7}
    run = drawn(name, hyper, [(40,), (), (0,), (3, 5)], steps=3, seed=3)
    expected = final(run, dtype=dtype, backend="torch")
    actual = final(run, dtype=dtype, backend="triton")
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=2e-2, atol=2e-2)


TRUSTING = Rule(direction=LAMB_DIRECTION, application=DECOUPLED, shaping=TRUST)
ROW = (0.1, 0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 0.0, 0.1, 0.2, 2.0)


def test_nothing_is_read_before_it_is_written(triton_step):
    def stepped():
        p, g, m, v = torch.rand(4, 100, generator=torch.Generator().manual_seed(0))
        clip = triton_step.squares([g]).sqrt()
        triton_step.step(TRUSTING, [Update(p, g, (m, v), ROW)], clip)
        return torch.stack([p, m, v])

    expected = stepped()
    torch.use_deterministic_algorithms(True)  # what is allocated and not written is NaN
    try:
        assert torch.equal(stepped(), expected)
    finally:
        torch.use_deterministic_algorithms(False)


def test_norms_take_no_notice_of_what_lies_outside(triton_step):
    torch.manual_seed(0)
    p, g, m, v = torch.rand(4, 33) + 0.5
    q, x, y = p.clone(), m.clone(), v.clone()
    triton_step.step(TRUSTING, [Update(p, g, (m, v), ROW)], None)  # 0 / 0 outside, as eps is 0
    torch_step.step(TRUSTING, [Update(q, g, (x, y), ROW)], None)
    torch.testing.assert_close(p, q)


def test_parts_are_joined_in_one_launch(triton_step, monkeypatch):
    launched = []

    def counted(what, *rest):
        launched.append(what.fn.__name__)
        launch(what, *rest)

    launch = triton_step.launch
    monkeypatch.setattr(triton_step, "launch", counted)
    params = [torch.nn.Parameter(torch.ones(n)) for n in (3, 40, 1)]
    params += [torch.nn.Parameter(torch.ones(5, dtype=torch.bfloat16))]
    for p in params:
        p.grad = torch.ones_like(p)
    Adan(params, backend="triton").step()
    assert launched == ["fused_step", "fused_step"]


def test_the_triton_backend_is_visible(triton_step):
    assert Adan([torch.nn.Parameter(torch.ones(2))], backend="triton").backend_used == "triton"


def test_devices_are_not_interpreted(triton_step):
    p = torch.nn.Parameter(torch.ones(2, device="meta"))
    sentence = (
        "^backend 'triton' runs on cpu under TRITON_INTERPRET, parameters are on meta; "
        "unset TRITON_INTERPRET$"
    )
    with pytest.raises(ValueError, match=sentence):
        Adan([p], backend="triton")


def test_a_cpu_is_refused_at_the_step_too():
    with usable("triton"):
        p = torch.nn.Parameter(torch.ones(2))
        optimizer = Adan([p], backend="triton")
    p.grad = torch.ones(2)
    sentence = (
        "^backend 'triton' needs a CUDA or ROCm device, parameters are on cpu; use backend='torch'$"
    )
    with pytest.raises(ValueError, match=sentence):
        optimizer.step()


def test_what_auto_picks_by_device(monkeypatch):
    class Somewhere:
        def __init__(self, kind):
            self.device = torch.device(kind)

    monkeypatch.setattr(backends, "installed", lambda module: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    picked = {kind: backends.choose("auto", Somewhere(kind)) for kind in ("cuda", "cpu", "meta")}
    assert picked == {"cuda": "triton", "cpu": "numba", "meta": "torch"}


def test_interpreted_and_compiled_functions_live_side_by_side(triton_step):
    interpreted = lang.kernel(triton_step.fused_step)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET")
        compiled = lang.kernel(triton_step.fused_step)
    assert type(interpreted) is not type(compiled)
    assert lang.kernel(triton_step.fused_step) is interpreted
