"""Tokens over the API: mint, list, revoke. Scope admin, and a token that is good for every log.

Spec: auditlog/spec/api.md, "Tokens". Must never: show a token a second time.
"""

from __future__ import annotations

import asyncio
import secrets
import time

from fastapi import APIRouter, Request, Response

from auditlog.errors import ConfigurationError, NotFoundError
from auditlog.service.api.models import NewToken, TokenInfo, TokenList, TokenMinted
from auditlog.service.api.openapi import json_body
from auditlog.service.context import context_of, require, require_async
from auditlog.service.instants import format_instant, parse_expiry
from auditlog.service.receive import read_json
from auditlog.service.tokens import mint_token, token_sha256
from auditlog.storage.sql.tokens import TokenRecord

router = APIRouter(tags=["tokens"])


@router.get("/tokens")
def list_tokens(request: Request) -> TokenList:
    """Every token without its secret."""
    require(request, "admin")
    return TokenList(tokens=[_info(each) for each in context_of(request).tokens.all()])


@router.post("/tokens", status_code=201, openapi_extra=json_body(NewToken))
async def mint(request: Request, response: Response) -> TokenMinted:
    """Mint a token. Its secret is in this answer and nowhere else."""
    await require_async(request, "admin")
    context = context_of(request)
    wanted = await read_json(request, NewToken, timeout_s=context.settings.service.body_timeout_s)
    logs = None if wanted.logs is None else frozenset(wanted.logs)
    missing = (logs or frozenset()) - {each.name for each in context.hosting.all()}
    if missing:
        # A log of that name, made later by somebody, would find a token that is good for it already.
        raise ConfigurationError(f"expected names of logs of this service, found {sorted(missing)}")
    secret = mint_token(secrets.token_bytes(32))
    scopes, expires_us = frozenset(wanted.scopes), _expiry(wanted)
    token = TokenRecord(token_sha256(secret), wanted.name, scopes, logs, expires_us, wanted.producers)
    await asyncio.to_thread(context.tokens.add, token)
    response.headers["Cache-Control"] = "no-store"
    return TokenMinted(**_info(token).model_dump(), token=secret)


@router.delete("/tokens/{name}", status_code=204, response_class=Response)
def revoke(request: Request, name: str) -> Response:
    """Revoke a token made by the command line or this API; the configuration's are revoked there."""
    require(request, "admin")
    if not context_of(request).tokens.revoke(name):
        raise NotFoundError("expected the name of a token of the store, found none")
    return Response(status_code=204)


def _info(token: TokenRecord) -> TokenInfo:
    """A token without its secret."""
    logs = None if token.logs is None else sorted(token.logs)
    return TokenInfo(
        name=token.name,
        scopes=sorted(token.scopes),
        logs=logs,
        expires=None if token.expires_us is None else format_instant(token.expires_us),
        producers=token.producers,
    )


def _expiry(wanted: NewToken) -> int | None:
    """When the token ends, Unix microseconds. Raises ConfigurationError."""
    now_us = time.time_ns() // 1000
    return None if wanted.expires is None else parse_expiry(wanted.expires, now_us=now_us)
