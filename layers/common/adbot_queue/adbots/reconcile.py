"""Reads a whole pool and has it audited: drift is reported and alarmed, never corrected.

By Query and BatchGet alone. The segment directory is the complete list of uploads, each upload has its owner index;
these, queue, inbox, park and ledger name all bots.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

from adbot_queue.adbots import items
from adbot_queue.adbots.allocation import Header
from adbot_queue.adbots.audit import audit
from adbot_queue.adbots.findings import Finding, Grant, Loss, Snapshot
from adbot_queue.adbots.model import Run
from adbot_queue.adbots.store import AdbotStore
from adbot_queue.core import aws, dynamodb, telemetry
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Invalid
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Ledger

LOOKS = 5
"""Readings of a pool that keeps changing, after which the answer is that nothing can be said."""

SECOND_LOOK_S = 2.0
"""Pause before a finding is looked at again: purchases change no header, and the ledger's index lags a little."""

READERS = 8
"""Queries under way at once."""

LEDGER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        conclusive: False when the pool changed during every reading, or there was no time to read it all.
        findings: what two readings of the pool agreed upon; empty when all adds up.
        counted: how much was looked at.
    """

    pool: str
    conclusive: bool
    findings: list[Finding] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)


class _OutOfTime(Exception):
    pass


class Reconciler:
    """Compares pools with their history."""

    def __init__(self, store: AdbotStore, ledger: Ledger, pause: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._ledger = ledger
        self._pause = pause

    def pool(self, pool: str, seconds: float = 20.0) -> Report:
        """Audit one pool. Its size, history included, is what this costs; `seconds` bounds it.

        Emits the metric `Drift`: the number of findings, 0 as well.

        Raises:
            Invalid: there is no such pool.
        """
        deadline = time.monotonic() + seconds
        report = self._compare(pool, deadline)
        if report.conclusive:
            telemetry.gauge("Drift", len(report.findings))
        for finding in report.findings:
            logger.error("drift", pool=pool, code=finding.code, subject=finding.subject, detail=finding.detail)
        logger.info("pool reconciled", pool=pool, conclusive=report.conclusive, findings=len(report.findings))
        return report

    def _compare(self, pool: str, deadline: float) -> Report:
        try:
            first = self._settled(pool, deadline)
            if first is None:
                return Report(pool, conclusive=False)
            findings = audit(first)
            if findings:
                self._pause(SECOND_LOOK_S)
                second = self._settled(pool, deadline)
                if second is None:
                    return Report(pool, conclusive=False, counted=_counted(first))
                known = {(finding.code, finding.subject) for finding in findings}
                findings = [finding for finding in audit(second) if (finding.code, finding.subject) in known]
        except _OutOfTime:
            return Report(pool, conclusive=False)
        return Report(pool, conclusive=True, findings=findings, counted=_counted(first))

    def _settled(self, pool: str, deadline: float) -> Snapshot | None:
        """A reading during which the header did not change, None when there was none."""
        for number in range(LOOKS):
            snapshot = self.read(pool, deadline)
            header = self._store.header(pool)
            if header is not None and header.version == snapshot.header.version:
                return snapshot
            self._pause(0.1 * 2**number)
        return None

    def read(self, pool: str, deadline: float = float("inf")) -> Snapshot:
        """All there is about a pool, strongly read but for the ledger, the header first.

        Whatever changes under the header is consistent if the header's version is the same afterwards. The ledger
        comes second and bots last: what it says was made is found.

        Raises:
            Invalid: there is no such pool.
        """
        header = self._store.header(pool)
        if header is None:
            raise Invalid.field("pool", f"there is no pool {pool!r}")
        return _Reading(self._store, self._ledger, header, deadline).snapshot()


class _Reading:
    """One reading of one pool. Each call to AWS but the first asks whether there is time for it."""

    def __init__(self, store: AdbotStore, ledger: Ledger, header: Header, deadline: float) -> None:
        self._client = store.client
        self._table = store.table
        self._ledger = ledger
        self._header = header
        self._pool = header.pool
        self._deadline = deadline

    def snapshot(self) -> Snapshot:
        """See `Reconciler.read`."""
        header, pool = self._header, self._pool
        created = Counter(_target(entry) for entry in self._entries("adbot.create") if entry["after"]["pool"] == pool)
        uploaded = [entry for entry in self._entries("stock.upload") if entry["after"]["pool"] == pool]
        cancelled = Counter(_target(entry) for entry in self._entries("adbot.cancel"))
        losses = self._losses()
        inbox = [items.inbox_of(item) for item in self._query(items.inbox_pk(pool))]
        queue = [items.queue_of(item) for item in self._buckets(items.queue_pk, header.queue_tail)]
        segments = [items.segment_of(item) for item in self._buckets(items.segment_pk, header.next_segment)]
        parked = [item["sk"] for item in self._query(items.park_key(pool, "")["pk"])]
        uploads = self._uploads({run.upload for segment in segments for run in segment.ranges})
        grants = self._grants(uploads)
        named = {*created, *parked, *(grant.adbot_id for grant in grants)}
        named |= {arrival.adbot_id for arrival in inbox} | {entry.adbot_id for entry in queue}
        adbots = [items.adbot_of(item) for item in self._get(items.adbot_key(name) for name in sorted(named))]
        orders = [items.order_of(item) for item in self._get(items.order_key(bot.order_id) for bot in adbots)]
        return Snapshot(
            header=header,
            segments=segments,
            queue=queue,
            inbox=inbox,
            parked=parked,
            grants=grants,
            uploads=uploads,
            accepted={_target(entry): entry["after"]["accepted"] for entry in uploaded},
            adbots={adbot.id: adbot for adbot in adbots},
            orders={order.id: order for order in orders},
            created=created,
            cancelled=cancelled,
            losses=losses,
        )

    def _entries(self, action: str) -> Iterator[Item]:
        """Ledger entries of one action, of all pools."""
        cursor = None
        while True:
            self._look_at_the_clock()
            page, cursor = self._ledger.read(
                actor=None, action=action, target=None, since=None, until=None, limit=LEDGER_PAGE, cursor=cursor
            )
            yield from page
            if cursor is None:
                return

    def _losses(self) -> list[Loss]:
        """Sessions of the pool that the ledger says were lost: free ones by their name, others by their bot's."""
        names = [entry["after"].get("session") or _target(entry) for entry in self._entries("session.lost")]
        found = self._get(items.session_key(name) for name in set(names))
        sessions = {item["pk"].removeprefix("SESSION#"): item for item in found if item["pool"] == self._pool}
        told = [(name, sessions[name]) for name in names if name in sessions]
        return [Loss(name, item["upload"], item["offset"], "lost_at" in item) for name, item in told]

    def _uploads(self, names: set[str]) -> dict[str, int]:
        found = self._get(items.upload_key(name) for name in sorted(names))
        return {item["pk"].removeprefix("UPLOAD#"): item["count"] for item in found}

    def _grants(self, uploads: dict[str, int]) -> list[Grant]:
        """The owner index of all uploads."""

        def of(upload: str) -> list[Grant]:
            found = self._query(items.upload_key(upload)["pk"], starting="ALLOC#")
            return [_grant(upload, item) for item in found]

        with ThreadPoolExecutor(READERS) as readers:
            return [grant for part in readers.map(of, uploads) for grant in part]

    def _buckets(self, partition: Callable[[str, int], str], count: int) -> Iterator[Item]:
        """All items of something numbered, through the partitions it is spread over."""
        for name in dict.fromkeys(partition(self._pool, number) for number in range(count)):
            yield from self._query(name)

    def _query(self, partition: str, starting: str = "") -> list[Item]:
        self._look_at_the_clock()
        if not starting:
            return dynamodb.query(self._client, self._table, "pk = :pk", pk=partition)
        condition = "pk = :pk AND begins_with(sk, :start)"
        return dynamodb.query(self._client, self._table, condition, pk=partition, start=starting)

    def _get(self, keys: Iterator[Item]) -> Iterator[Item]:
        while some := list(islice(keys, dynamodb.BATCH_GET_LIMIT)):
            self._look_at_the_clock()
            yield from dynamodb.get_many(self._client, self._table, some)

    def _look_at_the_clock(self) -> None:
        if time.monotonic() > self._deadline:
            raise _OutOfTime


def _target(entry: Item) -> str:
    """`adbot:abc` -> `abc`."""
    return str(entry["target"]).split(":", 1)[1]


def _grant(upload: str, item: dict[str, Any]) -> Grant:
    _, offset, version = item["sk"].split("#")
    return Grant(Run(upload, int(offset), item["count"]), int(version), item["adbot_id"], item.get("seq"))


def _counted(snapshot: Snapshot) -> dict[str, int]:
    return {
        "version": snapshot.header.version,
        "adbots": len(snapshot.adbots),
        "waiting": len(snapshot.waiting),
        "uploads": len(snapshot.uploads),
        "sessions": sum(snapshot.accepted.values()),
        "grants": len(snapshot.grants),
        "lost": len(snapshot.losses),
    }


@lru_cache(maxsize=1)
def from_env() -> Reconciler:
    """The reconciler of this process, on the tables that the template names."""
    env = settings()
    return Reconciler(AdbotStore(aws.dynamodb(), env.adbots_table), Ledger(aws.dynamodb(), env.ledger_table))
