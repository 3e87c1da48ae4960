"""POST /adbots/{id}/start and /stop: by the bot's owner or an operator; QUEUED is refused first."""

from __future__ import annotations

from typing import Any

from adbot_queue.adbots import service
from adbot_queue.adbots.api import commands as requests
from adbot_queue.adbots.api import schemas
from adbot_queue.core.callers import ADMINS, CUSTOMERS
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound
from adbot_queue.core.http import Api, Request, Response

api = Api("Bots")
declared: dict[str, Any] = {
    "roles": ADMINS | CUSTOMERS,
    "returns": schemas.AdbotView,
    "raises": (NotFound, Conflict, IdempotencyMismatch),
}


def _owner(request: Request[Any]) -> str | None:
    return None if request.caller.is_admin else request.caller.id


@api.post("/adbots/{id}/start", summary="Start a bot (403 while it is QUEUED)", **declared)
def start_adbot(request: Request[None]) -> Response:
    """READY or STOPPED becomes RUNNING. 403 tells how many sessions are missing, and why."""
    command = requests.command_of(request)
    return schemas.done(service.from_env().start(request.path["id"], command, _owner(request)))


@api.post("/adbots/{id}/stop", summary="Stop a running bot", **declared)
def stop_adbot(request: Request[None]) -> Response:
    """RUNNING becomes STOPPED."""
    command = requests.command_of(request)
    return schemas.done(service.from_env().stop(request.path["id"], command, _owner(request)))


handler = api.handler
