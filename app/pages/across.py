"""Two searches of the same task side by side."""

from __future__ import annotations

import streamlit as st

from autotune.app import across, anytime, curves, judged, look, outcome, picker, queries, words
from autotune.app.across import Pair
from autotune.app.queries import Snapshot


def page() -> None:
    """Draw the page."""
    st.header("Two searches")
    url = queries.storage()
    left, right = st.columns(2)
    with left:
        one = picker.search(url)
    if one is None:
        return
    with right:
        other = picker.another(url, one.search.name)
    if other is None:
        st.info("There is one search here; a second one of the same task can be set beside it.")
        return
    refused = across.refusal(one.search, other.search)
    if refused:
        st.info(words.plain(refused))
        return
    pair = Pair(one=one.comparison, other=other.comparison)
    st.subheader(words.plain(across.conclusion(pair)))
    st.dataframe(across.table(pair), hide_index=True, alt="tuned settings of both searches")
    if any(row.tuned.loss or row.default.loss for row in pair.rows):
        _judged(pair)
        _curves(url, pair, (one, other))
    _cost(pair, (one, other))


def _judged(pair: Pair) -> None:
    st.subheader("Loss at full length")
    st.plotly_chart(outcome.losses(pair.rows), key="losses", config=look.CONFIG)
    gained = across.differences(pair)
    if not gained:
        st.caption(
            "The searches share no seeds and optimizers, so there are no paired differences."
        )
        return
    first, second = pair.names
    st.caption(f"Below: {words.plain(second)} less {words.plain(first)}, paired by seed.")
    chart = outcome.differences(gained, look.colours(gained), against=f"tuned in {first}")
    st.plotly_chart(chart, key="differences", config=look.CONFIG)


def _curves(url: str, pair: Pair, both: tuple[Snapshot, Snapshot]) -> None:
    st.subheader("Learning curves of the judged settings")
    own = [{name: queries.curves(url, each, name) for name in each.trials} for each in both]
    known = pair.merged(*own)
    trials = pair.merged(both[0].trials, both[1].trials)
    every = {key: points for one in known.values() for key, points in one.items()}
    pick, switch = st.columns([2, 5], vertical_alignment="bottom")
    metric = pick.selectbox(
        "Metric",
        curves.metrics(every),
        format_func=curves.METRICS.__getitem__,
        key="metric",
        bind="query-params",
    )
    log = switch.toggle("Logarithmic", key="logcurves", bind="query-params")
    bands = judged.bands(pair.rows, trials, known, metric)
    if not bands:
        st.info("No curve of a judged run was recorded.")
        return
    chart = judged.figure(bands, metric=metric, log=log)
    st.plotly_chart(chart, key="judged", config=look.CONFIG)


def _cost(pair: Pair, both: tuple[Snapshot, Snapshot]) -> None:
    trials = pair.merged(both[0].trials, both[1].trials)
    lines = {name: anytime.progress(those) for name, those in trials.items()}
    if any(line.costs for line in lines.values()):
        st.subheader("Best loss against cost")
        st.plotly_chart(anytime.figure(lines), key="anytime", config=look.CONFIG)


if __name__ == "__main__":
    page()
