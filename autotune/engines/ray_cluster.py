"""Connect this process to Ray: to a new one for this search, or to an existing cluster."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autotune.engines.processes import ENVIRONMENT
from autotune.errors import MissingExtra, SpecError

REACHABLE = 5.0  # seconds for a cluster to answer
STORE_BYTES = 100_000_000  # shared memory of a Ray of our own, which keeps checkpoints on disk
LOOPBACK = ("127.0.0.1", "::1")

_JOINED: dict[str, Any] = {}  # how this process is connected to Ray


def joined(workers: int, address: str | None) -> Any:
    """Return the connected library; a connection with the same arguments is kept."""
    ray = _library(own=address is None)
    wanted = {"workers": workers, "address": address}
    if ray.is_initialized() and (not _JOINED or wanted == _JOINED):
        return ray
    leave(ray)
    with _own_sigterm():
        if address is None:
            _start(ray, workers)
        else:
            _join(ray, address)
    _JOINED.update(wanted)
    return ray


def leave(ray: Any) -> None:
    """Disconnect from Ray, and end it if this process started it."""
    if _JOINED:
        _JOINED.clear()
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which ``ray.init`` replaces for good."""
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None is a handler that Python did not set; Ray sets one in the main thread only.
        if own is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


def _library(*, own: bool) -> Any:
    """Import Ray, quiet and without usage reports."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # else pages about machines that left
    if own:
        # Read when Ray is imported: without it, Ray listens on the loopback only.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise MissingExtra(
            "engine 'ray' needs the ray extra; install it: pip install 'adan-autotune[ray]'"
        ) from None


_QUIET: dict[str, Any] = {
    "log_to_driver": False,
    "logging_level": logging.CRITICAL,
    "runtime_env": {"env_vars": ENVIRONMENT},
}


def _start(ray: Any, workers: int) -> None:
    """Start a Ray for this search only."""
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        **_QUIET,
    )
    address = ray.util.get_node_ip_address()
    if address not in LOOPBACK:
        ray.shutdown()
        raise SpecError(
            f"Ray must listen on this machine only, but was imported before and uses {address}; "
            "import it later, or start a cluster and name it with --ray-address"
        )


def _join(ray: Any, address: str) -> None:
    """Connect to a cluster; raises SpecError if that fails."""
    problem = f"cannot join the Ray cluster at '{address}'"
    remedy = "start one with 'ray start --head', or leave --ray-address out for one of its own"
    host, colon, port = address.rpartition(":")
    try:
        if colon:
            socket.create_connection((host.strip("[]"), int(port)), timeout=REACHABLE).close()
        ray.init(address=address, **_QUIET)
    except OSError as error:
        why = error.strerror or "nothing answers there"
        raise SpecError(f"{problem} ({why}); {remedy}") from error
    except Exception as error:
        # For example a wrong version: Ray has many exception classes.
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise SpecError(f"{problem} ({text or type(error).__name__}); {remedy}") from error


def enough(ray: Any, address: str | None, gpus: float) -> None:
    """Raise if no machine has what a trial needs."""
    where = "this machine" if address is None else f"any machine of the Ray cluster at '{address}'"
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = max((each.get("GPU", 0.0) for each in alive), default=0.0)
    if gpus > most:
        raise SpecError(
            f"--gpus-per-trial must be at most the GPUs of {where}, which are {most:g}, "
            f"got {gpus:g}"
        )
    if not any(each.get("CPU", 0.0) >= 1 and each.get("GPU", 0.0) >= gpus for each in alive):
        raise SpecError(
            f"a trial needs a free CPU, but there is none on {where}; "
            "add a machine and run the same command again"
        )
