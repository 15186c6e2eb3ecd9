"""Figures on a page: each downloads as an image from its own toolbar, and as numbers below it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import unescape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from plotly.basedatatypes import BaseTraceType

from autotune.app import curves, listing, look, spoken
from autotune.app.points import Curves

_WHOSE = re.compile(r"(trial|seed) %\{customdata(\[0\])?\}")
SCALE = 2  # pixels of an image for each of the page


def figure(
    chart: go.Figure,
    key: str,
    *,
    says: str,
    place: Any = st,
    numbers: Callable[[], pd.DataFrame] | None = None,
    **selecting: Any,
) -> Any:
    """Draw a figure with its numbers to download; return what is selected in it.

    Args:
        chart: The figure.
        key: Its name on the page and of its files.
        says: Its title for readers who cannot see it; the rest of that text is read off it.
        place: Where it is drawn: a column, or the page itself.
        numbers: What its file of numbers holds; None: what is drawn.
        selecting: ``on_select`` and ``selection_mode`` of ``st.plotly_chart``.
    """
    image = {"format": "png", "filename": key, "scale": SCALE}
    config = {**look.CONFIG, "toImageButtonOptions": image}
    alt = spoken.text(chart, says)
    selected = place.plotly_chart(chart, key=key, config=config, alt=alt, **selecting)
    place.download_button(
        "CSV",
        data=lambda: listing.csv(numbers() if numbers else frame(chart)),
        file_name=f"{key}.csv",
        mime="text/csv",
        key=f"{key} csv",
        on_click="ignore",
        type="tertiary",
    )
    return selected


def against(place: Any, axes: Iterable[str], key: str) -> str:
    """Let the reader choose what a figure is drawn against.

    Args:
        place: Where the choice stands.
        axes: What may be chosen, as in ``clock``.
        key: Its name in the address.
    """
    chosen: str = place.selectbox("Against", list(axes), key=key, bind="query-params")
    return chosen


def metric(place: Any, *known: Curves) -> str:
    """Let the reader choose what a figure draws of curves, by its key in ``curves.METRICS``.

    Args:
        place: Where the choice stands.
        known: Curves by trial, of one study or several, one of which has it.
    """
    chosen: str = place.selectbox(
        "Metric",
        curves.metrics(*known),
        format_func=curves.METRICS.__getitem__,
        key="metric",
        bind="query-params",
    )
    return chosen


def frame(chart: go.Figure) -> pd.DataFrame:
    """Return what a figure of lines, points and bars draws, a row for each of them."""
    below, beside = spoken.axes(chart)
    x, y = below or "x", beside or "y"
    names = ("series", x, y if y != x else f"{y} (up)")
    rows = [
        row
        for trace in chart.data
        if getattr(trace, "fill", None) != "toself"
        for row in _rows(trace)
    ]
    found = pd.DataFrame([{**dict(zip(names, row[:3], strict=True)), **row[3]} for row in rows])
    return found if rows else pd.DataFrame(columns=list(names))


def _rows(trace: BaseTraceType) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Yield series, place and height of each mark, and what else is known of it."""
    name = unescape(trace.name or "")
    known = {
        **_said(trace),
        "from": getattr(trace, "base", None),
        "above": _ends(trace, "array"),
        "below": _ends(trace, "arrayminus"),
    }
    more = {title: values for title, values in known.items() if values is not None}
    xs, ys = ([] if values is None else list(values) for values in (trace.x, trace.y))
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if y is not None:  # a gap in a line
            yield name, x, y, {title: values[i] for title, values in more.items()}


def _said(trace: BaseTraceType) -> dict[str, list[Any]]:
    """Return the trial or the seed of each mark, where its hover text says it."""
    said = _WHOSE.match(getattr(trace, "hovertemplate", None) or "")
    if said is None or trace.customdata is None:
        return {}
    whole = said[2] is None
    return {said[1]: [each if whole else each[0] for each in trace.customdata]}


def _ends(trace: BaseTraceType, name: str) -> Sequence[float] | None:
    bars = getattr(trace, "error_x", None)
    values: Sequence[float] | None = None if bars is None else bars[name]
    return values
