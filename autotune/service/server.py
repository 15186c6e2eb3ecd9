"""The server process: where it listens, and how it ends without losing a request."""

from __future__ import annotations

import logging
import math
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from autotune.config import allowed_hosts
from autotune.errors import SpecError
from autotune.service import logs
from autotune.service.application import build
from autotune.service.core import Service
from autotune.service.limits import Hosts
from autotune.service.rates import RATE
from autotune.studies import tokens

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DRAIN = 30  # seconds that requests under way get to end
KEPT = 75  # seconds that a connection is kept: workers train longer than uvicorn's 5 between calls

_ADDRESS = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})")


_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Uvicorn's server; told to end, it takes no new asks and answers those that wait."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end: requests under way are answered first."""
        self._service.draining = True
        super().handle_exit(sig, frame)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a server is reached.

    Args:
        listen: ``HOST:PORT``; port 0 takes a free one.
        tls_cert: File of its certificate, with those between it and the authority.
        tls_key: File of the certificate's key; None: it is in the same file.
        plain_http: Whether others may reach it without TLS: a proxy has it, or a network is
            trusted.
        rate: Requests a second of one token; 0: as many as it likes.
        log_format: What a line of the log on stderr is.
    """

    listen: str = "127.0.0.1:8400"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    plain_http: bool = False
    rate: float = RATE
    log_format: logs.Form = "text"

    def __post_init__(self) -> None:
        if self.tls_key is not None and self.tls_cert is None:
            raise SpecError("--tls-key needs the certificate too: give --tls-cert")
        if not (math.isfinite(self.rate) and self.rate >= 0):
            raise SpecError(f"--rate must be 0 or more requests a second, got {self.rate:g}")


def address(text: str, *, remote: bool = False) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``PORT``; raises SpecError.

    Args:
        text: The address.
        remote: Whether other machines may connect: tokens are not sent to it in the clear, or a
            person has said that they may be.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise SpecError(f"--listen must be HOST:PORT, as {LOOPBACK[0]}:8400, got '{text}'")
    host = (found["host"] or LOOPBACK[0]).strip("[]")
    if host not in LOOPBACK and not remote:
        raise SpecError(
            f"--listen must be on {', '.join(LOOPBACK)} without TLS, got '{host}': tokens would be "
            "read on their way; give --tls-cert, or --plain-http where a proxy has TLS or the "
            "network is trusted"
        )
    return host, int(found["port"])


def serve(storage: str, options: Options, listening: Callable[[str], object] | None = None) -> int:
    """Serve the searches of a database until SIGTERM or Ctrl-C.

    Args:
        storage: The database.
        options: How it is reached.
        listening: Called with its address once connections wait there, as
            ``http://127.0.0.1:40123`` where ``options`` ask for port 0.

    Raises:
        SpecError: The address or the certificate cannot be used, or others could connect without
            a token.
        AlreadyThere: Another process serves the same SQLite file.
        StorageError: The database cannot be used.
    """
    tls = None if options.tls_cert is None else certified(options.tls_cert, options.tls_key)
    host, port = address(options.listen, remote=tls is not None or options.plain_http)
    with bound(host, port) as listener:
        app = build(storage, rate=options.rate)
        service: Service = app.state.service
        if host not in LOOPBACK:
            _refuse_open(service, host)
        logs.configure(options.log_format)
        shown = f"[{host}]" if ":" in host else host
        where = f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}"
        _log.info("serving %s on %s", service.store, where)
        if listening is not None:
            listener.listen()
            listening(where)
        config = uvicorn.Config(
            Hosts(app, allowed_hosts(host)),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=DRAIN,
            timeout_keep_alive=KEPT,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        Server(config, service).run(sockets=[listener])
    return 0


def certified(cert: Path, key: Path | None) -> ssl.SSLContext:
    """Return what a server of a certificate needs; raises SpecError where it cannot be used."""
    for flag, path in (("cert", cert), ("key", key)):
        if path is not None and not path.is_file():
            raise SpecError(f"--tls-{flag} must be a file, got '{path}'")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A key with a password is refused, not asked for: nobody may be there to type it.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        said = getattr(error, "reason", None) or error.strerror or "it cannot be read"
        raise SpecError(
            f"the certificate {cert} cannot be used with its key ({said}): both must be in PEM "
            "form, belong together and have no password"
        ) from error
    return context


def _refuse_open(service: Service, host: str) -> None:
    if not tokens.any_taken(service.store):
        service.close()
        raise SpecError(
            f"--listen on '{host}' needs a token that callers are known by, and there is none; "
            "make one first: autotune token create NAME"
        )


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
