import math
import re
from dataclasses import replace

import pytest

from autotune.errors import SpecError, UnknownName
from autotune.search.plan import plan
from autotune.space.presets import over_runs, presets_of, space_of, spaces_of
from autotune.space.spaces import Range
from autotune.studies.spec import parse
from autotune.tasks.resolve import resolve


def spec(optimizers, **space):
    return parse({"model": "net", "optimizers": optimizers, "space": space})


def presets(optimizer, **space):
    return presets_of(optimizer, space_of(spec([optimizer], **space), optimizer))


def test_each_optimizer_has_its_space():
    assert list(spaces_of(spec(["sgd", "adamw"]))) == ["sgd", "adamw"]


def test_a_shared_change_concerns_those_that_have_the_parameter():
    found = spaces_of(spec(["adamw", "adamw-win2"], gamma1=2.0))
    assert [space.fixed for space in found.values()] == [{}, {"gamma1": 2.0}]


@pytest.mark.parametrize("optimizer", ["muon", "torch.optim.AdamW"])
def test_a_filter_that_no_optimizer_of_a_search_takes_is_refused(optimizer):
    with pytest.raises(UnknownName, match=r"^unknown parameter 'gradient_filter'"):
        spaces_of(spec([optimizer], gradient_filter="mars"))


def test_an_average_that_is_set_by_its_half_life_names_what_to_set():
    sentence = r"^space\.grokfast_alpha cannot be set; use space\.one_minus_grokfast_alpha$"
    with pytest.raises(SpecError, match=sentence):
        spaces_of(spec(["adamw"], gradient_filter="grokfast", grokfast_alpha=0.9))


def test_a_shared_change_of_the_look_ahead_leaves_plain_forms_alone():
    found = spaces_of(spec(["adamw", "adamw-nema"], lookahead_stepsize=0.3))
    assert [space.fixed for space in found.values()] == [{}, {"lookahead_stepsize": 0.3}]


def test_a_shared_change_that_concerns_no_optimizer_suggests():
    with pytest.raises(UnknownName) as caught:
        spaces_of(spec(["sgd", "adamw"], one_minus_beta3=0.1))
    assert caught.value.args[0] == (
        "unknown parameter 'one_minus_beta3'; did you mean 'one_minus_beta2'? (known: amsgrad, "
        "cautious, cautious_decay, dampening, decayed, eps, lr, max_grad_norm, nesterov, "
        "one_minus_beta1, one_minus_beta2, one_minus_momentum, timescale, warmup, weight_decay)"
    )


def test_a_misspelt_shared_change_is_not_dropped():
    with pytest.raises(UnknownName, match=r"^unknown parameter 'lrr'; did you mean 'lr'\?"):
        spaces_of(spec(["sgd", "adamw"], lrr=0.1))


def test_a_shared_argument_that_is_searched_in_parts_is_refused():
    sentence = "space.betas cannot be set as one; use space.one_minus_beta1, space.one_minus_beta2"
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        spaces_of(spec(["sgd", "adamw"], betas=[0.9, 0.99]))


def half_lives(space):
    range = space.parameters["one_minus_beta3"]
    return [round(math.log(0.5) / math.log1p(-end), 6) for end in (range.high, range.low)]


@pytest.mark.parametrize(
    ("steps", "expected"), [(3000, [60, 1000]), (300, [6, 100]), (9, [1, 3]), (1, [1, 2])]
)
def test_a_slow_mean_fits_into_the_runs(steps, expected):
    asked = spec(["ademamix", "ademamix-win2", "adan"])
    found = over_runs(spaces_of(asked), steps)
    assert half_lives(found["ademamix"]) == half_lives(found["ademamix-win2"]) == expected
    assert found["adan"] == spaces_of(asked)["adan"]
    assert list(found["ademamix"]) == list(spaces_of(asked)["ademamix"])


def test_a_slow_mean_that_the_user_gave_stays():
    for given in (0.01, {"low": 1e-5}):
        asked = spec(["ademamix"], one_minus_beta3=given)
        assert over_runs(spaces_of(asked), 100) == spaces_of(asked)


def test_an_optimizer_s_own_change_wins():
    found = space_of(spec(["adamw"], lr=0.1, adamw={"lr": 0.2}), "adamw")
    assert found.fixed == {"lr": 0.2}


def test_an_optimizer_s_own_end_of_a_range_leaves_everybody_s_other():
    found = space_of(spec(["adamw"], lr={"low": 1e-4}, adamw={"lr": {"high": 1e-2}}), "adamw")
    assert found.parameters["lr"] == Range(low=1e-4, high=1e-2, log=True)


def test_narrowing_lr_keeps_the_weight_decay_of_every_preset():
    found = presets("adamw", lr={"high": 5e-5})
    assert [one.setting.hyper["weight_decay"] for one in found] == [0.01, 0.02, 0.05, 0.1, 0.05]
    assert {one.setting.hyper["lr"] for one in found} == {5e-5}


def test_a_moved_default_says_so():
    assert presets("adamw", lr={"high": 1e-4})[0].origin == "preset:default, moved into the space"


def test_presets_that_a_fixed_value_makes_equal_are_tried_once():
    origins = [one.origin for one in presets("adamw", lr=1e-3, warmup=0.1, weight_decay=0.05)]
    assert origins == [
        "preset:default, moved into the space",
        "preset:short-runs, moved into the space",
        "preset:language, moved into the space",
    ]


PUBLISHED = {
    "adamw": [{"origin": "authors-net", "lr": 4e-3, "weight_decay": 0.3, "warmup": 0.25}],
    "sgd": [{"origin": "authors-net", "lr": 2.0, "warmup": 0.0}],
}


def published(optimizer, **changes):
    space = spaces_of(spec([optimizer], **changes), PUBLISHED)[optimizer]
    return space, presets_of(optimizer, space)


def test_what_a_network_s_authors_published_follows_what_is_always_tried():
    _, found = published("adamw")
    assert [one.origin for one in found[:4]] == [
        "preset:default",
        "preset:short-runs",
        "preset:authors-net",
        "preset:vision",
    ]
    setting = found[2].setting
    assert (setting.hyper["lr"], setting.hyper["weight_decay"], setting.warmup) == (4e-3, 0.3, 0.25)
    assert setting.hyper["betas"] == (0.9, 0.999)


def test_a_network_s_presets_do_not_change_what_is_searched():
    space, _ = published("adamw")
    assert space.as_data() == space_of(spec(["adamw"]), "adamw").as_data()


def test_a_network_s_presets_keep_to_the_user_s_space():
    _, found = published("adamw", lr={"high": 1e-3})
    assert found[2].origin == "preset:authors-net, moved into the space"
    assert found[2].setting.hyper["lr"] == 1e-3


def test_an_optimizer_that_a_network_s_authors_did_not_use_has_its_own_alone():
    _, found = published("adan")
    assert found == presets("adan")


def test_presets_of_a_task_reach_the_plan_of_its_search(monkeypatch):
    task = replace(resolve("mlp"), presets=PUBLISHED)
    monkeypatch.setattr("autotune.search.opening.resolve", lambda **_: task)
    planned = plan(parse({"model": "mlp", "optimizers": ["adamw", "adan"]}))
    assert planned.presets["adamw"][2] == "preset:authors-net"
    assert "preset:authors-net" not in planned.presets["adan"]
