"""Other packages' optimizers in a search: like ours, from the spec to the export."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

import autotune
from autotune.arguments import words
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.optimizers import build, foreign
from autotune.search.opening import prepare
from autotune.space.config import space_of
from autotune.space.presets import presets_of, spaces_of
from autotune.studies.spec import parse
from autotune.testing.exports import tuned_for_test
from autotune.testing.trials import setting_of
from autotune.training import foreign as training
from autotune.training.job import Job
from autotune.training.loading import forget
from autotune.training.runner import perform

RMSPROP, ADAM, AVERAGING = "torch.optim.RMSprop", "torch.optim.Adam", "strangers.Averaging"


class Averaging(torch.optim.SGD):
    """Keeps an average, which is in the parameters between ``eval`` and ``train``."""

    told: list[str] = []  # noqa: RUF012  what was called, of every one

    def __init__(self, params, lr=0.05, weight_decay: float = 0):
        super().__init__(params, lr, weight_decay=weight_decay)
        for group in self.param_groups:
            group["train_mode"] = False

    def train(self):
        self._change("train", True)

    def eval(self):
        self._change("eval", False)

    def _change(self, word, mode):
        Averaging.told.append(word)
        for group in self.param_groups:
            if group["train_mode"] is not mode:
                for p in group["params"]:
                    if "average" in self.state[p]:
                        p.data, self.state[p]["average"] = self.state[p]["average"], p.data
            group["train_mode"] = mode

    def step(self, closure=None):
        if not all(group["train_mode"] for group in self.param_groups):
            raise RuntimeError("call train() first")
        super().step(closure)
        Averaging.told.append("step")
        for p in (p for group in self.param_groups for p in group["params"]):
            average = self.state[p].setdefault("average", p.detach().clone())
            average.lerp_(p.detach(), 0.1)


class Counting(torch.optim.SGD):
    """Keeps what its state_dict does not hold."""

    def __init__(self, params, lr=0.05):
        super().__init__(params, lr)
        self.taken = 0

    def step(self, closure=None):
        self.taken += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(1 / self.taken)
        super().step(closure)


class Closing(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("needs a closure")


class Leaving(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        raise SystemExit(3)


class Hollow(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        """Forget to call the constructor of torch."""

    def step(self, closure=None):
        """Take no step."""


class Namesake(torch.optim.SGD):
    """Takes arguments of names that options and controllers of ours have."""

    def __init__(self, params, lr=0.1, grokfast_alpha=2, controller_start=3):
        super().__init__(params, lr=lr)
        self.told = (grokfast_alpha, controller_start)


@pytest.fixture(autouse=True)
def strangers(monkeypatch, tmp_path):
    module = ModuleType("strangers")
    module.Averaging, module.Closing, module.Counting = Averaging, Closing, Counting
    module.Namesake, module.Leaving, module.Hollow = Namesake, Leaving, Hollow
    monkeypatch.setitem(sys.modules, "strangers", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    Averaging.told.clear()
    yield
    foreign.find.cache_clear()
    foreign._defaults.cache_clear()
    training.resumes.cache_clear()


def line(seed, bias=True):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(96, 4, generator=draw)
    y = x.sum(1, keepdim=True)
    torch.manual_seed(seed)
    return autotune.Problem(
        model=nn.Linear(4, 1, bias=bias),
        train=list(zip(x[:64].split(8), y[:64].split(8), strict=True)),
        validation=[(x[64:], y[64:])],
        loss=lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1]),
    )


def matrix(seed):
    return line(seed, bias=False)


def test_names_of_our_options_mean_what_its_class_means_by_them():
    name = "strangers.Namesake"
    space = space_of(name, {"grokfast_alpha": 5})
    hyper = presets_of(name, space)[0].setting.hyper
    assert build(name, nn.Linear(2, 1), hyper).told == (5, 3)


def test_it_is_searched_judged_and_exported_beside_ours(tmp_path):
    names = [RMSPROP, "adamw"]
    own = {RMSPROP: {"foreach": False, "alpha": {"low": 0.8, "high": 0.99}}}
    given = {"trials": 3, "steps": 9, "progress": "off", "space": own}
    result = autotune.tune(line, optimizers=names, **given)
    assert {row.optimizer for row in result.comparison.rows} == set(names)
    tuned = result.tuned(RMSPROP)
    assert tuned.hyper["foreach"] is False
    assert 0.8 <= tuned.hyper["alpha"] <= 0.99
    assert type(tuned.build(nn.Linear(2, 1))) is torch.optim.RMSprop
    assert json.loads(tuned.export("json"))["conventions"]["weight_decay"] == (
        "as torch.optim.RMSprop applies its weight_decay"
    )
    module: dict[str, object] = {}
    exec(tuned.export("torch"), module)
    built = module["build"](nn.Linear(2, 1))
    assert type(built) is torch.optim.RMSprop
    assert [group["lr"] for group in built.param_groups] == [tuned.hyper["lr"]] * 2
    again = autotune.tune(line, optimizers=names, **given)
    assert again.comparison.rows == result.comparison.rows


def test_a_space_is_declared_by_dots_or_by_the_whole_name():
    nested = {"torch": {"optim": {"RMSprop": {"lr": 0.1}}}, RMSPROP: {"lr": 1, "eps": 1e-6}}
    spec = parse({"model": "mlp", "optimizers": [RMSPROP, ADAM], "space": nested})
    assert spec.space == {RMSPROP: {"lr": 0.1, "eps": 1e-6}}
    assert parse(spec.model_dump(mode="json")) == spec
    both = parse(
        {
            "model": "mlp",
            "optimizers": [RMSPROP, ADAM],
            "space": {"torch": {"optim": {"RMSprop": {"lr": 0.1}, "Adam": {"lr": 0.2}}}},
        }
    )
    assert both.space == {RMSPROP: {"lr": 0.1}, ADAM: {"lr": 0.2}}
    with pytest.raises(SpecError, match=r"^space\.torch: 'torch' is not an optimizer of this"):
        parse({"model": "mlp", "optimizers": ADAM, "space": nested})


def test_what_counts_stays_whole_where_a_range_is_searched():
    change = {"ns_steps": {"low": 2, "high": 7}, "adjust_lr_fn": ["original", "match_rms_adamw"]}
    space = space_of("torch.optim.Muon", change)
    middle = space.setting(space.at([0.4] * len(space)))
    assert middle.hyper["ns_steps"] == round(middle.hyper["ns_steps"])
    assert type(middle.hyper["ns_steps"]) is int
    assert middle.hyper["adjust_lr_fn"] == "original"
    assert "adjust_lr_fn" not in space_of("torch.optim.Muon").setting({}).hyper


def test_a_shared_range_reaches_those_that_have_the_parameter():
    shared = {"weight_decay": 0.1, "lr": {"high": 1e-2}}
    spec = parse({"model": "mlp", "optimizers": ["adamw", "torch.optim.Rprop"], "space": shared})
    ours, theirs = spaces_of(spec).values()
    assert ours.setting({"lr": 1e-3}).hyper["weight_decay"] == 0.1
    assert "weight_decay" not in theirs.setting({"lr": 1e-3}).hyper


def refused(sentence, kind=SpecError, model=line, **given):
    with pytest.raises(kind) as caught:
        autotune.tune(model, trials=2, steps=9, progress="off", storage="none.db", **given)
    assert str(caught.value) == sentence


def test_what_cannot_be_searched_is_refused_before_anything_is_stored(tmp_path):
    refused(
        "optimizer 'nosuchpackage.Adam' needs the package 'nosuchpackage', which is not "
        "installed; install it here and wherever trials run, or correct the name",
        MissingExtra,
        optimizers=["nosuchpackage.Adam"],
    )
    refused(
        "torch.optim.Muon refuses this model: Muon only supports 2D parameters whereas we found "
        "a parameter with size: torch.Size([1])",
        optimizers=["torch.optim.Muon"],
    )
    refused(
        "torch.optim.SparseAdam cannot take a step: SparseAdam does not support dense gradients, "
        "please consider Adam instead",
        optimizers=["torch.optim.SparseAdam"],
    )
    refused(
        "strangers.Closing cannot take a step: needs a closure", optimizers=["strangers.Closing"]
    )
    refused(
        "strangers.Leaving refuses its setting: SystemExit: 3", optimizers=["strangers.Leaving"]
    )
    refused(
        "strangers.Hollow keeps no param_groups; call super().__init__(params, defaults) in its "
        "__init__",
        optimizers=["strangers.Hollow"],
    )
    refused(
        "unknown optimizer 'mine/here.py:Mine'; a class of a file is named as 'mine.here.Mine'",
        UnknownName,
        optimizers=["mine/here.py:Mine"],
    )
    refused(
        "torch.optim.Adam refuses its setting: foreach must be True or False, got 'maybe'",
        optimizers=[ADAM],
        space={ADAM: {"foreach": "maybe"}},
    )
    refused(
        "torch.optim.Adagrad refuses space.torch.optim.Adagrad.lr_decay at -1.0: "
        "Invalid lr_decay value: -1.0",
        optimizers=["torch.optim.Adagrad"],
        space={"torch.optim.Adagrad": {"lr_decay": {"low": -1, "high": 1}}},
    )
    with pytest.raises(UnknownName, match=r"^unknown parameter 'alfa'; did you mean 'alpha'\? "):
        autotune.tune(line, optimizers=[RMSPROP], trials=2, space={RMSPROP: {"alfa": 0.9}})
    assert not list(tmp_path.iterdir())


def test_an_engine_of_replicas_refuses_it():
    spec = parse({"model": "mlp", "optimizers": [ADAM], "engine": "batched", "steps": 9})
    with pytest.raises(SpecError) as caught:
        prepare(spec)
    assert str(caught.value) == (
        "engine 'batched' steps many replicas by a rule of this package alone, got "
        "torch.optim.Adam, whose own step does more; run it on the engine 'processes'"
    )


def test_one_that_takes_matrices_alone_is_searched_on_a_model_of_matrices():
    result = autotune.tune(
        matrix, optimizers=["torch.optim.Muon"], trials=2, steps=9, progress="off"
    )
    assert result.complete


def test_a_loop_of_ones_own_asks_for_it():
    with autotune.Tuner([AVERAGING], steps=9, trials=2, name="own", progress="off") as tuner:
        for trial in tuner:
            model = nn.Linear(2, 1)
            optimizer = trial.build(model)
            assert type(optimizer) is Averaging
            assert optimizer.param_groups[0]["train_mode"]
            for step in trial.evaluate:
                trial.report(step, trial.hyper["lr"])
    assert tuner.result.complete


def job(tmp_path, **changes):
    forget()
    file = tmp_path / "mine.py"
    file.write_text("from strangers import line as problem")
    sys.modules["strangers"].line = line
    what = {"model": f"{file}:problem", "data": None, "steps": 27, "batch_size": None}
    made = Job(
        trial=1,
        attempt=1,
        task=what,
        optimizer=AVERAGING,
        setting=setting_of(hyper={"lr": 0.05, "weight_decay": 0.01}),
        seed=3,
        start=0,
        stop=27,
        target=27,
        evaluate=(3, 9, 27),
        checkpoint=str(tmp_path / "trials" / "1-0.pt"),
    )
    return replace(made, **changes)


def losses(one):
    points = [point for report in perform(one, lambda: False) for point in report.points]
    return {point.step: point.loss for point in points if point.loss is not None}


def test_measurements_are_of_the_average_and_steps_are_not(tmp_path):
    losses(job(tmp_path, checkpoint=None, stop=9))
    changes = [word for word in Averaging.told if word != "step"]
    assert changes[-4:] == ["eval", "train"] * 2
    ninth = len(Averaging.told) - 2
    assert Averaging.told[ninth - 6 : ninth] == ["step"] * 6
    assert Averaging.told[ninth:] == ["eval", "train"]


def test_a_paused_trial_goes_on_to_the_undisturbed_losses(tmp_path, monkeypatch):
    monkeypatch.setattr("autotune.training.checkpoint.worth_keeping", lambda *_: True)
    whole = losses(job(tmp_path, checkpoint=None))
    first, rest = losses(job(tmp_path, stop=9)), losses(job(tmp_path, start=9))
    assert list(rest) == [27]
    assert first | rest == whole


def test_its_average_takes_the_place_of_a_schedule():
    result = autotune.tune(line, optimizers=[AVERAGING], trials=2, steps=9, progress="off")
    tuned = result.tuned(AVERAGING)
    assert tuned.record.schedule.type == "constant"
    assert tuned.warmup == 0.05
    optimizer = tuned.build(nn.Linear(2, 1))
    rates = tuned.schedule(optimizer, 40)
    optimizer.step()
    for _ in range(30):
        rates.step()
    assert optimizer.param_groups[0]["lr"] == tuned.hyper["lr"]


def test_a_result_is_read_where_its_package_is_missing(monkeypatch):
    autotune.tune(line, optimizers=[AVERAGING], trials=2, steps=9, progress="off", name="kept")
    foreign.find.cache_clear()
    foreign._defaults.cache_clear()
    monkeypatch.delitem(sys.modules, "strangers")
    result = autotune.load("kept")
    assert AVERAGING in str(result)
    exported = json.loads(result.tuned(AVERAGING).export("json"))
    assert exported["schedule"]["type"] == "constant"
    with pytest.raises(MissingExtra, match=r"^optimizer 'strangers\.Averaging' needs the package "):
        result.tuned(AVERAGING).export("wandb")


def test_one_whose_state_is_not_whole_repeats_its_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("autotune.training.checkpoint.worth_keeping", lambda *_: True)
    counting = {"optimizer": "strangers.Counting", "setting": setting_of(hyper={"lr": 0.05})}
    whole = losses(job(tmp_path, checkpoint=None, **counting))
    [*_, first] = perform(job(tmp_path, stop=9, **counting), lambda: False)
    assert not first.saved
    assert first.reason == (
        "its checkpoint was not saved: strangers.Counting keeps more than its state_dict() holds, "
        "so steps are repeated"
    )
    assert losses(job(tmp_path, start=9, **counting))[27] == whole[27]
    for name in (RMSPROP, ADAM, AVERAGING, "torch.optim.Muon", "torch.optim.Adafactor"):
        assert training.resumes(name), name


def test_a_class_is_named_once():
    refused(
        "torch.optim.RMSprop and torch.optim.rmsprop.RMSprop are one optimizer; name it once",
        optimizers=[RMSPROP, "torch.optim.rmsprop.RMSprop"],
    )


def test_arguments_of_a_command_say_its_dotted_name():
    hyper = {"lr": 0.1, "weight_decay": 0.0}
    assert words("kohya", RMSPROP, hyper, 0.1, 9)[:2] == ["--optimizer_type", RMSPROP]
    assert words("hydra", RMSPROP, hyper, 0.1, 9)[0] == f"++optimizer._target_={RMSPROP}"
    with pytest.raises(SpecError, match=r"^timm has no words for torch\.optim\.RMSprop; search "):
        words("timm", RMSPROP, hyper, 0.1, 9)


def test_its_package_is_named_where_a_setting_comes_from():
    record = tuned_for_test()
    come = replace(
        record.provenance, environment={"packages": {"torch": "2.13.0", "some-strangers": "4.2"}}
    )
    theirs = replace(record, optimizer="some_strangers.Averaging", provenance=come)
    from autotune.export.header import lines

    assert lines(theirs)[1].endswith("torch 2.13.0, some-strangers 4.2")


def deep(seed):
    made = line(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    return replace(made, model=model)


def test_muon_is_searched_on_a_model_with_hidden_matrices_alone(tmp_path):
    own = {"muon": {"aux": "adan", "ns_steps": {"low": 3, "high": 6}}}
    given = {"trials": 3, "steps": 9, "progress": "off"}
    result = autotune.tune(deep, optimizers=["muon"], space=own, **given)
    tuned = result.tuned("muon")
    assert tuned.hyper["aux"] == "adan"
    assert type(tuned.hyper["ns_steps"]) is int
    module: dict[str, object] = {}
    exec(tuned.export("torch"), module)
    groups = module["build"](deep(0).model).param_groups
    rates = [(group["matrices"], group["lr"]) for group in groups]
    hidden, others = (True, tuned.hyper["lr"]), (False, tuned.hyper["aux_lr"])
    assert rates == [hidden, others, others]
    refused(
        "muon refuses this model: muon steps hidden matrices, got parameters without any; use "
        "'adamw', or another optimizer that steps what is left",
        optimizers=["muon"],
    )
