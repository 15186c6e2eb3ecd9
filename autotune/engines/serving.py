"""What a worker process does: it takes jobs from a pipe, runs them and answers with reports."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from autotune import devices
from autotune.command.environment import environment
from autotune.engines import gpus, groups
from autotune.engines.hangs import SharedPulse
from autotune.engines.lines import whole_lines
from autotune.errors import SIGNALS, Abort
from autotune.tasks.user_modules import help_spawned
from autotune.training.job import Job, Outcome, Report
from autotune.training.process import loading, start_worker
from autotune.training.pulse import Phase

TOLD = 128 + signal.SIGTERM  # exit code of a worker that was told to end; a task may exit with 0
SPOILT = 3  # exit code of a worker that cannot use its GPU any more
RELEASE = "release"  # message to an idle worker: give back a GPU's memory
SAFE_PATH = "PYTHONSAFEPATH"  # variable of Python: it imports nothing from the working directory
CLOSE = "close"  # likewise: close the trainings that are paused there


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let a child start with its signals deferred, until ``Manners`` has handlers for them."""
    resource_tracker.ensure_running()  # where it starts, it lets the signals through again
    if not hasattr(signal, "pthread_sigmask"):  # on Windows, which has no such signals either
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Manners:
    """How a worker takes signals: SIGTERM ends it after the step it is in, the others do nothing.

    What sends a signal to every process sends it to the command as well, and what then happens is
    the command's to decide. A child that the task forks takes signals as any process does.
    """

    def __init__(self, pipe: Connection) -> None:
        self.leaving = False  # whether the worker was told to end
        self.idle = False  # whether it may end at once
        self._pipe = pipe
        self._held = threading.local()  # the signals that a forking thread lets through
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._hold, after_in_parent=self._release, after_in_child=self._forked
            )

    def claim(self) -> None:
        """Take the signals, also from a task that has handlers of its own."""
        for number in SIGNALS:
            if signal.getsignal(number) != self._take:
                signal.signal(number, self._take)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self.leaving = True
            if self.idle:
                raise Abort

    def _hold(self) -> None:
        """Defer signals while a child is forked: one before ``_forked`` would be lost."""
        self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)

    def _forked(self) -> None:
        """Give a child the usual handlers, and no share of the pipe: it would seem alive in it."""
        with suppress(ValueError):  # signals are a main thread's
            for number in SIGNALS:
                usual = number == signal.SIGINT
                signal.signal(number, signal.default_int_handler if usual else signal.SIG_DFL)
        self._release()
        with suppress(OSError):
            self._pipe.close()


def serve(pipe: Connection, name: str, pulse: SharedPulse, share: float | None = None) -> None:
    """Run jobs until the coordinator is gone; the main function of a worker.

    ``share``: the fraction of its GPU's memory that it may take.
    """
    groups.lead()
    manners = Manners(pipe)
    # EOFError and OSError: the coordinator is gone, and nobody would read another report.
    with ExitStack() as stack, suppress(Abort, EOFError, OSError):
        manners.claim()
        # This process was spawned; what a task starts is forked, as in a program of the user's own.
        multiprocessing.set_start_method(None, force=True)
        _own_output()
        _usual_path()
        start_worker()
        from autotune.training import paused

        stack.callback(paused.close_all)
        if share is not None:
            gpus.limit(share)
        while not manners.leaving:
            manners.idle = True
            try:
                job: Any = pipe.recv()
            finally:
                manners.idle = False
            if isinstance(job, Job):
                _run(job, pipe, name, pulse, manners)
            elif job == CLOSE:
                paused.close_all()
            elif job == RELEASE:
                devices.release()
    if manners.leaving:
        sys.exit(TOLD)


def _run(job: Job, pipe: Connection, name: str, pulse: SharedPulse, manners: Manners) -> None:
    with loading():
        from autotune.training.runner import perform

    help_spawned(job.task.get("model"))

    doing = Phase.IDLE

    def asked() -> bool:
        return _asked_to_stop(pipe) or manners.leaving

    def tell(phase: Phase) -> None:
        nonlocal doing
        pulse(phase)
        if phase is not doing:
            doing = phase
            manners.claim()

    try:
        for report in perform(job, asked, name, tell):
            pipe.send(_unblamed(report) if manners.leaving else report)
            if report.spoilt:
                _leave()
    finally:
        pulse(Phase.IDLE)


def _leave() -> None:
    """End this process at once: what frees a GPU's memory would raise, or hang, after its error."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(SPOILT)


def _unblamed(report: Report) -> Report:
    """Return a failure as a loss: what told the worker to end told the task's processes, too."""
    if report.outcome is not Outcome.FAILED:
        return report
    return replace(report, outcome=Outcome.LOST, blame=False)


def _asked_to_stop(pipe: Connection) -> bool:
    """Return whether a message came: while a job runs, the only one is to stop.

    Raises Abort if the coordinator is gone: a checkpoint that nobody records must not replace the
    recorded one.
    """
    try:
        return pipe.poll() and bool(pipe.recv())
    except (EOFError, OSError):
        raise Abort from None


def _usual_path() -> None:
    """Let the processes that a task starts import as the user has it; this one is started."""
    usual = environment(os.environ).get(SAFE_PATH)
    os.environ.pop(SAFE_PATH, None)
    if usual is not None:
        os.environ[SAFE_PATH] = usual


def _own_output() -> None:
    """Send what a task prints to stderr, in whole lines: stdout is the command's result."""
    os.dup2(2, 1)
    sys.stdout, sys.stderr = whole_lines(1), whole_lines(2)
