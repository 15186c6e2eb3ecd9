"""What reading commands say of a search whose process is there, or gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autotune.cli import main
from autotune.search.lock import exclusive, folder_of
from autotune.search.status import current
from autotune.studies.records import (
    Point,
    Proposal,
    Role,
    SearchState,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from autotune.studies.store import Store
from autotune.testing.trials import setting_of

HYPER = {"lr": 1e-3, "betas": [0.98, 0.92, 0.99], "weight_decay": 0.02}
TASK = {"model": "gpt-nano", "data": "stdlib-lm", "steps": 27}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def _trial(
    store: Store, study: StudyRecord, step: int, state: TrialState, **losses: float
) -> TrialRecord:
    proposal = Proposal(
        role=Role.SEARCH,
        origin="sobol",
        setting=setting_of(params={"lr": 1e-3}, hyper=HYPER),
        seed=0,
        target=27,
    )
    trial = store.add_trial(study.id, proposal)
    attempt = store.begin(trial.id, "search")
    points = [
        Point(step=int(name.removeprefix("at_")), seconds=1.0, loss=loss)
        for name, loss in losses.items()
    ]
    if state is TrialState.RUNNING and not step:
        return trial
    return store.record(
        trial.id, attempt, state=state, step=step, loss=losses.get(f"at_{step}"), points=points
    )


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOTUNE_STORAGE", "sqlite:///autotune.db")
    return "sqlite:///autotune.db"


@pytest.fixture
def killed(url: str) -> Iterator[Store]:
    """A search as kill -9 leaves it: it says that it is running."""
    with Store(url) as store:
        (study,) = store.create_search("a net", {}, TASK, {"adan": {}}, {}).studies
        _trial(store, study, 3, TrialState.PAUSED, at_3=1.0)
        _trial(store, study, 9, TrialState.PAUSED, at_3=3.0, at_9=2.5)
        _trial(store, study, 14, TrialState.PAUSED, at_3=2.9, at_9=2.4)
        _trial(store, study, 9, TrialState.RUNNING, at_3=2.8, at_9=2.6)
        _trial(store, study, 0, TrialState.RUNNING)
        _trial(store, study, 20, TrialState.DIVERGED, at_3=0.1, at_9=0.1)
        yield store


@pytest.mark.parametrize("command", [("show",), ("compare", "a net")], ids=lambda args: args[0])
def test_a_killed_search_is_interrupted_and_says_how_to_go_on(
    command: tuple[str, ...], killed: Store
) -> None:
    text = invoke(*command).stdout
    assert "interrupted" in text
    assert "autotune search --resume 'a net'" in text


@pytest.mark.parametrize("command", [("show",), ("list",), ("compare", "a net")], ids=str)
def test_a_killed_search_is_interrupted_in_json_too(
    command: tuple[str, ...], killed: Store
) -> None:
    document = json.loads(invoke(*command, "--json").stdout)
    found = document.get("search") or document.get("searches", [None])[0]
    found = found or document["comparisons"][0]["search"]
    assert found["state"] == "interrupted"
    assert found["studies"][0]["counts"] == {"paused": 4, "waiting": 1, "diverged": 1}
    assert document["resume"] == {"a net": "autotune search --resume 'a net'"}


def test_trials_of_a_killed_search_are_as_they_were_last_saved(killed: Store) -> None:
    trials = json.loads(invoke("show", "--json").stdout)["trials"]["adan"]
    assert [trial["state"] for trial in trials[3:5]] == ["paused", "waiting"]
    assert invoke("show", "a net/adan", "3").stdout.startswith(
        "trial            a net/adan 3, paused\n"
    )


def test_looking_at_a_killed_search_changes_nothing(killed: Store) -> None:
    before = killed.signature()
    invoke("show")
    assert killed.signature() == before
    assert killed.search("a net").state is SearchState.RUNNING


def test_a_search_whose_lock_is_held_is_running(killed: Store) -> None:
    with exclusive(folder_of(killed.url, "a net"), "a net"):
        result = invoke("list")
        document = json.loads(invoke("show", "--json").stdout)
    assert "  running  " in result.stdout
    assert result.stderr == ""
    assert (document["search"]["state"], document["resume"]) == ("running", {})
    assert document["trials"]["adan"][3]["state"] == "running"


def test_a_search_that_ended_while_it_was_looked_at_is_complete(killed: Store) -> None:
    before = killed.search("a net")
    killed.update_search("a net", state=SearchState.COMPLETE)
    assert current(before, killed).state is SearchState.COMPLETE


def test_a_search_whose_lock_cannot_be_judged_is_what_it_says(killed: Store) -> None:
    (folder_of(killed.url, "a net") / "lock").mkdir(parents=True)  # opening it fails
    assert current(killed.search("a net"), killed).state is SearchState.RUNNING


class Server(Store):
    """A store that says it is on a server, where a lock of this machine means nothing."""

    url = "postgresql+psycopg://me@somewhere/searches"


def test_a_search_on_a_server_is_what_it_says(killed: Store, url: str) -> None:
    with Server(url) as server:
        assert current(server.search("a net"), server).state is SearchState.RUNNING


def test_show_ranks_by_the_furthest_loss_and_hides_nothing(killed: Store) -> None:
    lines = invoke("show").stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("optimizer  trial"))
    rows = [line.split("  ") for line in lines[start + 1 : start + 6]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [(row[1], row[5], row[6]) for row in cells] == [
        ("2", "14/27", "2.4000 at 9"),
        ("1", "9/27", "2.5000 at 9"),
        ("3", "9/27", "2.6000 at 9"),
        ("0", "3/27", "1.0000 at 3"),
        ("4", "0/27", "-"),
    ]


def test_show_with_trials_has_the_last_loss_of_each(killed: Store) -> None:
    text = invoke("show", "--trials").stdout
    assert "diverged  20/27  -" in text
    assert "paused    14/27  2.4000 at 9" in text


def test_show_a_trial_between_two_rungs_with_its_last_loss(killed: Store) -> None:
    assert "validation loss  2.4000 at step 9\n" in invoke("show", "a net/adan", "2").stdout


def test_show_as_json_has_what_was_measured_last(killed: Store) -> None:
    measured = json.loads(invoke("show", "--json").stdout)["measured"]["adan"]
    assert (measured["2"]["step"], measured["2"]["loss"]) == (9, 2.4)
