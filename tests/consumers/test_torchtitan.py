"""The module for torchtitan, in its own configuration classes and containers.

torchtitan needs a nightly torch. Of its wheel, installed without what it asks for, the files of the
optimizer and the schedule import beside a released one; where they do not, this is skipped.
"""

from __future__ import annotations

import pytest
import torch

from autotune import export
from autotune.testing.readback import (
    STEPS,
    Probe,
    close,
    expected,
    faults,
    per_parameter,
    rates,
    record,
    same,
    wanted,
)

titan = pytest.importorskip(
    "torchtitan.components.optimizer", reason="torchtitan does not import", exc_type=ImportError
)


def check(text, tuned):
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    model = Probe()
    config = names["optimizer"]()
    config.implementation = "for-loop"
    container = titan.OptimizersContainer(config, model_parts=[model])
    right = expected(tuned, model)
    right["ls"] = {**right["ls"], "weight_decay": tuned.hyper["weight_decay"]}  # the difference
    same(per_parameter(model, container.optimizers), right)
    (schedule,) = [
        each
        for made in [names["schedule"]().build(optimizers=container, training_steps=STEPS)]
        for each in made.schedulers
    ]
    (optimizer,) = container.optimizers
    traced, warm = rates(optimizer, lambda _: schedule.step()), round(tuned.warmup * STEPS)
    close(traced[:warm], [tuned.hyper["lr"] * (step + 1) / warm for step in range(warm)])
    close(traced[warm:], wanted(tuned)[warm:])
    assert names["TRAINING"]["steps"] == STEPS


def test_torchtitan_builds_two_groups_and_a_layer_scale_is_decayed_and_that_is_said():
    tuned = record("adamw")
    text = export.render(tuned, "torchtitan")
    check(text, tuned)
    assert "as a layer scale, they are decayed" in " ".join(text.split())


@pytest.mark.parametrize("fault", range(3))
def test_a_planted_fault_is_seen(fault):
    good = record("adamw")
    _, wrong = list(faults(good))[fault]
    with pytest.raises(AssertionError):
        check(export.render(wrong, "torchtitan"), good)


def test_a_decayed_norm_is_seen():
    good = record("adamw")
    text = export.render(good, "torchtitan").replace("norm|", "")
    with pytest.raises(AssertionError, match=r"norm\.weight"):
        check(text, good)


def test_torch_has_what_torchtitan_names():
    assert torch.optim.AdamW
