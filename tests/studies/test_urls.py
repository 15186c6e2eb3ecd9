"""How a database's address is written, shown and defaulted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autotune.studies import urls
from autotune.studies.errors import StorageError


def test_the_default_is_a_file_in_the_working_directory(monkeypatch):
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    assert urls.resolve() == "sqlite:///autotune.db"


def test_the_environment_replaces_the_default(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_STORAGE", "/data/runs.db")
    assert urls.resolve() == "sqlite:////data/runs.db"


def test_what_was_given_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_STORAGE", "other.db")
    assert urls.resolve("mine.db") == "sqlite:///mine.db"


@pytest.mark.parametrize("path", ["x.db", "a b/ü.db", "100%.db", "a#b?.db", "/abs/x"])
def test_a_path_comes_back_out_of_its_url(path):
    assert urls.file(urls.normalise(path)) == Path(path)


@pytest.mark.parametrize("given", ["x.db", "sqlite:///ü.db", "postgres://u:p%40@h/d"])
def test_normalising_twice_changes_nothing(given):
    once = urls.normalise(given)
    assert urls.normalise(once) == once


def test_every_spelling_of_postgres_means_one_driver():
    spellings = ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg2://u@h/d"]
    assert {urls.normalise(url) for url in spellings} == {"postgresql+psycopg://u@h/d"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("sqlite:////home/m%C3%BCller/x.db", "sqlite:////home/müller/x.db"),
        ("what://me:s3cret@h:port", "***"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert urls.mask(url) == shown


def test_checkpoints_lie_beside_the_file():
    assert urls.beside("runs/a.db") == Path("runs/a.db.d")


def test_checkpoints_of_a_server_lie_in_the_working_directory():
    assert urls.beside("postgresql://u@h/d") == Path("autotune.d")


FORMS = "use a file name, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", f"storage must not be empty; {FORMS}"),
        ("sqlite:x.db", f"storage cannot be read as a database URL; {FORMS}"),
        ("postgresql://u:s3cret@h:p/d", f"storage cannot be read as a database URL; {FORMS}"),
        (
            "mysql://u:s3cret@h/d",
            f"storage mysql://u:***@h/d is of the unknown kind 'mysql'; {FORMS}",
        ),
        ("sqlite://", f"storage sqlite:// would be forgotten; {FORMS}"),
        ("sqlite:///:memory:", f"storage sqlite:///:memory: would be forgotten; {FORMS}"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(url, sentence):
    with pytest.raises(StorageError, match=f"^{re.escape(sentence)}$"):
        urls.normalise(url)
