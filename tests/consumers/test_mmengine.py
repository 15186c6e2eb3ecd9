"""The configuration for MMEngine, through its own parser, registries and schedulers."""

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
    resumed,
    same,
    wanted,
)

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

pytestmark = pytest.mark.filterwarnings("ignore")  # MMEngine's last release is of 2025-03
SEEN = (AssertionError, ValueError)


def read(text, folder):
    (folder / "tuned.py").write_text(text, "utf-8")
    return Config.fromfile(str(folder / "tuned.py"))


def check(text, tuned, folder):
    config, model = read(text, folder), Probe()
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    same(per_parameter(model, [optimizer]), expected(tuned, model))
    made = [
        PARAM_SCHEDULERS.build(each, default_args={"optimizer": optimizer})
        for each in config.param_scheduler
    ]

    def advance(step):
        """Step what counts iterations, and at the end of an epoch of four what counts epochs."""
        for each in made:
            if not each.by_epoch or step % 4 == 0:
                each.step()

    close(rates(optimizer, advance), wanted(tuned))
    assert config.train_cfg.max_iters == STEPS
    assert not config.train_cfg.by_epoch
    assert config.optim_wrapper.clip_grad is None


@pytest.mark.parametrize("name", ["adamw", "adan", "adan-win2"])
def test_mmengine_builds_our_class_and_follows_our_schedule(name, tmp_path):
    tuned = record(name, max_grad_norm=0.5)
    text = export.render(tuned, "mmengine")
    check(text, tuned, tmp_path)
    wrapper = read(text, tmp_path).optim_wrapper
    whole, later = resumed(lambda model: build_optim_wrapper(model, wrapper).optimizer)
    assert torch.equal(whole, later)


@pytest.mark.parametrize("fault", range(3))
def test_a_planted_fault_is_seen(fault, tmp_path):
    good = record("adan-win2")
    _, wrong = list(faults(good))[fault]
    with pytest.raises(SEEN):
        check(export.render(wrong, "mmengine"), good, tmp_path)


def test_a_decayed_norm_is_seen(tmp_path):
    good = record("adan")
    text = export.render(good, "mmengine")
    wrong = text.replace("_decay_mult': 0.0", "_decay_mult': 1.0")
    assert wrong != text
    with pytest.raises(AssertionError, match=r"norm\.weight"):
        check(wrong, good, tmp_path)
