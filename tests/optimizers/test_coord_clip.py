"""Coordinate-wise clipping of gradients and of updates by a quantile: options of every rule."""

import pytest
import torch

from autotune.optimizers import Stacked, create
from autotune.space.config import read, space_of, written
from autotune.testing.backends import usable
from autotune.testing.optimizers import advance, parameter, saved_and_loaded

CLIPS = {"gradient": {"coord_clip": 0.3}, "update": {"update_clip": 0.3}}


def stepped(name, *, steps=4, dtype=torch.float64, backend="torch", **hyper):
    p = parameter(7, dtype)
    optimizer = create(name, [p], lr=0.05, backend=backend, **hyper)
    advance(optimizer, p, range(steps))
    return p.detach(), optimizer


@pytest.mark.parametrize("word", CLIPS)
@pytest.mark.parametrize("name", ["adamw", "sgd", "nadamw-win2", "adamw-sf", "adan-nema"])
def test_a_share_of_no_element_changes_no_bit(name, word):
    plain = stepped(name)[0]
    assert torch.equal(stepped(name, **dict.fromkeys(CLIPS[word], 0.1))[0], plain)
    assert not torch.equal(stepped(name, **CLIPS[word])[0], plain)


def test_a_share_near_one_leaves_signs():
    p = torch.nn.Parameter(torch.zeros(5))
    optimizer = create("sgd", [p], lr=1.0, momentum=0.0, coord_clip=0.99, backend="torch")
    p.grad = torch.tensor([3.0, -0.5, 2.0, -9.0, 1.0])
    optimizer.step()
    assert torch.equal(p.detach(), -0.5 * p.grad.sign())


def test_an_infinite_gradient_is_clipped_and_one_that_is_no_number_is_seen():
    p = torch.nn.Parameter(torch.zeros(4))
    optimizer = create("sgd", [p], lr=1.0, momentum=0.0, coord_clip=0.25, backend="torch")
    p.grad = torch.tensor([1.0, -torch.inf, 2.0, 0.0])
    optimizer.step()
    assert p.tolist() == [-1.0, 2.0, -2.0, 0.0]
    p.grad = torch.tensor([1.0, torch.nan, 2.0, 0.0])
    optimizer.step()
    assert p.isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize("word", CLIPS)
def test_a_captured_step_clips_as_another_does(word):
    with usable("triton"):
        given = {"dtype": torch.float32, "steps": 2, "backend": "triton", **CLIPS[word]}
        ends = [stepped("sgd", capturable=on, **given)[0] for on in (False, True)]
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def test_replicas_clip_each_its_own():
    rows = [{"lr": 0.1, "coord_clip": 0.4, "update_clip": 0.6}, {"lr": 0.2, "coord_clip": 0.2}]
    rows[1]["update_clip"] = 0.4
    whole = torch.nn.Parameter(torch.ones(2, 5, dtype=torch.float64))
    stack = Stacked("adamw", [whole], rows, "torch")
    apart = [torch.nn.Parameter(row.clone()) for row in whole.detach()]
    alone = [create("adamw", [p], backend="torch", **r) for p, r in zip(apart, rows, strict=True)]
    for k in range(3):
        whole.grad = torch.arange(10.0).double().reshape(2, 5).add(k).sin()
        for p, g, optimizer in zip(apart, whole.grad, alone, strict=True):
            p.grad = g.clone()
            optimizer.step()
        stack.step()
    assert torch.equal(whole.detach(), torch.stack([p.detach() for p in apart]))


@pytest.mark.parametrize("state_dtype", [None, torch.bfloat16])
def test_a_checkpoint_goes_on_clipping(state_dtype):
    hyper = {"coord_clip": 0.3, "update_clip": 0.2, "state_dtype": state_dtype}
    whole = stepped("adamw", steps=5, **hyper)[0]
    p, first = stepped("adamw", steps=3, **hyper)
    q = parameter(7, torch.float64)
    q.data.copy_(p)
    second = create("adamw", [q], backend="torch", state_dtype=state_dtype)
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    advance(second, q, range(3, 5))
    assert torch.equal(q, whole)


REFUSED = [
    ("adamw", {"coord_clip": 1.0}, r"coord_clip must be in \[0, 1\), got 1"),
    ("adamw", {"update_clip": -0.1}, r"update_clip must be in \[0, 1\), got -0.1"),
    (
        "adamw-mars",
        {"coord_clip": 0.1},
        "coord_clip must be 0.0 when gradient_filter is 'mars', as MARS clips each tensor itself",
    ),
    (
        "sgd",
        {"coord_clip": 0.1, "layer_clip": 1.0},
        "coord_clip must be 0.0 when layer_clip is 1.0, which clips the same gradients, got 0.1",
    ),
    (
        "adan",
        {"update_clip": 0.1, "cautious": True},
        "update_clip must be 0.0 when cautious is True, which scales what it leaves of an update",
    ),
    ("lars", {"coord_clip": 0.1}, "coord_clip must be 0.0 for LARS, which scales each tensor's"),
    ("adabelief", {"coord_clip": 0.1}, "coord_clip must be 0.0 for AdaBelief, to which clipped"),
    ("lion", {"update_clip": 0.1}, "update_clip must be 0.0 for Lion, whose updates are of one"),
    (
        "adagrad",
        {"coord_clip": 0.1, "accumulate": "rows", "max_grad_norm": 0.0},
        "coord_clip must be off when accumulate is 'rows', which adds up squares",
    ),
]
REFUSED += [
    (name, {"update_clip": 0.1}, "update_clip must be 0.0 for .*, which scales the step of each t")
    for name in ("lamb", "lamb-v3", "lars", "stableadamw")
]


@pytest.mark.parametrize(("name", "hyper", "sentence"), REFUSED, ids=str)
def test_what_cannot_be_is_refused_in_a_sentence(name, hyper, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        create(name, [parameter(3)], **hyper)


def test_matrices_of_muon_are_not_clipped_but_the_others_are():
    matrix, vector = (torch.nn.Parameter(torch.ones(*shape)) for shape in ((3, 3), (4,)))
    groups = [{"params": [matrix], "matrices": True}, {"params": [vector], "matrices": False}]
    for clip in CLIPS.values():
        with pytest.raises(ValueError, match=r"_clip must be off for the matrices of"):
            create("muon", [{**groups[0], **clip}, groups[1]])
        ends = []
        for own in ({}, clip):
            optimizer = create(
                "muon", [groups[0], {**groups[1], **own}], aux="sgd", backend="torch"
            )
            vector.data.fill_(1.0)
            matrix.grad, vector.grad = torch.ones(3, 3), torch.tensor([1.0, 2.0, 3.0, 9.0])
            optimizer.step()
            ends.append(vector.detach().clone())
        assert not torch.equal(*ends)


def test_a_range_without_ends_is_searched_in_its_own():
    chosen = space_of("radam", {"coord_clip": {"high": 0.3}}, steps=100)
    params = chosen.at([0.0] * len(chosen))
    assert params["coord_clip"] == pytest.approx(0.01)
    name, setting, _ = read(written("radam", 100, chosen, params))
    assert (name, setting.hyper["coord_clip"]) == ("radam", pytest.approx(0.01))
    listed = space_of("radam", {"update_clip": [0, 0.1, 0.5]})
    assert listed.at([0.99] * len(listed))["update_clip"] == 0.5
    assert not {"coord_clip", "update_clip"} & set(space_of("radam"))
