"""Ray Tune with our space: what its searcher draws, and what our side reads."""

from __future__ import annotations

import os

import pytest

from autotune.space.config import space_of
from autotune.space.spaces import Choice


def drawn(space, points, number):
    """Return the configurations that Ray's own searcher gives to trials."""
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    searcher = BasicVariantGenerator(points_to_evaluate=points, random_state=0)
    tune.Tuner(
        lambda config: None,
        param_space=space,
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=number),
    )
    experiment = tune.Experiment("drawn", lambda config: None, config=space, num_samples=number)
    searcher.add_configurations([experiment])
    trials = iter(searcher.next_trial, None)
    return [trial.config for trial in trials]


@pytest.mark.parametrize("optimizer", ["adan", "adamw-win2", "sgd"])
def test_what_ray_draws_is_in_the_space(optimizer, tmp_path, monkeypatch):
    # Not at the top: Ray takes a second, and looks at its import whether it may leave the loopback.
    from autotune.integrations.ray import from_config, param_space, presets

    monkeypatch.chdir(tmp_path)
    known = presets(optimizer, steps=500)
    configs = drawn(param_space(optimizer, steps=500), known, 100)
    assert len(configs) == 100
    assert configs[: len(known)] == known
    for config in configs:
        for name, parameter in space_of(optimizer, steps=500).parameters.items():
            if isinstance(parameter, Choice):
                assert config[name] in parameter.options
            else:
                assert parameter.low <= config[name] <= parameter.high
        setting = from_config(config)
        assert (setting.optimizer, setting.steps) == (optimizer, 500)
        assert setting.hyper["lr"] == config["lr"]


@pytest.mark.skipif(not os.environ.get("INTEGRATIONS"), reason="a cluster; make integrations")
def test_an_experiment_that_ray_ran_is_imported(tmp_path):
    import ray
    from ray import tune

    from autotune.importing import Reading, read

    def train(config):
        for step in (1, 2):
            tune.report({"loss": (config["lr"] - 0.02) ** 2 / step, "step": step})
        if config["lr"] > 0.05:
            raise RuntimeError("diverged")

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        done = tune.Tuner(
            train,
            param_space={"lr": tune.grid_search([0.01, 0.02, 0.09]), "betas": [0.9, 0.8, 0.95]},
            run_config=tune.RunConfig(name="exp", storage_path=str(tmp_path), verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    found = read(str(tmp_path / "exp"), Reading(optimizer="adan", metric="loss"))
    assert [one["hyper"] for one in found.settings] == [
        {"lr": 0.02, "betas": [0.9, 0.8, 0.95]},
        {"lr": 0.01, "betas": [0.9, 0.8, 0.95]},
    ]
    assert dict(found.left_out) == {"failed": 1}
    file = tmp_path / "frame.csv"
    done.get_dataframe().to_csv(file, index=False)
    table = read(str(file), Reading(optimizer="adan", metric="loss", top=1))
    assert table.settings[0]["hyper"] == {"lr": 0.02, "betas": [0.9, 0.8, 0.95]}
