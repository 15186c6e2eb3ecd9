"""Controllers in searches: how a spec names one, what trains with it, and what cannot."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from autotune import export
from autotune.cli import main
from autotune.errors import AlreadyThere, SpecError, UnknownName
from autotune.integrations.suggestion import from_config
from autotune.optimizers.controllers import options
from autotune.search.growth import growth
from autotune.search.opening import prepare
from autotune.space.config import written
from autotune.space.presets import presets_of, spaces_of
from autotune.space.spaces import idle
from autotune.studies.spec import differences, parse
from autotune.studies.store import Store
from autotune.tasks import chance
from autotune.tasks.resolve import resolve
from autotune.testing.exports import tuned_for_test
from autotune.testing.trials import setting_of
from autotune.training import checkpoint
from autotune.training.building import Builder
from autotune.training.job import Job, Outcome
from autotune.training.loading import build
from autotune.training.loop import train
from autotune.training.runner import perform
from autotune.training.steps import Segment

AGVM = {"controller": "agvm", "controller_interval": 2, "controller_keep": 0.5}


def spec(**changes):
    known = {"model": "mlp", "optimizers": ["adamw"], "budget": {"trials": 2}, "steps": 12}
    return parse({**known, "engine": "inline", **changes})


def hyper_of(**space):
    """Return the arguments of the setting that tuning is compared with."""
    found = spaces_of(spec(space=space))["adamw"]
    return presets_of("adamw", found)[0].setting.hyper


def test_a_setting_spells_out_every_argument_of_its_controller():
    said = {"controller_interval": 5, "controller_keep": 0.97}
    plain = hyper_of()
    assert "controller" not in plain
    assert hyper_of(controller="none") == plain
    assert hyper_of(controller="agvm") == {**plain, "controller": "agvm", **said}
    changed = hyper_of(controller="agvm", controller_start=30, controller_keep=0.9)
    assert changed == {**plain, **said, **AGVM, "controller_interval": 5} | {
        "controller_start": 30,
        "controller_keep": 0.9,
    }


def test_whether_there_is_one_may_be_searched_with_its_arguments():
    asked = {"controller": ["none", "lanton"], "controller_alpha": {"low": 0.1, "high": 10.0}}
    space = spaces_of(spec(space={"adamw": asked}))["adamw"]
    reference = presets_of("adamw", space)[0].setting
    assert (reference.params["controller"], reference.hyper["controller"]) == ("none", "none")
    on = space.setting({**reference.params, "controller": "lanton", "controller_alpha": 0.5})
    assert on.hyper["controller_alpha"] == 0.5
    assert idle("controller_alpha", reference.params)
    assert not idle("controller_alpha", on.params)


def test_a_stored_search_keeps_its_controller(tmp_path):
    plain, other = spec(), spec(space={"controller": "agvm"})
    assert differences(plain, parse(plain.model_dump(mode="json"))) == []
    assert differences(plain, other) == ["space.controller"]
    with Store(f"sqlite:///{tmp_path}/a.db") as store:
        data = {name: space.as_data() for name, space in spaces_of(plain).items()}
        stored = store.create_search("mlp", plain.model_dump(mode="json"), {}, data, {})
        with pytest.raises(AlreadyThere, match=r"has searched controller of adamw only at none, "):
            growth(stored, other, spaces_of(other))
        choice = spec(space={"controller": ["none", "agvm"]})
        gained = growth(stored, choice, spaces_of(choice))
    assert "controller is now searched among none, agvm" in gained.notices[0]


@pytest.mark.parametrize("name", ["agvm", "lanton"])
def test_a_trial_that_pauses_ends_where_one_without_a_pause_does(name, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "worth_keeping", lambda *_: True)
    hyper = {"lr": 0.01, **(AGVM if name == "agvm" else {"controller": name})}
    job = Job(
        trial=1,
        attempt=1,
        task={"model": "mlp", "steps": 12, "batch_size": 4},
        optimizer="adan",
        setting=setting_of(hyper=hyper),
        seed=3,
        start=0,
        stop=12,
        target=12,
        evaluate=(5, 12),
        checkpoint=str(tmp_path / "state"),
    )

    def points(*jobs):
        reports = [report for each in jobs for report in perform(each, lambda: False)]
        assert {report.outcome for report in reports} <= {Outcome.PROGRESS, Outcome.REACHED}
        return {p.step: (p.train_loss, p.loss) for r in reports for p in r.points}

    whole = points(job)
    assert points(replace(job, stop=5), replace(job, start=5)) == whole
    assert points(replace(job, setting=setting_of(hyper={"lr": 0.01}))) != whole


@pytest.mark.parametrize("ahead", [False, True])
def test_both_training_loops_control_rates_that_a_schedule_sets(ahead):
    run, optimizer = build(resolve("mlp", steps=12, batch_size=4), "adamw", {"lr": 0.01, **AGVM}, 1)
    segment = Segment(start=0, stop=12, target=12, warmup=0.2, evaluate=frozenset({12}), every=1)
    [*train(run, optimizer, segment, ahead=ahead)]
    multipliers = {group["multiplier"] for group in optimizer.param_groups}
    assert len(multipliers) > 1
    assert 1.0 in multipliers
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_a_search_from_the_command_line_trains_with_it(tmp_path):
    url = f"sqlite:///{tmp_path}/a.db"
    words = "search --model mlp --steps 12 --batch-size 4 --optimizer adamw --trials 2 --seeds 2 "
    words += f"--engine inline --controller agvm --storage {url} --json"
    found = CliRunner().invoke(main, words.split())
    assert found.exit_code == 0, found.output
    with Store(url) as store:
        trials = store.trials(store.search("mlp").studies[0].id)
    assert {trial.setting.hyper["controller"] for trial in trials} == {"agvm"}
    assert {trial.setting.hyper["controller_interval"] for trial in trials} == {5}


def test_a_loop_of_ones_own_is_controlled_and_kept_too():
    def went_on(builder, steps):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))
        optimizer, rates = builder(model)
        for k in steps:
            model.zero_grad()
            draw = torch.Generator().manual_seed(k)
            (model(torch.randn(8, 4, generator=draw)) - 1.0).square().mean().backward()
            optimizer.step(), rates.step()
        return [checkpoint.own(each.state_dict()) for each in (model, optimizer, rates)]

    given = "adan", {"lr": 0.01, **AGVM}, 0.2, 8
    whole, half = went_on(Builder(*given), range(8)), went_on(Builder(*given), range(3))
    stored = {"built": [half], "chance": chance.taken()}
    again = went_on(Builder(*given, stored), range(3, 8))
    assert str(again) == str(whole)
    assert len({group["multiplier"] for group in again[1]["param_groups"]}) == 2


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"space": {"controller": "agvn"}}, UnknownName, r"unknown controller 'agvn'; did you"),
        ({"space": {"controller_keep": 0.9}}, SpecError, r"space.controller_keep is for a contr"),
        (
            {"space": {"controller": "agvm", "controller_alpha": 1.0}},
            UnknownName,
            r"unknown parameter of controller 'agvm' 'controller_alpha'",
        ),
        (
            {"space": {"controller": ["agvm", "lanton"]}},
            SpecError,
            r"space.controller may choose between none and one controller, got agvm and lanton; ",
        ),
        (
            {"space": {"controller": "agvm", "controller_keep": 1.5}},
            SpecError,
            r"controller 'agvm' cannot be had with adamw: keep must be in \[0, 1\), got 1.5",
        ),
        (
            {"space": {"controller": ["none", "lanton"], "controller_alpha": [1.0, -2.0]}},
            SpecError,
            r"controller 'lanton' cannot be had with adamw: alpha must be above 0 and finite, got",
        ),
        (
            {"optimizers": ["adamw", "adamw-sf"], "space": {"controller": "agvm"}},
            SpecError,
            r"controller 'agvm' cannot be had with adamw-sf: AGVM changes rates",
        ),
        (
            {"optimizers": ["torch.optim.RMSprop"], "space": {"controller": "agvm"}},
            SpecError,
            r"controller 'agvm' cannot be had with torch.optim.RMSprop: AGVM writes multi",
        ),
        (
            {"engine": "batched", "space": {"controller": "agvm"}},
            SpecError,
            r"controller 'agvm' cannot be had with adamw: engine 'batched' steps many replicas",
        ),
        (
            {"model": "command", "command": ["python", "t.py", "{args}"]}
            | {"space": {"controller": "agvm"}},
            SpecError,
            r"controller 'agvm' cannot be had with adamw: a command builds its optimizer itself",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_stored(changes, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        prepare(spec(**changes))


def test_a_controller_goes_with_options_of_gradients():
    space = {"controller": "agvm"}
    found = prepare(spec(optimizers=["adamw-mars"], space=space)).spaces["adamw-mars"]
    hyper = presets_of("adamw-mars", found)[0].setting.hyper
    assert (hyper["controller"], hyper["gradient_filter"]) == ("agvm", "mars")


def controlled(**changes):
    tuned = tuned_for_test()
    space = {**tuned.space, **{name: ["fixed", value] for name, value in AGVM.items()}}
    return replace(tuned, hyper={**tuned.hyper, **AGVM}, space=space, **changes)


# Those that build the optimizer with the model, or leave that to our ``suggest``.
WITH_THE_MODEL = ("torch", "json", "yaml", "huggingface", "hydra")
SPACES = ("optuna", "ray", "wandb", "hydra-sweeper")


@pytest.mark.parametrize("form", export.formats())
def test_an_export_has_the_controller_or_refuses_it(form):
    if form in (*WITH_THE_MODEL, *SPACES):
        assert "agvm" in export.render(controlled(), form)
        return
    with pytest.raises(SpecError, match=r"was tuned with controller 'agvm', which needs the mo"):
        export.render(controlled(target={"steps": 40, "steps_per_epoch": 10}), form)


@pytest.mark.parametrize(("word", "told"), [("lanton", True), ("none", False)])
def test_a_configuration_of_another_tuner_keeps_its_controller(word, told):
    asked = {"controller": ["none", "lanton"], "controller_alpha": {"low": 0.1, "high": 10.0}}
    space = spaces_of(spec(space=asked))["adamw"]
    params = presets_of("adamw", space)[0].setting.params
    chosen = {**params, "controller": word, "controller_alpha": 0.5}
    hyper = from_config(written("adamw", 12, space, chosen)).hyper
    own = {"controller": "lanton", "controller_alpha": 0.5}
    assert {key: hyper.get(key) for key in own} == (own if told else dict.fromkeys(own))


def test_the_exported_file_builds_the_controlled_optimizer():
    torch.manual_seed(0)
    names = {"__name__": "exported"}
    exec(compile(export.render(controlled(), "torch"), "exported.py", "exec"), names)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))
    optimizer = names["build"](model)
    names["schedule"](optimizer, 20)
    for _ in range(6):
        model.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
    assert any(group["multiplier"] != 1.0 for group in optimizer.param_groups)


def test_controllers_are_listed_with_a_line_each():
    found = CliRunner().invoke(main, ["list", "controllers", "--json"])
    lines = {each["name"]: each["summary"] for each in json.loads(found.output)["controllers"]}
    assert [*lines] == ["agvm", "lanton"]
    assert all("; for " in line for line in lines.values())
    assert options("agvm") == {"interval": 5, "keep": 0.97, "start": None}
