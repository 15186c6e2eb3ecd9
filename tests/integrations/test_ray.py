"""Ray Tune with our space: what its searcher draws, and what our side reads."""

from __future__ import annotations

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
