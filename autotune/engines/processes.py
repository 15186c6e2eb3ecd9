"""Run trials in processes of this machine: the default engine.

Workers never open the database: they get jobs and send reports through a pipe. Each has one thread,
because two OpenMP pools on the same cores block each other (30 times slower, measured).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from autotune.training.job import Job, Outcome, Report, empty_report
from autotune.training.process import start_worker

GRACE = 10.0  # seconds until every worker has ended, by itself or by force
REAPING = 1.0  # of these, seconds for the system to end killed workers

ENVIRONMENT = {
    # Else the order of a set differs from worker to worker, and with it what is made of one.
    "PYTHONHASHSEED": "0",
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    ),
    # Else glibc returns freed gradients to the system and gets the memory anew at each step, which
    # took a tenth of a ResNet-50 step.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


@dataclass(kw_only=True)
class _Worker:
    name: str
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


class Processes:
    """Run trials in worker processes on this machine, one thread each; the default."""

    def __init__(self, workers: int = 2) -> None:
        self.slots = workers
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._start(i) for i in range(workers)]
        self._lost: list[Report] = []  # of killed jobs, not yet read

    def submit(self, job: Job) -> None:
        """Hand a job to an idle worker."""
        place = next(i for i, worker in enumerate(self._workers) if worker.job is None)
        worker = self._workers[place]
        if worker.pipe.closed or not worker.process.is_alive():
            worker = self._workers[place] = self._start(place)
        worker.job = job
        # A dead worker is noticed when reports are read.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(job)

    def reports(self, timeout: float) -> list[Report]:
        """Return what workers sent, and a LOST report for each job whose worker died."""
        told, self._lost = self._lost, []
        busy = {worker.pipe: (worker, worker.job) for worker in self._workers if worker.job}
        ready = wait(list(busy), 0 if told else timeout) if busy else []
        return told + [self._read(*busy[pipe]) for pipe in ready]  # type: ignore[index]

    def interrupt(self, trial: int | None = None) -> None:
        """Ask busy workers to save and stop after the step they are in."""
        for worker in self._workers:
            if worker.job and trial in (None, worker.job.trial):
                with suppress(BrokenPipeError, ConnectionResetError):
                    worker.pipe.send("interrupt")

    def kill(self, trial: int | None = None) -> None:
        """Kill busy workers; their jobs are reported as LOST."""
        for worker in self._workers:
            if worker.job and trial in (None, worker.job.trial):
                lost = self._bury(worker, worker.job, "its worker did not answer", timeout=0)
                self._lost.append(lost)

    def close(self) -> None:
        """End all workers within GRACE seconds; busy ones are killed."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.job:
                worker.process.kill()
        _end([worker.process for worker in self._workers], GRACE - REAPING)

    def _start(self, index: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        name = f"{os.getpid()}-{index}"
        process = self._context.Process(target=serve, args=(theirs, name), daemon=True, name=name)
        with _worker_environment(), _without_main():
            process.start()
        theirs.close()
        return _Worker(name=name, process=process, pipe=ours)

    def _read(self, worker: _Worker, job: Job) -> Report:
        try:
            report: Report = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker, job)
        if report.outcome is not Outcome.PROGRESS:
            worker.job = None
        return report

    def _bury(
        self, worker: _Worker, job: Job, reason: str | None = None, timeout: float = GRACE
    ) -> Report:
        """End a worker and report its job as LOST; ``submit`` starts a new worker."""
        _end([worker.process], timeout)
        worker.pipe.close()
        worker.job = None
        reason = reason or f"its worker died ({_cause(worker.process.exitcode)})"
        return empty_report(job, Outcome.LOST, reason, worker=worker.name)


def _end(processes: Iterable[BaseProcess], timeout: float) -> None:
    """Wait ``timeout`` seconds in all for processes to end, then kill those that did not."""
    deadline = time.monotonic() + timeout
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
    deadline = max(deadline, time.monotonic()) + REAPING
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


def _cause(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def _worker_environment() -> Iterator[None]:
    """Set variables that libraries read only when a process loads them."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a child from running the caller's script once more: a job names all that it needs."""
    main = sys.modules["__main__"]
    names = vars(main).keys() & {"__file__", "__spec__"}
    known: dict[str, Any] = {name: vars(main).pop(name) for name in names}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(known)


def serve(pipe: Connection, name: str) -> None:
    """Run jobs until the coordinator is gone; the main function of a worker."""
    os.dup2(2, 1)  # a user's print() must not mix with the command's output
    start_worker()
    from autotune.training.runner import perform

    try:
        while True:
            job: Any = pipe.recv()
            if isinstance(job, Job):
                for report in perform(job, lambda: _asked_to_stop(pipe), name):
                    pipe.send(report)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _asked_to_stop(pipe: Connection) -> bool:
    """Return whether a message came: while a job runs, the only one is to stop.

    Raises SystemExit if the coordinator is gone: a checkpoint that nobody records must not replace
    the recorded one. No handler takes SystemExit for a failure of the task.
    """
    try:
        return pipe.poll() and bool(pipe.recv())
    except (EOFError, OSError):
        raise SystemExit from None
