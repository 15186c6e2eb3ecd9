"""What a configuration of another tuner says."""

from __future__ import annotations

import pytest

from autotune.errors import SpecError
from autotune.integrations.suggestion import from_config, presets
from autotune.space.config import known, space_of


@pytest.mark.parametrize("optimizer", ["adam", "adan", "ademamix", "adamw-win2", "lamb-win", "sgd"])
def test_a_known_setting_is_read_as_it_was_written(optimizer):
    for config, candidate in zip(
        presets(optimizer, steps=60), known(optimizer, space_of(optimizer, steps=60)), strict=True
    ):
        hyper, warmup = from_config(config)
        assert (hyper, warmup) == (candidate.setting.hyper, candidate.setting.warmup)


def test_what_the_space_fixes_is_part_of_a_configuration():
    (first, *_) = presets("adan", steps=60, space={"weight_decay": 0.1, "eps": 1e-6})
    assert "timescale" not in first
    assert from_config(first).hyper["weight_decay"] == 0.1
    assert from_config(first).hyper["eps"] == 1e-6


def test_what_else_a_configuration_holds_is_left_alone():
    config = presets("adan", steps=60)[0]
    assert from_config({**config, "dropout": 0.1}) == from_config(config)


@pytest.mark.parametrize("name", ["optimizer", "steps", "lr", "timescale", "one_minus_beta2"])
def test_a_missing_name_is_said(name):
    config = presets("adan", steps=60)[0]
    del config[name]
    sentence = f"^the configuration has no '{name}'; give it all that the space or the sweep file"
    with pytest.raises(SpecError, match=sentence):
        from_config(config)
