"""Rules that carry a setting over to another batch, length or width."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner

from autotune import export, optimizers, registry
from autotune.api.tuned import Tuned
from autotune.cli import main
from autotune.errors import SpecError, UnknownName
from autotune.optimizers.registry import resolve
from autotune.results.restated import restated
from autotune.results.tuned import horizon
from autotune.studies.setting import Setting
from autotune.testing import sample
from autotune.testing.exports import tuned_for_test
from autotune.transfer import GROUP, rules
from autotune.transfer.base import ADAPTIVE, SGD, SIGN, Kind, Route, Rule
from autotune.transfer.carry import SETS, carry
from autotune.transfer.kinds import kind_of
from autotune.transfer.targets import Target, route

TASK = {"steps": 100, "batch_size": 32}
FOUND = Setting(
    params={}, hyper={"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.96)}, warmup=0.2
)
SGDS = Setting(params={}, hyper={"lr": 0.1, "weight_decay": 5e-4, "momentum": 0.9}, warmup=0.1)


def restate(rule: str, way: Route, family: str = ADAPTIVE, found: Setting = FOUND) -> dict:
    loaded: Rule = registry.load(GROUP, rule)
    return dict(loaded.restate(found, found, way, Kind(optimizer="any", family=family)))


def test_lr_follows_the_root_of_the_batch_for_adaptive_and_sign_methods():
    way = Route(batch=(32, 512))
    assert restate("batch", way) == {"lr": 0.04}
    assert restate("batch", way, SIGN) == {"lr": 0.04}
    assert restate("batch-sqrt", way, SGD) == {"lr": 0.04}


def test_lr_of_sgd_follows_the_batch():
    way = Route(batch=(32, 512))
    assert restate("batch", way, SGD) == {"lr": 0.16}
    assert restate("batch-linear", way) == {"lr": 0.16}


@pytest.mark.parametrize(
    ("noise", "ratio"), [(128.0, 4.0), (16.0, 1.0), (1e9, 16.0)], ids=["between", "below", "above"]
)
def test_lr_rises_no_further_than_the_noise_scale(noise, ratio):
    way = Route(batch=(32, 512), noise_scale=noise)
    assert restate("batch", way, SGD)["lr"] == pytest.approx(0.01 * ratio)


@pytest.mark.parametrize("optimizer", ["adamw", "adan", "sgd"])
def test_lr_times_decay_times_steps_stays(optimizer):
    found = SGDS if optimizer == "sgd" else FOUND
    way = Route(batch=(32, 128), steps=(100, 700))
    new = carry(optimizer, found, way, ["literature"]).setting.hyper
    before = found.hyper["lr"] * found.hyper["weight_decay"] * 100
    assert new["lr"] * new["weight_decay"] * 700 == pytest.approx(before)


def test_all_but_the_warm_up_stays_without_a_rule():
    way = Route(batch=(32, 128), steps=(100, 700))
    carried = carry("adamw", FOUND, way)
    assert (carried.setting.hyper, carried.warnings) == (FOUND.hyper, ())
    assert [change.rule for change in carried.changes] == ["warmup-share"]
    assert carry("adamw", FOUND, way, ["literature"]).setting.hyper["betas"] == (0.9, 0.96)


def test_what_was_not_measured_of_the_default_set_is_said():
    far = "lr and weight decay stay as they were found, which was measured up to 4x the batch and "
    there = Route(batch=(32, 256), steps=(100, 500))
    assert carry("adamw", FOUND, there).warnings == (
        f"{far}10x the steps only, and the target is 8x and 5x; rule 'literature' restates them",
    )
    assert far in carry("adamw", FOUND, Route(steps=(100, 2000))).warnings[0]
    assert carry("sgd", SGDS, Route(batch=(32, 64))).warnings == (
        "lr and weight decay stay as they were found for a batch of 2x, which was measured for "
        "adaptive methods, and sgd is none; rule 'literature' restates them",
    )
    assert carry("sgd", SGDS, Route(steps=(100, 200))).warnings == ()


def test_half_lives_stay_in_samples():
    new = restate("betas-samples", Route(batch=(32, 128)))["betas"]
    halves = [math.log(0.5) / math.log(b) * size for b, size in ((0.9, 32), (new[0], 128))]
    assert halves[0] == pytest.approx(halves[1])


def test_half_lives_stay_a_share_of_the_run():
    new = restate("betas-share", Route(steps=(100, 500)), found=SGDS)["momentum"]
    halves = [math.log(0.5) / math.log(b) / steps for b, steps in ((0.9, 100), (new, 500))]
    assert halves[0] == pytest.approx(halves[1])


def test_decays_of_a_filter_and_of_the_look_ahead_go_along_where_they_are_read():
    way = Route(steps=(100, 200))
    own = {"grokfast_alpha": 0.81, "lookahead_ema": 0.64}
    found = replace(FOUND, hyper={**FOUND.hyper, **own, "gradient_filter": "grokfast"})
    new = restate("betas-share", way, found=found)
    assert (new["grokfast_alpha"], "lookahead_ema" in new) == (pytest.approx(0.9), False)
    ahead = replace(found, hyper={**FOUND.hyper, **own, "acceleration": "nesterov-ema"})
    new = restate("betas-share", way, found=ahead)
    assert (new["lookahead_ema"], "grokfast_alpha" in new) == (pytest.approx(0.8), False)


def test_a_controller_begins_at_the_same_share_of_the_run_as_the_warm_up_ends():
    way, own = Route(steps=(100, 250)), {"controller": "agvm", "controller_start": 10}
    found = replace(FOUND, hyper={**FOUND.hyper, **own, "controller_keep": 0.81})
    space = {"controller_start": ("linear", 0.0, 20.0)}
    carried = carry("adamw", found, way, space=space)
    assert (carried.setting.hyper["controller_start"], carried.warnings) == (25, ())
    assert carried.setting.params["controller_start"] == 25
    assert "controller_start" not in restate("warmup-steps", way, found=found)
    off = replace(found, hyper={**found.hyper, "controller": "none"})
    assert restate("warmup-share", way, found=off) == {"warmup": 0.2}
    kept = restate("betas-share", replace(way, steps=(100, 200)), found=found)
    assert kept["controller_keep"] == pytest.approx(0.9)


def test_a_longer_run_has_a_lower_lr_and_the_same_warm_up_steps_where_that_is_named():
    way = Route(batch=(32, 32), steps=(100, 1000))
    assert restate("lr-steps", way)["lr"] == pytest.approx(0.01 * 10**-0.32)
    assert restate("warmup-steps", way) == {"warmup": pytest.approx(0.02)}
    named = carry("adamw", FOUND, way, ["literature", "lr-steps"]).setting.hyper
    assert named["lr"] * named["weight_decay"] * 1000 == pytest.approx(0.01 * 0.1 * 100)


def test_width_is_off_unless_it_is_named():
    way = Route(steps=(100, 100), width=4.0)
    left = carry("adamw", FOUND, way)
    assert left.setting.hyper["lr"] == 0.01
    assert left.warnings == ("nothing follows the width of 4x: rule 'width' is off, name it",)
    named = carry("adamw", FOUND, way, ["width", "timescale"])
    assert named.setting.hyper["lr"] == 0.0025
    assert named.setting.hyper["weight_decay"] == pytest.approx(0.4)


@pytest.mark.parametrize("rule", rules())
def test_no_rule_changes_a_setting_for_the_run_it_was_found_in(rule):
    way = Route(batch=(32, 32), steps=(100, 100))
    assert restate(rule, way) == {}


@pytest.mark.parametrize("rule", rules())
def test_every_rule_has_its_source_and_its_question(rule):
    loaded: Rule = registry.load(GROUP, rule)
    assert re.search(r"[A-Z]\w+ et al\. 20\d\d|[A-Z]\w+ and [A-Z]\w+ 20\d\d", loaded.source)
    assert loaded.answers


def test_a_named_rule_that_has_nothing_to_follow_is_warned_of():
    way = Route(batch=(32, 32), steps=(100, 200))
    said = carry("adamw", FOUND, way, ["width+timescale", "literature"]).warnings
    assert said == ("rule 'width' changes nothing: the target has the width of the search",)
    assert carry("adamw", FOUND, way, ["literature"]).warnings == ()
    assert carry("adamw", FOUND, way, SETS["literature"]).warnings == ()


def test_every_optimizer_says_how_it_scales():
    for name in optimizers.names():
        assert kind_of(name).family in {ADAPTIVE, SIGN, SGD}, name
        assert resolve(name)[0].family == kind_of(name).family


def test_a_class_that_says_nothing_of_its_scale_is_not_guessed(monkeypatch):
    monkeypatch.setattr(
        "autotune.transfer.carry.kind_of", lambda name: Kind(optimizer=name, family=None)
    )
    sentence = (
        "^rule 'batch' does not apply to adamw: its class does not say how it scales; "
        "name batch-sqrt or batch-linear$"
    )
    with pytest.raises(SpecError, match=sentence):
        carry("adamw", FOUND, Route(batch=(32, 64)), ["batch"])


@pytest.mark.parametrize(
    ("optimizer", "found", "rule", "why"),
    [
        ("adam", FOUND, "timescale", "its decay is a part of the gradient"),
        ("sgd", SGDS, "lr-steps", "it was found for AdamW, an adaptive method"),
        ("sgd", SGDS, "width", "it is muP's rule for Adam and its relatives"),
        ("adamw", Setting(params={}, hyper={"lr": 1.0}, warmup=0.0), "betas-share",
         "it has neither betas nor momentum"),
    ],
    ids=["decay", "length", "width", "betas"],
)  # fmt: skip
def test_a_named_rule_that_does_not_apply_is_refused(optimizer, found, rule, why):
    with pytest.raises(SpecError, match=f"^rule '{rule}' does not apply to {optimizer}: {why}$"):
        carry(optimizer, found, Route(steps=(1, 2)), [rule])


def test_a_decay_that_a_setting_puts_in_the_gradient_has_no_timescale():
    coupled = Setting(params={}, hyper={**FOUND.hyper, "decay": "coupled"}, warmup=0.1)
    carried = carry("adopt", coupled, Route(steps=(100, 500)), ["literature"])
    assert carried.setting.hyper["weight_decay"] == 0.1
    assert carried.warnings[0].startswith("rule 'timescale' does not apply to adopt: its decay is")


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "diffgrad"])
def test_classes_that_add_the_decay_to_the_gradient_say_so(optimizer):
    assert kind_of(optimizer).timescale is False
    assert kind_of("adamw").timescale is True


def test_of_another_package_s_optimizer_nothing_is_guessed():
    found = Setting(params={}, hyper={"lr": 0.01, "weight_decay": 0.1}, warmup=0.1)
    way = Route(batch=(32, 64), steps=(100, 500))
    carried = carry("torch.optim.AdamW", found, way, ["literature"])
    assert [change.rule for change in carried.changes] == ["warmup-share"]
    assert [text.split(":")[0] for text in carried.warnings] == [
        "rule 'batch' does not apply to torch.optim.AdamW",
        "rule 'timescale' is left out for torch.optim.AdamW",
    ]
    named = carry("torch.optim.AdamW", found, way, ["batch-sqrt", "timescale"]).setting.hyper
    assert named["lr"] * named["weight_decay"] * 500 == pytest.approx(0.1)


def test_signs_matrices_and_layer_wise_rates_have_their_families():
    families = {name: kind_of(name).family for name in ("lion", "muon", "lars", "lamb")}
    assert families == {"lion": SIGN, "muon": SIGN, "lars": SGD, "lamb": ADAPTIVE}


def test_a_rule_of_a_set_that_does_not_apply_is_left_out_with_a_warning():
    carried = carry("adam", FOUND, Route(steps=(100, 500)), ["literature"])
    assert [change.rule for change in carried.changes] == ["warmup-share"]
    assert carried.warnings == (
        "rule 'timescale' does not apply to adam: its decay is a part of the gradient",
    )


def test_of_rules_that_contradict_each_other_the_last_counts_with_a_warning():
    carried = carry("adamw", FOUND, Route(batch=(32, 128)), ["batch-linear", "batch"])
    assert carried.setting.hyper["lr"] == pytest.approx(0.02)
    assert carried.warnings == (
        "rules 'batch-linear' and 'batch' contradict each other, as both are for lr for the "
        "batch: 'batch' counts",
    )


def test_a_value_beyond_the_searched_range_is_warned_of():
    space = {"lr": ["log", 1e-4, 0.015], "timescale": ["log", 500.0, 2000.0]}
    way = Route(batch=(32, 128), steps=(100, 500))
    carried = carry("adamw", FOUND, way, ["literature"], space)
    # The timescale is five times as long, in a run five times as long.
    assert carried.warnings == (
        "lr is 0.02 for the target, outside the 0.0001 to 0.015 that was searched",
    )
    assert any(
        "timescale is 50 for" in w
        for w in carry(
            "adamw", FOUND, Route(batch=(32, 12800), steps=(100, 100)), ["batch"], space
        ).warnings
    )


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Target(batch=0), "target batch must be at least 1, got 0"),
        (Target(batch="0x"), "target batch must be above 0, got '0x'"),
        (Target(batch=True), "target batch must be a number or a multiple as 4x, got True"),
        (Target(batch="many"), "target batch must be a number or a multiple as 4x, got 'many'"),
        (Target(batch=1.5), "target batch must be a whole number or a multiple as 4x, got 1.5"),
        (Target(steps=99), "target steps must be at least the 100 of the search, got 99; search "
         "with fewer --steps instead"),
        (Target(steps=200, epochs=2), "give target steps or target epochs, got 200 steps and 2 "
         "epochs"),
        (Target(epochs=2), "target epochs needs the samples of an epoch as well; give them, or "
         "target steps"),
        (Target(epochs=0, samples=5), "target epochs must be above 0, got 0"),
        (Target(width=1024), "target width must be a multiple of the searched one, as 4x, got "
         "1024"),
        (Target(width="0.5x"), "target width must be at least 1x, the searched one, got '0.5x'"),
        (Target(batch=64, noise_scale=0.0), "noise scale must be above 0, got 0"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_target_that_no_run_can_have_is_refused(target, sentence):
    with pytest.raises(SpecError) as error:
        route(target, TASK)
    assert str(error.value) == sentence


def test_a_target_of_a_task_without_a_batch_is_refused():
    with pytest.raises(SpecError, match=r"^target batch needs the batch of the search, which is"):
        route(Target(batch=64), {"steps": 100})


def test_epochs_are_steps_of_the_target_batch():
    assert route(Target(epochs=9, samples=1000, batch=64), TASK).steps == (100, 144)


def test_multiples_are_of_the_search():
    way = route(Target(batch="4x", steps="2.5x", width="2x"), TASK)
    assert (way.batch, way.steps, way.width) == ((32, 128), (100, 250), 2.0)


def test_a_smaller_batch_and_missing_steps_are_warned_of():
    tuned = restated(tuned_for_test(), Target(batch=8), ["batch"])
    assert tuned.hyper["lr"] == pytest.approx(2.5e-05 / 2)
    assert tuned.warnings[1:3] == (
        "the target's batch of 8 is smaller than the 32 of the search: the rules for lr were "
        "found for larger ones",
        "the target's steps are not given: taken to be the 60 of the search",
    )


def test_a_restated_record_lists_each_value_before_and_after_with_its_source():
    record = tuned_for_test()
    record = replace(record, warnings=(horizon(record.tuned_on, record.optimizer),))
    tuned = Tuned(record=record).at(batch="4x", steps=300, rules=["literature"])
    told = json.loads(tuned.export("json"))
    assert told["target"] == {"batch_size": 128, "steps": 300}
    assert [(c["name"], c["rule"]) for c in told["changes"]] == [
        ("lr", "batch"), ("warmup", "warmup-share"), ("weight_decay", "timescale")
    ]  # fmt: skip
    first = told["changes"][0]
    assert (first["old"], first["new"], first["new"]) == (2.5e-05, 5e-05, told["hyper"]["lr"])
    assert "Malladi" in first["source"]
    assert not any("re-tune" in text for text in told["warnings"])
    for form in ("yaml", "torch"):
        text = " ".join(tuned.export(form).replace("#", "").split())
        assert "restated for batch_size 128 (searched with 32), steps 300" in text
        assert "lr: 2.5e-05 -> 5e-05, rule batch (Granziol" in text


@pytest.mark.parametrize("form", ["wandb", "hydra-sweeper"])
def test_a_space_is_not_exported_for_a_target(form):
    tuned = restated(tuned_for_test(), Target(steps="5x"))
    with pytest.raises(SpecError, match="writes the space that was searched, which no rule"):
        export.render(tuned, form)


def test_nothing_asked_for_is_refused():
    with pytest.raises(SpecError, match=r"^a target needs a batch, steps, epochs or a width, got"):
        Tuned(record=tuned_for_test()).at()
    with pytest.raises(SpecError, match=r"^rule 'none' must stand alone, got none\+batch$"):
        Tuned(record=tuned_for_test()).at(steps="5x", rules=["none", "batch"])
    with pytest.raises(SpecError, match=r"^rules are names joined by \+, got 'batch\+'$"):
        Tuned(record=tuned_for_test()).at(steps="5x", rules=["batch+"])
    with pytest.raises(UnknownName, match=r"^unknown rule 'bath'; did you mean 'batch'"):
        Tuned(record=tuned_for_test()).at(steps="5x", rules=["bath"])


def test_a_setting_is_exported_for_a_target_from_the_command_line(tmp_path):
    url = f"sqlite:///{tmp_path}/a.db"
    sample.make(url, landscapes={"adamw": sample.OPTIMIZERS["adamw"]})
    base = ["export", "resnet-mini", "--as", "yaml", "--storage", url]
    plain = yaml.safe_load(CliRunner().invoke(main, base).output.split("# ")[-1].split("\n", 1)[1])
    target = ["--target-batch", "4x", "--target-steps", "5x"]
    done = CliRunner().invoke(main, [*base, *target, "--rule", "literature"])
    told = yaml.safe_load(
        "\n".join(
            line for line in done.output.splitlines() if not line.startswith(("#", "exporting"))
        )
    )
    assert told["hyper"]["lr"] == pytest.approx(2 * plain["hyper"]["lr"])
    kept = CliRunner().invoke(main, [*base, "--target-steps", "5x", "--rule", "none"])
    assert "restated for batch_size 64 (searched with 64), steps 1350" in kept.output
    assert "no rule restates lr and weight decay: as found" in kept.output
    alone = CliRunner().invoke(main, [*base, "--rule", "batch"])
    assert "a rule restates a setting for a target, which is not given, got batch" in alone.output
