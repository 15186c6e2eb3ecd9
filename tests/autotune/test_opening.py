"""When a stored search goes on, and when the same name is another search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import AlreadyThere
from autotune.search.opening import checked, open_search
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store

NET = """
from torch import nn

def net(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, classes))
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
