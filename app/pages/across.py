"""Two searches of the same task side by side."""

from __future__ import annotations

import streamlit as st

from autotune.app import across, contenders, drawn, look, outcome, picker, queries, words
from autotune.app.across import Pair
from autotune.app.kept import Snapshot


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
    st.subheader(words.plain(words.headline(across.conclusion(pair))))
    st.dataframe(across.table(pair), hide_index=True, alt="tuned settings of both searches")
    if any(row.tuned.loss or row.default.loss for row in pair.rows):
        _judged(pair)
    _over_time(url, pair, (one, other))


def _judged(pair: Pair) -> None:
    st.subheader("Loss at full length")
    chart = outcome.losses(pair.rows, references=False)
    drawn.figure(chart, "losses", says="Loss at full length")
    gained = across.differences(pair)
    if not gained:
        st.caption(
            "The searches share no seeds and optimizers, so there are no paired differences."
        )
        return
    first, second = pair.names
    st.caption(f"Below: {words.plain(second)} less {words.plain(first)}, paired by seed.")
    chart = outcome.differences(gained, look.colours(gained), against="that of the first")
    drawn.figure(chart, "differences", says="What the second search gained")


def _over_time(url: str, pair: Pair, both: tuple[Snapshot, Snapshot]) -> None:
    trials = pair.merged(both[0].trials, both[1].trials)
    if any(row.tuned.loss or row.default.loss for row in pair.rows):
        own = [{name: queries.curves(url, each, name) for name in each.trials} for each in both]
        contenders.draw_curves(pair.rows, trials, pair.merged(*own), references=False)
    contenders.draw_spending(trials)


if __name__ == "__main__":
    page()
