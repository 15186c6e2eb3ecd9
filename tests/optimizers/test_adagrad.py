"""AdaGrad beside torch's own, on a network that both train."""

import copy

import pytest
import torch

from autotune.optimizers import Stacked, create
from autotune.testing.torch_optimizer import grouped, network

HYPER = [
    {},
    {"lr_decay": 0.1, "weight_decay": 0.05, "eps": 1e-3},
    {"initial_accumulator_value": 0.3, "lr": 0.1},
]


def trained(model, optimizer, steps):
    batch = torch.linspace(-1.0, 2.0, 6, dtype=torch.float64).reshape(2, 3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("hyper", HYPER, ids=str)
def test_a_network_is_trained_as_torch_trains_it(hyper):
    ours, theirs = network().double(), network().double()
    trained(ours, create("adagrad", grouped(ours), backend="torch", **hyper), 8)
    trained(theirs, torch.optim.Adagrad(grouped(theirs), **hyper), 8)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("before", [0, 3], ids=["before its first step", "after three steps"])
def test_a_checkpoint_of_torch_goes_on(before):
    hyper = {"lr_decay": 0.1, "initial_accumulator_value": 0.3}
    theirs = network().double()
    reference = torch.optim.Adagrad(grouped(theirs), **hyper)
    trained(theirs, reference, before)
    ours = copy.deepcopy(theirs)
    optimizer = create("adagrad", grouped(ours), backend="torch", **hyper)
    optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
    for model, own in ((ours, optimizer), (theirs, reference)):
        trained(model, own, 3)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["lr_decay", "initial_accumulator_value"])
def test_what_would_be_negative_is_refused(name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 0 and finite, got -0.5$"):
        create("adagrad", [torch.nn.Parameter(torch.ones(2))], **{name: -0.5})


def by_rows(params, **hyper):
    return create("adagrad", params, accumulate="rows", backend="torch", **hyper)


def ones(*shape):
    p = torch.nn.Parameter(torch.zeros(shape))
    p.grad = torch.ones(shape)
    return p


def sums(*params):
    optimizer = by_rows(list(params))
    optimizer.step()
    return [optimizer.state[p]["sum"] for p in params]


def test_a_row_or_an_output_channel_shares_a_sum_and_what_follows_gets_its_own_too():
    matrix, bias, kernels, norm = sums(ones(4, 3), ones(4), ones(2, 3, 2, 2), ones(2))
    assert matrix.tolist() == [[3.0] * 3] * 4
    assert bias.tolist() == [4.0] * 4  # 3 of the row, and its own square
    assert kernels.unique().tolist() == [12.0]
    assert norm.tolist() == [13.0] * 2


def test_rows_are_added_to_what_divides_their_number_only():
    first, _, half, odd, scalar = sums(ones(2), ones(4, 3), ones(2), ones(3), ones())
    assert first.tolist() == [1.0] * 2  # no rows before it
    assert half.tolist() == [4.0] * 2
    assert odd.tolist() == [1.0] * 3
    assert scalar.item() == 1.0


def test_a_compiled_step_by_rows_is_the_eager_one():
    p, q = ones(4, 3), ones(4, 3)
    eager, optimizer = by_rows([p]), by_rows([q])
    torch._dynamo.reset()
    step = torch.compile(optimizer.step, backend="eager", fullgraph=True)
    for _ in range(2):
        eager.step()
        step()
    torch._dynamo.reset()
    assert torch.equal(p, q)
    assert set(optimizer.state[q]) == {"momentum", "step", "sum"}


def test_a_step_by_rows_that_overflowed_leaves_no_trace():
    p = ones(4, 3)
    optimizer = by_rows([p])
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert not optimizer.state
    assert not p.any()


def test_sums_by_rows_are_of_gradients_without_the_scale():
    p = ones(4, 3)
    optimizer = by_rows([p])
    optimizer.grad_scale = torch.tensor(4.0)
    optimizer.step()
    assert optimizer.state[p]["sum"].unique().tolist() == [3.0 / 16.0]


@pytest.mark.parametrize(
    ("hyper", "sentence"),
    [
        (
            {"momentum": 0.5},
            "momentum must be 0 unless accumulate is 'rows', got 0.5",
        ),
        (
            {"accumulate": "rows", "max_grad_norm": 0.7},
            "max_grad_norm must be 0 when accumulate is 'rows', got 0.7; clip gradients before the "
            "step",
        ),
        (
            {"accumulate": "rows", "capturable": True},
            "capturable must be False when accumulate is 'rows', got True",
        ),
        (
            {"accumulate": "columns"},
            "accumulate must be 'elements' or 'rows', got 'columns'",
        ),
    ],
)
def test_what_rows_do_not_go_with_is_refused(hyper, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        create("adagrad", [ones(2, 2)], **hyper)


def test_replicas_are_not_stepped_by_rows():
    sentence = "^replicas must be stepped by their gradients alone, adagrad needs their 'squares'; "
    with pytest.raises(ValueError, match=sentence):
        Stacked("adagrad", [torch.nn.Parameter(torch.ones(2, 3))], [{"accumulate": "rows"}] * 2)
