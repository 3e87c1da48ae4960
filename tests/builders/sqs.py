"""An SQS in the process as bad as SQS may be: it duplicates, delays, reorders, and loses messages.

For many threads at once, and for tests that own the clock: a message becomes visible by that clock.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

VISIBILITY_MS = 120_000


@dataclass(frozen=True)
class Troubles:
    """Chances of each, for one message or one call."""

    lose: float = 0.0
    double: float = 0.0
    delay: float = 0.0  # by up to a minute
    refuse: float = 0.0  # the call fails, and nothing is sent
    lie: float = 0.0  # the call fails, although the messages were sent


@dataclass
class Message:
    """One in a queue."""

    body: dict[str, Any]
    visible_at: int
    receives: int = 0


class FakeSqs:
    """What jobs use of an SQS client, and a consumer's side: `receive` and `delete`."""

    def __init__(self, now: Callable[[], int], troubles: Troubles | None = None, seed: object = 1) -> None:
        self.now = now
        self.troubles = troubles or Troubles()
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(f"sqs {seed}")
        self._queues: dict[str, dict[int, Message]] = defaultdict(dict)
        self._numbers = count()
        self._lock = threading.Lock()

    # What dispatch uses

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> dict[str, Any]:  # noqa: N803
        self._call("SendMessage", lambda: self._put(QueueUrl, MessageBody, DelaySeconds))
        return {"MessageId": "m"}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        assert len(Entries) <= 10

        def put() -> None:
            for entry in Entries:
                self._put(QueueUrl, entry["MessageBody"], entry.get("DelaySeconds", 0))

        self._call("SendMessageBatch", put)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:  # noqa: N803
        with self._lock:
            visible = sum(message.visible_at <= self.now() for message in self._queues[QueueUrl].values())
        return {"Attributes": dict.fromkeys(AttributeNames, str(visible))}

    def _call(self, name: str, put: Callable[[], None]) -> None:
        with self._lock:
            self.counts[name] += 1
            if self._strikes("refuse"):
                raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "injected"}}, name)  # type: ignore[arg-type]
            put()
            if self._strikes("lie"):
                raise ClientError({"Error": {"Code": "InternalError", "Message": "injected"}}, name)  # type: ignore[arg-type]

    def _put(self, url: str, body: str, delay: int) -> None:
        assert 0 <= delay <= 900
        assert len(body) <= 256 * 1024
        if self._strikes("lose"):
            return
        for _ in range(1 + self._strikes("double")):
            late = self._chance.randrange(60_000) if self._strikes("delay") else 0
            self._queues[url][next(self._numbers)] = Message(json.loads(body), self.now() + delay * 1000 + late)

    def _strikes(self, trouble: str) -> bool:
        struck = self._chance.random() < getattr(self.troubles, trouble)
        self.counts[trouble] += struck
        return struck

    # What a consumer does

    def receive(self, url: str, most: int = 10, *, mixed: bool = False) -> list[tuple[int, dict[str, Any]]]:
        """Return up to that many visible messages with receipts, oldest first; they become invisible for a while."""
        now = self.now()
        with self._lock:
            visible = [n for n, message in self._queues[url].items() if message.visible_at <= now]
            chosen = self._chance.sample(visible, min(most, len(visible))) if mixed else visible[:most]
            for n in chosen:
                message = self._queues[url][n]
                message.visible_at = now + VISIBILITY_MS
                message.receives += 1
            return [(n, self._queues[url][n].body) for n in chosen]

    def delete(self, url: str, receipts: list[int]) -> None:
        """They are done."""
        with self._lock:
            for n in receipts:
                self._queues[url].pop(n, None)

    def lose(self, url: str) -> None:
        """Everything in the queue."""
        with self._lock:
            self._queues[url].clear()

    def waiting(self, url: str) -> list[dict[str, Any]]:
        """Bodies of all messages, visible or not."""
        with self._lock:
            return [message.body for message in self._queues[url].values()]

    def empty(self) -> bool:
        """No message anywhere."""
        with self._lock:
            return not any(self._queues.values())
