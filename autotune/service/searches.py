"""Routes of searches: begin, list, read, change and delete them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from autotune.search import declaring
from autotune.service.answers import (
    SearchAnswer,
    Searches,
    StudyAnswer,
    Valid,
)
from autotune.service.bodies import Change, SearchBody
from autotune.service.core import Service
from autotune.service.foreign import refuse_others
from autotune.service.paths import STORED, NewSearch, Search, search_url, service_of, study_url
from autotune.service.problems import Problem, responses
from autotune.studies import remote
from autotune.studies.records import SearchRecord
from autotune.studies.remote import Standing
from autotune.studies.spec import SearchSpec

routes = APIRouter(tags=["searches"])

ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Changes with the search."}}
Match = Annotated[
    str | None,
    Header(description="The ETag of the search that this is meant for, or `*`.", examples=["*"]),
]


def spec_of(body: SearchBody, name: str) -> SearchSpec:
    """Return the spec that a body says."""
    refuse_others(body.optimizers)
    given = body.model_dump(mode="json", exclude={"task"})
    return declaring.spec_of(body.task.model_dump(), given, name)


@routes.post("/v1/searches:validate", responses=responses())
async def validate(body: SearchBody, request: Request) -> Valid:
    """Check a search and say what it would be; nothing is stored."""
    found = await service_of(request).run(declaring.foreseen, spec_of(body, "new"))
    return Valid(**found)


@routes.put(
    "/v1/searches/{name}",
    responses={
        **responses(409, 412),
        200: {"description": "It is there with the same spec", "headers": ETAG},
        201: {"description": "It was begun", "model": SearchAnswer, "headers": ETAG},
    },
)
async def put(
    name: NewSearch,
    body: SearchBody,
    request: Request,
    response: Response,
    if_none_match: Annotated[str | None, Header(description="`*` insists on a new search.")] = None,
) -> SearchAnswer:
    """Begin a search, or state again what it is."""
    service = service_of(request)
    if if_none_match is not None:
        await service.run(_refuse_there, service, name, if_none_match)
    try:
        new = await service.run(declaring.begin, spec_of(body, name), service.store)
    except declaring.Differs as error:
        raise Problem(409, "spec-differs", str(error), differs=error.keys) from None
    response.status_code = 201 if new else 200
    return await _answer(service, name, request, response)


@routes.get("/v1/searches", responses=responses(404))
async def listed(
    request: Request,
    after: Annotated[
        str | None,
        Query(max_length=200, pattern=STORED, description="Name of the last search of a page."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Searches:
    """List searches, the newest first."""
    service, base = service_of(request), request.scope.get("root_path", "")
    found = await service.run(_page, service, base, after, limit + 1)
    last = found[limit - 1].name if len(found) > limit else None
    following = request.url.include_query_params(after=last, limit=limit) if last else None
    address = f"{following.path}?{following.query}" if following else None
    return Searches(searches=found[:limit], next=address)


@routes.get(
    "/v1/searches/{name}",
    responses={**responses(404), 200: {"description": "The search", "headers": ETAG}},
)
async def read(name: Search, request: Request, response: Response) -> SearchAnswer:
    """Read a search."""
    return await _answer(service_of(request), name, request, response)


@routes.patch(
    "/v1/searches/{name}",
    responses={
        **responses(404, 409, 412, 428),
        200: {"description": "The search as it is now", "headers": ETAG},
    },
)
async def patch(
    name: Search, body: Change, request: Request, response: Response, if_match: Match = None
) -> SearchAnswer:
    """Tell the workers of a search to pause, stop or continue, or let it spend more."""
    service = service_of(request)
    await service.run(_change, service, name, body, if_match)
    return await _answer(service, name, request, response)


@routes.delete("/v1/searches/{name}", status_code=204, responses=responses(404, 409, 412, 428))
async def delete(name: Search, request: Request, if_match: Match = None) -> None:
    """Delete a search that no worker runs, with everything in it."""
    service = service_of(request)
    await service.run(_remove, service, name, if_match)


def _refuse_there(service: Service, name: str, unless: str) -> None:
    there = remote.standings(service.store, [name]).get(name)
    if there and (unless.strip() == "*" or _tag(there) in unless):
        text = f"search '{name}' is there already; leave out If-None-Match to state it again"
        raise Problem(412, "already-there", text)


def _change(service: Service, name: str, body: Change, match: str | None) -> None:
    more = {key: value for key, value in body.model_dump().items() if value is not None}
    command = more.pop("command", None)
    with declaring.turn(service.store, _meant(service, name, match), service.name) as now:
        _refuse_stale(now, match)
        declaring.change(service.store, name, command, more)


def _remove(service: Service, name: str, match: str | None) -> None:
    with declaring.turn(service.store, _meant(service, name, match), service.name) as now:
        _refuse_stale(now, match)
        declaring.remove(service.store, name)
    service.forget(name)


def _meant(service: Service, name: str, match: str | None) -> Standing:
    found = remote.standing(service.store, name)
    if match is None:
        text = (
            f"a change of search '{name}' needs the header If-Match: give the ETag that GET "
            "answered with, or * for whatever it is now"
        )
        raise Problem(428, "if-match-needed", text)
    return found


def _refuse_stale(now: Standing, match: str | None) -> None:
    if match is not None and match.strip() != "*" and _tag(now) not in match:
        text = f"search '{now.name}' has changed since; GET it again and decide anew"
        raise Problem(412, "changed-since", text)


def _tag(standing: Standing) -> str:
    return f'"{standing.tag}"'


async def _answer(
    service: Service, name: str, request: Request, response: Response
) -> SearchAnswer:
    base = request.scope.get("root_path", "")
    standing, found = await service.run(_read, service, base, name)
    response.headers["ETag"] = _tag(standing)
    return found


def _read(service: Service, base: str, name: str) -> tuple[Standing, SearchAnswer]:
    standing = remote.standing(service.store, name)
    return standing, _shown(service.store.search(name), standing, base)


def _page(service: Service, base: str, after: str | None, limit: int) -> list[SearchAnswer]:
    if after is not None:
        remote.standing(service.store, after)
    found = service.store.searches(after=after, limit=limit)
    known = remote.standings(service.store, [one.name for one in found])
    return [_shown(one, known[one.name], base) for one in found if one.name in known]


def _shown(search: SearchRecord, standing: Standing, base: str) -> SearchAnswer:
    shown: dict[str, Any] = {key: getattr(search, key) for key in ("created", "updated", "seconds")}
    return SearchAnswer(
        name=search.name,
        url=base + search_url(search.name),
        state=standing.state,
        command=standing.command,
        revision=standing.revision,
        task=search.task,
        spec=search.spec,
        studies=study_answers(search, base),
        **shown,
    )


def study_answers(search: SearchRecord, base: str) -> list[StudyAnswer]:
    """Return a search's studies as they are shown; ``base`` is where the service is mounted."""
    return [
        StudyAnswer(
            optimizer=study.optimizer,
            counts=study.counts,
            best=study.best,
            added=study.added,
            url=base + study_url(search.name, study.optimizer),
        )
        for study in search.studies
    ]
