"""The ASGI application: its routes, its limits, and how it begins and ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from autotune import __version__
from autotune.search.declaring import Busy
from autotune.service import asking, events, health, problems, results, searches, tokens
from autotune.service.core import Service
from autotune.service.feeds import Feeds
from autotune.service.guard import Guard
from autotune.service.limits import BodyLimit
from autotune.service.metrics import Metrics
from autotune.service.observed import Observed
from autotune.service.rates import RATE
from autotune.studies.store import Store

__all__ = ["build"]


def build(storage: Store | str | None, *, rate: float = RATE) -> FastAPI:
    """Return the application; raises StorageError or AlreadyThere where it cannot serve.

    Args:
        storage: An open store, or where one is.
        rate: Requests a second of one token; 0: as many as it likes.
    """
    service = Service(storage)
    feeds = Feeds(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        feeds.close()
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
    app.state.feeds = feeds
    app.state.metrics = Metrics(service.store, lambda: feeds.listeners, lambda: service.draining)
    problems.install(app)
    app.add_exception_handler(Busy, problems.busy)
    app.state.routes = []
    for part in (searches, asking, results, events, tokens, health):
        app.include_router(part.routes)
        app.state.routes += part.routes.routes
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard, service=service, routes=app.state.routes, rate=rate)
    app.add_middleware(Observed, metrics=app.state.metrics)
    app.openapi = lambda: problems.documented(app)  # type: ignore[method-assign]
    return app
