"""How messages become dead letters: kept first, told then, and only then gone from their dead-letter queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import Contended
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import alerts
from adbot_queue.jobs.alerts import Alerts, Arrival
from adbot_queue.jobs.letter_store import LetterStore
from adbot_queue.jobs.letters import Letter, letter

FAILURES = (ClientError, BotoCoreError, Contended)


class Undertaker:
    """Empties dead-letter queues."""

    def __init__(self, store: LetterStore, alert: Alerts, now: Clock = system_clock) -> None:
        self._store = store
        self._alerts = alert
        self._now = now

    def bury(self, records: Sequence[Mapping[str, Any]], sources: Mapping[str, str]) -> list[str]:
        """Make letters of messages, and tell of them; the same message again is the same letter.

        Args:
            records: messages of dead-letter queues, as Lambda hands them over.
            sources: name of each dead-letter queue -> name of the queue that its messages were sent to.

        Returns:
            Ids of those messages that are not known to be kept and told: deliver them again.
        """
        kept: dict[str, Letter] = {}
        for record in records:
            where = record["eventSourceARN"].rpartition(":")[2]
            try:
                made = letter(record, sources.get(where, where), self._now())
                kept[record["messageId"]] = self._store.bury(made, record["body"])
            except FAILURES:
                logger.exception("letter not kept", message_id=record["messageId"])
        try:
            self._alerts.tell(map(Arrival.of, kept.values()))
        except FAILURES:
            logger.exception("letters not told")
            kept = {}
        failed = [record["messageId"] for record in records if record["messageId"] not in kept]
        count("LettersNotBuried", len(failed))
        return failed


@lru_cache(maxsize=1)
def from_env() -> Undertaker:
    """The undertaker of this process."""
    return Undertaker(LetterStore(aws.dynamodb(), settings().jobs_table), alerts.from_env())
