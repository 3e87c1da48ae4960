"""Health, the description of the API, the ledger."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from adbot_queue import ledger
from adbot_queue.core.callers import PUBLIC, STAFF
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.ledger import search
from adbot_queue.operations import readiness as health
from adbot_queue.operations import system_schemas as schemas

api = Api("System")


@api.get("/health", roles=PUBLIC, returns=schemas.Health, summary="Check that the API answers")
def get_health(_request: Request[None]) -> schemas.Health:
    """Touches no dependency."""
    return schemas.Health()


@api.get(
    "/health/ready",
    roles=PUBLIC,
    returns=schemas.Readiness,
    summary="Check that tables and queues are reachable",
    also=(503,),
)
def get_readiness(_request: Request[None]) -> Response:
    """503 names the parts that are not."""
    parts = health.from_env().check()
    good = all(outcome == "ok" for outcome in parts.values())
    return Response(schemas.Readiness(status="ready" if good else "not ready", parts=parts), 200 if good else 503)


@lru_cache(maxsize=1)
def _document() -> str:
    return Path(__file__).with_name("openapi.json").read_text()


@api.get("/openapi.json", roles=PUBLIC, returns=schemas.ApiDocument, summary="Get this document")
def get_openapi(_request: Request[None]) -> Response:
    """Generated from the declared routes by `make docs`."""
    return Response(_document(), headers={"cache-control": "public, max-age=300"})


@api.get(
    "/admin/ledger",
    roles=STAFF,
    query=schemas.LedgerQuery,
    returns=schemas.LedgerPage,
    summary="List ledger entries: who changed what, when and why",
    tag="Ledger",
)
def list_ledger_entries(request: Request[None]) -> schemas.LedgerPage:
    """Newest first; filters combine."""
    found, following = search.read(ledger.from_env(), **request.query.model_dump())
    return schemas.LedgerPage.model_validate({"items": found, "next": following})


handler = api.handler
