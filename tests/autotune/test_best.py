"""The best settings of a search: which they are, and what JSON and Optuna read of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import optuna
import pytest
from click.testing import CliRunner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autotune import export
from autotune.api.tune import load
from autotune.cli import main
from autotune.errors import NothingUsable, SpecError
from autotune.integrations.suggestion import from_config, presets
from autotune.results.best import Ranked, best
from autotune.space.config import space_of
from autotune.studies.store import Store
from autotune.testing.exports import tuned_for_test
from autotune.testing.sample import NAME, OPTIMIZERS, TASK, make


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('best')}/sample.db"
    make(url, landscapes={name: OPTIMIZERS[name] for name in ("adamw", "adan")})
    return url


def ranked(*changes):
    """Return records of adan's own space: known settings, each with changes of its arguments."""
    known = [from_config(each) for each in presets("adan", steps=60)]
    space = space_of("adan", steps=60).as_data()
    return [
        Ranked(
            rank=rank,
            stage="search",
            losses={0: 1.0 + rank},
            record=replace(
                tuned_for_test(),
                optimizer="adan",
                hyper={**chosen.hyper, **change},
                schedule=replace(tuned_for_test().schedule, warmup_fraction=chosen.warmup),
                space=space,
            ),
        )
        for rank, (chosen, change) in enumerate(zip(known, changes, strict=False), 1)
    ]


def executed(text):
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


def test_the_recommended_setting_leads_and_the_others_follow_by_their_loss(storage):
    with Store(storage) as store:
        found = best(store, NAME, "adan", 99)
    losses = [one.losses[0] for one in found]
    assert [one.rank for one in found] == [*range(1, len(found) + 1)]
    assert (found[0].stage, len(found[0].losses)) == ("judge", 5)
    assert losses[1:] == sorted(losses[1:])
    stages = {one.record.provenance.trial: one.stage for one in found}
    assert [stages.pop(found[place].record.provenance.trial) for place in (1, 2)] == 2 * ["select"]
    assert stages.pop(0) == "judge"  # the default, where its loss places it
    assert [*stages.values()] == ["judge", "search", "search"]
    settings = [(one.record.hyper, one.record.warmup) for one in found]
    assert all(one not in settings[:place] for place, one in enumerate(settings))


def test_each_says_how_much_speaks_for_it(storage):
    found = load(NAME, storage=storage).top(3, "adan")
    judged, raced, _ = (one.record.evidence for one in found)
    assert judged == load(NAME, storage=storage).tuned("adan").record.evidence
    assert (raced.seeds, raced.loss.n) == ((0, 1), 2)
    assert raced.verdict.startswith("place 2 of 6 on the seed that it was chosen by")


def test_json_has_the_record_of_each(storage):
    found = load(NAME, storage=storage).top(2, "adan")
    told = json.loads(export.render_best(found, "json"))["settings"]
    assert [(one["rank"], one["stage"]) for one in told] == [(1, "judge"), (2, "select")]
    own = ("rank", "stage", "losses")
    alone = {key: value for key, value in told[0].items() if key not in own}
    assert alone == json.loads(export.render(found[0].record, "json"))


def test_an_optimizer_without_a_full_run_has_no_best(tmp_path):
    with Store(f"sqlite:///{tmp_path}/empty.db") as store:
        store.create_search("none", {}, dict(TASK), {"adan": {}}, {})
        with pytest.raises(NothingUsable, match=r"^no setting of adan in search 'none' was run to"):
            best(store, "none", "adan", 5)


# The second lies beyond what is searched, the third has an argument that no range is of.
CHANGES = ({}, {"lr": 2.5}, {"eps": 1e-6})


def test_a_study_of_optuna_takes_the_best_as_finished_trials(tmp_path):
    names = executed(export.render_best(ranked(*CHANGES), "optuna"))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.log")))
    optuna.create_study(study_name="ours", storage=storage).add_trials(names["trials"]())
    study = optuna.load_study(study_name="ours", storage=storage)
    assert [trial.value for trial in study.trials] == [2.0, 3.0, 4.0]
    assert study.best_trial.user_attrs["stage"] == "search"
    assert study.trials[1].params["lr"] == 2.5
    study.ask(names["SPACE"])


def test_a_study_of_optuna_trains_with_the_best_first():
    found = ranked(*CHANGES)
    names = executed(export.render_best(found, "optuna"))
    study = names["study"](sampler=optuna.samplers.RandomSampler(seed=0))
    for one in found:
        chosen = names["suggest"](study.ask())
        assert chosen.warmup == one.record.warmup
        flat = {key: value for key, value in chosen.hyper.items() if key != "betas"}
        assert flat == pytest.approx({key: one.record.hyper[key] for key in flat})
        assert chosen.hyper["betas"] == pytest.approx(one.record.hyper["betas"])
    names["suggest"](study.ask())  # one of the sampler's own


def test_a_space_that_holds_them_all_is_as_it_was_searched():
    text = export.render_best(ranked({}), "optuna")
    assert "# What was searched, which holds them all.\n" in text
    wider = export.render_best(ranked(*CHANGES), "optuna")
    (names,) = re.findall(r"^# What was searched, widened to hold them in (.*)\.$", wider, re.M)
    assert {"lr", "eps"} <= set(names.split(", "))


def test_a_form_for_one_setting_is_refused_by_name():
    sentence = (
        r"^export 'torch' holds one setting, got --top; use --as json or optuna, or name one "
        r"setting with --trial$"
    )
    with pytest.raises(SpecError, match=sentence):
        export.render_best(ranked({}), "torch")


def test_optuna_takes_no_losses_for_settings_that_were_restated():
    (one,) = ranked({})
    restated = replace(one, record=replace(one.record, target={"batch_size": 1024}))
    with pytest.raises(SpecError, match=r"^export 'optuna' gives the best settings with the loss"):
        export.render_best([restated], "optuna")


def test_the_command_writes_them_and_says_where_there_are_fewer(storage, tmp_path):
    file = tmp_path / "top.json"
    options = ["--as", "json", "--storage", storage]
    asked = ["export", f"{NAME}/adan", *options, "--top", "9", "-o", str(file)]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0
    assert "no more than 6 of its settings were run to their last step\n" in done.stderr
    assert len(json.loads(file.read_text("utf-8"))["settings"]) == 6
    carried = ["export", f"{NAME}/adan", *options, "--top", "2", "--target-steps", "5x"]
    told = json.loads(CliRunner().invoke(main, carried).stdout)["settings"]
    assert [one["target"]["steps"] for one in told] == [1350, 1350]


@pytest.mark.parametrize("other", [["--trial", "3"], ["--which", "default"]])
def test_the_best_and_one_that_is_named_exclude_each_other(storage, other):
    words = ["export", NAME, "--as", "json", "--top", "2", "--storage", storage, *other]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert f"{other[0]} is about one setting and --top the best 2; leave one out" in done.stderr
