"""Checkpoints of other hands go on as what wrote them would; those that cannot are refused."""

import copy
import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import state_dict as portable

from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan, RuleOptimizer, create
from autotune.testing.optimizers import advance, parameter

FILES = sorted((Path(__file__).parent / "checkpoints").glob("*.json"))
OURS = {
    "Adan": Adan,
    "Adam_Win": Adam,
    "AdamW_Win": AdamW,
    "SGD_Win": SGD,
    "Lamb_Win": LAMB,
}


def tensor(data):
    return torch.tensor(data["values"], dtype=torch.float64).reshape(data["shape"])


def read(path):
    """Return a recording with its checkpoint as the authors' ``state_dict`` returned it."""
    data = json.loads(path.read_text())
    saved = data["state_dict"]
    saved["state"] = {
        int(i): {k: tensor(v) if isinstance(v, dict) else v for k, v in kept.items()}
        for i, kept in saved["state"].items()
    }
    for group in saved["param_groups"]:
        for name in ("betas", "reckless_steps"):
            if name in group:
                group[name] = tuple(group[name])
    return data


def built(data, **hyper):
    """Return a fresh optimizer of our class over the recorded parameters, and these."""
    mode = data["state_dict"]["param_groups"][0].get("acceleration_mode", "none")
    params = [torch.nn.Parameter(tensor(p)) for p in data["params"]]
    groups = [
        {"params": [params[i] for i in group["params"]]}
        for group in data["state_dict"]["param_groups"]
    ]
    return OURS[data["class"]](groups, acceleration=mode, **hyper), params


def refused(sentence):
    return pytest.raises(ValueError, match=f"^{re.escape(sentence)}$")


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_checkpoint_of_the_authors_goes_on_as_theirs(path, backend):
    data = read(path)
    optimizer, params = built(data, backend=backend)
    optimizer.load_state_dict(data["state_dict"])
    for grads, expected in zip(data["grads"], data["expected"], strict=True):
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else torch.tensor(g, dtype=p.dtype).reshape(p.shape)
        optimizer.step()
        for p, values in zip(params, expected, strict=True):
            wanted = torch.tensor(values, dtype=p.dtype).reshape(p.shape)
            torch.testing.assert_close(p.detach(), wanted, rtol=1e-12, atol=1e-14)


def test_every_class_and_mode_is_recorded():
    modes = {
        (data["class"], data["state_dict"]["param_groups"][0].get("acceleration_mode"))
        for data in map(read, FILES)
    }
    win = {(cls, mode) for cls in OURS if cls != "Adan" for mode in ("none", "win", "win2")}
    assert modes == win | {("Adan", None)}


def test_loading_leaves_the_checkpoint_as_it_was():
    data = read(FILES[0])
    before = copy.deepcopy(data["state_dict"]["param_groups"])
    built(data)[0].load_state_dict(data["state_dict"])
    assert data["state_dict"]["param_groups"] == before


def test_the_authors_words_become_ours():
    data = read(Path(__file__).parent / "checkpoints/adan_decoupled.json")
    optimizer, _ = built(data)
    optimizer.load_state_dict(data["state_dict"])
    group = optimizer.param_groups[0]
    assert group["decay"] == "decoupled"
    assert group["max_grad_norm"] == 0.0
    assert not {"no_prox", "foreach", "fused"} & set(group)


def test_an_unknown_mode_of_the_authors_is_none_as_it_was_there():
    data = read(Path(__file__).parent / "checkpoints/adamw_none.json")
    optimizer, _ = built(data)
    data["state_dict"]["param_groups"][0]["acceleration_mode"] = "Win"
    optimizer.load_state_dict(data["state_dict"])
    assert optimizer.param_groups[0]["acceleration"] == "none"


def test_the_clip_comes_with_the_checkpoint():
    p = parameter(2)
    first, second = Adan([p], max_grad_norm=0.5), Adan([p])
    second.load_state_dict(first.state_dict())
    assert second.max_grad_norm == 0.5


def gradients():
    return [torch.tensor([1.0, -2.0, 0.5]), torch.tensor([-1.0, 0.25, 3.0]), torch.ones(3)]


def continued(theirs, ours, **hyper):
    """Return where torch's optimizer ends, and where ours ends that took over after two steps."""
    p = torch.nn.Parameter(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    optimizer = theirs([p], **hyper)
    for k, g in enumerate(gradients() * 2):
        if k == 2:
            q = torch.nn.Parameter(p.detach().clone())
            other = ours([q])
            other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        p.grad = g.double()
        optimizer.step()
        if k >= 2:
            q.grad = g.double()
            other.step()
    return p.detach(), q.detach()


@pytest.mark.parametrize(
    ("theirs", "ours", "hyper"),
    [
        (torch.optim.AdamW, AdamW, {"lr": 0.1, "weight_decay": 0.2}),
        (torch.optim.AdamW, AdamW, {"lr": 0.1, "amsgrad": True}),
        (torch.optim.SGD, SGD, {"lr": 0.1}),
        (torch.optim.SGD, SGD, {"lr": 0.1, "momentum": 0.5, "dampening": 0.3}),
        (
            torch.optim.SGD,
            SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        ),
    ],
    ids=str,
)
def test_a_checkpoint_of_torch_goes_on_as_its(theirs, ours, hyper):
    expected, actual = continued(theirs, ours, **hyper)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_torchs_adam_differs_only_by_where_eps_is_added():
    expected, actual = continued(torch.optim.Adam, Adam, lr=0.1, eps=1e-14)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=0.0)


def test_torchs_adam_goes_on_exactly_where_eps_is_added_as_it_does():
    ours = partial(Adam, eps_after_correction=True)
    expected, actual = continued(torch.optim.Adam, ours, lr=0.1, eps=1e-2, weight_decay=0.2)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def saved_by(cls, **hyper):
    """Return a checkpoint after one step of two numbers."""
    if issubclass(cls, RuleOptimizer):
        hyper["backend"] = "torch"
    optimizer = cls([parameter(2)], **hyper)
    optimizer.step()
    return optimizer.state_dict()


def incomplete():
    saved = saved_by(SGD, acceleration="win2")
    del saved["state"][0]["y"]
    return saved


def unclocked():
    saved = saved_by(LAMB)
    del saved["param_groups"][0]["step"]
    return saved


def uneven():
    p, q = parameter(1), parameter(1)
    saved = Adan([{"params": [p]}, {"params": [q]}]).state_dict()
    saved["param_groups"][1]["max_grad_norm"] = 2.5
    return saved


def fresh(cls, size=2, **hyper):
    return cls([parameter(size)], backend="torch", **hyper)


WRITER = "load it into the optimizer that wrote it"

UNFIT = {
    "win into none": (
        lambda: saved_by(AdamW, acceleration="win"),
        lambda: fresh(AdamW),
        "group 0 of the checkpoint has acceleration 'win', the optimizer 'none'; "
        "build it with acceleration='win'",
    ),
    "torch's AdamW into win": (
        lambda: saved_by(torch.optim.AdamW),
        lambda: fresh(AdamW, acceleration="win"),
        "group 0 of the checkpoint has acceleration 'none', the optimizer 'win'; "
        "build it with acceleration='none'",
    ),
    "a missing y": (
        incomplete,
        lambda: fresh(SGD, acceleration="win2"),
        "the checkpoint lacks 'y' of parameter 0, which SGD with acceleration 'win2' keeps; "
        + WRITER,
    ),
    "Adan into AdamW": (
        lambda: saved_by(Adan),
        lambda: fresh(AdamW),
        "the checkpoint has 'exp_avg_diff' of parameter 0, which AdamW does not keep; " + WRITER,
    ),
    "AdamW into Adan": (
        lambda: saved_by(AdamW),
        lambda: fresh(Adan),
        "the checkpoint has 'step' of parameter 0, which Adan does not keep; " + WRITER,
    ),
    "LAMB into AdamW": (
        lambda: saved_by(LAMB),
        lambda: fresh(AdamW),
        "the checkpoint lacks 'step' of parameter 0, which AdamW keeps; " + WRITER,
    ),
    "LAMB without its clock": (
        unclocked,
        lambda: fresh(LAMB),
        "the checkpoint lacks 'step' of group 0, which LAMB keeps; " + WRITER,
    ),
    "Adam into AdamW": (
        lambda: saved_by(Adam),
        lambda: fresh(AdamW),
        "the checkpoint has weight decay in the gradient, AdamW outside the gradient; "
        "load it into Adam",
    ),
    "torch's AdamW into Adam": (
        lambda: saved_by(torch.optim.AdamW),
        lambda: fresh(Adam),
        "the checkpoint has weight decay outside the gradient, Adam in the gradient; "
        "load it into AdamW",
    ),
    "RMSprop into SGD": (
        lambda: saved_by(torch.optim.RMSprop),
        lambda: fresh(SGD),
        "the checkpoint has 'square_avg' of parameter 0, which SGD does not keep; " + WRITER,
    ),
    "another model": (
        lambda: saved_by(Adan),
        lambda: fresh(Adan, size=5),
        "the checkpoint's 'exp_avg' of parameter 0 has shape (2,), the parameter (5,); "
        "load it with the model it was saved with",
    ),
    "maximize": (
        lambda: saved_by(torch.optim.SGD, lr=0.1, maximize=True),
        lambda: fresh(SGD),
        "group 0 of the checkpoint has maximize=True, which SGD does not offer; negate the loss",
    ),
    "clips that differ": (
        uneven,
        lambda: Adan([{"params": [parameter(1)]}, {"params": [parameter(1)]}]),
        "max_grad_norm holds for the whole optimizer, got 0 and 2.5 in the checkpoint's groups; "
        "make them equal there",
    ),
    "Adan into AdamW before a step": (
        lambda: fresh(Adan).state_dict(),
        lambda: fresh(AdamW),
        "betas must be 2 numbers, got (0.98, 0.92, 0.99)",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_checkpoint_that_cannot_go_on_is_refused_and_changes_nothing(case):
    write, build, sentence = UNFIT[case]
    saved, optimizer = write(), build()
    advance(optimizer, optimizer.param_groups[0]["params"][0], range(1))
    before = copy.deepcopy(optimizer.state_dict())
    with refused(sentence):
        optimizer.load_state_dict(saved)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(
        torch.equal(torch.as_tensor(after["state"][0][name]), torch.as_tensor(value))
        for name, value in before["state"][0].items()
    )


def test_groups_of_another_number_are_refused_in_torchs_words():
    with pytest.raises(ValueError, match="different number of parameter groups"):
        fresh(Adan).load_state_dict(uneven())


def test_a_users_hook_may_bring_a_checkpoint_into_form():
    optimizer, saved = fresh(Adan), saved_by(Adan)
    wrapped = {"state": {"module": saved["state"][0]}, "param_groups": saved["param_groups"]}

    def unwrap(_, checkpoint):
        return {**checkpoint, "state": {0: checkpoint["state"]["module"]}}

    optimizer.register_load_state_dict_pre_hook(unwrap)
    optimizer.load_state_dict(wrapped)
    p = optimizer.param_groups[0]["params"][0]
    assert torch.equal(optimizer.state[p]["exp_avg"], saved["state"][0]["exp_avg"])


def test_half_precision_state_of_the_authors_is_kept_in_single():
    p = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    optimizer, saved = Adan([p]), saved_by(Adan)
    saved["state"][0] = {name: value.bfloat16() for name, value in saved["state"][0].items()}
    optimizer.load_state_dict(saved)
    assert {value.dtype for value in optimizer.state[p].values()} == {torch.float32}


@pytest.mark.parametrize("name", ["adan", "adamw-win", "adamw-win2"])
def test_the_step_by_which_torch_begins_state_moves_win_by_rounding_only(name):
    torch.manual_seed(0)
    model = torch.nn.Linear(50, 40)
    before = model.weight.detach().clone()
    portable.get_optimizer_state_dict(model, create(name, model.parameters()))
    rtol = 0.0 if name == "adan" else 2 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(model.weight.detach(), before, rtol=rtol, atol=0.0)


@pytest.mark.parametrize("cls", [AdamW, torch.optim.AdamW])
def test_the_step_by_which_torch_begins_state_counts_as_with_its_own(cls):
    model = torch.nn.Linear(2, 1)
    saved = portable.get_optimizer_state_dict(model, cls(model.parameters()))
    assert int(saved["state"]["weight"]["step"]) == 1
