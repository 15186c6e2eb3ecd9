"""`search` for real, on a model so small that a full run takes milliseconds, and `export` of it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autotune.cli import main
from autotune.studies.records import SearchState
from autotune.studies.store import Store
from autotune.testing.forked import Forked

TINY = """
import time
import torch
from autotune import Problem

SLOW = {slow}

def loss(model, batch):
    x, y = batch
    time.sleep(SLOW)
    return torch.nn.functional.mse_loss(model(x), y)

def line(seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 4, generator=draw)
    batches = [(x[i : i + 8], x[i : i + 8].sum(1, keepdim=True)) for i in range(0, 64, 8)]
    torch.manual_seed(seed)
    model = torch.nn.Linear(4, 1)
    return Problem(model=model, train=batches[:6], validation=batches[6:], loss=loss)
"""
COMMAND = (
    *("search", "--model", "tiny.py:line", "--optimizer", "adan"),
    *("--steps", "27", "--trials", "3", "--engine", "inline"),
)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "tiny.py").write_text(TINY.format(slow=0))
    return tmp_path


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A finished search, in a folder of its own, and what it said."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.py").write_text(TINY.format(slow=0))
    before = Path.cwd()
    os.chdir(folder)
    try:
        return folder, invoke(*COMMAND)
    finally:
        os.chdir(before)


@pytest.fixture
def there(searched: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(searched[0])
    return searched[0]


def test_a_search_ends_with_table_verdict_and_what_to_do_next(
    searched: tuple[Path, Result],
) -> None:
    result = searched[1]
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("line: ")
    assert lines[2].split()[:3] == ["optimizer", "setting", "lr"]
    assert "Mean ± half the 95% interval over 3 fresh seeds; betas are close to one" in lines
    (tried,) = [line for line in lines if line.startswith("tried: ")]
    assert re.fullmatch(r"tried: adan \d+ settings in [\d.]+ full runs.*", tried)
    assert lines[-2:] == [
        "export  autotune export line/adan --as torch",
        "look    autotune dashboard",
    ]


def test_a_finished_search_leaves_a_database_and_nothing_else(there: Path) -> None:
    assert not (there / "autotune.db.d").exists()


def test_progress_is_on_stderr_alone(searched: tuple[Path, Result]) -> None:
    result = searched[1]
    assert "stage: search" in result.stderr
    assert "stage: search" not in result.stdout


def test_the_same_command_again_goes_on_rather_than_repeats(there: Path) -> None:
    with Store("sqlite:///autotune.db") as store:
        before = store.signature("line")
        result = invoke(*COMMAND, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert store.signature("line") == before
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["comparisons"][0]["search"]["state"] == "complete"
    assert document["comparisons"][0]["rows"][0]["searched"]["settings"] > 1
    assert document["next"]["export"] == "autotune export line/adan --as torch"


def test_another_spec_under_the_same_name_is_refused(there: Path) -> None:
    result = invoke(*COMMAND, "--seed", "4")
    assert result.exit_code == 6
    assert result.stderr == (
        "error: search 'line' is already in sqlite:///autotune.db with another seed; "
        "give --search NAME (in Python, name=) to begin a new one\n"
    )


@pytest.mark.parametrize("form", ["yaml", "json", "torch"])
def test_an_export_goes_to_stdout_and_its_study_to_stderr(form: str, there: Path) -> None:
    result = invoke("export", "line", "--as", form)
    assert result.exit_code == 0
    assert "adan" in result.stdout
    assert result.stderr == "exporting line/adan, the lowest loss of the search\n"


def test_an_export_to_a_file_never_overwrites_unasked(there: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuned.yaml"
    command = ("export", "line/adan", "--as", "yaml", "-o", str(file))
    assert invoke(*command).stderr == f"wrote {file}\n"
    again = invoke(*command)
    assert again.exit_code == 2
    assert again.stderr == f"error: {file} is already there; add --force to overwrite it\n"
    assert invoke(*command, "--force").exit_code == 0


def test_an_export_to_a_file_is_remembered(there: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuned.json"
    assert invoke("export", "line/adan", "--as", "json", "-o", str(file)).exit_code == 0
    with Store("sqlite:///autotune.db") as store:
        (study,) = store.search("line").studies
        last = store.exports(study.id)[-1]
    assert (last["format"], last["path"], last["text"]) == ("json", str(file), file.read_text())


def test_an_export_into_a_folder_that_is_not_there_is_one_sentence(there: Path) -> None:
    result = invoke("export", "line/adan", "--as", "json", "-o", "no/such/tuned.json")
    assert result.exit_code == 2
    assert result.stderr == "error: cannot write no/such/tuned.json (No such file or directory)\n"


def test_an_unknown_form_of_export_suggests(there: Path) -> None:
    result = invoke("export", "line", "--as", "yml")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: unknown export 'yml'; did you mean 'yaml'? (known: ")


def test_a_dry_run_tells_settings_and_cost_and_writes_nothing(folder: Path) -> None:
    result = invoke(*COMMAND, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["budget.trials", "3", "--trials"] in lines
    assert ["workers", "2", "default"] in lines
    assert ["judge", "6"] in lines
    assert ["settings", "of", "each", "optimizer", "about", "3"] in lines
    assert result.stdout.endswith("--dry-run times steps and says what N minutes pay for\n")
    assert {path.name for path in folder.iterdir()} <= {"tiny.py", "__pycache__"}


def test_a_dry_run_as_json_has_sources_and_plan(folder: Path) -> None:
    document = json.loads(invoke(*COMMAND, "--dry-run", "--json").stdout)
    assert document["settings"]["budget.trials"] == {"value": 3, "source": "--trials"}
    assert document["plan"]["full_runs"]["judge"] == 6
    assert document["plan"]["settings"] == 3
    assert document["storage"] == "sqlite:///autotune.db"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--trials", "0"), "--trials: budget.trials must be at least 1, got 0"),
        (("--minutes", "-1"), "--minutes: budget.minutes must be above 0, got -1"),
        (("--set", "budget.trails=1"), "unknown key 'budget.trails'; did you mean 'trials'?"),
        (("--optimizer", "adna"), "unknown optimizer 'adna'; did you mean 'adan'?"),
        (("--sampler", "sobel"), "unknown sampler 'sobel'; did you mean 'sobol'?"),
        (("--engine", "inlnie"), "unknown engine 'inlnie'; did you mean 'inline'?"),
        (("--engine", "simulated"), "unknown engine 'simulated' (known: batched, inline, "),
        (("--model", "resnet5"), "unknown model 'resnet5'; did you mean 'resnet50'?"),
        (("-c", "none.yaml"), "none.yaml"),
        (("--model", "none.py:line"), "cannot read model file "),
        (("--data", "none"), "which brings its own batches; drop data='none'"),
        (("--runs", "2"), "budget.runs must be at least 12"),
        (("--set", "space.lrs=0.1"), "unknown parameter 'lrs'; did you mean 'lr'?"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_wrong_value_is_refused_before_anything_is_made(
    flags: tuple[str, ...], said: str, folder: Path
) -> None:
    result = invoke(*COMMAND, *flags)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(folder.glob("autotune.db*"))


def test_a_database_that_was_there_stays_when_a_search_is_refused(folder: Path) -> None:
    with Store("sqlite:///autotune.db"):
        pass
    assert invoke(*COMMAND, "--model", "none.py:line").exit_code == 2
    assert [path.name for path in folder.glob("autotune.db*")] == ["autotune.db"]


def test_a_storage_that_cannot_be_opened_ends_with_4(folder: Path) -> None:
    result = invoke(*COMMAND, "--storage", "sqlite:////nowhere/at/all.db")
    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 1


def test_a_function_that_only_fails_ends_with_5_and_its_reason(folder: Path) -> None:
    # The first look at the function calls the loss twice, and finds nothing wrong with it.
    raising = "CALLS.append(1)\n    if len(CALLS) > 2: raise ValueError('no batch today')"
    text = TINY.format(slow=0).replace("x, y = batch", f"{raising}\n    x, y = batch")
    text = text.replace("SLOW = 0", "SLOW = 0\nCALLS = []")
    (folder / "broken.py").write_text(text)
    result = invoke(*COMMAND, "--model", "broken.py:line", "--progress", "off")
    assert result.exit_code == 5
    assert "no batch today" in result.stderr
    assert result.stderr.endswith("; look at each with: autotune show line --trials\n")
    assert len(result.stderr.splitlines()) == 1


def test_resuming_what_is_not_there_suggests(there: Path) -> None:
    result = invoke("search", "--resume", "lien")
    assert result.exit_code == 6
    assert "did you mean 'line'?" in result.stderr


@pytest.fixture
def running(folder: Path) -> Iterator[Forked]:
    """A search that takes its time, of which a trial has ended."""
    (folder / "tiny.py").write_text(TINY.format(slow=0.02))
    with Forked(*COMMAND, "--progress", "plain") as process:
        said: list[str] = []
        while "trial 0" not in (said or [""])[-1]:
            said.append(process.stderr.readline())
            assert said[-1], "".join(said)
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"]
)
def test_an_interrupted_search_is_saved_and_says_how_to_go_on(
    number: signal.Signals, code: int, running: Forked
) -> None:
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (code, "")
    lines = err.splitlines()
    assert "stopping: finishing the current steps and saving; again to abort" in lines
    assert re.fullmatch(
        r"interrupted: (1 trial is|\d trials are) saved; "
        r"go on with: autotune search --resume line",
        lines[-1],
    )
    with Store("sqlite:///autotune.db") as store:
        assert store.search("line").state is SearchState.INTERRUPTED


def test_a_killed_search_reads_as_interrupted_until_it_goes_on(
    running: Forked,
) -> None:
    assert "  running  " in invoke("list").stdout
    running.kill()
    running.wait()
    before = Path("autotune.db").read_bytes()
    result = invoke("list")
    assert "  interrupted  " in result.stdout
    assert result.stderr == "line was interrupted; go on with: autotune search --resume line\n"
    assert Path("autotune.db").read_bytes() == before
    assert invoke("search", "--resume", "line", "--progress", "off").exit_code == 0
    assert "  complete  " in invoke("list").stdout


def test_a_search_that_is_running_is_not_deleted(running: Forked) -> None:
    result = invoke("delete", "line", "--yes")
    assert result.exit_code == 6
    assert result.stderr == (
        "error: search 'line' is being run by another process; wait for it or stop it\n"
    )
    assert invoke("show", "line").exit_code == 0


def test_a_deleted_search_can_begin_again(folder: Path) -> None:
    assert invoke(*COMMAND).exit_code == 0
    assert invoke("delete", "line", "--yes").exit_code == 0
    again = invoke(*COMMAND, "--seed", "4")
    assert (again.exit_code, "goes on after" in again.stderr) == (0, False)


def test_a_second_ctrl_c_aborts_and_the_search_can_still_go_on(
    running: Forked,
) -> None:
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "go on with: autotune search --resume line" in err.splitlines()[-1]
    result = invoke("search", "--resume", "line", "--progress", "off")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "look    autotune dashboard"


def planned(*args: str) -> tuple[str, str]:
    """Return the name of the search that a dry run plans, and what it says on stderr."""
    result = invoke(*COMMAND, "--dry-run", "--json", *args)
    assert result.exit_code == 0, result.stderr
    name = json.loads(result.stdout)["settings"]["name"]
    assert name["source"] == "--search"
    return name["value"], result.stderr


def test_search_names_the_search(folder: Path) -> None:
    assert planned("--search", "first") == ("first", "")


@pytest.mark.parametrize("form", [("--study", "first"), ("--study=first",)], ids=["two", "one"])
def test_the_old_name_study_still_names_the_search(form: tuple[str, ...], folder: Path) -> None:
    notice = "--study is now --search; --study will be removed in the next release\n"
    assert planned(*form) == ("first", notice)


@pytest.mark.parametrize("silent", [("--quiet",), ("--progress", "json")], ids=" ".join)
def test_the_old_name_is_silent_where_a_program_reads(
    silent: tuple[str, ...], folder: Path
) -> None:
    assert planned("--study", "first", *silent) == ("first", "")


def test_the_old_and_the_new_name_together_are_refused(folder: Path) -> None:
    result = invoke(*COMMAND, "--study", "first", "--search", "second")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: --study is the old name of --search; give --search alone; "
        "see autotune search --help\n"
    )


@pytest.mark.parametrize("command", ["search", "worker"])
def test_help_tells_the_new_name_alone(command: str) -> None:
    text = invoke(command, "--help").stdout
    assert "--search NAME" in text
    assert "--study" not in text
