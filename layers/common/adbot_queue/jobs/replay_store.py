"""Governed replays in the Jobs table: REPLAY#<id>, R."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item, Transaction
from adbot_queue.jobs.letters import DeadLetterFilter
from adbot_queue.jobs.model import DECIDED_MS
from adbot_queue.jobs.replay_model import Progress, Replay, ReplayState
from adbot_queue.ledger import Actor

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_WANTED = tuple(spec.name for spec in fields(DeadLetterFilter))
_PLAIN = (
    *("id", "started_at", "reason", "job", "total", "total_exact", "fingerprint"),
    *("holder", "cursor", "paced_at", "ended_at", "ended_by", "expires_at"),
)
_HELD = "#holder = :holder AND #state = :running"
_GONE_ON = "SET #cursor = :cursor, paced_at = :paced_at, replayed = :replayed, skipped = :skipped, failed = :failed"
_ENDED = "SET #state = :state, ended_at = :ended_at, expires_at = :expires_at"


class ReplayStore:
    """Access patterns of replays."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, replay_id: str) -> Replay | None:
        """One replay, read strongly."""
        found = dynamodb.get(self._client, self._table, key_of(replay_id))
        return replay_of(found) if found else None

    def create(self, transaction: Transaction, replay: Replay) -> None:
        """Add a new one (tag `replay`)."""
        transaction.create("replay", self._table, item_of(replay))

    def take(self, replay_id: str, holder: str) -> Replay | None:
        """Go on with a replay in place of whoever did so far; None when it does not run (any more)."""
        try:
            taken = dynamodb.update_if(
                self._client,
                self._table,
                key_of(replay_id),
                "SET #holder = :holder",
                condition="#state = :running",
                holder=holder,
                running=ReplayState.RUNNING.value,
            )
        except ConditionFailed:
            return None
        return replay_of(taken)

    def advance(self, transaction: Transaction, replay: Replay) -> None:
        """Add how far a replay is; refuses when it was cancelled, or somebody else goes on with it."""
        transaction.update("replay", self._table, key_of(replay.id), _GONE_ON, condition=_HELD, **_how_far(replay))

    def save(self, replay: Replay) -> bool:
        """Write how far a replay is; False when it is no longer ours."""
        return self._update(replay, _GONE_ON)

    def complete(self, replay: Replay, now: int) -> bool:
        """It has come to its end; False when it is no longer ours."""
        ended = f"{_GONE_ON}, {_ENDED.removeprefix('SET ')}"
        return self._update(replay, ended, state=ReplayState.COMPLETED.value, **_end(now))

    def cancel(self, transaction: Transaction, replay: Replay, by: str, now: int) -> None:
        """Add that nobody goes on with it; refuses when it does not run any more."""
        transaction.update(
            "replay",
            self._table,
            key_of(replay.id),
            f"{_ENDED}, ended_by = :by",
            condition="#state = :running",
            state=ReplayState.CANCELLED.value,
            running=ReplayState.RUNNING.value,
            by=by,
            **_end(now),
        )

    def _update(self, replay: Replay, expression: str, **values: Any) -> bool:
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                key_of(replay.id),
                expression,
                condition=_HELD,
                **_how_far(replay),
                **values,
            )
        except ConditionFailed:
            return False
        return True


def key_of(replay_id: str) -> Item:
    """The key of a replay's item."""
    return {"pk": f"REPLAY#{replay_id}", "sk": "R"}


def item_of(replay: Replay) -> Item:
    """A replay as its item."""
    return {
        **key_of(replay.id),
        **{name: getattr(replay, name) for name in _PLAIN},
        # Not as `queue`, `type`: those are attributes that indexes of the table know.
        "wanted": {name: getattr(replay.wanted, name) for name in _WANTED},
        "rate": repr(replay.rate),
        "state": replay.state.value,
        "actor": replay.started_by.id,
        "role": replay.started_by.role,
        "request_id": replay.started_by.request_id,
        "replayed": replay.progress.replayed,
        "skipped": replay.progress.skipped,
        "failed": replay.progress.failed,
    }


def replay_of(item: Mapping[str, Any]) -> Replay:
    """The replay in an item."""
    return Replay(
        **{name: item[name] for name in _PLAIN if name in item},
        wanted=DeadLetterFilter(**item["wanted"]),
        rate=float(item["rate"]),
        state=ReplayState(item["state"]),
        started_by=Actor(item["actor"], item["role"], item["request_id"]),
        progress=Progress(item["replayed"], item["skipped"], item["failed"]),
    )


def _how_far(replay: Replay) -> dict[str, Any]:
    return {
        "cursor": replay.cursor,
        "paced_at": replay.paced_at,
        "replayed": replay.progress.replayed,
        "skipped": replay.progress.skipped,
        "failed": replay.progress.failed,
        "holder": replay.holder,
        "running": ReplayState.RUNNING.value,
    }


def _end(now: int) -> dict[str, int]:
    return {"ended_at": now, "expires_at": (now + DECIDED_MS) // 1000}
