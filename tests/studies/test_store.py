"""What is remembered comes back as it was, and what comes too late is refused."""

from __future__ import annotations

import doctest
import re
from datetime import UTC

import pytest
from sqlalchemy import create_engine, insert, select

from autotune.studies import store as store_module
from autotune.studies.errors import AlreadyThere, NotFound, SpecError, StorageError
from autotune.studies.models import CurvePoint, Trial
from autotune.studies.records import Point, SearchState, TrialState
from autotune.testing.stores import StoreContract


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    return request.param


class TestStore(StoreContract):
    """The store on each kind of database."""


def test_a_name_is_given_once(store, search, url):
    sentence = (
        f"search 'net' is already in {url}; continue it with --resume net or give another "
        "name with --search NAME"
    )
    with pytest.raises(AlreadyThere, match=f"^{re.escape(sentence)}$"):
        store.create_search("net", {}, {}, {}, {})


@pytest.mark.parametrize(
    "name", ["Größe 3 日本 🙂", "'; DROP TABLE autotune_searches; --", "x" * 200]
)
def test_a_name_may_be_odd(store, name):
    store.create_search(name, {}, {}, {"adan": {}}, {})
    assert store.search(name).name == name


def test_a_name_that_would_look_like_a_study_is_refused(store):
    with pytest.raises(SpecError, match=r"^name must not contain '/' "):
        store.create_search("net/adan", {}, {}, {}, {})


def test_an_unknown_search_suggests_the_nearest(store, search, url):
    sentence = f"no search 'nte' in {url}; did you mean 'net'? (known: net)"
    with pytest.raises(NotFound, match=f"^{re.escape(sentence)}$"):
        store.search("nte")


def test_only_the_newest_names_are_listed(store):
    for number in range(10):
        store.create_search(f"net{number}", {}, {}, {}, {})
    with pytest.raises(NotFound, match=r"\(known: net9, net8, .*, net2, and 2 more\)$"):
        store.search("zzz")


def test_a_store_without_searches_says_so(store, url):
    sentence = f"no search 'a' in {url}, which holds none yet"
    with pytest.raises(NotFound, match=f"^{re.escape(sentence)}$"):
        store.delete_search("a")


def test_times_are_in_utc(store, search):
    assert store.search("net").created.tzinfo is UTC


def test_equal_environments_are_kept_once(store, search):
    other = store.create_search("other", {}, {}, {}, {"torch": "2.13"})
    assert other.environment == search.environment


def test_beginning_makes_a_trial_run(store, search, proposal):
    trial = store.add_trial(1, proposal())
    assert store.begin(trial.id, "worker-1") == 1
    assert store.trial(trial.id).state is TrialState.RUNNING


def test_a_trial_that_never_began_may_be_stopped(store, search, proposal):
    trial = store.add_trial(1, proposal())
    assert store.record(trial.id, 0, state=TrialState.STOPPED, step=0).step == 0


LATE = "attempt 1 at trial 1 is over, attempt 2 took its place; its report was not stored"


def test_a_report_of_an_older_attempt_is_refused(store, search, proposal):
    trial = store.add_trial(1, proposal())
    late = store.begin(trial.id, "lost")
    store.begin(trial.id, "its successor")
    with pytest.raises(StorageError, match=f"^{re.escape(LATE)}$"):
        store.record(trial.id, late, state=TrialState.COMPLETE, step=90, loss=0.1)
    assert store.trial(trial.id).loss is None


def test_points_of_an_older_attempt_are_not_merged(store, search, proposal, curve):
    trial = store.add_trial(1, proposal())
    late = store.begin(trial.id, "lost")
    store.begin(trial.id, "its successor")
    with pytest.raises(StorageError, match=f"^{re.escape(LATE)}$"):
        store.add_points(trial.id, late, curve(3))
    assert store.curve(trial.id) == ()


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_cannot_be_compared_is_refused(store, search, proposal, loss):
    trial = store.add_trial(1, proposal())
    attempt = store.begin(trial.id, "worker-1")
    with pytest.raises(SpecError, match=f"^loss must be finite or None, got {loss}$"):
        store.record(trial.id, attempt, state=TrialState.COMPLETE, step=90, loss=loss)
    assert store.trial(trial.id).state is TrialState.RUNNING


def test_a_point_that_cannot_be_compared_is_refused(store, search, ended):
    with pytest.raises(SpecError, match=r"^train_loss at step 3 must be finite or None, got nan$"):
        ended(1, points=[Point(step=3, seconds=0.0, train_loss=float("nan"))])


def test_a_setting_that_json_cannot_hold_is_refused(store, search, proposal):
    with pytest.raises(SpecError, match=r"^\{'lr': inf\} cannot be stored as JSON: "):
        store.add_trial(1, proposal(hyper={"lr": float("inf")}))
    assert store.trials(1) == []


def test_a_reason_may_hold_any_character(search, ended):
    assert ended(1, TrialState.FAILED, reason="a\0b\udcff").reason == "a\N{REPLACEMENT CHARACTER}b?"


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda store, _: store.trial(7), "no trial 7 in"),
        (lambda store, _: store.begin(7, "w"), "no trial 7 in"),
        (lambda store, _: store.record(7, 1, state=TrialState.COMPLETE, step=1), "no trial 7 in"),
        (lambda store, proposal: store.add_trial(7, proposal()), "no study 7 in"),
        (lambda store, _: store.save_recommendation(7, {}), "no study 7 in"),
    ],
)
def test_an_unknown_number_is_named(store, url, proposal, ask, sentence):
    with pytest.raises(NotFound, match=f"^{re.escape(f'{sentence} {url}')}$"):
        ask(store, proposal)


def test_a_space_of_an_optimizer_that_is_not_searched_is_refused(store, search, url):
    with pytest.raises(NotFound, match=f"^{re.escape(f'no study net/lamb in {url}')}$"):
        store.update_search("net", space={"lamb": {}})


def test_exports_are_remembered_in_order(store, search):
    store.add_export(1, "yaml", "out.yaml", "lr: 0.1")
    store.add_export(1, "json", None, "{}")
    assert [(export["format"], export["path"]) for export in store.exports(1)] == [
        ("yaml", "out.yaml"),
        ("json", None),
    ]


CHANGES = {
    "a trial": lambda store, proposal: store.add_trial(1, proposal()),
    "an attempt": lambda store, _: store.begin(1, "w"),
    "points": lambda store, _: store.add_points(2, 1, [Point(step=1, seconds=1.0)]),
    "a record": lambda store, _: store.record(2, 1, state=TrialState.COMPLETE, step=90),
    "a lost worker": lambda store, _: store.lose(2, 1, "gone"),
    "stopped trials": lambda store, _: store.stop_trials(1, {3: "the search ended"}),
    "a recommendation": lambda store, _: store.save_recommendation(1, {}),
    "an export": lambda store, _: store.add_export(1, "yaml", None, ""),
    "a state": lambda store, _: store.update_search("net", state=SearchState.COMPLETE),
}


@pytest.mark.parametrize("name", [None, "net"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_changes_the_signature(store, search, ended, proposal, name, change):
    ended(1)
    store.begin(store.add_trial(1, proposal()).id, "w")
    store.add_trial(1, proposal())
    before = store.signature(name)
    change(store, proposal)
    assert store.signature(name) != before


def test_replacing_a_search_changes_the_signature(store, search):
    before = store.signature()
    store.delete_search("net")
    store.create_search("net", {"model": "net"}, {}, {}, {})
    assert store.signature() != before


def test_the_example_of_the_store_runs():
    assert doctest.testmod(store_module).failed == 0


def test_a_store_of_two_thousand_trials_is_read_whole(store, search, ended, url):
    example = ended(1, loss=0.5)
    _multiply(url, example.id, trials=2000, points=20)
    assert len(store.trials(1)) == 2001
    assert sum(map(len, store.curves(1).values())) == 40_000
    assert store.searches()[0].studies[0].counts == {"complete": 2001}


def _multiply(url: str, trial: int, *, trials: int, points: int) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        row = connection.execute(select(Trial.__table__).where(Trial.id == trial)).one()._asdict()
        copies = [{**row, "id": 100 + number, "number": number} for number in range(1, trials + 1)]
        connection.execute(insert(Trial), copies)
        rows = [
            {"trial_id": copy["id"], "step": step, "seconds": 0.0}
            for copy in copies
            for step in range(points)
        ]
        connection.execute(insert(CurvePoint), rows)
    engine.dispose()


@pytest.mark.parametrize("way", ["a trial that is taken up", "a wider space"])
def test_what_goes_on_is_no_longer_said_to_be_over(store, search, proposal, way):
    trial = store.add_trial(1, proposal())
    attempt = store.begin(trial.id, "worker-1")
    store.record(trial.id, attempt, state=TrialState.FAILED, step=0, reason="no mount")
    store.save_recommendation(1, {"source": 3, "budget": {"runs": 9.0}, "ended": "no time left"})
    if way == "a wider space":
        wider = {search.studies[0].optimizer: {"lr": [1e-5, 1.0]}}
        store.grow_search("net", {"model": "m"}, before=search.spec, joined={}, widened=wider)
    else:
        store.take_up(search.id, [trial.id])
    assert store.recommendation(1) == {"source": 3}
