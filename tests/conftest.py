"""What the tests of several folders need.

Nothing heavy is imported at the top: tests that need a GPU are collected where only PyTorch is.
"""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock


def pytest_configure() -> None:
    """Let all processes be alike, whatever a test of theirs imports first."""
    os.environ.pop("COLUMNS", None)  # pytest-xdist tells its own of 80
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray stays on the loopback
    gc.disable()


def pytest_collection_finish() -> None:
    """Never look for garbage among the tests themselves: each look took up to half a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres_of_this_process() -> str:
    """The URL of a PostgreSQL database that no other process of this test run uses."""
    from sqlalchemy import NullPool, create_engine, make_url, text

    from autotune.studies import urls

    shared = urls.normalise(os.environ["AUTOTUNE_TEST_POSTGRES"])
    process = os.environ.get("PYTEST_XDIST_WORKER")
    if process is None:
        return shared
    name = f"{make_url(shared).database}_{process}"
    engine = create_engine(shared, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        there = text("SELECT count(*) FROM pg_database WHERE datname = :name")
        if not connection.execute(there, {"name": name}).scalar():
            connection.execute(text(f'CREATE DATABASE "{name}"'))
    return make_url(shared).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> str:
    """The URL of a PostgreSQL database for tests; a skip is a failure where CI is set."""
    given = os.environ.get("AUTOTUNE_TEST_POSTGRES")
    if not given and os.environ.get("CI"):
        pytest.fail("AUTOTUNE_TEST_POSTGRES must name a PostgreSQL database where CI is set")
    if not given:
        pytest.skip("needs PostgreSQL: set AUTOTUNE_TEST_POSTGRES, as .ci/run does")
    return str(request.getfixturevalue("postgres_of_this_process"))


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """Let no other process of this machine test with Ray meanwhile: Ray warns of a second one."""
    with FileLock(Path(tempfile.gettempdir()) / "autotune-tests-of-ray.lock"):
        yield
