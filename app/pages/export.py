"""A found setting in the form that another tool reads."""

from __future__ import annotations

import streamlit as st

from autotune import export
from autotune.app import picker, queries, words
from autotune.errors import AutotuneError
from autotune.results.tuned import tuned
from autotune.studies.store import Store

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
    which = columns[2].selectbox("Setting", ["tuned", "default"], key="which", bind="query-params")
    format = columns[3].selectbox("Format", export.formats(), key="fmt", bind="query-params")
    try:
        with Store(url, read_only=True) as store:
            text = export.render(tuned(store, snapshot.search.name, optimizer, which), format)
    except AutotuneError as error:
        st.info(words.plain(str(error)))
        return
    suffix = export.suffix(format)
    st.code(text, language=LANGUAGES.get(suffix))
    st.download_button(
        "Download",
        data=text,
        file_name=f"{optimizer}{suffix}",
        mime="text/plain",
        on_click="ignore",
    )


if __name__ == "__main__":
    page()
