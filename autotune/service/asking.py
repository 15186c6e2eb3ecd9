"""Routes of workers: ask for trials, give signs of life, tell losses, end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path, Request, Response

from autotune.optimizers.registry import schedule
from autotune.search import declaring, gradients, telling
from autotune.search.remote import Ended, Spent, Waits
from autotune.search.telling import End, Losses, Order
from autotune.search.turns import BEATS
from autotune.seeds import training
from autotune.service.answers import (
    EndAnswer,
    LeaseAnswer,
    Leases,
    Next,
    Schedule,
    StateOf,
)
from autotune.service.bodies import LARGEST, Ask, EndBody, Points
from autotune.service.caller import caller
from autotune.service.core import Service
from autotune.service.paths import Search, service_of
from autotune.service.problems import Problem, responses
from autotune.studies import attempts, remote
from autotune.studies.records import Asked, Gradient, Point
from autotune.studies.remote import Lease, Saved
from autotune.studies.setting import flat
from autotune.studies.tokens import Scope, TokenRecord

LONGEST = 60.0  # seconds that a request may wait
LOOK = 0.25  # seconds between looks whether anything changed
AGAIN = 5.0  # seconds after which it is decided anew in any case: leases run out
RETRY = 2  # seconds after which a worker that waits is to ask again

T = TypeVar("T")

routes = APIRouter(tags=["workers"])

_WAIT = re.compile(r"\bwait\s*=\s*\"?([0-9]{1,6})")
Id = Annotated[
    str,
    Path(pattern=r"^[0-9]{1,10}\.[0-9]{1,10}$", description="A lease, as the address of an answer.",
         examples=["4711.2"]),
]  # fmt: skip


@routes.post(
    "/v1/searches/{name}/leases",
    operation_id="ask",
    response_model=Leases,
    responses={
        **responses(404, 409, 410),
        200: {
            "description": "What to train now",
            "links": {
                name: {"operationId": name, "parameters": {"lease": "$response.body#/leases/0/id"}}
                for name in ("beat", "points", "end")
            },
        },
        204: {
            "description": "Nothing to train now",
            "headers": {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"},
                "Autotune-Reason": {"schema": {"type": "string"}, "description": "Why"},
            },
        },
    },
)
async def ask(
    name: Search,
    body: Ask,
    request: Request,
    prefer: Annotated[str | None, Header(description="`wait=25` holds the request.")] = None,
) -> Any:
    """Ask for trials to train. The same request is answered with the same leases."""
    service = service_of(request)
    token = caller(request.scope).token
    asked = Asked(
        worker=body.worker,
        request=body.request,
        pauses=body.can_pause != "none",
        token=None if token is None else token.id,
    )
    deadline = time.monotonic() + _patience(prefer)
    while True:
        if service.draining:
            text = "this server is being stopped; ask again, another or its next start answers"
            raise Problem(503, "draining", text, retry="after")
        decision = service.decide(service.ask, name, asked, body.count, body.facts)
        answer = await heard(request, decision)
        if answer is None:
            return Response(status_code=204)
        if isinstance(answer, Ended | Spent):
            raise _over(name, body, answer)
        if not isinstance(answer, Waits):
            base = request.scope.get("root_path", "")
            return Leases(leases=[_shown(one, body.can_pause, base) for one in answer])
        if not await _changed(service, name, request, deadline):
            headers = {"Retry-After": str(RETRY), "Autotune-Reason": answer.reason}
            return Response(status_code=204, headers=headers)


@routes.post("/v1/leases/{lease}/beat", operation_id="beat", responses=responses(404, 409))
async def beat(lease: Id, request: Request) -> Next:
    """Give a sign of life: the lease runs on."""
    service = service_of(request)
    return await service.run(_beat, service, lease, caller(request.scope).token)


@routes.post("/v1/leases/{lease}/points", operation_id="points", responses=responses(404, 409))
async def points(lease: Id, body: Points, request: Request) -> Next:
    """Tell measurements, and where the trial's state is kept. Told twice, they are stored once."""
    service = service_of(request)
    token = caller(request.scope).token
    lease_now, losses = await service.run(_tell, service, lease, body, token)
    late = time.monotonic() + AGAIN
    while telling.undecided(lease_now, losses):
        lease_now = await service.decide(service.goes_on, lease_now)
        if telling.undecided(lease_now, losses):
            if time.monotonic() > late:
                raise declaring.Busy(declaring.BUSY.format(lease_now.search))
            await asyncio.sleep(LOOK)
    return _next(lease_now, telling.order(lease_now, losses))


@routes.post("/v1/leases/{lease}/end", operation_id="end", responses=responses(404, 409))
async def end(lease: Id, body: EndBody, request: Request) -> EndAnswer:
    """End a lease. Told twice, it is ended once."""
    service = service_of(request)
    return await service.run(_end, service, lease, body, caller(request.scope).token)


def _patience(prefer: str | None) -> float:
    found = _WAIT.search(prefer or "")
    return min(float(found[1]), LONGEST) if found else 0.0


async def heard(request: Request, decision: Coroutine[Any, Any, T]) -> T | None:
    """Return a decision; None, and drop it where it has not begun, once its caller has gone.

    A server that is too slow would else give trials to callers who ask again already.
    """
    task = asyncio.create_task(decision)
    while not (await asyncio.wait({task}, timeout=LOOK))[0]:
        if await request.is_disconnected():
            task.cancel()
            await asyncio.wait({task})
            return None
    return task.result()


async def _changed(service: Service, name: str, request: Request, deadline: float) -> bool:
    """Wait until a search has changed; return False where the request has waited long enough."""
    before, again = await service.run(service.store.signature, name), time.monotonic() + AGAIN
    while time.monotonic() < deadline and not await request.is_disconnected():
        await asyncio.sleep(LOOK)
        late = time.monotonic() > again or service.draining
        if late or await service.run(service.store.signature, name) != before:
            return True
    return False


def _over(name: str, body: Ask, answer: Ended | Spent) -> Problem:
    if isinstance(answer, Spent):
        text = f"request '{body.request}' was answered, and its leases are over; ask by another one"
        return Problem(409, "request-spent", text)
    if answer.complete:
        text = f"search '{name}' is over; read its studies' recommendations"
        return Problem(410, "search-over", text)
    text = f"search '{name}' was told to stop; PATCH it with the command 'continue' to go on"
    return Problem(410, "search-stopped", text)


def _shown(lease: Lease, can_pause: str, base: str) -> LeaseAnswer:
    """Return a lease as its worker sees it."""
    trial, hyper = lease.trial, dict(lease.trial.setting.hyper)
    saved = lease.saved if can_pause == "checkpoint" else None
    seconds = attempts.lease().total_seconds()
    return LeaseAnswer(
        id=f"{trial.id}.{lease.attempt}",
        url=f"{base}/v1/leases/{trial.id}.{lease.attempt}",
        search=lease.search,
        study=lease.study,
        trial=trial.number,
        attempt=lease.attempt,
        role=trial.role,
        seed=training(int(lease.spec["seed"]), trial.seed),
        optimizer=lease.study,
        hyper=hyper,
        flat=dict(flat(hyper)),
        schedule=Schedule(
            type=schedule(lease.study), warmup_fraction=trial.setting.warmup, steps=trial.target
        ),
        from_step=saved.step if saved else 0,
        stop_at=telling.until(lease),
        evaluate_at=list(telling.evaluate(lease)),
        norms=gradients.norms(bool(lease.spec.get("record_norms")), trial),
        noise=list(gradients.noise(bool(lease.spec.get("measure_noise")), trial)),
        state=StateOf(**vars(saved)) if saved else None,
        expires_in=seconds,
        beat_every=seconds / BEATS,
    )


def _refuse_another(lease: Lease, token: TokenRecord | None) -> None:
    """Refuse to hear of a lease from those that did not ask for it, if its token is known."""
    if token is None or lease.token in {None, token.id} or token.scope.covers(Scope.ADMIN):
        return
    raise Problem(
        403,
        "another-token",
        f"lease {lease.trial.id}.{lease.attempt} was given to the worker of another token; ask "
        "for a lease with this one",
    )


def _lease(service: Service, text: str, token: TokenRecord | None) -> Lease:
    found = remote.lease_of(service.store, *_numbers(text))
    _refuse_another(found, token)
    if found.outcome is None:
        service.alive(found.search_id)
    return found


def _numbers(text: str) -> tuple[int, int]:
    """Return the trial and the attempt of a lease."""
    trial, attempt = map(int, text.split("."))
    if max(trial, attempt) > LARGEST:
        raise Problem(404, "not-found", f"no lease {text}; ask for one")
    return trial, attempt


def _next(lease: Lease, order: Order) -> Next:
    return Next(
        command=order,
        stop_at=lease.stop if lease.outcome else telling.until(lease),
        evaluate_at=list(telling.evaluate(lease)),
        expires_in=attempts.lease().total_seconds(),
    )


def _beat(service: Service, text: str, token: TokenRecord | None) -> Next:
    lease = _lease(service, text, token)
    telling.refuse_ended(lease)
    held = {lease.trial.id: lease.attempt}
    if service.store.beat(lease.search_id, lease.worker, held).lost:
        telling.refuse_ended(_lease(service, text, token))
    return _next(lease, telling.order(lease, telling.measured(service.store, lease)))


def _tell(
    service: Service, text: str, body: Points, token: TokenRecord | None
) -> tuple[Lease, Losses]:
    lost = body.state == "missing"
    saved = Saved(**vars(body.state)) if body.state and body.state != "missing" else None
    with remote.telling(service.store, *_numbers(text)) as told:
        lease = told.lease
        _refuse_another(lease, token)
        points = [
            Point(**{**vars(one), "seconds": lease.seconds if one.seconds is None else one.seconds})
            for one in body.points
        ]
        measured = [Gradient(**vars(one)) for one in body.gradients]
        losses = telling.add(told, points, saved, lost=lost, measured=measured)
    service.alive(lease.search_id)
    return lease, losses


def _end(service: Service, text: str, body: EndBody, token: TokenRecord | None) -> EndAnswer:
    ending = End(outcome=body.outcome, step=body.step, reason=body.reason or None)
    with remote.telling(service.store, *_numbers(text)) as told:
        _refuse_another(told.lease, token)
        trial = telling.end(told, ending)
    service.alive(told.lease.search_id)
    return EndAnswer(state=trial.state, step=trial.step, loss=trial.loss)
