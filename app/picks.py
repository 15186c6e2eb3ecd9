"""Which trials a study's figures show: one filter for all of them, kept in the address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import streamlit as st

from autotune.app import listing, words
from autotune.studies.records import TrialRecord, TrialState

KEY, TAKEN = "picked", "picks were taken"
MOST = 300  # picked trials: an address has to stay short enough for browsers
_PART = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?")


def chosen(trials: Sequence[TrialRecord]) -> frozenset[int] | None:
    """Let the reader choose trials; return their numbers, None for all."""
    left, middle, right = st.columns(3)
    values = [state.value for state in TrialState]
    states = left.multiselect("State", values, key="states", bind="query-params")
    text = middle.text_input("Contains", key="text", bind="query-params", placeholder="any text")
    picked = right.text_input(
        "Trials",
        key=KEY,
        bind="query-params",
        placeholder="all, or as 3, 7, 20-30",
        help="Numbers and ranges; select points in a figure to fill this in",
    )
    wanted = _wanted(picked or "", trials)
    if not states and not text and wanted is None:
        return None
    matching = listing.matching(trials, states, (), text or "")
    found = frozenset(t.number for t in matching if wanted is None or t.number in wanted)
    shown = "No trial matches." if not found else f"{len(found)} of {len(trials)} trials match."
    st.caption(f"{shown} What is told of all trials together, such as importance, is not filtered.")
    return found


def _wanted(text: str, trials: Sequence[TrialRecord]) -> set[int] | None:
    if not text.strip():
        return None
    try:
        return numbers(text, max((trial.number for trial in trials), default=0))
    except ValueError as error:
        st.warning(words.plain(str(error)))
        return None


def numbers(text: str, last: int) -> set[int]:
    """Return the trial numbers that a text names, up to ``last``.

    Raises:
        ValueError: It names something else.
    """
    found: set[int] = set()
    for part in filter(None, (each.strip() for each in text.split(","))):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"trials must be numbers and ranges, as 3, 7, 20-30, got '{part}'")
        low, high = int(match[1]), int(match[2] or match[1])
        found.update(range(low, min(high, last) + 1))
    return found


def text_of(chosen: Iterable[int]) -> str:
    """Return numbers as ``numbers`` reads them, neighbours as ranges."""
    runs: list[list[int]] = []
    for number in sorted(set(chosen)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def take(figure: str) -> None:
    """Take what was framed in a figure as the picked trials; a click on a point picks nothing.

    Args:
        figure: Its key; the first thing that its points know is a trial's number.
    """
    selection = st.session_state[figure]["selection"]
    if not (selection["box"] or selection["lasso"]):
        return
    points = [point for point in selection["points"] if point.get("customdata")]
    if points:
        best = sorted(points, key=_height)[:MOST]
        st.session_state[KEY] = text_of(int(point["customdata"][0]) for point in best)
        st.session_state[TAKEN] = True


def taken() -> bool:
    """Return whether points were framed since this was asked last."""
    return bool(st.session_state.pop(TAKEN, False))


def _height(point: dict[str, object]) -> float:
    value = point.get("y")
    return float(value) if isinstance(value, (int, float)) else float("inf")
