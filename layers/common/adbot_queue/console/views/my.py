"""A customer's own page: plans to buy, bots and their state in words, start and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot, AdbotStatus, Order, QueuedReason
from adbot_queue.console.request import Done, Page, Reply, Visit, with_query
from adbot_queue.core.errors import Invalid
from adbot_queue.payments import plans as catalogue

if TYPE_CHECKING:
    from adbot_queue.adbots.service import AdbotService

SHOWN = 20
"""Bots of a page."""

PLANS = 50
"""Plans that are offered."""

NEW_MS = 600_000
"""How long a bot counts as the one that was just paid."""

WAITS_FOR = {
    QueuedReason.SEQUENCING: "It gets its place in the queue in a moment.",
    QueuedReason.INSUFFICIENT_STOCK: "New sessions go out strictly in order; no later purchase passes yours.",
    QueuedReason.SESSION_LOST: "A session was lost, and its replacement is on the way.",
    QueuedReason.REASSIGNED: "Sessions were moved, and their replacement is on the way.",
    QueuedReason.PARKED: "It needs a look by our staff, and they know of it.",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A bot as its owner sees it.

    Attributes:
        ahead: how many bots are served before it, at most; None: it has no place.
        why: one sentence, while it is not ready.
        refusal: why it cannot be started; empty: it can.
    """

    adbot: Adbot
    name: str
    ahead: int | None
    why: str
    refusal: str


def show(visit: Visit) -> Reply:
    """My bots, newest first, and what can be bought."""
    adbots = adbots_service.from_env()
    found, following = adbots.list_adbots(visit.session.user, None, SHOWN, visit.query.get("cursor"))
    plans, _ = catalogue.from_env().list(PLANS, None, only_active=True)
    names = {plan.id: plan.name for plan in plans}
    orders = {order.id: order for order in adbots.store.orders([adbot.order_id for adbot in found])}
    heads = _heads(adbots, found)
    cards = [_card(adbot, orders.get(adbot.order_id), names, heads) for adbot in found]
    paid = visit.query.get("paid") == "yes" and not any(_is_new(card.adbot, visit.now) for card in cards)
    shown = {
        "cards": cards,
        "orders": [order for order in orders.values() if order.amount],
        "plans": plans,
        "older": with_query("/my", {"cursor": following}) if following else "",
        "awaits_payment": paid,
        "canceled": visit.query.get("paid") == "no",
    }
    return Page("my.html", "My bots", shown)


def _heads(adbots: AdbotService, found: list[Adbot]) -> dict[str, int]:
    """Return the sequence number that is served next, of each pool in which one of these bots waits."""
    pools = sorted({adbot.pool for adbot in found if adbot.waits_in_queue})
    return {header.pool: header.queue_head for header in adbots.store.headers(pools)} if pools else {}


def _card(adbot: Adbot, order: Order | None, names: dict[str, str], heads: dict[str, int]) -> Card:
    ahead = None
    if adbot.seq is not None and adbot.waits_in_queue and adbot.pool in heads:
        ahead = max(0, adbot.seq - heads[adbot.pool])
    name = names.get(order.plan_id or "", "") if order else ""
    why = WAITS_FOR.get(adbot.queued_reason, "") if adbot.queued_reason else ""
    return Card(adbot, name or f"Bot of {adbot.required} sessions", ahead, why, _refusal(adbot))


def _refusal(adbot: Adbot) -> str:
    match adbot.status:
        case AdbotStatus.QUEUED:
            return f"Can be started when all {adbot.required} sessions are there; {adbot.missing} are missing."
        case AdbotStatus.READY | AdbotStatus.STOPPED if adbot.on_hold:
            return "Cannot be started while its payment is disputed."
        case _:
            return ""


def _is_new(adbot: Adbot, now: int) -> bool:
    """Whether it is the bot that a payment of the last minutes made."""
    return now - adbot.created_at < NEW_MS


def buy(visit: Visit) -> Reply:
    """Lead to Stripe's page for a plan. The key of the form makes it one Checkout session, however often it is sent."""
    from adbot_queue.payments import checkout  # noqa: PLC0415  the Stripe library, for this form alone

    plan_id, key = visit.form.get("plan", ""), visit.form.get("key", "")
    if not plan_id:
        raise Invalid.field("plan", "choose one")
    back = f"{visit.base_url}/my?paid="
    service = checkout.CheckoutService(catalogue.from_env(), f"{back}yes", f"{back}no")
    begun = service.start(visit.session.user, plan_id, None, None, key)
    # No redirect: a form of ours may lead to no other origin.
    return Page(
        "signed_out.html",
        "Payment",
        {"text": "The payment page opens in a moment.", "href": begun.url, "link": "Go to the payment page"},
        headers={"cache-control": "no-store", "refresh": f"0; url={begun.url}"},
    )


def start(visit: Visit) -> Reply:
    """Start a bot of one's own."""
    adbots_service.from_env().start(visit.params["id"], Command(visit.actor), visit.session.user)
    return Done("Started. The bot is running.", back="/my")


def stop(visit: Visit) -> Reply:
    """Stop a bot of one's own; it keeps its sessions."""
    adbots_service.from_env().stop(visit.params["id"], Command(visit.actor), visit.session.user)
    return Done("Stopped. The bot keeps its sessions; start it whenever you like.", back="/my")
