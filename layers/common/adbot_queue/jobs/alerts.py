"""Every dead letter that arrives is told over SNS: money first, and never behind others.

One message for all that an invocation brings, so that a storm is not a mail each. It names ids, queues, types and
classes of errors: no payload, no error's sentence, nothing personal.

    ALERTED#<letter>#<died at>   A   was told, for 2 days: longer than a stream or a queue delivers again

A letter is marked after it was told: one whose function died in between is told twice, none is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, dynamodb, records
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.records import readable
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs.items import DEAD_LISTING
from adbot_queue.jobs.letters import MESSAGE, Letter, is_money

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient

LISTED = 20
"""Letters that one message names; of the others it says how many there are."""

MARKED_S = 2 * 86_400


@dataclass(frozen=True, slots=True)
class Arrival:
    """A letter that has just died."""

    id: str
    queue: str
    type: str
    fingerprint: str
    error: str
    died_at: int

    @classmethod
    def of(cls, letter: Letter) -> Arrival:
        """Of a message."""
        return cls(letter.id, letter.queue, MESSAGE, letter.fingerprint, letter.failure.error, letter.died_at)


class Alerts:
    """Tells whoever subscribes to the topic."""

    def __init__(
        self,
        sns: Callable[[], SNSClient],
        topic: str,
        client: DynamoDBClient,
        table: str,
        now: Clock = system_clock,
    ) -> None:
        self._sns = sns
        self._topic = topic
        self._client = client
        self._table = table
        self._now = now

    def tell(self, arrivals: Iterable[Arrival]) -> None:
        """Tell of letters, those told before left out.

        Raises:
            ClientError, BotoCoreError: not all is known to be told; come again with the same.
        """
        fresh = self._fresh({_mark(arrival): arrival for arrival in arrivals})
        for money in (True, False):
            told = {mark: arrival for mark, arrival in fresh.items() if is_money(arrival.queue) is money}
            if told:
                self._publish(list(told.values()), money=money)
                self._keep(told)

    def _fresh(self, arrivals: Mapping[str, Arrival]) -> dict[str, Arrival]:
        if not arrivals:
            return {}
        known = dynamodb.get_many(self._client, self._table, [_key(mark) for mark in arrivals])
        marked = {item["pk"] for item in known}
        return {mark: arrival for mark, arrival in arrivals.items() if mark not in marked}

    def _publish(self, arrivals: Sequence[Arrival], *, money: bool) -> None:
        count("MoneyDeadLetters" if money else "DeadLetters", len(arrivals))
        logger.warning("dead letters", money=money, number=len(arrivals))
        subject, text = compose(arrivals, money=money)
        priority: Any = {"priority": {"DataType": "String", "StringValue": "money" if money else "normal"}}
        self._sns().publish(TopicArn=self._topic, Subject=subject, Message=text, MessageAttributes=priority)

    def _keep(self, told: Iterable[str]) -> None:
        transaction = Transaction(self._client)
        for mark in told:
            expires_at = self._now() // 1000 + MARKED_S
            transaction.put(mark, self._table, {**_key(mark), "expires_at": expires_at})
        transaction.commit()


def compose(arrivals: Sequence[Arrival], *, money: bool) -> tuple[str, str]:
    """Subject (ASCII, under 100 characters) and text of a message."""
    number = len(arrivals)
    letters = f"{number} dead letter{'s' if number > 1 else ''}"
    queues = Counter(arrival.queue for arrival in arrivals)
    subject = f"{'[MONEY] ' if money else ''}AdBot Queue: {letters} in {', '.join(sorted(queues))}"
    lines = [
        f"- {arrival.queue}: {arrival.type} {arrival.id}, {arrival.error}, fingerprint {arrival.fingerprint}, "
        f"{iso(arrival.died_at)}"
        for arrival in arrivals[:LISTED]
    ]
    more = [f"and {number - LISTED} more"] if number > LISTED else []
    text = [f"Waiting for a decision: {letters}.", "", *lines, *more, "", "GET /dead-letters shows them."]
    return subject if len(subject) < 100 else f"{subject[:95]} ...", "\n".join(text) + "\n"  # noqa: PLR2004  SNS's limit


def arrivals(batch: Sequence[Mapping[str, Any]]) -> list[Arrival]:
    """Return the jobs that died, among records of the Jobs table's stream."""
    return readable(batch, _arrival)


def _arrival(record: Mapping[str, Any]) -> Arrival | None:
    if not records.partition(record).startswith("JOB#"):
        return None
    before, after = records.images(record)
    if after is None or _listing(after) != DEAD_LISTING or _listing(before) == DEAD_LISTING:
        return None
    needed = ("id", "queue", "type", "fingerprint", "failure", "listed_at")
    item = dynamodb.decode({name: after[name] for name in needed if name in after})
    failure = item.get("failure")
    error = failure.get("error", "") if isinstance(failure, dict) else ""
    found = Arrival(item["id"], item["queue"], item["type"], item.get("fingerprint", ""), str(error), item["listed_at"])
    texts = (found.id, found.queue, found.type, found.fingerprint)
    if not all(isinstance(text, str) for text in texts) or not isinstance(found.died_at, int):
        raise TypeError("id, queue, type, fingerprint: must be text; listed_at: must be a number")
    return found


def _listing(image: Mapping[str, Any] | None) -> str | None:
    listing: str | None = (image or {}).get("listing", {}).get("S")
    return listing


def _mark(arrival: Arrival) -> str:
    return f"ALERTED#{arrival.id}#{arrival.died_at}"


def _key(mark: str) -> Item:
    return {"pk": mark, "sk": "A"}


@lru_cache(maxsize=1)
def from_env() -> Alerts:
    """The alerts of this process."""
    env = settings()
    return Alerts(aws.sns, env.dead_letter_topic, aws.dynamodb(), env.system_table)
