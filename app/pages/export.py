"""A found setting in the form that another tool reads."""

from __future__ import annotations

import streamlit as st

from autotune import export
from autotune.app import picker, queries, words
from autotune.errors import AutotuneError
from autotune.export import stored

TRIAL, USUAL = "trial", "torch"
WHICH = ("tuned", "default", TRIAL)
LANGUAGES = {".json": "json", ".py": "python", ".yaml": "yaml"}


def page() -> None:
    """Draw the page."""
    st.header("Export")
    url = queries.storage()
    columns = st.columns(4)
    with columns[0]:
        snapshot = picker.search(url)
    if snapshot is None:
        return
    with columns[1]:
        optimizer = picker.optimizer(snapshot)
    which = columns[2].selectbox("Setting", list(WHICH), key="which", bind="query-params")
    trial = None
    if which == TRIAL and (trial := picker.trial(snapshot, optimizer)) is None:
        st.info(f"No trial of {optimizer} yet.")
        return
    known = export.formats()
    format = columns[3].selectbox(
        "Format", known, index=known.index(USUAL), key="fmt", bind="query-params"
    )
    try:
        found = stored.record(
            url,
            snapshot.search.name,
            optimizer,
            which=which,
            number=None if trial is None else trial.number,
        )
        text = export.render(found, format)
    except (AutotuneError, ValueError) as error:  # its optimizer may not be installed here
        st.info(words.plain(str(error)))
        return
    suffix = export.suffix(format)
    st.code(text, language=LANGUAGES.get(suffix), wrap_lines=True)
    st.download_button(
        "Download",
        data=text,
        file_name=f"{optimizer}{suffix}",
        mime="text/plain",
        on_click="ignore",
    )


if __name__ == "__main__":
    page()
