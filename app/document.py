"""Pieces of an HTML file that needs nothing from outside: text, tables, figures, the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from autotune.app import look, spoken

STYLE = """
body {font: 16px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 0 auto;
      max-width: 68rem; padding: 1.5rem}
h1 {margin: 0 0 .25rem} h2 {margin: 2.5rem 0 .5rem; font-size: 1.25rem}
p, ul {margin: .5rem 0} .quiet {color: #57606a; font-size: .9rem} .verdict {font-size: 1.15rem}
.wide {overflow-x: auto} table {border-collapse: collapse; font-size: .9rem; margin: .75rem 0}
th, td {border-bottom: 1px solid #d0d7de; padding: .3rem .9rem .3rem 0; text-align: left;
        vertical-align: top; white-space: nowrap}
.long td {white-space: normal; overflow-wrap: anywhere} .long td:first-child {overflow-wrap: normal}
code {background: #f0f2f4; padding: .1rem .3rem; border-radius: .25rem; overflow-wrap: anywhere}
@media (prefers-color-scheme: dark) {
  body {color: #e4e8ec; background: #11151a} .quiet {color: #a3adb8}
  th, td {border-color: #39424c} code {background: #1b2128}
  .figure text:not(.hovertext *) {fill: #e4e8ec !important}
}
@media print {h2 {break-after: avoid} .figure {break-inside: avoid}}
"""


def title(text: str) -> str:
    """Write the title of the page."""
    return f"<h1>{escape(text)}</h1>"


def paragraph(text: str, kind: str = "") -> str:
    """Write a paragraph; ``kind`` is a class of the style, "verdict" or "quiet"."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def listing(texts: Iterable[str]) -> str:
    """Write a list."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def command(text: str, does: str) -> str:
    """Write a command to copy, and what it does."""
    return f"<p><code>{escape(text)}</code> {escape(does)}</p>"


def table(frame: pd.DataFrame, says: str, *, long: bool = False) -> str:
    """Write a data frame; cells are text, whatever they hold.

    Args:
        frame: The rows.
        says: Its title for readers who cannot see it.
        long: Whether long cells are broken into lines.
    """
    head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>"
        for row in frame.itertuples(index=False)
    )
    kind = "wide long" if long else "wide"
    # What may be wider than a page is scrolled by the keys of whoever has no mouse.
    scrolled = f'tabindex="0" role="region" aria-label="{escape(says)}"'
    return f'<div class="{kind}" {scrolled}><table><tr>{head}</tr>{rows}</table></div>'


def figure(chart: go.Figure, says: str) -> str:
    """Write a figure that the page's own copy of Plotly draws.

    Args:
        chart: The figure.
        says: Its title, for readers who cannot see it; the rest of that text is read off it.
    """
    alt = spoken.text(chart, says)
    clear = "rgba(0,0,0,0)"  # what is behind it is light or dark
    chart.update_layout(
        template="plotly_white", autosize=True, paper_bgcolor=clear, plot_bgcolor=clear
    )
    chart.update_yaxes(ticklabelstandoff=6)  # from the bars, as on the dashboard
    drawn = chart.to_html(full_html=False, include_plotlyjs=False, config=look.CONFIG)
    return f'<div class="figure" role="figure" aria-label="{escape(alt)}">{drawn}</div>'


def section(title: str, parts: Sequence[str]) -> str:
    """Write a titled section; nothing without parts."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def page(title: str, parts: Sequence[str]) -> str:
    """Write the file."""
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n<body><main>{body}</main></body></html>\n"
    )
