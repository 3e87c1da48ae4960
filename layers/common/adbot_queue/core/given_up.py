"""Batches of a table's stream that Lambda gave up, processed again from the stream itself.

After its last try Lambda writes to the on-failure queue where a batch is, not what is in it, and goes on with the next
one. The records stay in the stream for 24 hours: they are read again, and processed by the code that failed on them,
which tolerates a record twice. So nothing is written for the batches that go well.

A message stays in the queue, whose depth is alarmed, until its batch is processed. A batch that is no longer in the
stream is counted (`StreamBatchesLost`, alarmed) and its message dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from adbot_queue.core import events
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.telemetry import count, logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

RESERVE_MS = 15_000
"""No batch is begun with less than this left."""

MAX_PAGES = 50
"""Pages of the stream that one batch may lie in; Lambda's own batches are far smaller."""

_GONE = {"TrimmedDataAccessException", "ResourceNotFoundException"}

Work = Callable[[list[dict[str, Any]]], None]


@dataclass(frozen=True, slots=True)
class BatchPosition:
    """Where a batch is. `first` and `last` are sequence numbers and inclusive."""

    stream: str
    shard: str
    first: str
    last: str

    @property
    def table(self) -> str:
        """The name of the stream's table."""
        return self.stream.split("/")[1]


class GivenUpBatches:
    """Processes what the on-failure queue of the streams points to."""

    def __init__(self, sqs: SQSClient, streams: Callable[[], Any], queue_url: str, work: Mapping[str, Work]) -> None:
        """Take `work`: table -> what its stream's function does with records."""
        self._sqs = sqs
        self._streams = streams
        self._queue_url = queue_url
        self._work = work

    def process(self, time_left: Callable[[], int]) -> int:
        """Process batches until the queue is empty or time is short, and return how many messages are done with.

        A batch that fails again stays in the queue and stops no other one.
        """
        done = 0
        while time_left() > RESERVE_MS:
            answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10)
            received = answer.get("Messages", [])
            if not received:
                break
            for message in received:
                if time_left() > RESERVE_MS and self._process(message["MessageId"], message["Body"]):
                    self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
                    done += 1
        return done

    def _process(self, message_id: str, body: str) -> bool:
        place = place_of(body)
        work = self._work.get(place.table) if place else None
        if place is None or work is None:
            events.drop([message_id], "it names no batch of a stream")
            return True
        try:
            records = self._read(place)
            work(records)
        except Exception as error:  # noqa: BLE001  whatever it is, the other batches must not wait for it
            if not (isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in _GONE):
                logger.exception("batch of a stream failed again", table=place.table, shard=place.shard)
                return False
            logger.error(
                "batch of a stream is lost", **{name: getattr(place, name) for name in BatchPosition.__slots__}
            )
            count("StreamBatchesLost")
            return True
        logger.info("batch of a stream processed late", table=place.table, records=len(records))
        count("StreamBatchesRecovered")
        return True

    def _read(self, place: BatchPosition) -> list[dict[str, Any]]:
        """Return the records of a batch as Lambda hands them over.

        Raises:
            ClientError: they are no longer in the stream, or it does not answer.
            Unavailable: the stream did not come to their end.
        """
        streams, last = self._streams(), int(place.last)
        iterator = streams.get_shard_iterator(
            StreamArn=place.stream,
            ShardId=place.shard,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=place.first,
        )["ShardIterator"]
        found: list[dict[str, Any]] = []
        for _ in range(MAX_PAGES):
            if iterator is None:  # a closed shard ends
                return found
            answer = streams.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                number = int(record["dynamodb"]["SequenceNumber"])
                if number <= last:
                    found.append(_as_lambda_does(record))
                if number >= last:
                    return found
            iterator = answer.get("NextShardIterator")
        raise Unavailable(f"the batch of shard {place.shard} has no end")


def place_of(body: str) -> BatchPosition | None:
    """Read a message of the on-failure queue; None: it names no batch."""
    try:
        info = json.loads(body)["DDBStreamBatchInfo"]
        names = ("streamArn", "shardId", "startSequenceNumber", "endSequenceNumber")
        place = BatchPosition(*(str(info[name]) for name in names))
        return place if place.table and int(place.first) <= int(place.last) else None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None


def _as_lambda_does(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its time as a number; botocore makes a datetime of it."""
    body = record["dynamodb"]
    made_at = body.get("ApproximateCreationDateTime")
    if not isinstance(made_at, datetime):
        return record
    return record | {"dynamodb": body | {"ApproximateCreationDateTime": made_at.timestamp()}}
