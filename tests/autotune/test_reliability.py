"""What a study's measurements are said to be worth."""

from dataclasses import replace

import pytest

from autotune.results.reliability import reliability_of
from autotune.studies.records import Role, TrialState
from autotune.testing.trials import search_trial

STEPS = (3, 9, 27)


def trial(id, loss, role=Role.SEARCH, seed=0, source=None):
    return search_trial(
        id,
        id=id,
        role=role,
        seed=seed,
        target=27,
        source=source,
        state=TrialState.PAUSED if loss is None else TrialState.COMPLETE,
        step=9 if loss is None else 27,
        loss=loss,
    )


def test_rungs_that_order_settings_alike_correlate_wholly():
    losses = {n: {3: 10.0 + n, 9: 5.0 + n, 27: float(n)} for n in range(8)}
    found = reliability_of([trial(n, float(n)) for n in range(8)], losses, STEPS)
    assert [(a.short, a.long, a.trials, a.overall) for a in found.agreements] == [
        (3, 9, 8, pytest.approx(1.0)),
        (9, 27, 8, pytest.approx(1.0)),
    ]


def test_a_rung_that_orders_settings_the_other_way_round_correlates_negatively():
    losses = {n: {3: float(n), 9: -float(n)} for n in range(8)}
    found = reliability_of([trial(n, None) for n in range(8)], losses, STEPS)
    assert found.agreements[0].overall == pytest.approx(-1.0)
    assert found.agreements[1].overall is None


def test_the_best_tenth_is_read_by_itself():
    losses = {n: {3: float(n) if n >= 5 else 5.0 - n, 9: float(n)} for n in range(50)}
    (first, _) = reliability_of([trial(n, None) for n in range(50)], losses, STEPS).agreements
    assert first.overall > 0.9
    assert first.top == pytest.approx(-1.0)


def test_equal_losses_share_their_rank():
    losses = {n: {3: float(n), 9: float(n >= 3)} for n in range(6)}
    (first, _) = reliability_of([trial(n, None) for n in range(6)], losses, STEPS).agreements
    assert first.overall == pytest.approx(0.8783, abs=1e-4)  # by scipy.stats.spearmanr


@pytest.mark.parametrize("equal", [3, 9])
def test_losses_that_are_all_equal_correlate_with_nothing(equal):
    losses = {n: {3: float(n), 9: float(n), equal: 4.6} for n in range(6)}
    (first, _) = reliability_of([trial(n, None) for n in range(6)], losses, STEPS).agreements
    assert (first.trials, first.overall) == (6, None)


def test_diverged_settings_are_left_out():
    bad = replace(trial(9, None), state=TrialState.DIVERGED)
    losses = {n: {3: float(n), 9: float(n)} for n in range(10)}
    (first, _) = reliability_of(
        [*(trial(n, None) for n in range(4)), bad], losses, STEPS
    ).agreements
    assert first.trials == 4


def test_noise_is_what_seeds_change_between_settings():
    trials = [trial(0, 2.0), trial(1, 1.0)]
    for seed, (one, two) in enumerate([(2.1, 1.0), (2.0, 1.1), (2.5, 1.5)], start=1):
        trials += [trial(10 + seed, one, Role.JUDGE, seed, 0)]
        trials += [trial(20 + seed, two, Role.JUDGE, seed, 1)]
    # Differences of 1.0, 1.1, 0.9 and 1.0: their variance is twice the noise's.
    assert reliability_of(trials, {}, STEPS).noise == pytest.approx((0.02 / 3 / 2) ** 0.5)


def test_settings_on_one_seed_show_no_noise():
    assert reliability_of([trial(0, 2.0), trial(1, 1.0)], {}, STEPS).noise is None


def test_settings_closer_than_seeds_are_warned_of():
    trials = [trial(0, 1.0), trial(1, 1.001)]
    trials += [trial(2, 1.0, Role.SELECT, 1, 0), trial(3, 1.5, Role.SELECT, 1, 1)]
    found = reliability_of(trials, {}, STEPS)
    assert found.spread < found.noise
    assert found.warning == (
        "the best settings differ by less (0.00071) than one setting does from seed to seed "
        "(0.25): this budget cannot tell which of them is best"
    )
