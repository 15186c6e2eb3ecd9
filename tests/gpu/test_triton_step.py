"""The triton backend on a device."""

from pathlib import Path

import pytest
import torch

from autotune.optimizers import Adan, create
from autotune.testing.optimizers import under_test
from autotune.testing.recordings import recorded
from autotune.testing.trajectories import drawn, final, play

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device"),
]

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
TOLERANCE = {torch.float64: (1e-11, 1e-13), torch.float32: (1e-4, 1e-6)}
SHAPES = [(5000,), (64, 3, 7, 7), (4096,), (1,), (), (0,), (10_000,)]
HYPER = {"lr": 0.1, "weight_decay": 0.2, "max_grad_norm": 0.7}
# Torch warns once that the mode in which a wait of the host is an error does not see every wait.
WATCHED = pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_parameters_follow_the_authors(path, dtype):
    run, (rtol, atol) = recorded(path), TOLERANCE[dtype]
    expected = run.expected[str(dtype).removeprefix("torch.")]
    steps = play(run, dtype=dtype, backend="triton", device="cuda")
    for (_, params), values in zip(steps, expected, strict=True):
        for p, value in zip(params, values, strict=True):
            wanted = torch.tensor(value, dtype=dtype).reshape(p.shape)
            torch.testing.assert_close(p.cpu(), wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", under_test())
def test_tensors_of_many_chunks_follow_torch(name, dtype):
    run = drawn(name, HYPER, SHAPES, steps=3, seed=3)
    expected = final(run, dtype=dtype, backend="torch", device="cuda")
    actual = final(run, dtype=dtype, backend="triton", device="cuda")
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["adan", "lamb-win2"])
def test_a_step_repeats_bit_for_bit(name):
    run = drawn(name, HYPER, SHAPES, steps=3, seed=3)
    first = final(run, dtype=torch.float32, backend="triton", device="cuda")
    again = final(run, dtype=torch.float32, backend="triton", device="cuda")
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)


def test_auto_is_triton():
    assert Adan([torch.nn.Parameter(torch.ones(2, device="cuda"))]).backend_used == "triton"


@pytest.mark.parametrize("first", [0, 1, 4])
def test_a_view_and_nothing_around_it(first):
    whole = torch.full((9000,), float("nan"), device="cuda")
    whole[first : first + 8500] = 1.0
    p = torch.nn.Parameter(whole[first : first + 8500])
    p.grad = torch.ones_like(p)
    Adan([p], lr=0.5, backend="triton").step()
    assert whole.isnan().sum() == 500
    assert torch.isfinite(p).all()
    assert (p != 1.0).all()


def test_channels_last_lies_as_it_is():
    draw = torch.randn(64, 32, 3, 3, device="cuda")
    p, q = (torch.nn.Parameter(draw.to(memory_format=torch.channels_last)) for _ in range(2))
    for parameter, backend in ((p, "triton"), (q, "torch")):
        parameter.grad = draw.square()
        Adan([parameter], lr=0.1, backend=backend).step()
    assert p.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(p, q)


def variants():
    from autotune.kernels import lang
    from autotune.kernels.triton.step import fused_norms, fused_squares, fused_step, fused_trust

    kernels = (fused_step, fused_norms, fused_trust, fused_squares)
    return sum(
        len(cache[0]) for kernel in kernels for cache in lang.kernel(kernel).device_caches.values()
    )


@pytest.mark.parametrize("name", ["adan", "lamb-win2"])
def test_a_schedule_compiles_nothing_new(name):
    p = torch.nn.Parameter(torch.ones(5000, device="cuda"))
    optimizer = create(name, [p], backend="triton", **HYPER)
    p.grad = torch.ones_like(p)
    optimizer.step()
    before = variants()
    for lr in (0.0, 1.0, 0.5, 16.0):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert variants() == before


@WATCHED
@pytest.mark.parametrize("name", ["adan", "lamb-win2"])
def test_the_host_never_waits(name):
    p = torch.nn.Parameter(torch.ones(5000, device="cuda"))
    optimizer = create(name, [p], backend="triton", **HYPER)
    grads = [torch.ones_like(p) for _ in range(3)]
    p.grad = grads[0]
    optimizer.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for p.grad in grads[1:]:
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(p).all()


@WATCHED
@pytest.mark.parametrize("name", ["adan", "sgd", "lamb-win2"])
def test_an_overflow_leaves_no_trace_and_the_host_never_waits(name):
    ends = []
    for factors in ([2.0, -1.0], [float("inf"), 2.0, float("inf"), -1.0]):
        p = torch.nn.Parameter(torch.linspace(-1.0, 1.0, 5000, device="cuda"))
        optimizer = create(name, [p], backend="triton", **HYPER)
        scaler = torch.amp.GradScaler("cuda", init_scale=4.0)
        for factor in factors:
            optimizer.zero_grad()
            scaler.scale((p * factor).sum()).backward()
            torch.cuda.set_sync_debug_mode("error")
            try:
                scaler.step(optimizer)
                scaler.update()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        ends.append([p.detach(), *optimizer.state_dict()["state"][0].values()])
    for a, b in zip(*ends, strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def test_rounding_at_random_agrees_with_torch():
    hyper = {**HYPER, "state_dtype": torch.bfloat16, "stochastic_rounding": True, "compact": True}
    run = drawn("adan-win2", hyper, SHAPES, steps=3, seed=3)
    expected = final(run, dtype=torch.bfloat16, backend="torch", device="cuda")
    actual = final(run, dtype=torch.bfloat16, backend="triton", device="cuda")
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=2e-2, atol=2e-2)


def test_streams_that_take_turns():
    draw = torch.randn(4, 5000, device="cuda")
    p, q = (torch.nn.Parameter(torch.ones(5000, device="cuda")) for _ in range(2))
    fused, plain = (Adan([p], lr=0.1, backend="triton"), Adan([q], lr=0.1, backend="torch"))
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    torch.cuda.synchronize()
    for k, g in enumerate(draw):
        q.grad = g
        plain.step()
        with torch.cuda.stream(streams[k % 2]):
            torch.cuda.current_stream().wait_stream(streams[(k + 1) % 2])
            p.grad = g
            fused.step()
    torch.cuda.synchronize()
    torch.testing.assert_close(p, q)


def test_elements_beyond_two_to_the_31():
    size = 2**31 + 100
    if torch.cuda.mem_get_info()[0] < 12 * size:
        pytest.skip("needs 26 GB of free memory")
    p = torch.nn.Parameter(torch.zeros(size, dtype=torch.bfloat16, device="cuda"))
    p.grad = torch.ones(size, dtype=torch.bfloat16, device="cuda")
    create("sgd", [p], lr=1.0, momentum=0.0, backend="triton").step()
    assert float(p[-1]) == float(p[2**31 + 1]) == float(p[0]) == -1.0
    assert bool((p[2**31 - 8192 :] == -1.0).all())
