"""Trials run as tasks of Ray, on this machine or on the machines of a cluster.

Ray decides where: each trial needs one CPU and, if asked for, GPUs. What is lost with a machine is
told as LOST and tried again by the search, never by Ray: attempts are counted in one place. No
machine of a cluster has to see this one's disk, so states travel through Ray's object store.

Tasks tell their reports to an actor beside the driver and wait until it has them: what was told is
on this machine, whatever becomes of theirs. Ray's own streams are no way to do that: with Ray 2.60,
the stream of a machine that died never ended, four of eleven times on busy cores.
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
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from autotune.engines.ray_cluster import enough, joined, leave
from autotune.errors import AutotuneError
from autotune.training import checkpoint
from autotune.training.job import Job, Outcome, Report, untold
from autotune.training.process import start_worker

WORKER = "ray"  # where no worker has told its name
LEFT = "its machine left the Ray cluster"
ASKED_EVERY = 0.2  # seconds between a trial's looks at whether it is to stop
LOOKED_EVERY = 1.0  # seconds between looks at which machines are there
STARVED = 30.0  # seconds that nothing runs before the cluster is asked whether anything can


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a task tells: first where it began, then its reports."""

    task: int
    machine: str
    report: Report | None = None
    state: bytes | None = None  # where the file is not on the driver's disk


@dataclass(eq=False, kw_only=True)
class _Running:
    job: Job
    task: int  # its number: a job that is handed over again is another task
    end: Any  # Ray's reference, which is ready when the task is over
    machine: str | None = None  # where it began


class Ray:
    """Run trials as Ray tasks, here or on a cluster; for machines that share no disk.

    Each task needs one CPU.

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
        self._news = self._desk.news.remote()
        self._task = self._ray.remote(stretch).options(
            num_cpus=1, num_gpus=self._gpus, max_retries=0, scheduling_strategy="SPREAD"
        )
        self._numbers = count()
        self._running: list[_Running] = []
        self._told: list[Report] = []  # not yet asked for
        self._gone = self._left()
        self._looked = self._served = time.monotonic()

    @staticmethod
    def ready(
        workers: int = 2, address: str | None = None, gpus_per_trial: float | None = None
    ) -> None:
        """Refuse where no trial could run: without Ray, its cluster, or the GPUs."""
        enough(joined(workers, address), address, gpus_per_trial or 0.0)

    def submit(self, job: Job) -> None:
        """Hand a job to Ray, which starts it where there is room."""
        if not self._running:
            self._served = time.monotonic()
        far = self._address is not None
        state = self._ray.put(_content(job.resume)) if far else None
        number = next(self._numbers)
        end = self._task.remote(job, number, self._desk, os.getcwd(), far, state)
        self._running.append(_Running(job=job, task=number, end=end))

    def reports(self, timeout: float) -> list[Report]:
        """Return what jobs told, and a LOST report for each whose worker or machine is gone."""
        if self._running:
            ends = [running.end for running in self._running]
            ready, _ = self._ray.wait([self._news, *ends], timeout=0.0 if self._told else timeout)
            if ready:
                self._read()
            self._look()
        told, self._told = self._told, []
        return told

    def interrupt(self, trial: int | None = None) -> None:
        """Ask jobs to save and stop after the step they are in; one that waits for room is over."""
        self._read()
        for running in self._of(trial):
            if running.machine:
                self._desk.stop.remote(running.task)
            else:
                self._drop(running)
                self._told.append(untold(running.job, Outcome.INTERRUPTED, worker=WORKER))

    def kill(self, trial: int | None = None) -> None:
        """End the workers of jobs at once; they are reported as lost."""
        for running in self._of(trial):
            self._lose(running, "its worker did not answer")

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
        with suppress(Exception):  # what has ended needs no end
            self._desk.forget.remote(running.task)
            self._ray.cancel(running.end, force=True)

    def _lose(self, running: _Running, reason: str) -> None:
        self._drop(running)
        self._told.append(untold(running.job, Outcome.LOST, reason, worker=WORKER))

    def _read(self) -> None:
        """Read every letter there is; a task that ended without its last word is lost."""
        over = self._over()  # first: whatever these told is among the letters
        tasks = {running.task: running for running in self._running}
        for letter in self._letters():
            if letter.task in tasks:
                self._open(tasks[letter.task], letter)
        for running in over:
            if running in self._running:
                self._lose(running, self._cause(running))

    def _over(self) -> list[_Running]:
        ends = {running.end: running for running in self._running}
        if not ends:
            return []
        ready, _ = self._ray.wait(list(ends), num_returns=len(ends), timeout=0)
        return [ends[end] for end in ready]

    def _letters(self) -> list[Letter]:
        """Fetch what was told up to now."""
        try:
            letters: list[Letter] = self._ray.get(self._desk.letters.remote())
        except Exception as error:  # Ray has many classes for that
            raise AutotuneError(
                f"Ray ended what trials send their reports to ({type(error).__name__}); give the "
                "command again to go on"
            ) from error
        if self._ray.wait([self._news], timeout=0)[0]:
            self._news = self._desk.news.remote()
        return letters

    def _open(self, running: _Running, letter: Letter) -> None:
        running.machine, report = letter.machine, letter.report
        if report is None:
            return
        if report.outcome is not Outcome.PROGRESS:
            self._running.remove(running)
            self._desk.forget.remote(running.task)
        state = letter.state
        self._told.append(report if state is None else _kept(running.job, report, state))

    def _cause(self, running: _Running) -> str:
        try:
            self._ray.get(running.end)
        except Exception as error:
            return _cause(error)
        return "its worker ended without a word"

    def _look(self) -> None:
        """Look for machines that left; refuse to wait for ever where those with room are gone."""
        now = time.monotonic()
        if now - self._looked < LOOKED_EVERY:
            return
        self._looked = now
        gone = self._left()
        if gone - self._gone:
            self._read()
            self._bury(gone)
        self._gone = gone
        if not self._running or any(running.machine for running in self._running):
            self._served = now
        elif now - self._served > STARVED:
            self._served = now
            enough(self._ray, self._address, self._gpus)

    def _bury(self, gone: set[str]) -> None:
        """Report what ran on machines that are gone; what waited may have begun there unheard."""
        for running in list(self._running):
            if running.machine is None:
                self._drop(running)
                self.submit(running.job)
            elif running.machine in gone:
                self._lose(running, LEFT)

    def _left(self) -> set[str]:
        return {node["NodeID"] for node in self._ray.nodes() if not node["Alive"]}


class _Desk:
    """An actor beside the driver: tasks tell it their reports, and ask it whether to stop."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._news = asyncio.Event()
        self._stops: dict[int, asyncio.Event] = {}

    async def tell(self, letter: Letter) -> None:
        """Keep what a task tells until the driver reads it."""
        self._letters.append(letter)
        self._news.set()

    async def news(self) -> None:
        """Return when there are letters."""
        await self._news.wait()

    async def letters(self) -> list[Letter]:
        """Return what was told since the last time."""
        self._news.clear()
        letters, self._letters = self._letters, []
        return letters

    async def stopped(self, task: int) -> bool:
        """Return when the task is to stop, or is over."""
        return await self._stops.setdefault(task, asyncio.Event()).wait()

    async def stop(self, task: int) -> None:
        """Let a task stop."""
        self._stops.setdefault(task, asyncio.Event()).set()

    async def forget(self, task: int) -> None:
        """Forget a task that is over."""
        event = self._stops.pop(task, None)
        if event:
            event.set()


def stretch(
    job: Job, number: int, desk: Any, directory: str, far: bool, state: bytes | None
) -> None:
    """Run a job within a task, on whatever machine.

    Args:
        job: What to run.
        number: The task's.
        desk: Whom to tell what happens, and to ask whether to stop.
        directory: Where the command was started, for paths that are relative to it.
        far: Whether the driver's disk may be that of another machine.
        state: What ``job.resume`` holds.
    """
    ray = importlib.import_module("ray")
    letter = Letter(task=number, machine=ray.get_runtime_context().get_node_id())
    ray.get(desk.tell.remote(letter))
    start_worker()  # Ray runs one task after another in it
    with suppress(OSError):
        os.chdir(directory)
    with tempfile.TemporaryDirectory(prefix="autotune-ray-") as folder:
        near = _near(job, Path(folder), state) if far else job
        for report in _perform(near, _Stops(desk, number)):
            content = _content(near.checkpoint) if far and report.saved else None
            ray.get(desk.tell.remote(replace(letter, report=report, state=content)))


def _perform(job: Job, stops: _Stops) -> Iterator[Report]:
    from autotune.training.runner import perform

    return perform(job, stops, f"{socket.gethostname()}-{os.getpid()}")


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

    def __init__(self, desk: Any, task: int) -> None:
        self._ray = importlib.import_module("ray")
        self._answer = desk.stopped.remote(task)
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
    "NodeDiedError": LEFT,
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
