"""Hyper-parameters are plain numbers, words and tuples, or refused: when given, loaded, edited."""

import math
import re
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction

import numpy as np
import pytest
import torch

from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan, layerwise, split
from autotune.testing.optimizers import advance, parameter, saved_and_loaded


class Listed:
    """A list as OmegaConf's: it has a length and items, and is no Sequence."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Scalar:
    """A number as jax's: it can be made a float."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return float(self.value)


def refused(error, sentence):
    return pytest.raises(error, match=f"^{re.escape(sentence)}$")


NUMBERS = [
    np.float64(0.25),
    np.float32(0.25),
    np.array(0.25),
    Decimal("0.25"),
    Fraction(1, 4),
    Scalar(0.25),
]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["lr", "weight_decay", "eps", "max_grad_norm"])
def test_a_number_of_any_kind_becomes_pythons(name, value):
    optimizer = AdamW([parameter(2)], **{name: value})
    optimizer.add_param_group({"params": [parameter(2)], name: value})
    assert type(optimizer.defaults[name]) is float
    assert [(type(g[name]), g[name]) for g in optimizer.param_groups] == [(float, 0.25)] * 2
    optimizer.load_state_dict(saved_and_loaded(optimizer.state_dict()))


BETAS = [
    [0.5, 0.75],
    np.array([0.5, 0.75]),
    torch.tensor([0.5, 0.75]),
    Listed(0.5, 0.75),
    Listed(np.float32(0.5), Decimal("0.75")),
    (np.float64(0.5), 0.75),
]


@pytest.mark.parametrize("value", BETAS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["betas", "reckless_steps"])
def test_numbers_in_any_list_become_a_tuple(name, value):
    optimizer = AdamW([parameter(2)], **{name: value})
    later = AdamW([parameter(2)])
    later.param_groups[0][name] = value
    advance(later, later.param_groups[0]["params"][0], range(1))
    for each in (optimizer, later):
        assert each.param_groups[0][name] == (0.5, 0.75)
        assert {type(beta) for beta in (*each.param_groups[0][name], 0.0)} == {float}
        assert type(each.param_groups[0][name]) is tuple
        saved_and_loaded(each.state_dict())


class Mode(StrEnum):
    WIN = "win"


Old = Enum("Old", {"WIN": "win"}, type=str)


@pytest.mark.parametrize("word", [Mode.WIN, Old.WIN, np.str_("win")])
def test_a_word_of_any_kind_becomes_pythons(word):
    p = parameter(2)
    optimizer = AdamW([p])
    optimizer.param_groups[0]["acceleration"] = word
    optimizer.step()
    for each in (optimizer, AdamW([p], acceleration=word)):
        assert type(each.param_groups[0]["acceleration"]) is str
        assert each.param_groups[0]["acceleration"] == "win"
    assert "x" in optimizer.state[p]


def test_an_edit_is_saved_plain_though_no_step_came_between():
    optimizer = AdamW([parameter(2)])
    optimizer.param_groups[0].update(lr=np.float64(0.25), betas=[np.float32(0.5), 0.75])
    [group] = saved_and_loaded(optimizer.state_dict())["param_groups"]
    assert (type(group["lr"]), group["betas"]) == (float, (0.5, 0.75))


def test_negative_zero_is_zero():
    optimizer = AdamW([parameter(2)], lr=-0.0, weight_decay=np.float64(-0.0))
    [group] = optimizer.param_groups
    assert math.copysign(1.0, group["lr"]) == math.copysign(1.0, group["weight_decay"]) == 1.0


def test_a_tensor_stays_one_and_is_read_at_every_step():
    ends = []
    for decay in (torch.tensor(0.0), 0.0):
        p = parameter(3)
        optimizer = SGD([p], lr=torch.tensor(0.1), weight_decay=decay)
        [group] = optimizer.param_groups
        advance(optimizer, p, range(1))
        group["lr"].fill_(0.2)
        if isinstance(decay, torch.Tensor):
            assert isinstance(group["weight_decay"], torch.Tensor)
            decay.fill_(0.5)
        else:
            group["weight_decay"] = 0.5
        advance(optimizer, p, range(1, 2))
        ends.append(p)
    assert torch.equal(*ends)


WRONG = [
    ("lr", "1e-3", TypeError, "lr must be a number, got '1e-3'"),
    ("lr", True, TypeError, "lr must be a number, got True"),
    ("lr", np.True_, TypeError, "lr must be a number, got True"),
    ("lr", None, TypeError, "lr must be a number, got None"),
    ("lr", b"1", TypeError, "lr must be a number, got b'1'"),
    ("lr", [0.1], TypeError, "lr must be a number, got (0.1,)"),
    ("lr", 1j, TypeError, "lr must be a number, got 1j"),
    ("lr", 10**400, ValueError, "lr must be at least 0 and finite, got inf"),
    ("lr", Decimal("nan"), ValueError, "lr must be at least 0 and finite, got nan"),
    ("lr", torch.tensor(-1.0), ValueError, "lr must be at least 0 and finite, got -1"),
    ("eps", "1e-8", TypeError, "eps must be a number, got '1e-8'"),
    ("weight_decay", "0", TypeError, "weight_decay must be a number, got '0'"),
    ("betas", "ab", ValueError, "betas must be 2 numbers, got 'ab'"),
    ("betas", {0.9, 0.99}, ValueError, "betas must be 2 numbers, got {0.9, 0.99}"),
    ("betas", {0.9: 1, 0.99: 2}, ValueError, "betas must be 2 numbers, got {0.9: 1, 0.99: 2}"),
    ("betas", 0.9, ValueError, "betas must be 2 numbers, got 0.9"),
    ("betas", ("0.9", 0.99), TypeError, "betas[0] must be a number, got '0.9'"),
    ("betas", np.ones((2, 2)), TypeError, "betas[0] must be a number, got (1.0, 1.0)"),
    ("reckless_steps", np.ones(3), ValueError, None),
    ("amsgrad", "False", TypeError, "amsgrad must be True or False, got 'False'"),
    (
        "acceleration",
        1,
        ValueError,
        "acceleration must be 'none', 'win', 'win2', 'schedule-free' or 'nesterov-ema', got 1",
    ),
    ("max_grad_norm", "1.0", TypeError, "max_grad_norm must be a number, got '1.0'"),
]


@pytest.mark.parametrize(("name", "value", "error", "sentence"), WRONG, ids=str)
def test_what_is_no_plain_value_is_refused_wherever_it_comes_in(name, value, error, sentence):
    sentence = sentence or f"{name} must be 2 numbers, got (1.0, 1.0, 1.0)"
    with refused(error, sentence):
        AdamW([parameter(2)], **{name: value})
    p = parameter(2)
    optimizer = AdamW([p])
    if name != "max_grad_norm":
        with refused(error, sentence):
            optimizer.add_param_group({"params": [parameter(2)], name: value})
    advance(optimizer, p, range(1))
    saved = optimizer.state_dict()
    saved["param_groups"][0][name] = value
    if name != "acceleration":
        with refused(error, sentence):
            optimizer.load_state_dict(saved)
    optimizer.param_groups[0][name] = value
    before = p.detach().clone()
    with refused(error, sentence):
        optimizer.step()
    assert torch.equal(p, before)
    assert optimizer.state[p]["step"] == 1


@pytest.mark.parametrize("cls", [Adan, LAMB, SGD, Adam])
def test_a_group_edited_to_another_spelling_is_refused_at_the_next_step(cls):
    p, q = parameter(2), parameter(2)
    optimizer = cls([{"params": [p]}, {"params": [q]}])
    optimizer.param_groups[1]["acceleration"] = "Win"
    offered = (
        "'win' or 'win2'" if cls is LAMB else "'win', 'win2', 'schedule-free' or 'nesterov-ema'"
    )
    with refused(ValueError, f"acceleration must be 'none', {offered}, got 'Win'"):
        optimizer.step()
    assert not optimizer.state
    assert "step" not in optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (SGD, "nesterov", "yes"),
        (LAMB, "bias_correction", "False"),
        (LAMB, "grad_averaging", None),
        (LAMB, "trust_clip", 0.5),
        (LAMB, "always_adapt", "no"),
        (Adan, "compact", "False"),
        (Adan, "stochastic_rounding", "False"),
        (Adan, "capturable", "False"),
    ],
)
def test_a_word_is_no_switch(cls, name, value):
    with refused(TypeError, f"{name} must be True or False, got {value!r}"):
        cls([parameter(2)], **{name: value})


def test_the_constructors_values_are_checked_though_every_group_has_its_own():
    with refused(TypeError, "lr must be a number, got '1e-3'"):
        AdamW([{"params": [parameter(2)], "lr": 1e-3}], lr="1e-3")


def test_a_dtype_is_no_word():
    with pytest.raises(ValueError, match=r"^state_dtype must be None, .*, got 'bfloat16'$"):
        AdamW([parameter(2)], state_dtype="bfloat16")


@pytest.mark.parametrize("step", [torch.tensor([3.0]), torch.tensor(3), np.int64(3), 3.0])
@pytest.mark.parametrize("cls", [AdamW, Adan])
def test_a_count_of_steps_may_be_a_tensor_in_a_checkpoint(cls, step):
    p = parameter(2)
    optimizer = cls([p])
    advance(optimizer, p, range(1))
    saved = optimizer.state_dict()
    where = saved["param_groups"][0] if cls is Adan else saved["state"][0]
    where["step"] = step
    optimizer.load_state_dict(saved)
    advance(optimizer, p, range(1))
    own = optimizer.param_groups[0] if cls is Adan else optimizer.state[p]
    assert (type(own["step"]), own["step"]) == (int, 4)


@pytest.mark.parametrize("step", [2.5, -1, math.nan])
def test_a_count_of_steps_that_is_none_is_refused(step):
    p = parameter(2)
    optimizer = AdamW([p])
    advance(optimizer, p, range(1))
    saved = optimizer.state_dict()
    saved["state"] = {0: {**saved["state"][0], "step": step}}
    with refused(ValueError, f"step must be a whole number of at least 0, got {step:g}"):
        optimizer.load_state_dict(saved)


def test_rates_of_groups_are_plain_too():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    groups = layerwise(model, np.float64(1e-3), 0.5, np.float32(0.5)) + split(model, Decimal(1))
    assert {type(group["weight_decay"]) for group in groups} == {float}
    with refused(TypeError, "weight_decay must be a number, got '0.1'"):
        split(model, "0.1")


# Schedulers write into live groups.


def once(optimizer):
    advance(optimizer, optimizer.param_groups[0]["params"][0], range(1))


def test_a_beta_that_a_schedule_drives_to_1_is_refused():
    optimizer = Adan([parameter(2)])
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10, max_momentum=1.0)
    with refused(ValueError, "betas[0] must be in [0, 1), got 1"):
        once(optimizer)


def test_a_momentum_that_a_schedule_drives_to_1_is_refused():
    optimizer = SGD([parameter(2)])
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10, max_momentum=1.0)
    with refused(ValueError, "momentum must be in [0, 1), got 1"):
        once(optimizer)


@pytest.mark.parametrize("cls", [AdamW, Adan, SGD])
def test_a_schedule_of_momentum_within_its_range_is_followed(cls):
    optimizer = cls([parameter(2)])
    name = "momentum" if cls is SGD else "betas"
    schedule = torch.optim.lr_scheduler.CyclicLR(
        optimizer, 0.01, 0.1, step_size_up=2, base_momentum=0.5, max_momentum=0.75
    )
    for expected in (0.75, 0.625, 0.5, 0.625):
        once(optimizer)
        value = optimizer.param_groups[0][name]
        assert (value if cls is SGD else value[0]) == pytest.approx(expected)
        schedule.step()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("lr", math.nan, "lr must be at least 0 and finite, got nan"),
        ("lr", -1e-3, "lr must be at least 0 and finite, got -0.001"),
        ("lr", math.inf, "lr must be at least 0 and finite, got inf"),
        ("lr", torch.tensor(math.nan), "lr must be at least 0 and finite, got nan"),
        ("weight_decay", -0.1, "weight_decay must be at least 0 and finite, got -0.1"),
        ("betas", (0.9, 1.0), "betas[1] must be in [0, 1), got 1"),
        ("betas", (0.9, torch.tensor(1.5)), "betas[1] must be in [0, 1), got 1.5"),
        ("eps", math.nan, "eps must be at least 0 and finite, got nan"),
    ],
)
def test_a_value_that_a_schedule_takes_out_of_range_is_refused(name, value, sentence):
    p = parameter(2)
    optimizer = AdamW([p])
    once(optimizer)
    optimizer.param_groups[0][name] = value
    before = p.detach().clone()
    with refused(ValueError, sentence):
        once(optimizer)
    assert torch.equal(p, before)


def test_a_tensor_that_is_filled_with_nonsense_is_refused():
    optimizer = AdamW([parameter(2)], lr=torch.tensor(0.1), betas=(torch.tensor(0.9), 0.99))
    once(optimizer)
    optimizer.param_groups[0]["betas"][0].fill_(1.0)
    with refused(ValueError, "betas[0] must be in [0, 1), got 1"):
        once(optimizer)


def test_a_schedule_that_rounds_below_zero_ends_in_peace():
    p = parameter(2)
    optimizer = AdamW([p], lr=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.7, 0.0, total_iters=3)
    for _ in range(3):
        once(optimizer)
        schedule.step()
    assert -1e-15 < optimizer.param_groups[0]["lr"] < 0.0
    once(optimizer)
    other = AdamW([p])
    other.load_state_dict(optimizer.state_dict())


def test_what_schedules_and_models_put_into_groups_loads_with_weights_only():
    """Torch refuses NumPy's numbers there, and checkpoints are then lost."""
    optimizer = AdamW([{"params": [parameter(2)], "lr_scale": np.float32(0.5), "tags": ["a"]}])
    torch.optim.lr_scheduler.OneCycleLR(optimizer, np.float64(0.5), total_steps=9)
    (group,) = saved_and_loaded(optimizer.state_dict())["param_groups"]
    assert (group["max_lr"], group["lr_scale"], group["tags"]) == (0.5, 0.5, ["a"])
    assert type(optimizer.param_groups[0]["lr_scale"]) is np.float32


def test_a_group_cannot_begin_to_maximize():
    optimizer = AdamW([parameter(2)])
    optimizer.step()
    optimizer.param_groups[0]["maximize"] = True
    with refused(ValueError, "a group cannot set 'maximize', got True; negate the loss"):
        optimizer.step()


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("named", [False, True], ids=["tensors", "pairs"])
def test_a_parameter_that_is_in_a_group_twice_is_stepped_once(backend, named):
    ends = []
    for times in (1, 2):
        params = [parameter(2), parameter(3)]
        given = [(f"{k}", p) for k, p in enumerate(params)] if named else params
        optimizer = AdamW(given * times, lr=0.1, acceleration="win", backend=backend)
        for _ in range(2):
            optimizer.step()
        ends.append(params)
        assert optimizer.param_groups[0].get("param_names", ["0", "1"]) == ["0", "1"]
    assert all(torch.equal(p, q) for p, q in zip(*ends, strict=True))
