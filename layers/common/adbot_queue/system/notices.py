"""Notices for the admin: one mail for all that happened in a minute, never one per bot.

Ids and counts only: no customer's personal data goes into a mail or a log. In the System table:

    NOTICES#<minute>   BATCH#<id>   what one batch of the table's stream told
    NOTICES#<minute>   DIGEST       the minute's mail: who is sending it, when it was sent
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, dynamodb, queues, telemetry
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.errors import TargetGone, Unavailable
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import sendgrid_mail

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

DELAY = 75
"""Seconds from a minute's first notice to its mail: the minute is over then, and 15 s more for slow writers."""

LEASE_MS = 120_000
"""How long a sender has the mail for itself: longer than its function runs, shorter than until the message returns."""

KEPT_DAYS = 7
EXAMPLES = 20

SHOWN = ("event", "adbot_id", "order_id", "pool", "missing_sessions_count", "queued_reason", "review_reason")
"""All that a mail shows of an example."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to the admin, in both forms."""

    subject: str
    text: str
    html: str
    minute: str


Sender = Callable[[Mail], None]


class Notices:
    """Gathers notices by the minute, and sends each minute's mail at least once, as a rule exactly once."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        sqs: SQSClient,
        queue_url: str,
        sender: Sender | None,
        now: Clock = system_clock,
    ) -> None:
        self._client = client
        self._table = table
        self._sqs = sqs
        self._queue_url = queue_url
        self._sender = sender
        self._now = now

    def record(self, batch_id: str, counts: Mapping[str, int], samples: Iterable[Mapping[str, Any]]) -> None:
        """Keep what one batch told, and have the minute's mail sent when the minute is over.

        The same batch again within the minute is one. Dying anywhere in here loses nothing, because the batch comes
        again: one that was kept before asks for the mail once more, and of two requests one finds the mail sent.

        Args:
            batch_id: the same whenever the batch is delivered.
            counts: what happened -> how often.
            samples: examples; only what `SHOWN` names is ever shown.

        Raises:
            QueueRefused: the mail could not be asked for; deliver the batch again.
        """
        now = self._now()
        minute = iso(now)[:16]
        expires_at = now // 1000 + KEPT_DAYS * 86_400
        batch: Item = {
            **_key(minute, f"BATCH#{batch_id}"),
            "counts": dict(counts),
            "samples": [_shown(sample) for sample in samples][:EXAMPLES],
            "expires_at": expires_at,
        }
        answer = self._client.put_item(TableName=self._table, Item=dynamodb.encode(batch), ReturnValues="ALL_OLD")
        digest: Item = {**_key(minute, "DIGEST"), "expires_at": expires_at}
        try:
            dynamodb.put_if(self._client, self._table, digest, condition="attribute_not_exists(pk)")
        except ConditionFailed:
            if not answer.get("Attributes"):
                return
        queues.send(self._sqs, self._queue_url, {"minute": minute}, delay=DELAY)

    def send(self, minute: str) -> None:
        """Send the mail of a minute, unless it was sent. Without an address it is counted and logged instead.

        Raises:
            TargetGone: nothing was noted of that minute.
            NotConfigured: there is an address, but no sender or no key to send with.
            ProviderFailed: SendGrid refused or could not be reached.
            Unavailable: somebody else is sending it now, or died doing so; come back later.
        """
        lease = self._claim(minute)
        if lease is None:
            return
        found = dynamodb.query(
            self._client, self._table, "pk = :pk AND begins_with(sk, :sk)", pk=_pk(minute), sk="BATCH#"
        )
        counts: Counter[str] = Counter()
        for batch in found:
            counts.update(batch["counts"])
        samples = [sample for batch in found for sample in batch["samples"]]
        if self._sender:
            self._sender(compose(minute, counts, samples))
        logger.info("notices", minute=minute, mailed=self._sender is not None, counts=dict(counts))
        telemetry.count("NoticeVolume", counts.total())
        self._finish(minute, lease)

    def _claim(self, minute: str) -> str | None:
        """A lease on the minute's mail; None when it was sent already.

        Raises:
            Unavailable: somebody else has it.
        """
        now = self._now()
        lease = time_ordered_id(now)
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                _key(minute, "DIGEST"),
                "SET lease = :lease, lease_until = :until",
                condition="attribute_exists(pk) AND attribute_not_exists(sent_at) "
                "AND (attribute_not_exists(lease_until) OR lease_until < :now)",
                lease=lease,
                until=now + LEASE_MS,
                now=now,
            )
        except ConditionFailed as failed:
            stood = failed.item or dynamodb.get(self._client, self._table, _key(minute, "DIGEST"))
            if stood is None:
                raise TargetGone(f"nothing was noted of the minute {minute}") from failed
            if "sent_at" in stood:
                return None
            raise Unavailable(f"the mail of {minute} is being sent by somebody else") from failed
        return lease

    def _finish(self, minute: str, lease: str) -> None:
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                _key(minute, "DIGEST"),
                "SET sent_at = :now REMOVE lease, lease_until",
                condition="lease = :lease",
                now=self._now(),
                lease=lease,
            )
        except ConditionFailed:
            logger.warning("the lease ran out while the mail was sent; it may go out twice", minute=minute)


def compose(minute: str, counts: Mapping[str, int], samples: list[Item]) -> Mail:
    """The mail of a minute."""
    when = minute.replace("T", " ") + " UTC"
    summary = ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "nothing"
    lines = [", ".join(f"{name} {sample[name]}" for name in SHOWN if name in sample) for sample in samples[:EXAMPLES]]
    more = max(0, sum(counts.values()) - len(lines))
    closing = f"and {more} more" if more else ""
    text = "\n".join([f"{when}: {summary}", "", *(f"- {line}" for line in lines), closing]).rstrip() + "\n"
    entries = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    page = f"<p>{html.escape(when)}: <b>{html.escape(summary)}</b></p><ul>{entries}</ul><p>{closing}</p>"
    return Mail(f"AdBot Queue: {summary}", text, page, minute)


class ToAdmin:
    """Sends to one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, mail: Mail) -> None:
        """Send it.

        Raises:
            NotConfigured, Unavailable, ProviderFailed: as `sendgrid_mail.send`.
        """
        sendgrid_mail.send(
            sendgrid_mail.Message(
                self._address, mail.subject, mail.text, mail.html, {"minute": mail.minute}, ("adbot-queue-notices",)
            )
        )


def _pk(minute: str) -> str:
    return f"NOTICES#{minute}"


def _key(minute: str, sk: str) -> Item:
    return {"pk": _pk(minute), "sk": sk}


def _shown(sample: Mapping[str, Any]) -> Item:
    return {name: sample[name] for name in SHOWN if sample.get(name) is not None}


@lru_cache(maxsize=1)
def from_env() -> Notices:
    """The notices of this process."""
    env = settings()
    return Notices(
        aws.dynamodb(),
        env.system_table,
        aws.sqs(),
        env.notices_queue_url,
        ToAdmin(env.admin_email) if env.admin_email else None,
    )
