"""A worker that computes otherwise than its search does: refused, or let in and told of."""

import json
import threading

import pytest
from sqlalchemy import update

from autotune import load
from autotune.cli.views import json as documents
from autotune.cli.views import list as listing
from autotune.cli.views import show
from autotune.errors import AlreadyThere, SpecError
from autotune.search import details
from autotune.search.alike import Alike
from autotune.search.coordinator import run
from autotune.search.device import as_here
from autotune.search.worker import Terms, work
from autotune.studies.models import Search
from autotune.studies.records import Point, Role, SearchState, TrialRecord
from autotune.studies.setting import Setting
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.training.job import Outcome, Report

MIXED = (
    "mixed: trials ran on cpu in bf16 autocast and on cpu in float32, so their losses may differ "
    "for that alone, those of one seed too"
)


def begun(task_file, store):
    """Begin a search as on another kind of processor, and take no step."""
    spec = {
        "model": f"{task_file}:problem",
        "optimizers": ["adamw"],
        "budget": {"trials": 2},
        "steps": 9,
        "engine": "inline",
    }
    halt = threading.Event()
    halt.set()
    run(parse(spec), store=store, halt=halt)
    changed(store, precision="bf16 autocast")


def changed(store, **facts):
    task = {**store.search("problem").task, **facts}
    with store._database.writing() as connection:
        connection.execute(update(Search).values(task=task))


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path}/autotune.db") as found:
        yield found


def terms(**changed):
    return Terms(engine="inline", **changed)


def test_a_worker_of_another_precision_is_refused_and_told_how_to_join(task_file, store):
    begun(task_file, store)
    with pytest.raises(
        SpecError,
        match=r"^search 'problem' computes on cpu in bf16 autocast, this worker would on cpu in "
        r"float32: the losses of one search are of one kind; --mixed lets it join, and every table "
        r"of results then says so$",
    ):
        work("problem", store=store, terms=terms())
    assert "mixed" not in store.search("problem").task


def test_what_else_has_changed_keeps_a_mixed_worker_out(task_file, store):
    begun(task_file, store)
    changed(store, parameters=1)
    with pytest.raises(AlreadyThere, match=r"with another number of parameters; "):
        work("problem", store=store, terms=terms(mixed=True))


def test_every_table_of_a_search_with_mixed_workers_says_so(task_file, store):
    begun(task_file, store)
    notices = []
    listen = lambda event: notices.append(getattr(event, "text", ""))  # noqa: E731
    found = work("problem", store=store, terms=terms(mixed=True), listen=listen)
    assert found.state is SearchState.COMPLETE
    assert MIXED in notices
    result = load("problem", storage=store.url)
    assert result.verdict.splitlines()[1] == MIXED
    assert MIXED in repr(result)
    assert MIXED in result.best.record.warnings
    content = details.search(store.url, "problem")
    assert "cpu in bf16 autocast and cpu in float32" in show.search_text(content, every=False)
    assert "(judged, mixed devices)" in listing.text(listing.searches(store.url))
    told = json.loads(documents.document(comparisons=[result.comparison]))
    task = told["comparisons"][0]["search"]["task"]
    assert task["mixed"] == ["cpu in bf16 autocast", "cpu in float32"]


def test_trials_of_a_mixed_worker_are_computed_where_it_is(task_file, store):
    begun(task_file, store)
    changed(store, device="cuda")
    search = store.search("problem")
    here = as_here(search, {"precision": "float32"}).task
    assert (here.get("device"), here["precision"]) == (None, "float32")
    assert as_here(search, search.task) is search


def began(alike, number, loss):
    setting = Setting(params={}, hyper={}, warmup=0.0)
    trial = TrialRecord(
        id=number, study=1, number=number, role=Role.SEARCH, origin="", setting=setting, seed=0,
        target=9,
    )  # fmt: skip
    points = (Point(step=1, seconds=0.0, train_loss=loss),)
    what = {"trial": number, "attempt": 1, "outcome": Outcome.PROGRESS, "step": 1}
    return alike.look("adamw", trial, Report(**what, points=points))


def test_first_losses_of_mixed_workers_are_compared_coarsely(task_file, store):
    begun(task_file, store)
    alike, alone = (Alike(store=store, search=store.search("problem")) for _ in "12")
    assert began(alone, 1, 2.0) is None
    assert "began with different first losses" in began(alone, 2, 2.002)
    assert began(alike, 1, 2.0) is None
    store.mix_search("problem", ["cpu", "cuda"])  # since this process has read the search
    assert began(alike, 2, 2.002) is None
    assert "began with different first losses" in began(alike, 3, 2.2)
