"""Entry points of functions that do the messages of a queue one by one (`consume_batch`: together)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adbot_queue.core import aws, events, queue_batches, telemetry
from adbot_queue.core.errors import TargetGone
from adbot_queue.core.telemetry import logger

Entry = Callable[[dict[str, Any], Any], Any]
TimeLeft = Callable[[], int]

MESSAGES = "messages of an SQS queue"
MAX_RECEIVES = 5
"""How often SQS delivers a message before it moves it to the DLQ: `maxReceiveCount` in the template."""
MAX_WAIT_S = 60


def messages(work: Callable[[str, TimeLeft], None], pointer: str, *, fifo: bool = False, soon: bool = False) -> Entry:
    """The entry of a function on a queue: each message is done or reported as failed (partial batch response).

    A message that points to nothing, because its body cannot be read or its row does not exist, is dropped
    (`events.drop`): no repetition helps it, and the sweeper sends a message for every row that waits.

    Args:
        work: gets what a message points to and the milliseconds left. Raising means not done: deliver it again;
            `TargetGone` means that it points to nothing.
        pointer: the field of a body that says what the message points to.
        fifo: order holds in a message group. After a failure the later messages of its group wait for it and go back
            at once; after a message's last receive they wait no longer, or they would be moved to the DLQ with it.
        soon: a failed message comes back after `wait_of` seconds, not after the queue's visibility timeout. On a FIFO
            queue it always does: until then its group waits.
    """

    def handle(event: Any, context: Any) -> dict[str, Any]:
        found = events.messages_of(event, attributes=("MessageGroupId",) if fifo else ())
        if found is None:
            return events.nothing_done(event, MESSAGES)
        waits: dict[str, int] = {}
        blocked: set[str] = set()
        for record in found:
            group = record.get("attributes", {}).get("MessageGroupId", "")
            if fifo and group in blocked:
                waits[record["messageId"]] = 0
                continue
            try:
                work(_target(record["body"], pointer), context.get_remaining_time_in_millis)
            except TargetGone as gone:
                events.drop([record["messageId"]], str(gone))
            except Exception:  # noqa: BLE001  whatever it is: reported to SQS, which delivers again
                logger.exception("message failed", message_id=record["messageId"])
                telemetry.count("MessagesFailed")
                waits[record["messageId"]] = wait_of(record)
                if received(record) < MAX_RECEIVES:
                    blocked.add(group)
        if fifo or soon:
            come_back(found, waits)
        telemetry.flush()
        return events.failed_answer(list(waits))

    return handle


def _target(body: str, pointer: str) -> str:
    """What a message points to.

    Raises:
        TargetGone: its body does not say.
    """
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):  # the latter: nested too deep
        read = None
    target = read.get(pointer) if isinstance(read, dict) else None
    if not isinstance(target, str):
        raise TargetGone(f"body: must be a JSON object with a text {pointer}")
    return target


def received(record: Mapping[str, Any]) -> int:
    """Return how often a message was received, this time included."""
    count = record.get("attributes", {}).get("ApproximateReceiveCount")
    return int(count) if isinstance(count, str) and count.isdecimal() else 1


def wait_of(record: Mapping[str, Any]) -> int:
    """Return the seconds until a failed message comes back: 2, 4, 8 and so on, 60 at most."""
    return int(min(2 ** min(received(record), 6), MAX_WAIT_S))


def come_back(records: Sequence[Mapping[str, Any]], waits: Mapping[str, int]) -> None:
    """Tell SQS in how many seconds messages come back, by message id.

    Where SQS refuses, the visibility timeout of the queue holds.
    """
    failed = [
        record
        for record in records
        if record["messageId"] in waits
        and isinstance(record.get("eventSourceARN"), str)
        and isinstance(record.get("receiptHandle"), str)
    ]
    if not failed:
        return
    url = queue_batches.url_of(failed[0]["eventSourceARN"])
    entries = [(record["receiptHandle"], waits[record["messageId"]]) for record in failed]
    if refused := queue_batches.come_back(aws.sqs(), url, entries):
        logger.warning("messages come back later than asked", queue=url.rsplit("/", 1)[-1], number=refused)
