"""Numbers as people read them: digits that tell, times that say their zone, commands to paste."""

import math
import re
import shlex
from datetime import UTC, datetime, timedelta, timezone

import pytest

import autotune
from autotune.app import words
from autotune.cli.views import format
from autotune.errors import SpecError
from autotune.export.header import _loss
from autotune.results.figures import figure, together, with_half
from autotune.results.intervals import Estimate, estimate, verdict
from autotune.search.stored import resume_command, written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.302585, "2.3026"), (0.5, "0.5000"), (12.34567, "12.3457"), (0.0, "0.0000"),
        (0.0123456, "0.01235"), (0.001, "0.001000"), (5e-6, "5.000e-06"), (1e29, "1.000e+29"),
        (-3.14159, "-3.1416"), (-7e-9, "-7.000e-09"), (123456.7, "1.235e+05"), (1234.5, "1234.50"),
        (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (5e-324, "4.941e-324"),
        (1.7e308, "1.700e+308"),
    ],
)  # fmt: skip
def test_a_loss_has_the_digits_that_tell(value, text):
    assert figure(value) == format.loss(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.5, 0.6), ["0.5000", "0.6000"]),
        ((2.30258, 2.302584), ["2.3025800", "2.3025840"]),
        ((1e29, 1.00002e29), ["1.000000e+29", "1.000020e+29"]),
        ((5e-6, -3e-8), ["5.000e-06", "-0.030e-06"]),
        ((0.1 + 0.2, 0.3), ["0.3000", "0.3000"]),
        ((math.nan, 1.0), ["nan", "1.0000"]),
        ((math.inf, 5e-6), ["inf", "5.000e-06"]),
    ],
)
def test_numbers_that_differ_are_told_apart(values, texts):
    assert together(*values) == texts


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([5e-6, 5.2e-6, 4.9e-6], "5.033e-06 ± 0.379e-06"),
        ([1e29, 1.1e29, 0.9e29], "1.000e+29 ± 0.248e+29"),
        ([2.30001, 2.30002, 2.30003], "2.300020 ± 0.000025"),
        ([0.5, 0.5, 0.5], "0.5000 ± 0.0000"),
        ([-1.5, -1.4, -1.6], "-1.5000 ± 0.2484"),
        ([3e-8], "3.000e-08 (n=1)"),
    ],
)
def test_a_mean_and_its_interval_are_written_alike(values, text):
    assert str(estimate(values)) == text


def test_half_of_an_interval_that_is_no_number_is_said():
    assert with_half(1.0, math.nan) == ("1.0000", "nan")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e29])
def test_a_verdict_and_an_export_name_ends_that_differ(scale):
    difference = Estimate(mean=-0.02 * scale, low=-0.021 * scale, high=-0.0199 * scale, n=3)
    said = verdict(difference, "adan", "adamw")
    numbers = re.findall(r"[\d.]+(?:e[+-]\d+)?(?= |\))", said.replace("95%", ""))
    assert len(set(numbers)) == 3
    assert all(float(number) > 0 for number in numbers)
    loss = _loss(Estimate(mean=0.5 * scale, low=0.49999 * scale, high=0.50001 * scale, n=3))
    assert len(set(re.findall(r"\d[\d.e+-]+", loss))) == 3


def test_an_insignificant_difference_keeps_its_signs():
    difference = Estimate(mean=1e-7, low=-2e-7, high=4e-7, n=3)
    assert "-2.000e-07 to +4.000e-07" in verdict(difference, "a", "b").replace("-0.2", "-2")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.004, "0.004 s"),
        (0.0, "0.0 s"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (61, "1 min 01 s"),
    ],
)
def test_a_short_time_is_not_nothing(seconds, text):
    assert format.duration(seconds) == text


def test_the_dashboard_writes_a_short_time_too():
    assert words.duration(0.004) == "0.004 s"


@pytest.mark.parametrize("value", [0.359, 35.9, 1.0, 100.0])
def test_an_accuracy_is_a_percentage_only_where_it_is_a_fraction(value):
    expected = {0.359: "35.9 %", 35.9: "35.9", 1.0: "100 %", 100.0: "100"}
    assert format.accuracy(value) == expected[value]


def _problem(accuracy):
    import torch

    x = torch.linspace(-1, 1, 48).reshape(6, 8, 1)

    def problem(seed):
        return autotune.Problem(
            model=torch.nn.Linear(1, 1), train=list(x[:5]), validation=list(x[5:]),
            loss=lambda model, batch: (model(batch) - batch).square().mean(), accuracy=accuracy,
        )  # fmt: skip

    return problem


ASKED = {"optimizers": ["adamw"], "trials": 2, "steps": 3, "seeds": 2, "finalists": 1}


HINT = "; divide a percentage by 100"


@pytest.mark.parametrize(
    ("given", "shown"),
    [(35.9, f"35.9{HINT}"), (100, f"100{HINT}"), (-0.5, f"-0.5{HINT}"), (math.nan, "nan")],
)
def test_a_percentage_for_an_accuracy_is_refused_with_the_way_out(tmp_path, given, shown):
    with pytest.raises(SpecError) as refused:
        autotune.tune(_problem(lambda m, b: given), storage=tmp_path / "a.db", **ASKED)
    assert str(refused.value).endswith(f"must be a fraction from 0 to 1, got {shown}")
    assert not (tmp_path / "a.db").exists()


def test_an_accuracy_that_grows_beyond_a_fraction_is_shown_as_it_is(tmp_path):
    calls = []

    def accuracy(model, batch):
        calls.append(1)
        return 0.5 if len(calls) == 1 else 35.9

    result = autotune.tune(_problem(accuracy), storage=tmp_path / "a.db", progress="off", **ASKED)
    assert "35.9" in repr(result)
    assert "3590" not in repr(result)


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 30, 1, 51, tzinfo=UTC),
        datetime(2026, 11, 30, 7, 21, tzinfo=timezone(timedelta(hours=5.5))),
        datetime(2026, 11, 30, 1, 51),
    ],
    ids=["utc", "elsewhere", "naive"],
)
def test_a_time_says_its_zone(at):
    assert format.moment(at) == "2026-11-30 01:51 UTC"


@pytest.mark.parametrize("name", ["a b; c", "it's", "$HOME", "a*", "ü", "plain"])
def test_a_command_to_paste_names_the_search_as_one_word(name):
    assert shlex.split(f"autotune export {written(name, 'adamw')} --as torch")[2] == f"{name}/adamw"
    assert shlex.split(resume_command(name, None))[3] == name
