"""`delete`: what goes, what stays, and who is asked."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner, Result

from autotune.cli import main
from autotune.search.lock import exclusive, folder_of
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Proposal, Role, TrialState
from autotune.studies.store import Store
from autotune.testing.forked import Forked
from autotune.testing.trials import setting_of

URL = "sqlite:///autotune.db"


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search with a trial, its copy in Optuna's tables, and a checkpoint; and another search."""
    monkeypatch.chdir(tmp_path)
    with Store(URL) as store:
        (study,) = store.create_search("net", {}, {}, {"adan": {}}, {}).studies
        store.create_search("other", {}, {}, {"adan": {}}, {})
        proposal = Proposal(
            role=Role.SEARCH, origin="sobol", setting=setting_of(), seed=0, target=9
        )
        trial = store.add_trial(study.id, proposal)
        attempt = store.begin(trial.id, "search")
        done = store.record(trial.id, attempt, state=TrialState.COMPLETE, step=9, loss=1.0)
    mirror = Mirror(URL)
    mirror.tell_all("net/adan", [done], {}, lambda trial: [])
    mirror.close()
    folder = folder_of(URL, "net")
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "1-0.pt").write_bytes(b"x" * 1_500_000)
    return folder


WHAT = f"search 'net' with 1 trial and 1 checkpoint (1.5 MB) from {URL}"


def test_a_search_is_deleted_whole(net: Path) -> None:
    result = invoke("delete", "net", "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"deleted {WHAT}\n")
    with Store(URL) as store:
        assert [search.name for search in store.searches()] == ["other"]
    storage = optuna.storages.RDBStorage(URL)
    assert optuna.get_all_study_names(storage) == []
    storage.engine.dispose()
    assert not net.parent.exists()


def test_nothing_is_deleted_unasked(net: Path) -> None:
    result = invoke("delete", "net")
    assert result.exit_code == 2
    assert result.stderr == f"error: deleting {WHAT} needs --yes where nobody can be asked\n"
    assert invoke("show", "net").exit_code == 0


def answered(answer: str) -> str:
    """Return what a person at a terminal reads who gives an answer."""
    terminal, theirs = pty.openpty()
    with Forked("delete", "net", stdin=theirs) as process:
        os.write(terminal, f"{answer}\n".encode())
        _, said = process.communicate(timeout=60)
    os.close(terminal)
    os.close(theirs)
    assert process.returncode == 0
    return said


@pytest.mark.parametrize(
    ("answer", "said", "left"),
    [("y", f"deleted {WHAT}\n", ["other"]), ("", "nothing was deleted\n", ["other", "net"])],
    ids=["yes", "no"],
)
def test_a_person_is_asked(answer: str, said: str, left: list[str], net: Path) -> None:
    assert answered(answer) == f"delete {WHAT}? [y/N]: {said}"
    with Store(URL) as store:
        assert [search.name for search in store.searches()] == left


def test_a_search_that_is_being_run_is_refused(net: Path) -> None:
    with exclusive(net, "net"):
        result = invoke("delete", "net", "--yes")
    assert result.exit_code == 6
    assert result.stderr == (
        "error: search 'net' is being run by another process; wait for it or stop it\n"
    )
    assert (net / "1-0.pt").exists()


def test_an_unknown_search_suggests_and_leaves_no_lock(net: Path) -> None:
    result = invoke("delete", "nett", "--yes")
    assert result.exit_code == 6
    assert "did you mean 'net'?" in result.stderr
    assert [path.name for path in net.parent.iterdir()] == [net.name]


def test_a_part_of_a_search_is_refused(net: Path) -> None:
    result = invoke("delete", "net/adan", "--yes")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: a search is deleted whole, got 'net/adan'; name it alone: net\n"
    )


def test_deleting_where_there_is_no_database_makes_none(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    assert invoke("delete", "net", "--yes", "--storage", str(file)).exit_code == 6
    assert list(tmp_path.iterdir()) == []
