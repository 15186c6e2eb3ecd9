"""Routes of what was found: trials, curves, recommendations and exports."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse

from autotune import export, registry
from autotune.errors import NotFound, NothingUsable
from autotune.results.comparison import Row
from autotune.results.intervals import Estimate
from autotune.results.tuned import tuned
from autotune.search import declaring, details
from autotune.search.adding import ELSEWHERE, Measured
from autotune.search.stored import studies
from autotune.service.answers import (
    EstimateAnswer,
    PointAnswer,
    Recommendation,
    TrialAnswer,
    Trials,
)
from autotune.service.bodies import LARGEST, AddBody, Void
from autotune.service.core import Service
from autotune.service.paths import Optimizer, Search, service_of, study_url
from autotune.service.problems import responses
from autotune.service.searches import ETAG
from autotune.studies import remote
from autotune.studies.records import Point, Role, SearchState, TrialRecord, TrialState

routes = APIRouter(tags=["results"])

STUDY = "/v1/searches/{name}/studies/{optimizer}"
Number = Annotated[int, Path(ge=0, le=LARGEST, description="Of the trial in its study.")]


@routes.get(STUDY + "/trials", responses=responses(404))
async def trials(
    name: Search,
    optimizer: Optimizer,
    request: Request,
    state: TrialState | None = None,
    after: Annotated[int, Query(ge=-1, le=LARGEST, description="Number of the last trial.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Trials:
    """List the trials of a study by number."""
    service = service_of(request)
    base = request.scope.get("root_path", "") + study_url(name, optimizer)
    found = await service.run(_trials, service, name, optimizer, state, after, limit + 1)
    following = None
    if len(found) > limit:
        url = request.url.include_query_params(after=found[limit - 1].number, limit=limit)
        following = f"{url.path}?{url.query}"
    return Trials(trials=[trial_answer(one, base) for one in found[:limit]], next=following)


# The kind of its last part keeps it apart from the address below.
@routes.get(STUDY + "/trials/{number:int}", responses=responses(404))
async def trial(
    name: Search,
    optimizer: Optimizer,
    number: Number,
    request: Request,
) -> TrialAnswer:
    """Read a trial with its curve."""
    service = service_of(request)
    base = request.scope.get("root_path", "") + study_url(name, optimizer)
    return await service.run(_trial, service, name, optimizer, number, base)


@routes.post(
    STUDY + "/trials",
    responses={
        **responses(404, 409),
        200: {"description": "It was added before"},
        201: {"description": "It was added", "model": TrialAnswer},
    },
)
async def add(
    name: Search, optimizer: Optimizer, body: AddBody, request: Request, response: Response
) -> TrialAnswer:
    """Tell a trial that was measured elsewhere: samplers learn from it, and it does not count."""
    service = service_of(request)
    base = request.scope.get("root_path", "") + study_url(name, optimizer)
    found, new = await service.decide(_add, service, name, optimizer, body)
    response.status_code = 201 if new else 200
    return trial_answer(found, base)


@routes.post(STUDY + "/trials/{number:int}:void", responses=responses(404))
async def void(
    name: Search, optimizer: Optimizer, number: Number, body: Void, request: Request
) -> TrialAnswer:
    """Let nothing that was measured of a trial count: it failed for good, or is run again."""
    service = service_of(request)
    base = request.scope.get("root_path", "") + study_url(name, optimizer)
    return await service.run(_void, service, name, optimizer, number, body, base)


@routes.get(
    STUDY + "/recommendation",
    responses={**responses(404, 409), 200: {"description": "The setting", "headers": ETAG}},
)
async def recommendation(
    name: Search, optimizer: Optimizer, request: Request, response: Response
) -> Recommendation:
    """Read the setting that a study recommends, judged on fresh seeds."""
    service = service_of(request)
    tag, found = await service.run(_recommended, service, name, optimizer)
    response.headers["ETag"] = f'"{tag}"'
    return found


@routes.get(
    STUDY + "/export",
    response_class=PlainTextResponse,
    responses={
        **responses(404, 409),
        200: {"description": "The setting in the form another tool reads"},
    },
)
async def exported(
    name: Search,
    optimizer: Optimizer,
    request: Request,
    format: Annotated[
        str, Query(description="One of those that GET /v1 lists.", examples=["json"])
    ] = "json",
) -> PlainTextResponse:
    """Write the recommended setting for another tool."""
    service = service_of(request)
    return PlainTextResponse(await service.run(_export, service, name, optimizer, format))


def _trials(
    service: Service, name: str, optimizer: str, state: TrialState | None, after: int, limit: int
) -> list[TrialRecord]:
    (study,) = studies(service.store.search(name), optimizer)
    return service.store.trials(study.id, state=state, after=after, limit=limit)


def _known(service: Service, name: str, optimizer: str, number: int) -> TrialRecord:
    found = _trials(service, name, optimizer, None, number - 1, 1)
    if not found or found[0].number != number:
        raise NotFound(f"no trial {number} of {optimizer} in search '{name}'")
    return found[0]


def _trial(service: Service, name: str, optimizer: str, number: int, base: str) -> TrialAnswer:
    found = _known(service, name, optimizer, number)
    points = [PointAnswer(**vars(one)) for one in service.store.curve(found.id)]
    return trial_answer(found, base).model_copy(update={"points": points})


def _add(service: Service, name: str, optimizer: str, body: AddBody) -> tuple[TrialRecord, bool]:
    studies(service.store.search(name), optimizer)
    points = [Point(**{**vars(one), "seconds": one.seconds or 0.0}) for one in body.points]
    measured = Measured(
        optimizer=optimizer,
        hyper=body.hyper,
        points=points,
        warmup=body.warmup,
        origin=body.origin or ELSEWHERE,
    )
    return service.add(name, measured)


def _void(
    service: Service, name: str, optimizer: str, number: int, body: Void, base: str
) -> TrialAnswer:
    standing = remote.standing(service.store, name)
    with declaring.turn(service.store, standing, service.name):
        found = _known(service, name, optimizer, number)
        kept = declaring.void(service.store, name, found, body.reason, again=body.again)
    return trial_answer(kept, base)


def _recommended(service: Service, name: str, optimizer: str) -> tuple[str, Recommendation]:
    tag = remote.standing(service.store, name).tag
    studies(service.store.search(name), optimizer)
    found = details.comparison(service.store, name)
    row = next(row for row in found.rows if row.optimizer == optimizer)
    if row.tuned.loss is None:
        raise NothingUsable(row.verdict)
    return tag, _recommendation(name, row, complete=found.search.state is SearchState.COMPLETE)


def _recommendation(name: str, row: Row, *, complete: bool) -> Recommendation:
    return Recommendation(
        search=name,
        optimizer=row.optimizer,
        hyper=dict(row.tuned.setting.hyper),
        warmup=row.tuned.setting.warmup,
        loss=_estimate(row.tuned.loss),
        default=_estimate(row.default.loss),
        difference=_estimate(row.difference),
        seeds=row.tuned.losses,
        verdict=row.verdict,
        against_adamw=row.reference_verdict,
        complete=complete,
    )


def _export(service: Service, name: str, optimizer: str, format: str) -> str:
    studies(service.store.search(name), optimizer)
    registry.check(export.GROUP, format)  # a misspelt one is no reason to wait for a judging run
    return export.render(tuned(service.store, name, optimizer), format)


def _estimate(found: Estimate | None) -> EstimateAnswer | None:
    return None if found is None else EstimateAnswer(**vars(found))


def trial_answer(trial: TrialRecord, base: str) -> TrialAnswer:
    """Return a trial as it is shown; ``base`` is the address of its study."""
    same = ("number", "role", "origin", "state", "step", "target", "loss", "accuracy", "seconds",
            "reason", "source")  # fmt: skip
    values: dict[str, Any] = {key: getattr(trial, key) for key in same}
    return TrialAnswer(
        seed_index=None if trial.role is Role.ADDED else trial.seed,
        hyper=dict(trial.setting.hyper),
        warmup=trial.setting.warmup,
        url=f"{base}/trials/{trial.number}",
        **values,
    )
