"""Bots: the queue of a pool in order, all of them, one with its sessions, and what people do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adbot_queue import ledger
from adbot_queue.adbots import service
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import MAX_SESSIONS, Adbot, AdbotStatus, Order
from adbot_queue.console import bot_words, figures
from adbot_queue.console.job_words import Why
from adbot_queue.console.request import Done, Page, Reply, Undo, Visit
from adbot_queue.console.views import jobs
from adbot_queue.core.errors import Invalid
from adbot_queue.core.settings import settings
from adbot_queue.ledger import search
from adbot_queue.platform import owner_limit

PAGE_SIZE = 20
"""Rows of a page: as many as a refresh of 4 kB holds."""

MAX_ACTS = 50
"""Entries of the ledger that a bot's timeline shows."""

MAX_UPLOAD = 10_000
VIEWS = ("queue", "all", "parked")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Details:
    """What a bot's page and drawer show.

    Attributes:
        order: what was paid; None: this version cannot read it.
        place: at most, in its pool's queue; None: it has none.
        sessions: ids, in order.
        acts: its entries in the ledger, oldest first.
        close: where the drawer leads when it is closed.
    """

    adbot: Adbot
    order: Order | None
    why: Why
    place: int | None
    sessions: list[str]
    acts: list[Mapping[str, Any]]
    close: str

    @property
    def can_start(self) -> bool:
        """Whether it has all its sessions and does not run."""
        return self.adbot.status in {AdbotStatus.READY, AdbotStatus.STOPPED} and not self.adbot.on_hold

    @property
    def can_cancel(self) -> bool:
        """Whether it has not ended."""
        return self.adbot.status is not AdbotStatus.CANCELLED


def index(visit: Visit) -> Reply:
    """The queue of a pool, all bots, or parked ones. Four reads at most without a status; a drawer four more."""
    if visit.drawer_only:
        return Page("bots.html", "Bots", {"opened": opened(visit)})
    view = visit.query.get("view", "queue")
    if view not in VIEWS:
        raise Invalid.field("view", f"must be one of {', '.join(VIEWS)}")
    pools = visit.snapshot.figures["bots"]["pools"]
    pool = _pool(pools, visit.query.get("pool", ""), view)
    shown = {
        "view": view,
        "pools": pools,
        "pool": pool,
        "tabs": _tabs(visit, view),
        "statuses": [status.value for status in AdbotStatus],
        "words": bot_words.why,
        "opened": opened(visit),
        **(_all(visit) if view == "all" else _waiting(visit, pool, view)),
    }
    return Page("bots.html", "Bots", shown)


def _pool(pools: list[dict[str, Any]], wanted: str, view: str) -> dict[str, Any] | None:
    """Return the pool that is shown: the one asked for, or the first with something to show, or the default pool."""
    if wanted:
        found = next((pool for pool in pools if pool["name"] == wanted), None)
        # One that was made since the figures were gathered.
        return found or figures.pool(service.from_env().pools.header(wanted))
    what = "parked" if view == "parked" else "queued"
    busy = max(pools, key=lambda pool: int(pool[what]), default=None)
    if busy and busy[what]:
        return busy
    return next((pool for pool in pools if pool["name"] == settings().default_pool), busy)


def _waiting(visit: Visit, pool: dict[str, Any] | None, view: str) -> dict[str, Any]:
    if pool is None:
        return {"rows": [], "following": None, "upload": 0, "serves": ""}
    cursor = visit.query.get("cursor") or None
    ask = service.from_env().pools
    found, following = (ask.parked if view == "parked" else ask.waiting)(pool["name"], PAGE_SIZE, cursor)
    rows = bot_words.rows(found, first_page=not cursor)
    upload = _upload(visit.query.get("upload", "50"))
    serves = "" if cursor else bot_words.served_by(rows, upload, pool)
    return {"rows": rows, "following": following, "upload": upload, "serves": serves}


def _all(visit: Visit) -> dict[str, Any]:
    status = visit.query.get("status", "")
    if status and status not in AdbotStatus.__members__:
        raise Invalid.field("status", f"must be one of {', '.join(AdbotStatus)}")
    wanted = AdbotStatus(status) if status else None
    found, following = service.from_env().list_adbots(None, wanted, PAGE_SIZE, visit.query.get("cursor") or None)
    return {"rows": found, "following": following}


def _upload(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_UPLOAD):
        raise Invalid.field("upload", f"must be between 1 and {MAX_UPLOAD}")
    return int(text)


def _tabs(visit: Visit, view: str) -> list[tuple[str, str, bool, int | None]]:
    bots = visit.snapshot.figures["bots"]
    counts = {"queue": bots["queued"], "all": None, "parked": bots["parked"]}
    return [(name.title(), f"/console/bots?view={name}", name == view, counts[name]) for name in VIEWS]


def details(visit: Visit, adbot_id: str, close: str) -> Details:
    """Read a bot for its page or drawer: four reads.

    Raises:
        NotFound: it does not exist.
    """
    adbots = service.from_env()
    adbot = adbots.adbot(adbot_id, None)
    acts, _ = search.read(
        ledger.from_env(),
        actor=None,
        action=None,
        target=f"adbot:{adbot.id}",
        since=None,
        until=None,
        limit=MAX_ACTS,
        cursor=None,
    )
    head = next((one["head"] for one in visit.snapshot.figures["bots"]["pools"] if one["name"] == adbot.pool), None)
    position = adbot.queue_position
    return Details(
        adbot=adbot,
        order=adbots.store.order(adbot.order_id),
        why=bot_words.why(adbot),
        place=None if position is None or head is None else max(1, position - head + 1),
        sessions=adbots.sessions.session_ids(adbot.runs) if adbot.runs else [],
        acts=list(reversed(acts)),
        close=close,
    )


def opened(visit: Visit) -> Details | None:
    """Return the bot that the drawer shows; None: no drawer is open."""
    return details(visit, visit.opened, visit.here(bot=None)) if visit.opened else None


def show(visit: Visit) -> Reply:
    """One bot."""
    found = details(visit, visit.params["id"], "/console/bots")
    return Page("bot.html", f"Bot of {found.adbot.required} sessions", {"opened": found, "max": MAX_SESSIONS})


def start(visit: Visit) -> Reply:
    """Start a bot."""
    service.from_env().start(visit.params["id"], _command(visit), None)
    return Done("Started. The bot runs.", Undo(f"{_page(visit)}/stop"), _page(visit))


def stop(visit: Visit) -> Reply:
    """Stop a bot; it keeps its sessions."""
    service.from_env().stop(visit.params["id"], _command(visit), None)
    return Done("Stopped. The bot keeps its sessions.", Undo(f"{_page(visit)}/start"), _page(visit))


def cancel(visit: Visit) -> Reply:
    """Cancel a bot. Above the money limit a paid one needs the owner, as over the API."""
    adbots, adbot_id, reason = service.from_env(), visit.params["id"], jobs.reason_of(visit)
    before = adbots.adbot(adbot_id, None)
    order = adbots.order(before.order_id)
    owner_limit.check_end(visit.caller, order.amount - order.amount_refunded, order.currency)
    adbots.cancel(adbot_id, _command(visit, reason))
    back = f"{before.assigned} sessions went back to {before.pool}" if before.assigned else "It held no sessions"
    return Done(f"Cancelled. {back}; the order stays {order.status}, nothing was refunded.", back=_page(visit))


def unpark(visit: Visit) -> Reply:
    """Queue a parked bot again, at the tail."""
    done = service.from_env().unpark(visit.params["id"], _command(visit, jobs.reason_of(visit)))
    return Done(f"Unparked. The bot waits at the end of {done.adbot.pool}.", back=_page(visit))


def resolve(visit: Visit) -> Reply:
    """Request an allocation run for a pool."""
    pools = service.from_env().pools
    pool = pools.header(visit.form.get("pool", "")).pool
    sent = pools.trigger_allocation([pool], visit.request_id)
    if not sent:
        return Done(f"SQS refused the message for {pool}. The schedule runs the allocation within 5 minutes.")
    return Done(f"An allocation run of {pool} was requested.", back="/console/bots")


def _page(visit: Visit) -> str:
    return f"/console/bots/{visit.params['id']}"


def _command(visit: Visit, reason: str = "") -> Command:
    return Command(visit.actor, reason, visit.form["key"], visit.path)
