"""Steps in CUDA graphs: replays end where steps would, and follow the learning rate."""

import pytest
import torch

from autotune.optimizers import Adan, create, on_device
from autotune.testing.optimizers import under_test

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device"),
]

SHAPES = [(5000,), (64, 33), (1,), ()]
RATES = (0.1, 0.1, 0.05, 0.2, 0.0, 0.3)
WARM = 2
HYPER = {"weight_decay": 0.2, "max_grad_norm": 0.7, "backend": "triton"}


def drawn(seed):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw).cuda() for shape in SHAPES]


def give(params, seed):
    for p, g in zip(params, drawn(seed), strict=True):
        if p.grad is None:
            p.grad = g
        else:
            p.grad.copy_(g)


def captured(work):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def warmed(work):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", under_test())
def test_one_launch_counts_and_computes_what_operators_do(name, dtype, monkeypatch):
    def ended():
        params = [torch.nn.Parameter(p.to(dtype)) for p in drawn(0)]
        optimizer = create(name, params, capturable=True, **HYPER)
        for k, rate in enumerate(RATES):
            for p, g in zip(params, drawn(k + 1), strict=True):
                p.grad = g.to(dtype)
            optimizer.param_groups[0]["lr"].fill_(rate)
            optimizer.step()
        return params, [*optimizer.state.values()]

    found = ended()
    monkeypatch.setattr(on_device, "_prelude", lambda optimizer, begun: None)
    torch.testing.assert_close(found, ended(), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("hyper", [{}, {"state_dtype": torch.bfloat16}], ids=["single", "half"])
@pytest.mark.parametrize("name", under_test())
def test_replays_end_where_steps_end(name, hyper):
    params, others = ([torch.nn.Parameter(p) for p in drawn(0)] for _ in range(2))
    plain = create(name, others, **HYPER, **hyper)
    optimizer = create(name, params, capturable=True, **HYPER, **hyper)
    graph = None
    for k, rate in enumerate(RATES):
        give(params, k + 1)
        give(others, k + 1)
        plain.param_groups[0]["lr"] = rate
        optimizer.param_groups[0]["lr"].fill_(rate)
        plain.step()
        if k < WARM:
            warmed(optimizer.step)
        else:
            graph = graph or captured(optimizer.step)
            graph.replay()
    torch.cuda.synchronize()
    for p, wanted in zip(params, others, strict=True):
        torch.testing.assert_close(p, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["adan", "lamb-win2"])
def test_a_whole_train_step_is_captured(name):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Tanh(), torch.nn.Linear(40, 1))
    other = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Tanh(), torch.nn.Linear(40, 1))
    other.load_state_dict(model.state_dict())
    model, other = model.cuda(), other.cuda()
    x = torch.randn(8, 30, device="cuda")
    optimizer = create(name, model.parameters(), lr=0.01, capturable=True, **HYPER)
    plain = create(name, other.parameters(), lr=0.01, **HYPER)

    def train(network, stepper):
        stepper.zero_grad()  # the gradients of a graph are in its own memory
        network(x).square().mean().backward()
        stepper.step()

    for _ in range(7):
        train(other, plain)
    warmed(lambda: [train(model, optimizer) for _ in range(WARM)])
    graph = captured(lambda: train(model, optimizer))
    # What others send meanwhile must not end up in a replay.
    for _ in range(5):
        Adan([torch.nn.Parameter(torch.ones(9, device="cuda"))], backend="triton").step()
        graph.replay()
    torch.cuda.synchronize()
    for p, wanted in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, wanted, rtol=2e-4, atol=2e-5)


def test_an_overflow_in_a_replay_leaves_no_trace():
    p = torch.nn.Parameter(torch.ones(5000, device="cuda"))
    p.grad = torch.ones_like(p)
    optimizer = Adan([p], lr=0.1, capturable=True, backend="triton")
    optimizer.grad_scale = torch.tensor(4.0, device="cuda")
    optimizer.found_inf = torch.tensor(0.0, device="cuda")
    warmed(optimizer.step)
    graph = captured(optimizer.step)
    before = p.detach().clone()
    optimizer.found_inf.fill_(1.0)
    graph.replay()
    assert torch.equal(p, before)
    assert optimizer.param_groups[0]["step"].item() == 1
    optimizer.found_inf.fill_(0.0)
    graph.replay()
    assert not torch.equal(p, before)


def test_a_capture_of_what_counts_on_the_host_is_refused():
    p = torch.nn.Parameter(torch.ones(5000, device="cuda"))
    p.grad = torch.ones_like(p)
    optimizer = Adan([p], backend="triton")
    optimizer.step()
    sentence = (
        "^a captured step must count steps on the device, got one that counts on the host; "
        "build Adan with capturable=True$"
    )

    def refused():
        p.grad.mul_(2.0)  # of a graph that stays empty torch would warn
        with pytest.raises(RuntimeError, match=sentence):
            optimizer.step()

    captured(refused)
