"""One run of a user's command: what it reports, how it is paused, and how it ends."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from autotune.arguments import template
from autotune.arguments.template import Filling
from autotune.command import program as programs
from autotune.command.channel import Asked, Channel
from autotune.command.columns import TRIAL, Rows
from autotune.command.environment import environment
from autotune.command.log import Log, last_lines
from autotune.command.program import Program
from autotune.command.said import LINE, Malformed, Said
from autotune.tasks.base import Assignment, BadMeasurement, Measured, Measurement

FOLDER = "commands"  # within a search's: logs and settings of its trials
POLL = 0.05  # seconds between looks for an end, an interrupt and new rows of a file
LEAVING = 2.0  # seconds for a script to end that was told so by autotune.report
_WAITING = 10_000  # reports that may wait to be read; then the command's output waits
# What programs say that had too little memory on their device.
_NO_MEMORY = ("out of memory", "OutOfMemoryError", "CUBLAS_STATUS_ALLOC_FAILED")
_NOT_RUN = (126, 127)  # exit codes of the keeper, as of a shell, for what it could not start


def log_of(folder: Path, label: str) -> Path:
    """Return where the log of a trial's command is.

    Args:
        folder: The search's.
        label: Of the trial, as `Assignment` has it.
    """
    return folder / FOLDER / f"{label}.log"


class CommandTraining:
    """A command that runs for one trial; it starts when it is first asked to advance."""

    saved = False  # another process takes its steps again

    def __init__(
        self,
        command: Sequence[str],
        report: str | None,
        metric: Mapping[str, str],
        assignment: Assignment,
        *,
        brief: bool = True,
    ) -> None:
        self._command, self._report, self._metric = command, report, metric
        self._of, self._brief = assignment, brief
        self._own = None if assignment.folder else tempfile.mkdtemp(prefix="autotune-")
        self._folder = Path(self._own or assignment.folder or "")
        self._came: queue.Queue[Said | Asked | Malformed] = queue.Queue(_WAITING)
        self._waits: Asked | None = None  # a report that has no answer yet
        self._program: Program | None = None
        self._channel: Channel | None = None
        self._rows: Rows | None = None
        self._read: deque[Said] = deque()  # rows of its file that are not yet told
        self._stopped = self._over = False
        self._step = 0

    def advance(self, interrupted: Callable[[], bool]) -> Measured | None:
        """Let it go on until it reports; None where ``interrupted`` came first.

        Raises:
            BadMeasurement: It ended before its last step, or reported what is no measurement.
            MemoryError: It ended for want of memory.
            SpecError: The setting has no words in its framework.
        """
        self._answer(go_on=True)
        program = self._program or self._start()
        while True:
            ended = program.code is not None
            if ended:
                program.settle()
            found = self._next(ended=ended)
            if found is not None:
                return found
            if ended:
                raise self._failure(program)
            if interrupted():
                return None

    def state(self) -> Mapping[str, Any]:
        """Return nothing: what a command does cannot be saved."""
        return {}

    def pause(self) -> None:
        """Leave it waiting for an answer, or stop its processes where it waits for none."""
        if self._program is not None and self._waits is None:
            self._program.pause()
            self._stopped = True

    def resume(self) -> None:
        """Let its processes go on; a report is answered when it is asked to advance."""
        if self._program is not None and self._stopped:
            self._program.resume()
            self._stopped = False

    def close(self) -> str | None:
        """End the command and all it started; return what went wrong, if anything did."""
        if self._over:
            return None
        self._over = True
        said = self._end(self._program) if self._program else None
        if self._channel is not None:
            self._channel.close()
        self._refuse_late()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)
        return said

    def _report_path(self) -> Path:
        return Path((self._report or "").replace(TRIAL, self._of.label))

    def _start(self) -> Program:
        words = template.filled(self._command, self._filling())
        if self._report is not None:
            self._rows = Rows(self._report_path(), self._metric)
        log = Log(log_of(self._folder, self._of.label))
        self._channel = Channel(self._take)
        more = {"AUTOTUNE_TRIAL": self._of.label, "AUTOTUNE_SETTING": str(self._file("json"))}
        self._program = Program(
            words,
            mark=self._channel.mark,
            environment={**environment(os.environ), **more},
            log=log,
            take=self._take_line,
        )
        return self._program

    def _filling(self) -> Filling:
        """Write the setting's files, and return what the words of the command stand for."""
        of, build = self._of, self._of.build
        setting: dict[str, Any] = {
            "optimizer": build.name,
            "hyper": {name: _plain(value) for name, value in build.hyper.items()},
            "warmup": build.warmup,
            "steps": of.steps,
            "seed": of.seed,
            "trial": of.label,
        }
        self._file("json").parent.mkdir(parents=True, exist_ok=True)
        self._file("json").write_text(json.dumps(setting, indent=2) + "\n", encoding="utf-8")
        self._file("yaml").write_text(yaml.safe_dump(setting, sort_keys=False), encoding="utf-8")
        return Filling(
            optimizer=build.name,
            hyper=build.hyper,
            warmup=build.warmup,
            steps=of.steps,
            seed=of.seed,
            trial=of.label,
            json=str(self._file("json")),
            yaml=str(self._file("yaml")),
            brief=self._brief,
        )

    def _file(self, ending: str) -> Path:
        return (self._folder / FOLDER / f"{self._of.label}.{ending}").absolute()

    def _take_line(self, came: Said | Malformed) -> None:
        if self._report is None:  # with a file, the file alone counts
            self._take(came)

    def _take(self, came: Said | Asked | Malformed) -> None:
        """Keep what came; called by other threads, which wait while too much waits already."""
        while not self._over:
            try:
                self._came.put(came, timeout=POLL)
            except queue.Full:
                continue
            return
        if isinstance(came, Asked):
            came.answer(go_on=False)

    def _next(self, *, ended: bool) -> Measured | None:
        """Return the next measurement, after a moment's wait; None if there is none."""
        wait = 0.0 if ended else POLL
        came: Said | Asked | Malformed
        try:
            if self._rows is not None and not self._read:
                self._read.extend(self._rows.read(over=ended))
            came = self._read.popleft() if self._read else self._came.get(timeout=wait)
        except queue.Empty:
            return None
        except Malformed as error:
            raise BadMeasurement(str(error)) from None
        if isinstance(came, Malformed):
            raise BadMeasurement(str(came))
        if isinstance(came, Asked):
            self._waits, came = came, came.said
        self._step = came.step
        return Measured(came.step, Measurement(loss=came.loss, accuracy=came.accuracy))

    def _answer(self, *, go_on: bool) -> None:
        if self._waits is not None:
            self._waits.answer(go_on)
            self._waits = None

    def _end(self, program: Program) -> str | None:
        """End a command that was started: one that has measured all gets time to end by itself."""
        whole, asked = self._step >= self._of.steps, self._waits is not None
        self.resume()
        self._answer(go_on=whole)
        if whole or asked:
            program.wait(programs.GRACE if whole else LEAVING)
        killed = program.end()
        ignored = f"the command ignored SIGTERM for {programs.GRACE:g} s and was killed"
        return "; ".join(filter(None, (ignored if killed else None, program.trouble))) or None

    def _refuse_late(self) -> None:
        """Let no sender wait for an answer that nobody gives."""
        while not self._came.empty():
            came = self._came.get()
            if isinstance(came, Asked):
                came.answer(go_on=False)

    def _failure(self, program: Program) -> Exception:
        """Return why a command that has ended did not measure its last step."""
        code = program.code or 0
        lines = last_lines(log_of(self._folder, self._of.label))
        if code and any(sign in line for line in lines for sign in _NO_MEMORY):
            return MemoryError(lines[-1])
        after = f"after its report of step {self._step}" if self._step else "without a report"
        if code in _NOT_RUN and not self._step:
            why = "the command could not be run"
        elif code:
            why = f"the command ended with {_cause(code)} {after}"
        elif self._step:
            why = (
                f"the command ended with exit code 0 {after}; its last report must be of step "
                f"{self._of.steps}"
            )
        else:
            how = (
                f"its file {self._report_path()}"
                if self._report
                else f"lines as '{LINE}' or autotune.report"
            )
            why = f"the command ended with exit code 0 {after}; it must report by {how}"
        said = f"; it last printed: {lines[-1]}" if lines else "; it printed nothing"
        return BadMeasurement(why + said, output=lines)


def _cause(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
