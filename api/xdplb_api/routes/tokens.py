# SPDX-License-Identifier: Apache-2.0
"""The tokens of the API."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from xdplb.control.events import Actor, TokenAdded, TokenRemoved
from xdplb.model.moment import moment_text
from xdplb.model.role import Role
from xdplb_api.answers import problems
from xdplb_api.deps import ControlOf, DryRunFlag
from xdplb_api.json_body import JsonRoute
from xdplb_api.peer import actor_of
from xdplb_api.rights.needs import needs
from xdplb_api.rights.token_file import TokenFile
from xdplb_api.schemas.token import TokenAddedOut, TokenDryRunOut, TokenIn, TokenListOut, TokenOut

__all__ = ["router"]

TOKENS = "/tokens"
TOKEN = f"{TOKENS}/{{name}}"

router = APIRouter(tags=["tokens"], route_class=JsonRoute)


async def _tokens(request: Request) -> TokenFile:
    tokens: TokenFile = request.app.state.tokens
    return tokens


TokensOf = Annotated[TokenFile, Depends(_tokens)]
ActorOf = Annotated[Actor, Depends(actor_of)]
TokenName = Annotated[str, Path(description="The token's name.", examples=["ci"])]


@router.get(
    TOKENS,
    operation_id="listTokens",
    summary="List the tokens",
    openapi_extra=needs(Role.ADMIN),
    responses=problems(422),
)
async def list_tokens(tokens: TokensOf) -> TokenListOut:
    """Show all tokens, also those that have expired. Their secrets are not kept, so they cannot be shown."""
    now = time.time()
    return TokenListOut(tokens=[TokenOut.of(token, now) for token in tokens.tokens.all()])


@router.post(
    TOKENS,
    operation_id="addToken",
    summary="Add a token",
    status_code=201,
    response_model=TokenAddedOut,
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"model": TokenDryRunOut, "description": "With `dry_run`: what would change."},
        201: {"description": "It was added. `token` is its secret, which is shown only now."},
        **problems(400, 409, 413, 415, 422, 503),
    },
)
async def add_token(
    body: TokenIn,
    tokens: TokensOf,
    control: ControlOf,
    actor: ActorOf,
    response: Response,
    *,
    dry_run: DryRunFlag = False,
) -> TokenAddedOut | Response:
    """Add a token. Whoever sends it as `Authorization: Bearer TOKEN` has its role until it expires or is removed."""
    response.headers["Cache-Control"] = "no-store"
    if dry_run:
        tokens.tokens.made(body.name, body.role, body.expires_in_seconds)
        return _would(f"token {body.name} with the role {body.role} is added")
    token, secret = await tokens.add(body.name, body.role, body.expires_in_seconds)
    added = TokenAddedOut.with_secret(token, secret)
    expires = None if added.expires is None else moment_text(added.expires)
    control.say(TokenAdded(actor, token.name, token.role.value, expires))
    return added


@router.delete(
    TOKEN,
    operation_id="removeToken",
    summary="Remove a token",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Role.ADMIN),
    responses={
        200: {"model": TokenDryRunOut, "description": "With `dry_run`: what would change."},
        204: {"description": "It was removed."},
        **problems(404, 422, 503),
    },
)
async def remove_token(
    name: TokenName, tokens: TokensOf, control: ControlOf, actor: ActorOf, *, dry_run: DryRunFlag = False
) -> Response:
    """Remove a token. Requests with it are refused from now on, and what is being answered to it is cut off."""
    token = tokens.tokens.named(name)
    if dry_run:
        return _would(f"token {name} is removed")
    await tokens.remove(token)
    control.say(TokenRemoved(actor, name))
    return Response(status_code=204)


def _would(change: str) -> Response:
    return JSONResponse(TokenDryRunOut.of(change).model_dump(mode="json"))
