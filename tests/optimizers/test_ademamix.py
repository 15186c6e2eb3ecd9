"""AdEMAMix's slow mean: its ramps, and what is refused."""

import math

import pytest
import torch

from autotune.optimizers import create
from autotune.optimizers.ademamix import AdEMAMix


def scalars(step, **hyper):
    """Return b3 and alpha at a step."""
    optimizer = AdEMAMix([torch.nn.Parameter(torch.ones(1))], betas=(0.9, 0.99, 0.999), **hyper)
    row = optimizer.scalars(optimizer.param_groups[0], step, False)
    assert row[5] == pytest.approx(1 - row[4])
    return row[4], row[6]


def half_life(beta):
    return math.log(0.5) / math.log(beta)


def test_without_ramps_the_slow_mean_counts_from_the_first_step():
    assert scalars(1) == scalars(1000) == (0.999, 2.0)


def test_alpha_rises_in_proportion_to_the_step():
    assert [scalars(k, alpha=4.0, alpha_warmup=8)[1] for k in (2, 4, 8, 9)] == [1.0, 2.0, 4.0, 4.0]


def test_the_half_life_rises_in_proportion_to_the_step():
    first, quarter, half = (half_life(scalars(k, beta3_warmup=100)[0]) for k in (0, 25, 50))
    assert first == pytest.approx(half_life(0.9), rel=1e-6)
    assert half - quarter == pytest.approx(quarter - first, rel=1e-6)
    assert scalars(100, beta3_warmup=100)[0] == 0.999


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("alpha", -1.0, r"^alpha must be at least 0 and finite, got -1$"),
        (
            "alpha_warmup",
            2.5,
            r"^alpha_warmup must be a whole number of at least 0, got 2\.5$",
        ),
        ("beta3_warmup", -1, r"^beta3_warmup must be a whole number of at least 0, got -1$"),
        ("betas", (0.9, 0.99), r"^betas must be 3 numbers, got \(0\.9, 0\.99\)$"),
    ],
)
def test_what_makes_no_sense_is_refused(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        create("ademamix", [torch.nn.Parameter(torch.ones(1))], **{name: value})
