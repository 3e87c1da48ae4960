"""The stock of sessions: uploading them, finding one, losing one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from adbot_queue.adbots import changes, items
from adbot_queue.adbots.allocation import Header
from adbot_queue.adbots.changes import Place
from adbot_queue.adbots.commands import Command, race
from adbot_queue.adbots.model import MAX_SESSIONS, Run
from adbot_queue.adbots.pool_store import Extra, Stale
from adbot_queue.adbots.pools import Pools
from adbot_queue.adbots.store import AdbotStore
from adbot_queue.adbots.upload import Line, Verdict
from adbot_queue.core import dynamodb
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import TRANSACTION_LIMIT, Item, Refused, Transaction
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.core.ids import derived_id
from adbot_queue.ledger import SYSTEM, Entry, Ledger

WRITERS = 8
"""Transactions of an upload under way at once: 10,000 sessions are 100 of them."""

STAGED_FOR_MS = 15 * 60_000
"""Age at which a staged upload is finished by the sweeper: no function runs that long."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Located:
    """Where a session is: with a bot, in the stock, or lost. True as long as the header keeps its version."""

    header: Header
    upload: str
    offset: int
    adbot_id: str | None
    place: Place | None
    lost: bool = False

    @property
    def pool(self) -> str:
        """The pool it belongs to."""
        return self.header.pool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Uploaded:
    """An upload with a verdict a line."""

    upload_id: str
    lines: list[Line]

    def or_refusal(self) -> Uploaded:
        """This, if its one line was accepted.

        Raises:
            Conflict: it was uploaded before. Invalid: it cannot be stored.
        """
        line = self.lines[0]
        if line.verdict is Verdict.INVALID:
            raise Invalid.field("session_id", line.detail)
        if line.verdict is not Verdict.ACCEPTED and line.session:
            raise Conflict(f"session {line.session.id} was {line.detail}", session_id=line.session.id)
        return self


class Stock:
    """The sessions of all pools."""

    def __init__(self, store: AdbotStore, ledger: Ledger, pools: Pools, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._pools = pools
        self._now = now
        self._client = store.client
        self._table = store.table

    # Uploading

    def upload(self, pool: str, lines: list[Line], command: Command) -> Uploaded:
        """Store sessions and make them available, then tell the allocator.

        Invisible until the last transaction: first the upload's description and pages, then every session under
        the condition that its id is new, then one transaction that puts the segment in the pool's directory and
        the count in its header. The same upload may be sent again at any time: its id comes from the
        Idempotency-Key, or from what it contains; what was stored stays, what was not is added, and it is
        published once.

        Args:
            pool: where they belong.
            lines: as read; their verdicts are completed here.
            command: who uploads, under which key.

        Raises:
            Invalid: no such pool.
            Conflict: the Idempotency-Key was used with other content.
        """
        self._pools.header(pool)
        content = "\n".join(line.session.id for line in lines if line.session and line.offset is not None)
        upload = derived_id("up_", *((command.id, pool) if command.id else (pool, content)))
        count = sum(line.offset is not None for line in lines)
        if count:
            if self._stage(upload, pool, count, derived_id("", content)):
                self._repeat(upload, pool, lines, command)
                return Uploaded(upload, lines)
            self._write_pages(upload, lines)
            self._claim_ids(upload, pool, lines)
            dead = frozenset(
                line.offset for line in lines if line.offset is not None and line.verdict is not Verdict.ACCEPTED
            )
            self._publish(upload, pool, count, dead, command)
            self._pools.nudge([pool], upload)
        return Uploaded(upload, lines)

    def _stage(self, upload: str, pool: str, count: int, content: str) -> bool:
        """Describe an upload before anything of it is stored; True when it is published already.

        Raises:
            Conflict: its key was used with other content.
        """
        staged: Item = {**items.key("STAGED", upload), "staged_at": self._now()}
        description: Item = {**items.upload_key(upload), "pool": pool, "count": count, "content": content}
        transaction = self._store.transaction()
        transaction.create("upload", self._table, description).create("staged", self._table, staged)
        try:
            transaction.commit()
        except Refused as refused:
            known = refused.failed.get("upload")
            if known is None or known["content"] != content:
                raise Conflict("this Idempotency-Key was used with another upload") from refused
            return "segment" in known
        return False

    def _repeat(self, upload: str, pool: str, lines: list[Line], command: Command) -> None:
        """Answer a published upload that is sent again. Nothing can be added to it.

        What the sweeper did not find when it published in the upload's stead becomes an upload of its own.
        """
        wanted = [line for line in lines if line.session and line.offset is not None]
        keys = [items.session_key(line.session.id) for line in wanted if line.session]
        stored = {item["pk"]: item["upload"] for item in dynamodb.get_many(self._client, self._table, keys)}
        absent: list[Line] = []
        for line, key in zip(wanted, keys, strict=True):
            if key["pk"] not in stored:
                line.offset = len(absent)
                absent.append(line)
            elif stored[key["pk"]] != upload:
                line.verdict, line.detail = Verdict.DUPLICATE, "uploaded before"
        if absent:
            self.upload(pool, absent, replace(command, key=None))

    def _write_pages(self, upload: str, lines: list[Line]) -> None:
        """Session ids by position. Unconditional: whoever repeats the upload writes the same."""
        ids = [line.session.id for line in lines if line.session and line.offset is not None]
        puts = [
            {
                "PutRequest": {
                    "Item": dynamodb.encode({**items.page_key(upload, number), "ids": ids[start : start + items.PAGE]})
                }
            }
            for number, start in enumerate(range(0, len(ids), items.PAGE))
        ]
        for start in range(0, len(puts), 25):
            pending = {self._table: puts[start : start + 25]}
            while pending:
                pending = self._client.batch_write_item(RequestItems=pending)["UnprocessedItems"]  # type: ignore[arg-type,assignment]

    def _claim_ids(self, upload: str, pool: str, lines: list[Line]) -> None:
        """Put every session under the condition that its id is new; mark those that are not as duplicates."""
        wanted = [line for line in lines if line.offset is not None]
        chunks = [wanted[start : start + TRANSACTION_LIMIT] for start in range(0, len(wanted), TRANSACTION_LIMIT)]
        if len(chunks) == 1:
            self._claim_chunk(upload, pool, chunks[0])
            return
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  only large uploads need it

        with ThreadPoolExecutor(WRITERS) as writers:
            list(writers.map(lambda chunk: self._claim_chunk(upload, pool, chunk), chunks))

    def _claim_chunk(self, upload: str, pool: str, chunk: list[Line]) -> None:
        pending = {f"{line.offset}": line for line in chunk}

        def attempt() -> None:
            if not pending:
                return
            transaction = self._store.transaction()
            for tag, line in pending.items():
                if line.session is None:
                    continue
                item: Item = {
                    **items.session_key(line.session.id),
                    "upload": upload,
                    "offset": line.offset,
                    "pool": pool,
                    "secret": json.dumps(line.session.secret, separators=(",", ":")),
                }
                transaction.create(tag, self._table, item)
            try:
                transaction.commit()
            except Refused as refused:
                for tag, stood in refused.failed.items():
                    line = pending.pop(tag)
                    if stood is None or (stood["upload"], stood["offset"]) != (upload, line.offset):
                        line.verdict, line.detail = Verdict.DUPLICATE, "uploaded before"
                raise Stale from refused

        race(attempt)

    def _publish(self, upload: str, pool: str, count: int, dead: frozenset[int], command: Command) -> None:
        """Make the upload part of the stock, once.

        Items and what each refuses: the header, any version but the one read; the staged mark, when it is gone
        (published already); the description and the segment follow.
        """

        def attempt() -> None:
            header = self._pools.header(pool)
            after, segment = changes.publish(header, (Run(upload, 0, count),), dead)
            transaction = self._store.transaction()
            self._store.put_header(transaction, header, after)
            transaction.delete("staged", self._table, items.key("STAGED", upload))
            transaction.create("segment", self._table, items.segment_item(pool, segment))
            transaction.update(
                "upload",
                self._table,
                items.upload_key(upload),
                "SET #segment = :segment, published_at = :now",
                condition="attribute_not_exists(#segment)",
                segment=segment.number,
                now=self._now(),
            )
            entry = Entry(
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
            except Refused as refused:
                if refused.failed.keys() & {"staged", "upload"}:
                    return
                raise Stale from refused

        race(attempt)

    def finish_staged(self) -> int:
        """Publish what uploads left behind that died on the way: every session that was stored becomes stock.

        Returns:
            How many uploads were finished.
        """
        found = dynamodb.query(self._client, self._table, "pk = :pk", limit=100, pk="STAGED")
        old = [item["sk"] for item in found if item["staged_at"] < self._now() - STAGED_FOR_MS]
        for upload in old:
            description = dynamodb.get(self._client, self._table, items.upload_key(upload))
            if description is None:
                continue
            count = description["count"]
            stored = self._stored_offsets(upload, count)
            dead = frozenset(range(count)) - stored
            command = Command(SYSTEM, reason="the upload did not finish by itself")
            self._publish(upload, description["pool"], count, dead, command)
            self._pools.nudge([description["pool"]], upload)
        return len(old)

    def _stored_offsets(self, upload: str, count: int) -> frozenset[int]:
        ids = self.session_ids((Run(upload, 0, count),))
        sessions = dynamodb.get_many(self._client, self._table, [items.session_key(session) for session in ids])
        return frozenset(session["offset"] for session in sessions if session["upload"] == upload)

    # Finding and losing

    def session_ids(self, runs: tuple[Run, ...]) -> list[str]:
        """The ids of the sessions in these runs, in order. Reads one page item for 100 sessions."""
        wanted = {
            (run.upload, page)
            for run in runs
            for page in range(run.offset // items.PAGE, (run.end - 1) // items.PAGE + 1)
        }
        keys = [items.page_key(upload, page) for upload, page in sorted(wanted)]
        pages = {(item["pk"], item["sk"]): item["ids"] for item in dynamodb.get_many(self._client, self._table, keys)}
        ids: list[str] = []
        for run in runs:
            for offset in range(run.offset, run.end):
                key = items.page_key(run.upload, offset // items.PAGE)
                page = pages.get((key["pk"], key["sk"]), [])
                if offset % items.PAGE < len(page):
                    ids.append(page[offset % items.PAGE])
        return ids

    def position(self, pool: str, session_id: str) -> tuple[str, int]:
        """Upload and offset of a session of the pool.

        Raises:
            NotFound: there is no such session in it. Conflict: it was lost.
        """
        session = self._session(session_id)
        if session["pool"] != pool:
            raise NotFound(f"there is no session {session_id} in pool {pool}", session_id=session_id)
        if session.get("lost_at"):
            raise Conflict(f"session {session_id} was lost", session_id=session_id)
        return session["upload"], session["offset"]

    def free_place(self, header: Header, session_id: str) -> Place:
        """Where a free session stands.

        Raises:
            NotFound, Conflict: it is not free, or as `position`.
        """
        upload, offset = self.position(header.pool, session_id)
        adbot_id, place = self._whereabouts(header, upload, offset)
        if place is None:
            holder = f"assigned to adbot {adbot_id}" if adbot_id else "not in stock"
            raise Conflict(f"session {session_id} is not free: {holder}", session_id=session_id)
        return place

    def locate(self, session_id: str) -> Located:
        """Where a session is now.

        Raises:
            NotFound: there is none.
        """
        session = self._session(session_id)
        header, upload, offset = self._pools.header(session["pool"]), session["upload"], session["offset"]
        if session.get("lost_at"):
            return Located(header, upload, offset, None, None, lost=True)
        adbot_id, place = self._whereabouts(header, upload, offset)
        return Located(header, upload, offset, adbot_id, place)

    def _session(self, session_id: str) -> Item:
        session = dynamodb.get(self._client, self._table, items.session_key(session_id))
        if session is None:
            raise NotFound(f"there is no session {session_id}", session_id=session_id)
        return session

    def _whereabouts(self, header: Header, upload: str, offset: int) -> tuple[str | None, Place | None]:
        """The bot that holds a position, or its place in the free stock; neither for one that is not published.

        The owner index is looked back over 500 positions, the most one entry covers. Its latest entry names the
        last bot that got the session. If that bot holds it no more, it went back to stock in one of the segments
        that the bot's item names.
        """
        entries = dynamodb.query(
            self._client,
            self._table,
            "pk = :pk AND sk BETWEEN :low AND :high",
            pk=f"UPLOAD#{upload}",
            low=items.alloc_sk(max(0, offset - MAX_SESSIONS + 1), 0),
            high=items.alloc_sk(offset + 1, 0),
        )
        latest = None
        for entry in entries:
            _, start, version = entry["sk"].split("#")
            covers = int(start) <= offset < int(start) + entry["count"]
            if covers and (latest is None or version > latest[0]):
                latest = (version, entry["adbot_id"])
        if latest:
            adbot = self._store.adbot(latest[1])
            if adbot is None:
                return latest[1], None
            if adbot.holds(upload, offset):
                return adbot.id, None
            numbers = list(reversed(adbot.releases))
        else:
            description = dynamodb.get(self._client, self._table, items.upload_key(upload)) or {}
            numbers = [description["segment"]] if "segment" in description else []
        for number in numbers:
            segment = self._store.segment(header.pool, number)
            position = segment.position(upload, offset) if segment else None
            if segment is None or position is None:
                continue
            place = Place(upload, offset, number, position)
            return None, place if position not in segment.dead and place.is_ahead_of(header) else None
        return None, None

    def mark_lost(self, transaction: Transaction, session_id: str) -> None:
        """Mark a session lost; refuses one that is."""
        transaction.update(
            "session",
            self._table,
            items.session_key(session_id),
            "SET lost_at = :now",
            condition="attribute_exists(pk) AND attribute_not_exists(lost_at)",
            now=self._now(),
        )

    def lose_free(self, header: Header, place: Place, *extras: Extra) -> None:
        """Take a free session out of the stock for good.

        Raises:
            Stale: the pool changed since the header was read.
        """
        after = changes.lose_free(header)
        transaction = self._store.transaction()
        self._store.put_header(transaction, header, after)
        self._store.mark_dead(transaction, header.pool, place.segment, {place.position})
        for extra in extras:
            extra(transaction)
        try:
            transaction.commit()
        except Refused as refused:
            raise Stale from refused
