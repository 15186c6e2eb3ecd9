"""The page of kernels shows what ``autotune bench step --save`` wrote."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from autotune.app import serve, steps, terms
from autotune.app.terms import Terms
from autotune.bench.step.results import PeerRow, Result, Row, Streaming
from autotune.cli.views.json import document
from autotune.errors import SpecError

TIMES = {
    "shapes": "small",
    "dtype": "float32",
    "ms_min": 1.0,
    "noisy": False,
    "host_ms": 2.0,
    "us_per_tensor": 1.0,
    "bytes_per_param": 28.0,
    "state_bytes_per_param": 8.0,
    "stream_fraction": 0.9,
    "peak_bytes": None,
}


@pytest.fixture
def folder(tmp_path):
    """A folder with one result, beside files that are none."""
    own = {"first_step_s": None, "next_first_step_s": None, **TIMES}
    rows = (
        Row(optimizer="adan", backend="numba", ms=2.0, ms_q1=1.5, ms_q3=2.25,
            ratios={"timm-adan": 3.0, "torch-adamw": 1.5}, **own),
        Row(optimizer="adamw", backend="torch", ms=4.0, ms_q1=4.0, ms_q3=4.0,
            ratios={"timm-adan": 1.5, "torch-adamw": 0.75}, **own),
    )  # fmt: skip
    peers = (
        PeerRow(peer="timm-adan", optimizer="adan", ms=6.0, ms_q1=6.0, ms_q3=7.0, **TIMES),
        PeerRow(peer="torch-adamw", optimizer="adamw", ms=3.0, ms_q1=3.0, ms_q3=3.0, **TIMES),
    )
    machine = {"device": "a CPU", "date": "2026-11-22T08:59:11+00:00", "commit": None}
    result = Result(
        machine=machine, device="cpu", threads=1, shapes="small", tensors=10, parameters=1000,
        dtype="float32", rounds=5, rounds_planned=5, torch_first_s=None, rows=rows, peers=peers,
        stream=Streaming(kind="scale", gb_per_s=34.0, gb_per_s_q1=30.0, gb_per_s_q3=40.0),
        not_installed={}, absent={"authors-adan": "runs on cuda only"},
    )  # fmt: skip
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "small.json").write_text(document(bench=result), encoding="utf-8")
    (tmp_path / "a.json").write_text('{"bench": {"rows": [1]}}', encoding="utf-8")
    (tmp_path / "b.json").write_text("no JSON", encoding="utf-8")
    return tmp_path


def test_what_was_saved_is_read(folder):
    found = {name: steps.read(path) for name, path in steps.files(folder).items()}
    result = found.pop("here/small.json")

    assert found == {"a.json": None, "b.json": None}
    assert [(step.rule, step.name, step.ms, step.peer) for step in result.steps] == [
        ("adamw", "torch-adamw", 3.0, None),
        ("adamw", "torch", 4.0, 0.75),
        ("adan", "numba", 2.0, 3.0),
        ("adan", "timm-adan", 6.0, None),
    ]
    assert result.about.startswith("small: 10 tensors, 1,000 parameters in float32, on a CPU (cpu")
    assert result.absent == {"authors-adan": "runs on cuda only"}


def test_bars_reach_to_the_median_and_whiskers_to_the_quartiles(folder):
    result = steps.read(folder / "here" / "small.json")

    (bars,) = steps.figure(result.steps).data

    assert list(bars.y) == ["timm-adan", "adan numba", "adamw torch", "torch-adamw"]
    assert (bars.x[1], bars.error_x.array[1], bars.error_x.arrayminus[1]) == (2.0, 0.25, 0.5)


def _script():
    from autotune.app.pages import kernels

    kernels.page()


@pytest.fixture
def kernels(monkeypatch):
    """Draw the page of a folder."""

    def draw(folder):
        monkeypatch.setattr(terms, "_agreed", [Terms(benchmarks=folder)])
        return AppTest.from_function(_script, default_timeout=30).run()

    return draw


def test_the_page_shows_results_alone(kernels, folder):
    at = kernels(folder)

    assert not at.exception
    assert at.selectbox(key="result").options == ["here/small.json"]
    assert len(at.dataframe[0].value) == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [(False, "No folder with benchmarks was given"), (True, "holds no result of autotune bench")],
)
def test_without_results_the_page_says_how_to_make_them(kernels, tmp_path, given, said):
    at = kernels(tmp_path if given else None)

    assert said in at.info[0].value
    assert at.code[0].value.startswith("autotune bench step")


def test_a_folder_that_is_none_is_refused(tmp_path):
    sentence = f"--benchmarks must name a folder that exists, got {tmp_path / 'none'}"

    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        serve.serve(
            "sqlite:///x.db", "127.0.0.1", 0, False, allowed=Terms(benchmarks=tmp_path / "none")
        )
