"""What W&B and Hydra themselves read in our files, and what a script then trains with."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
import yaml

from autotune import export, optimizers
from autotune.integrations.suggestion import from_config, presets
from autotune.samplers.base import optuna_distribution
from autotune.space import spaces
from autotune.space.config import space_of
from autotune.testing.exports import HOSTILE, hostile, tuned_for_test

NAMES = ["adam-win", "adan", "adamw-win2", "lamb", "sgd"]


def record(optimizer):
    """Return a record of the optimizer's own space, with its first known setting."""
    chosen = from_config(presets(optimizer, steps=60)[0])
    schedule = replace(tuned_for_test().schedule, warmup_fraction=chosen.warmup)
    space = space_of(optimizer).as_data()
    return replace(
        tuned_for_test(), optimizer=optimizer, hyper=chosen.hyper, schedule=schedule, space=space
    )


def sweep(tuned):
    return yaml.safe_load(export.render(tuned, "wandb"))


@pytest.mark.parametrize("optimizer", NAMES)
def test_wandb_s_own_scheduler_searches_the_space(optimizer):
    pytest.importorskip("wandb", reason="wandb is not installed")
    from wandb.sdk.sweeps.scheduler.optuna import search_space_from_sweep_config

    read = search_space_from_sweep_config(sweep(record(optimizer))["parameters"])
    constants = {name: read.pop(name).choices for name in ("optimizer", "steps")}
    assert constants == {"optimizer": (optimizer,), "steps": (60,)}
    own = space_of(optimizer).parameters
    assert read == {name: optuna_distribution(each) for name, each in own.items()}
    config = {"optimizer": optimizer, "steps": 60, **optuna.create_study().ask(read).params}
    assert from_config(config).hyper["lr"] == config["lr"]


@pytest.mark.parametrize("text", ["", *HOSTILE], ids=range(len(HOSTILE) + 1))
def test_a_sweep_satisfies_wandb_s_schema(text):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    package = find_spec("sweeps")  # it asks for NumPy 1, so nothing of it is imported
    if package is None:
        pytest.skip("sweeps is not installed")
    (folder,) = package.submodule_search_locations
    schema = json.loads((Path(folder) / "config/schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(sweep(hostile(text)))


@pytest.mark.parametrize("optimizer", NAMES)
def test_hydra_s_own_grammar_reads_the_ranges(optimizer):
    pytest.importorskip("hydra", reason="hydra-core is not installed")
    from hydra.core.override_parser.overrides_parser import OverridesParser

    config = yaml.safe_load(export.render(record(optimizer), "hydra-sweeper"))
    params = config["hydra"]["sweeper"]["params"]
    read = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in params.items()])
    space = space_of(optimizer)
    assert [each.key_or_group for each in read] == [f"setting.{name}" for name in space]
    for parameter, override in zip(space.parameters.values(), read, strict=True):
        value = override.value()
        if isinstance(parameter, spaces.Choice):
            assert list(override.sweep_string_iterator()) == list(parameter.options)
        else:
            assert (value.start, value.end) == (parameter.low, parameter.high)
            assert ("log" in value.tags) == parameter.log


@pytest.mark.parametrize("optimizer", optimizers.names())
def test_hydra_s_config_trains_with_what_was_found(optimizer):
    found = record(optimizer)
    config = yaml.safe_load(export.render(found, "hydra-sweeper"))["setting"]
    hyper, warmup = from_config(config)
    near = {
        k: pytest.approx(v, rel=1e-14) if k == "weight_decay" else v for k, v in found.hyper.items()
    }
    assert (hyper, warmup) == (near, found.warmup)  # decay is found by its timescale


def test_hydra_s_config_says_the_values_that_no_range_does():
    found = record("adan")
    found = replace(found, hyper={**found.hyper, "lr": 0.0125, "eps": 1e-6})
    config = yaml.safe_load(export.render(found, "hydra-sweeper"))["setting"]
    read = from_config(config)
    assert (read.hyper["eps"], read.hyper["lr"]) == (1e-6, 0.0125)
    assert read.hyper["weight_decay"] == pytest.approx(found.hyper["weight_decay"])


SCRIPT = """
import hydra
from autotune.integrations.suggestion import from_config

@hydra.main(version_base=None, config_path="conf")
def main(config):
    chosen = from_config(config.setting)
    print("LR", chosen.optimizer, chosen.hyper["lr"])
    return (chosen.hyper["lr"] - 0.01) ** 2

main()
"""


@pytest.mark.parametrize("many", [False, True])
def test_a_script_of_hydra_s_runs_the_file(tmp_path, many):
    pytest.importorskip("hydra", reason="hydra-core is not installed")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="its sweeper is not installed")
    (tmp_path / "conf/experiment").mkdir(parents=True)
    text = export.render(record("adan"), "hydra-sweeper")
    (tmp_path / "conf/experiment/adan.yaml").write_text(text, "utf-8")
    (tmp_path / "train.py").write_text(SCRIPT, "utf-8")
    more = ["hydra.sweeper.n_trials=3", "--multirun"] if many else []
    command = [sys.executable, "train.py", "+experiment=adan", *more]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rates = [float(line.split()[2]) for line in done.stdout.splitlines() if line[:3] == "LR "]
    space = space_of("adan").parameters["lr"]
    assert len(rates) == (3 if many else 1)
    assert all(space.low <= rate <= space.high for rate in rates)
