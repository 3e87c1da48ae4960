"""Uploading sessions into the stock."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.adbots import service
from adbot_queue.adbots.commands import Command, retry_on_conflict
from adbot_queue.adbots.pools import POOL_NAME
from adbot_queue.adbots.service import AdbotService
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import StalePool
from adbot_queue.core import attribute_values, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, TransactionRejected
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid
from adbot_queue.core.ids import derived_id
from adbot_queue.stock.claims import Claims, Upload
from adbot_queue.stock.publication import STAGED, Publication
from adbot_queue.stock.upload import LineVerdict, UploadLine, by_pool, content_of

WRITERS = 8
"""Transactions of an upload under way at once: 10,000 sessions are 100 of them."""


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
        self._publication = Publication(adbots, now)
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
            IdempotencyMismatch: the key was used with other content.
        """
        parts = by_pool(lines, pool, self._known_pools(pool, lines))
        content = content_of(parts)
        base = command.id or content
        names = [derived_id("up_", base, *([str(number)] if number else [])) for number in range(len(parts))]
        if not parts and command.key:
            self._refuse_used(derived_id("up_", base))
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
        staged = Upload(upload, pool, len(lines))
        claims, mine, request = Claims(self._store, staged), False, secrets.token_hex(8)
        if known:
            claims.read()
        if not published:
            self._write_pages(upload, lines)
            self._claim_ids(claims, lines)
            mine = self._publish(staged, claims, command, request)
        self._pools.trigger_allocation([pool], upload)
        accepted = command.key or mine or self._accepts(upload, request)
        dead = claims.dead
        for offset, line in enumerate(lines):
            line.verdict, line.pool = (
                LineVerdict.ACCEPTED if accepted and offset not in dead else LineVerdict.DUPLICATE,
                pool,
            )
        # `finish-upload` published the upload without them. Which lines these are never changes again.
        rest = [line for offset, line in enumerate(lines) if claims.is_closed(offset)]
        if rest:
            self._upload(derived_id("up_", upload, "rest"), pool, rest, content, command)
        return published

    def _refuse_used(self, upload: str) -> None:
        """Refuse a request that has nothing to store under the key of another upload."""
        if dynamodb.get(self._client, self._table, items.upload_key(upload)):
            raise IdempotencyMismatch("this Idempotency-Key was used with another upload")

    def _stage(self, upload: str, pool: str, count: int, content: str) -> Item | None:
        """Describe an upload before anything of it is stored; return the description that an earlier request left.

        Raises:
            IdempotencyMismatch: its key was used with other content.
        """
        listed = {"kind": STAGED, "listed_at": f"{iso(self._now())}#{upload}"}
        description: Item = {**items.upload_key(upload), "pool": pool, "count": count, "content": content, **listed}
        try:
            dynamodb.put_if(self._client, self._table, description, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            if failed.item is None or failed.item["content"] != content:
                raise IdempotencyMismatch("this Idempotency-Key was used with another upload") from failed
            return failed.item
        return None

    def _write_pages(self, upload: str, lines: list[UploadLine]) -> None:
        """Write session ids by position. Unconditional: a repeated upload writes the same."""
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

    def _publish(self, upload: Upload, claims: Claims, command: Command, request: str) -> bool:
        """Make the upload part of the stock, once; True if this call did. `request` as in `Publication.add`."""

        def attempt() -> bool:
            transaction = self._store.transaction()
            self._publication.add(transaction, upload, claims, command, request)
            try:
                transaction.commit()
            except TransactionRejected as refused:
                if published := refused.failed.get("upload"):
                    # Its own transaction may have been sent twice because the first answer was lost.
                    return bool(published.get("accepted_for") == request)
                raise StalePool from refused
            return True

        return retry_on_conflict(attempt)

    def _accepts(self, upload: str, request: str) -> bool:
        """Whether the lines of a published upload are accepted for this request: for the first one that asks."""
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                items.upload_key(upload),
                "SET accepted_for = :request",
                condition="attribute_exists(#segment) AND attribute_not_exists(accepted_for)",
                answer=False,
                request=request,
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


@lru_cache(maxsize=1)
def from_env() -> Stock:
    """Return the stock of this process."""
    return Stock(service.from_env())
