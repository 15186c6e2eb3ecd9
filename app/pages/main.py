"""The dashboard's entry script: page setup and navigation, nothing else.

It stands among its pages because Streamlit reads a folder named ``pages`` beside an entry script
as another kind of app.
"""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from autotune.app import look, words
from autotune.errors import AutotuneError

PAGES = ("overview", "compare", "across", "study", "export", "kernels")
TITLES = {"across": "Two searches"}
LINKED = "trial"  # reached from other pages, and by its address


def run() -> None:
    """Run the page that the address names; what the store refuses is one sentence on it."""
    st.set_page_config(page_title="autotune", page_icon=look.ICON, layout="wide")
    st.html(look.STYLE)
    pages = [_page(name) for name in PAGES]
    pages.append(st.Page(f"{LINKED}.py", title=LINKED.capitalize(), visibility="hidden"))
    page = st.navigation(pages, position="top")
    try:
        page.run()
    except AutotuneError as error:
        st.error(words.plain(str(error)))


def _page(name: str) -> StreamlitPage:
    title = TITLES.get(name, name.capitalize())
    return st.Page(f"{name}.py", title=title, default=name == PAGES[0])


# Streamlit runs scripts under this name; an import must not draw anything.
if __name__ == "__main__":
    run()
