"""What is said of an exception of the user's own code: a sentence, and where in that code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NoReturn

import torch

import autotune
from autotune.devices import Device
from autotune.errors import AutotuneError, SpecError, ends_process

_NOT_THEIRS = tuple(Path(package.__file__ or "").parent for package in (autotune, torch))
_NO_PACKAGE = "no known parent package"  # what Python says of a relative import in a script
_NO_GRAPH = (
    "does not require grad and does not have a grad_fn"  # what torch says of a detached loss
)
_IMPORTING = "<frozen importlib"


def described(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    message = said(error)
    if isinstance(error, ImportError) and _NO_PACKAGE in message:
        message += "; import it without the dot, or put an __init__.py into its folder"
    if not torch.is_grad_enabled() and _NO_GRAPH in message:
        message += "; losses are measured without gradients: compute it in torch.enable_grad()"
    message += _hides(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _hides(error: BaseException) -> str:
    """Say which file has the name of a library, where the error is that something lacks in it."""
    if isinstance(error, AttributeError):
        name = str(getattr(error.obj, "__name__", ""))
    elif isinstance(error, ImportError):
        name = str(error.name or "").partition(".")[0]
    else:
        return ""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not name.isidentifier():
        return ""
    others = [folder for folder in sys.path if Path(folder).absolute() != Path(file).parent]
    found = name in sys.stdlib_module_names or PathFinder.find_spec(name, others)
    if not found or not _is_beside(Path(file), error):
        return ""
    return f"; {file} hides the library {name}: rename it"


def _is_beside(file: Path, error: BaseException) -> bool:
    """Return whether a file lies in the folder of the user's code that an exception passed."""
    theirs = [Path(frame.filename).parent for frame in _frames(error)[:1]]
    return file.parent in theirs


def said(error: BaseException) -> str:
    """Return an exception's message on one line; empty where it has none, or cannot tell it."""
    try:
        return " ".join(str(error).split())
    except Exception:  # of its own __str__
        return ""


def place(error: BaseException) -> str:
    """Return where an exception came from: the last line of the user's code, if it passed one."""
    if isinstance(error, SpecError) and error.__cause__:  # of ``refused``
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _is_ours(frame.filename)]
    last = (theirs or frames)[-1:]
    return "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)


@contextmanager
def telling(what: str, verb: str = " raised") -> Iterator[None]:
    """Run the user's code; what it raises, SystemExit too, becomes the SpecError of ``refused``."""
    try:
        with _staying():
            yield
    except AutotuneError:
        raise
    except BaseException as error:
        if ends_process(error):
            raise
        raise refused(what, error, verb) from error


@contextmanager
def _staying() -> Iterator[None]:
    """Turn ``os._exit``, which would end this process without a word, into SystemExit.

    Processes that the code forks still leave by it.
    """
    here, leave = os.getpid(), os._exit

    def left(status: int) -> NoReturn:
        if os.getpid() != here:
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = left
    try:
        yield
    finally:
        os._exit = leave


def refused(what: str, error: BaseException, verb: str = " raised") -> SpecError:
    """Return the error that says ``what`` raised; its note is the traceback of the user's code."""
    refusal = SpecError(f"{what}{verb} {described(error)}")
    frames = _frames(error)
    if frames:
        refusal.add_note("".join(traceback.format_list(frames)).rstrip())
    return refusal


# What torch says of tensors on several devices, by their kinds.
_MIXED = (
    "Expected all tensors to be on the same device",
    "different devices",
    "is not on the expected device",
)


@contextmanager
def on_one_device(device: Device) -> Iterator[None]:
    """Run a step of the user's code on a device; a tensor left on the CPU is told of by its line.

    Raises:
        SpecError: Tensors of two devices have met.
    """
    try:
        yield
    except RuntimeError as error:
        if not device.waits or not any(sign in str(error) for sign in _MIXED):
            raise
        theirs = [frame for frame in _frames(error) if not _is_ours(frame.filename)]
        at = f" at {Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
        raise SpecError(
            f"the loss or the model uses a tensor of another device{at}, where weights and batches "
            f"are on {device}; make it there, as in torch.zeros(n, device=x.device)"
        ) from error


def _frames(error: BaseException) -> traceback.StackSummary:
    """Return the frames from the first of the user's code on; none where it has none."""
    every = traceback.extract_tb(error.__traceback__)
    known = [frame for frame in every if not frame.filename.startswith(_IMPORTING)]
    first = next((k for k, f in enumerate(known) if not _is_ours(f.filename)), len(known))
    return traceback.StackSummary.from_list(known[first:])


def _is_ours(file: str) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in _NOT_THEIRS)
