"""Live groups and checkpoints have the same words, so that every tool of torch can map one onto
the other."""

import copy
import pickle

import pytest
import torch
from torch.distributed.checkpoint import state_dict as portable

from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan
from autotune.testing.optimizers import advance, parameter, saved_and_loaded

ALL = [LAMB, SGD, Adam, AdamW, Adan]


def built(cls=AdamW, **hyper):
    p = parameter(3)
    return p, cls([p], **{"max_grad_norm": 0.01, **hyper})


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("steps", [0, 1])
def test_a_checkpoint_has_the_words_of_live_groups(cls, steps):
    p, optimizer = built(cls)
    advance(optimizer, p, range(steps))
    [live], [saved] = optimizer.param_groups, optimizer.state_dict()["param_groups"]
    assert live.keys() == saved.keys()
    assert {k: v for k, v in live.items() if k != "params"}.items() <= saved.items()
    assert live["max_grad_norm"] == 0.01


@pytest.mark.skipif(not hasattr(torch.optim, "swap_in_optimizer_params_and_state"), reason="new")
@pytest.mark.parametrize("cls", ALL)
def test_torch_swaps_parameters_and_state_in(cls):
    p, optimizer = built(cls, lr=0.1)
    advance(optimizer, p, range(2))
    q, twin = torch.nn.Parameter(p.detach().clone()), copy.deepcopy(optimizer)
    q.grad = torch.ones(3)
    saved = copy.deepcopy(twin.state_dict())
    with torch.optim.swap_in_optimizer_params_and_state(optimizer, {"p": q}, saved):
        optimizer.step()
    own = twin.param_groups[0]["params"][0]
    own.grad = torch.ones(3)
    twin.step()
    assert torch.equal(q, own)


@pytest.mark.parametrize("cls", ALL)
def test_a_flat_checkpoint_of_torch_distributed_brings_all_words_back(cls):
    options = portable.StateDictOptions(flatten_optimizer_state_dict=True)
    models = [torch.nn.Linear(2, 1) for _ in range(2)]
    first, second = cls(models[0].parameters(), max_grad_norm=0.01), cls(models[1].parameters())
    flat = portable.get_optimizer_state_dict(models[0], first, options=options)
    assert flat["param_groups.weight.max_grad_norm"] == 0.01
    portable.set_optimizer_state_dict(models[1], second, flat, options=options)
    assert second.max_grad_norm == second.param_groups[0]["max_grad_norm"] == 0.01


def test_a_nested_checkpoint_of_torch_distributed_brings_all_words_back():
    models = [torch.nn.Linear(2, 1) for _ in range(2)]
    first, second = Adam(models[0].parameters(), max_grad_norm=0.01), Adam(models[1].parameters())
    saved = portable.get_optimizer_state_dict(models[0], first)
    portable.set_optimizer_state_dict(models[1], second, saved)
    assert second.max_grad_norm == 0.01
    assert second.param_groups[0]["decoupled_weight_decay"] is False


def test_a_schedule_of_the_clip_is_followed():
    runs = []
    for way in ("groups", "attribute"):
        p, optimizer = built(SGD, lr=1.0, momentum=0.0)
        if way == "groups":
            optimizer.param_groups[0]["max_grad_norm"] = 0.5
        else:
            optimizer.max_grad_norm = 0.5
        before = p.detach().clone()
        optimizer.step()
        runs.append(float((p.detach() - before).norm()))
    assert runs == pytest.approx([0.5, 0.5])


def test_a_clip_that_differs_between_groups_is_refused_before_anything_changes():
    p, q = parameter(2), parameter(3)
    optimizer = Adan([{"params": [p]}, {"params": [q]}], max_grad_norm=0.5)
    optimizer.param_groups[1]["max_grad_norm"] = 1.0
    sentence = (
        r"^max_grad_norm holds for the whole optimizer, got 0\.5 and 1\.0 in its groups; "
        r"set optimizer\.max_grad_norm, or the same in every group$"
    )
    with pytest.raises(ValueError, match=sentence):
        optimizer.step()
    assert "step" not in optimizer.param_groups[0]
    assert not optimizer.state
    optimizer.max_grad_norm = 1.0
    optimizer.step()


def test_a_group_that_is_added_has_the_clip_of_the_others():
    _, optimizer = built()
    optimizer.max_grad_norm = 0.7
    optimizer.add_param_group({"params": [parameter(2)]})
    assert [group["max_grad_norm"] for group in optimizer.param_groups] == [0.7, 0.7]


def test_a_group_cannot_change_the_kind_of_decay():
    sentence = r"^decoupled_weight_decay must be True for AdamW, got False; use Adam$"
    with pytest.raises(ValueError, match=sentence):
        AdamW([{"params": [parameter(1)], "decoupled_weight_decay": False}])


def test_saved_groups_may_be_put_into_live_ones():
    p, optimizer = built()
    saved = saved_and_loaded(optimizer.state_dict())
    q, other = built(max_grad_norm=0.0)
    other.param_groups = [{**group, "params": [q]} for group in saved["param_groups"]]
    assert other.max_grad_norm == 0.01
    advance(optimizer, p, range(1))
    advance(other, q, range(1))
    assert torch.equal(p, q)


def test_groups_of_an_earlier_version_lack_the_clip_and_get_the_optimizers():
    p, optimizer = built(SGD, lr=1.0, momentum=0.0)
    del optimizer.param_groups[0]["max_grad_norm"]
    before = p.detach().clone()
    optimizer.step()
    assert float((p.detach() - before).norm()) == pytest.approx(0.01, rel=1e-4)


def earlier(optimizer):
    """Return an optimizer as a pickle of an earlier version would hold it."""
    state = optimizer.__getstate__()
    del state["watch"]
    for words in (state["defaults"], *state["param_groups"]):
        del words["max_grad_norm"], words["decoupled_weight_decay"]
    old = AdamW.__new__(AdamW)
    old.__setstate__({**state, "max_grad_norm": 0.01})
    return old


def test_a_pickle_of_an_earlier_version_keeps_its_clip():
    _, optimizer = built()
    optimizer = earlier(optimizer)
    assert optimizer.max_grad_norm == optimizer.param_groups[0]["max_grad_norm"] == 0.01
    optimizer.step()
    assert optimizer.state_dict()["param_groups"][0]["decoupled_weight_decay"] is True


def test_a_checkpoint_of_an_earlier_version_still_loads():
    _, optimizer = built()
    saved = optimizer.state_dict()
    for name in ("max_grad_norm", "decoupled_weight_decay"):
        del saved["param_groups"][0][name]
    _, other = built(max_grad_norm=0.3)
    other.load_state_dict(saved)
    assert other.max_grad_norm == 0.3


@pytest.mark.parametrize("way", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_have_the_words_too(way):
    _, optimizer = built()
    optimizer.max_grad_norm = 0.2
    twin = way(optimizer)
    twin.step()
    assert twin.max_grad_norm == 0.2
    assert twin.param_groups[0].keys() == twin.state_dict()["param_groups"][0].keys()
