"""How far a job is that takes longer than one attempt may: it goes on where the attempt before it left off.

    RUN#<job>   R   its state as JSON text, for 7 days after the last change

A job whose attempt dies repeats what was done since the state was saved last, so every step must bear repetition.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Refused, Transaction
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.retry import Postponed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RESERVE_S = 6.0
"""Time left of an attempt at which it stops between two steps, and goes on in the next one."""

PAUSE_S = 1.0
KEPT_S = 7 * 86_400

State = dict[str, Any]


class Run:
    """One job's way through its steps. `state` is what the next attempt will find."""

    def __init__(self, client: DynamoDBClient, table: str, context: Context, start: Callable[[], State]) -> None:
        self._client = client
        self._table = table
        self.context = context
        found = dynamodb.get(client, table, self._key)
        self.state: State = json.loads(found["state"]) if found else start()

    @property
    def _key(self) -> Item:
        return {"pk": f"RUN#{self.context.job_id}", "sk": "R"}

    def item(self) -> Item:
        """The state as it is stored."""
        expires_at = self.context.now() // 1000 + KEPT_S
        state = json.dumps(self.state, separators=(",", ":"))
        return {**self._key, "state": state, "signed": self.state.get("signed"), "expires_at": expires_at}

    def save(self) -> None:
        """Write the state down."""
        self._client.put_item(TableName=self._table, Item=dynamodb.encode(self.item()))

    def begin(self, sign: Callable[[Transaction], None]) -> None:
        """Write the first state down together with what `sign` adds; once, however often a job begins."""
        self.state["signed"] = True
        transaction = Transaction(self._client)
        transaction.put("run", self._table, self.item(), condition="attribute_not_exists(signed)")
        sign(transaction)
        try:
            transaction.commit()
        except Refused:
            return  # signed by an attempt before this one

    @property
    def short_of_time(self) -> bool:
        """Whether no other step should begin in this attempt."""
        return self.context.seconds_left() < RESERVE_S

    def pause_if_short(self) -> None:
        """Between two steps.

        Raises:
            Postponed: the state is saved; the next attempt goes on.
            Cancelled: somebody asked for it.
        """
        self.context.check_cancelled()
        if self.short_of_time:
            self.pause()

    def pause(self) -> None:
        """Save, and go on in the next attempt.

        Raises:
            Postponed: always.
        """
        self.save()
        raise Postponed("goes on where it stands", PAUSE_S)
