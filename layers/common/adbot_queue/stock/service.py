"""Uploading sessions into the stock."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.adbots import changes, service
from adbot_queue.adbots.commands import Command, retry_on_conflict
from adbot_queue.adbots.model import Run
from adbot_queue.adbots.pools import POOL_NAME
from adbot_queue.adbots.service import AdbotService
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import StalePool
from adbot_queue.core import attribute_values, dynamodb
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, TransactionRejected
from adbot_queue.core.errors import Conflict, Invalid
from adbot_queue.core.ids import derived_id
from adbot_queue.ledger import SYSTEM, LedgerEntry
from adbot_queue.stock.claims import Claims
from adbot_queue.stock.upload import LineVerdict, UploadLine, by_pool, content_of

WRITERS = 8
"""Transactions of an upload under way at once: 10,000 sessions are 100 of them."""

STAGED_FOR_MS = 15 * 60_000
"""Age at which a staged upload is finished by the sweeper: no function runs that long."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Uploaded:
    """An upload with a verdict a line; `replayed` when an earlier request under its Idempotency-Key had stored it."""

    upload_id: str
    lines: list[UploadLine]
    replayed: bool = False

    def or_refusal(self) -> Uploaded:
        """This, if its one line was accepted.

        Raises:
            Conflict: it was uploaded before. Invalid: it cannot be stored.
        """
        line = self.lines[0]
        if line.verdict is LineVerdict.INVALID:
            name, separator, message = line.detail.partition(": ")
            raise Invalid.field(name, message) if separator else Invalid.field("body", line.detail)
        if line.verdict is not LineVerdict.ACCEPTED and line.session:
            session_id = line.session.id
            detail = f"session {session_id} was {line.detail}"
            raise Conflict(detail, session_id=session_id, state=line.state, pool=line.pool)
        return self


class Stock:
    """Uploads of sessions into all pools."""

    def __init__(self, adbots: AdbotService, now: Clock = system_clock) -> None:
        self._store = adbots.store
        self._ledger = adbots.ledger
        self._pools = adbots.pools
        self._sessions = adbots.sessions
        self._now = now
        self._client = adbots.store.client
        self._table = adbots.store.table

    # Uploading

    def upload(self, pool: str, lines: list[UploadLine], command: Command) -> Uploaded:
        """Store sessions and make them available, then tell the allocator.

        Invisible until the last transaction: first the upload's description and pages, then every session under
        the condition that its id is new, then one transaction that puts the segment in the pool's directory and
        the count in its header. The same upload may be sent again at any time: its id comes from the
        Idempotency-Key, or from what it contains; what was stored stays, what was not is added, and it is
        published once.

        A line is `accepted` to one caller: who repeats an upload hears it again only under its Idempotency-Key.
        Lines that name a pool of their own are an upload of their own, in that pool.

        Args:
            pool: where they belong if they do not say.
            lines: as read; their verdicts are completed here.
            command: who uploads, under which key.

        Raises:
            Invalid: no such pool.
            Conflict: the Idempotency-Key was used with other content.
        """
        parts = by_pool(lines, pool, self._known_pools(pool, lines))
        content = content_of(parts)
        base = command.id or content
        names = [derived_id("up_", base, *([str(number)] if number else [])) for number in range(len(parts))]
        before = [
            self._upload(name, of_pool, part, content, command)
            for name, (of_pool, part) in zip(names, parts.items(), strict=True)
        ]
        self._locate_duplicates(lines)
        replayed = command.key is not None and bool(before) and all(before)
        return Uploaded(names[0] if names else derived_id("up_", base), lines, replayed)

    def _known_pools(self, pool: str, lines: list[UploadLine]) -> set[str]:
        """The pools among those that lines name.

        Raises:
            Invalid: there is no such pool as `pool`.
        """
        self._pools.header(pool)
        named = {line.session.pool for line in lines if line.session and line.session.pool} - {pool}
        possible = [name for name in sorted(named) if POOL_NAME.fullmatch(name)]
        return {pool, *(header.pool for header in self._store.headers(possible))}

    def _upload(self, upload: str, pool: str, lines: list[UploadLine], content: str, command: Command) -> bool:
        """Carry out, go on with or answer one upload to one pool; True when it was published before."""
        known = self._stage(upload, pool, len(lines), content)
        published = known is not None and "segment" in known
        claims, mine, told = Claims(self._store, upload, pool, len(lines)), False, secrets.token_hex(8)
        if known:
            claims.read()
        if not published:
            self._write_pages(upload, lines)
            self._claim_ids(claims, lines)
            mine = self._publish(upload, pool, len(lines), claims.dead, command, told)
        self._pools.trigger_allocation([pool], upload)
        accepted = command.key or mine or self._tells(upload, told)
        dead = claims.dead
        for offset, line in enumerate(lines):
            line.verdict, line.pool = (
                LineVerdict.ACCEPTED if accepted and offset not in dead else LineVerdict.DUPLICATE,
                pool,
            )
        # The sweeper published the upload without them. Which lines these are never changes again.
        rest = [line for offset, line in enumerate(lines) if claims.is_closed(offset)]
        if rest:
            self._upload(derived_id("up_", upload, "rest"), pool, rest, content, command)
        return published

    def _stage(self, upload: str, pool: str, count: int, content: str) -> Item | None:
        """Describe an upload before anything of it is stored; return the description that an earlier request left.

        Raises:
            Conflict: its key was used with other content.
        """
        description: Item = {**items.upload_key(upload), "pool": pool, "count": count, "content": content}

        def attempt() -> Item | None:
            staged: Item = {**items.key("STAGED", upload), "staged_at": self._now()}
            transaction = self._store.transaction()
            transaction.create("upload", self._table, description).create("staged", self._table, staged)
            try:
                transaction.commit()
            except TransactionRejected as refused:
                known = refused.failed.get("upload")
                if known is None or known["content"] != content:
                    raise Conflict("this Idempotency-Key was used with another upload") from refused
                return known
            return None

        return retry_on_conflict(attempt)

    def _write_pages(self, upload: str, lines: list[UploadLine]) -> None:
        """Session ids by position. Unconditional: whoever repeats the upload writes the same."""
        ids = [line.session.id for line in lines if line.session]
        puts = [
            {
                "PutRequest": {
                    "Item": attribute_values.encode(
                        {**items.page_key(upload, number), "ids": ids[start : start + items.PAGE]}
                    )
                }
            }
            for number, start in enumerate(range(0, len(ids), items.PAGE))
        ]
        for start in range(0, len(puts), 25):
            pending = {self._table: puts[start : start + 25]}
            while pending:
                pending = self._client.batch_write_item(RequestItems=pending)["UnprocessedItems"]  # type: ignore[arg-type,assignment]

    def _claim_ids(self, claims: Claims, lines: list[UploadLine]) -> None:
        """Settle every line that is open: it becomes a session, or is found to be one already."""
        numbers = claims.open
        if len(numbers) <= 1:
            for number in numbers:
                claims.settle(number, lines)
            return
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  only large uploads need it

        with ThreadPoolExecutor(WRITERS) as writers:
            list(writers.map(lambda number: claims.settle(number, lines), numbers))

    def _publish(
        self, upload: str, pool: str, count: int, dead: frozenset[int], command: Command, told: str | None = None
    ) -> bool:
        """Make the upload part of the stock, once; True if this call did.

        Items and what each refuses: the header, any version but the one read; the staged mark, when it is gone
        (published already); the description and the segment follow.

        `told` is the request whose caller hears that the lines are accepted; the sweeper has none.
        """

        def attempt() -> bool:
            header = self._pools.header(pool)
            after, segment = changes.publish(header, (Run(upload, 0, count),), dead)
            transaction = self._store.transaction()
            self._store.put_header(transaction, header, after)
            transaction.delete("staged", self._table, items.key("STAGED", upload))
            transaction.create("segment", self._table, items.segment_item(pool, segment))
            values = {"segment": segment.number, "now": self._now()} | ({"told": told} if told else {})
            transaction.update(
                "upload",
                self._table,
                items.upload_key(upload),
                f"SET #segment = :segment, published_at = :now{', told = :told' if told else ''}",
                condition="attribute_not_exists(#segment)",
                **values,
            )
            entry = LedgerEntry(
                command.actor,
                "stock.upload",
                f"upload:{upload}",
                before={"free": header.free, "stock_total": header.stock_total},
                after={
                    "free": after.free,
                    "stock_total": after.stock_total,
                    "pool": pool,
                    "accepted": count - len(dead),
                },
                reason=command.reason,
            )
            self._ledger.sign(transaction, entry)
            try:
                transaction.commit()
            except TransactionRejected as refused:
                if refused.failed.keys() & {"staged", "upload"}:
                    # Its own transaction may have been sent twice because the first answer was lost.
                    return told is not None and (refused.failed.get("upload") or {}).get("told") == told
                raise StalePool from refused
            return True

        return retry_on_conflict(attempt)

    def _tells(self, upload: str, told: str) -> bool:
        """Whether this request may tell its caller that the lines of a published upload are accepted: the first may."""
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                items.upload_key(upload),
                "SET told = :told",
                condition="attribute_exists(#segment) AND attribute_not_exists(told)",
                answer=False,
                told=told,
            )
        except ConditionFailed:
            return False
        return True

    def _locate_duplicates(self, lines: list[UploadLine]) -> None:
        """Say of sessions that were uploaded before where they are."""
        known = {line.session.id: line for line in lines if line.session and line.verdict is LineVerdict.DUPLICATE}
        found = dynamodb.get_many(self._client, self._table, map(items.session_key, known))
        for session_id, located in self._sessions.locate_all(found).items():
            line = known[session_id]
            line.state, line.pool = located.state, located.pool
            to = f" to adbot {located.adbot_id}" if located.adbot_id else ""
            line.detail = f"uploaded before: {located.state}{to}, pool {located.pool}"

    def finish_staged(self) -> int:
        """Publish what uploads left behind that died on the way: every session that was stored becomes stock.

        Whoever is still at it finds its open lines closed, and uploads them by themselves.

        Returns:
            How many uploads were finished.
        """
        found = dynamodb.query(self._client, self._table, "pk = :pk", limit=100, pk="STAGED")
        old = [item["sk"] for item in found if item["staged_at"] < self._now() - STAGED_FOR_MS]
        for upload in old:
            description = dynamodb.get(self._client, self._table, items.upload_key(upload))
            if description is None:
                continue
            pool, count = description["pool"], description["count"]
            claims = Claims(self._store, upload, pool, count)
            claims.close()
            command = Command(SYSTEM, reason="the upload did not finish by itself")
            self._publish(upload, pool, count, claims.dead, command)
            self._pools.trigger_allocation([pool], upload)
        return len(old)


@lru_cache(maxsize=1)
def from_env() -> Stock:
    """Return the stock of this process."""
    return Stock(service.from_env())
