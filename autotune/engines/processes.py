"""Run trials in processes of this machine: the default engine.

Workers never open the database: they get jobs and send reports through a pipe. Each has one thread,
because two OpenMP pools on the same cores block each other (30 times slower, measured).

What a task leaves behind in a worker (memory, open files, threads, values of a module) must not be
taken for a property of the next setting: a job that fails in a worker that has run others is run
again in a new one before its failure is told. It runs alone: another trial may have had the memory.

Where trials train on GPUs, each worker has a place on one of them and sees no other GPU.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from autotune.command.environment import remembered
from autotune.engines import groups
from autotune.engines.gpus import Place, Places
from autotune.engines.hangs import Patience, SharedPulse, Stuck, told
from autotune.engines.serving import CLOSE, RELEASE, SAFE_PATH, TOLD, deferred_signals, serve
from autotune.errors import SIGNALS
from autotune.tasks.user_modules import without_the_users
from autotune.training.job import Job, Outcome, Report, empty_report

GRACE = 10.0  # seconds until every worker has ended, by itself or by force
REAPING = 1.0  # of these, seconds for the system to end killed workers
RETIRING = 2.0  # seconds for a worker that is replaced to end by itself

ENVIRONMENT = {
    # Else the order of a set differs from worker to worker, and with it what is made of one.
    "PYTHONHASHSEED": "0",
    # Else a file signal.py in the working directory is imported instead of Python's.
    SAFE_PATH: "1",
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
    pulse: SharedPulse
    job: Job | None = None
    stuck: Stuck = field(default_factory=Stuck)  # of its job
    taken: int = 0  # jobs that it was given
    place: Place | None = None  # on a GPU
    paused: list[int] = field(default_factory=list)  # trials whose trainings it keeps


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """Why a trial runs again, alone in a new worker.

    Args:
        reason: What its first report said.
        spoilt: The step at which it spoilt its worker; None if it did not.
        starved: Whether it may have lacked memory.
    """

    reason: str
    spoilt: int | None = None
    starved: bool = False


class Processes:
    """Run trials in worker processes on this machine, one thread each; the default.

    Args:
        workers: Jobs that run at the same time.
        step_timeout: Seconds that a step may take before its job has failed; None: 20 times the
            slowest step seen, at least a minute. A start and an evaluation may take 10 times that.
        gpus: GPUs to run on, as ``autotune.engines.gpus.names`` has them; none for the CPU.
        per_gpu: Jobs that run on each at the same time; so many workers at most.

    Raises:
        SpecError: Other processes run as much on the GPUs as they may.
    """

    def __init__(
        self,
        workers: int = 2,
        step_timeout: float | None = None,
        gpus: Sequence[str] = (),
        per_gpu: int = 1,
    ) -> None:
        self._places = Places(gpus, per_gpu, workers) if gpus else None
        self.slots = len(self._places.held) if self._places else workers
        self.notice = self._places.notice if self._places else None
        self._patience = Patience(step_timeout)
        self._context = multiprocessing.get_context("spawn")
        self._watchman = groups.Watchman()
        self._held: list[Job] = []  # not yet started
        self._again: dict[int, _Failure] = {}  # trials that run alone in a new worker, and why
        self._told: list[Report] = []  # not yet read
        self._workers: list[_Worker] = []
        self._owner = os.getpid()
        atexit.register(self._close_at_exit)  # before multiprocessing waits for its processes
        for place in range(self.slots):
            self._workers.append(self._start(place))

    def submit(self, job: Job) -> None:
        """Hand a job to an idle worker."""
        self._held.append(job)
        self._hand_out()

    def reports(self, timeout: float) -> list[Report]:
        """Return what workers sent, and a LOST report for each job whose worker died."""
        self._read_ready(0 if self._told else timeout)
        for worker in self._busy():
            self._look_at(worker)
        self._hand_out()
        told, self._told = self._told, []
        return told

    def interrupt(self, trial: int | None = None) -> None:
        """Ask workers to save and stop after the step they are in; waiting jobs end at once."""
        self._drop_held(trial, Outcome.INTERRUPTED)
        for worker in self._busy(trial):
            if worker.stuck.asked is None:
                worker.stuck.asked = 0.0
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send("interrupt")

    def kill(self, trial: int | None = None) -> None:
        """Kill busy workers; their jobs are reported as LOST, which is not their trials' fault."""
        self._drop_held(trial, Outcome.LOST, "its worker did not answer")
        for worker in self._busy(trial):
            self._bury(worker, Outcome.LOST, "its worker did not answer", blame=False)

    def narrow(self, slots: int) -> None:
        """Run so many jobs at the same time from now on, and end the other workers.

        No job may run. For trials on the CPU: places on GPUs are held until the engine closes.
        """
        for worker in self._workers[slots:]:
            self._retire(worker)
        del self._workers[slots:]
        self.slots = slots

    def close(self) -> None:
        """End all workers within GRACE seconds; busy ones are killed."""
        atexit.unregister(self._close_at_exit)
        for worker in self._workers:
            worker.pipe.close()
            if worker.job:
                groups.kill(worker.process)
        _end([worker.process for worker in self._workers], GRACE - REAPING)
        self._watchman.close()
        if self._places:
            self._places.close()

    def _close_at_exit(self) -> None:
        if os.getpid() == self._owner:  # not in a process that was forked from it
            self.close()

    def _start(self, place: int, *, alone: bool = False) -> _Worker:
        """Start a worker; ``alone``: no other one has a job for as long as this one has."""
        ours, theirs = self._context.Pipe()
        name, pulse, gpu = self._name(place), SharedPulse(self._context), self._gpu(place, alone)
        arguments = (theirs, name, pulse, gpu.share if gpu else None)
        process = self._context.Process(target=serve, args=arguments, name=name)
        more = gpu.environment if gpu else {}
        with _worker_environment(more), without_the_users(), deferred_signals():
            process.start()
        theirs.close()
        self._watchman.watch(process)
        return _Worker(name=name, process=process, pipe=ours, pulse=pulse, place=gpu)

    def _gpu(self, place: int, alone: bool) -> Place | None:
        found = self._places.held[place] if self._places else None
        return found.alone if found and alone else found

    @staticmethod
    def _name(place: int) -> str:
        return f"{os.getpid()}-{place}"

    def _busy(self, trial: int | None = None) -> list[_Worker]:
        """Return the workers that have a job, or a trial's."""
        busy = [worker for worker in self._workers if worker.job]
        return [each for each in busy if each.job and trial in (None, each.job.trial)]

    def _drop_held(self, trial: int | None, outcome: Outcome, reason: str | None = None) -> None:
        for job in [job for job in self._held if trial in (None, job.trial)]:
            self._held.remove(job)
            report = empty_report(job, outcome, reason, worker=self._name(0), blame=False)
            self._told.append(report)

    def _hand_out(self) -> None:
        """Start waiting jobs; one that has to be alone waits for the others, and they for it."""
        while self._held:
            busy = [worker.job.trial for worker in self._workers if worker.job]
            alone = next((job for job in self._held if job.trial in self._again), None)
            if len(busy) == self.slots or (busy and alone) or self._again.keys() & set(busy):
                return
            job = alone or self._held[0]
            self._held.remove(job)
            self._hand(job, fresh=alone is not None)

    def _hand(self, job: Job, *, fresh: bool) -> None:
        """Give a job to an idle worker, or to a new one in its place."""
        place = self._place_for(job)
        worker = self._workers[place]
        used = worker.taken or worker.place != self._gpu(place, alone=fresh)
        if fresh:
            self._free_memory(paused=self._again[job.trial].starved)
        if (fresh and used) or worker.pipe.closed or not worker.process.is_alive():
            self._retire(worker)
            worker = self._workers[place] = self._start(place, alone=fresh)
        worker.job, worker.stuck = job, Stuck()
        worker.taken += 1
        worker.paused = [trial for trial in worker.paused if trial != job.trial]
        # A dead worker is noticed when reports are read.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(job)

    def _place_for(self, job: Job) -> int:
        """Return an idle worker's place: that of the one which keeps the trial's training."""
        idle = [i for i, worker in enumerate(self._workers) if worker.job is None]
        kept = (i for i in idle if job.trial in self._workers[i].paused)
        return next(kept, min(idle, key=lambda i: len(self._workers[i].paused)))

    def _retire(self, worker: _Worker, timeout: float = RETIRING) -> None:
        """End a worker and what it started; ``_hand`` starts a new one in its place."""
        worker.pipe.close()
        worker.job = None
        _end([worker.process], timeout)
        self._watchman.release(worker.process)

    def _read_ready(self, timeout: float) -> None:
        busy = {worker.pipe: worker for worker in self._busy()}
        for pipe in wait(list(busy), timeout) if busy else []:
            self._read(busy[pipe])  # type: ignore[index]

    def _read(self, worker: _Worker) -> None:
        job = worker.job
        try:
            report: Report = worker.pipe.recv()
        except (EOFError, OSError):
            self._lose(worker)
            return
        if report.outcome is Outcome.PROGRESS or job is None:
            self._told.append(report)
        else:
            self._finish(worker, job, report)

    def _finish(self, worker: _Worker, job: Job, report: Report) -> None:
        """Take the last report of a job, or run the job again."""
        worker.job = None
        if report.kept:
            worker.paused.append(job.trial)
        first = self._again.pop(job.trial, None)
        failed = report.exhausted or report.spoilt or report.outcome is Outcome.FAILED
        alone = worker.taken == 1 and not report.spoilt
        if report.exhausted:
            alone = alone and not (self._busy() or report.crowded or self._shares(worker))
        # One that had a GPU to itself may not keep so much of it when others run beside it.
        if report.exhausted or report.spoilt or (first and worker.place):
            self._retire(worker)
        if failed and not first and not alone:
            self._again[job.trial] = _failure(report)
            if worker.stuck.asked is None:
                self._held.insert(0, job)
                return
            # It was told to stop, so it is for the next sitting to run it again.
            report = replace(report, outcome=Outcome.LOST, blame=False, misfit=None)
        elif first and report.spoilt and first.spoilt == report.step:
            report = replace(report, outcome=Outcome.FAILED)
        elif first and not failed:
            again = f"run again in a new worker, as it failed in an older one: {first.reason}"
            report = replace(report, reason="; ".join(filter(None, (again, report.reason))))
        self._told.append(report)

    @staticmethod
    def _shares(worker: _Worker) -> bool:
        """Return whether a worker may take only a part of its GPU."""
        return worker.place is not None and worker.place != worker.place.alone

    def _free_memory(self, *, paused: bool) -> None:
        """Ask idle workers for what they keep of a GPU's memory, and for paused trainings."""
        for worker in self._workers:
            if worker.job or worker.pipe.closed:
                continue
            with suppress(BrokenPipeError, ConnectionResetError):
                if paused and worker.paused:
                    worker.paused = []
                    worker.pipe.send(CLOSE)
                if worker.place:
                    worker.pipe.send(RELEASE)

    def _look_at(self, worker: _Worker) -> None:
        """Bury a worker that is dead or hangs."""
        if not worker.process.is_alive():
            # Another process may hold its end of the pipe open: one that its task started.
            if not worker.pipe.poll():
                self._lose(worker)
            return
        stuck, patience = worker.stuck, self._patience
        phase = stuck.look(worker.pulse)
        patience.learn(worker.pulse)
        if stuck.seconds > patience.limit(phase):
            outcome = Outcome.FAILED if phase else Outcome.LOST
            self._bury(worker, outcome, told(phase, patience.limit(phase)))
        elif stuck.asked is not None and stuck.asked > patience.asked(phase):
            reason = told(phase, patience.asked(phase))
            self._bury(worker, Outcome.LOST, reason, blame=False)

    def _lose(self, worker: _Worker) -> None:
        """Tell of a job whose worker died by itself."""
        trial = worker.job.trial if worker.job else None
        _end([worker.process], GRACE)
        code = worker.process.exitcode
        reason = f"its worker died ({_cause(code)})"
        blame = code not in TOLD_TO_END
        if blame and trial is not None:
            # A system without memory kills the largest process.
            self._again[trial] = _Failure(reason=reason, starved=True)
        self._bury(worker, Outcome.LOST, reason, blame=blame)

    def _bury(self, worker: _Worker, outcome: Outcome, reason: str, *, blame: bool = True) -> None:
        """End a worker at once and tell how its job ended."""
        job = worker.job
        self._retire(worker, timeout=0.0)
        if job:
            report = empty_report(job, outcome, reason, worker=worker.name, blame=blame)
            self._told.append(report)


def _failure(report: Report) -> _Failure:
    return _Failure(
        reason=report.reason or report.outcome,
        spoilt=report.step if report.spoilt else None,
        starved=report.exhausted,
    )


# How a worker ends that was told to: by itself, or by a signal before it took signals.
TOLD_TO_END = {TOLD, *(-number for number in SIGNALS)}


def _end(processes: Iterable[BaseProcess], timeout: float) -> None:
    """Wait ``timeout`` seconds in all for processes to end, then kill what is left of them."""
    deadline = time.monotonic() + timeout
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        groups.kill(process)
    deadline = max(deadline, time.monotonic()) + REAPING
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


def _cause(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def _worker_environment(more: Mapping[str, str]) -> Iterator[None]:
    """Set variables that libraries read only when a process loads them."""
    wanted = {**ENVIRONMENT, **more, **remembered(ENVIRONMENT, os.environ)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
