"""Muon: hidden matrices step as torch's, all else by a rule of ours."""

import copy
import math
import pickle
import re

import pytest
import torch
from torch import nn

from autotune import optimizers
from autotune.models.gpt import GPT, Shape
from autotune.optimizers import Stacked, build, matrices, names
from autotune.optimizers.registry import resolve, stacks
from autotune.testing.backends import usable
from autotune.testing.optimizers import saved_and_loaded

SHAPES = [(6, 4), (4, 6), (6, 4), (5, 5), (1, 7)]


def create(name, params, backend="torch", **given):
    """Build on torch, which compiles nothing."""
    return optimizers.create(name, params, backend=backend, **given)


def weights(*shapes, dtype=torch.float64):
    draw = torch.Generator().manual_seed(len(shapes))
    made = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    return [nn.Parameter(each.to(dtype)) for each in made]


def advance(optimizer, params, steps=range(4)):
    for k in steps:
        for i, p in enumerate(params):
            p.grad = torch.cos(p.detach() * (i + 1) + k)
        optimizer.step()
    return [p.detach().clone() for p in params]


def net():
    return nn.Sequential(
        nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )


SETTINGS = [
    {"adjust_lr_fn": "original"},
    {"adjust_lr_fn": "match_rms_adamw", "nesterov": False},
    {"ns_steps": 2, "ns_coefficients": (2.0, -1.5, 0.5), "eps": 1e-3},
    {"weight_decay": 0.0, "momentum": 0.0},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=[str(k) for k in range(len(SETTINGS))])
def test_matrices_step_as_torchs(setting):
    given = {"lr": 0.03, "weight_decay": 0.2, "momentum": 0.9, **setting}
    ours, theirs = weights(*SHAPES), weights(*SHAPES)
    mine = advance(create("muon", ours, **given), ours)
    other = advance(torch.optim.Muon(theirs, **given), theirs)
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-14)


def test_the_defaults_are_torchs():
    ours, theirs = weights(*SHAPES), weights(*SHAPES)
    mine = advance(create("muon", ours), ours)
    for one, two in zip(mine, advance(torch.optim.Muon(theirs), theirs), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_kernel_applies_what_torch_multiplies(backend):
    slow, quick = weights((6, 4), (3,)), weights((6, 4), (3,), dtype=torch.float32)
    given = {"lr": 0.05, "aux_lr": 0.05, "weight_decay": 0.3, "acceleration": "win2"}
    expected = advance(create("muon", slow, **given), slow)
    with usable(backend):
        actual = advance(create("muon", quick, backend=backend, **given), quick)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.double(), e, rtol=0.02, atol=0.02)  # bfloat16 inside


def test_a_convolution_is_a_matrix_with_a_row_for_each_output():
    [conv], [flat] = weights((4, 3, 2, 2)), weights((4, 12))
    with torch.no_grad():
        flat.copy_(conv.flatten(1))
    one, other = create("muon", [conv], lr=0.1), create("muon", [flat], lr=0.1)
    [moved], [same] = advance(one, [conv]), advance(other, [flat])
    assert torch.equal(moved.flatten(1), same)


@pytest.mark.parametrize("aux", ["adamw", "adan", "sgd", "lamb"])
def test_other_parameters_step_by_the_rule_they_are_given(aux):
    mixed, alone = weights((3, 2), (5,), (7,)), weights((3, 2), (5,), (7,))[1:]
    muon = create("muon", mixed, aux=aux, aux_lr=0.02, aux_weight_decay=0.1)
    own = {"lamb": {"max_grad_norm": 0.0}, "adamw": {"betas": (0.9, 0.95)}}.get(aux, {})
    other = create(aux, alone, lr=0.02, weight_decay=0.1, **own)
    for k in range(4):
        for p, q in zip(mixed[1:], alone, strict=True):
            p.grad = torch.cos(p.detach() + k)
            q.grad = p.grad.clone()
        mixed[0].grad = torch.ones_like(mixed[0])
        muon.step()
        other.step()
    for p, q in zip(mixed[1:], alone, strict=True):
        assert torch.equal(p, q)


def test_win_moves_along_the_orthogonal_update():
    lr, decay, c = 0.1, 0.3, 2.0
    [p], [q] = weights((4, 4)), weights((4, 4))
    plain = torch.optim.Muon([q], lr=lr, weight_decay=0.0)
    x = y = p.detach().clone()
    accelerated = create("muon-win", [p], lr=lr, weight_decay=decay, reckless_steps=(c, 8.0))
    for k in range(3):
        q.data = p.detach().clone()
        p.grad = torch.cos(p.detach() + k)
        q.grad = p.grad.clone()
        plain.step()
        step = q.detach() - p.detach()  # -lr r O
        accelerated.step()
        x = (x + step) / (1 + lr * decay)
        y = (y + c * (x + step)) / (1 + c + c * lr * decay)
        torch.testing.assert_close(p.detach(), y, rtol=0, atol=1e-14)


def test_groups_of_a_model_leave_embeddings_and_head_to_the_other_rule():
    model = net()
    found = build("muon", model, {"lr": 0.02, "aux_lr": 3e-4, "aux_weight_decay": 0.05})
    kinds = [
        (g["matrices"], len(g["params"]), g["lr"], g["weight_decay"]) for g in found.param_groups
    ]
    assert kinds == [(True, 2, 0.02, 0.1), (False, 1, 3e-4, 0.05), (False, 5, 3e-4, 0.0)]
    assert found.param_groups[1]["params"][0] is model[4].weight


def hidden(model):
    found = matrices.ids(model)
    return [name for name, p in model.named_parameters() if id(p) in found]


def test_a_transformer_with_a_tied_head_keeps_all_its_blocks():
    found = hidden(GPT(Shape(vocabulary=11, context=8, width=8, layers=2, heads=2)))
    assert len(found) == 8
    assert not any("tokens" in name or "positions" in name for name in found)


class Named(nn.Module):
    def __init__(self, head="head", block=None):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 4, 2)
        self.pos_emb = nn.Parameter(torch.zeros(5, 4))
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2)])
        setattr(self, head, nn.Linear(4, 2))
        self.after = nn.Linear(2, 2)


def test_a_head_is_known_by_its_name_or_as_the_last_matrix():
    blocks = ["blocks.0.0.weight", "blocks.1.0.weight"]
    assert hidden(Named("lm_head")) == [*blocks, "after.weight"]
    assert hidden(Named("classifier")) == [*blocks, "after.weight"]
    assert hidden(Named("readout")) == [*blocks, "readout.weight"]
    assert hidden(nn.DataParallel(Named("fc"))) == [
        f"module.{name}" for name in [*blocks, "after.weight"]
    ]


BAD = [
    (
        [(3,), ()],
        {},
        "muon steps hidden matrices, got parameters without any; use 'adamw', or another "
        "optimizer that steps what is left",
    ),
    (
        [(3, 2)],
        {"capturable": True},
        "muon multiplies matrices between two steps of a kernel, which no graph of its own "
        "captures, got capturable=True; leave it off",
    ),
    (
        [(3, 2)],
        {"aux": "adamw-win"},
        "aux must be the plain name of a rule of this package, as 'adamw', got 'adamw-win'",
    ),
    (
        [(3, 2)],
        {"aux": "muon"},
        "aux must be the plain name of a rule of this package, as 'adamw', got 'muon'",
    ),
    (
        [(3, 2)],
        {"aux": "torch.optim.SGD"},
        "aux must be the plain name of a rule of this package, as 'adamw', got 'torch.optim.SGD'",
    ),
    (
        [(3, 2)],
        {"adjust_lr_fn": "none"},
        "adjust_lr_fn must be 'original' or 'match_rms_adamw', got 'none'",
    ),
    ([(3, 2)], {"ns_steps": 100}, "ns_steps must be from 1 to 99, got 100"),
    (
        [(3, 2)],
        {"ns_coefficients": (1.0, 2.0)},
        "ns_coefficients must be 3 numbers, got (1.0, 2.0)",
    ),
    ([(3, 2)], {"momentum": 1.0}, "momentum must be in [0, 1), got 1"),
    ([(3, 2)], {"betas": (0.9,)}, "betas must be 2 numbers, got (0.9,)"),
    ([(3, 2)], {"aux_lr": -1.0}, "lr must be at least 0 and finite, got -1"),
]


@pytest.mark.parametrize(
    ("shapes", "given", "sentence"), BAD, ids=[str(k) for k in range(len(BAD))]
)
def test_what_makes_no_sense_is_refused_in_a_sentence(shapes, given, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        create("muon", weights(*shapes), **given)


def test_a_model_without_hidden_matrices_is_refused():
    with pytest.raises(
        ValueError, match=r"^muon steps hidden matrices, got parameters without any; "
    ):
        build("muon", nn.Linear(3, 2), {})


def test_a_group_of_matrices_takes_no_vector_and_no_limit():
    both = weights((3, 2), (4,))
    with pytest.raises(
        ValueError, match=r"two dimensions or more, got shape \(4,\); put it into one"
    ):
        create("muon", [{"params": both, "matrices": True}])
    optimizer = create("muon", both)
    optimizer.max_grad_norm = 1.0
    for p in both:
        p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=r"^max_grad_norm must be 0 for muon, as the steps of its"):
        optimizer.step()


@pytest.mark.parametrize("name", ["muon", "muon-win2"])
def test_a_loaded_checkpoint_continues_bit_for_bit(name):
    given = {"lr": 0.05, "aux": "adan", "aux_lr": 0.01}
    whole, halved = weights((4, 3), (5,)), weights((4, 3), (5,))
    advance(create(name, whole, **given), whole, range(6))
    first = create(name, halved, **given)
    advance(first, halved, range(3))
    second = create(name, halved, aux="adan")
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    advance(second, halved, range(3, 6))
    for p, q in zip(whole, halved, strict=True):
        assert torch.equal(p, q)


def test_a_checkpoint_of_torchs_goes_on_as_it_would():
    theirs, ours = weights((4, 3), (3, 3)), weights((4, 3), (3, 3))
    other = torch.optim.Muon(theirs, lr=0.05)
    advance(other, theirs, range(3))
    for p, q in zip(ours, theirs, strict=True):
        p.data.copy_(q.detach())
    mine = create("muon", ours)
    mine.load_state_dict(saved_and_loaded(other.state_dict()))
    for p, q in zip(
        advance(mine, ours, range(3, 6)), advance(other, theirs, range(3, 6)), strict=True
    ):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-14)


def test_copies_and_pickles_go_on_alike():
    params = weights((4, 3), (5,))
    optimizer = create("muon", params, aux="sgd", lr=0.1)
    advance(optimizer, params, range(2))
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    expected = advance(optimizer, params, range(2, 4))
    for twin in twins:
        own = twin.parameters()
        for p, q in zip(expected, advance(twin, own, range(2, 4)), strict=True):
            assert torch.equal(p, q)


def test_gradients_are_never_written_and_missing_ones_are_passed_over():
    both = weights((4, 3), (3, 3))
    optimizer = create("muon", both)
    both[0].grad = torch.ones_like(both[0])
    optimizer.step()
    assert torch.equal(both[0].grad, torch.ones_like(both[0]))
    assert both[1] not in optimizer.state


def test_a_schedule_moves_both_rates():
    optimizer = build("muon", net(), {"lr": 0.02, "aux_lr": 3e-4, "backend": "torch"})
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    scheduler.step()
    assert {g["lr"] for g in optimizer.param_groups} == {0.01, 1.5e-4}


def test_a_scaler_steps_it_with_unscaled_gradients():
    [p], [q] = weights((4, 3), dtype=torch.float32), weights((4, 3), dtype=torch.float32)
    scaled, plain = create("muon", [p], lr=0.1), create("muon", [q], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for optimizer, w in ((scaled, p), (plain, q)):
        loss = (w * w).sum()
        (scaler.scale(loss) if w is p else loss).backward()
        if w is p:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
    assert torch.equal(p, q)


def test_every_plain_rule_can_step_the_others():
    plain = [name for name in names() if resolve(name)[1] == "none" and stacks(name)]
    for aux in (name for name in plain if not getattr(resolve(name)[0], "second_order", False)):
        params = weights((4, 3), (5,))
        for p in advance(create("muon", params, aux=aux), params):
            assert bool(torch.isfinite(p).all()), aux


def test_replicas_are_refused():
    with pytest.raises(
        ValueError, match=r"^replicas step together by a rule of this package alone, "
    ):
        Stacked("muon", [nn.Parameter(torch.ones(2, 3, 3))], [{}, {}])


def test_it_trains():
    torch.manual_seed(0)
    model, x = net(), torch.randn(64, 4)
    optimizer = build("muon", model, {"lr": 0.02, "aux_lr": 3e-3, "backend": "torch"})
    losses = []
    for _ in range(100):
        loss = (model(x) - x[:, :3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert math.isfinite(losses[-1])
