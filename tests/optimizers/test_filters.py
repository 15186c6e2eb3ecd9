"""Filters of gradients, MARS and Grokfast, and clipping by layer: options of every rule."""

import inspect
import math

import pytest
import torch

from autotune import optimizers
from autotune.errors import SpecError
from autotune.optimizers import AdamW, Lion, Stacked, create, defaults, names, options, space
from autotune.optimizers.registry import class_names, half_lives
from autotune.space.config import read, space_of, written
from autotune.space.spaces import idle
from autotune.testing.backends import usable
from autotune.testing.optimizers import advance, parameter, saved_and_loaded

MARS = {"gradient_filter": "mars", "mars_gamma": 0.1}
GROKFAST = {"gradient_filter": "grokfast", "grokfast_alpha": 0.7}
WORDS = {"mars": MARS, "grokfast": GROKFAST}


def stepped(name, p=None, steps=4, **hyper):
    p = parameter(7, torch.float64) if p is None else p
    optimizer = create(name, [p], lr=0.05, backend=hyper.pop("backend", "torch"), **hyper)
    advance(optimizer, p, range(steps))
    return p.detach(), optimizer


def test_every_rule_takes_the_options_and_is_told_of_them_by_name():
    takers = [
        cls
        for cls in (getattr(optimizers, name) for name in sorted(class_names()))
        if options.DEFAULTS.keys() <= inspect.signature(cls).parameters.keys()
    ]
    assert len(takers) == len(class_names()) - 1  # all but Muon, whose matrices are no gradients
    with pytest.raises(TypeError, match="unexpected keyword argument 'gradient_filtre'"):
        AdamW([parameter(3)], gradient_filtre="mars")


@pytest.mark.parametrize("word", WORDS)
def test_a_captured_step_filters_as_another_does(word):
    ends = []
    with usable("triton"):
        for on in (False, True):
            p = parameter(5, torch.float32)
            ends.append(stepped("sgd", p, backend="triton", capturable=on, **WORDS[word])[0])
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("hyper", [MARS, GROKFAST, {"layer_clip": 0.5}], ids=str)
def test_replicas_filter_each_its_own(hyper):
    rows = [{"lr": 0.1, **hyper}, {"lr": 0.2, **hyper}]
    whole = torch.nn.Parameter(torch.stack([torch.ones(3), 2 * torch.ones(3)]).double())
    stack = Stacked("adamw", [whole], rows, "torch")
    apart = [torch.nn.Parameter(row.clone()) for row in whole.detach()]
    alone = [create("adamw", [p], backend="torch", **r) for p, r in zip(apart, rows, strict=True)]
    for k in range(3):
        whole.grad = torch.stack([torch.arange(3.0).double() + k, torch.ones(3).double() * k])
        for p, g, optimizer in zip(apart, whole.grad, alone, strict=True):
            p.grad = g.clone()
            optimizer.step()
        stack.step()
    assert torch.equal(whole.detach(), torch.stack([p.detach() for p in apart]))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("state_dtype", [None, torch.bfloat16])
def test_a_checkpoint_goes_on_with_what_a_filter_keeps(word, state_dtype):
    hyper = {**WORDS[word], "state_dtype": state_dtype}
    whole = stepped("adamw", steps=5, **hyper)[0]
    p, first = stepped("adamw", steps=3, **hyper)
    q = parameter(7, torch.float64)
    q.data.copy_(p)
    second = create("adamw", [q], backend="torch", state_dtype=state_dtype)
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    advance(second, q, range(3, 5))
    assert torch.equal(q, whole)
    kept = {"mars": "last_grad", "grokfast": "slow_grad"}[word]
    assert second.state[q][kept].dtype == (state_dtype or torch.float64)


def test_a_checkpoint_without_what_a_filter_keeps_is_refused():
    _, first = stepped("adamw", **MARS)
    saved = first.state_dict()
    del saved["state"][0]["last_grad"]
    with pytest.raises(ValueError, match=r"^the checkpoint lacks 'last_grad' of parameter 0, "):
        create("adamw", [parameter(7, torch.float64)]).load_state_dict(saved)


def test_a_checkpoint_from_before_filters_goes_on():
    whole = stepped("adan", steps=5)[0]
    p, first = stepped("adan", steps=3)
    saved = first.state_dict()
    for group in saved["param_groups"]:
        for name in options.DEFAULTS:
            del group[name]
    q = parameter(7, torch.float64)
    q.data.copy_(p)
    second = create("adan", [q], backend="torch")
    second.load_state_dict(saved)
    advance(second, q, range(3, 5))
    assert torch.equal(q, whole)


def test_a_filter_that_is_switched_on_again_begins_anew():
    _, optimizer = stepped("sgd", steps=2, **GROKFAST)
    [p], [group] = optimizer.tensors, optimizer.param_groups
    group["gradient_filter"] = "none"
    advance(optimizer, p, range(2, 3))
    assert "slow_grad" not in optimizer.state[p]
    group["gradient_filter"] = "grokfast"
    advance(optimizer, p, range(3, 4))
    assert torch.equal(optimizer.state[p]["slow_grad"], p.grad)


def test_a_filter_that_is_switched_on_later_leaves_the_rules_averages():
    _, optimizer = stepped("sgd", steps=2)
    [p] = optimizer.tensors
    before = optimizer.state[p]["momentum"].clone()
    optimizer.param_groups[0]["gradient_filter"] = "grokfast"
    advance(optimizer, p, range(2, 3))
    expected = 0.9 * before + p.grad * (1.0 + 2.0)  # of which the slow part is the gradient
    torch.testing.assert_close(optimizer.state[p]["momentum"], expected)


def test_each_tensor_has_its_part_of_the_largest_norm():
    for split, parts in (("uniform", (1.0, 1.0)), ("dim", (math.sqrt(0.5), math.sqrt(1.5)))):
        params = [torch.nn.Parameter(torch.zeros(n)) for n in (4, 12)]
        optimizer = create(
            "sgd",
            params,
            lr=1.0,
            momentum=0.0,
            layer_clip=math.sqrt(2.0),
            layer_split=split,
            backend="torch",
        )
        for p in params:
            p.grad = torch.full_like(p, 10.0)
        optimizer.step()
        for p, norm in zip(params, parts, strict=True):
            assert p.detach().norm().item() == pytest.approx(norm)


def test_a_gradient_below_its_part_is_left_as_it_is():
    plain = stepped("sgd")[0]
    assert torch.equal(stepped("sgd", layer_clip=1e6)[0], plain)
    assert not torch.equal(stepped("sgd", layer_clip=0.5)[0], plain)


REFUSED = [
    ("adamw", {"gradient_filter": "mar"}, "gradient_filter must be 'none', 'mars' or 'grokfast'"),
    (
        "adamw-sf",
        MARS,
        "gradient_filter must be 'none' when acceleration is 'schedule-free', which leaves out the "
        "average that MARS corrects for, got 'mars'",
    ),
    (
        "adamw",
        {**MARS, "layer_clip": 1.0},
        "gradient_filter must be 'none' when layer_clip is 1.0, as MARS clips each tensor itself",
    ),
    ("lars", MARS, "gradient_filter must be 'none' for LARS, which scales each tensor's gradient"),
    ("lars", {"layer_clip": 1.0}, "layer_clip must be 0.0 for LARS, which scales each tensor's"),
    ("adagrad", MARS, "gradient_filter must be 'none' for Adagrad, which has no average"),
    (
        "adagrad",
        {**GROKFAST, "accumulate": "rows", "max_grad_norm": 0.0},
        "gradient_filter must be off when accumulate is 'rows', which adds up squares",
    ),
    ("sgd", {**MARS, "momentum": 0.0}, "momentum must be above 0 when gradient_filter is 'mars'"),
    ("lion", {"grokfast_alpha": 1.0}, r"grokfast_alpha must be in \[0, 1\), got 1"),
    ("lion", {"layer_split": "even"}, "layer_split must be 'uniform' or 'dim', got 'even'"),
    ("adamw-mars", GROKFAST, "gradient_filter must be 'mars' for adamw-mars, got 'grokfast'; use"),
]


@pytest.mark.parametrize(("name", "hyper", "sentence"), REFUSED, ids=str)
def test_what_cannot_be_is_refused_in_a_sentence(name, hyper, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        create(name, [parameter(3)], **hyper)


def test_matrices_of_muon_take_no_filter_but_the_others_do():
    matrix, vector = (torch.nn.Parameter(torch.ones(*shape)) for shape in ((3, 3), (3,)))
    groups = [{"params": [matrix], "matrices": True}, {"params": [vector], "matrices": False}]
    with pytest.raises(ValueError, match=r"^gradient_filter must be off for the matrices of muon"):
        create("muon", [{**groups[0], **MARS}, groups[1]])
    optimizer = create("muon", [groups[0], {**groups[1], **MARS}], backend="torch")
    for p in (matrix, vector):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert "last_grad" in optimizer.state[vector]


def test_some_rules_have_names_with_a_filter():
    assert {"adamw-mars", "lion-mars", "adan-grokfast", "sgd-grokfast"} <= set(names())
    assert "lars-mars" not in names()
    given = create("adamw-mars", [parameter(3)]).param_groups[0]
    assert given["gradient_filter"] == "mars"
    assert defaults("adamw-mars")["mars_gamma"] == 0.025
    assert not options.DEFAULTS.keys() & defaults("adamw").keys()
    assert "mars_gamma" in space("adamw-mars")
    assert "one_minus_grokfast_alpha" in half_lives("adamw-grokfast")
    assert half_lives("adamw") == {}


def test_a_space_that_chooses_a_filter_has_what_the_filter_reads():
    chosen = space_of("radam", {"gradient_filter": ["none", "grokfast"]}, steps=1000)
    assert {"gradient_filter", "one_minus_grokfast_alpha", "grokfast_lamb"} <= set(chosen)
    assert idle("grokfast_lamb", {"gradient_filter": "none"})
    assert not idle("grokfast_lamb", {"gradient_filter": "grokfast"})
    hyper = chosen.setting(chosen.at([0.5] * len(chosen))).hyper
    assert hyper["gradient_filter"] in ("none", "grokfast")
    assert 0.9 < hyper["grokfast_alpha"] < 1.0
    assert "gradient_filter" not in space_of("radam")
    with pytest.raises(SpecError, match=r"use space\.one_minus_grokfast_alpha"):
        space_of("radam", {"grokfast_alpha": 0.9})


def test_a_configuration_says_a_filter_and_is_read_again():
    chosen = space_of("lion", {"gradient_filter": "mars"}, steps=100)
    params = chosen.at([0.3] * len(chosen))
    name, setting, steps = read(written("lion", 100, chosen, params))
    assert (name, steps) == ("lion", 100)
    assert setting.hyper["mars_gamma"] == pytest.approx(params["mars_gamma"])
    assert setting.hyper["gradient_filter"] == "mars"


def test_mars_with_both_betas_equal_is_its_authors_lion():
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = Lion([p], lr=0.1, betas=(0.9, 0.9), backend="torch", **MARS)
    p.grad = torch.tensor([0.1, -0.1], dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.1, 0.1], dtype=torch.float64))
