"""Every registered engine keeps the contract, and one that refuses leaves all as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from autotune import registry
from autotune.engines.base import Engine
from autotune.errors import SpecError
from autotune.search.coordinator import run
from autotune.search.events import TrialEnded
from autotune.search.worker import Terms, work
from autotune.studies.records import SearchState
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store
from autotune.testing.engines import EngineContract

# Starting Ray for each promise takes minutes: test_engine_ray holds Ray to them on one cluster.
ENGINES = [name for name in registry.names("autotune.engines") if name != "ray"]


@pytest.fixture(scope="module", params=ENGINES)
def start(request: pytest.FixtureRequest, quick: Callable[..., Engine]) -> partial[Engine]:
    if request.param == "processes":
        return partial(quick, workers=2)
    return partial(registry.load("autotune.engines", request.param), workers=2)


@pytest.fixture(scope="module")
def engine(start: partial[Engine]) -> Iterator[Engine]:
    with closing(start()) as engine:
        yield engine


class TestEngines(EngineContract):
    """Where trials run: each of them."""


PLUGIN = """
class Broken:
    def __init__(self, workers=1):
        raise RuntimeError("no such machine")
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A plugin's engine that raises when it is made."""
    (tmp_path / "brokenengine.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint(name="broken", value="brokenengine:Broken", group="autotune.engines")

    def found(group: str) -> list[EntryPoint]:
        return [*entry_points(group=group), *[entry] * (group == entry.group)]

    registry._entries.cache_clear()
    monkeypatch.setattr(registry, "entry_points", found)
    yield entry.name
    registry._entries.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"{tmp_path}/autotune.db") as opened:
        yield opened


def spec(task_file: Path, engine: str, trials: int = 2) -> SearchSpec:
    return parse(
        {
            "model": f"{task_file}:problem", "optimizers": ["adamw"], "steps": 9, "seeds": 2,
            "budget": {"trials": trials}, "finalists": 1, "engine": engine,
        }
    )  # fmt: skip


def test_a_search_whose_engine_refuses_is_not_begun(
    broken: str, store: Store, task_file: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"^no such machine$"):
        run(spec(task_file, broken), store=store)
    assert store.searches() == []
    run(spec(task_file, "inline"), store=store)
    assert store.search("problem").state is SearchState.COMPLETE


def test_a_finished_search_stays_finished_when_the_engine_of_more_trials_refuses(
    broken: str, store: Store, task_file: Path
) -> None:
    run(spec(task_file, "inline"), store=store)
    before = store.signature("problem")
    with pytest.raises(RuntimeError, match=r"^no such machine$"):
        run(spec(task_file, broken, trials=3), store=store)
    assert store.signature("problem") == before
    assert store.search("problem").state is SearchState.COMPLETE


def test_a_finished_search_is_read_without_an_engine(
    broken: str, store: Store, task_file: Path
) -> None:
    run(spec(task_file, "inline"), store=store)
    assert run(spec(task_file, broken), store=store).search.state is SearchState.COMPLETE


@pytest.fixture
def left(store: Store, task_file: Path) -> None:
    """A search that was interrupted after its first trial."""
    halt = threading.Event()

    def listen(event: object) -> None:
        if isinstance(event, TrialEnded):
            halt.set()

    run(spec(task_file, "inline"), store=store, listen=listen, halt=halt)


@pytest.mark.usefixtures("left")
def test_a_worker_whose_engine_refuses_leaves_the_search_interrupted(
    broken: str, store: Store
) -> None:
    with pytest.raises(RuntimeError, match=r"^no such machine$"):
        work("problem", store=store, terms=Terms(engine=broken))
    assert store.search("problem").state is SearchState.INTERRUPTED


@pytest.mark.usefixtures("left")
def test_a_worker_refuses_an_engine_that_cannot_train_the_search_s_model(store: Store) -> None:
    with pytest.raises(SpecError, match=r"^model 'mytask-problem' cannot be trained side by side"):
        work("problem", store=store, terms=Terms(engine="batched"))
    assert store.search("problem").state is SearchState.INTERRUPTED
