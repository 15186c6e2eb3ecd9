"""A store in a file of its own, and trials to put into it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from autotune.studies.models import Base
from autotune.studies.records import Point, Proposal, Role, SearchRecord, TrialRecord, TrialState
from autotune.studies.store import Store
from autotune.testing.trials import nested

SPACES = {"adan": {"lr": ["log", 1e-4, 1e-1]}, "adamw": {"lr": ["log", 1e-5, 1e-2]}}


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the migrations once; copies of the file serve the tests that are not about them."""
    path = tmp_path_factory.mktemp("blank") / "autotune.db"
    Store(str(path)).close()
    return path


@pytest.fixture
def server(postgres: str) -> str:
    """The URL of an empty PostgreSQL database."""
    Store(postgres).close()
    engine = create_engine(postgres)
    with engine.begin() as connection:
        tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()
    return postgres


@pytest.fixture
def kind() -> str:
    """Which database; a module whose tests have to hold for both overrides it."""
    return "sqlite"


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if kind == "postgresql":
        return str(request.getfixturevalue("server"))
    return f"sqlite:///{tmp_path}/autotune.db"


@pytest.fixture
def open_store(url: str, kind: str, blank: Path, tmp_path: Path) -> Callable[[], Store]:
    if kind == "sqlite":
        shutil.copy(blank, tmp_path)
    return partial(Store, url)


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Iterator[Store]:
    with open_store() as opened:
        yield opened


@pytest.fixture
def search(store: Store) -> SearchRecord:
    return store.create_search("net", {"model": "net"}, {"steps": 90}, SPACES, {"torch": "2.13"})


@pytest.fixture
def proposal() -> Callable[..., Proposal]:
    def make(**changes) -> Proposal:
        values = {
            "role": Role.SEARCH,
            "origin": "sobol",
            "params": {"lr": 0.01},
            "hyper": {"lr": 0.01, "betas": [0.98, 0.92, 0.99]},
            "warmup": 0.1,
            "seed": 0,
            "target": 90,
        }
        return Proposal(**nested(**values | changes))

    return make


@pytest.fixture
def curve() -> Callable[[int], list[Point]]:
    def make(length: int) -> list[Point]:
        return [Point(step=i, seconds=i / 10, train_loss=2 / (i + 1)) for i in range(length)]

    return make


@pytest.fixture
def ended(store: Store, proposal: Callable[..., Proposal]) -> Callable[..., TrialRecord]:
    def make(study: int, state: TrialState = TrialState.COMPLETE, **outcome) -> TrialRecord:
        trial = store.add_trial(study, proposal(role=outcome.pop("role", Role.SEARCH)))
        attempt = store.begin(trial.id, "worker-1")
        return store.record(trial.id, attempt, state=state, **{"step": 90, **outcome})

    return make
