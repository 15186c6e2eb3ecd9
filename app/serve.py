"""The dashboard's server: one process, this machine only unless asked, nothing from outside."""

from __future__ import annotations

import os
import re
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from autotune.app import ahead, preload
from autotune.app.preload import Preload
from autotune.app.proxies import Origins, RelativeRedirects
from autotune.app.terms import Terms, agree
from autotune.config import allowed_hosts
from autotune.errors import MissingExtra, SpecError

HERE = Path(__file__).resolve().parent
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NOTHING = Terms()
NEEDED = ("streamlit", "plotly", "pandas")
_PART = r"(?!\.+(?:/|$))[\w.-]+"  # of a path, but not "." or ".."
_PATH = re.compile(f"{_PART}(?:/{_PART})*", re.ASCII)
HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def serve(
    storage: str,
    host: str,
    port: int,
    open_browser: bool,
    base_path: str = "",
    allowed: Terms = NOTHING,
) -> int:
    """Show the searches of ``storage`` until Ctrl-C.

    Args:
        storage: The database.
        host: Address to listen on.
        port: To listen on; 0 takes a free one.
        open_browser: Whether to open one.
        base_path: Under which path of its own address a proxy shows the dashboard.
        allowed: What viewers may do and see beside the searches.

    Raises:
        SpecError: Something given cannot be used.
        MissingExtra: A library that it needs is not installed.
    """
    path = _path(base_path)
    _check(allowed, host)
    agree(allowed)
    need_extra()
    chosen = _port(host, port)
    # Other users of the machine can read a command line, and a URL may hold a password.
    os.environ["AUTOTUNE_STORAGE"] = storage
    import streamlit as st
    from starlette.middleware import Middleware

    address = f"http://{_shown(host)}:{chosen}{path}"
    app = st.App(
        HERE / "pages" / "main.py",
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Preload, parts=preload.parts()),
            Middleware(Origins, hosts=allowed_hosts(host)),
            Middleware(RelativeRedirects),
        ],
        lifespan=_announced(address, host, open_browser),
    )
    app.run(config={**settings(host, chosen), "server.baseUrlPath": path})
    return 0


def settings(host: str, port: int) -> dict[str, Any]:
    """Return Streamlit's options: no telemetry, no stranger's host, no traceback on a page."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.allowedHosts": allowed_hosts(host),
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 1,
        "server.showEmailPrompt": False,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "type",
        "client.showErrorLinks": False,
        "client.showSidebarNavigation": False,
        "client.toolbarMode": "viewer",
        "logger.hideWelcomeMessage": True,
        "theme.base": str(HERE / "theme.toml"),
    }


def _path(given: str) -> str:
    """Return a base path with its slash in front and none behind; the root's is empty."""
    path = given.strip("/")
    if path and not _PATH.fullmatch(path):
        raise SpecError(
            "--base-path must be a path of letters, digits, '-', '_' and '.', as in /tuning, "
            f"got '{given}'"
        )
    return f"/{path}" if path else ""


def _check(allowed: Terms, host: str) -> None:
    """Refuse to let strangers stop searches, and a folder that is none."""
    if allowed.benchmarks is not None and not allowed.benchmarks.is_dir():
        raise SpecError(f"--benchmarks must name a folder that exists, got {allowed.benchmarks}")
    if not allowed.control:
        return
    if host not in LOOPBACK:
        raise SpecError(
            f"--allow-control needs a --host of {', '.join(LOOPBACK)}, got {host}: the dashboard "
            "asks nobody for a password; let a proxy that does show it to others"
        )
    if "*" in allowed_hosts(host):
        raise SpecError(
            "--allow-control needs hosts by name in AUTOTUNE_ALLOWED_HOSTS, got '*': any web page "
            "that a viewer opens could stop searches"
        )


def need_extra(what: str = "the dashboard") -> None:
    """Refuse to go on where a library of the dashboard's extra is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{what} needs {', '.join(missing)}; install the extra: "
            "pip install 'adan-autotune[dashboard]'"
        )


def _port(host: str, port: int) -> int:
    """Return a port one can listen on; a busy one is refused before the server starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does: a port left by a server that just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SpecError(
                f"port {port} of {host} cannot be used ({reason}); "
                "pass another --port, or --port 0 for a free one"
            ) from error
        return int(probe.getsockname()[1])


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _announced(address: str, host: str, open_browser: bool) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        click.echo(f"dashboard at {address} (Ctrl-C ends it)", err=True)
        if host not in LOOPBACK:
            click.echo(
                f"warning: {host} is reachable from other machines and there is no login", err=True
            )
        ahead.begin()
        if open_browser:
            webbrowser.open(address)
        yield

    return lifespan


class SecurityHeaders:
    """Adds headers that keep pages out of frames and addresses out of referrers."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(
        self, scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer as the application does, with the headers added."""

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self.app(scope, receive, sending)
