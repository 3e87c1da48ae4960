"""Bots, orders and movements as read from the AdBots table. Pure."""

from __future__ import annotations

from adbot_queue.adbots.model import (
    Adbot,
    AdbotStatus,
    CreationSource,
    ExecutionMode,
    Movement,
    Order,
    OrderStatus,
    QueuedReason,
)
from adbot_queue.adbots.storage.items import runs_in
from adbot_queue.adbots.storage.rows import Reader, UnreadableRow
from adbot_queue.core.dynamodb import Item


def movement_of(item: Item) -> Movement:
    """A movement as read."""
    return Movement(item["at"], item["currency"], item["received"], item["returned"])


def adbot_of(item: Item) -> Adbot:
    """Return a bot as read. Raises as `items.header_of`."""
    row = Reader(item)
    return Adbot(
        id=row.text("id"),
        order_id=row.text("order_id"),
        user_id=row.text("user_id"),
        pool=row.text("pool"),
        status=row.choice("status", AdbotStatus),
        required=row.number("required", 1),
        assigned=row.number("assigned"),
        missing=row.number("missing"),
        creation_source=row.choice("creation_source", CreationSource),
        execution_mode=row.choice("execution_mode", ExecutionMode),
        created_at=row.number("created_at"),
        version=row.number("version"),
        queued_at=row.number_or_none("queued_at"),
        queued_reason=None if item.get("queued_reason") is None else row.choice("queued_reason", QueuedReason),
        seq=row.number_or_none("seq"),
        inbox_id=row.text_or_none("inbox_id"),
        on_hold=row.flag("on_hold"),
        runs=runs_in(row, "runs"),
        releases=tuple(row.numbers("releases", list)),
    )


def order_of(item: Item) -> Order:
    """Return an order as read. Raises as `items.header_of`."""
    row = Reader(item)
    values = {name: item[name] for name in Order.__slots__ if name in item}
    values |= {
        "status": row.choice("status", OrderStatus),
        "source": row.choice("source", CreationSource),
        "invoices": tuple(item.get("invoices", ())),
    }
    try:
        return Order(**values)
    except TypeError as error:
        raise UnreadableRow(item, "an attribute is missing") from error
