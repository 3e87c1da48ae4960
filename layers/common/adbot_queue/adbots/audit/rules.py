"""Does a pool add up? Rebuilds who holds what from its history and compares that with the items. Pure.

The history is never rewritten: the segments (each arrival of sessions), the owner index (each assignment, with the
change and place that it was for) and the ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.audit.findings import Finding, FindingCode, PoolSnapshot
from adbot_queue.adbots.model import Adbot, AdbotStatus, Run, joined
from adbot_queue.adbots.pool_state import PoolState

_PLACE_DIGITS = 12
"""Length of a queue entry's sort key; an inbox entry's is longer."""


def audit(snapshot: PoolSnapshot) -> list[Finding]:
    """Everything that is wrong with a pool; an empty list when all adds up."""
    return [
        *_bots(snapshot),
        *_places(snapshot),
        *_order_of_service(snapshot),
        *_order_of_places(snapshot),
        *_stock(snapshot),
        *_owner_index(snapshot),
        *_queue_in_header(snapshot),
        *_stock_in_header(snapshot),
        *_makings(snapshot),
        *_uploads_and_losses(snapshot),
        *(Finding(FindingCode.ROW_UNREADABLE, subject, why) for subject, why in snapshot.unreadable.items()),
    ]


def _bots(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Each bot in itself."""
    for bot in snapshot.adbots.values():
        held = sum(run.count for run in bot.runs)
        if bot.assigned != held:
            yield Finding(FindingCode.ADBOT_ASSIGNED, bot.id, f"assigned is {bot.assigned}, its runs hold {held}")
        cancelled = bot.status is AdbotStatus.CANCELLED
        missing = 0 if cancelled else bot.required - held
        if bot.missing != missing:
            yield Finding(
                FindingCode.ADBOT_MISSING, bot.id, f"missing is {bot.missing}, required less held is {missing}"
            )
        if (bot.status is AdbotStatus.QUEUED) != (bot.missing > 0) or (cancelled and held):
            yield Finding(FindingCode.ADBOT_STATUS, bot.id, f"{bot.status} with {bot.missing} missing and {held} held")


def _places(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Each waiting bot has one place, and each place its bot."""
    standing = [entry for entry in snapshot.queue if entry.seq >= snapshot.header.queue_head]
    places: Counter[str] = Counter(snapshot.parked)
    places.update(entry.adbot_id for entry in standing)
    places.update(arrival.adbot_id for arrival in snapshot.inbox)
    for bot in snapshot.adbots.values():
        keys = {bot.inbox_id, None if bot.seq is None else f"{bot.seq:012d}"}
        at_bad_place = bool(keys & snapshot.bad_places) and not bot.is_parked
        if bot.status is AdbotStatus.QUEUED and places[bot.id] + at_bad_place != 1:
            yield Finding(FindingCode.ADBOT_WITHOUT_PLACE, bot.id, f"waits in {places[bot.id]} places")
    for entry in standing:
        bot_there = snapshot.adbots.get(entry.adbot_id)
        at_head = entry.seq == snapshot.header.queue_head and snapshot.header.head_missing is not None
        lacks = snapshot.header.head_missing if at_head else entry.missing
        right = bot_there is not None and bot_there.waits_in_queue and bot_there.seq == entry.seq
        yield from _entry(snapshot, f"place {entry.seq}", entry.adbot_id, bot_there if right else None, lacks)
    for arrival in snapshot.inbox:
        arrived = snapshot.adbots.get(arrival.adbot_id)
        right = arrived is not None and (arrived.status, arrived.inbox_id) == (AdbotStatus.QUEUED, arrival.id)
        yield from _entry(snapshot, "the inbox", arrival.adbot_id, arrived if right else None, arrival.required)
    for adbot_id in snapshot.parked:
        aside = snapshot.adbots.get(adbot_id)
        if adbot_id not in snapshot.unreadable and (aside is None or not aside.is_parked):
            yield Finding(FindingCode.ENTRY_STRAY, adbot_id, "in the park, but not set aside")


def _entry(
    snapshot: PoolSnapshot, where: str, adbot_id: str, waits_there: Adbot | None, lacks: int | None
) -> Iterator[Finding]:
    if adbot_id in snapshot.unreadable:
        return
    if waits_there is None:
        yield Finding(FindingCode.ENTRY_STRAY, adbot_id, f"in {where}, but does not wait there")
    elif waits_there.missing != lacks:
        yield Finding(FindingCode.ENTRY_MISSING, adbot_id, f"lacks {lacks} by {where}, {waits_there.missing} by itself")


def _order_of_service(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """First in, first out: places were served in their order, and no waiting bot was passed over."""
    by_version: dict[int, list[int]] = defaultdict(list)
    for assignment in snapshot.assignments:
        if assignment.seq is not None:
            by_version[assignment.version].append(assignment.seq)
    served = -1
    for version in sorted(by_version):
        first = min(by_version[version])
        if first < served:
            yield Finding(FindingCode.SERVED_OUT_OF_ORDER, f"version {version}", f"served place {first} after {served}")
        served = max(served, *by_version[version])
    for bot in snapshot.waiting:
        if bot.seq is not None and bot.seq < served:
            yield Finding(FindingCode.OVERTAKEN, bot.id, f"waits at place {bot.seq}, place {served} was served")


def _order_of_places(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Places were given out once each, in the order of time."""
    header = snapshot.header
    holders: dict[int, set[str]] = defaultdict(set)
    times: dict[int, set[int]] = defaultdict(set)
    for assignment in snapshot.assignments:
        if assignment.seq is not None:
            holders[assignment.seq].add(assignment.adbot_id)
    stamped = [(entry.seq, entry.adbot_id, entry.queued_at) for entry in snapshot.queue]
    stamped += [
        (bot.seq, bot.id, bot.queued_at) for bot in snapshot.adbots.values() if bot.seq is not None and bot.queued_at
    ]
    for seq, adbot_id, queued_at in stamped:
        holders[seq].add(adbot_id)
        times[seq].add(queued_at)
    for seq, bots in holders.items():
        if len(bots) > 1:
            yield Finding(FindingCode.PLACE_TAKEN_TWICE, f"place {seq}", f"had by {', '.join(sorted(bots))}")
    latest = -1
    for seq in sorted(times):
        if min(times[seq]) <= latest or len(times[seq]) > 1:
            detail = f"queued at {sorted(times[seq])}, one before it at {latest}"
            yield Finding(FindingCode.QUEUED_AT_OUT_OF_ORDER, f"place {seq}", detail)
        latest = max(latest, *times[seq])
    last = max(holders, default=-1)
    if last >= header.queue_tail or latest > header.last_queued_at:
        detail = f"tail {header.queue_tail} at {header.last_queued_at}, but {last} at {latest} was given out"
        yield Finding(FindingCode.HEADER_TAIL, header.pool, detail)


class _Positions:
    """What happened to every position of one upload.

    Each row counts something for all positions, as differences between neighbours: a run costs two additions.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.owned = [0] * (count + 1)
        self.free = [0] * (count + 1)
        self.came = [0] * (count + 1)  # how often it came to stock: segments that show it
        self.given = [0] * (count + 1)  # how often it was given away: entries of the owner index
        self.lost: set[int] = set()
        self.came_unknown = False  # an unreadable segment may have shown any of them
        self.nowhere = 0  # positions without a holder, beyond the refused ones

    def faults(self) -> Iterator[tuple[FindingCode, int]]:
        """Positions that break a rule."""
        rows = zip(*(accumulate(what[:-1]) for what in (self.owned, self.free, self.came, self.given)), strict=True)
        for offset, (owned, free, came, given) in enumerate(rows):
            lost = offset in self.lost
            came = max(came, given + free) if self.came_unknown else came  # noqa: PLW2901
            if owned + free == 1 and given == came - free and not lost:
                continue
            # It came to stock `came` times and is there `free` times: the other times it was given away, once each.
            broken = {
                FindingCode.SESSION_OWNED_TWICE: owned > 1,
                FindingCode.SESSION_FREE_TWICE: free > 1,
                FindingCode.SESSION_OWNED_AND_FREE: owned and free,
                FindingCode.SESSION_LOST_BUT_USED: lost and (owned or free),
                FindingCode.SESSION_GIVEN_TWICE: given > came - free,
                FindingCode.OWNER_INDEX_GAP: given < came - free and (owned or free),
                FindingCode.SESSION_LEAKED: not owned and not free and not lost,
            }
            yield from ((code, offset) for code, is_so in broken.items() if is_so)


def _stock(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Every session that was ever uploaded is with one bot, or free once, or lost."""
    uploads = _histories(snapshot)
    held = ((bot.id, run) for bot in snapshot.adbots.values() for run in bot.runs)
    for adbot_id, run in held:
        if not _enter(uploads, lambda stock: stock.owned, run):
            yield Finding(FindingCode.RUN_OUTSIDE_STOCK, adbot_id, f"holds {run}, which was never in stock")
    faults = [
        fault for name, stock in uploads.items() for fault in _faults_of(name, stock, snapshot.accepted.get(name))
    ]
    # What is nowhere may be in segments that are set aside: the header says how much that is.
    nowhere, set_aside = sum(stock.nowhere for stock in uploads.values()), snapshot.header.set_aside
    explained = bool(snapshot.unknown_segments) or (set_aside > 0 and nowhere == set_aside)
    yield from (finding for finding in faults if finding.code is not FindingCode.SESSION_LEAKED or not explained)


def _histories(snapshot: PoolSnapshot) -> dict[str, _Positions]:
    """What happened to the positions of every upload, but for what readable bots say they hold."""
    uploads = {upload: _Positions(count) for upload, count in snapshot.uploads.items()}
    for segment in snapshot.segments:
        for run in segment.ranges:
            _enter(uploads, lambda stock: stock.came, run)
        for run in _free_in(segment, snapshot.header):
            _enter(uploads, lambda stock: stock.free, run)
    for run in _held_unreadably(snapshot):
        _enter(uploads, lambda stock: stock.owned, run)
    for assignment in snapshot.assignments:
        _enter(uploads, lambda stock: stock.given, assignment.run)
    for loss in snapshot.losses:
        if loss.marked and loss.upload in uploads:
            uploads[loss.upload].lost.add(loss.offset)
    for stock in uploads.values():
        stock.came_unknown = bool(snapshot.bad_segments)
    return uploads


def _enter(uploads: dict[str, _Positions], row: Callable[[_Positions], list[int]], run: Run) -> bool:
    """Count a run; False when there is no such stretch of an upload."""
    stock = uploads.get(run.upload)
    if stock is None or run.offset < 0 or run.count < 1 or run.end > stock.count:
        return False
    row(stock)[run.offset] += 1
    row(stock)[run.end] -= 1
    return True


def _free_in(segment: Segment, header: PoolState) -> Iterator[Run]:
    """The positions of a segment that the cursor has still to pass, less the dead ones."""
    if segment.number < header.cursor_segment:
        return
    passed = header.cursor_offset if segment.number == header.cursor_segment else 0
    start = 0
    for run in segment.ranges:
        first = max(passed - start, 0)
        for dead in sorted(spot - start for spot in segment.dead if start + first <= spot < start + run.count):
            if dead > first:
                yield Run(run.upload, run.offset + first, dead - first)
            first = dead + 1
        if first < run.count:
            yield Run(run.upload, run.offset + first, run.count - first)
        start += run.count


def _faults_of(upload: str, stock: _Positions, accepted: int | None) -> Iterator[Finding]:
    """Yield one finding per rule and upload. Positions without a holder are right where lines were duplicates."""
    found: dict[FindingCode, list[int]] = defaultdict(list)
    for code, offset in stock.faults():
        found[code].append(offset)
    unheld = found.pop(FindingCode.SESSION_LEAKED, [])
    for code, offsets in found.items():
        yield Finding(code, upload, f"{len(offsets)} positions: {_few(offsets)}")
    if accepted is None:
        yield Finding(FindingCode.UPLOAD_UNSIGNED, upload, "in the stock, but not in the ledger")
    elif len(unheld) != stock.count - accepted:
        stock.nowhere = len(unheld) - (stock.count - accepted)
        detail = f"{len(unheld)} of {stock.count} positions are nowhere, {accepted} were accepted: {_few(unheld)}"
        yield Finding(FindingCode.SESSION_LEAKED, upload, detail)


def _held_unreadably(snapshot: PoolSnapshot) -> list[Run]:
    """Return what unreadable bots hold: by the owner index, less what other bots got since."""
    if not snapshot.unreadable:
        return []
    latest: dict[str, list[str | None]] = {upload: [None] * count for upload, count in snapshot.uploads.items()}
    for assignment in sorted(snapshot.assignments, key=lambda assignment: assignment.version):
        owners = latest.get(assignment.run.upload, [])
        if assignment.run.end <= len(owners):
            owners[assignment.run.offset : assignment.run.end] = [assignment.adbot_id] * assignment.run.count
    others = [run for bot in snapshot.adbots.values() for run in bot.runs]
    others += [run for segment in snapshot.segments for run in _free_in(segment, snapshot.header)]
    others += [Run(loss.upload, loss.offset, 1) for loss in snapshot.losses]
    for run in others:
        owners = latest.get(run.upload, [])
        owners[run.offset : run.end] = [None] * len(owners[run.offset : run.end])
    held = [
        Run(upload, offset, 1)
        for upload, owners in latest.items()
        for offset, owner in enumerate(owners)
        if owner in snapshot.unreadable
    ]
    return list(joined(held))


def _owner_index(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Every run of a bot was assigned to it, and to no other bot since."""
    latest: dict[str, list[str | None]] = {upload: [None] * count for upload, count in snapshot.uploads.items()}
    given: dict[str, list[Run]] = defaultdict(list)
    for assignment in sorted(snapshot.assignments, key=lambda assignment: assignment.version):
        given[assignment.adbot_id].append(assignment.run)
        owners = latest.get(assignment.run.upload, [])
        if assignment.run.end <= len(owners):
            owners[assignment.run.offset : assignment.run.end] = [assignment.adbot_id] * assignment.run.count
    for bot in snapshot.adbots.values():
        for run in bot.runs:
            owners = latest.get(run.upload, [])[run.offset : run.end]
            others = [run.offset + place for place, owner in enumerate(owners) if owner != bot.id]
            unproven = [spot for spot in others if not any(part.covers(run.upload, spot) for part in given[bot.id])]
            if unproven:
                yield Finding(FindingCode.RUN_UNPROVEN, bot.id, f"never given {run.upload} {_few(unproven)}")
            if len(others) > len(unproven):
                yield Finding(
                    FindingCode.OWNER_INDEX_DISAGREES, bot.id, f"{run.upload} {_few(others)} went to others since"
                )


def _queue_in_header(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """What the header says of the queue."""
    header, pool = snapshot.header, snapshot.header.pool
    # Place -> what its bot lacks, and since when: by the bot; by the entry where the bot cannot be read.
    places: dict[int, tuple[int | None, int | None]] = {
        bot.seq: (bot.missing, bot.queued_at) for bot in snapshot.waiting if bot.seq is not None
    }
    for entry in snapshot.queue:
        if entry.seq >= header.queue_head and entry.adbot_id in snapshot.unreadable:
            at_head = entry.seq == header.queue_head and header.head_missing is not None
            places.setdefault(entry.seq, (header.head_missing if at_head else entry.missing, entry.queued_at))
    for seq in (int(key) for key in snapshot.bad_places if len(key) == _PLACE_DIGITS and key.isdigit()):
        if seq >= header.queue_head:
            places.setdefault(seq, (None, None))
    lacks = [missing for missing, _ in places.values() if missing is not None]
    head = min(places, default=header.queue_tail)
    oldest = places[head][1] if places else None
    yield from _differs(FindingCode.HEADER_QUEUE_LENGTH, pool, header.queue_length, len(places))
    if len(lacks) == len(places):
        yield from _differs(FindingCode.HEADER_MISSING_TOTAL, pool, header.missing_total, sum(lacks))
    yield from _differs(FindingCode.HEADER_HEAD, pool, header.queue_head, head)
    if oldest is not None or not places:
        yield from _differs(FindingCode.HEADER_OLDEST, pool, header.oldest_queued_at, oldest)
    yield from _differs(FindingCode.HEADER_PARKED, pool, header.parked, len(snapshot.parked))


def _stock_in_header(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """What the header says of the stock."""
    header, pool = snapshot.header, snapshot.header.pool
    free = sum(run.count for segment in snapshot.segments for run in _free_in(segment, header))
    held = sum(run.count for bot in snapshot.adbots.values() for run in bot.runs)
    held += sum(run.count for run in _held_unreadably(snapshot))
    if not snapshot.unknown_segments:
        yield from _differs(FindingCode.HEADER_FREE, pool, header.free, free)
        yield from _differs(FindingCode.HEADER_STOCK_TOTAL, pool, header.stock_total, free + held + header.set_aside)
    numbers = sorted([*(segment.number for segment in snapshot.segments), *snapshot.bad_segments])
    if numbers != list(range(header.next_segment)):
        yield Finding(FindingCode.HEADER_SEGMENTS, pool, f"next is {header.next_segment}, there are {len(numbers)}")
    under = next((segment.count for segment in snapshot.segments if segment.number == header.cursor_segment), 0)
    unknown = header.cursor_segment in snapshot.bad_segments
    if not unknown and (header.cursor_segment > header.next_segment or header.cursor_offset > under):
        detail = f"the cursor is at {header.cursor_segment}, {header.cursor_offset}: behind the stock"
        yield Finding(FindingCode.HEADER_CURSOR, pool, detail)


def _makings(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Bots that were made are there, with their orders; their making and their end were signed for, once."""
    adbots = snapshot.adbots
    named = {*snapshot.created, *(assignment.adbot_id for assignment in snapshot.assignments)}
    named |= {entry.adbot_id for entry in snapshot.queue} | {arrival.adbot_id for arrival in snapshot.inbox}
    for adbot_id in sorted(named - adbots.keys() - snapshot.unreadable.keys()):
        yield Finding(FindingCode.ADBOT_GONE, adbot_id, "was made, but there is no such bot")
    for bot in adbots.values():
        order = snapshot.orders.get(bot.order_id)
        # An order that was paid again after its bot was cancelled got another one.
        replaced = order is not None and order.adbot_id != bot.id and bot.status is AdbotStatus.CANCELLED
        gone = order is None or (order.adbot_id != bot.id and not replaced)
        if gone and bot.order_id not in snapshot.unreadable:
            yield Finding(FindingCode.ORDER_GONE, bot.id, f"order {bot.order_id} is not there or not this bot's")
        if (times := snapshot.created.get(bot.id, 0)) != 1:
            yield Finding(FindingCode.CREATE_UNSIGNED, bot.id, f"{times} ledger entries of its making")
        times = snapshot.cancelled.get(bot.id, 0)
        if times != (1 if bot.status is AdbotStatus.CANCELLED else 0):
            yield Finding(
                FindingCode.CANCEL_UNSIGNED, bot.id, f"{bot.status}, with {times} ledger entries of a cancellation"
            )


def _uploads_and_losses(snapshot: PoolSnapshot) -> Iterator[Finding]:
    """Uploads that were signed for are there, and sessions that were lost say so."""
    for upload in sorted(snapshot.accepted.keys() - snapshot.uploads.keys()):
        yield Finding(
            FindingCode.UPLOAD_GONE, upload, f"{snapshot.accepted[upload]} accepted sessions are in no segment"
        )
    entries = Counter(loss.session_id for loss in snapshot.losses)
    for loss in snapshot.losses:
        if not loss.marked or entries[loss.session_id] > 1:
            detail = f"{entries[loss.session_id]} ledger entries of its loss, marked lost: {loss.marked}"
            yield Finding(FindingCode.LOSS_UNMARKED, loss.session_id, detail)


def _differs(code: FindingCode, subject: str, said: int | None, counted: int | None) -> Iterator[Finding]:
    if said != counted:
        yield Finding(code, subject, f"the header says {said}, the items {counted}")


_SHOWN = 5


def _few(offsets: Iterable[int]) -> str:
    shown = list(offsets)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(map(str, shown[:_SHOWN])) + more
