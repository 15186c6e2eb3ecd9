"""What wrappers keep beside an optimizer's state goes through every way that state takes."""

import copy
import pickle
import re

import pytest
import torch

from autotune.optimizers import SGD, Adam, AdamW, Adan, create
from autotune.testing.backends import usable
from autotune.testing.optimizers import advance, parameter, saved_and_loaded

FORMS = [
    {},
    {"acceleration": "win2", "compact": True},
    {"state_dtype": torch.bfloat16, "stochastic_rounding": True},
]


class Lookahead:
    """Averages slowly, as timm's does: its weights are beside the state of the fast ones."""

    def __init__(self, fast, alpha=0.5, every=2):
        self.fast = fast
        for name, value in (("lookahead_alpha", alpha), ("lookahead_step", 0)):
            fast.defaults[name] = value
            for group in fast.param_groups:
                group.setdefault(name, value)
        self.every = every

    @torch.no_grad()
    def step(self):
        self.fast.step()
        for group in self.fast.param_groups:
            group["lookahead_step"] += 1
            if group["lookahead_step"] % self.every == 0:
                for p in group["params"]:
                    self.pull(p, group["lookahead_alpha"])

    def pull(self, p, alpha):
        state = self.fast.state[p]
        if "lookahead_slow_buff" not in state:
            state["lookahead_slow_buff"] = p.detach().clone()
        slow = state["lookahead_slow_buff"]
        slow.add_(p - slow, alpha=alpha)
        p.copy_(slow)


def ways():
    def loaded(optimizer):
        p = torch.nn.Parameter(optimizer.param_groups[0]["params"][0].detach().clone())
        group = optimizer.param_groups[0]
        twin = type(optimizer)(
            [p],
            acceleration=group["acceleration"],
            compact=optimizer.compact,
            state_dtype=optimizer.state_dtype,
            stochastic_rounding=optimizer.stochastic_rounding,
        )
        twin.load_state_dict(saved_and_loaded(optimizer.state_dict()))
        return twin

    return [loaded, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("way", ways(), ids=["loaded", "copied", "pickled"])
@pytest.mark.parametrize("cls", [AdamW, Adan, SGD])
def test_lookahead_goes_on_as_if_it_had_not_been_interrupted(cls, way, form):
    p = parameter(4)
    whole = Lookahead(cls([p], lr=0.1, **form))
    for k in range(3):
        p.grad = torch.full((4,), 1.0 + k)
        whole.step()
    twin = Lookahead(way(whole.fast))
    [q] = twin.fast.param_groups[0]["params"]
    for k in range(3, 6):
        p.grad, q.grad = torch.full((4,), 1.0 + k), torch.full((4,), 1.0 + k)
        whole.step()
        twin.step()
    assert torch.equal(p, q)
    slow = [o.state[x]["lookahead_slow_buff"] for o, x in ((whole.fast, p), (twin.fast, q))]
    assert torch.equal(*slow)


VALUES = {
    "ema": {"weights": torch.ones(7), "decay": 0.9, "name": "fast", "tags": ["a", ("b", None)]},
    "mask": torch.tensor([True, False]),
    "count": torch.tensor(3, dtype=torch.int64),
    "note": "kept as it is",
    "nothing": None,
    7: 1.5,
}


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("steps", [0, 1])
def test_foreign_values_of_any_kind_come_back_unchanged(form, steps):
    p = parameter(4)
    optimizer = AdamW([p], **form)
    advance(optimizer, p, range(steps))
    optimizer.state[p].update(copy.deepcopy(VALUES))
    optimizer.state["swa"] = {"n": 2, "tensor": torch.ones(2)}
    optimizer.state["ema"] = torch.ones(3)
    optimizer.param_groups[0]["lookahead_alpha"] = 0.25
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved_and_loaded(saved))
    kept = optimizer.state[p]
    assert {name: kept[name] for name in VALUES}.keys() == VALUES.keys()
    for name in ("mask", "count"):
        assert kept[name].dtype == VALUES[name].dtype
        assert torch.equal(kept[name], VALUES[name])
    assert (kept["note"], kept["nothing"], kept[7]) == ("kept as it is", None, 1.5)
    assert kept["ema"]["tags"] == ["a", ("b", None)]
    assert kept["ema"]["name"] == "fast"
    assert torch.equal(kept["ema"]["weights"], torch.ones(7))
    assert torch.equal(optimizer.state["ema"], torch.ones(3))
    assert optimizer.state["swa"]["n"] == 2
    assert optimizer.param_groups[0]["lookahead_alpha"] == 0.25
    advance(optimizer, p, range(1))
    assert optimizer.state[p]["step"] == steps + 1


def test_a_loaded_foreign_tensor_is_a_copy():
    p = parameter(2)
    optimizer = AdamW([p])
    advance(optimizer, p, range(1))
    slow = optimizer.state[p]["slow"] = torch.ones(2)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.state[p]["slow"].zero_()
    assert torch.equal(slow, torch.ones(2))


@pytest.mark.parametrize("lost", ["exp_avg", "step", "exp_avg_sq"])
def test_what_is_missing_of_ours_is_refused_beside_foreign_entries(lost):
    p = parameter(2)
    optimizer = Adam([p])
    advance(optimizer, p, range(1))
    optimizer.state[p]["lookahead_slow_buff"] = torch.ones(2)
    saved = copy.deepcopy(optimizer.state_dict())
    del saved["state"][0][lost]
    sentence = f"the checkpoint lacks '{lost}' of parameter 0, which Adam keeps"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        optimizer.load_state_dict(saved)


def test_a_checkpoint_of_an_optimizer_that_nobody_knows_is_refused():
    p = parameter(2)
    group = {"params": [0], "lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.0}
    saved = {"state": {0: {"hessian": torch.ones(2)}}, "param_groups": [group]}
    with pytest.raises(ValueError, match=r"^the checkpoint lacks 'exp_avg' of parameter 0"):
        AdamW([p]).load_state_dict(saved)


def test_the_momentum_of_another_optimizer_does_not_replace_ours():
    p = parameter(2)
    optimizer = SGD([p], lr=0.1)
    advance(optimizer, p, range(1))
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["momentum_buffer"] = torch.ones(2)
    with pytest.raises(ValueError, match=r"^the checkpoint has 'momentum_buffer' of parameter 0"):
        optimizer.load_state_dict(saved)


def test_an_overflow_leaves_foreign_entries_alone():
    with usable("triton"):
        p = parameter(3)
        optimizer = create("adamw-win", [p], backend="triton")
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        optimizer.state["ema"] = torch.ones(2)
        for factor in (1.0, float("inf")):
            optimizer.zero_grad()
            scaler.scale((p * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.state[p]["slow"] = torch.full((3,), factor)
            optimizer.state["after"] = "kept"
        saved = optimizer.state_dict()
    assert saved["state"][0]["step"] == 1
    assert torch.equal(saved["state"][0]["slow"], torch.full((3,), float("inf")))
    assert saved["state"]["after"] == "kept"
    assert torch.equal(saved["state"]["ema"], torch.ones(2))


def test_foreign_entries_pass_where_steps_are_counted_on_the_device():
    with usable("triton"):
        p = parameter(3)
        optimizer = create("adamw-win", [p], backend="triton", capturable=True, compact=True)
        optimizer.step()
        optimizer.state[p].update(slow=torch.ones(3), note="kept")
        optimizer.state["ema"] = {"step": torch.tensor(7)}
        saved = saved_and_loaded(optimizer.state_dict())
        optimizer.load_state_dict(saved)
        optimizer.step()
    assert saved["state"][0]["step"] == 1
    assert saved["state"]["ema"]["step"] == torch.tensor(7)
    assert optimizer.state[p]["note"] == "kept"
    assert torch.equal(optimizer.state[p]["slow"], torch.ones(3))
    assert optimizer.state[p]["step"] == 2
