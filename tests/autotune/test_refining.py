"""Refined schedules: computed from norms, trained by, judged, exported; and what is refused."""

import json
import re
import runpy
import shutil
import threading
from dataclasses import replace

import pytest
import torch
import yaml
from click.testing import CliRunner
from sqlalchemy import create_engine, text

import autotune
from autotune.cli import main
from autotune.engines.batched import Batched
from autotune.engines.inline import Inline
from autotune.errors import NotFound, NothingUsable, SpecError
from autotune.export.stored import record, rendered
from autotune.optimizers.registry import schedule, second_order
from autotune.results.refinement import Gain, load
from autotune.search import refining
from autotune.search.coordinator import run
from autotune.search.events import Notice
from autotune.search.refining import Asked
from autotune.studies import gradients, validations
from autotune.studies.records import Proposal, Role, SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.studies.validations import Entrant, Plan, Refined
from autotune.testing.trials import nested
from autotune.training import checkpoint
from autotune.training.job import Job, Outcome
from autotune.training.lr_schedule import interpolated
from autotune.training.refined_schedule import ADAM_L1, SGD_L2, refined, resampled

STEPS = 9
TABLE = (0.5, 1.0, 0.25, 0.0)


@pytest.fixture(scope="module")
def searched(task_text, tmp_path_factory):
    """A finished search that keeps norms."""
    folder = tmp_path_factory.mktemp("refining")
    (folder / "mytask.py").write_text(task_text)
    spec = parse({
        "model": f"{folder}/mytask.py:problem", "optimizers": ["adan", "sgd", "adamw-sf", "lion"],
        "budget": {"trials": 2}, "seeds": 2, "finalists": 1, "steps": STEPS, "engine": "inline",
        "workers": 1, "record_norms": True, "name": "s",
    })  # fmt: skip
    with Store(f"sqlite:///{folder}/autotune.db") as store:
        run(spec, store=store)
    return folder / "autotune.db"


@pytest.fixture
def url(searched, tmp_path):
    """A copy of that search."""
    shutil.copy(searched, tmp_path / "autotune.db")
    return f"sqlite:///{tmp_path}/autotune.db"


@pytest.fixture(scope="module")
def refined_once(searched, tmp_path_factory):
    """A copy of that search with a refined schedule of adan, and what the command printed."""
    path = tmp_path_factory.mktemp("refined") / "autotune.db"
    shutil.copy(searched, path)
    storage = f"sqlite:///{path}"
    done = CliRunner().invoke(
        main, ["refine", "s/adan", "--json", "--storage", storage, "--progress", "off"]
    )
    assert done.exit_code == 0, done.output
    return storage, json.loads(done.stdout)["refinement"]


def compute(url, study="s/adan", **asked):
    return refining.compute(Asked(study=study, **asked), url)


def refused(error, sentence, url, study="s/adan", **asked):
    with pytest.raises(error, match=f"^{re.escape(sentence)}$"):
        compute(url, study, **asked)


def changed(url, statement):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    ("optimizer", "power", "norm"), [("adan", ADAM_L1, "L1"), ("sgd", SGD_L2, "L2")]
)
def test_the_schedule_is_that_of_the_best_runs_norms(url, optimizer, power, norm):
    computed = compute(url, f"s/{optimizer}", tau=0.4)
    with Store(url) as store:
        study = next(s for s in store.search("s").studies if s.optimizer == optimizer)
        trial = store.trials(study.id)[computed.origin.trial]
        rivals = [
            each.loss
            for each in store.trials(study.id)
            if each.setting.trains_like(trial.setting) and each.state is TrialState.COMPLETE
        ]
        norms = [getattr(one, norm.lower()) for one in gradients.of(store, trial.id)]
    assert trial.loss == min(rivals)
    assert computed.origin == Refined(trial=trial.number, norm=norm, tau=0.4)
    assert computed.table == resampled(refined(norms, power=power, tau=0.4))
    assert (len(computed.table), max(computed.table), computed.table[-1]) == (STEPS, 1.0, 0.0)


def test_both_schedules_run_on_the_same_fresh_seeds_and_the_verdict_is_stored(refined_once):
    storage, told = refined_once
    with Store(storage) as store:
        search = store.search("s")
        (known,) = validations.of(store, search.id)
        (study,) = known.stage.studies
        trials = store.trials(study.id)
        (found,) = load(store, search)
    both = {(t.origin, t.seed) for t in trials if t.state is TrialState.COMPLETE}
    seeds = {seed for _, seed in both}
    assert len(both) == 4
    assert len(seeds) == 2
    assert min(seeds) >= 1_000_000
    assert found.difference.n == 2
    assert found.gain == told["gain"]
    assert found.refined.losses != found.original.losses
    assert found.table == compute(storage).table == tuple(told["table"])
    # It is no validation of a longer run, and says nothing about one.
    result = autotune.load("s", storage=storage)
    assert result.validations == ()
    assert result.refinements == (found,)
    assert found.sentences[0] in result.verdict


def test_what_was_tried_first_is_not_told_of_again(url):
    entry = {"optimizer": "adan", "hyper": {"lr": 7.0}}
    with Store(url) as store:
        spec = parse({**store.search("s").spec, "try_first": [entry]})
        store.update_search("s", spec=spec.model_dump(mode="json"))
    told = []
    refining.run(Asked(study="s/adan"), url, listen=told.append, halt=threading.Event())
    said = [event.text for event in told if isinstance(event, Notice)]
    assert not [text for text in said if "known from elsewhere" in text or "beyond" in text]


def test_the_same_call_again_reads_what_was_found(refined_once):
    storage, told = refined_once
    heard = []
    again = autotune.load("s", storage=storage).refine(optimizer="adan", listen=heard.append)
    assert (again.number, again.gain, heard) == (told["number"], told["gain"], [])
    shown = CliRunner().invoke(main, ["refine", "s/adan", "--storage", storage])
    assert again.sentences[0] in shown.stdout
    assert "100 %" in shown.stdout
    assert "original" in shown.stdout
    assert (
        again.sentences[0] in CliRunner().invoke(main, ["show", "s", "--storage", storage]).stdout
    )


def test_a_dry_run_draws_the_schedule_and_trains_nothing(url):
    done = CliRunner().invoke(main, ["refine", "s/adan", "--dry-run", "--storage", url])
    assert done.exit_code == 0
    assert "from the L1 gradient norms of trial" in done.stdout
    with Store(url) as store:
        assert validations.of(store, store.search("s").id) == []


def test_exports_carry_the_table_and_the_others_say_what_does(refined_once, tmp_path):
    storage, told = refined_once
    given = {"which": "tuned", "number": None, "schedule": "refined"}
    table = told["table"]
    for form, read in (("yaml", yaml.safe_load), ("json", json.loads)):
        data = read(rendered(storage, "s/adan", form, **given).text)
        assert data["schedule"]["type"] == "table"
        assert data["schedule"]["table"] == table
    file = tmp_path / "tuned.py"
    file.write_text(rendered(storage, "s/adan", "torch", **given).text)
    made = runpy.run_path(str(file))
    model = torch.nn.Linear(2, 2)
    optimizer = made["build"](model)
    schedule, rates = made["schedule"](optimizer, 20), []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    peak = made["HYPER"]["lr"]
    expected = [peak * interpolated(table, step, 20) for step in range(20)]
    assert rates == pytest.approx(expected)
    found = autotune.load("s", storage=storage).tuned("adan", schedule="refined")
    own = found.schedule(found.build(model), 20)
    assert own.get_last_lr()[0] == rates[0]
    longer = found.at(steps="5x").record
    assert (longer.schedule.table, longer.schedule.warmup_fraction) == (tuple(table), 0.0)
    assert "warmup" not in {change.name for change in longer.changes}
    with pytest.raises(
        SpecError, match=r"^export 'timm' cannot express a schedule that is a table"
    ):
        rendered(storage, "s/adan", "timm", **given)


def test_an_export_by_the_original_schedule_is_what_it_was(refined_once):
    storage, _ = refined_once
    data = json.loads(rendered(storage, "s/adan", "json", which="tuned", number=None).text)
    assert set(data["schedule"]) == {"type", "warmup_fraction", "final_lr_fraction"}


def test_a_schedule_that_was_not_refined_is_not_exported(url):
    sentence = (
        "no schedule was refined for this setting of sgd in search 's'; refine one by: autotune "
        "refine s/sgd"
    )
    with pytest.raises(NothingUsable, match=f"^{re.escape(sentence)}$"):
        record(url, "s", "sgd", schedule="refined")
    with pytest.raises(SpecError, match=r"^schedule must be original or refined, got 'linear'$"):
        record(url, "s", "sgd", schedule="linear")


def test_optimizers_without_a_schedule_or_a_theory_are_refused(url):
    refused(
        SpecError,
        "adamw-sf has no schedule to refine: it averages weights at a constant rate; refine one of "
        "an optimizer with a schedule",
        url,
        "s/adamw-sf",
    )
    refused(
        SpecError,
        "no schedule is refined for lion: refinement is derived for SGD and for adaptive methods, "
        "and its class is of the sign methods",
        url,
        "s/lion",
    )


def test_a_search_without_norms_says_how_to_get_them(url):
    changed(url, "DELETE FROM autotune_gradients WHERE step = 4")
    refused(
        NothingUsable,
        "search 's' has no run of the tuned setting of adan with the gradient norms of all its "
        "steps; let it judge on one more seed with them, by: autotune search --resume s --storage "
        f"{url} --record-norms --seeds 3",
        url,
    )


def test_norms_of_zero_and_those_that_are_not_finite_are_refused(url):
    trial = compute(url).origin.trial
    who = (
        f"no schedule can be refined from trial {trial} of adan in search 's': norms must be above "
    )
    changed(url, "UPDATE autotune_gradients SET l1 = 0 WHERE step = 3")
    refused(NothingUsable, f"{who}0 and finite, got 0 at step 2", url, tau=0.0)
    changed(url, "UPDATE autotune_gradients SET l1 = NULL WHERE step = 2")
    refused(NothingUsable, f"{who}0 and finite, got nan at step 1", url)


def test_what_cannot_be_refined_is_one_sentence(url):
    refused(SpecError, "tau must be in [0, 1), got 1", url, tau=1.0)
    refused(NotFound, f"no search 't' in {url} (known: s)", url, "t")
    changed(url, "UPDATE autotune_searches SET state = 'interrupted'")
    refused(
        SpecError,
        "search 's' is interrupted: only a complete one can be refined; go on with it by: autotune "
        f"search --resume s --storage {url}",
        url,
    )


def stored(url, refined, original):
    """Store a refinement whose runs ended so, and return it as it is read."""
    with Store(url) as store:
        search = store.search("s")
        setting = store.trials(search.studies[0].id)[0].setting
        entrants = tuple(
            Entrant(key=which, optimizer="adan", which=which, source=0, setting=setting, schedule=t)
            for which, t in (("refined", TABLE), ("tuned", ()))
        )
        plan = Plan(
            optimizer="adan", source=0, times=1.0, steps=STEPS, batch_size=8, rules=(),
            entrants=entrants, first_seed=0, refined=Refined(trial=1, norm="L1", tau=0.1),
        )  # fmt: skip
        number = validations.following(store, search.id)
        stage = validations.begin(store, search, number, plan, search.spec, search.task).stage
        for which, ends in (("refined", refined), ("tuned", original)):
            for seed, end in enumerate(ends):
                trial = store.add_trial(stage.studies[0].id, proposal(which, setting, seed))
                attempt = store.begin(trial.id, "w")
                state = end if isinstance(end, TrialState) else TrialState.COMPLETE
                loss = None if isinstance(end, TrialState) else end
                store.record(trial.id, attempt, state=state, step=STEPS, loss=loss, reason="NaN")
        store.update_search(stage.name, state=SearchState.COMPLETE)
        return load(store, search)[-1]


def proposal(which, setting, seed):
    return Proposal(
        role=Role.VALIDATE, origin=which, setting=setting, seed=seed, target=STEPS, source=0
    )


@pytest.mark.parametrize(
    ("refined", "original", "gain"),
    [
        ([0.1, 0.2, 0.3], [0.2, 0.31, 0.39], Gain.BETTER),
        ([0.2, 0.31, 0.39], [0.1, 0.2, 0.3], Gain.WORSE),
        ([0.1, 0.5, 0.3], [0.2, 0.2, 0.39], Gain.LEVEL),
        ([0.1], [0.2], Gain.UNKNOWN),
        ([0.1, TrialState.DIVERGED], [0.2, 0.3], Gain.WORSE),
        ([0.1, 0.2], [0.2, TrialState.DIVERGED], Gain.BETTER),
        ([0.1, TrialState.FAILED], [0.2, 0.3], Gain.UNKNOWN),
    ],
)
def test_the_verdict_follows_the_paired_difference(url, refined, original, gain):
    found = stored(url, refined, original)
    assert found.gain is gain
    assert found.sentences[0].startswith("adan, refined schedule at 9 steps: ")
    assert gain in found.sentences[0]


def job(folder, trial=1, **changes):
    fields = {
        "trial": trial, "attempt": 1, "optimizer": "sgd", "hyper": {"lr": 0.5}, "warmup": 0.3,
        "task": {"model": "mlp", "data": None, "steps": 7, "batch_size": 8}, "seed": trial,
        "start": 0, "stop": 7, "target": 7, "evaluate": (3, 7), "schedule": TABLE,
        "checkpoint": str(folder / f"{trial}.pt"), **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def points(engine, *jobs):
    """Return the losses of jobs, and the last report of the last one."""
    found, last = [], None
    for each in jobs:
        engine.submit(each)
        while last is None or last.trial != each.trial or last.outcome is Outcome.PROGRESS:
            for last in engine.reports(60.0):
                found += [(p.step, p.train_loss, p.loss) for p in last.points]
    return found, last


def test_a_run_follows_the_table_over_pauses_and_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "BYTES_PER_SECOND", 1e15)
    engine, together = Inline(), Batched(workers=2)
    whole, _ = points(engine, job(tmp_path))
    same = job(tmp_path, trial=2, seed=1)
    first, last = points(engine, replace(same, stop=3))
    second, _ = points(engine, replace(same, start=3, checksum=last.checksum))
    original, _ = points(engine, job(tmp_path, schedule=()))
    batched, _ = points(together, job(tmp_path))
    engine.close()
    together.close()
    assert [*first, *(p for p in second if p[0] > 3)] == whole
    assert whole[0] == original[0]
    assert whole[-1] != original[-1]
    assert [p[1] for p in batched] == pytest.approx([p[1] for p in whole], rel=1e-4)


def test_no_optimizer_with_a_schedule_minds_a_last_step_at_rate_zero():
    for name in autotune.optimizers.names():
        if schedule(name) == "constant" or second_order(name):
            continue
        weight = torch.nn.Parameter(torch.ones(3, 4))
        optimizer = autotune.optimizers.create(name, [weight], lr=0.1, backend="torch")
        for rate in (0.1, 0.0):
            optimizer.param_groups[0]["lr"] = rate
            weight.grad = torch.full((3, 4), 0.5)
            optimizer.step()
        assert torch.isfinite(weight).all(), name
