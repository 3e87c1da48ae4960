"""Report new dead letters to operators over SNS: money first, and never behind others.

The sweeper calls this each minute. It reads the index of dead letters from a little before the youngest one that it
reported, so an alert depends neither on the table's stream nor on the worker that wrote the row. One message for all of
a minute (two, with money among them): a storm is not a mail each. It names ids, queues, types and classes of errors; no
payload, no error's sentence, nothing personal.

    ALERTS   A   reported: the youngest dead letters that were reported; since: where the next run begins to read

The row is written after the messages: a run that dies in between reports again, none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import ConditionFailed
from adbot_queue.core.settings import settings, variable
from adbot_queue.core.telemetry import count, logger
from adbot_queue.dead_letters.alert_text import MAX_NAMED, compose
from adbot_queue.dead_letters.model import DeadLetterFilter, is_money
from adbot_queue.dead_letters.store import DeadLetterStore, IndexEntry

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient


OVERLAP_MS = 900_000
"""A row may appear in the index this long after a younger one: the longest run of a worker, and its retries."""

MAX_REPORTED = 5_000
"""Dead letters that the row remembers (100 KB). When more die within the overlap, the overlap is shorter."""

PAGE_SIZE = 1_000
MAX_PAGES = 2 * MAX_REPORTED // PAGE_SIZE
"""Pages that one run reads; above `MAX_REPORTED` dead letters, so that each run gets further. The next run goes on."""

_KEY = {"pk": "ALERTS", "sk": "A"}


class Alerts:
    """Reports to the subscribers of the topic."""

    def __init__(
        self,
        sns: Callable[[], SNSClient],
        topic: str,
        store: DeadLetterStore,
        client: DynamoDBClient,
        table: str,
        console: str,
    ) -> None:
        self._sns = sns
        self._topic = topic
        self._store = store
        self._client = client
        self._table = table
        self._console = console

    def report(self) -> int:
        """Report the dead letters that were not reported yet, and return how many they are.

        Raises:
            ClientError, BotoCoreError: some may not have been reported; the next run does it.
        """
        known = dynamodb.get(self._client, self._table, _KEY) or {"since": 0, "reported": []}
        entries = self._entries(known["since"])
        reported = set(known["reported"])
        fresh = [entry for entry in entries if _mark(entry) not in reported]
        for money in (True, False):
            if chosen := [entry for entry in fresh if is_money(entry.queue) is money]:
                self._publish(chosen, money=money)
        if fresh:
            self._keep(entries, known["since"])
        return len(fresh)

    def _entries(self, since: int) -> list[IndexEntry]:
        """Return the dead letters from `since` on, the oldest first."""
        found: list[IndexEntry] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page, cursor = self._store.entries(DeadLetterFilter(since=since), PAGE_SIZE, cursor, forward=True)
            found += page
            if cursor is None:
                break
        return found

    def _publish(self, chosen: Sequence[IndexEntry], *, money: bool) -> None:
        count("MoneyDeadLetters" if money else "DeadLetters", len(chosen))
        logger.warning("dead letters", money=money, number=len(chosen))
        subject, text = compose(chosen, self._store.rows(list(chosen[:MAX_NAMED])), self._console, money=money)
        priority: Any = {"priority": {"DataType": "String", "StringValue": "money" if money else "normal"}}
        self._sns().publish(TopicArn=self._topic, Subject=subject, Message=text, MessageAttributes=priority)

    def _keep(self, entries: Sequence[IndexEntry], was: int) -> None:
        begin = max(was, entries[-1].died_at - OVERLAP_MS)
        kept = [entry for entry in entries if entry.died_at >= begin]
        if len(kept) > MAX_REPORTED:
            kept = kept[-MAX_REPORTED:]
            begin = kept[0].died_at
        item = {**_KEY, "since": begin, "reported": [_mark(entry) for entry in kept]}
        try:
            dynamodb.put_if(
                self._client, self._table, item, condition="attribute_not_exists(pk) OR #since = :was", was=was
            )
        except ConditionFailed:
            return  # another run has reported as well, and further


def _mark(entry: IndexEntry) -> str:
    """A job that dies again after a replay is reported again."""
    return f"{entry.job_id}@{entry.died_at}"


@lru_cache(maxsize=1)
def from_env() -> Alerts:
    """The alerts of this process."""
    env, client = settings(), aws.dynamodb()
    store = DeadLetterStore(client, env.jobs_table)
    return Alerts(aws.sns, env.dead_letter_topic, store, client, env.system_table, variable("CONSOLE_URL"))
