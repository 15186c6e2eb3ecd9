import math
import re

import pytest

from autotune import optimizers
from autotune.errors import SpecError, UnknownName
from autotune.space.coordinates import decode, encode, told
from autotune.space.spaces import Choice, Range, build

ADAN = {"lr": 1e-3, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.02}
DATA = {
    "lr": ("log", 1e-4, 1e-1),
    "decayed": ("choice", ("yes", "no")),
    "timescale": ("log", 30.0, 1e6),
    "one_minus_beta1": ("log", 5e-3, 0.2),
    "warmup": ("linear", 0.0, 0.5),
}


def space(**overrides):
    return build(DATA, ADAN, overrides)


def default(found):
    return found.preset({}, 0.1, "preset:default")


def test_a_log_range_is_even_in_the_logarithm():
    assert Range(low=1e-4, high=1e-2, log=True).at(0.5) == pytest.approx(1e-3)


def test_the_unit_cube_and_back():
    units = [0.2, 0.75, 0.4, 0.6, 0.9]
    assert space().units(space().at(units)) == pytest.approx(units)


def test_timescale_gives_the_weight_decay():
    hyper, _ = decode({"lr": 0.01, "timescale": 1e4}, ADAN)
    assert hyper["weight_decay"] == pytest.approx(0.01)


def test_undecayed_is_exactly_zero():
    hyper, _ = decode({"lr": 0.01, "timescale": 1e4, "decayed": "no"}, ADAN)
    assert hyper["weight_decay"] == 0.0


def test_betas_are_one_minus_their_coordinates_and_others_keep_every_bit():
    hyper, _ = decode({"one_minus_beta2": 0.25}, ADAN)
    assert hyper["betas"] == (0.98, 0.75, 0.99)


def test_the_second_reckless_step_is_a_multiple_of_the_first():
    hyper, _ = decode({"gamma1": 3.0, "gamma_ratio": 2.0}, ADAN | {"reckless_steps": (2.0, 8.0)})
    assert hyper["reckless_steps"] == (3.0, 6.0)


@pytest.mark.parametrize("name", optimizers.names())
def test_encoding_then_decoding_gives_the_default_back(name):
    defaults = optimizers.defaults(name)
    hyper, warmup = decode(encode(defaults, 0.2), defaults)
    assert warmup == 0.2
    for key, value in defaults.items():
        assert hyper[key] == (pytest.approx(value) if isinstance(value, float | tuple) else value)


@pytest.mark.parametrize("name", optimizers.names())
def test_every_default_lies_inside_its_own_space(name):
    defaults = optimizers.defaults(name)
    found = build(optimizers.space(name), defaults, {}).preset({}, 0.1, "default")
    assert found.setting.hyper == told(defaults)


def test_a_preset_keeps_every_bit():
    preset = space().preset({"lr": 0.0123, "weight_decay": 0.007}, 0.3, "mine")
    assert preset.setting.hyper == ADAN | {"lr": 0.0123, "weight_decay": 0.007}
    assert preset.setting.warmup == 0.3


def test_a_preset_outside_a_narrowed_range_moves_to_its_end():
    preset = space(lr={"low": 1e-2, "high": 1e-1}).preset({}, 0.1, "default")
    assert preset.setting.hyper["lr"] == pytest.approx(1e-2)


def test_a_fixed_value_wins_over_a_preset():
    narrowed = space(lr=0.05, eps=1e-6)
    preset = narrowed.preset({"lr": 1e-3}, 0.1, "default")
    assert (preset.setting.hyper["lr"], preset.setting.hyper["eps"]) == (0.05, 1e-6)
    assert "lr" not in narrowed.parameters


def test_a_preset_that_the_space_allows_keeps_its_origin():
    assert default(space(lr=1e-3, one_minus_beta1=0.02)).origin == "preset:default"


@pytest.mark.parametrize(
    "override", [{"lr": {"low": 1e-2}}, {"lr": 0.05}, {"eps": 1e-6}, {"warmup": 0.3}]
)
def test_a_preset_that_is_moved_or_fixed_says_so(override):
    assert default(space(**override)).origin == "preset:default, moved into the space"


@pytest.mark.parametrize("lr", [1e-6, {"low": 1e-6, "high": 3e-6}])
def test_a_preset_keeps_its_weight_decay_when_lr_is_moved(lr):
    found = default(space(lr=lr))
    assert found.setting.hyper == ADAN | {"lr": found.setting.hyper["lr"]}


def test_coordinates_say_a_moved_preset_as_far_as_the_space_can():
    found = default(space(lr={"low": 1e-6, "high": 3e-6}))
    assert found.setting.params["lr"] == found.setting.hyper["lr"] == 3e-6
    assert found.setting.params["timescale"] == 1e6


def test_a_timescale_a_person_narrowed_is_kept_to_after_lr_is_moved():
    found = default(space(lr=1e-4, timescale={"low": 1e4, "high": 1e5}))
    assert found.setting.params["timescale"] == 1e5
    assert found.setting.hyper["weight_decay"] == pytest.approx(0.1)


def test_fixing_one_thing_keeps_every_bit_of_a_preset_s_others():
    odd = {"lr": 0.0123, "betas": (0.981, 0.923, 0.9917), "eps": 1e-7, "weight_decay": 0.0071}
    odd["reckless_steps"] = (2.3, 7.7)
    found = space(warmup=0.3).preset(odd, 0.1, "mine")
    assert (found.setting.hyper, found.setting.warmup) == (odd, 0.3)


def test_one_beta_is_moved_alone():
    found = default(space(one_minus_beta2=0.25))
    assert found.setting.hyper == ADAN | {"betas": (0.98, 0.75, 0.99)}


def test_an_undecayed_preset_stays_so_under_a_fixed_timescale():
    found = space(timescale=1e4).preset({"weight_decay": 0.0}, 0.1, "mine")
    assert (found.setting.hyper["weight_decay"], found.origin) == (0.0, "mine")


def test_an_undecayed_preset_that_must_decay_does_so_least():
    found = space(decayed=True).preset({"weight_decay": 0.0}, 0.1, "mine")
    assert found.setting.params["timescale"] == 1e6
    assert found.setting.hyper["weight_decay"] == pytest.approx(1e-3)


def test_searching_weight_decay_itself_replaces_the_timescale():
    found = space(weight_decay={"low": 1e-3, "high": 1e-1})
    assert "timescale" not in found.parameters
    assert "decayed" not in found.parameters
    assert found.parameters["weight_decay"] == Range(low=1e-3, high=1e-1, log=True)


def test_a_list_is_a_choice():
    assert space(eps=[1e-8, 1e-6]).parameters["eps"] == Choice(options=(1e-8, 1e-6))


@pytest.mark.parametrize(("given", "kept"), [(False, "no"), (True, "yes"), ("no", "no")])
def test_a_yes_or_no_may_be_a_boolean(given, kept):
    assert space(decayed=given).fixed == {"decayed": kept}


def test_options_yes_and_no_may_be_booleans():
    assert space(decayed=[False]).parameters["decayed"] == Choice(options=("no",))


def test_a_preset_told_not_to_decay_does_not():
    assert default(space(decayed=False)).setting.hyper == ADAN | {"weight_decay": 0.0}


def test_a_boolean_argument_stays_one():
    found = build(DATA, ADAN | {"amsgrad": True}, {"amsgrad": False})
    assert default(found).setting.hyper["amsgrad"] is False


@pytest.mark.parametrize("given", ["off", {"low": 0.0, "high": 1.0}])
def test_another_word_for_yes_or_no_is_refused(given):
    sentence = f"space.decayed must be yes or no, got {given!r}"
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        space(decayed=given)


def test_a_scale_may_be_given_alone():
    found = space(lr={"scale": "linear"})
    assert found.parameters["lr"] == Range(low=1e-4, high=1e-1)


def test_one_bound_keeps_the_other():
    assert space(lr={"high": 0.01}).parameters["lr"] == Range(low=1e-4, high=0.01, log=True)


def test_values_at_the_end_of_a_range_are_named():
    params = space().at([0.999, 0.5, 0.5, 0.01, 0.5])
    assert space().edges(params) == ["lr", "one_minus_beta1"]


@pytest.mark.parametrize("given", [{"low": 0.1, "high": 1e-5}, {"high": 1e-5}])
def test_an_inverted_range_is_refused(given):
    low = given.get("low", 1e-4)
    hint = "" if "low" in given else ", of which low is the optimizer's own; give both"
    sentence = f"space.lr: low must be below high, got low {low:g} and high 1e-05{hint}"
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        space(lr=given)


WHOLES = [
    (
        "betas",
        "space.betas cannot be set as one; use space.one_minus_beta1, space.one_minus_beta2, "
        "space.one_minus_beta3",
    ),
    ("momentum", "space.momentum cannot be set; use space.one_minus_momentum"),
    (
        "reckless_steps",
        "space.reckless_steps cannot be set as one; use space.gamma1, space.gamma_ratio",
    ),
]


@pytest.mark.parametrize(("name", "sentence"), WHOLES, ids=[name for name, _ in WHOLES])
def test_an_argument_that_is_searched_in_parts_is_refused(name, sentence):
    defaults = ADAN | {"momentum": 0.9, "reckless_steps": (2.0, 8.0)}
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        build(DATA, defaults, {name: 0.9})


def test_a_log_range_from_zero_is_refused():
    with pytest.raises(SpecError, match=r"^space\.lr: a log scale needs low above 0, got 0$"):
        space(lr={"low": 0, "high": 0.01})


def test_half_a_range_of_a_new_parameter_is_refused():
    with pytest.raises(SpecError, match=r"^space\.eps must have both low and high, got only high$"):
        space(eps={"high": 0.01})


def test_an_unknown_parameter_suggests():
    with pytest.raises(UnknownName, match=r"^unknown parameter 'warmpu'; did you mean 'warmup'\?"):
        space(warmpu=0.1)


def test_plain_data_is_json():
    data = space(eps=1e-6).as_data()
    assert data["eps"] == ["fixed", 1e-6]
    assert data["decayed"] == ["choice", ["yes", "no"]]
    assert all(isinstance(entry, list) for entry in data.values())


def test_no_decay_has_no_timescale():
    assert "timescale" not in encode(ADAN | {"weight_decay": 0.0}, 0.1)
    assert math.isclose(encode(ADAN, 0.1)["timescale"], 5e4)
