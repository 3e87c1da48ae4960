"""Entry points of functions that do the messages of a batch together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from adbot_queue.core import events, telemetry
from adbot_queue.core.consume import MESSAGES, Entry, TimeLeft
from adbot_queue.core.telemetry import logger

Message = TypeVar("Message")


def batch(work: Callable[[list[Message], TimeLeft], None], read: Callable[[Any], Message]) -> Entry:
    """The entry of a function that does the messages of a batch together; one that cannot be read is dropped.

    Args:
        work: gets the messages as they were read and the milliseconds left; raising means: deliver all of them again.
        read: makes of a JSON body what `work` gets; ValueError: it cannot be read.
    """

    def handle(event: Any, context: Any) -> Any:
        found = events.messages_of(event)
        if found is None:
            return events.nothing_done(event, MESSAGES)
        good: dict[str, Message] = {}
        for record in found:
            try:
                good[record["messageId"]] = read(json.loads(record["body"]))
            except (ValueError, RecursionError) as error:  # the latter: nested too deep
                events.drop([record["messageId"]], f"body: {error}"[:200])
        failed: list[str] = []
        try:
            if good:
                work(list(good.values()), context.get_remaining_time_in_millis)
        except Exception:  # noqa: BLE001  whatever it is: reported to SQS, which delivers again
            logger.exception("batch failed")
            failed = list(good)
        finally:
            telemetry.flush()
        return events.failed_answer(failed)

    return handle
