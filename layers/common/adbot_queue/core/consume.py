"""Entry points of functions that work through batches: messages of a queue, records of a table's stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    process_partial_response,
)

from adbot_queue.core import events, telemetry
from adbot_queue.core.telemetry import logger

Entry = Callable[[dict[str, Any], Any], Any]
TimeLeft = Callable[[], int]
Message = TypeVar("Message")

MESSAGES = "messages of an SQS queue"
RECORDS = "records of a DynamoDB stream"


def messages(work: Callable[[dict[str, Any], TimeLeft], None], *, fifo: bool = False) -> Entry:
    """The entry of a function on a queue: each message is done or reported as failed (partial batch response).

    Args:
        work: gets a message's JSON body and the milliseconds left; raising means not done: deliver it again.
        fifo: after a failure all later ones of its message group are reported as well, so that order holds in it.
    """

    def handle(event: Any, context: Any) -> Any:
        found = events.messages_of(event, attributes=("MessageGroupId",) if fifo else ())
        if found is None:
            return nothing_done(event, MESSAGES)
        processor = (
            SqsFifoPartialProcessor(skip_group_on_error=True)
            if fifo
            else BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        )

        def each(record: Any) -> None:
            try:
                work(json.loads(record["body"]), context.get_remaining_time_in_millis)
            except Exception:
                # Powertools reports the failure to SQS and says why nowhere.
                logger.exception("message failed", message_id=record["messageId"])
                telemetry.count("MessagesFailed")
                raise

        answer = _run({"Records": found.good}, context, each, processor) if found.good else failed_answer([])
        return failed_answer([*(one["itemIdentifier"] for one in answer["batchItemFailures"]), *found.failed])

    return handle


def batch(work: Callable[[list[Message], TimeLeft], None], read: Callable[[Any], Message]) -> Entry:
    """The entry of a function that does the messages of a batch together.

    A message that cannot be read is reported as failed, and so ends among the dead letters with its body; it stops no
    other one.

    Args:
        work: gets the messages as they were read and the milliseconds left; raising means: deliver all of them again.
        read: makes of a JSON body what `work` gets; ValueError: it cannot be read.
    """

    def handle(event: Any, context: Any) -> Any:
        found = events.messages_of(event)
        if found is None:
            return nothing_done(event, MESSAGES)
        good: list[Message] = []
        failed = found.failed
        for record in found.good:
            try:
                good.append(read(json.loads(record["body"])))
            except (ValueError, RecursionError) as error:  # the latter: nested too deep
                logger.error("message cannot be read", message_id=record["messageId"], error=str(error))
                telemetry.count("MessagesUnreadable")
                failed.append(record["messageId"])
        try:
            if good:
                work(good, context.get_remaining_time_in_millis)
        except Exception:  # noqa: BLE001  whatever it is: reported to SQS, which delivers again
            logger.exception("batch failed")
            failed = found.failed + [record["messageId"] for record in found.good]
        finally:
            telemetry.flush()
        return failed_answer(failed)

    return handle


def stream(work: Callable[[list[dict[str, Any]]], None]) -> Entry:
    """The entry of a function on a table's stream: the whole batch is done, or all of it is delivered again.

    Args:
        work: gets the records; must bear to see them twice.
    """

    def handle(event: Any, context: Any) -> dict[str, Any]:  # noqa: ARG001  Lambda's signature
        records = events.stream_records_of(event)
        if records is None:
            return nothing_done(event, RECORDS)
        try:
            work(records)
        finally:
            telemetry.flush()
        return failed_answer([])

    return handle


def nothing_done(event: Any, expected: str) -> dict[str, Any]:
    """The answer to an event without messages or records: nothing is to be delivered again."""
    return {**failed_answer([]), **events.ignored(event, expected)}


def failed_answer(ids: list[str]) -> dict[str, Any]:
    """The answer to a batch: these messages are to be delivered again."""
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in ids]}


def _run(event: dict[str, Any], context: Any, each: Callable[[Any], None], processor: Any) -> Any:
    try:
        return process_partial_response(event=event, record_handler=each, processor=processor, context=context)
    finally:
        telemetry.flush()
