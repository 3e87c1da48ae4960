"""Which lines of an upload became sessions: settled 99 at a time, each time once.

A request that stores sessions, its repetition and the job `finish-upload` that publishes what a dead request left may
meet at any moment. So the sessions of 99 lines and the record that they are settled are one transaction, and the job
settles what is open by the same record before it publishes: no session is stored that publishing does not know of.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adbot_queue.adbots.commands import retry_on_conflict
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import PoolStore, StalePool
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Transaction, TransactionRejected
from adbot_queue.stock.upload import UploadLine


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload to one pool, with the number of its lines."""

    id: str
    pool: str
    count: int


class Claims:
    """The settled lines of one upload, as far as they are known here."""

    def __init__(self, store: PoolStore, upload: Upload) -> None:
        self._store = store
        self._upload = upload.id
        self._pool = upload.pool
        self._count = upload.count
        self._settled: dict[int, Item] = {}

    @property
    def open(self) -> list[int]:
        """Numbers of the records that are not known to exist."""
        return [number for number in range(-(-self._count // items.CLAIM)) if number not in self._settled]

    @property
    def dead(self) -> frozenset[int]:
        """Positions that became no session."""
        known = {offset for claim in self._settled.values() for offset in claim.get("dead") or ()}
        return frozenset(known | {offset for offset in range(self._count) if self.is_closed(offset)})

    def is_closed(self, offset: int) -> bool:
        """Whether `finish-upload` settled the line at this position, so that it is no session of this upload."""
        claim = self._settled.get(offset // items.CLAIM)
        return claim is None or bool(claim.get("closed"))

    def read(self) -> None:
        """Learn what other requests settled: two calls for 10,000 lines."""
        keys = [items.claim_key(self._upload, number) for number in self.open]
        for item in dynamodb.get_many(self._store.client, self._store.table, keys):
            self._settled[int(item["sk"].removeprefix("CLAIM#"))] = item

    def settle(self, number: int, lines: Sequence[UploadLine]) -> None:
        """Store the sessions of one record's lines, unless it exists.

        Items and what each refuses: the record, when another request or `finish-upload` settled these lines; each
        session, when its id is known: its line becomes none, and the others are tried again.
        """
        start, dead = number * items.CLAIM, set[int]()
        chunk = dict(enumerate(lines[start : start + items.CLAIM], start))

        def attempt() -> Item:
            claim: Item = {**items.claim_key(self._upload, number), "dead": dead or None}
            transaction = self._store.transaction().create("claim", self._store.table, claim)
            for offset, line in chunk.items():
                if line.session and offset not in dead:
                    session: Item = {
                        **items.session_key(line.session.id),
                        "upload": self._upload,
                        "offset": offset,
                        "pool": self._pool,
                        "secret": json.dumps(line.session.secret, separators=(",", ":")),
                    }
                    transaction.create(f"{offset}", self._store.table, session)
            try:
                transaction.commit()
            except TransactionRejected as refused:
                if settled := refused.failed.get("claim"):
                    return settled
                dead.update(int(tag) for tag in refused.failed)
                raise StalePool from refused
            return claim

        self._settled[number] = retry_on_conflict(attempt)

    def close(self, transaction: Transaction, numbers: Iterable[int]) -> None:
        """Add the records of open lines, which become no sessions of this upload any more.

        Each refuses when a request has settled its lines meanwhile.
        """
        for number in numbers:
            claim: Item = {**items.claim_key(self._upload, number), "closed": True}
            transaction.create(f"claim:{number}", self._store.table, claim)

    def lines_of(self, numbers: Iterable[int]) -> int:
        """Return the number of lines that these records settle."""
        return sum(min(items.CLAIM, self._count - number * items.CLAIM) for number in numbers)

    def outcomes(self) -> Counter[str]:
        """Return what became of the settled lines: accepted, duplicates, and those that their request did not store."""
        closed = self.lines_of(number for number, claim in self._settled.items() if claim.get("closed"))
        duplicates = sum(len(claim.get("dead") or ()) for claim in self._settled.values())
        accepted = self.lines_of(self._settled) - closed - duplicates
        return +Counter({"accepted": accepted, "duplicates": duplicates, "not_stored": closed})
