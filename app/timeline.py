"""When each worker ran which trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.studies.records import AttemptRecord, TrialRecord, TrialState

WORKERS = 40  # rows of the chart; the newest workers are drawn
BARS = 1000  # the newest attempts are drawn


def figure(attempts: Sequence[AttemptRecord], trials: Mapping[int, TrialRecord]) -> go.Figure:
    """Draw a bar for each attempt, in its worker's row, in the colour of its trial's state.

    Args:
        attempts: Of one study, in the order in which they began.
        trials: Of that study, by id.
    """
    drawn = [one for one in attempts if one.trial in trials][-BARS:]
    rows = list(dict.fromkeys(one.worker for one in reversed(drawn)))[:WORKERS]
    start = min((one.started for one in drawn), default=None)
    chart = go.Figure()
    for state in TrialState:
        own = [one for one in drawn if one.worker in rows and trials[one.trial].state is state]
        if start is None or not own:
            continue
        begins = [(one.started - start).total_seconds() / 60 for one in own]
        ends = [((one.ended or one.heartbeat) - start).total_seconds() / 60 for one in own]
        chart.add_bar(
            name=state.value,
            base=begins,
            x=[end - begin for begin, end in zip(begins, ends, strict=True)],
            y=[words.markup(one.worker) for one in own],
            orientation="h",
            marker={"color": look.STATES[state], "line": {"width": 0.5, "color": "white"}},
            customdata=[_note(one, trials[one.trial]) for one in own],
            hovertemplate="%{customdata}<extra>%{y}</extra>",
        )
    look.frame(chart, x="time since the first attempt (minutes)", y="", height=132 + 28 * len(rows))
    return chart.update_layout(barmode="overlay", yaxis={"categoryorder": "category descending"})


def _note(attempt: AttemptRecord, trial: TrialRecord) -> str:
    return f"trial {trial.number}, attempt {attempt.number}: {attempt.outcome or 'running'}"
