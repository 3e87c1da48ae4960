"""POST /admin/adbots: an operator makes a bot; order and bot are always created."""

from __future__ import annotations

from adbot_queue.adbots import service
from adbot_queue.adbots.api import commands as requests
from adbot_queue.adbots.api import schemas
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.core.callers import ADMINS
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.core.settings import settings

api = Api("Bots")


@api.post(
    "/admin/adbots",
    roles=ADMINS,
    body=schemas.CreateAdbot,
    returns=schemas.AdbotView,
    status=201,
    also=(200,),
    summary="Create a bot with an order of amount 0, or for an order in REVIEW",
    raises=(NotFound, Conflict, IdempotencyMismatch),
)
def create_adbot(request: Request[schemas.CreateAdbot]) -> Response:
    """Creates order and bot; the answer shows whether the bot is READY or QUEUED.

    200 for an order in REVIEW that has a bot: it is settled, and the bot stays as it is.
    """
    body = request.body
    pool = body.pool or (None if body.order_id else settings().default_pool)
    wanted = AdbotSpec(body.user_id, body.required_sessions, pool, body.order_id)
    done = service.from_env().create(wanted, requests.command_of(request, body.reason), request.time_left)
    return schemas.done(done, 200 if done.kept else None)


handler = api.handler
