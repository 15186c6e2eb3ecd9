"""Trials run as tasks of Ray, on this machine or on the machines of a cluster.

Ray decides where: each trial needs one CPU and, if asked for, GPUs. What is lost with a machine is
told as LOST and tried again by the search, never by Ray: attempts are counted in one place. No
machine of a cluster has to see this one's disk, so states travel through Ray's object store.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autotune import checkpoint
from autotune.backends.base import Job, Outcome, Report, untold
from autotune.backends.joining import enough, joined, leave
from autotune.backends.startup import start_worker

WORKER = "ray"  # where no worker has told its name
ASKED_EVERY = 0.2  # seconds between a trial's looks at whether it is to stop
STARVED = 30.0  # seconds that nothing runs before the cluster is looked at again

Told = tuple[Report, bytes | None]  # with the state, where the file is not on the driver's disk


@dataclass(eq=False, kw_only=True)
class _Running:
    job: Job
    stream: Any  # of what its task tells
    begun: bool = False  # whether Ray found a place for it
    key: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.key = (self.job.trial, self.job.attempt)


class Ray:
    """Jobs as Ray's tasks, each with a CPU of its own.

    Args:
        workers: Jobs side by side.
        address: A cluster: ``auto`` or ``host:port``. Left out, a Ray is started for this search,
            which listens on this machine's loopback alone and ends with it.
        gpus_per_trial: GPUs each job needs, a part of one or whole ones.
    """

    def __init__(
        self, workers: int = 2, address: str | None = None, gpus_per_trial: float | None = None
    ) -> None:
        self._ray = joined(workers, address)
        self.slots = workers
        self._address, self._gpus = address, gpus_per_trial or 0.0
        here = self._ray.get_runtime_context().get_node_id()
        affinity = importlib.import_module("ray.util.scheduling_strategies")
        beside = affinity.NodeAffinitySchedulingStrategy(node_id=here, soft=False)
        self._desk = self._ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=beside)
        self._desk = self._desk.remote()
        self._task = self._ray.remote(stretch).options(
            num_cpus=1,
            num_gpus=self._gpus,
            num_returns="streaming",
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._running: list[_Running] = []
        self._told: list[Report] = []  # not yet asked for
        self._looked = time.monotonic()

    @staticmethod
    def ready(
        workers: int = 2, address: str | None = None, gpus_per_trial: float | None = None
    ) -> None:
        """Refuse where no trial could run: without Ray, its cluster, or the GPUs."""
        enough(joined(workers, address), address, gpus_per_trial or 0.0)

    def submit(self, job: Job) -> None:
        """Hand a job to Ray, which starts it where there is room."""
        state = None if self._address is None else self._ray.put(_content(job.resume))
        far = self._address is not None
        stream = self._task.remote(job, self._desk, os.getcwd(), far, state)
        self._running.append(_Running(job=job, stream=stream))

    def reports(self, timeout: float) -> list[Report]:
        """Return what jobs told, and a LOST report for each whose worker or machine is gone."""
        told, self._told = self._told, []
        streams = {running.stream: running for running in self._running}
        if not streams:
            return told
        self._look()
        wait = 0.0 if told else timeout
        if self._ray.wait(list(streams), timeout=wait, fetch_local=False)[0]:
            most = len(streams)
            every = self._ray.wait(list(streams), num_returns=most, timeout=0, fetch_local=False)[0]
            told += filter(None, [self._read(streams[stream]) for stream in every])
        return told

    def interrupt(self, trial: int | None = None) -> None:
        """Ask jobs to save and stop after the step they are in; one that waits for room is over."""
        for running in self._of(trial):
            if running.begun:
                self._desk.stop.remote(running.key)
            else:
                self._drop(running)
                self._told.append(untold(running.job, Outcome.INTERRUPTED, worker=WORKER))

    def kill(self, trial: int | None = None) -> None:
        """End the workers of jobs at once; they are reported as lost."""
        for running in self._of(trial):
            self._drop(running)
            reason = "its worker did not answer"
            self._told.append(untold(running.job, Outcome.LOST, reason, worker=WORKER))

    def close(self) -> None:
        """End every job, and what was started or joined for this search."""
        for running in list(self._running):
            self._drop(running)
        with suppress(Exception):  # a cluster that is gone has nothing to end
            self._ray.kill(self._desk)
        leave(self._ray)

    def _of(self, trial: int | None) -> list[_Running]:
        return [running for running in self._running if trial in (None, running.job.trial)]

    def _drop(self, running: _Running) -> None:
        self._running.remove(running)
        with suppress(Exception):  # likewise
            self._ray.cancel(running.stream, force=True)

    def _read(self, running: _Running) -> Report | None:
        """Return the next report of a job; None where it only said that it began."""
        try:
            told: Told | None = self._ray.get(next(running.stream))
        except (Exception, StopIteration) as error:
            # Whatever Ray raises here, the trial's own failures are reports: its worker is gone.
            self._running.remove(running)
            return untold(running.job, Outcome.LOST, _cause(error), worker=WORKER)
        running.begun = True
        if told is None:
            return None
        report, state = told
        if report.outcome is not Outcome.PROGRESS:
            self._running.remove(running)
            self._desk.over.remote(running.key)
        return report if state is None else _kept(running.job, report, state)

    def _look(self) -> None:
        """Refuse to wait for ever where the machines that had room are gone."""
        now = time.monotonic()
        if any(running.begun for running in self._running):
            self._looked = now
        elif now - self._looked > STARVED:
            self._looked = now
            enough(self._ray, self._address, self._gpus)


class _Desk:
    """An actor beside the driver that running tasks ask whether they are to stop."""

    def __init__(self) -> None:
        self._stops: dict[tuple[int, int], asyncio.Event] = {}

    async def stopped(self, key: tuple[int, int]) -> bool:
        """Return when the job is to stop, or is over."""
        return await self._stops.setdefault(key, asyncio.Event()).wait()

    async def stop(self, key: tuple[int, int]) -> None:
        """Let a job stop."""
        self._stops.setdefault(key, asyncio.Event()).set()

    async def over(self, key: tuple[int, int]) -> None:
        """Forget a job."""
        event = self._stops.pop(key, None)
        if event:
            event.set()


def stretch(
    job: Job, desk: Any, directory: str, far: bool, state: bytes | None
) -> Iterator[Told | None]:
    """Run a job within a task, on whatever machine; the first thing told is that it began.

    Args:
        job: What to run.
        desk: Whom to ask whether to stop.
        directory: Where the command was started, for paths that are relative to it.
        far: Whether the driver's disk may be that of another machine.
        state: What ``job.resume`` holds.
    """
    yield None
    start_worker()  # Ray runs one task after another in it
    with suppress(OSError):
        os.chdir(directory)
    stops = _Stops(desk, (job.trial, job.attempt))
    worker = f"{socket.gethostname()}-{os.getpid()}"
    if not far:
        yield from ((report, None) for report in _perform(job, stops, worker))
        return
    with tempfile.TemporaryDirectory(prefix="autotune-ray-") as folder:
        near = _near(job, Path(folder), state)
        for report in _perform(near, stops, worker):
            yield report, _content(near.checkpoint) if report.saved else None


def _perform(job: Job, stops: _Stops, worker: str) -> Iterator[Report]:
    from autotune.objective import perform

    yield from perform(job, stops, worker)


def _near(job: Job, folder: Path, state: bytes | None) -> Job:
    """Return a job that keeps its states in ``folder``."""
    checkpoint, resume = (
        str(folder / Path(path).name) if path else None for path in (job.checkpoint, job.resume)
    )
    if state is not None and resume:
        Path(resume).write_bytes(state)
    return replace(job, checkpoint=checkpoint, resume=resume)


class _Stops:
    """Asks the desk now and then whether its job is to stop."""

    def __init__(self, desk: Any, key: tuple[int, int]) -> None:
        self._ray = importlib.import_module("ray")
        self._answer = desk.stopped.remote(key)
        self._asked, self._stopped = time.monotonic(), False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._stopped and now - self._asked > ASKED_EVERY:
            self._asked = now
            self._stopped = bool(self._ray.wait([self._answer], timeout=0)[0])
        return self._stopped


def _content(path: str | None) -> bytes | None:
    """Return what a file holds; None where there is none, whose steps are then repeated."""
    try:
        return Path(path).read_bytes() if path else None
    except OSError:
        return None


def _kept(job: Job, report: Report, state: bytes) -> Report:
    """Write a state that came from afar where the search keeps them, or say why it cannot be."""
    if job.checkpoint is None:
        return report
    try:
        checkpoint.put(Path(job.checkpoint), state)
    except OSError as error:
        reason = "; ".join(filter(None, (report.reason, f"its state was not saved: {error}")))
        return replace(report, saved=False, checksum=None, reason=reason)
    return report


_CAUSES = {
    "NodeDiedError": "its machine left the Ray cluster",
    "WorkerCrashedError": "its worker died",
    "OutOfMemoryError": "Ray ended its worker, as the machine ran out of memory",
    "TaskUnschedulableError": "no machine of the Ray cluster has room for it",
}


def _cause(error: BaseException) -> str:
    """Return why a task told nothing more, without Ray's pages of advice."""
    known = _CAUSES.get(type(error).__name__)
    if known:
        return known
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    last = text.splitlines()[-1].strip()[:300] if text else type(error).__name__
    return f"its worker died ({last})"
