"""Commands and queries on orders, bots and pools: the entry point for other capabilities and the functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue import ledger
from adbot_queue.adbots import changes, model, operator_order, purchase
from adbot_queue.adbots.allocation_trigger import AllocationTrigger
from adbot_queue.adbots.changes import PoolChange
from adbot_queue.adbots.command_log import CommandLog
from adbot_queue.adbots.commands import Command, CommandResult, retry_on_conflict
from adbot_queue.adbots.model import Adbot, AdbotStatus, ExecutionMode, NotStartable, Order, OrderStatus, QueuedReason
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.adbots.pool_state import PoolState, QueueEntry
from adbot_queue.adbots.pools import Pools
from adbot_queue.adbots.purchase import Purchases
from adbot_queue.adbots.sessions import Sessions
from adbot_queue.adbots.storage.pool_store import StalePool, TransactionPart
from adbot_queue.adbots.storage.rows import UnreadableRow
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import aws, idempotency
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Transaction, TransactionRejected
from adbot_queue.core.errors import AppError, Conflict, Forbidden, Invalid, NotFound
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Ledger, LedgerEntry

if TYPE_CHECKING:
    from adbot_queue.adbots.resolver import Resolver

MAX_MOVED = 40
"""The most sessions that one reassign may name: up to two items each, in a transaction of 100."""


class AdbotService:
    """The service of this capability. Commands raise `Unavailable` after too many conflicts in a row."""

    def __init__(
        self, store: AdbotStore, ledger: Ledger, trigger: AllocationTrigger, now: Clock = system_clock
    ) -> None:
        self.store = store
        self.ledger = ledger
        self.pools = Pools(store, ledger, trigger, now)
        self.purchases = Purchases(store, ledger, trigger, now)
        self.sessions = Sessions(store, now)
        self._trigger = trigger
        self._now = now
        self._log = CommandLog(store, ledger, now)

    @cached_property
    def resolver(self) -> Resolver:
        """What serves the pools. Most functions never resolve: they need not load it at their start."""
        from adbot_queue.adbots.resolver import Resolver  # noqa: PLC0415

        return Resolver(self.store, self.ledger, self._trigger, self._now)

    # Buying

    def create(self, wanted: AdbotSpec, command: Command, time_left: Callable[[], int]) -> CommandResult:
        """Create a bot for an operator, with an order of amount 0 or for an order in REVIEW.

        Tries to allocate at once, so that the answer normally shows the final state; otherwise the bot waits. An order
        in REVIEW keeps the bot that it has, unless that is cancelled.
        """
        purchase.check_required(wanted.required)
        if wanted.pool:
            self.store.check(wanted.pool)
        now = self._now()
        if wanted.order_id and (replayed := self._log.known(command)):
            return replayed  # the order is no longer in REVIEW, because of this very command
        before = self._order_in_review(wanted.order_id) if wanted.order_id else None
        kept = self._bot_to_keep(before) if before else None
        order = operator_order.order_of(wanted, before, kept, command.actor, now)

        def remember(transaction: Transaction) -> None:
            self._log.remember(transaction, command, str(order.adbot_id))
            if before:
                self.ledger.sign(transaction, operator_order.settlement(command.actor, command.reason, before, order))

        try:
            if before and kept:
                self.purchases.settle(before, order, remember)
                return CommandResult(kept, kept=True)
            adbot = self.purchases.create_paid(
                order, ExecutionMode.SYNC_DIRECT, command.actor, remember, replaces=before
            )
        except TransactionRejected as refused:
            if idempotency.TAG not in refused.failed:
                raise Conflict("the order changed meanwhile; read it again") from refused
            return self._log.replay(command)
        try:
            self.resolver.run(adbot.pool, time_left)
        except Exception:  # noqa: BLE001  the bot exists and will be served by the allocator: the answer must say so
            logger.exception("allocation inside the request failed, the queue will do it", adbot_id=adbot.id)
        return CommandResult(self._adbot(adbot.id))

    def _order_in_review(self, order_id: str) -> Order:
        order = self.order(order_id)
        if order.status is not OrderStatus.REVIEW:
            raise Conflict(f"order {order_id} is {order.status}, only one in REVIEW can be given a bot")
        return order

    def _bot_to_keep(self, order: Order) -> Adbot | None:
        bot = self._adbot(order.adbot_id) if order.adbot_id else None
        return bot if bot and bot.status is not AdbotStatus.CANCELLED else None

    # Changing bots

    def start(self, adbot_id: str, command: Command, owner: str | None) -> CommandResult:
        """Start a bot of `owner` (None: of any user).

        Raises:
            Forbidden: it is QUEUED, checked before any other state, with what is missing and why.
            Conflict: its payment is disputed, or it is running or cancelled.
        """
        return self._switch(adbot_id, command, owner, "adbot.start", model.started)

    def stop(self, adbot_id: str, command: Command, owner: str | None) -> CommandResult:
        """Stop a running bot of `owner` (None: of any user). Raises as `start`."""
        return self._switch(adbot_id, command, owner, "adbot.stop", model.stopped)

    def _switch(
        self, adbot_id: str, command: Command, owner: str | None, action: str, change: Callable[[Adbot], Adbot]
    ) -> CommandResult:
        def attempt() -> CommandResult:
            before = self.adbot(adbot_id, owner)
            if replayed := self._log.known(command):
                return replayed
            try:
                after = change(before)
            except NotStartable as refusal:
                raise refusal_of(refusal.adbot, action) from refusal
            transaction = self.store.transaction()
            self.store.replace_adbot(transaction, before, after)
            self._log.sign(command, action, before, after)(transaction)
            self._log.commit(transaction)
            return CommandResult(after)

        return retry_on_conflict(attempt)

    def cancel(self, adbot_id: str, command: Command, *parts: Callable[[Transaction, Adbot], None]) -> CommandResult:
        """Cancel a bot: it leaves the queue, its sessions return to stock. A cancelled bot stays as it is.

        Parts join the transaction; they run once for each try.
        """
        return self._change(adbot_id, command, "adbot.cancel", self._plan_cancel, parts)

    def _plan_cancel(self, adbot: Adbot, header: PoolState) -> PoolChange | None:
        if adbot.status is AdbotStatus.CANCELLED:
            return None
        next_in_queue = self._next_in_queue(header) if adbot.waits_in_queue else None
        change = changes.cancel(header, adbot, next_in_queue, self._now())
        return replace(change, unparks=adbot.is_parked)

    def reassign(self, adbot_id: str, add: Sequence[str], remove: Sequence[str], command: Command) -> CommandResult:
        """Give a bot named free sessions and return named ones of its own to stock: all or nothing.

        Raises:
            Invalid: no session, too many, or one named twice.
            NotFound: an unknown session.
            Conflict: a session to add is not free, one to remove is not the bot's, or there is no room.
        """
        named = [*add, *remove]
        if not named or len(named) > MAX_MOVED:
            raise Invalid.field("add, remove", f"must name 1 to {MAX_MOVED} sessions in all")
        if len(set(named)) < len(named):
            raise Invalid.field("add, remove", "must name each session once")

        def plan(adbot: Adbot, header: PoolState) -> PoolChange:
            if adbot.status is AdbotStatus.CANCELLED:
                raise Conflict(f"adbot {adbot.id} is cancelled")
            positions = [self.sessions.position(adbot.pool, session) for session in remove]
            for session, position in zip(remove, positions, strict=True):
                if not adbot.holds(*position):
                    raise Conflict(f"session {session} is not assigned to adbot {adbot.id}", session_id=session)
            places = tuple(self.sessions.free_place(header, session) for session in add)
            if adbot.missing + len(remove) < len(add):
                raise Conflict(f"adbot {adbot.id} lacks {adbot.missing + len(remove)} sessions, {len(add)} were named")
            next_in_queue = self._next_in_queue(header) if adbot.waits_in_queue else None
            return changes.reassign(header, adbot, positions, places, next_in_queue, self._now())

        return self._change(adbot_id, command, "adbot.reassign", plan, (), {"add": list(add), "remove": list(remove)})

    def lose_session(self, session_id: str, command: Command) -> Adbot | None:
        """Mark a session lost. Its bot, if any, waits for another, at the tail unless it is queued already.

        Returns:
            The bot that lost it; None if it was free, or lost already.

        Raises:
            NotFound: an unknown session. Conflict: its upload is not published yet.
        """

        def attempt() -> Adbot | None:
            located = self.sessions.locate(session_id)
            if located.lost:
                return None
            header = located.header  # not a newer one: a step in between may have given the session away

            def mark(transaction: Transaction) -> None:
                self.sessions.mark_lost(transaction, session_id)

            if located.adbot_id is None:
                if located.place is None:
                    raise Conflict(f"session {session_id} is not published yet")
                entry = LedgerEntry(command.actor, "session.lost", f"session:{session_id}", reason=command.reason)
                self.sessions.lose_free(
                    header, located.place, mark, lambda transaction: self.ledger.sign(transaction, entry)
                )
                return None
            adbot = self._adbot(located.adbot_id)
            if not adbot.holds(located.upload, located.offset):
                raise StalePool
            next_in_queue = self._next_in_queue(header) if adbot.waits_in_queue else None
            change = changes.lose(header, adbot, located.upload, located.offset, next_in_queue, self._now())
            unkeyed = replace(command, key=None)  # a lost session stays lost: repeating needs no record
            detail = {"session": session_id}
            self._log.commit_change(change, mark, self._log.sign(unkeyed, "session.lost", adbot, change.after, detail))
            return change.after

        adbot = retry_on_conflict(attempt)
        self._trigger_after(adbot)
        return adbot

    def hold(
        self, adbot_id: str, command: Command, *parts: Callable[[Transaction, Adbot], None], held: bool
    ) -> CommandResult:
        """Put a bot on hold while its payment is disputed (a running one stops), or release it."""

        def attempt() -> CommandResult:
            before = self._adbot(adbot_id)
            status = AdbotStatus.STOPPED if held and before.status is AdbotStatus.RUNNING else before.status
            after = replace(before, on_hold=held, status=status, version=before.version + 1)
            transaction = self.store.transaction()
            self.store.replace_adbot(transaction, before, after)
            self._log.sign(command, "adbot.hold" if held else "adbot.release", before, after)(transaction)
            for part in parts:
                part(transaction, before)
            self._log.commit(transaction)
            return CommandResult(after)

        return retry_on_conflict(attempt)

    def unpark(self, adbot_id: str, command: Command) -> CommandResult:
        """Queue a parked bot again, at the tail.

        Raises:
            Conflict: it is not parked.
        """

        def plan(adbot: Adbot, header: PoolState) -> PoolChange:
            if (place := self.store.place_in_park(adbot)) is None:
                raise Conflict(f"adbot {adbot.id} is not parked")
            return replace(changes.unpark(header, adbot, self._now()), parked_as=place)

        return self._change(adbot_id, command, "adbot.unpark", plan, ())

    # Questions

    def adbot(self, adbot_id: str, owner: str | None) -> Adbot:
        """Return a bot of `owner` (None: of any user).

        Raises:
            NotFound: it does not exist, or belongs to another user; the answer is the same.
        """
        adbot = self.store.adbot(adbot_id)
        if adbot is None or (owner is not None and adbot.user_id != owner):
            raise NotFound(f"there is no adbot {adbot_id}")
        return adbot

    def _adbot(self, adbot_id: str) -> Adbot:
        return self.adbot(adbot_id, None)

    def order(self, order_id: str, owner: str | None = None) -> Order:
        """Return an order of `owner` (None: of any user).

        Raises:
            NotFound: it does not exist, or belongs to another user.
        """
        order = self.store.order(order_id)
        if order is None or (owner is not None and order.user_id != owner):
            raise NotFound(f"there is no order {order_id}")
        return order

    def list_adbots(
        self, owner: str | None, status: AdbotStatus | None, limit: int, cursor: str | None
    ) -> tuple[list[Adbot], str | None]:
        """Return a page of bots, newest first. With a status, up to ten pages are read until one has a match."""
        for _ in range(10):
            page, cursor = self.store.list_adbots(owner, limit, cursor)
            chosen = [adbot for adbot in page if status in (None, adbot.status)]
            if chosen or cursor is None:
                return chosen, cursor
        return [], cursor

    # How commands are carried out

    def _change(
        self,
        adbot_id: str,
        command: Command,
        action: str,
        plan: Callable[[Adbot, PoolState], PoolChange | None],
        parts: Sequence[Callable[[Transaction, Adbot], None]],
        detail: dict[str, Any] | None = None,
    ) -> CommandResult:
        """Read bot and header, decide, commit under both versions; retry on conflict."""
        misplaced = False

        def attempt() -> CommandResult:
            nonlocal misplaced
            if replayed := self._log.known(command):
                return replayed
            adbot = self._adbot(adbot_id)
            place = self.store.place_in_park(adbot) if misplaced or adbot.is_parked else None
            if place is not None and adbot.status is AdbotStatus.QUEUED:
                # Parked while unreadable: its own row still says where it waited before.
                adbot = replace(adbot, queued_reason=QueuedReason.PARKED, inbox_id=None)
            header = self.pools.header(adbot.pool)
            change = plan(adbot, header)
            bound = [_bind(part, adbot) for part in parts]
            if change is None:
                transaction = self.store.transaction()
                for part in bound:
                    part(transaction)
                if len(transaction):
                    self._log.commit(transaction)
                return CommandResult(adbot)
            if change.unparks and change.parked_as is None:
                change = replace(change, parked_as=place)
            try:
                self._log.commit_change(change, self._log.sign(command, action, adbot, change.after, detail), *bound)
            except TransactionRejected as refused:
                if misplaced or not refused.failed.keys() & {"queue", "inbox", "park"}:
                    raise
                misplaced = True
                raise StalePool from refused
            return CommandResult(change.after)

        done = retry_on_conflict(attempt)
        self._trigger_after(done.adbot)
        return done

    def _next_in_queue(self, header: PoolState) -> QueueEntry | None:
        """Return the bot behind the head of the queue.

        Raises:
            StalePool: this version cannot read an entry there; it is set aside now, read again.
        """
        try:
            return self.store.next_in_queue(header)
        except UnreadableRow as unreadable:
            self.resolver.set_aside(header.pool)
            raise StalePool from unreadable

    def _trigger_after(self, adbot: Adbot | None) -> None:
        """Trigger allocation: a command may have added a waiting bot, or stock."""
        if adbot:
            self._trigger.send(adbot.pool, f"{adbot.id}-{adbot.version}")


def _bind(part: Callable[[Transaction, Adbot], None], adbot: Adbot) -> TransactionPart:
    return lambda transaction: part(transaction, adbot)


@lru_cache(maxsize=1)
def from_env() -> AdbotService:
    """Return the service of this process."""
    env = settings()
    store = AdbotStore(aws.dynamodb(), env.adbots_table)
    return AdbotService(store, ledger.from_env(), AllocationTrigger(aws.sqs(), env.allocation_queue_url))


def refusal_of(adbot: Adbot, action: str) -> AppError:
    """Return why a bot cannot be started or stopped. QUEUED precedes any other reason, with what is missing and why."""
    if action == "adbot.start" and adbot.status is AdbotStatus.QUEUED:
        return Forbidden(
            f"adbot {adbot.id} is QUEUED: {adbot.missing} of {adbot.required} sessions are missing",
            missing_sessions_count=adbot.missing,
            queued_reason=adbot.queued_reason,
            queued_at=iso(adbot.queued_at) if adbot.queued_at else None,
        )
    if action == "adbot.start" and adbot.on_hold:
        return Conflict(f"adbot {adbot.id} is on hold: its payment is disputed", status_now=adbot.status)
    return Conflict(f"adbot {adbot.id} is {adbot.status}", status_now=adbot.status)
