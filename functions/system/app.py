"""Health, the description of the API, the ledger."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from adbot_queue import ledger
from adbot_queue.core.http import PUBLIC, STAFF, Api, Request, Response
from adbot_queue.system import health, schemas

api = Api()


@api.get("/health", roles=PUBLIC, returns=schemas.Health, summary="The process answers")
def alive(_request: Request[None]) -> schemas.Health:
    """Touches nothing."""
    return schemas.Health()


@api.get("/health/ready", roles=PUBLIC, returns=schemas.Ready, summary="Tables and queues are there", also=(503,))
def ready(_request: Request[None]) -> Response:
    """503 and the names of the parts that are not."""
    parts = health.from_env().check()
    good = all(outcome == "ok" for outcome in parts.values())
    return Response(schemas.Ready(status="ready" if good else "not ready", parts=parts), 200 if good else 503)


@lru_cache(maxsize=1)
def _document() -> str:
    return Path(__file__).with_name("openapi.json").read_text()


@api.get("/openapi.json", roles=PUBLIC, summary="This description")
def openapi(_request: Request[None]) -> Response:
    """Made from the routes' declarations by `make docs`."""
    return Response(_document(), headers={"cache-control": "public, max-age=300"})


@api.get("/admin/ledger", roles=STAFF, query=schemas.LedgerQuery, returns=schemas.LedgerPage, summary="Who did what")
def read_ledger(request: Request[None]) -> schemas.LedgerPage:
    """Newest first; filters combine."""
    found, following = ledger.from_env().read(**request.query.model_dump())
    return schemas.LedgerPage.model_validate({"items": found, "next": following})


handler = api.handler
