"""Who goes on under the pruners that one may ask for by name."""

import re

import pytest

from autotune.errors import SpecError, UnknownName
from autotune.registry import load, names
from autotune.studies.records import TrialState
from autotune.testing import pruners
from autotune.testing.pruners import PrunerContract, study
from autotune.testing.trials import search_trial

PRUNERS = [*names("autotune.pruners"), "optuna:PercentilePruner(percentile=25)", "optuna:NopPruner"]


class TestPruners(PrunerContract):
    @pytest.fixture(params=PRUNERS)
    def pruner(self, request):
        return load("autotune.pruners", request.param)


def going(name, trials, losses):
    """Return who goes on under a pruner of that name, and to which step."""
    return pruners.going(load("autotune.pruners", name), trials, losses)


def test_without_pruning_the_one_nearest_to_its_end_goes_on():
    assert going("none", *study([1.0], [9.0, 9.0], [1.0, 1.0])) == (1, 27)


def test_asha_lets_the_best_so_far_go_on_as_it_arrives():
    assert going("asha", *study([2.0])) == (0, 9)
    assert going("asha", *study([1.0, 1.0, 1.0, 1.0], [2.0])) is None
    assert going("asha", *study([1.0, 1.0, 1.0, 1.0], [2.0], [0.5])) == (2, 9)


def test_asha_keeps_apart_what_was_reached_at_different_rungs():
    whole = [1.0, 0.9, 0.8, 0.7]
    assert going("asha", *study(whole, [0.5, 0.95])) is None
    assert going("asha", *study(whole, [0.5, 0.85])) == (1, 27)


def test_a_diverged_trial_is_the_worst_of_every_rung_to_asha():
    trials, losses = study([5.0])
    trials = [search_trial(1, state=TrialState.DIVERGED), *trials]
    assert going("asha", trials, losses) == (0, 9)


def test_a_rung_that_was_not_measured_is_left_out():
    trials, _ = study([1.0, 1.0], [2.0, 2.0])
    assert going("asha", trials, {100: {9: 1.0}, 101: {9: 2.0}}) == (0, 27)


def test_the_median_rule_lets_five_end_before_it_says_no():
    whole = [[1.0 + n, 1.0, 1.0, 1.0] for n in range(5)]
    assert going("median", *study(*whole[:4], [9.0])) == (4, 9)
    assert going("median", *study(*whole, [9.0])) is None
    assert going("median", *study(*whole, [2.5])) == (5, 9)


def test_hyperband_compares_later_in_some_of_its_brackets():
    worse = [[1.0, 1.0, 1.0, 1.0], *([5.0 + n] for n in range(40))]
    trials, losses = study(*worse)
    assert going("asha", trials, losses) is None
    assert going("hyperband", trials, losses) is not None


def test_a_class_of_optunas_takes_arguments_and_our_steps():
    whole = [[1.0, 1.0, 1.0, 1.0]] * 5
    warm = "optuna:MedianPruner(n_warmup_steps=9)"
    assert going(warm, *study(*whole, [9.0])) == (5, 9)
    assert going(warm, *study(*whole, [9.0, 9.0])) is None


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        (
            "ahsa",
            UnknownName,
            "unknown pruner 'ahsa'; did you mean 'asha'? "
            "(known: asha, auto, hyperband, median, none, optuna:CLASS)",
        ),
        (
            "optuna:Median",
            UnknownName,
            "unknown pruner 'optuna:Median'; did you mean 'optuna:MedianPruner'? "
            "(known: optuna:HyperbandPruner, optuna:MedianPruner, optuna:NopPruner, "
            "optuna:PatientPruner, optuna:PercentilePruner, optuna:SuccessiveHalvingPruner, "
            "optuna:ThresholdPruner, optuna:WilcoxonPruner)",
        ),
        (
            "optuna:PercentilePruner",
            SpecError,
            "optuna:PercentilePruner needs percentile; give plain values as "
            "optuna:PercentilePruner(percentile=...)",
        ),
        (
            "optuna:ThresholdPruner",
            SpecError,
            "optuna:ThresholdPruner cannot be used here: Either lower or upper must be specified",
        ),
    ],
)
def test_a_pruner_that_cannot_be_had_is_refused(name, kind, sentence):
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        load("autotune.pruners", name)
