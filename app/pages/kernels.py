"""How long a step of each optimizer takes, from saved benchmarks."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from autotune.app import drawn, picker, steps, terms, words
from autotune.app.steps import Result

MAKE = """autotune bench step --shapes resnet50 --save results/resnet50.json
autotune dashboard --benchmarks results"""
NUMBER = st.column_config.NumberColumn(format="%.4g")
FORMATS = {
    "ms": NUMBER,
    "lower quartile": NUMBER,
    "upper quartile": NUMBER,
    "of the bandwidth": st.column_config.NumberColumn(format="percent"),
    steps.PEER: NUMBER,
}


def page() -> None:
    """Draw the page."""
    st.header("Kernels")
    folder = terms.agreed().benchmarks
    found = {} if folder is None else _results(folder)
    if not found:
        _none(folder)
        return
    result = found[picker.pick("result", list(found))]
    st.caption(words.plain(result.about))
    rules = st.multiselect("Rules", result.rules, key="rules", bind="query-params")
    shown = [step for step in result.steps if not rules or step.rule in rules]
    drawn.figure(
        steps.figure(shown),
        "steps",
        says="Time of a step",
        numbers=lambda: steps.table(shown),
    )
    st.caption("Coloured by backend: ours, named by rule and backend; grey: other packages'.")
    table = steps.table(shown)
    st.dataframe(table, hide_index=True, column_config=FORMATS, alt="times of steps")
    if any(step.noisy for step in shown):
        st.caption(
            "Noisy: quartiles over a tenth of the median apart; a quieter machine tells more."
        )
    for what, why in result.absent.items():
        st.caption(words.plain(f"not measured: {what}: {why}"))


def _results(folder: Path) -> dict[str, Result]:
    """Return the results in a folder by file, the newest files read again."""
    stamped = {name: (path, path.stat().st_mtime_ns) for name, path in steps.files(folder).items()}
    read = {name: _read(str(path), stamp) for name, (path, stamp) in stamped.items()}
    return {name: result for name, result in read.items() if result is not None}


@st.cache_resource(max_entries=2 * steps.FILES, show_spinner=False)
def _read(path: str, stamp: int) -> Result | None:
    return steps.read(Path(path))


def _none(folder: Path | None) -> None:
    """Say why there is nothing to show, and how to make it."""
    if folder is None:
        st.info("No folder with benchmarks was given. Measure steps, and name it:")
    else:
        st.info(f"{words.plain(str(folder))} holds no result of autotune bench step. Make one:")
    st.code(MAKE, language="bash", wrap_lines=True)


if __name__ == "__main__":
    page()
