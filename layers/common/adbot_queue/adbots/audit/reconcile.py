"""Reads a whole pool and audits it: drift is reported and alarmed, never corrected.

Only Query and BatchGet. The segment directory lists all uploads, each upload has its owner index; these, queue, inbox,
park and ledger name all bots.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

from adbot_queue.adbots.audit.findings import AssignmentRecord, Finding, Loss, PoolSnapshot
from adbot_queue.adbots.audit.rules import audit
from adbot_queue.adbots.audit.verdicts import Verdicts
from adbot_queue.adbots.model import Adbot, AdbotStatus, QueuedReason, Run
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.adbots.storage import items, readers
from adbot_queue.adbots.storage.rows import Reader, Row, number_in, read_each
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import aws, dynamodb, telemetry
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Invalid
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Ledger, search

LOOKS = 5
"""Readings of a pool that keeps changing, after which the answer is that nothing can be said."""

SECOND_LOOK_S = 2.0
"""Pause before a finding is looked at again: purchases change no header, and the ledger's index lags a little."""

READERS = 8
"""Queries under way at once."""

LEDGER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class ReconcileResult:
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

    def __init__(
        self,
        store: AdbotStore,
        ledger: Ledger,
        pause: Callable[[float], None] = time.sleep,
        verdicts: Verdicts | None = None,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._pause = pause
        self._verdicts = verdicts

    def pool(self, pool: str, seconds: float = 20.0) -> ReconcileResult:
        """Audit one pool. Its size, history included, is what this costs; `seconds` bounds it.

        Emits the metric `Drift`: the number of findings, 0 as well.

        Raises:
            Invalid: there is no such pool.
        """
        deadline = time.monotonic() + seconds
        report = self._compare(pool, deadline)
        if report.conclusive:
            telemetry.gauge("Drift", len(report.findings))
            if self._verdicts:
                self._verdicts.keep(pool, len(report.findings))
        for finding in report.findings:
            logger.error("drift", pool=pool, code=finding.code, subject=finding.subject, detail=finding.detail)
        logger.info("pool reconciled", pool=pool, conclusive=report.conclusive, findings=len(report.findings))
        return report

    def all(self, pools: Sequence[str], seconds_left: Callable[[], float]) -> list[ReconcileResult]:
        """Audit pools one after the other, each in its share of the time left; none stops another.

        A pool that cannot be read, or whose reading fails, has no verdict.
        """
        reports: list[ReconcileResult] = []
        for number, pool in enumerate(pools):
            try:
                reports.append(self.pool(pool, max(seconds_left(), 0) / (len(pools) - number)))
            except Exception:  # noqa: BLE001  whatever it is, it is this pool's: the sweeper alarms a missing verdict
                logger.exception("pool not reconciled", pool=pool)
                reports.append(ReconcileResult(pool, conclusive=False))
        return reports

    def _compare(self, pool: str, deadline: float) -> ReconcileResult:
        try:
            first = self._settled(pool, deadline)
            if first is None:
                return ReconcileResult(pool, conclusive=False)
            findings = audit(first)
            if findings:
                self._pause(SECOND_LOOK_S)
                second = self._settled(pool, deadline)
                if second is None:
                    return ReconcileResult(pool, conclusive=False, counted=_counted(first))
                known = {(finding.code, finding.subject) for finding in findings}
                findings = [finding for finding in audit(second) if (finding.code, finding.subject) in known]
        except _OutOfTime:
            return ReconcileResult(pool, conclusive=False)
        return ReconcileResult(pool, conclusive=True, findings=findings, counted=_counted(first))

    def _settled(self, pool: str, deadline: float) -> PoolSnapshot | None:
        """A reading during which the header did not change, None when there was none."""
        for number in range(LOOKS):
            snapshot = self.read(pool, deadline)
            header = self._store.header(pool)
            if header is not None and header.version == snapshot.header.version:
                return snapshot
            self._pause(0.1 * 2**number)
        return None

    def read(self, pool: str, deadline: float = float("inf")) -> PoolSnapshot:
        """All there is about a pool, strongly read but for the ledger, the header first.

        Whatever changes under the header is consistent if the header's version is the same afterwards. The ledger
        comes second and bots last: what it says was made is found.

        Raises:
            Invalid: there is no such pool.
        """
        header = self._store.header(pool)
        if header is None:
            raise Invalid.field("pool", "does not exist")
        return _Reading(self._store, self._ledger, header, deadline).snapshot()


class _Reading:
    """One reading of one pool. Each call to AWS but the first asks whether there is time for it."""

    def __init__(self, store: AdbotStore, ledger: Ledger, header: PoolState, deadline: float) -> None:
        self._client = store.client
        self._table = store.table
        self._ledger = ledger
        self._header = header
        self._pool = header.pool
        self._deadline = deadline
        self._unreadable: dict[str, str] = {}
        self._bad_keys: list[str] = []

    def snapshot(self) -> PoolSnapshot:
        """See `Reconciler.read`."""
        header, pool = self._header, self._pool
        created = Counter(_target(entry) for entry in self._entries("adbot.create") if _after(entry, "pool") == pool)
        uploaded = [entry for entry in self._entries("stock.upload") if _after(entry, "pool") == pool]
        cancelled = Counter(_target(entry) for entry in self._entries("adbot.cancel"))
        losses = self._losses()
        accepted = {_target(entry): number_in(entry["after"], "accepted") or 0 for entry in uploaded}
        inbox = self._read("inbox", self._query(items.inbox_pk(pool)), items.inbox_of)
        queue = self._read("place", self._buckets(items.queue_pk, header.queue_tail), items.queue_of)
        bad_places = frozenset(self._bad_keys)
        aside = dict(header.aside)
        rows = [_until(item, aside) for item in self._buckets(items.segment_pk, header.next_segment)]
        self._bad_keys.clear()
        segments = self._read("segment", rows, items.segment_of)
        bad_segments = frozenset(int(key) for key in self._bad_keys)
        park = self._query(items.park_key(pool, "")["pk"])
        set_aside = [item["sk"] for item in park]
        named_uploads = {run.upload for segment in segments for run in segment.ranges}
        uploads = self._uploads(named_uploads | (accepted.keys() if bad_segments or aside else set()))
        assignments = self._assignments(uploads)
        named = {*created, *set_aside, *(assignment.adbot_id for assignment in assignments)}
        named |= {arrival.adbot_id for arrival in inbox} | {entry.adbot_id for entry in queue}
        adbots = self._read("", self._get(items.adbot_key(name) for name in sorted(named)), readers.adbot_of)
        adbots = _as_parked(adbots, park)
        parked = [_whose(row, adbots) for row in park]
        self._unreadable |= {name: "set aside" for name in parked if name.startswith("ENTRY#")}
        orders = self._read("", self._get(items.order_key(bot.order_id) for bot in adbots), readers.order_of)
        return PoolSnapshot(
            unreadable=self._unreadable,
            bad_places=bad_places,
            bad_segments=bad_segments,
            header=header,
            segments=segments,
            queue=queue,
            inbox=inbox,
            parked=parked,
            assignments=assignments,
            uploads=uploads,
            accepted=accepted,
            adbots={adbot.id: adbot for adbot in adbots},
            orders={order.id: order for order in orders},
            created=created,
            cancelled=cancelled,
            losses=losses,
        )

    def _read(self, kind: str, found: Iterable[Item], read: Callable[[Item], Row]) -> list[Row]:
        """Rows that this version can read; the others are remembered, by their key and by the bot they name."""
        rows = read_each(found, read)
        for bad in rows.bad:
            key = str(bad.item["sk"])
            self._bad_keys.append(key)
            self._unreadable[f"{kind} {key}" if kind else str(bad.item["pk"]).partition("#")[2]] = bad.reason
        return rows.good

    def _entries(self, action: str) -> Iterator[Item]:
        """Ledger entries of one action, of all pools."""
        cursor = None
        while True:
            self._look_at_the_clock()
            page, cursor = search.read(
                self._ledger,
                actor=None,
                action=action,
                target=None,
                since=None,
                until=None,
                limit=LEDGER_PAGE,
                cursor=cursor,
            )
            yield from page
            if cursor is None:
                return

    def _losses(self) -> list[Loss]:
        """Sessions of the pool that the ledger says were lost: free ones by their name, others by their bot's."""
        names = [str(_after(entry, "session") or _target(entry)) for entry in self._entries("session.lost")]
        found = self._get(items.session_key(name) for name in set(names))
        sessions = {item["pk"].removeprefix("SESSION#"): item for item in found if item.get("pool") == self._pool}
        marked = [(name, sessions[name]) for name in names if name in sessions]
        return [Loss(name, item["upload"], item["offset"], "lost_at" in item) for name, item in marked]

    def _uploads(self, names: set[str]) -> dict[str, int]:
        found = self._get(items.upload_key(name) for name in sorted(names))
        counts = {item["pk"].removeprefix("UPLOAD#"): number_in(item, "count") for item in found}
        self._unreadable |= {f"upload {name}": "count" for name, count in counts.items() if count is None}
        return {name: count for name, count in counts.items() if count is not None}

    def _assignments(self, uploads: dict[str, int]) -> list[AssignmentRecord]:
        """The owner index of all uploads."""

        def of(upload: str) -> list[AssignmentRecord]:
            found = self._query(items.upload_key(upload)["pk"], starting="ALLOC#")
            return self._read("owner of", found, lambda item: _assignment(upload, item))

        with ThreadPoolExecutor(READERS) as readers:
            return [assignment for part in readers.map(of, uploads) for assignment in part]

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
    return str(entry["target"]).partition(":")[2]


def _after(entry: Item, name: str) -> Any:
    """Return an attribute of a ledger entry's `after`."""
    after = entry.get("after")
    return after.get(name) if isinstance(after, dict) else None


def _assignment(upload: str, item: Item) -> AssignmentRecord:
    _, offset, version = item["sk"].split("#")
    row = Reader(item)
    run = Run(upload, int(offset), row.number("count", 1))
    return AssignmentRecord(run, int(version), row.text("adbot_id"), row.number_or_none("seq"))


def _until(item: Item, aside: dict[int, int]) -> Item:
    """A segment's row, cut where it was set aside: what is behind comes back by another one, or not at all."""
    number = int(item["sk"])
    return {**item, "until": aside[number]} if number in aside and "until" not in item else item


def _as_parked(adbots: list[Adbot], park: list[Item]) -> list[Adbot]:
    """Return the bots; one that was parked while unreadable does not say so itself."""
    names = {row["sk"] for row in park}
    return [
        replace(bot, queued_reason=QueuedReason.PARKED, inbox_id=None)
        if bot.status is AdbotStatus.QUEUED and names & _park_names(bot)
        else bot
        for bot in adbots
    ]


def _park_names(bot: Adbot) -> set[str]:
    seq = "" if bot.seq is None else f"{bot.seq:012d}"
    return {bot.id, f"ENTRY#{bot.inbox_id}", f"ENTRY#{seq}"}


def _whose(row: Item, adbots: list[Adbot]) -> str:
    """The bot that a row of the park is about, or the row's own name."""
    seq = row["sk"].removeprefix("ENTRY#")
    mine = (bot.id for bot in adbots if row["sk"] in _park_names(bot) or (seq.isdigit() and bot.seq == int(seq)))
    return next(mine, row["sk"]) if row["sk"].startswith("ENTRY#") else str(row["sk"])


def _counted(snapshot: PoolSnapshot) -> dict[str, int]:
    return {
        "version": snapshot.header.version,
        "adbots": len(snapshot.adbots),
        "waiting": len(snapshot.waiting),
        "uploads": len(snapshot.uploads),
        "sessions": sum(snapshot.accepted.values()),
        "assignments": len(snapshot.assignments),
        "lost": len(snapshot.losses),
    }


@lru_cache(maxsize=1)
def from_env() -> Reconciler:
    """The reconciler of this process, on the tables that the template names."""
    env = settings()
    store, ledger = AdbotStore(aws.dynamodb(), env.adbots_table), Ledger(aws.dynamodb(), env.ledger_table)
    return Reconciler(store, ledger, verdicts=Verdicts(aws.dynamodb(), env.system_table))
