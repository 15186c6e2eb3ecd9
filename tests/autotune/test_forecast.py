"""What a trial that was cut short is expected to be worth."""

import pytest

from autotune.pruners.ladder import Ladder
from autotune.scheduler.forecast import forecasts
from autotune.studies.records import TrialState
from autotune.testing.trials import search_trial

RUNGS = Ladder(steps=(3, 9, 27), first=3, safe=9)


def trials(curves, state=TrialState.PAUSED):
    """Return trials with these losses at the first, second and third rung, and their losses."""
    found = [
        search_trial(number, target=27, state=state, step=RUNGS.steps[len(curve) - 1])
        for number, curve in enumerate(curves)
    ]
    return found, {100 + n: dict(zip(RUNGS.steps, c, strict=False)) for n, c in enumerate(curves)}


def scores(curves):
    found = forecasts(*trials(curves), RUNGS)
    return [found[100 + number].score for number in range(len(curves))]


def test_at_one_rung_the_order_of_losses_is_kept_and_their_size_is_not():
    known = scores([[1.0], [900.0], [2.0]])
    assert known[0] < known[2] < known[1]
    assert known == scores([[1.0], [3.0], [2.5]])
    assert sum(known) == pytest.approx(0)


def test_who_was_passed_over_is_expected_to_end_worse():
    ended = [[float(n), float(n), float(n)] for n in range(4)]
    stopped = [[float(n)] for n in range(4, 12)]
    known = scores([*ended, *stopped])
    assert known[:4] == sorted(known[:4])
    assert known[4:] == sorted(known[4:])
    assert known[4] > sum(known[:4]) / 4


def test_where_short_runs_are_right_their_order_is_worth_more_than_where_they_are_not():
    def apart(worth):
        ended = [[float(n), float(n), worth * n + 7.0 * n % 20 * (not worth)] for n in range(20)]
        first, last = scores([*ended, [-1.0], [20.0]])[-2:]
        return last - first

    assert apart(worth=1) > 1.5 * apart(worth=0)
    assert apart(worth=-1) < 0


def test_only_what_ended_is_known_surely():
    rest = [[float(n)] for n in range(6)]
    found = forecasts(*trials([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0], *rest]), RUNGS)
    doubts = [found[100 + number].doubt for number in range(4)]
    assert doubts[:2] == [0, 0]
    assert min(doubts[2:]) > 0


def test_before_anything_ended_short_runs_are_doubted_the_more_the_shorter():
    found = forecasts(*trials([[1.0], [2.0]]), RUNGS)
    longer = forecasts(*trials([[1.0, 1.0], [2.0, 2.0]]), RUNGS)
    assert found[100].doubt > longer[100].doubt > 0
    assert found[100].score == longer[100].score < 0


def test_what_diverged_is_worse_than_all_others_at_every_rung_and_what_failed_is_nothing():
    well, losses = trials([[1.0], [2.0]])
    alone = forecasts(well, losses, RUNGS)
    (lost,), _ = trials([[]], TrialState.DIVERGED)
    lost.__dict__.update(id=200, number=2)
    beside = forecasts([*well, lost], losses, RUNGS)
    assert beside.keys() == alone.keys()
    assert beside[101].score < alone[101].score
    lost.__dict__.update(state=TrialState.FAILED)
    assert forecasts([*well, lost], losses, RUNGS) == alone


def test_of_nothing_nothing_is_expected():
    assert forecasts([], {}, RUNGS) == {}
    assert forecasts(*trials([[]]), RUNGS) == {}
