"""The ASGI application: its routes, its limits, and how it begins and ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from autotune import __version__
from autotune.search.declaring import Busy
from autotune.service import asking, health, problems, results, searches
from autotune.service.core import Service
from autotune.service.limits import BodyLimit
from autotune.studies.store import Store

__all__ = ["build"]


def build(storage: Store | str | None) -> FastAPI:
    """Return the application; raises StorageError or AlreadyThere where it cannot serve."""
    service = Service(storage)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="autotune",
        version=__version__,
        description="Searches for optimizer settings: workers ask for trials and tell losses.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(BodyLimit)
    problems.install(app)
    app.add_exception_handler(Busy, problems.busy)
    app.state.routes = []
    for part in (searches, asking, results, health):
        app.include_router(part.routes)
        app.state.routes += part.routes.routes
    app.openapi = lambda: problems.documented(app)  # type: ignore[method-assign]
    return app
