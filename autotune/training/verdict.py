"""What an exception out of a trial says: of its setting, its task, or the process that ran it."""

from __future__ import annotations

import errno
from dataclasses import replace

import torch

from autotune.devices import sticky
from autotune.errors import AutotuneError
from autotune.tasks.base import BadMeasurement
from autotune.tasks.mistakes import place, said
from autotune.training.job import Job, Outcome, Report
from autotune.training.memory import shortage
from autotune.training.steps import Diverged

# What RuntimeErrors say where memory is missing: torch on the CPU, on a GPU, cuBLAS.
NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def verdict(error: BaseException, step: int) -> tuple[Outcome, str]:
    """Return the outcome of a trial after an exception, and the reason to show."""
    if isinstance(error, Diverged):
        return Outcome.DIVERGED, str(error)
    if out_of_memory(error):
        return Outcome.DIVERGED, f"out of memory after step {step}"
    if isinstance(error, BadMeasurement):
        return Outcome.FAILED, str(error)
    return Outcome.LOST if sticky(error) else Outcome.FAILED, describe(error)


def explained(failed: Report, error: BaseException, job: Job, *, measured: bool) -> Report:
    """Return a failure's report with what its exception says of the process, the GPU and the task.

    ``measured``: whether the trial has had a validation loss.
    """
    if not out_of_memory(error):
        output = error.output if isinstance(error, BadMeasurement) else ()
        return replace(failed, spoilt=sticky(error), output=output)
    short = shortage(error)
    if short is None:
        return replace(failed, exhausted=True)
    # Steps and measurements need the same at all settings, so the first ones tell of all.
    misfit = None if measured else short.misfit(str(job.task["model"]), job.optimizer)
    return replace(failed, exhausted=True, crowded=short.crowded, misfit=misfit)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that there is no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # On the CPU, torch has no own class for it; the message names the allocator.
    text = str(error) if isinstance(error, RuntimeError) else ""
    return any(sign in text for sign in NO_MEMORY)


def describe(error: BaseException) -> str:
    """Return an exception as one line: its class, message, and the user's file and line."""
    # The loop is a generator, in which Python replaces a StopIteration by a RuntimeError.
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__
    text = said(error) or "no message"
    return f"{type(error).__name__}: {text[:500]}{place(error)}"


def spoilt(reason: str | None) -> AutotuneError:
    """Return the error of an engine whose own process can train nothing more on its GPU.

    Args:
        reason: What the trial said that it happened to.
    """
    return AutotuneError(
        f"the GPU reported an error after which this process cannot use it: {reason}; repeat the "
        "command to go on, with --engine processes, which replaces such a worker by itself"
    )
