"""What is said while a search runs, in each form."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from dataclasses import replace

import pytest

from autotune.cli.views import format
from autotune.cli.views.progress import listening, started_line
from autotune.search.events import Event, Notice, SearchStarted, Spent, TrialEnded, TrialStarted
from autotune.studies.records import Role, TrialRecord, TrialState
from autotune.testing.trials import search_trial

STARTED = SearchStarted(
    name="gpt-nano",
    storage="sqlite:///autotune.db",
    task={"data": "stdlib-lm", "precision": "float32"},
    optimizers=("adan", "adamw"),
    rungs=(3, 9, 27),
    resumed=0,
    workers=2,
    engine="processes",
)


def trial(**facts: object) -> TrialRecord:
    known = {
        "id": 1,
        "number": 7,
        "hyper": {"lr": 1e-3},
        "target": 27,
        "state": TrialState.COMPLETE,
        "step": 27,
        "loss": 1.84123,
        "seconds": 38.2,
    }
    return search_trial(**known | facts)


def spent(stage: str, left: float | None = 200.0) -> Spent:
    return Spent(
        stage=stage,
        runs={"adan": 3.0, "adamw": 2.5},
        planned={"adan": 20.0, "adamw": 20.0},
        seconds=60.0,
        left=left,
        best={"adan": 1.8412},
    )


EVENTS: tuple[Event, ...] = (
    STARTED,
    spent("search", None),
    TrialStarted(optimizer="adan", trial=trial(), stop=27),
    TrialEnded(optimizer="adan", trial=trial(), best=True),
    spent("search"),
    TrialEnded(
        optimizer="adan",
        trial=trial(state=TrialState.DIVERGED, step=3, loss=None, reason="loss was nan\nmore"),
    ),
    spent("judge"),
    Notice(text="the budget ended early"),
)


def test_data_that_have_no_name_are_not_spoken_of():
    started = replace(STARTED, task={"model": "command"})
    assert started_line(started).partition(": ")[2].startswith("adan, adamw, rungs at 3, 9, 27")


@pytest.mark.parametrize("form", ["plain", "rich"])
def test_why_a_trial_failed_is_said_once(capsys, form):
    failed = trial(state=TrialState.FAILED, step=0, loss=None, reason="no disk")
    with listening(form) as listen:
        listen(TrialEnded(optimizer="adan", trial=failed))
        listen(Notice(text="adan trial 7: no disk"))
        listen(Notice(text="adan trial 7: another reason"))
    assert capsys.readouterr().err.count("no disk") == 1


def said(form: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with listening(form) as listen:
        for event in EVENTS:
            listen(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_plain_progress_is_one_line_a_trial_and_one_a_stage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said("plain", capsys) == [
        "gpt-nano: adan, adamw on stdlib-lm, float32, rungs at 3, 9, 27 steps, "
        "2 workers (processes)",
        "stage: search",
        "adan trial 7: complete at step 27/27, loss 1.8412, 38.2 s  best",
        "adan trial 7: diverged at step 3/27, loss was nan, 38.2 s",
        "stage: judge, about 3 min 20 s left",
        "the budget ended early",
    ]


def test_a_stage_is_told_before_its_first_trial_and_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    select = {"optimizer": "adan", "trial": trial(role=Role.SELECT, number=8)}
    searching = {"optimizer": "adamw", "trial": trial()}
    with listening("plain") as listen:
        listen(spent("search"))
        listen(TrialStarted(**select, stop=27))
        listen(TrialEnded(**searching))
        listen(spent("search"))
        listen(TrialEnded(**select))
        listen(spent("select"))
    assert capsys.readouterr().err.splitlines() == [
        "stage: search, about 3 min 20 s left",
        "stage: select, about 3 min 20 s left",
        "adamw trial 7: complete at step 27/27, loss 1.8412, 38.2 s",
        "adan trial 8 (select): complete at step 27/27, loss 1.8412, 38.2 s",
    ]


def test_the_first_stage_is_told_before_a_trial_that_ends_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with listening("plain") as listen:
        listen(TrialStarted(optimizer="adan", trial=trial(), stop=27))
        listen(TrialEnded(optimizer="adan", trial=trial()))
        listen(spent("search"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["stage", "adan trial 7"]


def test_auto_is_plain_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert said("auto", capsys) == said("plain", capsys)


def test_json_progress_is_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    events = [json.loads(line) for line in said("json", capsys)]
    assert [event["event"] for event in events][:3] == ["search_started", "spent", "trial_started"]
    assert events[3]["data"]["trial"]["number"] == 7


def test_no_progress_is_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert said("off", capsys) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


def drawn(form: str, *events: Event) -> str:
    """Return what a terminal is sent."""
    with redirect_stderr(Terminal()) as screen, listening(form) as listen:
        for event in events:
            listen(event)
    return screen.getvalue()


def test_a_terminal_gets_a_bar_for_each_optimizer() -> None:
    text = drawn("auto", *EVENTS)
    assert "3.0/20.0 full runs" in text
    assert "2.5/20.0 full runs" in text
    assert "best 1.8412" in text
    assert "about 3 min 20 s left" in text


def test_a_terminal_is_told_that_the_time_left_is_not_known_yet() -> None:
    assert "estimating the time left" in drawn("rich", spent("search", None))


def test_bars_are_colored_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    colored = "\x1b[33m"
    assert colored in drawn("rich", spent("search"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert colored not in drawn("rich", spent("search"))


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert drawn("auto", spent("search")) == "stage: search, about 3 min 20 s left\n"


def test_names_in_brackets_are_not_markup() -> None:
    assert "betas[1] is [bold]" in drawn("rich", Notice(text="betas[1] is [bold]"))


@pytest.mark.parametrize(
    ("beta", "written"),
    [
        (0.9, "0.9"),
        (0.98, "0.98"),
        (0.913456, "0.913"),
        (0.99871234, "0.9987"),
        (0.9999612, "0.999961"),
        (0.0, "0"),
        (1.0, "1"),
    ],
    ids=str,
)
def test_a_beta_keeps_two_digits_of_its_distance_from_one(beta: float, written: str) -> None:
    assert format.close_to_one(beta) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "-"),
        (0.1234, "0.1 s"),
        (59.2, "59.2 s"),
        (59.7, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (7260.0, "2 h 01 min"),
    ],
    ids=str,
)
def test_a_time_span_shows_two_units(seconds: float | None, written: str) -> None:
    assert format.duration(seconds) == written
