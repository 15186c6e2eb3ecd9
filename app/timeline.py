"""When each worker ran which trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.studies.records import AttemptRecord, TrialRecord, TrialState

WORKERS = 40  # rows of the chart; the newest workers are drawn
BARS = 1000  # the newest attempts are drawn


def figure(attempts: Sequence[AttemptRecord], trials: Mapping[int, TrialRecord]) -> go.Figure:
    """Draw a bar for each attempt in the colour of its trial's state, workers below each other.

    A worker that runs several trials at once has as many rows.

    Args:
        attempts: Of one study, in the order in which they began.
        trials: Of that study, by id.
    """
    drawn = [one for one in attempts if one.trial in trials][-BARS:]
    placed = list(zip(drawn, _rows(drawn), strict=True))
    rows = list(dict.fromkeys(row for _, row in reversed(placed)))[:WORKERS]
    start = min((one.started for one in drawn), default=None)
    chart = go.Figure()
    for state in TrialState:
        here = [
            (one, row) for one, row in placed if row in rows and trials[one.trial].state is state
        ]
        own = [one for one, _ in here]
        if start is None or not own:
            continue
        begins = [(one.started - start).total_seconds() / 60 for one in own]
        ends = [(_end(one) - start).total_seconds() / 60 for one in own]
        chart.add_bar(
            name=state.value,
            base=begins,
            x=[end - begin for begin, end in zip(begins, ends, strict=True)],
            y=[words.markup(row) for _, row in here],
            orientation="h",
            marker={"color": look.STATES[state]},
            customdata=[_note(one, trials[one.trial]) for one in own],
            hovertemplate="%{customdata}<extra>%{y}</extra>",
        )
    look.frame(chart, x="time since the first attempt (minutes)", y="", height=152 + 28 * len(rows))
    return chart.update_layout(barmode="overlay", yaxis={"categoryorder": "category descending"})


def _rows(attempts: Sequence[AttemptRecord]) -> list[str]:
    """Return the row of each attempt: the first of its worker that no earlier one still takes."""
    taken: dict[str, list[datetime]] = {}
    rows = []
    for one in attempts:
        until = taken.setdefault(one.worker, [])
        free = next((i for i, end in enumerate(until) if end <= one.started), len(until))
        until[free : free + 1] = [_end(one)]
        rows.append(f"{one.worker} ({free + 1})" if free else one.worker)
    return rows


def _end(attempt: AttemptRecord) -> datetime:
    return attempt.ended or attempt.heartbeat


def _note(attempt: AttemptRecord, trial: TrialRecord) -> str:
    return f"trial {trial.number}, attempt {attempt.number}: {attempt.outcome or 'running'}"
