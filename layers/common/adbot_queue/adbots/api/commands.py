"""Turn an HTTP request into a command."""

from __future__ import annotations

from typing import Any

from adbot_queue.adbots.api.fields import Reason
from adbot_queue.adbots.commands import Command
from adbot_queue.core.http import Request
from adbot_queue.core.schema import Input
from adbot_queue.ledger import Actor


class ReasonBody(Input):
    """Reason of a change, for the ledger."""

    reason: Reason = ""


def command_of(request: Request[Any], reason: str = "") -> Command:
    """Return the command of a request."""
    return Command(Actor.behind(request), reason, request.idempotency_key, request.fingerprint)
