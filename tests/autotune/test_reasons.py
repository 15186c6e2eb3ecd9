"""Why a process starts no trial: what holds now, the first reason first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.pruners.ladder import Ladder
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search.reasons import LEAVING, Reason, reason
from autotune.space.spaces import build
from autotune.studies.records import Command, Point, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.testing.trials import search_trial

SPACE = build({"lr": ("log", 1e-4, 1e-1)}, {"lr": 1e-3, "weight_decay": 0.0}, {})


HYPER = {"lr": 1e-3}


def study(*ends: TrialState) -> StudyState:
    state = StudyState(
        study=StudyRecord(id=0, search="net", optimizer="adan", space={}),
        space=SPACE,
        presets=[],
        policy=Policy.of(parse({"model": "net", "optimizers": ["adan"]})),
        ladder=Ladder(steps=(3, 9), first=3),
    )
    for number, end in enumerate(ends):
        state.keep(
            search_trial(number, id=number, study=0, target=9, state=end, step=0, hyper=HYPER)
        )
    return state


@pytest.mark.parametrize(
    ("halted", "command", "late", "expected"),
    [
        (False, Command.CONTINUE, False, None),
        (False, Command.CONTINUE, True, Reason.LATE),
        (False, Command.PAUSE, True, Reason.PAUSED),
        (False, Command.STOP, True, Reason.STOPPED),
        (True, Command.PAUSE, True, Reason.HALTED),
        (True, Command.CONTINUE, False, Reason.HALTED),
    ],
)
def test_who_is_told_to_leave_or_wait_does_not_say_that_it_is_late(
    halted: bool, command: Command, late: bool, expected: Reason | None
) -> None:
    assert reason([study()], halted=halted, command=command, late=late) is expected


def test_only_being_told_to_end_makes_a_process_leave() -> None:
    assert {Reason.HALTED, Reason.STOPPED} == LEAVING


def test_a_search_without_hope_has_some_as_soon_as_a_loss_appears() -> None:
    state = study(*[TrialState.FAILED] * 3, TrialState.RUNNING)

    def why(command: Command = Command.CONTINUE) -> Reason | None:
        return reason([state], halted=False, command=command, late=False)

    assert why() is Reason.HOPELESS
    assert why(Command.PAUSE) is Reason.PAUSED
    running = replace(state.trials[3], state=TrialState.RUNNING)
    state.keep(running, [Point(step=3, seconds=1.0, loss=0.5)])
    assert why() is None
