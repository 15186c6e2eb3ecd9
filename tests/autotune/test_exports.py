"""Every registered export, against its contract and against its real reader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

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


READERS = {
    "json": lambda text: from_record(json.loads(text)),
    "torch": from_module,
    "yaml": lambda text: from_record(yaml.safe_load(text)),
}


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


SPACE_READERS = {"hydra-sweeper": from_sweeper, "wandb-sweep": from_sweep}
CHECKS = [name for name in dir(SpaceExportContract) if name.startswith("test")]


@pytest.fixture(params=export.formats())
def contract(request):
    space = SPACE_READERS.get(request.param)
    suite = SpaceExportContract() if space else ExportContract()
    suite.format = request.param
    suite.read_space, suite.read = space, READERS.get(request.param)
    return suite


@pytest.mark.parametrize("check", CHECKS)
def test_every_export_keeps_the_contract(contract, check):
    getattr(contract, check, lambda: None)()


def test_an_unknown_format_suggests_the_nearest():
    sentence = (
        r"^unknown export 'yml'; did you mean 'yaml'\? "
        r"\(known: hydra-sweeper, json, torch, wandb-sweep, yaml\)$"
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


@pytest.mark.parametrize("format", ["hydra-sweeper", "torch", "wandb-sweep", "yaml"])
def test_a_file_opens_with_where_the_setting_comes_from(format):
    head = export.render(tuned_for_test(), format)[:2000].replace("# ", "")
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
