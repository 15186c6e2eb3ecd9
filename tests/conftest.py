"""What the tests of several folders need.

Nothing heavy is imported at the top: tests that need a GPU are collected where only PyTorch is.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from sqlalchemy import Connection


def pytest_configure() -> None:
    """Let all processes be alike, whatever a test of theirs imports first."""
    os.environ.pop("COLUMNS", None)  # pytest-xdist tells its own of 80
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray stays on the loopback
    gc.disable()


def pytest_collection_finish() -> None:
    """Never look for garbage among the tests themselves: each look took up to half a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def schemas_once() -> Iterator[Callable[[Any], Any] | None]:
    """Run all migrations of an empty SQLite file once a process; what they said is said again.

    Gives what makes an upgrade do so.
    """
    try:
        from alembic.script import ScriptDirectory

        from autotune.studies import schema
    except ImportError:  # where only PyTorch is
        yield None
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "upgrade", _repeating(schema.upgrade))
        patch.setattr(ScriptDirectory, "from_config", _reading_once(ScriptDirectory.from_config))
        yield _repeating


def _reading_once(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let Alembic read each folder of steps once: Optuna's, too, which is read at each opening."""
    found: dict[str, Any] = {}

    def from_config(config: Any) -> Any:
        place = config.get_main_option("script_location")
        if place not in found:
            found[place] = read(config)
        return found[place]

    return from_config


def _repeating(upgrade: Callable[[Connection], None]) -> Callable[[Connection], None]:
    from sqlalchemy import event

    from autotune.studies import schema

    said: list[tuple[str, Any]] = []

    def hear(_c: Any, _k: Any, statement: str, given: Any, *_: Any) -> None:
        if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
            said.append((statement, given))

    @wraps(upgrade)
    def repeat(connection: Connection) -> None:
        if connection.dialect.name != "sqlite" or schema.tables(connection):
            upgrade(connection)
        elif said:
            for statement, given in said:
                connection.exec_driver_sql(statement, given)
        else:
            event.listen(connection, "before_cursor_execute", hear)
            try:
                upgrade(connection)
            except BaseException:
                said.clear()
                raise
            finally:
                event.remove(connection, "before_cursor_execute", hear)

    return repeat


@pytest.fixture(scope="session")
def at_once() -> Callable[[], AbstractContextManager[None]]:
    """Let engines of processes start workers at once, forked from where all is loaded."""
    from autotune.testing.victims import context

    forked = context()

    @contextmanager
    def entered() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("multiprocessing.get_context", lambda kind: forked)
            yield

    return entered


@pytest.fixture
def workers_at_once(at_once: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Let those of a test's searches start so."""
    with at_once():
        yield


@pytest.fixture(scope="session")
def quick(at_once: Callable[[], AbstractContextManager[None]]) -> Callable[..., Any]:
    """Make engines whose workers start so."""

    def make(**how: Any) -> Any:
        from autotune.engines.processes import Processes

        with at_once():
            return Processes(**how)

    return make


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
