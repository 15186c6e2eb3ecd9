"""Errors as RFC 9457 says: one form on every path, with the library's own sentence."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from autotune import __version__
from autotune.errors import (
    AlreadyThere,
    AutotuneError,
    LeaseLost,
    NotFound,
    NothingUsable,
    SpecError,
    StorageError,
    Unavailable,
)
from autotune.service.caller import caller
from autotune.studies import messages

MEDIA = "application/problem+json"
AFTER = 5  # seconds after which a database that was away is asked again

_log = logging.getLogger(__name__)
_AGENT = re.compile(r"autotune-client/([0-9]+(?:\.[0-9]+)*)")
# What PostgreSQL's driver tells of where it is.
_SERVER = re.compile(r"connection to server [^,]*(, port [0-9]+)? failed: ")
_OTHERS = re.compile(r"; did you mean | \(known: ")


class Fault(BaseModel):
    """One value of a request that cannot be used."""

    pointer: str
    detail: str


class ProblemBody(BaseModel):
    """What went wrong, in one sentence, and whether to try again: now, after a while, or not."""

    type: str
    title: str
    status: int
    detail: str
    retry: str
    errors: list[Fault] | None = None


class Problem(Exception):
    """An answer that is none of the library's errors.

    Args:
        status: HTTP status.
        kind: Last part of its type.
        detail: A sentence.
        retry: "now", "after" or "no".
        headers: Of the answer.
        **more: Further members.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        retry: str = "no",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.retry, self.headers, self.more = retry, dict(headers or {}), more


# The first that fits; status, kind and whether trying again helps.
_KINDS: tuple[tuple[type[AutotuneError], int, str, str], ...] = (
    (LeaseLost, 409, "lease-lost", "no"),
    (Unavailable, 503, "storage-unavailable", "after"),
    (StorageError, 503, "storage-unavailable", "after"),
    (NotFound, 404, "not-found", "no"),
    (AlreadyThere, 409, "conflict", "no"),
    (NothingUsable, 409, "not-judged-yet", "after"),
    (SpecError, 422, "invalid", "no"),
    (AutotuneError, 400, "refused", "no"),
)

_TITLES = {
    "lease-lost": "The lease is over",
    "storage-unavailable": "The database cannot be used now",
    "not-found": "There is no such thing",
    "conflict": "It is something else already",
    "not-judged-yet": "Nothing was judged yet",
    "invalid": "The request cannot be used",
    "refused": "The request is refused",
    "scope-too-small": "The token is not good for this",
    "another-token": "The lease is another token's",
    "another-search": "The token is not for this search",
    "internal": "The service failed",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems that a route may answer with, as OpenAPI documents them."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    always = (400, 401, 403, 413, 422, 429, 500, 503)
    return {
        status: {"description": _phrase(status), "content": content}
        for status in sorted({*always, *statuses})
    }


def _phrase(status: int) -> str:
    """Return what a status is called, by RFC 9110; Python 3.11 and 3.12 have older names."""
    newer = {413: "Content Too Large", 422: "Unprocessable Content"}
    return newer.get(status) or HTTPStatus(status).phrase


def install(app: FastAPI) -> None:
    """Answer every error of an application as a problem."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(AutotuneError, _of_library)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_anything)


def too_large() -> str:
    """Return the sentence for a body that is too large."""
    return "the body is larger than 1 MB; send fewer points in one call"


def problem(error: Problem) -> JSONResponse:
    """Return the answer of a problem."""
    title = _TITLES.get(error.kind) or error.kind.replace("-", " ").capitalize()
    body = {
        "type": f"urn:autotune:{error.kind}",
        "title": title,
        "status": error.status,
        "detail": error.detail,
        "retry": error.retry,
        **error.more,
    }
    headers = dict(error.headers)
    if error.retry == "after":
        headers.setdefault("Retry-After", str(AFTER))
    return JSONResponse(body, error.status, headers=headers, media_type=MEDIA)


def of_library(error: AutotuneError) -> Problem:
    """Return a library's error as a problem with the same sentence."""
    status, kind, retry = next(
        (status, kind, retry) for one, status, kind, retry in _KINDS if isinstance(error, one)
    )
    return Problem(status, kind, str(error), retry=retry)


async def busy(_: Request, error: Exception) -> Response:
    """Answer that another process decides at this moment."""
    return problem(Problem(503, "busy", str(error), retry="now", headers={"Retry-After": "1"}))


def documented(app: FastAPI) -> dict[str, Any]:
    """Return the application's OpenAPI document, with the form of its problems."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        shape = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= shape.pop("$defs", {})
        schemas["ProblemBody"] = shape
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        _secured(made)
        _parameters(made)
        _streams(made)
        app.openapi_schema = made
    return app.openapi_schema


def _secured(document: dict[str, Any]) -> None:
    """Say which routes ask for a token, once there is one."""
    scheme = {"type": "http", "scheme": "bearer", "description": "Of autotune token create."}
    document["components"]["securitySchemes"] = {"token": scheme}
    for methods in document["paths"].values():
        for route in methods.values():
            if "401" in route["responses"]:
                route["security"] = [{"token": []}]


def _parameters(document: dict[str, Any]) -> None:
    """Say of parameters what their types do not: none is null, and If-Match is needed.

    Without it, where it is needed, the answer is a problem of its own, 428.
    """
    for methods in document["paths"].values():
        for route in methods.values():
            for one in route.get("parameters", ()):
                kinds = one["schema"].pop("anyOf", ())
                one["schema"] |= next((k for k in kinds if k.get("type") != "null"), {})
                if one["name"] == "if-match" and "428" in route["responses"]:
                    one["required"] = True


def _streams(document: dict[str, Any]) -> None:
    """Leave of a stream's description what each of its items is."""
    for methods in document["paths"].values():
        for route in methods.values():
            for content in route["responses"].get("200", {}).get("content", {}).values():
                if "itemSchema" in content:
                    content.pop("schema", None)


async def _of_problem(_: Request, error: Exception) -> Response:
    found = error if isinstance(error, Problem) else Problem(500, "internal", str(error))
    return problem(found)


async def _of_library(request: Request, error: Exception) -> Response:
    if not isinstance(error, AutotuneError):
        raise error
    token = caller(request.scope).token
    alone = token is not None and token.search is not None
    return problem(told(error, str(request.app.state.service.store), alone=alone))


def told(error: AutotuneError, where: str, *, alone: bool = False) -> Problem:
    """Return a library's error as the problem that a caller may know.

    Args:
        error: The error.
        where: What the library calls the database: the server's matter.
        alone: Whether the caller may know one search only, and not the others' names.
    """
    found = of_library(error)
    for words, instead in (
        (f" in {where}, which", "; it"),
        (f"storage {where}", "the database"),
        (f" in {where}", ""),
        (where, "it"),
    ):
        found.detail = found.detail.replace(words, instead)
    found.detail = _SERVER.sub("", found.detail)
    if alone and isinstance(error, NotFound):
        found.detail = _OTHERS.split(found.detail)[0]
    return found


async def _of_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path, method = request.url.path, request.method
    status = error.status_code
    said = {
        400: "the body cannot be read as JSON: send an object as UTF-8 text, neither compressed "
        "nor nested deeply",
        404: f"there is no resource {path}; GET /openapi.json lists what there is",
        405: f"{path} does not know {method}; the header Allow lists what it knows",
        413: too_large(),
    }.get(status, str(error.detail))
    said += _newer(request) if status in {404, 405} else ""
    kind = _phrase(status).lower().replace(" ", "-")
    headers = {"Allow": _methods(request)} if status == 405 else error.headers
    return problem(Problem(status, kind, said, headers=headers))


def _methods(request: Request) -> str:
    """Return what a path knows: several routes may be of one path."""
    known: set[str] = set()
    routes: list[Route] = request.app.state.routes
    for route in routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            known |= route.methods or set()
    return ", ".join(sorted(known))


async def _of_anything(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = "the service failed; its log says how, and the same call may be repeated"
    return problem(Problem(500, "internal", text, retry="after"))


def _newer(request: Request) -> str:
    """Return the end of a sentence on what a newer client may know and this version does not."""
    found = _AGENT.match(request.headers.get("user-agent", ""))
    if found is None or _parts(found[1]) <= _parts(__version__):
        return ""
    return (
        f"; the client is of version {found[1]}, this service of {__version__}: upgrade the service"
    )


def _parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"[0-9]{1,9}", version)]


async def _of_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = list(_faults(error.errors()))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    more += _newer(request)
    errors = [fault.model_dump() for fault in faults]
    return problem(Problem(422, "invalid", faults[0].detail + more, errors=errors))


def _faults(errors: Iterable[Any]) -> Iterable[Fault]:
    for error in errors:
        where, *path = error["loc"]
        inner: Any = {**error, "loc": tuple(path)}
        said = messages.sentence(inner)
        if where == "body" and not path:
            said = "the body must be a JSON object, sent with Content-Type: application/json"
        if error["type"] == "json_invalid":
            # What it has for a path is the place in the text.
            said = f"the body is not JSON: {error['ctx']['error']} at character {path.pop()}"
        pointer = "".join(f"/{part}" for part in path) if where == "body" else f"{where}:{path[0]}"
        yield Fault(pointer=pointer, detail=said)
