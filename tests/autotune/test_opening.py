"""When a stored search goes on, and when the same name is another search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from autotune.errors import AlreadyThere, SpecError
from autotune.search.carried import task_arguments
from autotune.search.opening import checked, open_search, prepare
from autotune.studies.models import Search
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store
from autotune.tasks.precision import Precision
from autotune.tasks.resolve import resolve

NET = """
from torch import nn

def net(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, classes))
"""


SLOWLY = """
import torch

class Slowly(torch.optim.SGD):
    def __init__(self, params, lr=0.1, grokfast_lamb=2.0):
        super().__init__(params, lr)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


@pytest.fixture
def spec(file: Path) -> SearchSpec:
    return parse({"model": f"{file}:net", "optimizers": ["adan"]})


@pytest.fixture
def store(tmp_path: Path, spec: SearchSpec) -> Iterator[Store]:
    with Store(f"{tmp_path}/autotune.db") as opened:
        open_search(checked(spec, opened), opened)
        yield opened


def test_a_comment_in_a_models_file_does_not_keep_its_search_from_going_on(
    file: Path, spec: SearchSpec, store: Store
) -> None:
    file.write_text(NET.replace("def net", "# the smallest that learns\ndef net"))
    assert open_search(checked(spec, store), store).search.id == store.searches()[0].id


def test_another_model_of_equal_size_is_another_search(
    file: Path, spec: SearchSpec, store: Store
) -> None:
    file.write_text(NET.replace("ReLU", "Tanh"))
    with pytest.raises(
        AlreadyThere,
        match=r"^search 'net' is already in sqlite:///.*autotune\.db with another content of its "
        r"data or model file; give --search NAME \(in Python, name=\) to begin a new one$",
    ):
        checked(spec, store)


@pytest.mark.parametrize(("budget", "rung"), [({"trials": 9}, 1), ({"minutes": 5}, 0)])
def test_counted_settings_all_run_to_the_second_rung(
    tmp_path: Path, file: Path, budget: dict[str, int], rung: int
) -> None:
    spec = parse({"model": f"{file}:net", "optimizers": ["adan"], "budget": budget})
    with Store(f"{tmp_path}/counted.db") as counted:
        [state] = open_search(checked(spec, counted), counted).states
    assert state.ladder.first == state.ladder.steps[rung]


@pytest.fixture
def half(tmp_path: Path) -> Iterator[tuple[SearchSpec, Store]]:
    """Give a search that was begun in bfloat16 on the CPU."""
    spec = parse({"model": "resnet-mini", "optimizers": ["adan"]})
    with Store(f"{tmp_path}/half.db") as opened:
        begun = open_search(checked(spec, opened), opened).search
        task = {**begun.task, "precision": Precision.BFLOAT16.value}
        with opened._database.writing() as connection:
            connection.execute(update(Search).values(task=task))
        yield spec, opened


def test_a_search_that_was_begun_in_bfloat16_goes_on_in_it(
    half: tuple[SearchSpec, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune.search.opening.has_bfloat16", lambda: True)
    spec, store = half
    found = open_search(checked(spec, store), store)
    arguments = task_arguments(spec, found.search.task)
    assert resolve(**arguments).facts()["precision"] == Precision.BFLOAT16


def test_a_search_in_bfloat16_does_not_go_on_where_the_processor_has_none(
    half: tuple[SearchSpec, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune.search.opening.has_bfloat16", lambda: False)
    with pytest.raises(SpecError, match=r"^search 'resnet-mini' computes on cpu in bf16 autocast"):
        checked(*half)


def test_a_new_search_says_nothing_of_its_precision(half: tuple[SearchSpec, Store]) -> None:
    spec, _ = half
    assert "precision" not in task_arguments(spec, resolve("resnet-mini").facts())


def test_a_slow_mean_is_searched_as_long_as_runs_are(
    file: Path, spec: SearchSpec, store: Store
) -> None:
    for steps in (243, 81):
        asked = spec.model_copy(update={"optimizers": ("ademamix",), "steps": steps})
        space = checked(asked.model_copy(update={"name": f"of-{steps}"}), store).spaces["ademamix"]
        longest = space.parameters["one_minus_beta3"].at(0.0)
        assert longest == pytest.approx(1 - 0.5 ** (3 / steps))


@pytest.mark.parametrize(
    ("optimizer", "space", "why"),
    [
        ("adamw", {"gradient_filter": "marss"}, "gradient_filter must be 'none', 'mars' or"),
        ("adagrad", {"gradient_filter": ["none", "mars"]}, "gradient_filter must be 'none' for A"),
        ("adamw-mars", {"layer_clip": {"low": 0.1, "high": 1.0}}, "gradient_filter must be 'none'"),
        ("lamb", {"update_clip": {"high": 0.2}}, "update_clip must be 0.0 for LAMB"),
        ("adamw", {"amsgrad": "on"}, "amsgrad must be True or False, got 'on'"),
        ("adan", {"decay": ["proximal", "couple"]}, "decay must be 'proximal' or 'decoupled'"),
        ("ademamix", {"alpha": -1}, "alpha must be at least 0"),
        ("adan", {"update_clip": 0.1, "cautious": [False, True]}, "update_clip must be 0.0 when c"),
    ],
)
def test_options_that_an_optimizer_refuses_are_refused_before_anything_is_stored(
    optimizer: str, space: dict[str, Any], why: str
) -> None:
    asked = parse({"model": "mlp", "optimizers": [optimizer], "space": space, "steps": 12})
    with pytest.raises(SpecError, match=rf"^{optimizer} does not take what its space holds: {why}"):
        prepare(asked)


@pytest.mark.parametrize(
    ("space", "switch"),
    [
        ({"mars_gamma": 0.1}, "gradient_filter is 'mars'"),
        ({"gradient_filter": "grokfast", "mars_gamma": 0.1}, "gradient_filter is 'mars'"),
        ({"layer_split": "dim"}, "layer_clip is above 0"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(space: dict[str, Any], switch: str) -> None:
    asked = parse({"model": "mlp", "optimizers": ["adamw"], "space": space, "steps": 12})
    with pytest.raises(SpecError, match=rf"has an effect only where {switch}; set space\."):
        prepare(asked)


def test_an_option_may_be_set_for_the_one_optimizer_that_reads_it() -> None:
    both, space = ["adamw", "adamw-mars"], {"mars_gamma": 0.1}
    assert prepare(parse({"model": "mlp", "optimizers": both, "space": space, "steps": 12}))


def test_arguments_of_another_package_by_such_a_name_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slowly.py").write_text(SLOWLY)
    monkeypatch.syspath_prepend(tmp_path)
    asked = {"optimizers": ["slowly.Slowly"], "space": {"grokfast_lamb": 1.0}, "steps": 12}
    assert prepare(parse({"model": "mlp", **asked}))
