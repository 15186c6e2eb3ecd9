"""Routes for whoever runs the server: does it live, can it work, what can it do."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from autotune import __version__, export, optimizers
from autotune.errors import StorageError
from autotune.service.answers import About, Health
from autotune.service.core import Service
from autotune.service.metrics import Metrics
from autotune.service.paths import service_of
from autotune.service.problems import responses

CAPABILITIES = (
    "searches", "leases", "results", "events", "tokens", "void", "registered", "try-first",
    "gradients", "add-trial",
)  # fmt: skip

routes = APIRouter(tags=["operation"])


@routes.get("/healthz")
async def alive() -> Health:
    """Say that the process answers."""
    return Health(status="ok")


@routes.get(
    "/readyz", responses={503: {"description": "Not now: Retry-After says when", "model": Health}}
)
async def ready(request: Request, response: Response) -> Health:
    """Say whether the database is reachable and new work is taken."""
    service = service_of(request)
    status = await service.run(_status, service)
    if status != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Health.model_validate({"status": status})


@routes.get(
    "/metrics",
    operation_id="metrics",
    response_class=PlainTextResponse,
    responses={
        **responses(),
        200: {"description": "In Prometheus' text form", "content": {"text/plain": {}}},
    },
)
async def metrics(request: Request) -> Response:
    """Count requests, listeners, searches, trials and leases, for Prometheus."""
    found: Metrics = request.app.state.metrics
    text = await service_of(request).run(found.text)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@routes.get("/v1", responses=responses())
async def about() -> About:
    """Say what this version of the service can do."""
    return About(
        version=__version__,
        capabilities=list(CAPABILITIES),
        optimizers=optimizers.names(),
        formats=export.formats(),
    )


def _status(service: Service) -> str:
    if service.draining:
        return "draining"
    try:
        service.store.signature()
    except StorageError:
        return "unavailable"
    return "ok"
