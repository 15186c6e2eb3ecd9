"""The migrations build what the models say, and leave everybody else's tables alone."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import optuna
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from autotune.studies import schema
from autotune.studies.errors import StorageError
from autotune.studies.models import Base
from autotune.studies.records import TrialState
from autotune.studies.store import Store


@pytest.fixture
def config() -> Config:
    made = Config()
    made.set_main_option("script_location", "autotune.studies:migrations")
    return made


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Let each file be migrated step by step; other tests' files are told what the first was."""
    monkeypatch.setattr(schema, "upgrade", schema.upgrade.__wrapped__)


def test_a_file_that_is_made_at_once_is_what_the_steps_make(tmp_path, schemas_once):
    at_once, told = schemas_once(schema.upgrade), []
    for name, upgrade in (("steps", schema.upgrade), ("first", at_once), ("second", at_once)):
        path = tmp_path / f"{name}.db"
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            upgrade(connection)
        engine.dispose()
        told.append(tables(path))
    assert told[0] == told[1] == told[2]
    assert len(told[0]) > 15


def tables(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    connection.close()
    return found


def test_an_upgraded_database_is_what_the_models_say(url):
    Store(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": "autotune_version",
                "compare_type": True,
                "include_name": lambda name, kind, _: (
                    kind != "table" or name.startswith("autotune_")
                ),
            },
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_migrations_write_the_very_tables_of_the_models(tmp_path, url):
    Store(url).close()
    other = tmp_path / "models.db"
    engine = create_engine(f"sqlite:///{other}")
    Base.metadata.create_all(engine)
    engine.dispose()
    ours = {
        name: _parts(sql)
        for name, sql in tables(tmp_path / "autotune.db").items()
        if name != "autotune_version"
    }
    assert ours == {name: _parts(sql) for name, sql in tables(other).items()}


def _parts(sql: str) -> list[str]:
    # A column that was added later is written behind the last line.
    return sorted(
        part.strip(" ,()\t") for part in re.sub(r", (?=[a-z_]+ [A-Z])", "\n", sql).splitlines()
    )


def test_every_step_is_known_by_name(config):
    steps = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([step.revision for step in steps])) == schema.VERSIONS


def test_every_step_can_be_taken_back(config, url):
    Store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["autotune_version"]
    engine.dispose()
    with Store(url) as again:
        assert again.searches() == []


DAY = "2026-11-01 00:00:00.000000"
TRIAL = "'search', 'sobol', '{\"lr\": 0.1}', '{}', 0.1, 0, 90, NULL"
FIRST = (
    f"INSERT INTO autotune_environments VALUES (1, 'd', '{{\"torch\": \"2.13\"}}', '{DAY}')",
    f"INSERT INTO autotune_searches VALUES "
    f"(1, 'net', '{{}}', '{{}}', 1, 'running', 12.5, 7, '{DAY}', '{DAY}')",
    "INSERT INTO autotune_studies VALUES (1, 1, 'adan', '{}')",
    f"INSERT INTO autotune_trials VALUES "
    f"(1, 1, 0, {TRIAL}, 'complete', 1, 90, 0.5, 0.9, 3.0, NULL, '{DAY}', '{DAY}')",
    f"INSERT INTO autotune_trials VALUES "
    f"(2, 1, 1, {TRIAL}, 'running', 1, 9, 0.7, NULL, 1.0, NULL, '{DAY}', '{DAY}')",
    f"INSERT INTO autotune_attempts VALUES "
    f"(1, 2, 1, 'processes', '{DAY}', '{DAY}', '2999-01-01 00:00:00.000000', NULL, NULL)",
    "INSERT INTO autotune_points VALUES (1, 9, 1.0, 0.8, 0.9, NULL), (1, 90, 2.0, 0.4, 0.5, 0.9)",
)


@pytest.fixture
def of_the_first(config, url):
    """A database of the first schema with a search in it: a killed process left a trial."""
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FIRST:
            connection.exec_driver_sql(statement)
    engine.dispose()
    return url


def test_an_older_database_is_brought_up_to_date_with_everything_in_it(of_the_first):
    with Store(of_the_first) as store:
        search = store.search("net")
        ended, running = store.trials(search.studies[0].id)
        assert (search.seconds, search.environment) == (12.5, {"torch": "2.13"})
        assert (ended.loss, ended.checkpoint, len(store.curve(ended.id))) == (0.5, None, 2)
        assert (running.step, running.checkpoint) == (9, "1-1.pt")


def test_what_ran_in_an_older_database_can_be_taken_over_at_once(of_the_first):
    with Store(of_the_first) as store:
        (trial,) = store.reap(1)
        assert store.trial(trial).state is TrialState.PAUSED
        assert store.begin(trial, "w2") == 2


def test_opening_again_changes_nothing(tmp_path, url):
    Store(url).close()
    before = tables(tmp_path / "autotune.db")
    Store(url).close()
    assert tables(tmp_path / "autotune.db") == before


def test_optunas_tables_are_left_alone(tmp_path, url):
    optuna.storages.RDBStorage(url).engine.dispose()
    before = tables(tmp_path / "autotune.db")
    Store(url).close()
    assert tables(tmp_path / "autotune.db").items() >= before.items()
    assert len(before) > 12


def test_tables_of_another_program_may_stand_beside_ours(tmp_path, url):
    connection = sqlite3.connect(tmp_path / "autotune.db")
    connection.execute("CREATE TABLE recipes (name)")
    connection.commit()
    connection.close()
    with Store(url) as store:
        assert store.searches() == []
    assert "recipes" in tables(tmp_path / "autotune.db")


def _set_version(path: Path, version: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE autotune_version SET version_num = ?", (version,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_schema_is_refused(tmp_path, store, url, read_only):
    store.close()
    _set_version(tmp_path / "autotune.db", "9999")
    newest = schema.VERSIONS[-1]
    sentence = f"{url} has schema 9999, this version knows up to {newest}; upgrade adan-autotune"
    with pytest.raises(StorageError, match=f"^{re.escape(sentence)}$"):
        Store(url, read_only=read_only)


def test_an_older_schema_is_not_changed_by_a_reader(tmp_path, store, url):
    store.close()
    _set_version(tmp_path / "autotune.db", "0001")
    sentence = f"{url} has the older schema 0001; any search in it brings it up to date"
    with pytest.raises(StorageError, match=f"^{re.escape(sentence)}$"):
        Store(url, read_only=True)


def test_a_failed_step_leaves_nothing_behind(tmp_path, url):
    connection = sqlite3.connect(tmp_path / "autotune.db")
    connection.execute("CREATE TABLE autotune_trials (theirs)")
    connection.commit()
    connection.close()
    before = tables(tmp_path / "autotune.db")
    with pytest.raises(StorageError, match=r"refused: table autotune_trials already exists$"):
        Store(url)
    assert tables(tmp_path / "autotune.db") == before
