"""Every registered export, against its contract and against its real reader."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import optuna
import pytest
import yaml
from torch import nn

from autotune import export
from autotune.errors import SpecError, UnknownName
from autotune.testing.exports import (
    HOSTILE,
    ExportContract,
    SpaceExportContract,
    hostile,
    tuned_for_test,
)
from autotune.training.lr_schedule import multiplier

TRAIN = """
import torch
from torch import nn
import exported

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
inputs = torch.randn(64, 4)
targets = inputs.sum(1, keepdim=True)
optimizer = exported.build(model)
scheduler = exported.schedule(optimizer, 50)
losses = []
for _ in range(50):
    loss = nn.functional.mse_loss(model(inputs), targets)
    losses.append(loss.item())
    loss.backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
"""


def module(text):
    """Execute an exported file."""
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


def from_record(record):
    return record["optimizer"], record["hyper"], record["schedule"]["warmup_fraction"]


def from_module(text):
    names = module(text)
    return names["OPTIMIZER"], names["HYPER"], names["WARMUP"]


def constants(text):
    """Return what a Python file assigns, where that is literal; nothing is imported."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            with contextlib.suppress(ValueError):
                found[target.id] = ast.literal_eval(node.value)
    return found


def from_trainer(text):
    told = constants(text)
    assert told["ARGUMENTS"]["max_steps"] == RUN
    return told["OPTIMIZER"], told["HYPER"], told["WARMUP"]


def ours(path, told, warmup):
    """Return a setting of a class of ours: its name says what its acceleration does."""
    told = dict(told)
    name = {"Adan": "adan", "AdamW": "adamw"}[path.removeprefix("autotune.optimizers.")]
    name += {"win2": "-win2", "none": ""}[told.pop("acceleration", "none")]
    return name, {key: told[key] for key in (*WRITTEN, *OTHER) if key in told}, warmup


def from_words(text):
    """Return the options of the array that a shell would source, each with its values."""
    body = text[text.index("AUTOTUNE=(") :].removeprefix("AUTOTUNE=(\n").removesuffix(")\n")
    found = {}
    for word in shlex.split(body):
        if word.startswith("--"):
            values = found.setdefault(word, [])
        else:
            values.append(word)
    return found


def valued(word):
    return word if isinstance(word, str) and word[:1].isalpha() else ast.literal_eval(word)


def from_kohya(text):
    told = from_words(text)
    hyper = {"lr": float(told["--learning_rate"][0])}
    for word in told["--optimizer_args"]:
        key, value = word.split("=")
        hyper[key] = valued(value)
    schedule = dict(word.split("=") for word in told["--lr_scheduler_args"])
    assert (told["--max_grad_norm"], schedule["steps"]) == (["0"], str(RUN))
    return ours(told["--optimizer_type"][0], hyper, float(schedule["warmup"]))


def from_hydra(text):
    told = yaml.safe_load(text)
    made, schedule = told["optimizer"], told["schedule"]
    assert made["_convert_"] == schedule["_convert_"] == "all"
    assert schedule["steps"] == RUN
    _, hyper, warmup = ours("Adan", made["hyper"], schedule["warmup"])
    return made["name"], hyper, warmup


def from_lightning(text):
    told = yaml.safe_load(text)
    assert told["trainer"] == {"max_steps": RUN, "gradient_clip_val": None}
    made, schedule = told["optimizer"], told["lr_scheduler"]["init_args"]
    return ours(made["class_path"], made["init_args"], schedule["warmup"])


def from_mmengine(text):
    told = constants(text)
    made = told["optim_wrapper"]["optimizer"]
    warm, falling = told["param_scheduler"]
    assert falling["end"] == told["train_cfg"]["max_iters"] == RUN
    assert warm["end"] - 1 == falling["begin"]
    return ours(made.pop("type"), made, falling["begin"] / RUN)


def from_deepspeed(text):
    told = json.loads(text)["autotune"]
    return told["optimizer"], told["hyper"], told["warmup"]


def adan(lr, betas, eps, weight_decay, proximal, norm, warmup):
    hyper = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    hyper |= {"decay": "proximal" if proximal else "decoupled", "max_grad_norm": norm}
    return "adan", hyper, warmup


def from_timm(text):
    told = yaml.safe_load(text)
    proximal = {"adan": True, "adanw": False}[told["opt"]]
    numbers = [told[key] for key in ("lr", "opt_betas", "opt_eps", "weight_decay")]
    return adan(*numbers, proximal, told.get("clip_grad", 0.0), told["warmup_epochs"] * 12 / RUN)


def from_openclip(text):
    told = from_words(text)
    kwargs = dict(word.split("=") for word in told["--opt-kwargs"])
    lr, eps, decay = (float(told[key][0]) for key in ("--lr", "--eps", "--wd"))
    betas, warmup = ast.literal_eval(kwargs["betas"]), int(told["--warmup"][0]) / RUN
    assert int(told["--epochs"][0]) * 12 == RUN
    return adan(lr, betas, eps, decay, kwargs["no_prox"] == "False", 0.0, warmup)


def from_optax(text):
    told = constants(text)
    hyper = told["HYPER"]
    betas = [hyper[key] for key in ("b1", "b2", "b3")]
    assert told["STEPS"] == RUN
    numbers = told["LR"], betas, hyper["eps"], told["WEIGHT_DECAY"]
    return adan(*numbers, told["PROXIMAL"], told["CLIP"], told["RISING"] / RUN)


def from_nanogpt(text):
    told = constants(text)
    hyper = {"lr": told["learning_rate"], "betas": (told["beta1"], told["beta2"])}
    hyper |= {"eps": 1e-08, "weight_decay": told["weight_decay"]}
    hyper["max_grad_norm"] = told["grad_clip"]
    assert told["lr_decay_iters"] == told["max_iters"] + 1 == RUN
    return "adamw", hyper, told["warmup_iters"] / RUN


def from_torchtitan(text):
    told = constants(text)
    hyper = {key: told["HYPER"][key] for key in ("lr", "betas", "eps", "weight_decay")}
    hyper["max_grad_norm"] = 0.0 if told["TRAINING"]["max_norm"] == 1e30 else None
    assert told["TRAINING"]["steps"] == RUN
    return "adamw", hyper, told["SCHEDULE"]["warmup_steps"] / RUN


RUN = 60  # steps of the records here
WRITTEN = ("lr", "betas", "eps", "weight_decay")
OTHER = ("decay", "reckless_steps", "max_grad_norm")
READERS = {
    "deepspeed": from_deepspeed,
    "huggingface": from_trainer,
    "hydra": from_hydra,
    "json": lambda text: from_record(json.loads(text)),
    "kohya": from_kohya,
    "lightning": from_lightning,
    "mmengine": from_mmengine,
    "nanogpt": from_nanogpt,
    "openclip": from_openclip,
    "optax": from_optax,
    "timm": from_timm,
    "torch": from_module,
    "torchtitan": from_torchtitan,
    "yaml": lambda text: from_record(yaml.safe_load(text)),
}
# What these cannot say otherwise: Win, or another optimizer than AdamW.
ADAN, ADAMW = ("openclip", "optax", "timm"), ("nanogpt", "torchtitan")


def sayable(form):
    """Return the record that a form is rendered from."""
    good = tuned_for_test()
    hyper = {key: value for key, value in good.hyper.items() if key != "reckless_steps"}
    if form in ADAN:
        target = {"steps": RUN, "steps_per_epoch": 12}
        return replace(good, optimizer="adan", hyper=hyper, target=target)
    if form in ADAMW:
        hyper = {**hyper, "betas": hyper["betas"][:2]}
        del hyper["decay"]
        return replace(good, optimizer="adamw", hyper=hyper)
    return good


def from_sweep(text):
    """Read a sweep of W&B by the keys that its manual names."""
    told = yaml.safe_load(text)["parameters"]
    constants = {name: each["value"] for name, each in told.items() if "value" in each}
    return constants, {name: drawn(each) for name, each in told.items() if "value" not in each}


def drawn(parameter):
    if "values" in parameter:
        return ["choice", parameter["values"]]
    scale = {"log_uniform_values": "log", "uniform": "linear"}[parameter["distribution"]]
    return [scale, parameter["min"], parameter["max"]]


def from_sweeper(text):
    """Read a config of Hydra; tests/integrations reads it with Hydra's own parser."""
    config = yaml.safe_load(text)
    told = config["hydra"]["sweeper"]["params"]
    return config["setting"], {name.removeprefix("setting."): swept(v) for name, v in told.items()}


def swept(text):
    name, inside = re.fullmatch(r"(?:tag\(log, )?(\w+)\((.*?)\)+", text).groups()
    values = inside.split(", ")
    if name == "choice":
        return ["choice", values]
    return ["log" if text.startswith("tag(log") else "linear", *map(float, values)]


def from_optuna(text):
    """Let Optuna itself draw, and return from where it did."""
    names = module(text)
    trial = optuna.create_study().ask()
    with contextlib.suppress(SpecError):  # the record's space is a part of one
        names["suggest"](trial)
    return names["CONSTANTS"], {name: of_optuna(d) for name, d in trial.distributions.items()}


def of_optuna(drawn):
    if isinstance(drawn, optuna.distributions.CategoricalDistribution):
        return ["choice", list(drawn.choices)]
    return ["log" if drawn.log else "linear", drawn.low, drawn.high]


def from_ray(text):
    sample = pytest.importorskip("ray.tune.search.sample", reason="Ray is not installed")
    told = module(text)["PARAM_SPACE"]
    drawn = {name: each for name, each in told.items() if isinstance(each, sample.Domain)}
    constants = {name: each for name, each in told.items() if name not in drawn}
    return constants, {name: of_ray(each, sample) for name, each in drawn.items()}


def of_ray(domain, sample):
    if isinstance(domain, sample.Categorical):
        return ["choice", list(domain.categories)]
    log = isinstance(domain.get_sampler(), sample.LogUniform)
    return ["log" if log else "linear", domain.lower, domain.upper]


SPACE_READERS = {
    "hydra-sweeper": from_sweeper,
    "optuna": from_optuna,
    "ray": from_ray,
    "wandb": from_sweep,
}
CHECKS = [name for name in dir(SpaceExportContract) if name.startswith("test")]


@pytest.fixture(params=export.formats())
def contract(request):
    space = SPACE_READERS.get(request.param)
    suite = SpaceExportContract() if space else ExportContract()
    suite.format = request.param
    suite.record = lambda: sayable(request.param)
    suite.read_space, suite.read = space, READERS.get(request.param)
    return suite


@pytest.mark.parametrize("check", CHECKS)
def test_every_export_keeps_the_contract(contract, check):
    getattr(contract, check, lambda: None)()


def test_an_unknown_format_suggests_the_nearest():
    sentence = (
        r"^unknown export 'yml'; did you mean 'yaml'\? "
        r"\(known: deepspeed, huggingface, hydra, hydra-sweeper, json, kohya, lightning, mmengine, "
        r"nanogpt, openclip, optax, optuna, ray, timm, torch, torchtitan, wandb, yaml\)$"
    )
    with pytest.raises(UnknownName, match=sentence):
        export.render(tuned_for_test(), "yml")


def test_a_number_that_is_not_finite_is_refused():
    good = tuned_for_test()
    with pytest.raises(SpecError, match=r"^lr must be finite to be exported, got nan$"):
        replace(good, hyper={**good.hyper, "lr": float("nan")})
    with pytest.raises(SpecError, match=r"^betas must be finite to be exported, got inf$"):
        replace(good, hyper={**good.hyper, "betas": (0.9, float("inf"))})


def test_json_is_the_whole_record():
    record = json.loads(export.render(tuned_for_test(), "json"))
    assert record["schema_version"] == 1
    assert record["schedule"] == {
        "type": "cosine",
        "warmup_fraction": 0.1,
        "final_lr_fraction": 0.0,
    }
    assert record["evidence"]["loss"] == {"mean": 1.25, "low": 1.2, "high": 1.3, "n": 3}
    assert record["provenance"]["trial"] == 17


def test_yaml_holds_what_json_holds():
    record = tuned_for_test()
    written = yaml.safe_load(export.render(record, "yaml"))
    assert written == json.loads(export.render(record, "json"))


def test_yaml_writes_small_numbers_so_that_they_are_read_as_numbers():
    text = export.render(tuned_for_test(), "yaml")
    assert "eps: 1.0e-08\n" in text
    assert "betas: [0.9812345678901234, 0.92, 0.99]\n" in text


@pytest.mark.parametrize("format", sorted({*export.formats()} - {"deepspeed", "json"}))
def test_a_file_opens_with_where_the_setting_comes_from(format):
    head = export.render(sayable(format), format)[:2500].replace("# ", "")
    head = re.sub(r"\n\s*", " ", head)
    for fact in (
        "search mini of 2026-11-21T20:00:00+00:00: trial 17 (sobol), adan-autotune 0.1.0, torch",
        "validation loss: 1.2500 (1.2000 to 1.3000, 3 seeds); its default: 1.5000 (1.4000",
        "tuned adan-win2 beats its default by 0.2500",
        "betas: fraction kept, close to one",
        "warning: tuned over 60 steps at batch size 32: re-tune or re-check lr",
    ):
        assert fact in head


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_the_torch_file_defines_nothing_a_person_wrote(text):
    expected = set(module(export.render(tuned_for_test(), "torch")))
    assert set(module(export.render(hostile(text), "torch"))) == expected


@pytest.mark.parametrize("text", ["", *HOSTILE], ids=range(len(HOSTILE) + 1))
def test_the_torch_file_is_formatted(tmp_path, text):
    path = tmp_path / "tuned.py"
    path.write_text(export.render(hostile(text), "torch"), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", path.name]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_torch_file_satisfies_the_linter(tmp_path):
    path = tmp_path / "tuned.py"
    path.write_text(export.render(tuned_for_test(), "torch"), encoding="utf-8")
    rules = ["--isolated", "--select=E,F,W,I,B,UP,ANN,RUF"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, path.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("warmup", [0.0, 0.013, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 60, 1000])
def test_the_torch_schedule_is_the_one_of_the_search(warmup, steps):
    record = tuned_for_test()
    record = replace(record, schedule=replace(record.schedule, warmup_fraction=warmup))
    exported = module(export.render(record, "torch"))["multiplier"]
    for step in range(steps + 1):
        assert exported(step, steps) == multiplier(step, steps, warmup)


def test_the_torch_schedule_stays_at_zero_when_training_goes_on():
    exported = module(export.render(tuned_for_test(), "torch"))["multiplier"]
    assert exported(75, 60) == 0.0


def test_the_torch_file_trains(tmp_path, monkeypatch):
    write_fast(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "exported", raising=False)
    names = {}
    exec(TRAIN, names)
    monkeypatch.delitem(sys.modules, "exported")
    assert names["losses"][-1] < 0.5 * names["losses"][0]


def test_the_torch_file_trains_in_a_process_of_its_own(tmp_path):
    write_fast(tmp_path)
    script = tmp_path / "train.py"
    script.write_text(TRAIN + "print(losses[0], losses[-1])\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, last = map(float, done.stdout.split())
    assert last < 0.5 * first


def test_the_torch_file_decays_matrices_only():
    names = module(export.render(tuned_for_test(), "torch"))
    optimizer = names["build"](nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)))
    decayed = {
        parameter.ndim: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decayed == {2: 0.02, 1: 0.0}


def write_fast(folder):
    """Write the export at a learning rate that shows in 50 steps."""
    record = tuned_for_test()
    record = replace(record, hyper={**record.hyper, "lr": 0.02})
    (folder / "exported.py").write_text(export.render(record, "torch"), encoding="utf-8")


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        ("adahessian-win", "        optimizer.backward(loss(model, batch))"),
        ("adan-win2", "        loss(model, batch).backward()"),
        ("of another machine", "        loss(model, batch).backward()"),
    ],
)
def test_the_torch_file_says_how_the_optimizer_needs_its_gradients(optimizer, line):
    record = replace(tuned_for_test(), optimizer=optimizer)
    assert line in module(export.render(record, "torch"))["__doc__"].splitlines()
