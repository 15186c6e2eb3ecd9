"""Steps that a CUDA graph can hold, in Triton's interpreter."""

import copy
import io
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from autotune.optimizers import SGD, Adam, AdamW, Adan, Stacked, create, on_device, tape
from autotune.optimizers.registry import schedule
from autotune.testing.backends import usable
from autotune.testing.graph import capture
from autotune.testing.optimizers import in_kernels
from autotune.testing.recordings import recorded
from autotune.testing.trajectories import play

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
IN_FLOAT32 = [path for path in GOLDEN if path.stem.endswith(("default", "groups"))]
# By then recordings have restarted and lacked all gradients that they lack.
TOLD = 7
TOLERANCE = {torch.float64: (1e-11, 1e-13), torch.float32: (1e-4, 1e-6)}
RATES = (0.1, 0.05, 0.2, 0.0, 0.3)
SHAPES = [(40,), (3, 5), (), (33,)]
HYPER = {"weight_decay": 0.2, "max_grad_norm": 0.7}


@pytest.fixture(autouse=True)
def interpreted():
    with usable("triton"):
        yield


def drawn(seed):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw) for shape in SHAPES]


def parameters(seed=0):
    return [torch.nn.Parameter(p) for p in drawn(seed)]


def give(params, seed):
    """Write gradients where they are, or give new ones."""
    for p, g in zip(params, drawn(seed), strict=True):
        if p.grad is None:
            p.grad = g
        else:
            p.grad.copy_(g)


def stepped(name, hyper, rates=RATES):
    """Return where an ordinary optimizer ends, in copies that a test may step on."""
    return copy.deepcopy(_stepped(name, tuple(hyper.items()), rates))


@cache
def _stepped(name, hyper, rates):
    params = parameters()
    optimizer = create(name, params, backend="triton", **dict(hyper))
    for k, rate in enumerate(rates):
        give(params, k)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return params, optimizer


def replayed(name, hyper, monkeypatch, rates=RATES, keep=True):
    """Return where two steps, a captured one and its replays end."""
    params = parameters()
    optimizer = create(name, params, backend="triton", capturable=True, **hyper)
    for k, rate in enumerate(rates):
        if k == 2 and not keep:
            optimizer.zero_grad()
        give(params, k)
        optimizer.param_groups[0]["lr"].fill_(rate)
        if k < 2:
            optimizer.step()
        elif k == 2:
            with capture(monkeypatch) as graph:
                optimizer.step()
        else:
            graph.replay()
    return params, optimizer


def assert_equal_steps(one, other):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize(
    ("path", "dtype"),
    [
        *(pytest.param(path, torch.float64, id=f"{path.stem}-float64") for path in GOLDEN),
        *(pytest.param(path, torch.float32, id=f"{path.stem}-float32") for path in IN_FLOAT32),
    ],
)
def test_parameters_follow_the_authors(path, dtype):
    run, (rtol, atol) = recorded(path), TOLERANCE[dtype]
    # test_golden.py plays all steps of all; here those of a schedule or in float32 go on.
    steps = TOLD if dtype is torch.float64 and not run.lr else len(run.grads)
    run = replace(run, hyper={**run.hyper, "capturable": True}, grads=run.grads[:steps])
    expected = run.expected[str(dtype).removeprefix("torch.")][:steps]
    for (_, params), values in zip(play(run, dtype=dtype, backend="triton"), expected, strict=True):
        for p, value in zip(params, values, strict=True):
            wanted = torch.tensor(value, dtype=dtype).reshape(p.shape)
            torch.testing.assert_close(p, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", in_kernels())
def test_replays_end_where_steps_end(name, monkeypatch):
    rates = tuple(sorted(RATES)) if schedule(name) == "constant" else RATES
    expected, _ = stepped(name, HYPER, rates)
    actual, _ = replayed(name, HYPER, monkeypatch, rates)
    assert_equal_steps(actual, expected)


def counted_launches(monkeypatch):
    """Return a list that takes the names of kernels as they are launched."""
    from autotune.kernels.triton import step

    launched, launch = [], step.launch

    def noted(what, *arguments, **options):
        launched.append(what.fn.__name__)
        launch(what, *arguments, **options)

    monkeypatch.setattr(step, "launch", noted)
    return launched


@pytest.mark.parametrize(
    ("name", "limit", "scaled"),
    [
        ("adan-win2", 0.7, True),
        ("adamw", 0.7, False),
        ("lamb", 0.0, True),
        ("sgd", 0.0, False),
        ("nadamw-torch", 0.0, True),
    ],
)
def test_one_launch_counts_and_computes_what_operators_do(name, limit, scaled, monkeypatch):
    def ended():
        params = parameters()
        groups = [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.0}]
        hyper = {**HYPER, "max_grad_norm": limit, "capturable": True, "lr": 0.1}
        optimizer = create(name, groups, backend="triton", **hyper)
        for k in range(4):
            if scaled:
                optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(k == 2)
            give(params, k)
            optimizer.step()
        return params, [*optimizer.state.values()], optimizer.param_groups[0].get("step")

    launched = counted_launches(monkeypatch)
    found = ended()
    assert launched.count("fused_prelude") == 3  # all but the first, which begins the state
    monkeypatch.setattr(on_device, "_prelude", lambda optimizer, begun: None)
    expected = ended()
    assert launched.count("fused_prelude") == 3
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


def test_a_gradient_that_is_not_finite_makes_all_of_them_so(monkeypatch):
    params = parameters()
    optimizer = AdamW(params, backend="triton", capturable=True, max_grad_norm=1.0)
    for k in range(2):
        give(params, k)
        params[0].grad[3] = math.nan if k else 1.0
        optimizer.step()
    assert all(p.isnan().all() for p in params)


class Warming(AdamW):
    """A formula that asks more of a tensor than arithmetic."""

    def scalars(self, group, step, fresh):
        late = step.clamp(max=2.0) if isinstance(step, torch.Tensor) else min(step, 2)
        return super().scalars(group, late, fresh)


def test_a_formula_that_is_more_than_arithmetic_is_computed_by_operators(monkeypatch):
    launched, ends = counted_launches(monkeypatch), []
    for capturable in (False, True):
        params = parameters()
        optimizer = Warming(params, 0.1, backend="triton", capturable=capturable)
        for k in range(4):
            give(params, k)
            optimizer.step()
        ends.append(params)
    assert_equal_steps(*ends)
    assert "fused_prelude" not in launched


def test_a_number_that_only_the_device_knows_decides_nothing():
    with pytest.raises(TypeError, match=r"^only the device knows whether this is so$"):
        bool(tape.Notes().step > 1)


def test_replays_round_at_random_as_steps_do(monkeypatch):
    hyper = {**HYPER, "state_dtype": torch.bfloat16, "compact": True}
    expected, _ = stepped("adan-win2", hyper)
    actual, _ = replayed("adan-win2", hyper, monkeypatch)
    assert_equal_steps(actual, expected)


@pytest.mark.parametrize("name", ["adan", "lamb-win2"])
def test_gradients_may_be_elsewhere_when_a_step_is_captured(name, monkeypatch):
    expected, _ = stepped(name, HYPER)
    actual, _ = replayed(name, HYPER, monkeypatch, keep=False)
    assert_equal_steps(actual, expected)


@pytest.mark.parametrize("name", ["adan", "adamw-win", "sgd", "lamb-win2"])
def test_a_captured_step_allocates_nothing_as_large_as_a_parameter(name, monkeypatch):
    params = [torch.nn.Parameter(torch.ones(1000))]
    params[0].grad = torch.ones(1000)
    optimizer = create(name, params, backend="triton", capturable=True, **HYPER)
    optimizer.step()
    with capture(monkeypatch) as graph:
        optimizer.step()
    assert max(t.nbytes for t in graph.new) < 1000


@pytest.mark.parametrize("name", ["adan", "adamw", "sgd"])
def test_an_overflow_in_a_replay_leaves_no_trace(name, monkeypatch):
    params = parameters()
    optimizer = create(name, params, backend="triton", capturable=True, lr=0.1, **HYPER)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(0.0)
    give(params, 0)
    optimizer.step()
    with capture(monkeypatch) as graph:
        optimizer.step()
    before = copy.deepcopy((optimizer.state_dict()["state"], params))
    counted = optimizer.state_dict()["param_groups"]
    optimizer.found_inf.fill_(1.0)
    graph.replay()
    after = optimizer.state_dict()["state"], params
    torch.testing.assert_close(after, before, rtol=0.0, atol=0.0)
    assert optimizer.state_dict()["param_groups"] == counted


def test_a_first_step_that_overflowed_begins_nothing():
    params = parameters()
    optimizer = SGD(params, 0.1, dampening=0.5, backend="triton", capturable=True)
    optimizer.found_inf = torch.tensor(1.0)
    give(params, 0)
    optimizer.step()
    assert not optimizer.state
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    other, _ = stepped("sgd", {"dampening": 0.5}, rates=(0.1,))
    assert_equal_steps(params, other)


def test_a_late_first_gradient_counts_from_one():
    ends = []
    for capturable in (False, True):
        params = parameters()
        optimizer = Adam(params, 0.1, backend="triton", capturable=capturable)
        for k in range(3):
            give(params, k)
            if not k:
                params[1].grad = None
            optimizer.step()
        ends.append(params)
    assert_equal_steps(*ends)


def test_a_schedule_of_torch_fills_the_rate():
    params = parameters()
    optimizer = Adan(params, lr=0.2, backend="triton", capturable=True)
    rate = optimizer.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 / (1 + k))
    give(params, 0)
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.1


def test_a_rate_given_as_a_tensor_is_read_where_it_is(monkeypatch):
    rate = torch.tensor(0.5)
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.ones(3)
    optimizer = SGD([p], rate, momentum=0.0, backend="triton", capturable=True)
    optimizer.step()
    with capture(monkeypatch) as graph:
        optimizer.step()
    rate.fill_(2.0)
    graph.replay()
    assert p.tolist() == [-3.0] * 3


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("name", ["adan", "adamw-win"])
def test_a_checkpoint_has_numbers_and_loads_into_either(name, capturable):
    _, optimizer = stepped(name, {**HYPER, "capturable": True})
    content = io.BytesIO()
    torch.save(optimizer.state_dict(), content)
    content.seek(0)
    saved = torch.load(content, weights_only=True)
    params, _ = stepped(name, HYPER)
    other = create(name, params, backend="triton", capturable=capturable, **HYPER)
    other.load_state_dict(saved)
    again, expected = stepped(name, HYPER)
    for those, each in [(params, other), (again, expected)]:
        give(those, 9)
        each.step()
    assert_equal_steps(params, again)
    counted = {**saved["state"][0], **saved["param_groups"][0]}
    assert (counted["step"], counted["lr"]) == (len(RATES), RATES[-1])


def test_a_copy_counts_by_itself():
    _, optimizer = stepped("adan", {"capturable": True})
    other = copy.deepcopy(optimizer)
    other.step()
    steps = [each.param_groups[0]["step"].item() for each in (optimizer, other)]
    assert steps == [len(RATES), len(RATES) + 1]


def test_a_restart_counts_from_zero():
    _, optimizer = stepped("adan", {"capturable": True})
    counter = optimizer.param_groups[0]["step"]
    optimizer.restart_opt()
    assert optimizer.param_groups[0]["step"] is counter
    assert counter.item() == 0


def test_a_group_without_parameters_or_gradients():
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    groups = [{"params": [p]}, {"params": [q]}, {"params": []}]
    optimizer = AdamW(groups, backend="triton", capturable=True)
    p.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 1
    assert not optimizer.state[q]


def refusal(sentence, build, error=ValueError):
    with pytest.raises(error, match=f"^{sentence}$"):
        build()


def test_another_backend_is_refused():
    for backend in ("numba", "torch"):
        sentence = (
            f"capturable=True needs backend 'triton', '{backend}' runs parameters on cpu; "
            "leave it off"
        )
        refusal(sentence, lambda b=backend: Adan(parameters(), backend=b, capturable=True))


def test_parameters_of_two_devices_are_refused():
    p, q = (torch.nn.Parameter(torch.ones(2, device=device)) for device in ("cpu", "meta"))
    sentence = (
        "capturable=True takes parameters of one device, got some on cpu and on meta; "
        "make an optimizer for each"
    )
    refusal(sentence, lambda: Adan([p, q], capturable=True))


def test_other_tensors_than_the_rate_are_refused():
    sentence = (
        "weight_decay must be a number under capturable=True, got a tensor; "
        "only lr is read from the device"
    )
    decay = torch.tensor(0.1)
    refusal(
        sentence,
        lambda: Adan(parameters(), weight_decay=decay, backend="triton", capturable=True),
    )


def test_state_that_would_begin_in_a_graph_is_refused(monkeypatch):
    params = parameters()
    optimizer = Adan(params, backend="triton", capturable=True)
    give(params, 0)
    sentence = (
        "a captured step cannot create or convert state, as every replay would repeat it; "
        "take a step with the same gradients before the capture"
    )
    with capture(monkeypatch):
        refusal(sentence, optimizer.step, RuntimeError)


def test_counters_that_are_still_numbers_are_refused(monkeypatch):
    _, optimizer = stepped("adan", {"capturable": True})
    optimizer.load_state_dict(optimizer.state_dict())
    sentence = (
        "a captured step needs step counts on the device, where the first step after "
        "building or loading moves them; take one step before the capture"
    )
    with capture(monkeypatch):
        refusal(sentence, optimizer.step, RuntimeError)


def test_a_number_for_a_rate_is_refused_in_a_capture(monkeypatch):
    _, optimizer = stepped("adan", {"capturable": True})
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.25
    sentence = (
        "lr must stay a tensor while a graph is captured, got 0.25; "
        r"write group\['lr'\].fill_\(0.25\)"
    )
    with capture(monkeypatch):
        refusal(sentence, optimizer.step, RuntimeError)


def test_a_capture_of_what_counts_on_the_host_is_refused(monkeypatch):
    _, optimizer = stepped("adan", {})
    sentence = (
        "a captured step must count steps on the device, got one that counts on the host; "
        "build Adan with capturable=True"
    )
    with capture(monkeypatch):
        refusal(sentence, optimizer.step, RuntimeError)


def test_replicas_are_refused():
    p = torch.nn.Parameter(torch.ones(1, 2))
    sentence = (
        "replicas count steps on the host, which a CUDA graph cannot, got capturable=True; "
        "leave it off"
    )
    refusal(sentence, lambda: Stacked("adan", [p], [{"capturable": True}], "triton"))
