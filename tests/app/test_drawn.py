"""The numbers of a figure are a table that a spreadsheet reads, and picks are text."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest
import streamlit as st

from autotune.app import drawn, history, look, outcome, picks, timeline
from autotune.results.intervals import Estimate


def test_points_are_rows_of_their_series_with_their_trial(trial):
    trials = [trial(0, loss=2.0), trial(1, loss=1.0)]

    table = drawn.frame(history.figure(trials, "#000000"))

    assert list(table) == ["series", "trial", "validation loss"]
    assert table[table["series"] == "complete"].values.tolist() == [
        ["complete", 0, 2.0],
        ["complete", 1, 1.0],
    ]


def test_intervals_are_columns():
    gained = {"adan": Estimate(mean=-0.2, low=-0.3, high=-0.1, n=3)}

    table = drawn.frame(outcome.differences(gained, {"adan": "#000000"}, against="default"))

    assert list(table) == ["series", "loss of tuned minus default", "y", "above", "below"]
    assert table.iloc[0].tolist() == ["adan", -0.2, "adan", pytest.approx(0.1), pytest.approx(0.1)]


def test_shades_and_gaps_are_no_rows():
    chart = go.Figure()
    chart.add_scatter(x=[1, 2], y=[1, 2], fill="toself", name="band")
    chart.add_scatter(x=[1, None, 2], y=[1, None, 2], name="a &amp; b")
    look.frame(chart, x="step", y="")

    assert drawn.frame(chart).values.tolist() == [["a & b", 1, 1], ["a & b", 2, 2]]


def test_a_figure_of_nothing_is_an_empty_table():
    assert list(drawn.frame(timeline.figure([], {}))) == [
        "series",
        "time since the first attempt (minutes)",
        "y",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [("3", {3}), ("1, 3-5,", {1, 3, 4, 5}), ("8-999999999", {8, 9}), ("5-3", set())],
)
def test_numbers_and_ranges_are_read(text, found):
    assert picks.numbers(text, last=9) == found


@pytest.mark.parametrize("text", ["best", "1;2", "-3", "1-2-3", "9" * 12])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(
        ValueError, match=r"^trials must be numbers and ranges, as 3, 7, 20-30, got"
    ):
        picks.numbers(text, last=9)


def test_picks_are_written_as_they_are_read():
    chosen = [7, 1, 2, 3, 9]

    assert picks.text_of(chosen) == "1-3, 7, 9"
    assert picks.numbers(picks.text_of(chosen), last=9) == set(chosen)


def _selection(count, **frames):
    points = [{"y": float(-i), "customdata": [2 * i, "note"]} for i in range(count)]
    return {"selection": {"points": [*points, {"y": 0.0}], "box": [], "lasso": [], **frames}}


@pytest.mark.parametrize(
    ("selection", "picked"),
    [
        (_selection(2, box=[{}]), "0, 2"),
        (_selection(1, lasso=[{}]), "0"),
        (_selection(1), None),  # a click
    ],
)
def test_framed_points_are_picked_and_a_click_is_not(monkeypatch, selection, picked):
    state = {"history": selection}
    monkeypatch.setattr(st, "session_state", state)

    picks.take("history")

    assert state.get(picks.KEY) == picked


def test_of_many_framed_points_the_lowest_are_picked(monkeypatch):
    state = {"history": _selection(picks.MOST + 5, box=[{}])}
    monkeypatch.setattr(st, "session_state", state)

    picks.take("history")

    found = picks.numbers(state[picks.KEY], last=10**6)
    assert (len(found), min(found)) == (picks.MOST, 10)
