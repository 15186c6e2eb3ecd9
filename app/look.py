"""How charts look: one colour per optimizer, one symbol per state, titled axes, light and dark."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go

from autotune.app import words
from autotune.studies.records import TrialState

# Okabe and Ito's hues, their lightness moved until each stands out from white and from near-black.
BLUE, VERMILION, GREEN, PURPLE, OCHRE, SLATE, BROWN, PINK = PALETTE = (
    "#2a7fc1",
    "#d55e00",
    "#00916a",
    "#8a70d6",
    "#b07d00",
    "#6b8299",
    "#a5673f",
    "#c75b96",
)
NEUTRAL = "#808080"
BEHIND = 0.5  # opacity of grey bars, over which whiskers are seen
GRID = "rgba(128,128,128,0.22)"

FAMILIAR = ("adan", "adamw", "adan-win", "adan-win2", "adamw-win2", "lamb", "sgd", "adamw-win")

SYMBOLS = MappingProxyType(
    {
        TrialState.COMPLETE: "circle",
        TrialState.STOPPED: "circle-open",
        TrialState.PAUSED: "diamond-open",
        TrialState.RUNNING: "diamond",
        TrialState.WAITING: "square-open",
        TrialState.DIVERGED: "x",
        TrialState.FAILED: "triangle-up",
    }
)
STATES = MappingProxyType(
    {
        TrialState.COMPLETE: BLUE,
        TrialState.STOPPED: NEUTRAL,
        TrialState.PAUSED: PURPLE,
        TrialState.RUNNING: GREEN,
        TrialState.WAITING: SLATE,
        TrialState.DIVERGED: VERMILION,
        TrialState.FAILED: PINK,
    }
)

# The share button would post the figure to a stranger's server.
CONFIG: dict[str, Any] = {"showSendToCloud": False, "displaylogo": False}
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path d="M1 3c3 0 3 9 7 9s4-3 7-3" fill="none" stroke="#2a7fc1" stroke-width="2.5"/></svg>'
)
# Streamlit leaves room for a header that the viewer's toolbar does not need.
# Plotly draws the axes of parallel coordinates black, which a dark page hides. On a phone these
# are moved sideways, for their titles would overlap, and tabs wrap, for most would be hidden.
# Streamlit's captions and code are too pale to read on white.
STYLE = """<style>
[data-testid='stMainBlockContainer'] {padding-top: 4.5rem; padding-bottom: 3rem}
.parcoords .axis path, .parcoords .axis line {stroke: #808080 !important}
[data-testid='stCaptionContainer'] {color: inherit; opacity: 0.8}
code .token {color: light-dark(#0b5c8f, #79c0f2) !important}
code .token.string {color: light-dark(#1d6b34, #7fd99a) !important}
code .token.comment {color: light-dark(#56606b, #a3adb8) !important}
code .token.punctuation, code .token.operator {color: inherit !important}
@media (max-width: 640px) {
  .st-key-parallel {overflow-x: auto}
  .st-key-parallel > * {min-width: 44rem}
  [role='tablist'] {flex-wrap: wrap; row-gap: 0}
}
</style>"""
TOOLBAR, LINE = 32, 20  # heights above a plot, and of a legend's line, in pixels
BESIDE = 24  # characters of a line beside a plot
DASHES = ("solid", "dot", "dashdot", "longdash")
LONG, MOST_LINES = 16, 8  # characters of an entry; lines beyond which a legend scrolls
ENOUGH, MOST, FAR = 8, 0.9, 4  # losses, a share of them, and times their spread: see ``focus``
MANY = 1000  # points beyond which they are drawn small


def colours(optimizers: Iterable[str]) -> dict[str, str]:
    """Return a colour for each optimizer; the same names get the same colours on every page.

    In two searches, "adan, wide" has the colour of "adan".
    """
    own = {name: words.optimizer_of(name) for name in optimizers}
    names = sorted(set(own.values()))
    chosen = {name: PALETTE[FAMILIAR.index(name)] for name in names if name in FAMILIAR}
    free = [colour for colour in PALETTE if colour not in chosen.values()] or list(PALETTE)
    others = [name for name in names if name not in chosen]
    chosen |= {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: chosen[optimizer] for name, optimizer in own.items()}


def dashes(optimizers: Iterable[str]) -> dict[str, str]:
    """Return a dash for each optimizer's line: those of one colour differ in it."""
    used: Counter[str] = Counter()
    found = {}
    for name, colour in colours(optimizers).items():
        found[name] = DASHES[used[colour] % len(DASHES)]
        used[colour] += 1
    return found


def frame(
    figure: go.Figure, *, x: str, y: str, height: int = 380, legend: bool = True
) -> go.Figure:
    """Title the axes, put the legend below the plot and trim the margins."""
    lines = _legend_lines(figure) if legend else 1
    figure.update_layout(
        height=height + LINE * (lines - 1),
        # Above the plot is the toolbar, which touch screens always show; a legend may take lines.
        margin={"l": 12, "r": 12, "t": TOOLBAR, "b": 12},
        showlegend=legend,
        hovermode="closest",
        hoverlabel={"namelength": -1},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "tracegroupgap": 0,
            "title": None,
        },
    )
    axis = {"automargin": True, "gridcolor": GRID, "zeroline": False}
    figure.update_traces(marker_line_width=0, selector={"type": "bar"})  # white in the dark
    figure.update_xaxes(title_text=x, **axis)
    figure.update_yaxes(title_text=y, **axis)
    return figure


def break_names(figure: go.Figure) -> go.Figure:
    """Break the long names beside a plot into lines: a phone has no room for them."""
    names = list(dict.fromkeys(name for trace in figure.data for name in trace.y))
    lines = [wrap(n, BESIDE, break_long_words=False, break_on_hyphens=False) for n in names]
    return figure.update_yaxes(tickvals=names, ticktext=["<br>".join(each) for each in lines])


def _legend_lines(figure: go.Figure) -> int:
    """Return how many lines a legend takes on a phone, where two short entries fit into one."""
    entries = {t.legendgroup or t.name or "" for t in figure.data if t.showlegend is not False}
    halves = sum(1 if len(name) < LONG else 2 for name in entries)
    return max(1, min(MOST_LINES, (halves + 1) // 2))


def log_axis(figure: go.Figure, values: Iterable[float], **where: int) -> go.Figure:
    """Make the loss axis logarithmic, when every value allows it."""
    if all(value > 0 for value in values):
        figure.update_yaxes(type="log", minor={"ticks": "outside"}, **where)
    return figure


def focus(
    figure: go.Figure, losses: Sequence[float], kept: Sequence[float] = (), **where: int
) -> go.Figure:
    """Leave the few losses out of sight that lie far above all others, and say how many.

    One of 30 would press those between 2 and 3 into a line. A double click shows everything.

    Args:
        figure: What is drawn, on a linear axis.
        losses: All that it shows.
        kept: Those that stay in sight wherever they are.
        where: Row and column of the plot among several.
    """
    if len(losses) < ENOUGH:
        return figure
    ordered = sorted(losses)
    low, near = ordered[0], ordered[int(MOST * (len(ordered) - 1))]
    limit = max([low + FAR * (near - low), *kept])
    seen = ordered[: bisect_right(ordered, limit)]
    out, room = len(ordered) - len(seen), 0.06 * (seen[-1] - low)
    if not out or not room:
        return figure
    figure.update_yaxes(range=[low - room, seen[-1] + room], **where)
    text = f"{out} above {limit:.3g} out of sight; a double click shows all"
    place = {"x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    return figure.add_annotation(text=text, xref="paper", yref="paper", showarrow=False, **place)


def interval(estimates: Iterable[Any]) -> Mapping[str, Any]:
    """Return error bars from the bounds of estimates; none where a single value was given."""
    listed = list(estimates)
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if e.high is None else e.high - e.mean for e in listed],
        "arrayminus": [0.0 if e.low is None else e.mean - e.low for e in listed],
        "thickness": 2,
        "width": 6,
    }
