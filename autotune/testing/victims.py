"""Processes that run a search so that tests can kill them; started by ``forkserver``, quickly."""

from __future__ import annotations

import signal
import time
import traceback
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from autotune import Tuner
from autotune.engines.serving import deferred_signals
from autotune.optimizers import create
from autotune.search.coordinator import run
from autotune.search.worker import Terms, work
from autotune.studies import leases
from autotune.studies.errors import AutotuneError
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.training import checkpoint

# The first optimizer of a process loads seconds of libraries: in the server, once.
create("adamw", [torch.nn.Parameter(torch.zeros(1))])


PRELOADED = (
    "autotune.testing.victims", "autotune.testing.crowds", "autotune.samplers.auto",
    "autotune.samplers.sobol", "scipy.stats", "autotune.service.server", "httpx2",
)  # fmt: skip


class _Process(ForkServerProcess):
    """Begins with the signals blocked that its starter has blocked, as a spawned process does."""

    def start(self) -> None:
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        super().start()

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        super().run()


class _Context(ForkServerContext):
    Process = _Process


def context() -> ForkServerContext:
    """Return a context whose processes have everything loaded when they start."""
    made = _Context()
    made.set_forkserver_preload(list(PRELOADED))
    with deferred_signals():  # which its processes hand on until they run
        forkserver.ensure_running()
    return made


def searching(spec: dict[str, Any], url: str) -> ForkServerProcess:
    """Start a process that runs a search to its end."""
    process = context().Process(target=_search, args=(spec, url), daemon=True)
    process.start()
    return process


def working(study: str, url: str, name: str, log: Path) -> ForkServerProcess:
    """Start a worker of a search; what it ends with, other than success, is written to ``log``."""
    process = context().Process(target=_work, args=(study, url, name, log), daemon=True)
    process.start()
    return process


def asking(given: dict[str, Any], url: str, log: Path) -> ForkServerProcess:
    """Start a script that trains a search's trials in its own loop; its error goes to ``log``."""
    process = context().Process(target=_ask, args=(given, url, log), daemon=True)
    process.start()
    return process


def serving(url: str, port: int, log: Path) -> ForkServerProcess:
    """Start a server of the service on this machine; its error goes to ``log``."""
    process = context().Process(target=_serve, args=(url, port, log), daemon=True)
    process.start()
    return process


def served(url: str, log: Path) -> tuple[ForkServerProcess, int]:
    """Start a server likewise on a free port; return it with the port, once it listens there."""
    told, tells = context().Pipe(duplex=False)
    process = context().Process(target=_serve, args=(url, 0, log, tells), daemon=True)
    process.start()
    tells.close()  # so that a server which ends early is heard of
    with told:
        return process, int(told.recv().rpartition(":")[2])


def own_loop(given: dict[str, Any], url: str) -> None:
    """Train the trials of a search as a script does, saving what a paused one needs.

    Args:
        given: Arguments of ``autotune.Tuner``.
        url: Where the search is stored.
    """
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=draw)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    loss_of = torch.nn.functional.mse_loss
    for trial in Tuner(storage=url, progress="off", **given):
        torch.manual_seed(trial.seed)
        model = torch.nn.Linear(4, 1)
        optimizer = trial.build(model)
        schedule = trial.schedule(optimizer)
        if trial.state is not None:
            model.load_state_dict(trial.state["model"])
            optimizer.load_state_dict(trial.state["optimizer"])
        for step in range(trial.start + 1, trial.stop + 1):
            rows = slice(8 * (step % 8), 8 * (step % 8) + 8)
            optimizer.zero_grad()
            loss_of(model(inputs[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            time.sleep(0.001)
            if step in trial.evaluate:
                with torch.no_grad():
                    loss = loss_of(model(inputs[64:]), targets[64:])
                if not trial.report(step, loss):
                    break
        trial.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})


def _ask(given: dict[str, Any], url: str, log: Path) -> None:
    hurry()
    try:
        own_loop(given, url)
    except BaseException:
        log.write_text(traceback.format_exc())
        raise


def kill(process: BaseProcess) -> None:
    """End a process as SIGKILL does, and wait until it is gone."""
    process.kill()
    process.join(10)


def begun(study: str, url: str) -> None:
    """Wait until a search is stored; raises AssertionError if none is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with Store(url, read_only=True) as store:
                store.search(study)
                return
        except AutotuneError:
            time.sleep(0.02)
    raise AssertionError("no search was begun")


def hurry() -> None:
    """Let a process wait less for the dead, and save even the smallest model's state."""
    leases.TURN = timedelta(seconds=4)
    checkpoint.quicker = lambda *_: True
    checkpoint.SPARE_BYTES = 0.0


def _search(spec: dict[str, Any], url: str) -> None:
    hurry()
    with Store(url) as store:
        run(parse(spec), store=store)


def _work(study: str, url: str, name: str, log: Path) -> None:
    hurry()
    try:
        with Store(url) as store:
            work(study, store=store, terms=Terms(name=name, engine="inline"))
    except BaseException:
        log.write_text(traceback.format_exc())
        raise


def damage(folder: Path) -> int:
    """Turn over a byte in the middle of every checkpoint below a folder; return how many."""
    files = sorted(folder.glob("*/*.pt"))
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0xFF
        file.write_bytes(data)
    return len(files)


def _serve(url: str, port: int, log: Path, tells: Connection | None = None) -> None:
    from autotune.service.server import Options, serve

    try:
        options = Options(listen=f"127.0.0.1:{port}")
        serve(url, options, None if tells is None else tells.send)
    except BaseException:
        log.write_text(traceback.format_exc(), encoding="utf-8")
        raise
