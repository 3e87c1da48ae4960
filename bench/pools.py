"""Pools of any size, put into the tables as uploads, purchases and resolver steps would have left them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.model import Adbot, AdbotStatus, CreationSource, ExecutionMode, QueuedReason, Run
from adbot_queue.adbots.pool_state import PoolState, QueueEntry
from adbot_queue.adbots.storage import items
from adbot_queue.core import attribute_values
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.ids import derived_id

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = 1_763_769_600_000
UPLOAD = 10_000
"""Sessions in one upload, the most there can be."""


def queued_pool(client: DynamoDBClient, table: str, pool: str, sizes: Sequence[int], sessions: int) -> None:
    """Write a pool in which bots of these sizes wait, and sessions were just uploaded.

    Complete but for the item that keeps each session's id unique: no call of the allocation names it.
    """
    counts = [min(UPLOAD, sessions - start) for start in range(0, sessions, UPLOAD)]
    uploads = [derived_id("up_", pool, str(number)) for number in range(len(counts))]
    header = PoolState(
        pool,
        free=sessions,
        stock_total=sessions,
        queue_tail=len(sizes),
        queue_length=len(sizes),
        missing_total=sum(sizes),
        oldest_queued_at=NOW,
        last_queued_at=NOW + len(sizes),
        next_segment=len(counts),
    )
    stock = chain.from_iterable(
        _upload_items(pool, number, upload, count)
        for number, (upload, count) in enumerate(zip(uploads, counts, strict=True))
    )
    bots = chain.from_iterable(_bot_items(pool, seq, required) for seq, required in enumerate(sizes))
    write(client, table, chain(stock, bots, [items.header_item(header)]))


def _upload_items(pool: str, number: int, upload: str, count: int) -> Iterator[Item]:
    yield {**items.upload_key(upload), "pool": pool, "count": count, "segment": number, "published_at": NOW}
    yield items.segment_item(pool, Segment(number, (Run(upload, 0, count),)))
    for page, start in enumerate(range(0, count, items.PAGE)):
        ids = [f"session-{number:04d}-{n:05d}" for n in range(start, min(start + items.PAGE, count))]
        yield {**items.page_key(upload, page), "ids": ids}


def _bot_items(pool: str, seq: int, required: int) -> Iterator[Item]:
    adbot = Adbot(
        id=derived_id("bot_", pool, str(seq)),
        order_id=derived_id("ord_", pool, str(seq)),
        user_id="00000000-0000-0000-0000-000000000000",
        pool=pool,
        status=AdbotStatus.QUEUED,
        required=required,
        assigned=0,
        missing=required,
        creation_source=CreationSource.PAYMENT,
        execution_mode=ExecutionMode.ASYNC_QUEUE,
        created_at=NOW,
        version=2,
        queued_at=NOW + seq,
        queued_reason=QueuedReason.INSUFFICIENT_STOCK,
        seq=seq,
    )
    yield items.adbot_item(adbot)
    yield items.queue_item(pool, QueueEntry(seq, adbot.id, required, NOW + seq))


def write(client: DynamoDBClient, table: str, found: Iterable[Item], writers: int = 4) -> None:
    """Put items in batches, several at a time."""

    def put(batch: list[Item]) -> None:
        pending: Any = {table: [{"PutRequest": {"Item": attribute_values.encode(item)}} for item in batch]}
        while pending:
            pending = client.batch_write_item(RequestItems=pending)["UnprocessedItems"]

    with ThreadPoolExecutor(writers) as pool:
        for _ in pool.map(put, _batches(found, 25)):
            pass


def _batches(found: Iterable[Item], length: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in found:
        batch.append(item)
        if len(batch) == length:
            yield batch
            batch = []
    if batch:
        yield batch
