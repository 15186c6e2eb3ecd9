"""Runs of Optuna, W&B and Ray Tune as settings that a search tries first."""

from __future__ import annotations

import json

import optuna
import pytest
from click.testing import CliRunner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autotune.cli import main
from autotune.errors import AutotuneError
from autotune.importing import Reading, names, read
from autotune.integrations.optuna import suggest
from autotune.studies import earlier
from autotune.studies.store import Store

optuna.logging.set_verbosity(optuna.logging.ERROR)


def journal(path, *trials, name="s", **about):
    """Write a study as a journal: parameters, and a value or a state, of each trial."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(study_name=name, storage=storage, **about)
    for params, end in trials:
        floats = optuna.distributions.FloatDistribution(0.0, 1.0)
        study.enqueue_trial(params)
        trial = study.ask(dict.fromkeys(params, floats))
        if isinstance(end, str):
            study.tell(trial, state=optuna.trial.TrialState[end])
        else:
            study.tell(trial, end)
    return str(path)


def sentence(source, **how):
    with pytest.raises(AutotuneError) as caught:
        read(str(source), Reading(**how))
    return str(caught.value)


def hypers(found):
    return [one["hyper"] for one in found.settings]


SWEEP = """\
Name,State,Runtime,lr,wd,betas,layers,val_loss
calm-1,finished,12,0.003,0.1,"[0.95, 0.9, 0.99]",3,0.52
bold-2,finished,12,0.001,0.02,"[0.98, 0.92, 0.99]",3,0.31
lost-3,crashed,4,0.1,0.02,"[0.98, 0.92, 0.99]",3,
wild-4,finished,12,0.3,0.02,"[0.98, 0.92, 0.99]",3,NaN
"""


@pytest.fixture
def sweep(tmp_path):
    file = tmp_path / "sweep.csv"
    file.write_text(SWEEP, encoding="utf-8")
    return file


@pytest.fixture
def experiment(tmp_path):
    """Return a folder as Ray Tune leaves it: one trial with two results, one that failed."""
    config = {"lr": 0.002, "optimizer": {"name": "adan", "betas": {"0": 0.9}}}
    for name, losses in {"train_a": (0.9, 0.4), "train_b": (0.8,), "train_c": ()}.items():
        folder = tmp_path / "exp" / name
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps(config), encoding="utf-8")
        results = [{"eval": {"loss": x}, "trial_id": name[-1], "config": config} for x in losses]
        (folder / "result.json").write_text("\n".join(map(json.dumps, results)), encoding="utf-8")
        config = {**config, "lr": config["lr"] / 2}
    (tmp_path / "exp" / "train_c" / "error.txt").write_text("boom", encoding="utf-8")
    return tmp_path / "exp"


def test_the_best_trials_of_a_study_of_optuna_are_taken_in_their_order(tmp_path):
    trials = [({"learning_rate": 0.1 * place, "wd": 0.25}, loss) for place, loss in
              ((1, 3.0), (2, 1.0), (3, 2.0), (2, 1.0))]  # fmt: skip
    ends = [({"learning_rate": 0.5, "wd": 0.25}, end) for end in ("PRUNED", "FAIL")]
    found = read(journal(tmp_path / "s.log", *trials, *ends), Reading(optimizer="adan", top=2))
    assert hypers(found) == [
        {"lr": 0.2, "weight_decay": 0.25},
        {"lr": pytest.approx(0.3), "weight_decay": 0.25},
    ]
    assert [one["origin"] for one in found.settings] == [
        "optuna s trial 1",
        "optuna s trial 2",
    ]
    assert found.settings[0]["value"] == 1.0
    assert (found.runs, dict(found.left_out)) == (4, {"pruned": 1, "failed": 1})
    assert found.unsaid == ("betas", "warmup")


def test_a_study_in_our_own_coordinates_gives_its_settings_back(tmp_path):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    chosen = suggest(trial, "adan-win2", steps=100)
    study.tell(trial, 1.0)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "ours.log")))
    kept = optuna.create_study(study_name="ours", storage=storage)
    kept.add_trials(study.trials)
    found = read(str(tmp_path / "ours.log"), Reading(optimizer="adan-win2"))
    (entry,) = found.settings
    assert entry["warmup"] == chosen.warmup
    assert found.unsaid == ()
    for name, value in entry["hyper"].items():
        told = list(chosen.hyper[name]) if isinstance(value, list) else chosen.hyper[name]
        assert value == told


def test_a_database_of_optuna_is_read_and_another_one_is_left_as_it_is(tmp_path):
    file = tmp_path / "optuna.db"
    study = optuna.create_study(study_name="only", storage=f"sqlite:///{file}")
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1e-2), 1)
    for source in (str(file), f"sqlite:///{file}"):
        assert read(source, Reading(optimizer="sgd")).settings[0]["hyper"] == study.best_params
    study._storage.remove_session()
    other = tmp_path / "autotune.db"
    Store(f"sqlite:///{other}").close()
    before = other.read_bytes()
    assert sentence(other).startswith(f"{other} cannot be read as a storage of Optuna (")
    assert other.read_bytes() == before
    assert sentence(f"sqlite:///{tmp_path}/none.db") == f"no database at {tmp_path}/none.db"
    assert not (tmp_path / "none.db").exists()


def test_rows_of_a_sweep_of_wandb_s_are_ranked_by_the_column_that_is_named(sweep):
    found = read(str(sweep), Reading(optimizer="adan", metric="val_loss"))
    assert hypers(found) == [
        {"lr": 0.001, "betas": [0.98, 0.92, 0.99], "weight_decay": 0.02},
        {"lr": 0.003, "betas": [0.95, 0.9, 0.99], "weight_decay": 0.1},
    ]
    assert found.settings[0]["origin"] == "sweep.csv bold-2"
    assert dict(found.left_out) == {"crashed": 1, "not finite": 1}
    assert found.unread == ("Name", "State", "Runtime", "layers")


def test_more_of_a_metric_may_be_better(sweep):
    how = Reading(optimizer="adan", metric="val_loss", maximize=True)
    assert hypers(read(str(sweep), how))[0]["lr"] == 0.003


def test_trials_of_ray_count_with_their_last_result(experiment):
    found = read(str(experiment), Reading(metric="eval/loss"))
    assert [one["origin"] for one in found.settings] == ["exp a", "exp b"]
    assert hypers(found)[0] == {"lr": 0.002, "betas": [0.9, 0.92, 0.99]}
    assert dict(found.left_out) == {"failed": 1}


def test_a_data_frame_of_ray_s_says_which_columns_are_parameters(tmp_path):
    file = tmp_path / "frame.csv"
    file.write_text("loss,trial_id,config/lr,config/dropout\n0.5,a,0.1,0.2\n", encoding="utf-8")
    how = {"optimizer": "adamw", "metric": "loss"}
    assert sentence(file, **how) == (
        "frame.csv a: config/dropout means nothing to adamw; say what it is with --map "
        "config/dropout=NAME, or leave it out with --ignore config/dropout"
    )
    assert hypers(read(str(file), Reading(**how, ignore=("config/dropout",)))) == [{"lr": 0.1}]


def test_a_name_is_mapped_and_what_all_runs_had_is_stated(sweep):
    how = Reading(
        optimizer="adamw",
        metric="val_loss",
        mapping={"layers": "warmup", "betas": "eps"},
        constants={"max_grad_norm": "1.0"},
        ignore=("layers", "betas"),
    )
    (first, _) = read(str(sweep), how).settings
    assert first["hyper"] == {"lr": 0.001, "weight_decay": 0.02, "max_grad_norm": 1.0}


def test_a_value_that_is_said_counts_as_said_where_it_is_the_default(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("loss,lr,beta1,weight_decay,ns_steps\n1,0.1,0.9,0.01,5\n", encoding="utf-8")
    adamw = read(str(file), Reading(optimizer="adamw", metric="loss"))
    assert hypers(adamw) == [{"lr": 0.1, "betas": [0.9, 0.999], "weight_decay": 0.01}]
    assert adamw.unsaid == ("warmup",)
    muon = read(str(file), Reading(optimizer="muon", metric="loss"))
    assert repr(hypers(muon)[0]["ns_steps"]) == "5"  # it counts


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("learning_rate", "lr"), ("optimizer.lr", "lr"), ("config/lr", "lr"), ("params_lr", "lr"),
        ("wd", "weight_decay"), ("weight-decay", "weight_decay"), ("opt_eps", "eps"),
        ("adam_epsilon", "eps"), ("adam_beta1", "beta1"), ("betas.2", "beta3"), ("b2", "beta2"),
        ("config/betas/0", "beta1"), ("warmup_ratio", "warmup"), ("opt", "optimizer"),
        ("one_minus_beta1", "one_minus_beta1"), ("dropout", "dropout"),
        ("optimizer", "optimizer"), ("optimizer/name", "optimizer"),
    ],
)  # fmt: skip
def test_the_words_of_other_tools_are_understood(foreign, ours):
    assert names.plain(foreign) == ours


def test_a_study_that_maximizes_is_refused_until_it_is_meant(tmp_path):
    source = journal(tmp_path / "m.log", ({"lr": 0.1}, 0.5), ({"lr": 0.2}, 0.9),
                     direction="maximize")  # fmt: skip
    assert sentence(source, optimizer="adan") == (
        "study 's' of Optuna maximizes, and a search minimizes a loss; add --maximize to rank its "
        "settings from the highest value down"
    )
    found = read(source, Reading(optimizer="adan", maximize=True))
    assert hypers(found) == [{"lr": 0.2}, {"lr": 0.1}]
    other = journal(tmp_path / "s.log", ({"lr": 0.1}, 0.5))
    assert sentence(other, optimizer="adan", maximize=True) == (
        "study 's' of Optuna minimizes; leave --maximize out"
    )


def test_names_that_mean_nothing_here_are_refused(tmp_path):
    source = journal(tmp_path / "s.log", ({"lr": 0.1, "dropout": 0.5, "beta3": 0.9}, 0.5))
    assert sentence(source, optimizer="adamw") == (
        "optuna s trial 0: dropout, beta3 mean nothing to adamw; say what it is with --map "
        "dropout=NAME, or leave it out with --ignore dropout"
    )
    assert sentence(source, optimizer="adamw", mapping={"dropout": "epss"}).startswith(
        "--map: unknown parameter 'epss'; did you mean 'eps'? (known: "
    )
    twice = journal(tmp_path / "t.log", ({"lr": 0.1, "learning_rate": 0.5}, 0.5))
    assert sentence(twice, optimizer="adamw") == (
        "optuna s trial 0: lr and learning_rate both say lr; leave one out with --ignore"
    )


def test_what_cannot_be_understood_is_said_in_a_sentence(tmp_path, sweep, experiment):
    several = journal(tmp_path / "s.log", ({"lr": 0.1}, 0.5))
    journal(tmp_path / "s.log", ({"wd": 0.1}, 0.5), name="other")
    assert sentence(several) == (f"{several} has 2 studies; name one with --study: other, s")
    assert sentence(several, study="so").startswith(f"{several}: unknown study 'so'; did you mean")
    assert sentence(several, study="s") == (
        "optuna s trial 0 does not say which optimizer it is of; name it with --optimizer"
    )
    assert sentence(several, study="other", optimizer="adan") == (
        "optuna other trial 0 has no learning rate; say which name is it with --map NAME=lr, or "
        "state the one that all runs had with --constant lr=VALUE"
    )
    assert sentence(sweep, optimizer="adan") == (
        f"{sweep} does not say what its runs are ranked by; name it with --metric, as one of "
        "Name, State, Runtime, lr, wd, betas, layers, val_loss"
    )
    assert sentence(experiment, metric="eval/lss").startswith(
        f"{experiment}: unknown metric 'eval/lss'; did you mean 'eval/loss'?"
    )
    assert sentence(experiment, metric="eval/loss", optimizer="sgd") == (
        f"{experiment} has no run of sgd; its 2 are others'"
    )
    assert sentence(tmp_path / "gone") == f"no file or folder at {tmp_path}/gone"
    (tmp_path / "half.json").write_text('{"hyper": {"lr": 0.1}}', encoding="utf-8")
    assert "half.json holds something else than settings; give" in sentence(tmp_path / "half.json")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    assert sentence(tmp_path / "notes.txt").startswith(f"{tmp_path}/notes.txt is none of what can")
    (tmp_path / "one.csv").write_text("hello\n", encoding="utf-8")
    assert sentence(tmp_path / "one.csv").startswith(f"{tmp_path}/one.csv is no table with a name")


def test_what_says_nothing_about_a_source_is_refused(tmp_path, sweep):
    source = journal(tmp_path / "s.log", ({"lr": 0.1}, 0.5))
    assert sentence(source, metric="loss") == (
        "--metric says nothing about a study of Optuna; leave it out"
    )
    assert sentence(sweep, study="s") == f"--study says nothing about {sweep}; leave it out"
    (tmp_path / "k.json").write_text("{}", encoding="utf-8")
    assert sentence(tmp_path / "k.json", mapping={"a": "lr"}) == (
        f"--map says nothing about {tmp_path}/k.json; leave it out"
    )


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_parameter_that_is_not_finite_is_refused(tmp_path, value):
    file = tmp_path / "t.csv"
    file.write_text(f"loss,lr\n0.5,{value}\n", encoding="utf-8")
    assert sentence(file, metric="loss", optimizer="adan") == (
        f"t.csv line 2: lr must be finite, got {value}"
    )


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("lr\n-0.1", "t.csv line 2: lr must be at least 0 and finite, got -0.1"),
        ("lr\nTrue", "t.csv line 2: lr must be a number, got True"),
        ("lr,betas\n0.1,0.9", "t.csv line 2: betas must be 2 numbers, got 0.9"),
        ("lr,beta1\n0.1,1.5", "t.csv line 2: betas[0] must be in [0, 1), got 1.5"),
        ("lr,Weight Decay\n0.1,no", "t.csv line 2: weight_decay must be a number, got 'no'"),
        ("lr,warmup\n0.1,-1", "t.csv line 2: warmup must be at least 0, got -1"),
        ("lr,amsgrad\n0.1,maybe", "t.csv line 2: amsgrad must be True or False, got 'maybe'"),
    ],
)
def test_a_value_that_no_search_would_try_is_refused_where_it_is_read(tmp_path, cell, told):
    names, _, values = cell.partition("\n")
    (tmp_path / "t.csv").write_text(f"loss,{names}\n1,{values}\n", encoding="utf-8")
    assert sentence(tmp_path / "t.csv", metric="loss", optimizer="adamw") == told


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ('"hyper": {"lr": NaN}', "try_first: lr must be finite, got nan"),
        ('"hyper": 3', "hyper must be a mapping, got 3"),
        ('"hyper": {"lr": 0.1}, "warmup": -1', "warmup must be at least 0, got -1"),
        ('"hyper": {"lr": 0}', "lr must be positive, got 0"),
    ],
)
def test_a_setting_of_ours_is_checked_as_another_tool_s_is(tmp_path, entry, told):
    file = tmp_path / "k.json"
    file.write_text(f'{{"settings": [{{"optimizer": "adamw", {entry}}}]}}', encoding="utf-8")
    assert sentence(file) == f"{file}, setting 1: {told}"


def test_a_name_that_no_run_has_and_a_constant_that_all_have_are_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("loss,lr,wdecay\n0.5,0.1,0.2\n", encoding="utf-8")
    how = {"metric": "loss", "optimizer": "adamw"}
    assert sentence(file, mapping={"wdecy": "weight_decay"}, **how) == (
        f"--map: no run of {file} has 'wdecy'; did you mean 'wdecay'?"
    )
    assert sentence(file, ignore=["x"], **how) == f"--ignore: no run of {file} has 'x'"
    assert sentence(file, constants={"lr": "0.3"}, **how) == (
        f"--constant lr: every run of {file} says lr itself; leave it out"
    )


def test_a_damaged_source_is_told_of_in_a_sentence(tmp_path, experiment):
    how = {"metric": "eval/loss", "optimizer": "adan"}
    results = experiment / "train_a" / "result.json"
    results.write_text(results.read_text(encoding="utf-8") + '\n{"eval": {"lo', encoding="utf-8")
    assert read(str(experiment), Reading(**how)).settings[0]["value"] == 0.4
    results.write_text(f'{{"eval": {{"loss": 1{"0" * 400}}}}}\n', encoding="utf-8")
    assert read(str(experiment), Reading(**how)).left_out["not finite"] == 1
    results.write_text("3\n", encoding="utf-8")
    assert sentence(experiment, **how) == f"{results} must hold a mapping on each line, got '3'"
    (tmp_path / "e.csv").write_text("", encoding="utf-8")
    assert sentence(tmp_path / "e.csv", metric="loss").startswith(f"{tmp_path}/e.csv is no table")
    (tmp_path / "j.log").write_text('{"op_code": 99, "worker_id": "x"}\n', encoding="utf-8")
    assert "cannot be read as a journal of Optuna" in sentence(tmp_path / "j.log")
    (tmp_path / "l.json").write_text("[]", encoding="utf-8")
    assert "l.json holds something else than settings" in sentence(tmp_path / "l.json")


def test_a_source_without_a_number_has_nothing_to_import(tmp_path):
    source = journal(tmp_path / "s.log", ({"lr": 0.1}, "FAIL"))
    assert sentence(source, optimizer="adan") == (
        "study 's' of Optuna has no run that ended with a number: 1 failed"
    )


def test_the_command_writes_what_a_search_reads(tmp_path, sweep):
    file = tmp_path / "known.json"
    words = ["import", str(sweep), "--optimizer", "adan", "--metric", "val_loss", "--ignore", "wd"]
    done = CliRunner().invoke(main, [*words, "--constant", "weight_decay=0.5", "-o", str(file)])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"{sweep}: 2 runs, 1 crashed, 1 not finite; took 2",
        "not read: Name, State, Runtime, layers",
        "no run says warmup: the optimizer's defaults are taken",
        f"wrote {file}; try them with: autotune search --try-first {file} ...",
    ]
    assert [one["hyper"]["weight_decay"] for one in earlier.read(file)] == [0.5, 0.5]
    assert read(str(file)).settings == earlier.read(file)
    assert len(read(str(file), Reading(top=1, optimizer="adan")).settings) == 1
    again = CliRunner().invoke(main, [*words, "--constant", "weight_decay=0.25", "-o", str(file)])
    assert again.exit_code == 2
    assert again.stderr == f"error: {file} is already there; add --force to overwrite it\n"
    assert earlier.read(file)[0]["hyper"]["weight_decay"] == 0.5
    assert CliRunner().invoke(main, [*words, "-o", str(file), "--force"]).exit_code == 0
    assert "weight_decay" not in earlier.read(file)[0]["hyper"]
    assert sentence(file, optimizer="sgd") == f"{file} has no setting of sgd"
    refused = CliRunner().invoke(main, [*words, "--map", "layers"])
    assert refused.exit_code == 2
    assert "must be NAME=OURS, got 'layers'" in refused.stderr
