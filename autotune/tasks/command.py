"""A command of the user's as a task: it trains by itself, and its reports are the measurements."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.command import columns
from autotune.devices import CPU, Device
from autotune.errors import SpecError
from autotune.studies.names import COMMAND as MODEL
from autotune.tasks.base import LOOP, Assignment, Training
from autotune.tasks.command_files import contents
from autotune.tasks.command_training import CommandTraining
from autotune.tasks.function import MODULE
from autotune.tasks.surroundings import outside

ARGS, BRIEF = "args", "without switches that are off"  # a fact, and what it says


@dataclass(frozen=True, kw_only=True)
class CommandLoop:
    """A command that trains, from its first step to its last, for each trial anew.

    Args:
        command: Its words, with those in braces that ``autotune.arguments.template`` fills.
        steps: Of a full run, in the command's own count.
        report: File that it writes its measurements to; None: it reports by itself.
        metric: Columns of that file by what they hold.
        batch_size: Samples of a batch, for what is written of a setting; None: not told.
        device: Where it is expected to compute.
        brief: Whether ``{args}`` leaves out switches that are off; searches that were begun before
            it did go on with all of them.
    """

    command: tuple[str, ...]
    steps: int
    report: str | None = None
    metric: Mapping[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    device: Device = CPU
    brief: bool = True

    name = MODEL

    def facts(self) -> dict[str, Any]:
        """Return the files that the command names among what identifies it."""
        files = {MODULE + name: content for name, content in contents(self.command).items()}
        size = {} if self.batch_size is None else {"batch_size": self.batch_size}
        return {
            "model": MODEL,
            LOOP: "command",
            "command": shlex.join(self.command),
            "steps": self.steps,
            **size,
            **({ARGS: BRIEF} if self.brief and self._says_all else {}),
            **files,
            **self.device.identity(),
        }

    @property
    def _says_all(self) -> bool:
        return any("{args" in word for word in self.command)

    def look(self) -> None:
        """Refuse a command that cannot be started here; raises SpecError."""
        if not hasattr(os, "killpg"):
            raise SpecError(
                "a command needs process groups, which this system lacks; run the search on Linux "
                "or macOS"
            )
        if "{" not in self.command[0]:
            with outside():
                _refuse_missing(self.command[0])

    def on(self, device: Device) -> CommandLoop:
        """Return the task on a device."""
        return replace(self, device=device)

    def begin(self, assignment: Assignment) -> Training:
        """Begin a trial; the command starts when it is asked to advance."""
        return CommandTraining(self.command, self.report, self.metric, assignment, brief=self.brief)


def task(
    *,
    command: Sequence[str] | None,
    report: str | None,
    metric: Mapping[str, str] | None,
    data: str | None,
    steps: int | None,
    batch_size: int | None,
    brief: bool = True,
) -> CommandLoop:
    """Return the task of a command; raises SpecError for what it cannot use."""
    if not command:
        raise SpecError("model 'command' needs a command: autotune search ... -- python train.py")
    if steps is None:
        raise SpecError(
            "a command needs the number of its steps, at which its last report is: give --steps N "
            "(in Python, steps=N), and {steps} to the command where it can be told"
        )
    if data is not None:
        raise SpecError(f"a command brings its own data; drop data={data!r}")
    if report is not None:
        columns.check(report, metric or {})
    elif metric:
        raise SpecError(
            "metric names columns of a file, but there is none; add --report FILE (in a spec, "
            "report:)"
        )
    return CommandLoop(
        command=tuple(command),
        steps=steps,
        report=report,
        metric=dict(metric or {}),
        batch_size=batch_size,
        brief=brief,
    )


def _refuse_missing(program: str) -> None:
    if shutil.which(program) is not None:
        return
    if os.path.isfile(program):
        raise SpecError(
            f"the command's program '{program}' is not executable; make it so: chmod +x "
            f"{shlex.quote(program)}, or name what runs it, as in: bash {shlex.quote(program)}"
        )
    raise SpecError(
        f"cannot find the command's program '{program}': it is neither on the PATH nor a file "
        "from the working directory"
    )
