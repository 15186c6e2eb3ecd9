"""Routes of those who run a service: tokens made, listed and revoked."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from autotune.service.answers import MadeToken, TokenAnswer, Tokens
from autotune.service.bodies import LARGEST, TokenBody
from autotune.service.caller import caller
from autotune.service.core import Service
from autotune.service.paths import service_of
from autotune.service.problems import Problem, responses
from autotune.studies import tokens
from autotune.studies.tokens import TokenRecord

routes = APIRouter(tags=["tokens"])

Number = Annotated[int, Path(ge=0, le=LARGEST, description="Number of a token.", examples=[1])]


@routes.get("/v1/tokens", operation_id="token_list", responses=responses())
async def token_list(request: Request) -> Tokens:
    """List every token that was ever made. Their secrets are not known."""
    service = _known(request)
    found = await service.run(tokens.listed, service.store)
    return Tokens(tokens=[_shown(one) for one in found])


@routes.post("/v1/tokens", operation_id="token_create", status_code=201, responses=responses())
async def token_create(body: TokenBody, request: Request) -> MadeToken:
    """Make a token. The answer alone holds its secret, which cannot be had again."""
    service = _known(request)
    made, secret = await service.run(
        tokens.create, service.store, body.name, body.scope, search=body.search, days=body.days
    )
    return MadeToken(**vars(_shown(made)), secret=secret)


@routes.delete(
    "/v1/tokens/{number}",
    operation_id="token_revoke",
    status_code=204,
    responses=responses(404),
)
async def token_revoke(number: Number, request: Request) -> None:
    """Revoke a token, at once and for good."""
    service = _known(request)
    await service.run(tokens.revoke, service.store, number)


def _known(request: Request) -> Service:
    """Return the service; refuse whoever has no token, as the first would lock all others out."""
    if caller(request.scope).token is None:
        text = "the first token is made where the database is: autotune token create NAME"
        raise Problem(403, "scope-too-small", text)
    return service_of(request)


def _shown(token: TokenRecord) -> TokenAnswer:
    return TokenAnswer(**vars(token))
