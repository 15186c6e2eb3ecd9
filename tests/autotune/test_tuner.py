"""A search whose trials the caller's own loop trains: ``autotune.Tuner``."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import autotune
from autotune.api.tuner import identity
from autotune.cli import main
from autotune.errors import AlreadyThere, NothingUsable, SpecError
from autotune.search.coordinator import run as search
from autotune.search.events import Notice, SearchEnded, SearchStarted
from autotune.studies.records import Command, SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.resolve import resolve
from autotune.training.steps import take_step

SHORT = {"steps": 9, "trials": 2, "seeds": 2, "name": "bowl"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/autotune.db"


@pytest.fixture
def make(url):
    """Make tuners of one small search; what is left open is closed."""
    made = []

    def tuner(optimizers=("adamw",), **changes):
        given = {"storage": url, "progress": "off", **SHORT, **changes}
        made.append(autotune.Tuner(list(optimizers), **given))
        return made[-1]

    yield tuner
    for each in made:
        each.close()


def loss_of(trial, step):
    """Return what a loop would measure: settings rank, and seeds differ a little."""
    return abs(math.log10(trial.hyper["lr"] / 3e-3)) + 1 / step + trial.seed % 7 / 1000


def train(tuner, *, most=10**6):
    """Train a number of trials, the rest of the search if there are fewer."""
    for count, trial in enumerate(tuner, 1):
        for step in trial.evaluate:
            if not trial.report(step, loss_of(trial, step)):
                break
        if count >= most:
            break


def trials(url, name="bowl"):
    """Return what defines each stored trial, and how it ended."""
    found = []
    with Store(url, read_only=True) as store:
        for study in store.search(name).studies:
            curves = store.curves(study.id)
            for t in store.trials(study.id):
                curve = [(p.step, p.loss) for p in curves.get(t.id, ()) if p.loss is not None]
                hyper = str({k: list(v) if k == "betas" else v for k, v in t.setting.hyper.items()})
                what = (study.optimizer, t.number, t.role, t.origin, hyper, t.setting.warmup)
                found.append((*what, t.seed, t.state, t.step, t.loss, curve))
            found.append(store.recommendation(study.id)["source"])
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What is stored of an undisturbed search."""
    url = f"sqlite:///{tmp_path_factory.mktemp('whole')}/autotune.db"
    train(autotune.Tuner(["adamw"], storage=url, progress="off", **SHORT))
    return trials(url)


def test_a_loop_of_ones_own_ends_with_a_verdict_on_fresh_seeds(make):
    heard = []
    tuner = make(["adan", "adamw"], listen=heard.append)
    train(tuner)
    result = tuner.result
    assert result.complete
    assert {row.optimizer for row in result.rows} == {"adan", "adamw"}
    assert all(len(row.tuned.losses) == 2 for row in result.rows)
    assert isinstance(heard[0], SearchStarted)
    assert isinstance(heard[-1], SearchEnded)
    assert (heard[0].engine, heard[0].workers) == ("ask", 1)


def test_telling_all_losses_at_once_is_the_same_search(make, url, whole):
    tuner = make()
    while (trial := tuner.ask()) is not None:
        tuner.tell(trial, {step: loss_of(trial, step) for step in trial.evaluate})
    assert trials(url) == whole


def test_the_same_script_again_only_reads(make, url, whole):
    train(make())
    before = trials(url)
    tuner = make()
    assert tuner.ask() is None
    assert list(tuner) == []
    assert tuner.result.complete
    assert trials(url) == before == whole


@pytest.mark.parametrize("most", [1, 5])
def test_a_loop_that_is_left_goes_on_to_the_same_trials(make, url, whole, most):
    first = make()
    train(first, most=most)
    first.close()
    with Store(url) as store:
        assert store.search("bowl").state is SearchState.INTERRUPTED
        assert not store.changes(1).held
    train(make())
    assert trials(url) == whole


def test_a_larger_budget_searches_further(make, url):
    train(make())
    tuner = make(trials=4)
    train(tuner)
    assert sum(row[2] == "search" for row in trials(url)[:-1]) == 4
    assert tuner.result.complete


def test_the_search_of_tune_and_of_a_loop_are_the_same_trials(task_file, url, tmp_path):
    text = f"{task_file}:problem"
    same = {"steps": 9, "name": "bowl", "seeds": 2, "finalists": 1}
    spec = {**same, "model": text, "optimizers": ["adan"], "budget": {"trials": 5}}
    with Store(url) as store:
        search(parse({**spec, "engine": "inline"}), store=store)
    task, storage = resolve(model=text, steps=9), f"sqlite:///{tmp_path}/own.db"
    tuner = autotune.Tuner(["adan"], trials=5, storage=storage, progress="off", **same)
    for trial in tuner:
        torch.manual_seed(trial.seed)
        run = task.start(trial.seed)
        run.model.train()
        optimizer = trial.build(run.model)
        schedule = trial.schedule(optimizer)
        for step in range(trial.start, trial.stop):
            take_step(run, optimizer, step)
            schedule.step()
            if step + 1 in trial.evaluate:
                trial.report(step + 1, run.evaluate().loss)
    assert trials(storage) == trials(url)


def test_a_saved_state_lets_a_paused_trial_go_on(make):
    saved = {}
    for trial in make(trials=4, steps=27):
        assert (trial.start, trial.state) == saved.get(trial.number, (0, None))
        if trial.start == 9:
            break
        for step in trial.evaluate:
            trial.report(step, loss_of(trial, step))
        state = {"taken": [trial.stop, {"of": None}], "seed": torch.tensor(trial.seed)}
        trial.save(state)
        saved[trial.number] = (trial.stop, state)
    assert trial.start == 9


def test_a_trial_without_a_saved_state_begins_again(make, url):
    seen = []
    for trial in make(trials=4, steps=27):
        assert (trial.start, trial.state) == (0, None)
        seen.append((trial.number, trial.evaluate))
        if trial.evaluate[0] == 27:
            break
        for step in trial.evaluate:
            trial.report(step, loss_of(trial, step))
    number, (last,) = seen[-1]
    assert last == 27  # what was measured before is not asked for again
    with Store(url, read_only=True) as store:
        kept = [point.step for point in store.curve(trial._answers.taken.job.trial)]
    assert kept == [step for one, steps in seen if one == number for step in steps if step < 27]


def test_a_state_that_is_not_the_one_saved_is_told_and_not_used(make, tmp_path):
    said = []
    for trial in make(trials=4, steps=27, listen=said.append):
        assert trial.start == 0
        if any(isinstance(event, Notice) for event in said):
            break
        for step in trial.evaluate:
            trial.report(step, loss_of(trial, step))
        trial.save({"step": trial.stop})
        for file in (tmp_path / "autotune.db.d").glob("*/*.pt"):
            torch.save({**torch.load(file, weights_only=True), "state": {}}, file)
    (notice,) = (event.text for event in said if isinstance(event, Notice))
    assert notice.startswith("adamw trial ")
    assert notice.endswith(".pt cannot be used, so it begins at step 0 again")


def test_a_schedule_goes_on_where_the_trial_does(make):
    rates = {}
    for trial in make(steps=27, trials=4):
        optimizer = trial.build(torch.nn.Linear(1, 1))
        schedule = trial.schedule(optimizer)
        for step in range(trial.start, trial.steps):
            rate = optimizer.param_groups[0]["lr"]
            assert rates.setdefault((trial.number, step), rate) == rate
            optimizer.step()
            schedule.step()
        for step in trial.evaluate:
            trial.report(step, loss_of(trial, step))
        trial.save({})
        if trial.start:
            break
    assert trial.start


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A tuner with a trial of which step 1 is told; the refusals of a test change nothing."""
    url = f"sqlite:///{tmp_path_factory.mktemp('told')}/autotune.db"
    tuner = autotune.Tuner(["adamw"], storage=url, progress="off", **{**SHORT, "steps": 81})
    trial = tuner.ask()
    trial.report(1, 0.5)
    yield tuner, trial
    tuner.tell(trial, {3: 0.25, 9: 0.125})
    assert trials_now(url) == [(TrialState.PAUSED, None)]
    tuner.close()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda tuner, trial: trial.report(3, "0.5"),
            "loss must be a number or a tensor of one, got '0.5'",
        ),
        (
            lambda tuner, trial: trial.report(3, torch.ones(2)),
            "loss must be a number or a tensor of one, got tensor([1., 1.])",
        ),
        (
            lambda tuner, trial: trial.report(2.5, 0.5),
            "step must be a whole number, got 2.5",
        ),
        (
            lambda tuner, trial: trial.report(3, 0.5, math.nan),
            "accuracy must be finite, got nan",
        ),
        (
            lambda tuner, trial: trial.report(10, 0.5),
            "adamw trial 0 trains until step 9 now (trial.stop), got a loss of step 10: stop "
            "there, it may go on in a later trial of the loop",
        ),
        (
            lambda tuner, trial: trial.report(0, 0.5),
            "adamw trial 0: steps of losses have to rise: step 1 was the last one measured, got "
            "step 0",
        ),
        (
            lambda tuner, trial: trial.report(1, 0.5),
            "adamw trial 0: steps of losses have to rise: step 1 was the last one measured, got "
            "step 1",
        ),
        (
            lambda tuner, trial: trial.report(9, 0.5),
            "adamw trial 0 has to be measured at step 3 as well, got 9: measure it at every step "
            "of trial.evaluate",
        ),
        (
            lambda tuner, trial: tuner.tell(trial),
            "adamw trial 0 has to be measured at steps 3, 9 as well, got no loss: measure it at "
            "every step of trial.evaluate",
        ),
        (
            lambda tuner, trial: tuner.tell(trial, {3: 0.5}),
            "adamw trial 0 has to be measured at step 9 as well, got 3: measure it at every step "
            "of trial.evaluate",
        ),
        (
            lambda tuner, trial: tuner.tell(trial, 0.5),
            "losses must map steps to losses, as {9: 0.5, 27: 0.25}, got float",
        ),
        (
            lambda tuner, trial: tuner.tell(trial, {3: 0.5, 9: None}),
            "loss of step 9 must be a number or a tensor of one, got None",
        ),
        (
            lambda tuner, trial: tuner.tell(7, {3: 0.5}),
            "a trial is told to the tuner that it was asked from, got 7; ask this tuner for its "
            "trials",
        ),
        (
            lambda tuner, trial: trial.save({"step": 1}, step=27),
            "adamw trial 0 trains until step 9 now (trial.stop), got a state of step 27",
        ),
        (
            lambda tuner, trial: trial.save({"all": [object]}),
            "state['all'][0] is a type: a saved state may hold tensors, numbers, texts and None, "
            "in dicts, lists and tuples, so that loading it runs no code; save its state_dict() or "
            "torch.as_tensor of it",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_sentence_and_changes_nothing(told, call, sentence):
    with pytest.raises(SpecError) as refused:
        call(*told)
    assert str(refused.value) == sentence


def test_a_trial_is_told_once_and_to_its_own_tuner(make, url):
    tuner, other = make(), make()
    trial = tuner.ask()
    losses = {step: loss_of(trial, step) for step in trial.evaluate}
    with pytest.raises(SpecError, match=r"^a trial is told to the tuner that it was asked from"):
        other.tell(trial, losses)
    tuner.tell(trial, losses)
    for again in (tuner.tell, lambda it, losses: tuner.fail(it, "late")):
        with pytest.raises(SpecError, match=r"^adamw trial 0 was told already: a trial is told"):
            again(trial, losses)
    with pytest.raises(SpecError, match=r"^adamw trial 0 was told already"):
        trial.report(3, 0.5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": None}, "steps must be given, got None"),
        ({"name": None}, "name must be given, got None"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"trials": None}, "a search needs a budget: give trials, runs or minutes, or several"),
        ({"engine": "inline"}, "unknown key 'engine'"),
        ({"seedz": 3}, "unknown key 'seedz'; did you mean 'seed'?"),
        (
            {"data": 5},
            "data must be a text that identifies them, or have a fingerprint of their own",
        ),
        ({"optimizers": ["adamm"]}, "unknown optimizer 'adamm'"),
        ({"space": {"lrr": 1}}, "unknown parameter 'lrr'"),
        ({"runs": 2, "trials": None}, "budget.runs must be at least"),
    ],
)
def test_a_search_that_cannot_be_is_refused_and_leaves_no_database(
    make, tmp_path, arguments, sentence
):
    with pytest.raises(SpecError) as refused:
        make(**arguments)
    assert str(refused.value).startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_is_divergence_and_the_search_goes_on(make, url):
    tuner = make(trials=3)
    for trial in tuner:
        bad = trial.number == 1
        for step in trial.evaluate:
            going = trial.report(step, math.nan if bad else loss_of(trial, step))
            assert not (bad and going)
    assert trials_now(url)[1] == (TrialState.DIVERGED, "validation loss became nan at step 1")
    assert tuner.result.complete


def trials_now(url):
    with Store(url, read_only=True) as store:
        return [(t.state, t.reason) for t in store.trials(1)]


def test_an_exception_in_a_with_block_fails_its_trial_alone(make, url):
    tuner = make(trials=4)
    for trial in tuner:
        with trial:
            if trial.number == 1:
                raise ValueError("no such layer")
            if trial.number == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            for step in trial.evaluate:
                trial.report(step, loss_of(trial, step))
    said = trials_now(url)
    assert said[1][0] is TrialState.FAILED
    assert said[1][1].startswith("ValueError: no such layer (test_tuner.py:")
    assert said[2] == (TrialState.DIVERGED, "out of memory after step 0")
    assert tuner.result.complete


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_what_the_body_raises_is_raised_and_its_trial_is_taken_again(make, url, whole, kind):
    first = make()

    def train_two():
        for count, trial in enumerate(first):
            for step in trial.evaluate:
                trial.report(step, loss_of(trial, step))
                if count:
                    raise kind

    with suppress(kind):
        train_two()
    assert trials_now(url)[1][0] is TrialState.PAUSED
    first.close()
    train(make())
    assert trials(url) == whole


def test_ctrl_c_in_a_with_block_passes_and_its_trial_is_taken_again(make, url, whole):
    first = make()
    trial = first.ask()
    with pytest.raises(KeyboardInterrupt), trial:
        raise KeyboardInterrupt
    assert trials_now(url) == [(TrialState.WAITING, None)]
    train(first)
    assert trials(url) == whole


def test_a_loop_that_never_measures_its_last_step_fails_until_the_search_ends(make, url):
    tuner = make(trials=9)
    assert all(trial.number < 3 for trial in tuner)
    reason = "its loop ended without a loss, it has to train until step 3 (trial.stop)"
    assert trials_now(url) == [(TrialState.FAILED, reason)] * 3
    with pytest.raises(NothingUsable, match=f"the first said: {reason[:30]}"):
        _ = tuner.result


def test_a_failed_trial_says_why_and_is_tried_when_the_script_runs_again(make, url):
    first = make(trials=3)
    for trial in first:
        if trial.number:
            break
        first.fail(trial, "no room\non the disk")
    assert trials_now(url)[0] == (TrialState.FAILED, "no room on the disk")
    first.close()
    heard = []
    again = make(trials=3, listen=heard.append)
    assert again.ask().number == 0
    assert heard[0].text == "search 'bowl': 1 trial that failed is tried again"


def test_several_trials_may_be_open_at_once(make, url):
    tuner = make(trials=3)
    first = [tuner.ask() for _ in range(3)]
    assert [trial.number for trial in first] == [0, 1, 2]
    with pytest.raises(SpecError) as refused:
        tuner.ask()
    assert str(refused.value) == (
        "there is nothing to ask for until what this process has asked for is told: adamw trial 0, "
        "adamw trial 1, adamw trial 2; call tuner.tell or tuner.fail for it first"
    )
    for trial in reversed(first):
        bad = trial.number == 1
        tuner.tell(trial, {s: math.inf if bad else loss_of(trial, s) for s in trial.evaluate})
    assert trials_now(url)[1] == (TrialState.DIVERGED, "validation loss became inf at step 1")
    train(tuner)
    assert tuner.result.complete


def together(tuners, asked):
    """Train a search with one thread for each tuner, which note what they were given."""

    def part(place):
        for trial in tuners[place]:
            assert trial._answers.taken.number == trial.number
            asked.append((place, trial.optimizer, trial.number, trial.start, trial.stop))
            for step in trial.evaluate:
                time.sleep(0.005)
                trial.report(step, loss_of(trial, step))

    threads = [threading.Thread(target=part, args=(place,)) for place in range(len(tuners))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def whole_search(url, count):
    found = trials(url)[:-1]
    assert [row[1] for row in found] == list(range(len(found)))
    assert sum(row[2] == "search" for row in found) == count
    assert all(row[7] in {TrialState.COMPLETE, TrialState.STOPPED} for row in found)
    assert all(row[9] == row[10][-1][1] for row in found if row[7] is TrialState.COMPLETE)


@pytest.mark.parametrize("shared", [True, False], ids=["threads of one tuner", "two tuners"])
def test_a_search_shared_by_two_is_trained_once(make, url, shared):
    asked = []
    first = make(trials=5)
    together([first, first if shared else make(trials=5)], asked)
    whole_search(url, 5)
    assert {place for place, *_ in asked} == {0, 1}
    assert first.result.complete


def test_one_that_joins_goes_on_alone_when_the_first_leaves(make, url):
    first, second = make(trials=3), make(trials=3)
    train(first, most=2)
    assert second.ask() is not None
    first.close()
    second.close()
    train(make(trials=3))
    whole_search(url, 3)


def test_who_joins_with_another_budget_hears_which_one_holds(make):
    make()
    heard = []
    make(trials=7, listen=heard.append)
    assert [event.text for event in heard] == [
        "search 'bowl' goes on with the budget that it is being run with"
    ]


def test_other_data_cannot_share_a_search(make, url):
    first = make(data="cifar, version 1")
    with pytest.raises(AlreadyThere, match=r"is already in .* with another data; give"):
        make(data="cifar, version 2")
    train(first)
    with pytest.raises(AlreadyThere, match=r"is already in .* with another data; give"):
        make(data="cifar, version 2")
    with pytest.raises(AlreadyThere, match="with another steps; give"):
        make(data="cifar, version 1", steps=27)


def test_a_search_that_is_being_run_cannot_gain_optimizers(make):
    make()
    with pytest.raises(
        AlreadyThere, match=r"^search 'bowl' is being run with another optimizers: "
    ):
        make(["adamw", "adan"])


def test_a_data_set_with_a_fingerprint_is_identified_by_it_and_so_is_its_loader():
    data = SimpleNamespace(_fingerprint="5ee1")
    assert [identity(each) for each in (data, SimpleNamespace(dataset=data))] == ["5ee1"] * 2


def test_a_name_of_another_kind_of_search_is_refused(make, url, task_file):
    spec = {"model": f"{task_file}:problem", "name": "bowl", "optimizers": ["adamw"], "steps": 9}
    spec |= {"engine": "inline", "budget": {"trials": 2}, "seeds": 2}
    with Store(url) as store:
        search(parse(spec), store=store)
    with pytest.raises(SpecError) as refused:
        make()
    assert str(refused.value).startswith("search 'bowl' in sqlite:///")
    assert f"trains model '{task_file}:problem' by itself, so a script cannot ask" in str(
        refused.value
    )


def test_a_long_trial_keeps_its_lease(make, url, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.3")
    tuner = make()
    trial = tuner.ask()
    time.sleep(0.8)
    with Store(url) as other:
        assert other.reap(1) == []
    assert trial.report(1, 0.5)


def test_a_lost_lease_stops_the_loop_with_a_notice(make, url, whole):
    heard = []
    tuner = make(listen=heard.append)
    trial = tuner.ask()
    with Store(url) as other:
        other.lose(trial._answers.taken.job.trial, 1, "another took it")
    assert not trial.report(1, 7.0)
    assert not trial.report(3, 7.0)
    tuner.tell(trial)
    train(tuner)
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert any(line.startswith("adamw trial 0: another worker took it over") for line in said)
    assert trials(url) == whole


def test_a_search_that_is_told_to_stop_ends_for_the_loop_and_goes_on_later(
    make, url, whole, monkeypatch
):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.2")
    tuner = make()
    trial = tuner.ask()
    with Store(url) as other:
        other.tell("bowl", Command.STOP)
        time.sleep(0.2)
        assert not trial.report(1, loss_of(trial, 1))
        tuner.tell(trial)
        assert tuner.ask() is None
        assert other.search("bowl").state is SearchState.INTERRUPTED
    assert "interrupted" in repr(tuner.result)
    train(make())
    assert trials(url) == whole


def test_a_paused_search_waits(make, url, whole):
    tuner = make()
    with Store(url) as other:
        other.tell("bowl", Command.PAUSE)
        threading.Timer(0.5, other.tell, ("bowl", Command.CONTINUE)).start()
        began = time.monotonic()
        trial = tuner.ask()
        assert time.monotonic() - began > 0.4
    tuner.tell(trial, {step: loss_of(trial, step) for step in trial.evaluate})
    train(tuner)
    assert trials(url) == whole


def test_minutes_count_from_the_first_trial_and_end_the_loop(make, url):
    tuner = make(trials=None, minutes=0.02)
    time.sleep(0.3)
    began = time.monotonic()
    trial = tuner.ask()
    assert trial.report(1, loss_of(trial, 1))
    time.sleep(1.3)
    assert not trial.report(2, loss_of(trial, 2))
    tuner.tell(trial)
    assert tuner.ask() is None
    assert trials_now(url)[0][0] is TrialState.STOPPED
    with Store(url) as store:
        assert 1.3 < store.search("bowl").seconds < time.monotonic() - began


def test_commands_read_it_and_say_who_goes_on_with_it(make, url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    train(make())

    def call(*words):
        return CliRunner().invoke(main, [*words, "--storage", url])

    for words in (
        ["show", "bowl"],
        ["compare", "bowl"],
        ["list"],
        ["export", "bowl", "--as", "json"],
    ):
        assert call(*words).exit_code == 0, words
    first = make(trials=4)
    train(first, most=1)
    first.close()
    assert "--resume bowl" not in call("list").output
    own = (
        "search 'bowl' is asked for by a script, which trains its trials (autotune.Tuner): run "
        "that script again to go on with it"
    )
    for words in (
        "search --resume bowl",
        "search --resume bowl --engine inline",
        "search --resume bowl --dry-run",
        "search --search bowl --model mlp --trials 2",
        "worker --search bowl",
        "show bowl/adamw 0 --rerun",
    ):
        done = call(*words.split())
        assert own in done.output, (words, done.output)
        assert done.exit_code == 2
    assert call("delete", "bowl", "--yes").exit_code == 0


def test_an_engine_of_that_name_cannot_be_asked_for(task_file, url):
    with pytest.raises(SpecError, match="is asked for by a script"):
        autotune.tune(f"{task_file}:problem", trials=2, engine="ask", storage=url)
