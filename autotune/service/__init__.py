"""Searches over HTTP: workers anywhere ask for trials, tell losses and read the verdict.

The server decides, stores and trains nothing. It needs the extra ``service``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from autotune.errors import MissingExtra

if TYPE_CHECKING:
    from fastapi import FastAPI

    from autotune.studies.store import Store

__all__ = ["app", "missing"]

NEEDED = ("fastapi", "prometheus_client", "uvicorn")


def app(storage: Store | str | None = None) -> FastAPI:
    """Return the service as an ASGI application, to be run, embedded or mounted.

    From the first token on (``autotune token create``) it answers nobody without one. Before, it
    answers all who reach it: whoever embeds it sees to that.

    Args:
        storage: An open store, which stays its owner's to close; or a database file or URL, which
            is opened when the application starts. None: ``AUTOTUNE_STORAGE``, else
            ``autotune.db``.

    Raises:
        MissingExtra: FastAPI is not installed.

    Example:
        >>> from starlette.testclient import TestClient
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with TestClient(app(f"{folder.name}/autotune.db")) as client:
        ...     client.get("/healthz").json()
        {'status': 'ok'}
        >>> folder.cleanup()
    """
    if text := missing():
        raise MissingExtra(text)
    from autotune.service.application import build

    return build(storage)


def missing() -> str:
    """Return a sentence about what has to be installed for the service; empty if nothing has."""
    names = [name for name in NEEDED if find_spec(name) is None]
    if not names:
        return ""
    return (
        f"the service needs {' and '.join(names).replace('_', '-')}; install the extra: "
        "pip install 'adan-autotune[service]'"
    )
