"""AdaGrad beside torch's own, on a network that both train."""

import copy

import pytest
import torch

from autotune.optimizers import create
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
