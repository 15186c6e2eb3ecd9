"""The search from Python: ``tune``, ``load`` and what they return, in notebooks and scripts."""

from __future__ import annotations

import doctest
import inspect
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from click.testing import CliRunner

import autotune
from autotune.cli import main
from autotune.errors import (
    AlreadyThere,
    MissingExtra,
    NotFound,
    NothingUsable,
    SpecError,
    StorageError,
    UnknownName,
)
from autotune.search.events import Notice, SearchEnded, SearchStarted
from autotune.studies.spec import SearchSpec
from autotune.tasks import base

SHORT = {"optimizers": ["adan", "adamw"], "trials": 2, "steps": 9}


def line(seed):
    """Return a problem that trains in milliseconds."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(96, 4, generator=draw)
    y = x.sum(1, keepdim=True)
    torch.manual_seed(seed)
    return autotune.Problem(
        model=torch.nn.Linear(4, 1),
        train=list(zip(x[:64].split(8), y[:64].split(8), strict=True)),
        validation=[(x[64:], y[64:])],
        loss=lambda model, batch: torch.nn.functional.mse_loss(model(batch[0]), batch[1]),
    )


def adder(slope):
    """Return a function whose problem depends on what it closes over."""

    def problem(seed):
        made = line(seed)
        return autotune.Problem(
            model=made.model,
            train=made.train,
            validation=made.validation,
            loss=lambda model, batch: (model(batch[0]) - slope * batch[1]).square().mean(),
        )

    return problem


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The result of a search that is over; tests only read it."""
    storage = tmp_path_factory.mktemp("api") / "a.db"
    return autotune.tune(line, storage=storage, progress="off", **SHORT)


def written(path):
    """Write ``line`` to a file of its own."""
    path.write_text(f"import torch, autotune\n\n\n{inspect.getsource(line)}")


def refusal(kind=SpecError, *, call=None, **arguments):
    """Return the whole sentence with which a call is refused, and see that nothing is stored."""
    before = sorted(Path().iterdir())
    with pytest.raises(kind) as refused:
        (call or partial(autotune.tune, line))(**arguments)
    assert sorted(Path().iterdir()) == before
    return str(refused.value)


def tuned_on_processes(function):
    return {
        "call": partial(autotune.tune, function),
        "trials": 1,
        "engine": "processes",
    }


def test_a_function_is_searched_and_judged_under_its_own_name(result):
    assert (result.name, result.complete) == ("line", True)
    assert {row.optimizer for row in result.rows} == {"adan", "adamw"}
    assert all(row.tuned.loss and row.default.loss for row in result.rows)
    assert result.comparison.search.spec["engine"] == "inline"


def test_a_search_from_python_does_what_the_command_does(folder):
    written(folder / "mine.py")
    ours = autotune.tune("mine.py:line", storage="a.db", engine="inline", progress="off", **SHORT)
    flags = ["--optimizer", "adan", "--optimizer", "adamw", "--trials", "2", "--steps", "9"]
    done = CliRunner().invoke(
        main,
        ["search", "--model", "mine.py:line", "--engine", "inline", "--storage", "b.db", *flags],
    )
    assert done.exit_code == 0
    theirs = autotune.load("line", storage="b.db")
    taken = ["seconds"]
    assert ours.trials().drop(columns=taken).equals(theirs.trials().drop(columns=taken))
    assert done.stdout.startswith(repr(theirs))
    assert repr(ours) == repr(theirs)


def test_the_default_optimizers_are_those_of_a_spec():
    given = inspect.signature(autotune.tune).parameters["optimizers"].default
    assert given == SearchSpec.model_fields["optimizers"].default


def test_a_function_is_sent_to_processes_by_its_file_and_an_unguarded_script_runs_once(folder):
    written(folder / "mine.py")
    (folder / "script.py").write_text(
        "import autotune\nfrom mine import line\nprint('once')\n"
        "found = autotune.tune(line, optimizers=['adan'], trials=1, steps=3,"
        " engine='processes', workers=1, progress='off')\n"
        "print(found.complete, found.comparison.search.spec['model'])\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"once\nTrue {folder}/mine.py:line\n", done.stderr


def test_the_same_call_goes_on_and_a_larger_budget_searches_more():
    counts = [
        len(autotune.tune(line, progress="off", **(SHORT | {"trials": trials})).trials())
        for trials in (2, 2, 4)
    ]
    assert counts[0] == counts[1] < counts[2]


def test_a_cell_that_is_run_again_goes_on_though_its_function_is_another_object():
    autotune.tune(adder(2.0), progress="off", **SHORT)
    assert autotune.tune(adder(2.0), progress="off", **SHORT).complete


def test_a_function_that_does_something_else_is_refused_under_the_same_name():
    autotune.tune(adder(2.0), progress="off", **SHORT)
    with pytest.raises(AlreadyThere) as refused:
        autotune.tune(adder(3.0), progress="off", **SHORT)
    assert str(refused.value) == (
        "search 'problem' is already in sqlite:///autotune.db with another content of its data or "
        "model file; give --search NAME (in Python, name=) to begin a new one"
    )


def test_a_function_of_another_process_is_refused_in_one_sentence(result):
    flags = ("search", "--resume", "line", "--trials", "5", "--storage", result.storage)
    done = CliRunner().invoke(main, flags)
    assert (done.exit_code, done.stderr) == (
        2,
        "error: python:line is a function of the process that called autotune.tune: only the same "
        "call goes on with its search\n",
    )


def test_a_result_is_loaded_by_name_from_anywhere(result, folder):
    loaded = autotune.load("line", storage=result.storage)
    assert (repr(loaded), loaded.verdict) == (repr(result), result.verdict)


def test_a_result_is_found_after_the_working_directory_has_changed(folder, monkeypatch):
    found = autotune.tune(line, progress="off", **SHORT)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert len(found.trials())


def test_a_result_prints_as_the_command_compares(result):
    shown = CliRunner().invoke(main, ["compare", "line", "--storage", result.storage])
    assert repr(result) == shown.stdout.rstrip("\n")
    assert result._repr_html_().startswith("<pre>line: python:line, 9 steps\n")
    assert (
        result.verdict.splitlines() == repr(result).splitlines()[-len(result.verdict.split("\n")) :]
    )


def test_the_best_setting_is_the_one_that_export_takes(result):
    for form in ("torch", "yaml", "json"):
        args = ["export", "line", "--as", form, "--storage", result.storage]
        assert result.best.export(form) == CliRunner().invoke(main, args).stdout
    assert result.best.optimizer == result.rows[0].optimizer
    assert result.tuned("adamw").optimizer == "adamw"


def test_a_tuned_optimizer_and_its_schedule_are_those_of_the_exported_file(result, folder):
    tuned = result.tuned("adan")
    scope = {}
    exec(compile(tuned.export("torch"), "tuned.py", "exec"), scope)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    ours, theirs = tuned.build(model), scope["build"](model)
    assert type(ours) is type(theirs)
    assert [group["weight_decay"] for group in ours.param_groups] == [
        tuned.hyper["weight_decay"],
        0,
    ]
    assert str(ours) == str(theirs)
    one, other = tuned.schedule(ours, 20), scope["schedule"](theirs, 20)
    for _ in range(25):
        assert one.get_last_lr() == other.get_last_lr()
        for each in (ours, theirs):
            each.step()
        one.step()
        other.step()


def test_a_schedule_of_no_step_is_refused(result):
    optimizer = result.best.build(torch.nn.Linear(1, 1))
    with pytest.raises(SpecError, match=r"^steps must be at least 1, got 0$"):
        result.best.schedule(optimizer, 0)


def test_trials_and_curves_are_data_frames(result):
    trials, curves = result.trials(), result.curves()
    assert list(trials.columns[:6]) == ["optimizer", "number", "role", "state", "origin", "lr"]
    assert set(trials["role"]) == {"search", "select", "judge"}
    assert isinstance(trials["betas"][0], tuple)
    judged = trials[(trials.role == "judge") & (trials.optimizer == "adan")]
    (row,) = [row for row in result.rows if row.optimizer == "adan"]
    assert set(judged["loss"]) == {*row.default.losses.values(), *row.tuned.losses.values()}
    last = curves.groupby(["optimizer", "number"]).step.max()
    assert last.equals(trials[trials.step > 0].set_index(["optimizer", "number"]).step.sort_index())
    assert curves["accuracy"].dtype == float


def test_without_pandas_a_frame_names_the_extra(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra) as refused:
        result.trials()
    assert str(refused.value) == (
        "data frames need pandas, which the dashboard extra brings: "
        "pip install 'adan-autotune[dashboard]'"
    )


def test_a_listener_hears_every_event_and_nothing_is_shown(capsys):
    heard = []
    autotune.tune(line, listen=heard.append, **SHORT)
    assert isinstance(heard[0], SearchStarted)
    assert isinstance(heard[-1], (SearchEnded, Notice))
    assert capsys.readouterr().err == ""


def test_progress_is_shown_as_the_command_shows_it_and_names_the_process_first(capsys):
    autotune.tune(line, **SHORT)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == (
        "line runs in this process, one trial at a time; "
        "engine='processes' runs several side by side"
    )
    assert told[1].endswith("1 worker (inline)")


def test_a_notebook_draws_bars_where_it_has_widgets(monkeypatch):
    from autotune.cli.views import progress

    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = staticmethod(ZMQInteractiveShell)

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    for widgets in (object(), None):
        monkeypatch.setattr(progress, "find_spec", lambda name, found=widgets: found)
        assert progress._draws() is (widgets is not None)


def test_an_interrupted_search_is_saved_and_the_same_call_goes_on():
    def interrupting(event):
        if isinstance(event, SearchStarted):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        autotune.tune(line, listen=interrupting, **SHORT)
    assert str(stopped.value) == "interrupted: no trial had begun"
    assert signal.getsignal(signal.SIGINT) is before
    assert autotune.tune(line, progress="off", **SHORT).complete


def test_what_an_interrupted_search_found_can_be_looked_at():
    seen = []

    def interrupting(event):
        seen.append(event)
        if len(seen) == 12:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        autotune.tune(line, listen=interrupting, **SHORT)
    found = autotune.load("line")
    count = len(found.trials())
    trials = "1 trial is" if count == 1 else f"{count} trials are"
    assert str(stopped.value) == f"interrupted: {trials} saved; the same call goes on"
    assert (found.complete, found.verdict.splitlines()[0]) == (False, "nothing was judged yet")
    assert repr(found).splitlines()[-1] == "interrupted; the same call goes on"
    with pytest.raises(NothingUsable):
        _ = found.best


def test_a_thread_may_search_and_leaves_signals_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def listen(event):
        found.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=lambda: autotune.tune(line, listen=listen, **SHORT))
    thread.start()
    thread.join()
    assert found
    assert all(found)
    assert autotune.load("line").complete


def test_a_module_s_class_is_a_function_that_returns_one():
    class Net(torch.nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.head = torch.nn.Linear(3072, classes)

        def forward(self, images):
            return self.head(images.flatten(1))

    found = autotune.tune(Net, optimizers=["adan"], trials=1, steps=1, progress="off")
    assert (found.name, found.comparison.search.task["data"]) == ("Net", "digits-pair")


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (
            dict,
            "python:dict does not tell which arguments it takes; call it in a function that does",
        ),
        (
            lambda width: line(0),
            "python:lambda needs 'width', which is not given; it may take the keyword arguments "
            "classes and seed, others need a default",
        ),
        (
            lambda: 5,
            "python:lambda must return a torch module or an autotune.Problem, got int",
        ),
        (lambda: 1 / 0, "python:lambda raised ZeroDivisionError: division by zero"),
    ],
    ids=["no signature", "argument", "return", "raises"],
)
def test_a_function_that_makes_no_model_is_refused_in_one_sentence(function, sentence):
    assert refusal(call=partial(autotune.tune, function), trials=1) == sentence


class Made:
    """A callable without a name of its own."""

    def __call__(self):
        return line(0)


@pytest.mark.parametrize(
    ("function", "name", "why"),
    [
        (lambda: line(0), "lambda", "a lambda has no name"),
        (adder(1.0), "problem", "it is defined within another function or class"),
        (partial(line, seed=0), "line", "it is a partial, which has no name of its own"),
        (Made(), "Made", "it is a Made, which has no name of its own"),
    ],
    ids=["lambda", "local", "partial", "object"],
)
def test_a_function_that_cannot_be_sent_is_refused(function, name, why):
    assert refusal(**tuned_on_processes(function)) == (
        f"{name} cannot be sent to the workers of engine 'processes', as {why}; put it at the top "
        "of a file of its own, or use engine='inline'"
    )


def test_a_function_of_a_notebook_cannot_be_sent(monkeypatch):
    monkeypatch.setattr(line, "__module__", "__main__")
    assert refusal(**tuned_on_processes(line)) == (
        "line cannot be sent to the workers of engine 'processes', as it is defined in __main__, "
        "the script or notebook that runs; put it at the top of a file of its own, or use "
        "engine='inline'"
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (
            {},
            SpecError,
            "a search needs a budget: give trials, runs or minutes, or several of them",
        ),
        (
            {"budget": {"trials": 3}},
            SpecError,
            "a search needs a budget: give trials, runs or minutes, or several of them",
        ),
        ({"trials": 1, "stepz": 3}, SpecError, "unknown key 'stepz'; did you mean 'steps'?"),
        ({"trails": 10}, SpecError, "unknown key 'trails'; did you mean 'trials'?"),
        (
            {"trials": 1, "patiense": 3},
            SpecError,
            "unknown key 'patiense'; did you mean 'patience'?",
        ),
        (
            {"trials": 1, "optimizers": ["adann"]},
            UnknownName,
            "unknown optimizer 'adann'; did you mean 'adan'? (known: the {optimizers} that "
            "'autotune list optimizers' shows)",
        ),
        ({"trials": 0}, SpecError, "budget.trials must be at least 1, got 0"),
        (
            {"trials": 1, "progress": "lines"},
            UnknownName,
            "unknown progress 'lines'; did you mean 'plain'? (known: auto, json, off, plain, rich)",
        ),
        (
            {"trials": 1, "engine": "procceses"},
            UnknownName,
            "unknown engine 'procceses'; did you mean 'processes'? "
            "(known: batched, inline, processes, ray)",
        ),
    ],
    ids=[
        "budget",
        "parts",
        "keyword",
        "limit",
        "patience",
        "optimizer",
        "trials",
        "progress",
        "engine",
    ],
)
def test_what_tune_cannot_use_is_refused_before_anything_is_stored(arguments, kind, sentence):
    from autotune.optimizers import names

    expected = sentence.replace("{optimizers}", str(len(names())))
    assert refusal(kind, **arguments) == expected


def test_a_model_that_is_neither_name_nor_function_is_refused():
    call = partial(autotune.tune, Path("train.py"), trials=1)
    assert refusal(call=call) == "model must be a name or a function, got PosixPath"
    call = partial(autotune.tune, torch.nn.Linear(1, 1), trials=1)
    assert refusal(call=call) == (
        "model must be a function that returns a new model for each trial, got a Linear that is "
        "one; write: def make(): return ..."
    )


@pytest.mark.parametrize(
    "call", [partial(autotune.tune, line, trials=1), partial(autotune.load, "x")]
)
def test_a_folder_is_no_storage(folder, call):
    (folder / "data").mkdir()
    with pytest.raises(StorageError) as refused:
        call(storage=folder / "data")
    assert str(refused.value) == f"storage sqlite:///{folder}/data is a folder; name a file in it"


def test_loading_an_unknown_search_suggests_the_nearest(result):
    call = partial(autotune.load, "lines", storage=result.storage)
    assert refusal(NotFound, call=call) == (
        f"no search 'lines' in {result.storage}; did you mean 'line'? (known: line)"
    )
    assert refusal(NotFound, call=partial(autotune.load, "line")) == (
        "no searches: there is no database autotune.db; autotune search makes one"
    )


@pytest.mark.parametrize(
    "taught",
    [
        autotune.tune,
        autotune.load,
        autotune.Result,
        autotune.Tuned,
        autotune.Tuner,
        autotune.Trial,
        base.Problem,
    ],
    ids=lambda it: it.__name__,
)
def test_the_documented_example_of_a_public_name_runs(taught, result, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_STORAGE", result.storage)
    (example,) = doctest.DocTestFinder(recurse=False).find(taught, taught.__name__)
    ran = doctest.DocTestRunner().run(example)
    assert ran.failed == 0
    assert ran.attempted >= 2


def test_types_are_known_without_running_anything():
    hints = get_type_hints(autotune.tune)
    assert (hints["return"], hints["storage"]) == (autotune.Result, str | os.PathLike[str] | None)
    assert get_type_hints(autotune.load)["return"] is autotune.Result
    assert get_type_hints(autotune.Result.best.fget)["return"] is autotune.Tuned


def test_help_teaches_what_a_problem_means():
    text = " ".join(inspect.getdoc(autotune.Problem).split())
    for fact in (
        "fraction of a batch that is right, 0 to 1",
        "lower is better",
        "Each weighs alike",
    ):
        assert fact in text


def test_every_argument_of_tune_is_explained():
    text = inspect.getdoc(autotune.tune)
    assert all(
        f"\n    {name}: " in text for name in list(inspect.signature(autotune.tune).parameters)[:-1]
    )
    keys = SearchSpec.model_fields.keys() - {"model", "optimizers", "name", "budget", "space"}
    assert all(f"``{key}``" in text for key in keys)
