"""A figure is told in words: its title, its axes, and what is drawn in it."""

from __future__ import annotations

import pytest

from autotune.app import (
    axes,
    curves,
    history,
    importance,
    look,
    outcome,
    pairs,
    parallel,
    spoken,
    timeline,
)
from autotune.app.explained import Importance
from autotune.app.fidelity import Sample
from autotune.results.intervals import Estimate
from autotune.studies.records import TrialState

LR = axes.Axis(name="lr", log=True, low=1e-4, high=1e-1)
WARMUP = axes.Axis(name="warmup", low=0.0, high=0.2)


def test_an_interval_is_told_with_its_ends():
    gained = {"adan": Estimate(mean=-0.2, low=-0.3, high=-0.1, n=3)}
    chart = outcome.differences(gained, look.colours(gained), against="default")

    assert spoken.text(chart, "What tuning gained") == (
        "What tuning gained. loss of tuned minus default. adan: -0.2, from -0.3 to -0.1."
    )


def test_points_are_told_by_their_range_and_where_the_lowest_is(trial):
    trials = [trial(0, loss=2.0), trial(1, loss=1.0), trial(2, state=TrialState.FAILED, loss=None)]

    assert spoken.text(history.figure(trials, "#000000"), "Loss of each trial") == (
        "Loss of each trial. validation loss against trial. "
        "complete: 2 points between 1 and 2, the lowest at 1; failed: 1 point, no loss; "
        "best so far: a line from 2 to 1."
    )


def test_many_lines_of_a_name_are_told_by_where_they_end(trial, curve):
    trials = [trial(number, loss=2.0 - number) for number in range(3)]
    known = {one.id: curve(3.0, 2.0 - one.number) for one in trials}
    chart = curves.figure(curves.pick(trials, known), "#000000", metric="loss")

    assert spoken.text(chart, "Learning curves").endswith(
        "complete: 2 lines that end between 1 and 2; best (trial 2): a line from 3 to 0."
    )


def test_bars_are_told_from_the_top():
    shares = {"lr": Importance(share=0.75), "warmup": Importance(share=0.25)}
    chart = importance.figure(shares, {}, "#000000")

    told = "explains the loss (permutation): learning rate 0.75, warm-up, fraction 0.25."
    assert spoken.text(chart, "Importance").endswith(told)


def test_points_coloured_by_loss_are_told_by_their_colours(trial):
    trials = tuple(trial(number, params={"lr": 1e-3, "warmup": 0.1 * number}) for number in (1, 2))
    found = Sample(step=90, target=90, trials=trials, losses=(0.5, 1.5))

    assert spoken.text(pairs.figure(found, LR, WARMUP), "Loss over two parameters").endswith(
        "measured: 2 points coloured between 0.5 and 1.5, the lowest at 0.001, 0.1."
    )
    assert spoken.text(parallel.figure(found, [LR, WARMUP], "#000000"), "All").endswith(
        "2 settings over learning rate; warm-up, fraction; validation loss."
    )


def test_names_beyond_a_dozen_are_counted():
    names = [f"o{number:02}" for number in range(20)]
    gained = {name: Estimate(mean=0.0, low=-1.0, high=1.0, n=3) for name in names}
    chart = outcome.differences(gained, look.colours(gained), against="default")

    assert spoken.text(chart, "What tuning gained").endswith("; 8 more.")


@pytest.mark.parametrize("chart", [timeline.figure([], {}), outcome.losses([])])
def test_a_figure_of_nothing_says_so(chart):
    assert spoken.text(chart, "Empty").endswith("nothing is drawn.")
