"""Orders: those that a person must look at, one with its money, and settling one with a bot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adbot_queue import ledger
from adbot_queue.adbots import service
from adbot_queue.adbots.api.schemas import CreateAdbot, OrdersQuery
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Order, OrderStatus
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.console.job_words import Why
from adbot_queue.console.request import Done, Page, Reply, Visit, checked
from adbot_queue.console.views import jobs
from adbot_queue.core.errors import Invalid
from adbot_queue.ledger import search

MAX_ACTS = 50

STATES = {
    OrderStatus.PENDING: Why("off", "hourglass", "Pending", "The payment is still being made."),
    OrderStatus.PAID: Why("ok", "circle-check", "Paid"),
    OrderStatus.FAILED: Why("off", "circle-x", "Not paid", "The payment was not made; there is no bot."),
    OrderStatus.REVIEW: Why("warn", "eye", "In review", is_trouble=True),
    OrderStatus.PARTIALLY_REFUNDED: Why("off", "undo-2", "Partly refunded"),
    OrderStatus.REFUNDED: Why("off", "undo-2", "Refunded"),
    OrderStatus.DISPUTED: Why(
        "warn", "banknote", "Disputed", "The bot is on hold until the dispute is over.", is_trouble=True
    ),
    OrderStatus.ENDED: Why("off", "flag", "Ended", "The subscription is over."),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Details:
    """What an order's page and drawer show; `acts` are its entries in the ledger, oldest first."""

    order: Order
    state: Why
    acts: list[Mapping[str, Any]]
    close: str


def index(visit: Visit) -> Reply:
    """The orders in review, newest first. Two reads, a drawer two more."""
    if visit.drawer_only:
        return Page("orders.html", "Orders", {"opened": opened(visit)})
    asked = visit.query_as(OrdersQuery)
    found, following = service.from_env().store.orders_in_review(asked.limit, asked.cursor)
    shown = {"orders": found, "following": following, "opened": opened(visit)}
    return Page("orders.html", "Orders", shown)


def details(order_id: str, close: str) -> Details:
    """Read an order for its page or drawer: two reads.

    Raises:
        NotFound: it does not exist.
    """
    order = service.from_env().order(order_id)
    acts, _ = search.read(
        ledger.from_env(),
        actor=None,
        action=None,
        target=f"order:{order.id}",
        since=None,
        until=None,
        limit=MAX_ACTS,
        cursor=None,
    )
    return Details(order, STATES[order.status], list(reversed(acts)), close)


def opened(visit: Visit) -> Details | None:
    """Return the order that the drawer shows; None: no drawer is open."""
    return details(visit.opened, visit.here(order=None)) if visit.opened else None


def show(visit: Visit) -> Reply:
    """One order."""
    found = details(visit.params["id"], "/console/orders")
    return Page("order.html", f"Order {found.order.id[-6:]}", {"opened": found})


def settle(visit: Visit) -> Reply:
    """Make the bot of an order in review; the order is PAID then, and its customer owns the bot."""
    adbots, order_id, reason = service.from_env(), visit.params["id"], jobs.reason_of(visit)
    number = visit.form.get("required_sessions", "")
    if not (number.isascii() and number.isdigit()):
        raise Invalid.field("required_sessions", "must be a whole number")
    asked = checked(
        CreateAdbot,
        {
            "required_sessions": int(number),
            "user_id": visit.form.get("user_id", "").strip() or None,
            "pool": visit.form.get("pool", "").strip() or None,
            "order_id": order_id,
            "reason": reason,
        },
    )
    paid = adbots.order(order_id).required_sessions
    if paid and asked.required_sessions < paid and visit.form.get("fewer") != "yes":
        raise Invalid.field("required_sessions", f"{paid} were paid; tick the box to make a bot with fewer")
    wanted = AdbotSpec(asked.user_id, asked.required_sessions, asked.pool, order_id)
    made = adbots.create(wanted, Command(visit.actor, reason, visit.form["key"], visit.path), visit.time_left).adbot
    text = f"Settled. The bot of {made.required} sessions is {made.status}; its order is PAID."
    return Done(text, open=f"/console/bots/{made.id}")
