"""The server process: where it listens, and how it ends without losing a request."""

from __future__ import annotations

import re
import socket
from types import FrameType

import uvicorn

from autotune.config import allowed_hosts
from autotune.errors import SpecError
from autotune.service.application import build
from autotune.service.core import Service
from autotune.service.limits import Hosts

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DRAIN = 30  # seconds that requests under way get to end
KEPT = 75  # seconds that a connection is kept: workers train longer than uvicorn's 5 between calls

_ADDRESS = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})")


class Server(uvicorn.Server):
    """Uvicorn's server; told to end, it takes no new asks and answers those that wait."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end: requests under way are answered first."""
        self._service.draining.set()
        super().handle_exit(sig, frame)


def address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``PORT``; raises SpecError.

    Only this machine may connect as long as nobody has to prove who they are.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise SpecError(f"--listen must be HOST:PORT, as {LOOPBACK[0]}:8400, got '{text}'")
    host = (found["host"] or LOOPBACK[0]).strip("[]")
    if host not in LOOPBACK:
        raise SpecError(
            f"--listen must be on {', '.join(LOOPBACK)}, got '{host}': the service asks nobody who "
            "they are; let a proxy that does stand before it, or reach it by ssh -L"
        )
    return host, int(found["port"])


def serve(storage: str, listen: str) -> int:
    """Serve the searches of a database until SIGTERM or Ctrl-C.

    Args:
        storage: The database.
        listen: ``HOST:PORT``; port 0 takes a free one.

    Raises:
        SpecError: The address cannot be used.
        AlreadyThere: Another process serves the same SQLite file.
        StorageError: The database cannot be used.
    """
    host, port = address(listen)
    with bound(host, port) as listener:
        app = build(storage)
        service: Service = app.state.service
        config = uvicorn.Config(
            Hosts(app, allowed_hosts(host)),
            log_level="info",
            timeout_graceful_shutdown=DRAIN,
            timeout_keep_alive=KEPT,
            server_header=False,
            proxy_headers=False,
        )
        Server(config, service).run(sockets=[listener])
    return 0


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; a busy port is refused before the database is opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Told its protocol, asyncio sends each answer at once; else it would wait for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SpecError(
            f"port {port} of {host} cannot be used ({error.strerror}); give another --listen, or "
            "port 0 for a free one"
        ) from error
    return listener
