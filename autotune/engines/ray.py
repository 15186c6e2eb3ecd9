"""Run trials as Ray tasks, on this machine or on a cluster.

Ray chooses the machine: each trial needs one CPU and, if asked for, GPUs. Trials lost with a
machine are reported as LOST and repeated by the search, never by Ray, so that attempts are counted
in one place. Machines of a cluster need not share a disk: checkpoints travel through Ray's object
store.

Tasks send reports to an actor on the driver's machine and wait until it has them, so a report is
safe even if the task's machine dies. Ray's own streams cannot do that: with Ray 2.60, the stream of
a dead machine never ended in four of eleven tries on busy cores.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import signal
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
from autotune.training.job import Job, Outcome, Report, empty_report
from autotune.training.process import start_worker

WORKER = "ray"  # name until a worker has reported its own
LEFT = "its machine left the Ray cluster"
ASKED_EVERY = 0.2  # seconds between a trial's checks whether it must stop
LOOKED_EVERY = 1.0  # seconds between checks of which machines are there
STARVED = 30.0  # seconds without a running trial before the cluster is checked for room


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of a task: first where it started, then its reports."""

    task: int
    machine: str
    report: Report | None = None
    state: bytes | None = None  # the checkpoint, if the driver cannot read the task's disk


@dataclass(eq=False, kw_only=True)
class _Running:
    job: Job
    task: int  # its number: a job that is submitted again is a new task
    end: Any  # Ray's reference, ready when the task is over
    machine: str | None = None  # where it started


class Ray:
    """Run trials as Ray tasks, here or on a cluster; for machines that share no disk.

    Each task needs one CPU.

    Args:
        workers: Jobs that run at the same time.
        address: A cluster: ``auto`` or ``host:port``. Without it, a Ray is started for this search;
            it listens only on this machine's loopback and ends with the search.
        gpus_per_trial: GPUs per job: a part of one, or whole ones.
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
        self._mailbox = self._ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=beside)
        self._mailbox = self._mailbox.remote()
        self._news = self._mailbox.news.remote()
        self._task = self._ray.remote(run_job).options(
            num_cpus=1, num_gpus=self._gpus, max_retries=0, scheduling_strategy="SPREAD"
        )
        self._numbers = count()
        self._running: list[_Running] = []
        self._unread: list[Report] = []
        self._gone = self._left()
        self._looked = self._served = time.monotonic()
        self._closed = False

    @staticmethod
    def ready(
        workers: int = 2, address: str | None = None, gpus_per_trial: float | None = None
    ) -> None:
        """Raise if no trial could run: without Ray, its cluster, or the GPUs."""
        enough(joined(workers, address), address, gpus_per_trial or 0.0)

    def submit(self, job: Job) -> None:
        """Give a job to Ray, which starts it where there is room."""
        if not self._running:
            self._served = time.monotonic()
        far = self._address is not None
        state = self._ray.put(_content(job.resume)) if far else None
        number = next(self._numbers)
        end = self._task.remote(job, number, self._mailbox, os.getcwd(), far, state)
        self._running.append(_Running(job=job, task=number, end=end))

    def reports(self, timeout: float) -> list[Report]:
        """Return the jobs' reports, and a LOST report for each whose worker or machine is gone."""
        if self._running:
            ends = [running.end for running in self._running]
            ready, _ = self._ray.wait([self._news, *ends], timeout=0.0 if self._unread else timeout)
            if ready:
                self._read()
            self._look()
        told, self._unread = self._unread, []
        return told

    def interrupt(self, trial: int | None = None) -> None:
        """Ask jobs to save and stop after the step they are in; waiting jobs end at once."""
        self._read()
        for running in self._of(trial):
            if running.machine:
                self._mailbox.stop.remote(running.task)
            else:
                self._drop(running)
                self._unread.append(empty_report(running.job, Outcome.INTERRUPTED, worker=WORKER))

    def kill(self, trial: int | None = None) -> None:
        """Kill the workers of jobs, reported as LOST, which is not their trials' fault."""
        for running in self._of(trial):
            self._lose(running, "its worker did not answer", blame=False)

    def close(self) -> None:
        """End all jobs, and leave or end the Ray of this search; later calls do nothing."""
        if self._closed:  # asked for anything once more, Ray would start anew
            return
        self._closed = True
        for running in list(self._running):
            self._drop(running)
        with suppress(Exception):  # the cluster may be gone
            self._ray.kill(self._mailbox)
        leave(self._ray)

    def _of(self, trial: int | None) -> list[_Running]:
        return [running for running in self._running if trial in (None, running.job.trial)]

    def _drop(self, running: _Running) -> None:
        self._running.remove(running)
        with suppress(Exception):  # the task may be over
            self._mailbox.forget.remote(running.task)
            self._ray.cancel(running.end, force=True)

    def _lose(self, running: _Running, reason: str, *, blame: bool = True) -> None:
        self._drop(running)
        job, lost = running.job, Outcome.LOST
        self._unread.append(empty_report(job, lost, reason, worker=WORKER, blame=blame))

    def _read(self) -> None:
        """Read all messages; a task that ended without a final report is lost."""
        over = self._over()  # before the messages are read, so that all of theirs are included
        tasks = {running.task: running for running in self._running}
        for message in self._messages():
            if message.task in tasks:
                self._open(tasks[message.task], message)
        for running in over:
            if running in self._running:
                self._lose(running, self._cause(running))

    def _over(self) -> list[_Running]:
        ends = {running.end: running for running in self._running}
        if not ends:
            return []
        ready, _ = self._ray.wait(list(ends), num_returns=len(ends), timeout=0)
        return [ends[end] for end in ready]

    def _messages(self) -> list[Message]:
        """Return the messages since the last call."""
        try:
            messages: list[Message] = self._ray.get(self._mailbox.messages.remote())
        except Exception as error:  # Ray has many classes for that
            raise AutotuneError(
                f"Ray ended the actor that collects reports ({type(error).__name__}); run the same "
                "command again to continue"
            ) from error
        if self._ray.wait([self._news], timeout=0)[0]:
            self._news = self._mailbox.news.remote()
        return messages

    def _open(self, running: _Running, message: Message) -> None:
        running.machine, report = message.machine, message.report
        if report is None:
            return
        if report.outcome is not Outcome.PROGRESS:
            self._running.remove(running)
            self._mailbox.forget.remote(running.task)
        state = message.state
        self._unread.append(report if state is None else _kept(running.job, report, state))

    def _cause(self, running: _Running) -> str:
        try:
            self._ray.get(running.end)
        except Exception as error:
            return _cause(error)
        return "its worker ended without a report"

    def _look(self) -> None:
        """Check for machines that left; raise if none is left that could run a trial."""
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
        """Report jobs of lost machines; resubmit waiting jobs, which may have started there."""
        for running in list(self._running):
            if running.machine is None:
                self._drop(running)
                self.submit(running.job)
            elif running.machine in gone:
                self._lose(running, LEFT)

    def _left(self) -> set[str]:
        return {node["NodeID"] for node in self._ray.nodes() if not node["Alive"]}


class _Mailbox:
    """An actor on the driver's machine: it collects reports and tells tasks when to stop."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._news = asyncio.Event()
        self._stops: dict[int, asyncio.Event] = {}

    async def tell(self, message: Message) -> None:
        """Keep a task's message until the driver reads it."""
        self._messages.append(message)
        self._news.set()

    async def news(self) -> None:
        """Return when there are messages."""
        await self._news.wait()

    async def messages(self) -> list[Message]:
        """Return the messages since the last call."""
        self._news.clear()
        messages, self._messages = self._messages, []
        return messages

    async def stopped(self, task: int) -> bool:
        """Return when the task must stop or is over."""
        return await self._stops.setdefault(task, asyncio.Event()).wait()

    async def stop(self, task: int) -> None:
        """Tell a task to stop."""
        self._stops.setdefault(task, asyncio.Event()).set()

    async def forget(self, task: int) -> None:
        """Forget a task that is over."""
        event = self._stops.pop(task, None)
        if event:
            event.set()


def run_job(
    job: Job, number: int, mailbox: Any, directory: str, far: bool, state: bytes | None
) -> None:
    """Run a job in a Ray task, on any machine.

    Args:
        job: The job.
        number: Number of the task.
        mailbox: The actor that gets the reports and tells when to stop.
        directory: Where the command was started, for relative paths.
        far: Whether the task may run on another machine than the driver.
        state: Content of the file ``job.resume``.
    """
    ray = importlib.import_module("ray")
    message = Message(task=number, machine=ray.get_runtime_context().get_node_id())
    ray.get(mailbox.tell.remote(message))
    # Ctrl-C may reach all processes of the group: only the coordinator reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_worker()  # once per process, in which Ray runs many tasks
    with suppress(OSError):
        os.chdir(directory)
    with tempfile.TemporaryDirectory(prefix="autotune-ray-") as folder:
        near = _near(job, Path(folder), state) if far else job
        for report in _perform(near, _Stops(mailbox, number)):
            content = _content(near.checkpoint) if far and report.saved else None
            ray.get(mailbox.tell.remote(replace(message, report=report, state=content)))


def _perform(job: Job, stops: _Stops) -> Iterator[Report]:
    from autotune.training.runner import perform

    # Ray chooses where a trial goes on, rarely here: what it pauses with would lie in the way.
    return perform(job, stops, f"{socket.gethostname()}-{os.getpid()}", keep=False)


def _near(job: Job, folder: Path, state: bytes | None) -> Job:
    """Return the job with its checkpoints in ``folder``."""
    checkpoint, resume = (
        str(folder / Path(path).name) if path else None for path in (job.checkpoint, job.resume)
    )
    if state is not None and resume:
        Path(resume).write_bytes(state)
    return replace(job, checkpoint=checkpoint, resume=resume)


class _Stops:
    """Asks the mailbox from time to time whether its job must stop."""

    def __init__(self, mailbox: Any, task: int) -> None:
        self._ray = importlib.import_module("ray")
        self._answer = mailbox.stopped.remote(task)
        self._asked, self._stopped = time.monotonic(), False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._stopped and now - self._asked > ASKED_EVERY:
            self._asked = now
            self._stopped = bool(self._ray.wait([self._answer], timeout=0)[0])
        return self._stopped


def _content(path: str | None) -> bytes | None:
    """Return the content of a file; None if there is none, and its steps are repeated."""
    try:
        return Path(path).read_bytes() if path else None
    except OSError:
        return None


def _kept(job: Job, report: Report, state: bytes) -> Report:
    """Store a checkpoint that came from another machine, or add why that failed."""
    if job.checkpoint is None:
        return report
    try:
        checkpoint.put(Path(job.checkpoint), state)
    except OSError as error:
        reason = "; ".join(filter(None, (report.reason, f"its checkpoint was not saved: {error}")))
        return replace(report, saved=False, checksum=None, reason=reason)
    return report


_CAUSES = {
    "NodeDiedError": LEFT,
    "WorkerCrashedError": "its worker died",
    "OutOfMemoryError": "Ray ended its worker, as the machine ran out of memory",
    "TaskUnschedulableError": "no machine of the Ray cluster has room for it",
}


def _cause(error: BaseException) -> str:
    """Return in short why a task ended, without Ray's pages of advice."""
    known = _CAUSES.get(type(error).__name__)
    if known:
        return known
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    last = text.splitlines()[-1].strip()[:300] if text else type(error).__name__
    return f"its worker died ({last})"
