"""Two searches are set side by side only where they trained the same task."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from autotune.app import across, look, outcome
from autotune.app.across import Pair
from autotune.results.comparison import Comparison, Contender, Row
from autotune.results.intervals import estimate
from autotune.search.facts import another_task
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.store import Store
from autotune.testing import sample
from autotune.testing.trials import setting_of


def _contender(losses):
    return Contender(
        origin="default",
        setting=setting_of(hyper={"lr": 1e-3}),
        losses=losses,
        loss=estimate(list(losses.values())) if losses else None,
        accuracy=None,
    )


def _row(optimizer, losses):
    return Row(
        optimizer=optimizer,
        default=_contender({}),
        tuned=_contender(losses),
        changed=True,
        difference=None,
        verdict="",
        against_reference=None,
        reference_verdict=None,
        runs=1.0,
        trials=1,
        diverged=0,
        failed=0,
    )


def _found(name, *rows, seed=0):
    search = SearchRecord(
        id=1,
        name=name,
        state=SearchState.COMPLETE,
        spec={"seed": seed},
        task=dict(sample.TASK),
        environment={},
        seconds=0.0,
        created=None,
        updated=None,
        studies=(),
    )
    return Comparison(search=search, rows=rows, verdict="")


@pytest.fixture
def pair():
    """Two searches whose seeds are the same."""
    one = _found("one", _row("adan", {2: 1.0, 3: 1.2}), _row("adamw", {2: 2.0, 3: 2.1}))
    other = _found("other", _row("adan", {2: 0.9, 3: 1.1}))
    return Pair(one=one, other=other)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"steps": 90}, ["steps"]),
        ({"model": "gpt-mini"}, ["model"]),
        ({"model": "moved.py:net", "model_hash": "1"}, []),
        ({"data": "elsewhere"}, []),
    ],
)
def test_searches_of_another_task_are_told_apart_by_its_facts(changed, said):
    one = {**sample.TASK, **({"model_hash": "1"} if "model_hash" in changed else {})}

    assert another_task(one, {**one, **changed}) == said


def test_another_task_is_one_sentence(pair):
    task = {**sample.TASK, "steps": 90, "batch_size": 8}
    other = replace(pair.other.search, task=task)

    assert across.refusal(pair.one.search, pair.other.search) is None
    assert across.refusal(pair.one.search, other) == (
        "one and other trained different tasks (another steps, batch size): "
        "their losses cannot be compared"
    )


def test_equal_seeds_are_paired(pair):
    assert across.conclusion(pair).startswith("tuned adan of one loses to tuned adan of other by")
    assert across.differences(pair)["adan"].mean == pytest.approx(-0.1)
    assert list(across.differences(pair)) == ["adan"]


def test_other_seeds_are_no_pairs(pair):
    apart = replace(pair, other=_found("other", *pair.other.rows, seed=1))

    assert across.conclusion(apart).endswith("they ran on different seeds")
    assert across.differences(apart) == {}


def test_a_search_before_judging_is_named(pair):
    early = replace(pair, other=_found("early", _row("adan", {})))

    assert across.conclusion(early) == "no setting of early was judged yet"


def test_optimizers_are_named_with_their_search_the_lowest_loss_first(pair):
    assert [row.optimizer for row in pair.rows] == ["adan, one", "adan, other", "adamw, one"]
    assert pair.merged({"adan": 1}, {"adan": 2}) == {"adan, one": 1, "adan, other": 2}


def test_an_optimizer_of_two_searches_has_one_colour_and_two_dashes(pair):
    names = [row.optimizer for row in pair.rows]
    own = look.colours(["adan", "adamw"])

    assert list(look.colours(names).values()) == [own["adan"], own["adan"], own["adamw"]]
    assert list(look.dashes(names).values()) == ["solid", "dot", "solid"]


def test_only_tuned_settings_are_drawn_beside_each_other(pair):
    chart = outcome.losses(pair.rows, references=False)

    drawn = [trace.name for trace in chart.data if "seeds" not in trace.name]
    assert drawn == ["adamw tuned, one", "adan tuned, other", "adan tuned, one"]


def test_long_names_stay_apart():
    long = "x" * 200
    names = Pair(one=_found(f"{long}a"), other=_found(f"{long}b")).names

    assert len(set(names)) == 2
    assert max(map(len, names)) < 30


def _script():
    from autotune.app.pages import across

    across.page()


@pytest.fixture
def two(monkeypatch, tmp_path):
    """Draw the page of two searches; takes what the task of the second differs in."""

    def draw(**changed):
        url = f"sqlite:///{tmp_path}/two.db"
        sample.make(url, "first", landscapes={"adan": sample.OPTIMIZERS["adan"]})
        if changed:
            with Store(url) as store:
                store.create_search("second", {}, {**sample.TASK, **changed}, {"adan": {}}, {})
        else:
            sample.make(url, "second", landscapes={"adan": sample.OPTIMIZERS["adan"]})
        monkeypatch.setenv("AUTOTUNE_STORAGE", url)
        at = AppTest.from_function(_script, default_timeout=30)
        at.query_params["search"], at.query_params["beside"] = "first", "second"
        return at.run()

    return draw


def test_an_address_sets_two_searches_side_by_side(two):
    at = two()

    assert not at.exception
    assert at.subheader[0].value.startswith("No significant difference between tuned adan of first")
    assert at.subheader[-1].value == "Best loss against cost"
    assert list(at.dataframe[0].value["search"]) == ["first", "second"]


def test_a_task_that_differs_is_said_on_the_page(two):
    at = two(steps=90)

    assert "trained different tasks" in at.info[0].value
    assert not at.subheader
