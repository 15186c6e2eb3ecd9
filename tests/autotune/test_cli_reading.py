"""`list`, `show` and `compare` on a store that holds a small finished search."""

from __future__ import annotations

import inspect
import json
import math
import re
import sqlite3
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autotune.cli import main
from autotune.cli.shared import catalog
from autotune.cli.views import format
from autotune.cli.views import json as documents
from autotune.studies.records import Point, Proposal, Role, SearchState, TrialState
from autotune.studies.store import Store
from autotune.testing.trials import setting_of

DEFAULT = {"lr": 1e-3, "betas": [0.98, 0.92, 0.99], "weight_decay": 0.02}
BETTER = {"lr": 4.5e-3, "betas": [0.97, 0.92, 0.9987], "weight_decay": 0.0}
ADAMW = {"lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.01, "acceleration": "win2"} | {
    "reckless_steps": [2.0, 8.0]
}
TASK = {"model": "gpt-nano", "data": "stdlib-lm", "steps": 27, "batch_size": 8}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def told(*args: str) -> str:
    result = invoke(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def _trial(
    store: Store,
    study: int,
    role: Role,
    hyper: dict,
    *,
    loss: float | None,
    seed: int = 0,
    source: int | None = None,
    origin: str = "sobol",
) -> None:
    proposal = Proposal(
        role=role,
        origin=origin,
        setting=setting_of(params={"lr": hyper["lr"]}, hyper=hyper),
        seed=seed,
        target=27,
        source=source,
    )
    trial = store.add_trial(study, proposal)
    attempt = store.begin(trial.id, "here")
    good = loss is not None
    store.record(
        trial.id,
        attempt,
        state=TrialState.COMPLETE if good else TrialState.DIVERGED,
        step=27 if good else 3,
        loss=loss,
        accuracy=0.4 if good else None,
        seconds=2.0,
        reason=None if good else "training loss was nan at step 3",
        points=(Point(step=9, seconds=1.0, train_loss=3.5, loss=3.4, accuracy=0.2),),
    )


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('reading') / 'store.db'}"
    spec = {"model": "gpt-nano", "optimizers": ["adan", "adamw-win2"], "budget": {"trials": 2}}
    with Store(url) as store:
        search = store.create_search(
            "gpt-nano", spec, TASK, {"adan": {}, "adamw-win2": {}}, {"torch": "2.13.0"}
        )
        adan, adamw = (study.id for study in search.studies)
        _trial(store, adan, Role.SEARCH, DEFAULT, loss=2.5, origin="preset:default")
        _trial(store, adan, Role.SEARCH, BETTER, loss=2.1)
        _trial(store, adan, Role.SEARCH, {**BETTER, "lr": 1.0}, loss=None)
        _trial(store, adamw, Role.SEARCH, ADAMW, loss=2.3, origin="preset:default")
        for seed in (2, 3, 4):
            default, tuned = 2.5 + seed / 100, 2.1 + seed / 90
            for study, hyper, loss, source in (
                (adan, DEFAULT, default, 0),
                (adan, BETTER, tuned, 1),
                (adamw, ADAMW, 2.4, 0),
            ):
                origin = "tuned" if source else "default"
                again = {"seed": seed, "source": source, "origin": origin}
                _trial(store, study, Role.JUDGE, hyper, loss=loss, **again)
        store.update_search("gpt-nano", state=SearchState.COMPLETE, add_seconds=200.0)
        store.add_export(adan, "torch", "/here/tuned.py", "lr = 0.0045")
    return url


def test_list_shows_a_search_in_one_line(storage: str) -> None:
    header, row = told("list", "--storage", storage).splitlines()
    assert header.split()[:3] == ["name", "model", "optimizers"]
    assert row.startswith("gpt-nano  gpt-nano  adan adamw-win2")


def test_list_shows_the_mean_that_was_judged_of_a_complete_search(storage: str) -> None:
    assert "2.1333 ± 0.0276 adan (judged)  complete" in told("list", "--storage", storage)


def test_list_says_where_the_loss_of_a_search_comes_from_that_was_not_judged(
    storage: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url) as store:
        (study,) = store.create_search("net", {}, TASK, {"adan": {}}, {}).studies
        _trial(store, study.id, Role.SEARCH, DEFAULT, loss=2.5)
        store.update_search("net", state=SearchState.INTERRUPTED)
    result = invoke("list", "--storage", url)
    assert "2.5000 adan (search seed)  interrupted" in result.stdout


def test_list_as_json_is_one_document_with_a_schema_version(storage: str) -> None:
    document = json.loads(told("list", "--json", "--storage", storage))
    assert document["schema_version"] == 1
    assert [search["name"] for search in document["searches"]] == ["gpt-nano"]
    assert document["searches"][0]["studies"][0]["best"] == 2.1
    assert document["judged"]["gpt-nano"]["optimizer"] == "adan"
    assert document["resume"] == {}


def test_list_before_the_first_search_makes_no_database(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    result = invoke("list", "--storage", str(file))
    assert (result.exit_code, result.stdout, file.exists()) == (0, "", False)
    assert result.stderr == (
        "no searches yet; begin one with: autotune search --model gpt-nano --minutes 1\n"
    )


def test_list_of_an_empty_database_is_as_friendly(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    result = invoke("list", "--storage", str(file))
    assert (result.exit_code, result.stdout, file.read_bytes()) == (0, "", b"")
    assert result.stderr.startswith("no searches yet; ")


@pytest.mark.parametrize("command", ["list", "show"])
def test_a_database_of_another_program_ends_with_4(command: str, tmp_path: Path) -> None:
    file = tmp_path / "places.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE places (name)")
    connection.close()
    result = invoke(command, "--storage", str(file))
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == (
        f"error: sqlite:///{file} holds tables of another program and no searches; "
        "name another with --storage\n"
    )


def test_list_of_optimizers_has_the_accelerated_ones() -> None:
    names = [line.split()[0] for line in told("list", "optimizers").splitlines()[1:]]
    assert {"adan", "adan-win", "adan-win2", "adamw-win2"} <= set(names)


@pytest.mark.parametrize(
    "kind", ["optimizers", "models", "exports", "samplers", "pruners", "engines"]
)
def test_everything_registered_says_what_it_is(kind: str) -> None:
    said = {
        item["name"]: item["summary"] for item in json.loads(told("list", kind, "--json"))[kind]
    }
    entries = entry_points(group=catalog.GROUPS[kind])
    for entry in entries:
        alone = sum(other.module == entry.module for other in entries) == 1
        assert said[entry.name] == own_words(entry.load(), alone=alone)
    assert all(re.fullmatch(r"[A-Z][^.]* .*\w\.", text) for text in said.values())
    assert len(set(said.values())) == len(said)


@pytest.mark.parametrize("kind", catalog.GROUPS)
def test_what_is_listed_is_told_to_users_on_one_line(kind: str) -> None:
    lines = told("list", kind).splitlines()
    assert max(map(len, lines)) <= 110
    inside = r"\b(jobs?|reports?|slots?|backends?|protocol|interface|neutral record)\b"
    assert [line for line in lines if re.search(inside, line, re.IGNORECASE)] == []


@pytest.mark.parametrize("kind", ["engines", "models", "exports", "samplers", "pruners"])
def test_what_is_listed_says_when_to_take_it(kind: str) -> None:
    """A choice is told in two parts: what it does; when to take it."""
    assert [
        name for name, line in catalog.descriptions(kind).items() if line.count("; ") != 1
    ] == []


def test_win_is_told_by_what_it_adds_to_its_optimizer() -> None:
    lines = catalog.descriptions("optimizers")
    assert lines["adan-win"].startswith("Adan with Win: ")
    assert lines["adamw-win2"].startswith("AdamW with Win2: ")


def own_words(thing: Any, *, alone: bool) -> str:
    """Return the first line that a class says of itself, or the file of a function alone in it."""
    told = thing if inspect.isclass(thing) or not alone else import_module(thing.__module__)
    text = inspect.getdoc(told)
    return (text or "").partition("\n")[0]


def test_show_tells_facts_studies_and_the_best_trials(storage: str) -> None:
    text = told("show", "gpt-nano", "--storage", storage)
    assert "search      gpt-nano, complete" in text
    assert "searched    3 min 20 s" in text
    assert "budget      2 trials per optimizer" in text
    assert "best 5 search trials of each optimizer, the longest first (--trials shows all)" in text
    assert "0.97 0.92 0.9987" in text


def test_show_tells_the_loss_of_the_search_from_the_mean_that_was_judged(storage: str) -> None:
    lines = told("show", "gpt-nano", "--storage", storage).splitlines()
    start = next(i for i, line in enumerate(lines) if "full runs" in line)
    assert "best (search seed)  judged (fresh seeds)" in lines[start]
    assert "2.1000              2.1333 ± 0.0276" in lines[start + 1]


def test_show_tells_what_was_exported_and_where_to(storage: str) -> None:
    lines = told("show", "gpt-nano", "--storage", storage).splitlines()
    row = lines[lines.index("exported") + 2].split()
    assert row[:3] == ["adan", "torch", "/here/tuned.py"]
    (one,) = json.loads(told("show", "--json", "--storage", storage))["exports"]["adan"]
    assert one.keys() == {"format", "path", "created"}


def test_show_of_a_study_without_exports_says_nothing_of_them(storage: str) -> None:
    assert "exported" not in told("show", "gpt-nano/adamw-win2", "--storage", storage)


def test_show_with_trials_has_the_diverged_one_too(storage: str) -> None:
    assert "diverged" in told("show", "gpt-nano/adan", "--trials", "--storage", storage)


def test_show_as_json_without_a_name_is_the_newest_search(storage: str) -> None:
    document = json.loads(told("show", "--json", "--storage", storage))
    assert document["search"]["name"] == "gpt-nano"
    assert len(document["trials"]["adan"]) == 9


def test_a_trial_as_json_has_the_parts_of_its_setting_as_fields(storage: str) -> None:
    trial = json.loads(told("show", "gpt-nano/adan", "1", "--json", "--storage", storage))["trial"]
    assert list(trial) == [
        "id", "study", "number", "role", "origin", "params", "hyper", "warmup", "seed", "target",
        "source", "state", "step", "loss", "accuracy", "seconds", "reason", "output", "checkpoint",
        "checksum", "created", "updated", "final",
    ]  # fmt: skip
    assert (trial["params"], trial["hyper"], trial["warmup"]) == ({"lr": 4.5e-3}, BETTER, 0.1)


def test_a_compared_setting_as_json_has_no_coordinates(storage: str) -> None:
    document = json.loads(told("compare", "gpt-nano", "--json", "--storage", storage))
    tuned = document["comparisons"][0]["rows"][0]["tuned"]
    assert list(tuned) == ["origin", "hyper", "warmup", "losses", "loss", "accuracy", "failures"]
    assert (tuned["hyper"], tuned["warmup"]) == (BETTER, 0.1)


def test_show_a_trial_with_its_setting_and_curve(storage: str) -> None:
    text = told("show", "gpt-nano/adan", "1", "--storage", storage)
    assert "betas            0.97 0.92 0.9987" in text
    assert text.splitlines()[-1].split() == ["9", "3.5000", "3.4000", "20", "%"]


def test_show_a_diverged_trial_with_its_reason(storage: str) -> None:
    text = told("show", "gpt-nano/adan", "2", "--storage", storage)
    assert "training loss was nan at step 3" in text


def test_a_trial_of_several_optimizers_has_to_be_named(storage: str) -> None:
    result = invoke("show", "gpt-nano", "1", "--storage", storage)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: search 'gpt-nano' has a trial 1 of each of adan, adamw-win2; "
        "name one: autotune show gpt-nano/adan 1\n"
    )


def test_a_trial_that_is_not_there_says_how_many_are(storage: str) -> None:
    result = invoke("show", "gpt-nano/adan", "99", "--storage", storage)
    assert result.exit_code == 6
    assert result.stderr == (
        "error: no trial 99 of adan in search 'gpt-nano'; its 9 trials count from 0\n"
    )


def test_an_unknown_optimizer_of_a_search_suggests(storage: str) -> None:
    result = invoke("show", "gpt-nano/adna", "--storage", storage)
    assert result.exit_code == 6
    assert result.stderr == (
        "error: search 'gpt-nano': unknown optimizer 'adna'; did you mean 'adan'? "
        "(known: adamw-win2, adan)\n"
    )


@pytest.mark.parametrize("command", ["show", "compare"])
def test_an_unknown_search_suggests(command: str, storage: str) -> None:
    result = invoke(command, "gpt-nan", "--storage", storage)
    assert result.exit_code == 6
    assert "did you mean 'gpt-nano'?" in result.stderr
    assert result.stdout == ""


def test_reading_without_a_database_says_so_and_makes_none(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    result = invoke("show", "--storage", str(file))
    assert (result.exit_code, file.exists()) == (6, False)
    assert result.stderr == (
        f"error: no searches: there is no database {file}; autotune search makes one\n"
    )


def test_compare_shows_settings_losses_and_verdicts(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    lines = told("compare", "gpt-nano", "--storage", storage).splitlines()
    assert lines[0] == "gpt-nano: gpt-nano on stdlib-lm, 27 steps"
    assert lines[2].split()[:2] == ["optimizer", "setting"]
    assert lines[3].split()[:5] == ["adan", "default", "0.001", "0.02", "0.98"]
    assert lines[4].split()[:3] == ["tuned", "0.0045", "0"]
    assert any(line.startswith("tuned adan beats its default by 0.39") for line in lines)
    assert "tuning adamw-win2 found nothing better than its default" in lines


def test_compare_says_that_betas_are_close_to_one(storage: str) -> None:
    assert "betas are close to one" in told("compare", "gpt-nano", "--storage", storage)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_comparison_fits_the_screen(
    columns: int, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = told("compare", "gpt-nano", "--storage", storage)
    tables = [line for line in text.splitlines() if "  " in line]
    assert max(map(len, tables)) <= columns


def test_compare_as_json_holds_the_losses_by_seed(storage: str) -> None:
    document = json.loads(told("compare", "gpt-nano", "--json", "--storage", storage))
    (comparison,) = document["comparisons"]
    assert comparison["rows"][0]["optimizer"] == "adan"
    assert list(comparison["rows"][0]["tuned"]["losses"]) == ["2", "3", "4"]


def test_several_searches_compare_one_after_the_other(tmp_path: Path) -> None:
    with Store(f"{tmp_path}/store.db") as store:
        for name in ("one", "two"):
            store.create_search(name, {}, TASK, {"adan": {}}, {})
            store.update_search(name, state=SearchState.COMPLETE)
    text = told("compare", "two", "one", "--storage", f"{tmp_path}/store.db")
    titles = [line for line in text.splitlines() if "gpt-nano on stdlib-lm" in line]
    assert [title.partition(":")[0] for title in titles] == ["two", "one"]


def test_a_search_named_twice_is_compared_once(storage: str) -> None:
    once = told("compare", "gpt-nano", "--storage", storage)
    assert told("compare", "gpt-nano", "gpt-nano", "--storage", storage) == once


def test_json_never_holds_nan_or_infinity() -> None:
    text = documents.document(nan=math.nan, infinite=[math.inf], fine=1.5)
    assert json.loads(text) == {
        "schema_version": 1,
        "nan": None,
        "infinite": [None],
        "fine": 1.5,
    }


def test_facts_are_named_in_words_and_long_hashes_are_cut() -> None:
    facts = format.facts(
        {"data_hash": "21e6792cd43a" + "0" * 52, "image_size": 1200, "model": "a_b"}
    )
    assert facts == {"data hash": "21e6792cd43a", "image size": "1,200", "model": "a_b"}


def test_show_and_its_json_name_the_same_task(storage: str) -> None:
    assert "batch size  8" in told("show", "gpt-nano", "--storage", storage)
    document = json.loads(told("show", "--json", "--storage", storage))
    assert document["search"]["task"]["batch_size"] == 8
