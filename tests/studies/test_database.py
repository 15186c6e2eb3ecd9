"""How a database is opened, and what is said when it cannot be."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.studies.database import explain
from autotune.studies.errors import NotFound, StorageError, Unavailable
from autotune.studies.store import Store


def whole(sentence: str) -> str:
    return f"^{re.escape(sentence)}$"


def test_opening_makes_the_file_and_lets_readers_go_on_while_it_is_written(tmp_path, url):
    Store(url).close()
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_path_is_as_good_as_a_url(tmp_path):
    with Store(f"{tmp_path}/a b%ü.db") as store:
        store.create_search("net", {}, {}, {}, {})
    assert (tmp_path / "a b%ü.db").exists()


@pytest.mark.skipif(find_spec("psycopg") is not None, reason="psycopg is installed here")
def test_a_missing_driver_names_its_extra_and_no_password(tmp_path):
    with pytest.raises(
        StorageError,
        match=whole(
            "storage postgresql+psycopg://me:***@localhost/db needs the postgres extra: "
            "pip install 'adan-autotune[postgres]'"
        ),
    ):
        Store("postgresql://me:s3cret@localhost/db")


@pytest.mark.skipif(find_spec("psycopg") is None, reason="needs psycopg")
def test_a_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(Unavailable) as caught:
        Store("postgresql://me:s3cret@127.0.0.1:1/db?connect_timeout=2")
    said = str(caught.value)
    assert said.startswith("storage postgresql+psycopg://me:***@127.0.0.1:1/db?connect_timeout=2 ")
    assert "s3cret" not in said


def test_a_server_that_repeats_the_password_is_cut_short():
    said = Exception("FATAL: password s3cret\nis wrong")
    assert str(explain(said, "postgresql+psycopg://me:s3cret@host/db")) == (
        "storage postgresql+psycopg://me:***@host/db refused: FATAL: password *** is wrong"
    )


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_is_no_database(tmp_path, read_only):
    with pytest.raises(
        StorageError, match=whole(f"storage sqlite:///{tmp_path} is a folder; name a file in it")
    ):
        Store(f"sqlite:///{tmp_path}", read_only=read_only)


def test_a_missing_folder_is_named(tmp_path):
    sentence = (
        f"storage sqlite:///{tmp_path}/no/a.db is in a folder that does not exist: {tmp_path}/no"
    )
    with pytest.raises(StorageError, match=whole(sentence)):
        Store(f"{tmp_path}/no/a.db")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_something_else_is_left_alone(tmp_path, read_only):
    path = tmp_path / "notes.db"
    path.write_text("these are my notes, not a database\n" * 50)
    before = path.read_bytes()
    sentence = f"storage sqlite:///{path} is not an SQLite database; name another file"
    with pytest.raises(StorageError, match=whole(sentence)):
        Store(str(path), read_only=read_only)
    assert path.read_bytes() == before


def test_a_damaged_file_is_one_sentence(tmp_path, url):
    with Store(url) as store:
        store.create_search("net", {}, {}, {}, {})
    path = tmp_path / "autotune.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)
    with pytest.raises(StorageError, match=rf"^storage {url} is damaged; "), Store(url) as store:
        store.searches()


def test_reading_does_not_make_a_file(tmp_path, url):
    sentence = (
        f"no database at {tmp_path}/autotune.db; start a search or name another with --storage"
    )
    with pytest.raises(NotFound, match=whole(sentence)):
        Store(url, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_reading_a_database_without_searches_changes_nothing(tmp_path, url):
    path = tmp_path / "autotune.db"
    path.touch()
    sentence = f"{url} holds no searches yet; start one with 'autotune search'"
    with pytest.raises(NotFound, match=whole(sentence)):
        Store(url, read_only=True)
    assert path.read_bytes() == b""


def test_a_database_of_another_program_is_not_one_without_searches(tmp_path, url):
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        connection.execute("CREATE TABLE places (name)")
    connection.close()
    sentence = f"{url} holds tables of another program and no searches; name another with --storage"
    with pytest.raises(StorageError, match=whole(sentence)):
        Store(url, read_only=True)


def test_a_reader_sees_what_a_writer_adds(store, url):
    with Store(url, read_only=True) as reader:
        store.create_search("net", {}, {}, {}, {})
        assert [search.name for search in reader.searches()] == ["net"]


def test_a_reader_may_not_write(store, search, url):
    with (
        Store(url, read_only=True) as reader,
        pytest.raises(StorageError, match=whole(f"{url} was opened for reading only")),
    ):
        reader.delete_search("net")


def test_a_read_only_url_refuses_to_write(store, search, tmp_path):
    path = f"sqlite:///file:{tmp_path}/autotune.db?mode=ro&uri=true"
    with (
        Store(path) as opened,
        pytest.raises(StorageError, match=r"is read-only; make it writable or name another with"),
    ):
        opened.delete_search("net")


def test_a_read_only_url_makes_no_tables(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    url = f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true"
    with pytest.raises(StorageError, match=r"is read-only; make it writable or name another with"):
        Store(url)


def test_a_locked_database_is_one_sentence(store, search, tmp_path, url):
    other = sqlite3.connect(tmp_path / "autotune.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    sentence = r"is locked by another process; wait for it to end and try again$"
    with Store(f"{url}?timeout=0.05") as waiting, pytest.raises(StorageError, match=sentence):
        waiting.delete_search("net")
    other.close()


AS_A_STRANGER = """
import os, sys
import sqlalchemy.dialects.sqlite
from autotune.studies.errors import AutotuneError
from autotune.studies.store import Store
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Store(sys.argv[1], read_only=sys.argv[2] == "read") as store:
        if sys.argv[2] == "write":
            store.delete_search("net")
        print([search.name for search in store.searches()])
except AutotuneError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def foreign(tmp_path, store, search):
    """Give a finished database to somebody without the right to change it or its folder."""
    store.close()
    # pytest's own folder is closed to other users.
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "autotune.db")
        path.write_bytes((tmp_path / "autotune.db").read_bytes())
        path.chmod(0o444)
        path.parent.chmod(0o555)
        yield path
        path.parent.chmod(0o755)


def _stranger(path: Path, mode: str) -> str:
    command = [sys.executable, "-P", "-c", AS_A_STRANGER, str(path), mode]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_database_nobody_may_change_can_be_read(foreign):
    assert _stranger(foreign, "read") == "['net']"


def test_a_database_nobody_may_change_says_so(foreign):
    assert _stranger(foreign, "write") == (
        f"StorageError storage sqlite:///{foreign} is read-only; "
        "make it writable or name another with --storage"
    )


def test_a_folder_nobody_may_change_takes_no_new_database(foreign):
    path = foreign.with_name("new.db")
    assert _stranger(path, "write") == (
        f"StorageError storage sqlite:///{path} cannot be opened; "
        "check the rights to it and its folder"
    )
