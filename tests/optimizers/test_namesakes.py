"""Optimizers that torch has too train networks as its own do, and go on from its checkpoints."""

import copy

import pytest
import torch

from autotune.optimizers import create

TORCHS = [
    ("adam", {"eps_after_correction": True}, torch.optim.Adam, {}),
    ("adamw", {"amsgrad": True}, torch.optim.AdamW, {"amsgrad": True}),
    ("nadamw-torch", {}, torch.optim.NAdam, {"decoupled_weight_decay": True}),
    ("nadamw-torch", {"decay": "coupled"}, torch.optim.NAdam, {}),
    (
        "nadamw-torch",
        {"momentum_decay": 0.3, "betas": (0.8, 0.9)},
        torch.optim.NAdam,
        {"momentum_decay": 0.3, "betas": (0.8, 0.9), "decoupled_weight_decay": True},
    ),
    ("radam", {}, torch.optim.RAdam, {"decoupled_weight_decay": True}),
    ("radam", {"decay": "coupled"}, torch.optim.RAdam, {}),
    (
        "radam",
        {"betas": (0.9, 0.6)},
        torch.optim.RAdam,
        {"betas": (0.9, 0.6), "decoupled_weight_decay": True},
    ),
]
SHARED = {"lr": 0.02, "weight_decay": 0.1}


@pytest.fixture(autouse=True)
def double():
    """Let torch keep its product of momenta in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def network(seed):
    draw = torch.Generator().manual_seed(seed)
    widths = torch.randint(1, 7, (3,), generator=draw).tolist()
    layers = [torch.nn.Linear(a, b) for a, b in zip([4, *widths], [*widths, 2], strict=True)]
    made = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.Tanh())])
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=draw))
    return made


def train(model, optimizer, steps, seed):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(5, 4, generator=draw)
        y = torch.randn(5, 2, generator=draw)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def apart(model, twin):
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    return max((p - q).abs().max() for p, q in pairs)


@pytest.mark.parametrize(("name", "ours", "cls", "theirs"), TORCHS, ids=str)
def test_a_network_is_trained_as_torch_trains_it(name, ours, cls, theirs):
    for seed in range(2):
        model, twin = network(seed), network(seed)
        optimizer = create(name, model.parameters(), backend="torch", **SHARED, **ours)
        train(model, optimizer, 30, seed)
        with torch.no_grad():
            before = apart(model, twin)
        train(twin, cls(twin.parameters(), **SHARED, **theirs), 30, seed)
        assert apart(model, twin) <= 1e-12 < before


@pytest.mark.parametrize(("name", "ours", "cls", "theirs"), TORCHS, ids=str)
def test_a_checkpoint_of_torchs_goes_on(name, ours, cls, theirs):
    twin = network(1)
    first = cls(twin.parameters(), **SHARED, **theirs)
    train(twin, first, 7, 1)
    model = copy.deepcopy(twin)
    optimizer = create(name, model.parameters(), backend="torch", **ours)
    optimizer.load_state_dict(first.state_dict())
    assert not any("mu_product" in state for state in optimizer.state.values())
    train(model, optimizer, 7, 2)
    train(twin, first, 7, 2)
    assert apart(model, twin) <= 1e-12


def test_a_checkpoint_brings_its_kind_of_decay():
    p = torch.nn.Parameter(torch.ones(2))
    for beside, kind in ((True, "decoupled"), (False, "coupled")):
        saved = torch.optim.RAdam([p], decoupled_weight_decay=beside).state_dict()
        optimizer = create("radam", [p])
        optimizer.load_state_dict(saved)
        assert optimizer.param_groups[0]["decay"] == kind


@pytest.mark.parametrize("name", ["nadamw-torch", "radam"])
def test_an_unknown_decay_is_refused(name):
    with pytest.raises(
        ValueError, match=r"^decay must be 'decoupled' or 'coupled', got 'proximal'$"
    ):
        create(name, [torch.nn.Parameter(torch.ones(1))], decay="proximal")


@pytest.mark.parametrize("acceleration", ["win", "win2"])
@pytest.mark.parametrize("name", ["nadamw-torch", "radam"])
def test_under_win_a_coupled_decay_stays_in_the_gradient(name, acceleration):
    ends = []
    for decay, extra in (("coupled", 0.0), ("decoupled", 0.3)):
        p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        hyper = {"weight_decay": 0.3 - extra, "decay": decay, "acceleration": acceleration}
        optimizer = create(name, [p], lr=0.1, backend="torch", **hyper)
        for k in range(4):
            g = torch.tensor([0.5, 0.25]) * (k - 1.5)
            p.grad = g + extra * p.detach()
            optimizer.step()
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)
