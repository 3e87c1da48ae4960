"""Notices for the admin: one mail for all that happened in a minute, never one per bot.

Ids and counts only: no customer's personal data goes into a mail or a log. In the System table:

    NOTICES#<minute>   BATCH#<id>   the notices of one batch of the table's stream

The minute's mail is the job `admin-digest`, keyed by the minute.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue import ledger
from adbot_queue.core import attribute_values, aws, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DELAY_MS = 75_000
"""From a minute's first notice to its mail: the minute is over then, and 15 s more for slow writers."""

NOTICES_TTL_S = 7 * 86_400
EXAMPLES = 20

SHOWN = ("event", "adbot_id", "order_id", "pool", "missing_sessions_count", "queued_reason", "review_reason")
"""All that a mail shows of an example."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to the admin, in both forms."""

    subject: str
    text: str
    html: str


class Notices:
    """Gathers notices by the minute."""

    def __init__(
        self, client: DynamoDBClient, table: str, enqueue: Callable[[str], None], now: Clock = system_clock
    ) -> None:
        """Take `enqueue`: makes the job that mails a minute; the same minute again changes nothing."""
        self._client = client
        self._table = table
        self._enqueue = enqueue
        self._now = now
        self._enqueued: str | None = None

    def record(self, batch_id: str, counts: Mapping[str, int], samples: Iterable[Mapping[str, Any]]) -> None:
        """Keep the notices of one batch, and enqueue the minute's mail.

        The same batch again within the minute is one. A process that dies in here loses nothing: the batch comes again.

        Args:
            batch_id: the same whenever the batch is delivered.
            counts: what happened -> how often.
            samples: examples; only what `SHOWN` names is ever shown.

        Raises:
            Unavailable: the mail is not enqueued; deliver the batch again.
        """
        now = self._now()
        minute = iso(now)[:16]
        batch: Item = {
            "pk": _pk(minute),
            "sk": f"BATCH#{batch_id}",
            "counts": dict(counts),
            "samples": [_shown(sample) for sample in samples][:EXAMPLES],
            "expires_at": now // 1000 + NOTICES_TTL_S,
        }
        self._client.put_item(TableName=self._table, Item=attribute_values.encode(batch))
        if minute != self._enqueued:
            self._enqueue(minute)
            self._enqueued = minute

    def of(self, minute: str) -> tuple[Counter[str], list[Item]]:
        """Return the counts of a minute, and examples."""
        found = dynamodb.query(
            self._client, self._table, "pk = :pk AND begins_with(sk, :sk)", pk=_pk(minute), sk="BATCH#"
        )
        counts: Counter[str] = Counter()
        for batch in found:
            counts.update(batch["counts"])
        return counts, [sample for batch in found for sample in batch["samples"]]


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
    return Mail(f"AdBot Queue: {summary}", text, page)


def _pk(minute: str) -> str:
    return f"NOTICES#{minute}"


def _shown(sample: Mapping[str, Any]) -> Item:
    return {name: sample[name] for name in SHOWN if sample.get(name) is not None}


def _enqueue(minute: str) -> None:
    from adbot_queue.jobs import service  # noqa: PLC0415  few batches have notices

    job = service.JobRequest("admin-digest", {"minute": minute}, key=f"admin-digest/{minute}", delay_ms=DELAY_MS)
    service.from_env().enqueue(job, ledger.SYSTEM)


@lru_cache(maxsize=1)
def from_env() -> Notices:
    """The notices of this process."""
    return Notices(aws.dynamodb(), settings().system_table, _enqueue)
