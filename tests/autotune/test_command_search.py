"""Searches whose trials run a command: three ways to report, failures, logs, and who may join."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import autotune
from autotune.cli import main
from autotune.command import program
from autotune.errors import AlreadyThere, SpecError
from autotune.search.coordinator import run
from autotune.search.events import TrialEnded
from autotune.search.worker import Terms, work
from autotune.studies import spec as specs
from autotune.studies.records import SearchState
from autotune.studies.store import Store
from autotune.tasks.command_files import contents
from autotune.testing.commands import left
from autotune.testing.trials import setting_of
from autotune.training import paused
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

# What every face has in common: the losses are a function of setting, seed and step.
HEAD = f"""
import json, math, sys
sys.path.insert(0, {str(Path(autotune.__file__).parents[1])!r})
setting = json.load(open(sys.argv[1]))
lr, seed = setting["hyper"]["lr"], setting["seed"] % 97
curve = {{s: abs(math.log10(lr) + 2) + 1 / s + seed / 1e3 for s in (1, 3, 9)}}
"""
FACES = {
    "lines": "for s in curve: print(f'autotune step={s} loss={curve[s]} accuracy=0.5')",
    "report": (
        "import autotune\nfor s in curve:\n    if not autotune.report(s, curve[s], 0.5): sys.exit()"
    ),
    "file": (
        "file = open(sys.argv[2], 'w', buffering=1)\n"
        "for s in curve: print(json.dumps({'s': s - 1, 'eval': curve[s], 'right': 50}), file=file)"
    ),
}
METRIC = {"step": "s+1", "loss": "eval", "accuracy": "right/100"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "GRACE", 0.4)
    forget()
    yield tmp_path
    paused.close_all()
    assert left(tmp_path) == []


def spec(face="lines", **changes):
    script = Path(f"{face}.py")
    script.write_text(HEAD + FACES[face])
    file = {"report": "{trial}.jsonl", "metric": METRIC} if face == "file" else {}
    words = [sys.executable, "-S", str(script), "{json}", *(["{trial}.jsonl"] if file else [])]
    known = {
        "command": words, "optimizers": ["adamw"], "budget": {"trials": 2}, "seeds": 2,
        "finalists": 1, "steps": 9, "engine": "inline", "name": "net",
    }  # fmt: skip
    return specs.parse(known | file | changes)


def found(store):
    [study] = store.search("net").studies
    curves = store.curves(study.id)
    return [
        (t.number, t.setting.hyper, t.role, t.state, t.step, t.loss, t.accuracy,
         [(p.step, p.loss) for p in curves[t.id]])
        for t in store.trials(study.id)
    ]  # fmt: skip


def searched(one, name):
    with Store(f"sqlite:///{name}.db") as store:
        result = run(one, store=store)
        assert result.search.state is SearchState.COMPLETE
        assert result.rows[0].tuned.loss.mean < result.rows[0].default.loss.mean
        return found(store)


def test_a_search_finds_the_same_however_it_is_told_with_and_without_pauses(monkeypatch):
    trials = searched(spec("report"), "report")
    assert {trial[6] for trial in trials} == {0.5}
    assert len({trial[4] for trial in trials}) > 1  # some were paused, and stopped at the end
    monkeypatch.setattr(paused, "MOST", 0)
    assert searched(spec("lines"), "lines") == trials


def test_the_three_ways_to_report_measure_the_same():
    points = []
    for face in FACES:
        one = spec(face)
        more = {"command": one.command, "report": one.report, "metric": one.metric}
        points.append(performed(job("", task=more)).points)
    seen = [[(p.step, p.loss, p.accuracy) for p in each] for each in points]
    assert [step for step, _, _ in seen[0]] == [1, 3, 9]
    assert seen[0] == seen[1] == seen[2]


def job(text, face="lines", **changes):
    """Return a job of a shell command of nine steps."""
    task = {
        "model": "command", "data": None, "steps": 9, "batch_size": None, "report": None,
        "metric": {}, "command": ["bash", "-c", f"{text} # {{lr}}"],
    }  # fmt: skip
    fields = {
        "trial": 1, "attempt": 1, "task": task | changes.pop("task", {}), "optimizer": "adamw",
        "setting": setting_of(hyper={"lr": 0.01}), "seed": 3, "start": 0, "stop": 9, "target": 9,
        "evaluate": (3, 9), "checkpoint": str(Path("kept/1-0-1.pt").absolute()),
    }  # fmt: skip
    return Job(**fields | changes)


def performed(one, interrupted=lambda: False):
    reports = list(perform(one, interrupted, "one"))
    return replace(reports[-1], points=sum((report.points for report in reports), ()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "seq 30; exit 0",
            "the command ended with exit code 0 without a report; it must report by lines as "
            "'autotune step=100 loss=2.31 accuracy=0.7' or autotune.report; it last printed: 30",
        ),
        ("echo oops >&2; exit 3", "ended with exit code 3 without a report; it last printed: oops"),
        (
            "kill -9 $$",
            "the command ended with signal SIGKILL without a report; it printed nothing",
        ),
        (
            "echo autotune step=3 loss=2",
            "ended with exit code 0 after its report of step 3; its last report must be of step 9",
        ),
        ("echo autotune step=3 loss=two", "must be a number, got 'two'"),
        (
            "echo autotune step=3 loss=2; echo autotune step=2 loss=2",
            "measured step 2 after step 3; steps must increase",
        ),
        ("echo autotune step=10 loss=2", "measured step 10, past its last"),
    ],
)
def test_a_command_that_does_not_measure_fails_with_a_sentence(text, sentence):
    report = performed(job(text))
    assert report.outcome is Outcome.FAILED
    assert sentence in report.reason


def test_a_command_that_writes_no_file_is_told_where_one_was_expected():
    report = performed(job("true", task={"report": "out/{trial}.csv"}))
    assert "must report by its file out/adamw-1.csv" in report.reason


def test_a_failure_keeps_the_last_lines():
    assert performed(job("seq 30; exit 1")).output == tuple(map(str, range(11, 31)))


def test_a_loss_that_is_no_number_and_a_lack_of_memory_are_divergence():
    report = performed(job("echo autotune step=1 loss=nan"))
    assert (report.outcome, report.reason) == (
        Outcome.DIVERGED,
        "validation loss became nan at step 1",
    )
    report = performed(job("echo CUDA out of memory; exit 1"))
    assert (report.outcome, report.exhausted) == (Outcome.DIVERGED, True)


def test_a_program_that_cannot_be_run_fails_with_a_sentence():
    report = performed(job("", task={"command": ["./{lr}"]}))
    assert report.reason == (
        "the command could not be run; it last printed: "
        "cannot run ./0.01: No such file or directory"
    )


def test_an_interrupted_command_is_paused_and_goes_on():
    asked = iter([False, True])
    text = "echo autotune step=3 loss=2; sleep 0.1; touch on; echo autotune step=9 loss=1"
    report = performed(job(text), interrupted=lambda: next(asked, True))
    assert (report.outcome, report.step, report.kept) == (Outcome.INTERRUPTED, 3, True)
    time.sleep(0.3)
    assert not Path("on").exists()
    rest = performed(job(text, start=3, attempt=2))
    assert [(point.step, point.loss) for point in rest.points] == [(9, 1.0)]


def test_a_report_that_is_answered_with_no_lets_the_script_end_itself():
    Path("own.py").write_text(HEAD + FACES["report"] + "\nprint('never here')")
    task = {"command": [sys.executable, "-S", "own.py", "{json}"]}
    assert performed(job("", stop=3, task=task)).kept
    paused.close_all()
    assert Path("kept/commands/adamw-1.log").read_text() == ""


def test_a_command_that_ignores_sigterm_is_told_of():
    text = "trap '' TERM; echo autotune step=9 loss=1; sleep 60; sleep 60"
    report = performed(job(text))
    assert report.outcome is Outcome.REACHED
    assert report.reason == "the command ignored SIGTERM for 0.4 s and was killed"


def test_the_setting_is_in_files_and_the_variables_name_them():
    text = "cat $AUTOTUNE_SETTING; cat {json} {yaml}; echo $AUTOTUNE_TRIAL; pwd; exit 1"
    performed(job(text))
    told = Path("kept/commands/adamw-1.log").read_text()
    setting = {
        "optimizer": "adamw", "hyper": {"lr": 0.01}, "warmup": 0.1, "steps": 9, "seed": 3,
        "trial": "adamw-1",
    }  # fmt: skip
    assert json.loads(told[: told.index("\n}") + 2]) == setting
    assert "optimizer: adamw" in told
    assert told.splitlines()[-2:] == ["adamw-1", str(Path.cwd())]


def test_a_command_in_a_spec_is_the_model_and_runs_one_at_a_time():
    one = specs.parse({"command": "python 'my train.py' --lr {lr}"})
    assert (one.model, one.command) == ("command", ("python", "my train.py", "--lr", "{lr}"))
    assert (one.workers, one.search_name) == (1, "python")
    assert specs.parse({"command": ["torchrun", "src/vit.py", 3], "workers": 4}).workers == 4
    assert specs.parse({"command": ["torchrun", "src/vit.py"]}).search_name == "vit"
    old = specs.parse({"model": "mlp"})
    assert specs.differences(specs.parse({"model": "mlp", "command": None}), old) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "mlp"}, "give a model or a command, got model 'mlp' and the command"),
        ({"command": []}, "command must not be empty"),
        ({"command": "bash 'x"}, "command must be the words of a command, got 'bash 'x'"),
        ({"command": None, "report": "{trial}", "model": "mlp"}, "report is for a command, which"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes, sentence):
    with pytest.raises(SpecError) as refused:
        specs.parse({"command": ["bash", "x"], **changes})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"command": ["nonsense", "{args}"]}, "cannot find the command's program 'nonsense'"),
        ({"command": ["./lines.py", "{args}"]}, "is not executable; make it so: chmod +x"),
        ({"command": ["bash", "{arg}"]}, "unknown word of the command 'arg'; did you mean 'args'"),
        ({"command": ["bash", "{lr}"]}, "betas and weight_decay and warmup of adamw are searched"),
        ({"command": ["bash", "{args:timm}"], "optimizers": ["adan-win"]}, "no words for Win"),
        ({"optimizers": ["adan", "adamw"], "command": ["bash", "{args:nope}"]}, "args:nope"),
        ({"steps": None}, "a command needs the number of its steps"),
        ({"data": "digits"}, "a command brings its own data; drop data='digits'"),
        ({"report": "out.csv"}, "report must be a file of one trial alone"),
        ({"metric": {"loss": "x"}, "report": "{trial}", "engine": "batched"}, "side by side"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_stored(changes, sentence):
    with Store("sqlite:///x.db") as store:
        with pytest.raises(SpecError) as refused:
            run(spec(**changes), store=store)
        assert sentence in str(refused.value)
        assert store.searches() == []


def test_files_of_a_command_are_known_by_what_they_do():
    Path("pkg").mkdir()
    Path("pkg/train.py").write_text("import helper\n")
    Path("pkg/helper.py").write_text("x = 1\n")
    Path("conf.yaml").write_text("a: 1\n")
    command = ["python", "-m", "pkg.train", "--config=conf.yaml", "{args}"]
    before = contents(command)
    assert list(before) == ["pkg/train.py", "pkg/helper.py", "conf.yaml"]
    Path("pkg/helper.py").write_text("x = 1  # the same\n")
    assert contents(command) == before
    Path("pkg/helper.py").write_text("x = 2\n")
    assert contents(command) != before
    assert contents(["bash", "pkg"]) == {}


def test_an_edited_script_is_another_task_and_a_worker_needs_the_same():
    with Store("sqlite:///x.db") as store:
        one = spec()
        run(one, store=store)
        raised = one.model_copy(update={"budget": specs.Budget(trials=3)})
        Path("lines.py").write_text(Path("lines.py").read_text() + "\n1 + 1\n")
        with pytest.raises(AlreadyThere, match=r"with another content of lines\.py"):
            run(raised, store=store)
        store.update_search("net", state=SearchState.INTERRUPTED)
        with pytest.raises(AlreadyThere, match=r"with another content of lines\.py"):
            work("net", store=store, terms=Terms(engine="inline"))


def test_a_worker_ends_a_search_of_commands():
    halt = threading.Event()
    with Store("sqlite:///x.db") as store:
        run(spec(), store=store, listen=lambda event: ended(event, halt), halt=halt)
        assert work("net", store=store, terms=Terms(engine="inline")).state is SearchState.COMPLETE


def ended(event, halt):
    if isinstance(event, TrialEnded):
        halt.set()


def invoke(*args):
    return CliRunner().invoke(main, list(args))


def test_the_command_line_takes_a_command_and_shows_its_log():
    words = " ".join([shlex.quote(sys.executable), "-S"])
    Path("broken.sh").write_text(f"{words} -c 'print(40 + 2); raise SystemExit(1)'\n")
    options = ["--optimizer=adamw", "--steps=9", "--trials=1", "--seeds=2", "--engine=inline"]
    result = invoke("search", *options, "--", "bash", "broken.sh", "{args}")
    assert (
        "no trial of 'broken' reached its end with a loss; the first said: the command ended"
        in (result.stderr)
    )
    assert "it last printed: 42" in result.stderr
    assert invoke("show", "broken", "0", "--log").stdout == "42\n"
    shown = invoke("show", "broken", "0").stdout
    assert shown.endswith("last lines of its output (--log shows all)\n42\n")
    assert "--log needs the number" in invoke("show", "broken", "--log").stderr
    assert "3 trials and 3 logs" in invoke("delete", "broken", "--yes").stderr
    assert not list(Path.cwd().glob("**/*.log"))


def test_what_follows_no_dashes_is_no_command():
    assert "unexpected extra argument" in invoke("search", "bash", "x.sh").stderr
    assert "a command must follow --" in invoke("search", "--steps", "9", "--").stderr


def test_a_command_can_be_tuned_from_python():
    one = spec()
    result = autotune.tune(
        command=one.command, optimizers=["adamw"], trials=2, seeds=2, finalists=1, steps=9,
        engine="inline", storage="x.db", progress="off",
    )  # fmt: skip
    assert (result.name, result.complete) == ("lines", True)
    with pytest.raises(SpecError, match="a search needs a model or a command"):
        autotune.tune(trials=2)
