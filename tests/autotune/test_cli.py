"""The command as a whole: what it loads, how it helps, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from autotune import __version__
from autotune.cli import main
from autotune.cli.shared import failures
from autotune.cli.shared.group import COMMANDS, _color
from autotune.errors import MissingExtra, StorageError
from autotune.studies.spec import parse

HEAVY = ("torch", "optuna", "sqlalchemy", "rich", "pydantic", "yaml", "numpy", "streamlit")


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def loaded(*args: str) -> list[str]:
    """Return which heavy modules a run of the command loads."""
    code = f"""
import json, sys
from autotune.cli import main
try:
    main({list(args)!r})
except SystemExit as end:
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    print("\\n" + json.dumps([end.code, heavy]))
"""
    code_and_heavy = json.loads(python(code).stdout.splitlines()[-1])
    assert code_and_heavy[0] == 0
    return code_and_heavy[1]


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("--version",),
        ("search", "--help"),
        ("bench", "step", "--help"),
        ("list", "models"),
        ("completion", "zsh"),
    ],
    ids=" ".join,
)
def test_what_needs_nothing_loads_nothing_heavy(args: tuple[str, ...]) -> None:
    assert loaded(*args) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_a_sentence_and_an_example(name: str) -> None:
    text = invoke(name, "--help").stdout
    sentence = text.split("\n\n")[1].strip()
    assert sentence.endswith(".")
    assert "Example: " in text
    assert f"autotune {name}" in text.split("Example: ")[1]


def test_an_example_is_never_wrapped() -> None:
    examples = [line for line in invoke("search", "--help").stdout.splitlines() if "Exam" in line]
    assert examples[0].endswith("--minutes 1")


@pytest.mark.parametrize("name", ["search", "show", "compare", "export"])
def test_help_says_that_betas_are_close_to_one(name: str) -> None:
    assert "betas are close to one" in " ".join(invoke(name, "--help").stdout.lower().split())


def test_help_states_the_defaults_a_search_has() -> None:
    wrapped = invoke("search", "--help").stdout
    text = " ".join(wrapped.split()).replace("adamw- win2", "adamw-win2")
    spec = parse({"model": "gpt-nano"})
    assert f"Fresh seeds to judge on. [default: {spec.seeds}]" in text
    assert f"Trials to run at the same time. [default: {spec.workers}]" in text
    assert f"described by autotune list engines. [default: {spec.engine}]" in text
    assert f"as optuna:CmaEsSampler. [default: {spec.sampler}]" in text
    assert f"as optuna:MedianPruner. [default: {spec.pruner}]" in text
    assert f"Seed of all random choices. [default: {spec.seed}]" in text
    assert f"repeat for several. [default: {', '.join(spec.optimizers)}]" in text
    assert f"[default: {spec.budget.resolved.runs:g} when no limit is given]" in text


def test_no_command_shows_the_help_and_ends_with_2() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_the_version_is_the_packages() -> None:
    assert invoke("--version").stdout == f"autotune {__version__}\n"


def test_an_unknown_command_suggests() -> None:
    result = invoke("serach")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: unknown command 'serach'; did you mean 'search'? (known: bench, compare, "
        "completion, dashboard, delete, doctor, export, import, list, refine, report, search, "
        "serve, show, tell, token, validate, worker); see autotune --help\n"
    )


def test_an_unknown_option_suggests() -> None:
    result = invoke("search", "--trails", "3")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: no such option '--trails'; did you mean '--trials'?; see autotune search --help\n"
    )


def test_a_wrong_choice_names_the_choices() -> None:
    result = invoke("completion", "tcsh")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'; "
        "see autotune completion --help\n"
    )


def failing(error: BaseException) -> click.Group:
    """Return the real group with one command, which raises."""

    @click.command("fail")
    def command() -> None:
        raise error

    class One(type(main)):  # type: ignore[misc]
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return command

        def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
            return args[0], command, args[1:]

    return One("autotune")


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (StorageError("database is locked"), 4, "error: database is locked\n"),
        (MissingExtra("it needs x"), 3, "error: it needs x\n"),
        (
            RuntimeError("boom\nand more"),
            1,
            "error: RuntimeError: boom and more; run again with --debug for the traceback\n",
        ),
        (KeyError(), 1, "error: KeyError; run again with --debug for the traceback\n"),
    ],
    ids=["storage", "extra", "unexpected", "silent"],
)
def test_a_failure_is_one_sentence_and_a_code(error: Exception, exit_code: int, said: str) -> None:
    result = CliRunner().invoke(failing(error), ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", said)


def test_ctrl_c_anywhere_ends_with_130() -> None:
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == failures.INTERRUPTED
    assert result.stderr.splitlines()[-1] == "interrupted"


def test_debug_shows_the_traceback_before_the_sentence(tmp_path: Path) -> None:
    result = invoke("show", "--debug", "--storage", str(tmp_path / "none.db"))
    assert result.exit_code == 6
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: no searches")


def test_the_variable_for_debugging_shows_the_traceback_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOTUNE_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(failing(ValueError("x")), ["fail"]).stderr


def test_a_reader_that_went_away_is_not_an_error() -> None:
    code = "from autotune.cli import main; main(['list', 'optimizers'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert "_AUTOTUNE_COMPLETE" in result.stdout


ADAN = [f"adan-{form}" for form in ("grokfast", "mars", "nema", "sf", "win", "win2")]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("autotune search --model resnet", ["resnet-mini", "resnet50"]),
        ("autotune search --optimizer adan-", ADAN),
        ("autotune export x --as ya", ["yaml"]),
        ("autotune sea", ["search"]),
    ],
    ids=["model", "optimizer", "export", "command"],
)
def test_names_complete_without_loading_torch(words: str, completed: list[str]) -> None:
    code = (
        "import sys; from autotune.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    count = str(len(words.split()) - 1)
    ended = python(code, _AUTOTUNE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert [line.partition(",")[2] for line in ended.stdout.splitlines()] == completed
    assert ended.stderr == ""


def test_no_color_and_dumb_terminals_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert _color() is True
    monkeypatch.setenv("NO_COLOR", "0")
    assert _color() is False


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2"])
def test_the_dashboard_is_not_shown_to_other_machines_unasked(host: str) -> None:
    result = invoke("dashboard", "--host", host)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: --host must be one of 127.0.0.1, ::1, localhost, got {host}; the dashboard asks "
        "nobody for a password: add --allow-remote to show it to others\n"
    )
