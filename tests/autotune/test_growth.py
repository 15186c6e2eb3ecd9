"""A stored search gains optimizers and wider spaces; what was run stays, nothing narrows."""

from __future__ import annotations

import threading

import pytest

from autotune.errors import AlreadyThere
from autotune.search import worker
from autotune.search.coordinator import run
from autotune.search.events import Notice, TrialEnded, TrialStarted
from autotune.search.growth import growth
from autotune.search.opening import checked, open_search
from autotune.space.presets import spaces_of
from autotune.studies.records import Proposal, Role, SearchState
from autotune.studies.setting import Setting
from autotune.studies.spec import parse
from autotune.studies.store import Store

LR = {"low": 1e-3, "high": 1e-2}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/autotune.db"


def spec(task_file, **changes):
    known = {
        "model": f"{task_file}:problem",
        "optimizers": ["adan"],
        "budget": {"trials": 3},
        "steps": 9,
        "seeds": 2,
        "finalists": 1,
        "engine": "inline",
        "space": {"lr": LR},
    }
    return parse(known | changes)


def rows(store, optimizer="adan"):
    """Return what was run, and how it ended, by number."""
    study = next(s for s in store.search("problem").studies if s.optimizer == optimizer)
    return {t.number: (t.role, dict(t.setting.hyper), t.loss) for t in store.trials(study.id)}


def said(events):
    return [event.text for event in events if isinstance(event, Notice)]


def gained(store, before, after):
    """Return what a search of one spec gains by another, without training."""
    search = open_search(checked(before, store), store).search
    return growth(search, after, spaces_of(after))


def test_a_finished_search_gains_an_optimizer_with_an_equal_budget(task_file, url):
    with Store(url) as store:
        run(spec(task_file), store=store)
        before, events = rows(store), []

        found = run(spec(task_file, optimizers=["adan", "sgd"]), store=store, listen=events.append)

        assert rows(store) == before
        searched = [row for row in rows(store, "sgd").values() if row[0] is Role.SEARCH]
        judged = [row for row in rows(store, "sgd").values() if row[0] is Role.JUDGE]
        assert (len(searched), len(judged)) == (3, 4)
        assert {row.optimizer for row in found.rows} == {"adan", "sgd"}
        assert "sgd joins the search with the budget that the others have" in said(events)
        assert store.search("problem").state is SearchState.COMPLETE


def test_a_newcomer_catches_up_before_the_others_go_on(task_file, url):
    with Store(url) as store:
        run(spec(task_file, budget={"trials": 3}), store=store)
        events = []
        wider = spec(task_file, optimizers=["adan", "sgd"], budget={"trials": 5})
        run(wider, store=store, listen=events.append)

    order = [e.optimizer for e in events if isinstance(e, TrialStarted)]
    assert order[:3] == ["sgd"] * 3
    assert order.count("adan") >= 2


def test_a_finished_search_goes_on_in_a_wider_range(task_file, url):
    space = {"lr": {"low": 1e-3, "high": 0.2}}
    with Store(url) as store:
        run(spec(task_file), store=store)
        before, events = rows(store), []

        more = spec(task_file, space=space, budget={"trials": 9})
        run(more, store=store, listen=events.append)

        after = rows(store)
        assert {number: after[number] for number in before} == before
        searched = [row[1]["lr"] for row in after.values() if row[0] is Role.SEARCH]
        assert len(searched) == 9
        assert max(searched) > 1e-2
        [study] = store.search("problem").studies
        assert study.space["lr"][:3] == ["log", 1e-3, 0.2]
    assert any(
        "lr is now searched from 0.001 to 0.2 (log), before from 0.001 to 0.01 (log)" in text
        for text in said(events)
    )


def test_a_parameter_that_becomes_free_keeps_what_was_run(task_file, url):
    with Store(url) as store:
        run(spec(task_file, space={"lr": LR, "warmup": 0.1}), store=store)
        before = rows(store)

        run(spec(task_file, budget={"trials": 8}), store=store)

        after = rows(store)
        assert {number: after[number] for number in before} == before
        [study] = store.search("problem").studies
        warmups = {t.setting.warmup for t in store.trials(study.id) if t.role is Role.SEARCH}
    assert 0.1 in warmups
    assert len(warmups) > 1


def test_settings_run_before_a_parameter_was_free_have_its_coordinate(task_file, url):
    fixed, free = spec(task_file, space={"warmup": 0.25}), spec(task_file, space={})
    with Store(url) as store:
        search = open_search(checked(fixed, store), store).search
        space = spaces_of(fixed)["adan"]
        setting = space.setting(space.at([0.5] * len(space)))
        asked = Proposal(role=Role.SEARCH, origin="x", setting=setting, seed=0, target=9)
        store.add_trial(search.studies[0].id, asked)

        [state] = open_search(checked(free, store), store).states

    [trial] = state.trials.values()
    assert trial.setting.params["warmup"] == 0.25
    assert trial.setting.hyper == {**setting.hyper, "betas": list(setting.hyper["betas"])}


def test_a_choice_gains_an_option(task_file, url):
    some = {"lr": [1e-3, 1e-2], "warmup": 0.1}
    more = {"lr": [1e-3, 3e-3, 1e-2], "warmup": 0.1}
    with Store(url) as store:
        run(spec(task_file, space=some), store=store)
        before = rows(store)

        run(spec(task_file, space=more, budget={"trials": 6}), store=store)

        assert rows(store).items() >= before.items()
        assert store.search("problem").studies[0].space["lr"] == ["choice", [1e-3, 3e-3, 1e-2]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"lr": LR}, {"lr": {"low": 5e-3, "high": 5e-2}}),
        ({"lr": LR}, {"lr": {"low": 2e-3, "high": 1e-2}}),
        ({"lr": LR}, {"lr": 5e-3}),
        ({"lr": LR}, {"lr": {**LR, "scale": "linear"}}),
        ({"lr": LR}, {"lr": [1e-3, 1e-2]}),
        ({"lr": [1e-3, 1e-2]}, {"lr": [1e-3, 3e-3]}),
        ({"lr": 1e-3}, {"lr": 2e-3}),
        ({"lr": 1e-3}, {"lr": {"low": 2e-3, "high": 1e-2}}),
        ({"lr": {"high": 1.0}}, {}),
        ({}, {"weight_decay": [0.0, 0.1]}),
    ],
    ids=[
        *("moved", "narrowed", "fixed", "another scale", "a list of it", "a choice lost"),
        *("another value", "its value left out", "back to the optimizer's own", "another way"),
    ],
)
def test_what_narrows_or_moves_is_refused_and_nothing_changes(task_file, url, before, after):
    with Store(url) as store:
        stored = open_search(checked(spec(task_file, space=before), store), store).search
        sentence = (
            r"^search 'problem' has searched \w+ of adan .*, got .*: a search may widen a range "
            r"but not move or narrow it; hold what was searched, or give --search NAME \(in "
            r"Python, name=\) to begin a new one$"
        )
        with pytest.raises(AlreadyThere, match=sentence):
            checked(spec(task_file, space=after), store)
        assert store.search("problem") == stored


def test_an_optimizer_may_not_be_dropped(task_file, url):
    with Store(url) as store:
        open_search(checked(spec(task_file, optimizers=["adan", "sgd"]), store), store)
        with pytest.raises(
            AlreadyThere,
            match=r"^search 'problem' has trials of sgd: a search may gain optimizers but not "
            r"lose them; name sgd as well, or give --search NAME \(in Python, name=\) to begin a "
            r"new one$",
        ):
            checked(spec(task_file, optimizers=["adan", "adamw"]), store)


def test_another_seed_is_still_another_search(task_file, url):
    with Store(url) as store:
        open_search(checked(spec(task_file), store), store)
        with pytest.raises(AlreadyThere, match=r"with another seed; give --search NAME"):
            checked(spec(task_file, seed=1, optimizers=["adan", "sgd"]), store)


def widened_by_itself(store, search, low, high):
    """Store a range of lr as a search does that found its best at its end."""
    space = dict(search.studies[0].space)
    space["lr"] = ["log", low, high, *space["lr"][1:3]]
    store.update_search("problem", space={"adan": space})


def test_a_range_that_the_search_widened_stays_when_another_is_freed(task_file, url):
    fixed, free = spec(task_file, space={"warmup": 0.1}), spec(task_file, space={})
    with Store(url) as store:
        search = open_search(checked(fixed, store), store).search
        low, high = search.studies[0].space["lr"][1:3]
        widened_by_itself(store, search, low, 2 * high)

        [state] = open_search(checked(free, store), store).states

        assert state.space.parameters["lr"].high == 2 * high
        assert store.search("problem").studies[0].space["lr"] == ["log", low, 2 * high, low, high]


def test_a_users_range_must_hold_what_the_search_widened_to(task_file, url):
    with Store(url) as store:
        search = open_search(checked(spec(task_file, space={}), store), store).search
        low, high = search.studies[0].space["lr"][1:3]
        widened_by_itself(store, search, low, 2 * high)

        with pytest.raises(AlreadyThere, match=r"has searched lr of adan from .* to 0\.6 \(log\)"):
            checked(spec(task_file, space={"lr": {"low": low, "high": 1.5 * high}}), store)
        wide = spec(task_file, space={"lr": {"low": low, "high": 3 * high}})
        [state] = open_search(checked(wide, store), store).states

        assert state.space.parameters["lr"].high == pytest.approx(3 * high)
        assert state.space.asked == {"lr"}


def test_a_range_for_one_optimizer_leaves_the_others(task_file, url):
    both = {"optimizers": ["adan", "sgd"]}
    own = {"lr": LR, "sgd": {"lr": {"high": 1.0}}}
    with Store(url) as store:
        found = gained(store, spec(task_file, **both), spec(task_file, **both, space=own))

    assert list(found.widened) == ["sgd"]


def test_the_same_space_in_other_words_gains_nothing(task_file, url):
    with Store(url) as store:
        found = gained(store, spec(task_file), spec(task_file, space={"adan": {"lr": LR}}))

    assert not found


def test_what_another_process_changed_meanwhile_is_not_overwritten(task_file, url):
    with Store(url) as store:
        open_search(checked(spec(task_file), store), store)
        mine = checked(spec(task_file, optimizers=["adan", "sgd"]), store)
        open_search(checked(spec(task_file, optimizers=["adan", "adamw"]), store), store)

        with pytest.raises(
            AlreadyThere, match=r"^search 'problem' was changed meanwhile; give the command again$"
        ):
            open_search(mine, store)
        assert [s.optimizer for s in store.search("problem").studies] == ["adan", "adamw"]


def test_a_worker_goes_on_with_what_the_search_gained_while_it_ran(task_file, url):
    """The search gains an optimizer and a range after the worker's first trial."""
    wider = spec(task_file, optimizers=["adan", "sgd"], space={"lr": {"low": 1e-4, "high": 0.1}})
    ended = threading.Event()

    def grow(event):
        if isinstance(event, TrialEnded) and not ended.is_set():
            ended.set()
            with Store(url) as other:
                opened = open_search(checked(wider, other), other)
                study = opened.search.studies[1]
                setting = opened.states[1].presets[0].setting
                asked = Proposal(role=Role.SEARCH, origin="x", setting=setting, seed=0, target=9)
                other.add_trial(study.id, asked)

    with Store(url) as store:
        open_search(checked(spec(task_file), store), store)
        terms = worker.Terms(name="w1", engine="inline")
        search = worker.work("problem", store=store, terms=terms, listen=grow)

        assert search.state is SearchState.COMPLETE
        searched = {
            name: sum(row[0] is Role.SEARCH for row in rows(store, name).values())
            for name in ("adan", "sgd")
        }
    assert searched == {"adan": 3, "sgd": 3}


def test_both_doors_let_a_search_grow(task_file, url, tmp_path, monkeypatch):
    import autotune
    from autotune.cli import main

    monkeypatch.chdir(tmp_path)
    given = {"trials": 2, "steps": 9, "seeds": 2, "finalists": 1, "storage": url, "progress": "off"}
    model = f"{task_file}:problem"
    autotune.tune(model, optimizers=["adan"], space={"lr": LR}, engine="inline", **given)

    flags = f"--model {model} --optimizer adan --optimizer sgd --trials 3 --steps 9 --seeds 2"
    flags += f" --set finalists=1 --set space.lr.low=1e-4 --set space.lr.high=1e-2 --storage {url}"
    with pytest.raises(SystemExit) as left:
        main(["search", *flags.split(), "--engine", "inline", "--quiet"])

    assert left.value.code in (0, None)
    space = {"lr": {"low": 1e-4, "high": 0.1}}
    names = ["adan", "sgd", "adamw"]
    result = autotune.tune(model, optimizers=names, space=space, engine="inline", **given)
    assert {row.optimizer for row in result.rows} == set(names)


def test_a_setting_in_the_new_range_is_a_setting_of_the_space(task_file, url):
    """Sampling goes on from settings of the narrower space."""
    with Store(url) as store:
        run(spec(task_file, sampler="tpe"), store=store)
        wide = spec(task_file, space={}, sampler="tpe", budget={"trials": 9})
        run(wide, store=store)
        [study] = store.search("problem").studies
        settings: list[Setting] = [t.setting for t in store.trials(study.id)]
    assert all(setting.params.keys() >= {"lr"} for setting in settings)
