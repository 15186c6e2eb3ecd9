"""Which settings a validation trains next, and whole validations: real training, real store."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import autotune
from autotune.cli import main
from autotune.errors import AlreadyThere, NotFound, NothingUsable, SpecError
from autotune.results import comparison
from autotune.scheduler import validating as scheduling
from autotune.search import delete, validating
from autotune.search.coordinator import run
from autotune.search.entrants import Asked
from autotune.search.events import Spent, TrialEnded, TrialStarted, ignore
from autotune.search.lock import exclusive, folder_of
from autotune.studies import validations
from autotune.studies.records import Role, SearchState, TrialState
from autotune.studies.setting import Setting
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.studies.validations import Entrant, Plan
from autotune.testing.forked import Forked
from autotune.testing.trials import search_trial

NOTHING = Setting(params={}, hyper={}, warmup=0.0)
ANY = lambda wanted: True  # noqa: E731  a word for a test
SEED = 1_000_000


def entrant(key, which="tuned", **more):
    return Entrant(key=key, optimizer="adan", which=which, source=1, setting=NOTHING, **more)


def plan(*entrants):
    return Plan(
        optimizer="adan",
        source=1,
        times=5.0,
        steps=90,
        batch_size=None,
        rules=(("a",), ("b",)),
        entrants=entrants,
        first_seed=SEED,
    )


def ran(number, key, seed, loss=0.5, state=TrialState.COMPLETE):
    own = search_trial(number, loss=loss, state=state)
    return replace(own, origin=key, seed=SEED + seed, role=Role.VALIDATE)


def order(plan, trials=(), *, seeds=2, more=False, affordable=ANY, losses=None):
    """Return what runs one after the other, each to its loss, from the trials given on."""
    trials, found = list(trials), []
    while run := scheduling.next_run(plan, trials, seeds=seeds, more=more, affordable=affordable):
        key, seed = run[0].key, run[1] - SEED
        found.append((key, seed))
        trials.append(ran(len(trials), key, seed, (losses or {}).get(key, 0.5) + 0.01 * seed))
    return found


TWO = plan(entrant("a"), entrant("b", "default"))


def test_each_seed_is_run_by_all_before_the_next():
    assert order(TWO) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_a_seed_that_cannot_be_paid_whole_does_not_begin():
    asked = []

    def affordable(wanted):
        asked.append(len(wanted))
        return len(wanted) < 2

    assert order(TWO, affordable=affordable) == []
    assert asked == [2, 2]  # by the laps, each for itself
    begun = [ran(0, "a", 0)]
    assert order(TWO, begun, affordable=affordable) == [("b", 0)]


def test_minutes_that_are_left_pay_for_twice_the_seeds_at_most():
    assert [seed for _, seed in order(TWO, more=True)][::2] == [0, 1, 2, 3]


RULES = plan(
    entrant("a", rules=("a",)), entrant("b", rules=("b",)), entrant("d", "default"),
    replace(entrant("e", rules=("a",)), optimizer="adamw"),
)  # fmt: skip


def test_a_set_of_rules_that_is_clearly_behind_leaves_after_two_seeds():
    ordered = order(RULES, seeds=4, losses={"a": 0.1, "b": 0.9, "d": 2.0, "e": 1.0})
    assert [seed for key, seed in ordered if key == "b"] == [0, 1]
    for key in ("a", "d", "e"):  # what has to be beaten stays, however far behind
        assert [seed for other, seed in ordered if other == key] == [0, 1, 2, 3]


def test_sets_of_rules_that_are_level_all_stay():
    ordered = order(RULES, seeds=3)
    assert [seed for key, seed in ordered if key == "b"] == [0, 1, 2]


def test_who_races_on_a_third_seed_waits_for_the_second():
    trials = [
        ran(n, key, seed)
        for n, (key, seed) in enumerate(
            [(k, s) for s in (0, 1) for k in "abde" if (k, s) != ("b", 1)]
        )
    ]
    trials.append(ran(9, "b", 1, None, TrialState.RUNNING))
    found = scheduling.next_run(RULES, trials, seeds=3, more=False, affordable=ANY)
    assert (found[0].key, found[1] - SEED) == ("d", 2)


def test_a_set_of_rules_that_diverged_is_out():
    trials = [ran(0, "b", 0, None, TrialState.DIVERGED)]
    assert [seed for key, seed in order(RULES, trials, seeds=3) if key == "b"] == [1]


def test_settings_are_ranked_on_the_first_seed_after_all_others():
    ranking = plan(entrant("a"), entrant("b", "default"), entrant("r", "ranked", proxy=0.4))
    assert order(ranking, more=True)[4:6] == [("r", 0), ("a", 2)]


def test_no_seed_is_used_in_two_validations_or_stages():
    blocks = [range(scheduling.first_seed(n), scheduling.first_seed(n) + 500) for n in (1, 2, 3)]
    assert len({seed for block in blocks for seed in block}) == 1500
    assert min(blocks[0]) > 100_000  # more than any search judges on


@pytest.fixture(scope="module")
def searched(task_text, tmp_path_factory):
    """A finished search of two optimizers."""
    path = tmp_path_factory.mktemp("searched") / "mytask.py"
    path.write_text(task_text)
    spec = parse(
        {
            "model": f"{path}:problem",
            "optimizers": ["adan", "adamw"],
            "budget": {"runs": 15},
            "pruner": "none",  # so that there are settings to rank
            "steps": 27,
            "engine": "inline",
            "workers": 1,
        }
    )
    with Store(f"sqlite:///{path.parent}/autotune.db") as store:
        run(spec, store=store)
    return path.parent / "autotune.db"


@pytest.fixture
def url(searched, tmp_path):
    """A copy of that search."""
    shutil.copy(searched, tmp_path / "autotune.db")
    return f"sqlite:///{tmp_path}/autotune.db"


def validate(url, *, listen=ignore, halt=None, **asked):
    return validating.run(
        Asked(**{"study": "problem/adan", "steps": "3x", **asked}),
        url,
        listen=listen,
        halt=halt or threading.Event(),
    )


def trials(store):
    """Return what defines each trial of the first validation."""
    (stage,) = [one.stage for one in validations.of(store, store.search("problem").id)]
    return sorted(
        (t.origin, t.seed, t.state, t.step, t.loss, t.source, str(dict(t.setting.hyper)),
         [(p.step, p.loss) for p in store.curve(t.id)])
        for study in stage.studies for t in store.trials(study.id)
    )  # fmt: skip


FULL = {"rules": [("literature",), ("none",)], "settings": 4, "seeds": 2}


@pytest.fixture(scope="module")
def undisturbed(searched, tmp_path_factory):
    """A copy of the search with a validation of all kinds, its result and what it told."""
    database = tmp_path_factory.mktemp("undisturbed") / "autotune.db"
    shutil.copy(searched, database)
    heard = []
    found = validate(f"sqlite:///{database}", listen=heard.append, **FULL)
    with Store(f"sqlite:///{database}") as store:
        return found, trials(store), heard, database


def test_a_validation_runs_all_on_the_same_fresh_seeds_in_longer_runs(undisturbed):
    found, rows, heard, _ = undisturbed
    assert (found.steps, found.times, found.complete, found.latest) == (81, 3.0, True, True)
    by_key = {}
    for origin, seed, _, step, *_ in rows:
        by_key.setdefault(origin, set()).add(seed)
        assert step == 81
    ranked = [key for key in by_key if "trial" in key]
    assert all(by_key[key] == {SEED} for key in ranked)
    assert len(ranked) == 4
    assert {SEED, SEED + 1} == by_key["adan authors'"]
    assert set(by_key) - set(ranked) == {
        "adan authors'", "adan tuned, batch+timescale+warmup-share", "adan tuned, no rule",
        "adamw tuned, batch+timescale+warmup-share", "adamw tuned, no rule",
    }  # fmt: skip
    assert found.agreement.settings == 4
    last = [event for event in heard if isinstance(event, Spent)][-1]
    assert last.stage == "validate"
    assert sum(last.runs.values()) == found.runs == len(rows)


def test_what_a_rule_restated_is_trained(undisturbed):
    found, _, _, _ = undisturbed
    by, kept = found.settings[0], found.settings[1]
    assert by.rules == ("batch", "timescale", "warmup-share")
    assert kept.rules == ()
    assert by.setting.hyper["weight_decay"] == pytest.approx(kept.setting.hyper["weight_decay"] / 3)


def test_the_search_stays_as_it_was(undisturbed, searched):
    _, _, _, database = undisturbed
    with Store(f"sqlite:///{database}") as store, Store(f"sqlite:///{searched}") as before:
        assert [one.name for one in store.searches()] == ["problem"]
        for mine, old in zip(
            store.search("problem").studies, before.search("problem").studies, strict=True
        ):
            assert store.trials(mine.id) == before.trials(old.id)
            assert mine.counts == old.counts
        assert comparison.load(store, "problem").rows == comparison.load(before, "problem").rows


def test_the_same_call_again_reads_and_runs_nothing(undisturbed, tmp_path):
    found, _, _, database = undisturbed
    shutil.copy(database, tmp_path / "autotune.db")
    heard = []
    again = validate(f"sqlite:///{tmp_path}/autotune.db", listen=heard.append, **FULL)
    assert again == found
    assert heard == []


@pytest.mark.parametrize("stop_after", [8])
def test_halted_and_continued_equals_undisturbed(url, undisturbed, stop_after):
    halt, ended = threading.Event(), []

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)
            if len(ended) == stop_after:
                halt.set()

    found = validate(url, listen=listen, halt=halt, **FULL)
    assert not found.complete
    assert all(text.endswith("(not finished)") for text in found.sentences)
    assert validate(url, **FULL) == undisturbed[0]
    with Store(url) as store:
        assert trials(store) == undisturbed[1]


KILLED = """
import os, signal, sys, threading
from autotune.search import validating
from autotune.search.entrants import Asked
from autotune.search.events import TrialProgressed
seen = 0
def listen(event):
    global seen
    if isinstance(event, TrialProgressed):
        seen += 1
        if seen == 15:
            os.kill(os.getpid(), signal.SIGKILL)
asked = Asked(study="problem/adan", steps="3x", rules=[("literature",), ("none",)],
    settings=4, seeds=2)
validating.run(asked, sys.argv[1], listen=listen, halt=threading.Event())
"""


def test_killed_and_continued_equals_undisturbed(url, undisturbed):
    with Forked(url, script=KILLED) as killed:
        assert killed.wait(60) == -9
    with Store(url) as store:
        (before,) = validations.of(store, store.search("problem").id)
        assert before.stage.state is SearchState.RUNNING
        assert any("running" in study.counts for study in before.stage.studies)
    assert validate(url, **FULL) == undisturbed[0]
    with Store(url) as store:
        assert trials(store) == undisturbed[1]


def test_another_plan_is_another_validation_on_other_seeds(undisturbed, tmp_path):
    shutil.copy(undisturbed[3], tmp_path / "autotune.db")
    url = f"sqlite:///{tmp_path}/autotune.db"
    second = validate(url, study="problem/adamw", runs=2)
    assert second.number == 2
    assert {seed for each in second.settings for seed in each.losses} == {SEED + 10_000}
    assert second.holding == "cannot tell"  # by one seed
    more = validate(url, study="problem/adamw", runs=6, seeds=3)
    assert more.number == 2
    assert {len(each.losses) for each in more.settings} == {3}
    with Store(url) as store:
        assert [one.number for one in comparison.load(store, "problem").validations] == [1, 2]


def test_minutes_go_on_to_twice_the_seeds(url):
    found = validate(url, study="problem/adamw", minutes=5.0)
    assert {len(each.losses) for each in found.settings} == {6}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"steps": 26}, "target steps must be at least the 27 of the search, got 26; search with "
         "fewer --steps instead"),
        ({"batch": 0}, "target batch must be at least 1, got 0"),
        ({"runs": 2}, "runs must be at least 3, to run adan tuned, adan authors', adamw tuned on "
         "one seed, got 2"),
        ({"minutes": 1e-6}, "minutes must be at least"),
        ({"runs": float("nan")}, "runs must be finite, got nan"),
        ({"minutes": -1}, "minutes must be above 0, got -1"),
        ({"seeds": 5001}, "seeds must be at most 5000, got 5001"),
        ({"settings": 3}, "settings to rank must be at least 4, got 3"),
        ({"settings": 99}, "search 'problem' ran"),
        ({"rules": [("width", "betas-shar")]}, "unknown rule 'betas-shar'; did you mean"),
        ({"study": "problem/adm"}, "search 'problem': unknown optimizer 'adm'; did you mean"),
        ({"study": "problm"}, "no search 'problm' in"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_cannot_be_run_or_paid_is_one_sentence_and_stores_nothing(url, asked, sentence):
    with pytest.raises((SpecError, NotFound)) as error:
        validate(url, **asked)
    assert str(error.value.args[0]).startswith(sentence)
    assert "\n" not in str(error.value.args[0])
    with Store(url) as store:
        assert validations.of(store, store.search("problem").id) == []


def test_an_unfinished_search_is_refused(url):
    with Store(url) as store:
        store.update_search("problem", state=SearchState.INTERRUPTED)
    sentence = (
        "^search 'problem' is interrupted: only a complete one can be validated; go on with it by: "
        "autotune search --resume problem --storage"
    )
    with pytest.raises(SpecError, match=sentence):
        validate(url)


def test_a_search_whose_task_has_changed_is_refused(url, tmp_path):
    with Store(url) as store:
        stored = store.search("problem")
        path = tmp_path / "mytask.py"
        old = Path(stored.spec["model"].rpartition(":")[0])
        path.write_text(old.read_text() + "\nother = 1\n")
        store.update_search("problem", spec={**stored.spec, "model": f"{path}:problem"})
    with pytest.raises(SpecError, match=r"^search 'problem' cannot be validated here: another co"):
        validate(url)


def test_a_search_that_found_nothing_better_is_refused(url):
    with Store(url) as store:
        for study in store.search("problem").studies:
            store.save_recommendation(study.id, {"source": 0})
    sentence = (
        "^search 'problem' has nothing to validate: tuning adamw found nothing better than its "
        "default$"
    )
    with pytest.raises(NothingUsable, match=sentence):
        validate(url, study="problem/adamw")


def test_a_setting_that_is_its_default_is_compared_with_tuned_adamw_alone(url):
    with Store(url) as store:
        (adan,) = [s for s in store.search("problem").studies if s.optimizer == "adan"]
        store.save_recommendation(adan.id, {"source": 0})
    found = validate(url, seeds=2)
    assert [(each.optimizer, each.which) for each in found.settings] == [
        ("adan", "tuned"), ("adamw", "tuned")
    ]  # fmt: skip
    (outcome,) = found.outcomes
    assert outcome.default is None
    assert "tuned adamw" in outcome.verdict


def test_sets_of_rules_that_give_one_setting_are_trained_once(url):
    found = validate(url, rules=[("default",), ("none",)], seeds=2)
    assert [each.rules for each in found.outcomes] == [("warmup-share",)]
    assert "the settings by no rule are those by rules 'warmup-share'" in found.doubts[0]
    assert [one.which for one in found.settings if one.optimizer == "adan"] == ["tuned", "default"]


def test_one_process_at_a_time_validates_a_search(url):
    with exclusive(folder_of(url, "problem"), "problem"), pytest.raises(AlreadyThere):
        validate(url)


def test_a_deleted_search_takes_its_validations_along(undisturbed, tmp_path):
    shutil.copy(undisturbed[3], tmp_path / "autotune.db")
    url = f"sqlite:///{tmp_path}/autotune.db"
    with delete.held(url, "problem") as search:
        delete.delete(url, search)
    with Store(url) as store, store.reading() as connection:
        for table in ("searches", "studies", "trials", "points", "validations"):
            query = f"SELECT count(*) FROM autotune_{table}"
            assert connection.exec_driver_sql(query).scalar_one() == 0, table


def invoked(*words):
    done = CliRunner().invoke(main, [*words])
    return done.exit_code, done.output


def test_every_page_says_what_became_of_it(undisturbed):
    found, _, _, database = undisturbed
    storage = ("--storage", f"sqlite:///{database}")
    first = found.sentences[0]
    assert first.startswith(f"adan {found.outcomes[0].holding} at 3x (by batch+timescale+warmup")
    for words in (("show", "problem"), ("compare", "problem"),
                  ("export", "problem/adan", "--as", "yaml")):  # fmt: skip
        assert first in " ".join(invoked(*words, *storage)[1].split())
    told = json.loads(invoked("export", "problem/adan", "--as", "json", *storage)[1])
    assert told["longer"] == list(found.sentences)
    other = invoked("export", "problem/adamw", "--as", "yaml", *storage)[1]
    assert "# not tried in a longer run" in other


def test_the_command_prints_a_table_and_the_verdict(undisturbed):
    database = undisturbed[3]
    words = ["validate", "problem/adan", "--steps", "3x", "--rule", "literature", "--rule", "none",
             "--settings", "4", "--seeds", "2", "--storage", f"sqlite:///{database}"]  # fmt: skip
    code, text = invoked(*words)
    assert code == 0
    assert "problem: validation 1, 81 steps (3x), batch 8" in text
    assert undisturbed[0].sentences[1] in text
    told = json.loads(invoked(*words, "--json")[1])["validation"]
    assert told["outcomes"][0]["holding"] == undisturbed[0].outcomes[0].holding
    assert told["settings"][0]["hyper"]["lr"] == undisturbed[0].settings[0].setting.hyper["lr"]


def test_a_validation_starts_no_trial_of_the_search(undisturbed):
    started = [event for event in undisturbed[2] if isinstance(event, TrialStarted)]
    assert {event.trial.role for event in started} == {Role.VALIDATE}


def test_a_validation_is_run_and_read_from_python(undisturbed):
    found, _, _, database = undisturbed
    result = autotune.load("problem", storage=f"sqlite:///{database}")
    given = {"optimizer": "adan", "settings": 4, "seeds": 2, "progress": "off"}
    assert result.validate(steps="3x", rules=["literature", "none"], **given) == found
    assert result.validations == (found,)
    assert found.sentences[0] in result.verdict
    with pytest.raises(SpecError, match=r"^unknown argument 'step'; did you mean 'steps'\?"):
        result.validate(step=3)


def test_a_function_has_to_be_given_again(url):
    with Store(url) as store:
        spec = store.search("problem").spec
        store.update_search("problem", spec={**spec, "model": "python:problem"})
    sentence = (
        r"^search 'problem' trained a function of the process that began it: give that function "
        r"again, as validate\(model=...\)$"
    )
    with pytest.raises(SpecError, match=sentence):
        autotune.load("problem", storage=url).validate()


def test_a_larger_batch_is_trained_with_what_the_rule_made_of_it(tmp_path):
    url = f"sqlite:///{tmp_path}/autotune.db"
    spec = parse({
        "model": "mlp", "engine": "inline", "optimizers": ["adamw"], "budget": {"trials": 2},
        "steps": 9, "seeds": 2, "finalists": 1,
    })  # fmt: skip
    with Store(url) as store:
        run(spec, store=store)
        (study,) = store.search("mlp").studies
        store.save_recommendation(study.id, {"source": 1})
        before = comparison.load(store, "mlp").rows[0].tuned.setting.hyper
    found = validate(url, study="mlp", steps="1x", batch="4x", rules=[("batch",)], runs=2)
    assert found.batch_size == 128
    assert found.settings[0].setting.hyper["lr"] == pytest.approx(2 * before["lr"])
    assert found.settings[1].which == "default"
    with Store(url) as store:
        (record,) = validations.of(store, store.search("mlp").id)
        assert (record.stage.task["batch_size"], record.stage.task["steps"]) == (128, 9)
