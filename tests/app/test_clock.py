"""What losses are drawn against: the trials' order, what was spent, or the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from autotune.app import anytime, clock, curves, history, judged
from autotune.studies.records import Point, Role, TrialState

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def two(trial):
    """Two trials of which the first ended last."""
    return [
        trial(0, created=START, updated=START + timedelta(minutes=9)),
        trial(1, loss=2.0, step=45, created=START, updated=START + timedelta(minutes=4)),
    ]


@pytest.mark.parametrize(
    ("against", "places"),
    [
        (clock.TRIAL, {0: 0, 1: 1}),
        (clock.COST, {0: 1.5, 1: 0.5}),
        (clock.CLOCK, {0: 9.0, 1: 4.0}),
    ],
)
def test_a_trial_stands_where_it_ended(two, against, places):
    assert clock.places(two, against) == places


def test_a_stopped_trial_ended_when_it_last_ran(trial):
    over = START + timedelta(minutes=9)
    stopped = [trial(i, state=TrialState.STOPPED, step=30, updated=over) for i in range(2)]
    done, waited = trial(2, updated=over), trial(3, state=TrialState.STOPPED, updated=over)
    ended = {
        one.id: START + timedelta(minutes=i) for i, one in enumerate([*stopped, done], start=1)
    }

    dated = clock.dated([*stopped, done, waited], ended)

    assert [(one.updated - START).seconds / 60 for one in dated] == [1, 2, 9, 9]


def test_a_trial_that_is_not_dated_has_no_place_on_the_clock(trial, two):
    assert set(clock.places([*two, trial(2)], clock.CLOCK)) == {0, 1}


def test_history_and_progress_are_drawn_against_the_clock(trial):
    done = [
        trial(i, loss=2.0 - i, created=START, updated=START + timedelta(minutes=9 - i))
        for i in range(2)
    ]

    chart = history.figure(done, "#000000", against=clock.CLOCK)
    line = anytime.progress(done, clock.CLOCK)

    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in chart.data}
    assert drawn["complete"] == ([9.0, 8.0], [2.0, 1.0])
    assert drawn["best so far"] == ([8.0, 9.0, 9.0], [1.0, 1.0, 1.0])
    assert (line.costs, line.losses) == ((8.0, 9.0), (1.0, 1.0))
    assert anytime.figure({"adan": line}).layout.xaxis.title.text == clock.SEARCH[clock.CLOCK]


def test_the_best_line_is_that_of_all_trials_whatever_is_shown(trial):
    chart = history.figure([trial(0, loss=1.0), trial(1, loss=2.0)], "#000000", shown={1})

    drawn = {trace.name: list(trace.y) for trace in chart.data}
    assert drawn == {"complete": [2.0], "best so far": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize(
    ("seconds", "passed"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 1.0], [1.0, 2.0, 3.0]),  # the third is of a second attempt
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),  # every one is of another attempt
    ],
)
def test_attempts_count_from_their_own_beginning(trial, seconds, passed):
    points = [Point(step=30 * i, seconds=s, loss=1.0) for i, s in enumerate(seconds, 1)]

    assert clock.elapsed(trial(0, step=90, seconds=3.0), points) == passed


def test_an_attempt_that_was_longer_than_the_one_before_is_seen_by_its_pace(trial):
    points = [Point(step=30, seconds=3.0), Point(step=90, seconds=6.0)]

    assert clock.elapsed(trial(0, step=90, seconds=9.0), points) == [3.0, 9.0]


def test_curves_are_drawn_against_training_time(trial):
    points = {100: (Point(step=30, seconds=6.0, loss=2.0), Point(step=90, seconds=9.0, loss=1.0))}
    one = trial(0, step=90, seconds=9.0)

    (line,) = curves.pick([one], points)

    drawn = curves.figure([line], "#000000", metric="loss", against=clock.SECONDS)
    assert list(drawn.data[0].x) == [6.0, 9.0]
    assert curves.frame([line], "loss").values.tolist() == [
        [0, "complete", 30, 6.0, 2.0],
        [0, "complete", 90, 9.0, 1.0],
    ]


def test_judged_curves_stand_at_the_mean_time_of_their_seeds(trial):
    runs = [
        trial(i, role=Role.JUDGE, step=90, seconds=9.0, state=TrialState.COMPLETE) for i in (0, 0)
    ]
    runs[1] = trial(1, role=Role.JUDGE, step=90, seconds=12.0, setting=runs[0].setting)
    known = {run.id: (Point(step=90, seconds=run.seconds, loss=1.0),) for run in runs}

    class _Row:
        optimizer, changed = "adan", False
        default = type("Contender", (), {"word": "default", "setting": runs[0].setting})

    (band,) = judged.bands([_Row], {"adan": runs}, {"adan": known}, "loss")

    assert (band.seeds, band.along(clock.SECONDS)) == (2, (10.5,))
