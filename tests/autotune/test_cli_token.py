"""`token`: a token is printed once, listed without its secret, and revoked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autotune.cli import main
from autotune.config import Request, resolve
from autotune.studies import tokens
from autotune.studies.store import Store

URL = "sqlite:///autotune.db"


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, ["token", *args])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_token_is_printed_once_and_known_by_the_service() -> None:
    made = invoke("create", "gpus")
    assert made.stderr == "from now on a service of this database answers nobody without a token\n"
    text = made.stdout.strip()
    with Store(URL) as store:
        found = tokens.check(store, text)
    assert isinstance(found, tokens.TokenRecord)
    assert (found.name, found.scope, found.search, found.expires) == ("gpus", "work", None, None)
    again = json.loads(invoke("create", "b", "--scope", "read", "--days", "2", "--json").stdout)
    assert again["token"]["scope"] == "read"
    assert again["secret"].startswith("autotune_2_")
    listed = invoke("list").stdout
    assert "gpus" in listed
    _, _, secret = text.split("_", 2)  # the secret itself may hold underscores
    assert secret not in listed + invoke("list", "--json").stdout


def test_a_token_is_revoked_by_its_number() -> None:
    invoke("create", "gpus")
    gone = invoke("revoke", "1")
    assert (gone.exit_code, gone.stderr) == (0, "token 1 ('gpus') is revoked\n")
    (token,) = json.loads(invoke("list", "--json").stdout)["tokens"]
    assert token["revoked"]
    none = invoke("revoke", "9")
    assert (none.exit_code, none.stderr) == (
        6, "error: no token 9; list them to see which there are\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--days", "0"), "days must be above 0 and at most 36500, got 0"),
        (("--days", "nan"), "days must be above 0 and at most 36500, got nan"),
        (("--search", "a/b"), "name must not contain '/' (as in search/optimizer), got 'a/b'"),
    ],
)
def test_a_token_that_cannot_be_is_refused(args: tuple[str, ...], sentence: str) -> None:
    result = invoke("create", "gpus", *args)
    assert (result.exit_code, result.stderr) == (2, f"error: {sentence}\n")
    with Store(URL) as store:
        assert tokens.listed(store) == []


def test_nothing_is_made_by_looking() -> None:
    assert "there is no database" in invoke("revoke", "1").stderr
    assert "there is no database" in invoke("list").stderr
    assert not Path("autotune.db").exists()


def test_the_variable_of_a_token_is_no_key_of_a_search() -> None:
    given = {"AUTOTUNE_TOKEN": "autotune_1_x", "AUTOTUNE_MODEL": "mlp"}
    assert resolve(Request(), environment=given, directory=Path()).spec.model == "mlp"
