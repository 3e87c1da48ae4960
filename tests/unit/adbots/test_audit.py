"""The audit is silent on a good history and complains about every broken one; the reconciler reads a pool for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import pytest

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.audit.findings import AssignmentRecord, FindingCode, FindingKind, Loss, PoolSnapshot
from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.audit.rules import audit
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import (
    Adbot,
    AdbotStatus,
    CreationSource,
    ExecutionMode,
    Order,
    OrderStatus,
    QueuedReason,
    Run,
)
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from adbot_queue.core import attribute_values
from adbot_queue.core.errors import Invalid
from tests.builders.world import ADMIN, AwsHarness, world


def _play(on: AwsHarness) -> None:
    """Everything that may happen to a pool, so that every rule has something to look at."""
    on.pool()
    on.upload(*(f"s{n}" for n in range(10)))
    on.upload("s9", *(f"t{n}" for n in range(8)))  # its first line is refused as a duplicate: position 0 is dead
    first, second, third = on.create(4), on.create(3), on.create(2)
    on.adbots.cancel(second.id, Command(ADMIN))
    on.adbots.lose_session("s1", Command(ADMIN))
    on.adbots.reassign(third.id, ["t3"], ["s8"], Command(ADMIN))
    on.adbots.lose_session("t7", Command(ADMIN))
    on.resolve()
    head = on.create(20)
    on.create(5)
    buy(on, 7)
    assert on.bot(first.id).status is AdbotStatus.READY
    assert (on.bot(head.id).status, on.bot(head.id).assigned) == (AdbotStatus.QUEUED, 10)


def buy(on: AwsHarness, required: int) -> Adbot:
    """A bot that is paid for and has no place yet."""
    order = Order(
        id=f"ord_{required}",
        status=OrderStatus.PAID,
        source=CreationSource.PAYMENT,
        created_at=1,
        user_id="cara",
        adbot_id=f"bot_{required}",
        pool="standard",
        required_sessions=required,
    )
    return on.adbots.purchases.create_paid(order, ExecutionMode.ASYNC_QUEUE, ADMIN)


def reconciler(on: AwsHarness, pause: Callable[[float], None] = lambda _: None) -> Reconciler:
    return Reconciler(on.adbots.store, on.adbots.ledger, pause)


@lru_cache(maxsize=1)
def good() -> PoolSnapshot:
    with world() as on:
        _play(on)
        return reconciler(on).read("standard")


def having(status: AdbotStatus, snapshot: PoolSnapshot) -> Adbot:
    return next(bot for bot in snapshot.adbots.values() if bot.status is status)


def head(snapshot: PoolSnapshot) -> Adbot:
    return snapshot.waiting[0]


def last(snapshot: PoolSnapshot) -> Adbot:
    return snapshot.waiting[-1]


def with_bot(snapshot: PoolSnapshot, bot: Adbot, **changes: object) -> PoolSnapshot:
    return replace(snapshot, adbots={**snapshot.adbots, bot.id: replace(bot, **changes)})  # type: ignore[arg-type]


def with_header(snapshot: PoolSnapshot, **changes: object) -> PoolSnapshot:
    return replace(snapshot, header=replace(snapshot.header, **changes))  # type: ignore[arg-type]


def with_grants(snapshot: PoolSnapshot, change: Callable[[AssignmentRecord], AssignmentRecord | None]) -> PoolSnapshot:
    return replace(
        snapshot, assignments=[after for assignment in snapshot.assignments if (after := change(assignment))]
    )


def segment_ahead(snapshot: PoolSnapshot) -> PoolSnapshot:
    """A good pool with four more sessions, which lie free."""
    header = snapshot.header
    more = Segment(header.next_segment, (Run("up_more", 0, 4),))
    return with_header(
        replace(
            snapshot,
            segments=[*snapshot.segments, more],
            uploads={**snapshot.uploads, "up_more": 4},
            accepted={**snapshot.accepted, "up_more": 4},
        ),
        next_segment=header.next_segment + 1,
        free=header.free + 4,
        stock_total=header.stock_total + 4,
    )


def a_run(snapshot: PoolSnapshot) -> Run:
    return having(AdbotStatus.READY, snapshot).runs[0]


def took_anothers_session(snapshot: PoolSnapshot) -> PoolSnapshot:
    thief = head(snapshot)
    return with_bot(snapshot, thief, runs=(*thief.runs, replace(a_run(snapshot), count=1)))


def came_to_stock_again(snapshot: PoolSnapshot, times: int = 1) -> PoolSnapshot:
    segments = [Segment(snapshot.header.next_segment + n, (a_run(snapshot),)) for n in range(times)]
    return replace(snapshot, segments=[*snapshot.segments, *segments])


def lost_while_held(snapshot: PoolSnapshot) -> PoolSnapshot:
    run = a_run(snapshot)
    return replace(snapshot, losses=[*snapshot.losses, Loss("s0", run.upload, run.offset, marked=True)])


def given_away_once_more(snapshot: PoolSnapshot) -> PoolSnapshot:
    """In the past: nothing of it shows in who holds what now."""
    assignment = snapshot.assignments[0]
    return replace(snapshot, assignments=[replace(assignment, version=1, seq=None), *snapshot.assignments])


def served_backwards(snapshot: PoolSnapshot) -> PoolSnapshot:
    late = max(assignment.version for assignment in snapshot.assignments)
    return with_grants(
        snapshot, lambda assignment: replace(assignment, version=late + 50) if assignment.seq == 0 else assignment
    )


def passed_over(snapshot: PoolSnapshot) -> PoolSnapshot:
    behind = last(snapshot)
    mine = [assignment for assignment in snapshot.assignments if assignment.adbot_id == head(snapshot).id]
    return with_grants(
        snapshot, lambda assignment: replace(assignment, seq=behind.seq) if assignment in mine else assignment
    )


def queued_too_early(snapshot: PoolSnapshot) -> PoolSnapshot:
    entries = [replace(entry, queued_at=1) if entry.seq == last(snapshot).seq else entry for entry in snapshot.queue]
    return replace(snapshot, queue=entries)


def at_anothers_place(snapshot: PoolSnapshot) -> PoolSnapshot:
    return with_bot(snapshot, last(snapshot), seq=head(snapshot).seq)


def free_but_skipped(snapshot: PoolSnapshot) -> PoolSnapshot:
    """Put the cursor behind sessions that were never assigned."""
    ahead = segment_ahead(snapshot)
    return with_header(ahead, cursor_segment=ahead.header.next_segment)


def without_inbox(snapshot: PoolSnapshot) -> PoolSnapshot:
    return replace(snapshot, inbox=[])


def without_bot(snapshot: PoolSnapshot) -> PoolSnapshot:
    gone = having(AdbotStatus.CANCELLED, snapshot).id
    return replace(snapshot, adbots={name: bot for name, bot in snapshot.adbots.items() if name != gone})


BROKEN: dict[FindingCode, Callable[[PoolSnapshot], PoolSnapshot]] = {
    FindingCode.ROW_UNREADABLE: lambda s: replace(s, unreadable={"segment 00000003": "ranges is missing"}),
    FindingCode.SESSION_OWNED_TWICE: took_anothers_session,
    FindingCode.SESSION_OWNED_AND_FREE: came_to_stock_again,
    FindingCode.SESSION_FREE_TWICE: lambda s: came_to_stock_again(s, times=2),
    FindingCode.SESSION_LOST_BUT_USED: lost_while_held,
    FindingCode.SESSION_GIVEN_TWICE: given_away_once_more,
    FindingCode.SERVED_OUT_OF_ORDER: served_backwards,
    FindingCode.OVERTAKEN: passed_over,
    FindingCode.QUEUED_AT_OUT_OF_ORDER: queued_too_early,
    FindingCode.PLACE_TAKEN_TWICE: at_anothers_place,
    FindingCode.RUN_OUTSIDE_STOCK: lambda s: with_bot(s, head(s), runs=(Run("up_none", 0, 9),)),
    FindingCode.RUN_UNPROVEN: lambda s: with_grants(
        s, lambda assignment: None if assignment.adbot_id == head(s).id else assignment
    ),
    FindingCode.OWNER_INDEX_DISAGREES: lambda s: replace(
        s, assignments=[*s.assignments, AssignmentRecord(a_run(s), s.header.version, head(s).id, None)]
    ),
    FindingCode.OWNER_INDEX_GAP: lambda s: with_grants(
        s, lambda assignment: None if assignment.adbot_id == head(s).id else assignment
    ),
    FindingCode.ADBOT_ASSIGNED: lambda s: with_bot(s, head(s), assigned=head(s).assigned + 1),
    FindingCode.ADBOT_MISSING: lambda s: with_bot(s, head(s), missing=head(s).missing - 1),
    FindingCode.ADBOT_STATUS: lambda s: with_bot(s, head(s), status=AdbotStatus.READY),
    FindingCode.ADBOT_WITHOUT_PLACE: without_inbox,
    FindingCode.ENTRY_STRAY: lambda s: replace(
        s, queue=[*s.queue, QueueEntry(s.header.queue_tail, a_bot(s), 1, 9**12)]
    ),
    FindingCode.ENTRY_MISSING: lambda s: with_header(s, head_missing=head(s).missing + 1),
    FindingCode.HEADER_FREE: lambda s: with_header(s, free=s.header.free + 1),
    FindingCode.HEADER_STOCK_TOTAL: lambda s: with_header(s, stock_total=s.header.stock_total - 1),
    FindingCode.HEADER_QUEUE_LENGTH: lambda s: with_header(s, queue_length=s.header.queue_length + 1),
    FindingCode.HEADER_MISSING_TOTAL: lambda s: with_header(s, missing_total=0),
    FindingCode.HEADER_HEAD: lambda s: with_header(s, queue_head=s.header.queue_head - 1),
    FindingCode.HEADER_OLDEST: lambda s: with_header(s, oldest_queued_at=1),
    FindingCode.HEADER_TAIL: lambda s: with_header(s, queue_tail=last(s).seq),
    FindingCode.HEADER_PARKED: lambda s: with_header(s, parked=1),
    FindingCode.HEADER_CURSOR: lambda s: with_header(s, cursor_segment=s.header.next_segment + 1),
    FindingCode.HEADER_SEGMENTS: lambda s: with_header(s, next_segment=s.header.next_segment + 1),
    FindingCode.SESSION_LEAKED: free_but_skipped,
    FindingCode.ADBOT_GONE: without_bot,
    FindingCode.ORDER_GONE: lambda s: replace(s, orders=dict(list(s.orders.items())[1:])),
    FindingCode.UPLOAD_GONE: lambda s: replace(s, accepted={**s.accepted, "up_gone": 3}),
    FindingCode.UPLOAD_UNSIGNED: lambda s: replace(s, accepted={}),
    FindingCode.CREATE_UNSIGNED: lambda s: replace(s, created=dict.fromkeys(s.created, 2)),
    FindingCode.CANCEL_UNSIGNED: lambda s: replace(s, cancelled={}),
    FindingCode.LOSS_UNMARKED: lambda s: replace(s, losses=[replace(loss, marked=False) for loss in s.losses]),
}


def a_bot(snapshot: PoolSnapshot) -> str:
    return having(AdbotStatus.READY, snapshot).id


def codes(snapshot: PoolSnapshot) -> set[FindingCode]:
    return {finding.code for finding in audit(snapshot)}


def test_a_good_history_adds_up() -> None:
    assert audit(good()) == []
    assert audit(segment_ahead(good())) == []


def test_the_good_history_has_something_for_every_rule() -> None:
    story = good()
    assert {bot.status for bot in story.adbots.values()} >= {
        AdbotStatus.READY,
        AdbotStatus.QUEUED,
        AdbotStatus.CANCELLED,
    }
    assert len(story.waiting) == 2
    assert len(story.inbox) == 1
    assert len(story.losses) == 2
    assert any(segment.dead for segment in story.segments)
    assert any(assignment.seq is None for assignment in story.assignments)
    assert story.header.head_missing is not None


@pytest.mark.parametrize("code", FindingCode)
def test_a_history_that_breaks_a_rule_is_reported_under_that_rules_name(code: FindingCode) -> None:
    assert code in codes(BROKEN[code](good()))


def test_a_bot_that_was_set_aside_properly_is_no_finding() -> None:
    story = good()
    aside = last(story)
    parked = with_header(
        replace(story, queue=[entry for entry in story.queue if entry.seq != aside.seq], parked=[aside.id]),
        queue_length=story.header.queue_length - 1,
        missing_total=story.header.missing_total - aside.missing,
        parked=1,
    )
    assert audit(with_bot(parked, aside, queued_reason=QueuedReason.PARKED)) == []
    assert codes(parked) >= {FindingCode.ENTRY_STRAY, FindingCode.HEADER_QUEUE_LENGTH}


def test_an_inbox_entry_is_stray_for_a_cancelled_bot_and_disagrees_with_another_number() -> None:
    story = good()
    (arrival,) = story.inbox
    bot = story.adbots[arrival.adbot_id]
    assert FindingCode.ENTRY_STRAY in codes(with_bot(story, bot, status=AdbotStatus.CANCELLED))
    assert FindingCode.ENTRY_MISSING in codes(replace(story, inbox=[replace(arrival, required=arrival.required + 1)]))
    assert FindingCode.ADBOT_GONE in codes(replace(story, inbox=[arrival, InboxEntry("x", "bot_none", 1, 1)]))


def test_an_empty_pool_adds_up() -> None:
    assert audit(PoolSnapshot(PoolState("p"))) == []


def test_every_kind_of_finding_has_rules() -> None:
    kinds = {code: code.kind for code in FindingCode}
    assert kinds[FindingCode.SESSION_GIVEN_TWICE] is FindingKind.DOUBLE
    assert kinds[FindingCode.SESSION_LEAKED] is FindingKind.LOST
    assert kinds[FindingCode.OVERTAKEN] is FindingKind.JUMP
    assert kinds[FindingCode.HEADER_FREE] is FindingKind.DRIFT


def test_reconcile_reports_a_sound_pool_with_what_it_counted() -> None:
    with world() as on:
        _play(on)
        report = reconciler(on).pool("standard")
    assert (report.conclusive, report.findings) == (True, [])
    assert (report.counted["adbots"], report.counted["sessions"], report.counted["lost"]) == (6, 18, 2)


def test_reconcile_reports_drift_and_leaves_it_as_it_is() -> None:
    with world() as on:
        _play(on)
        header = on.adbots.pools.header("standard")
        _tamper(on, free=5)
        report = reconciler(on).pool("standard")
        assert on.adbots.pools.header("standard") == replace(header, free=5)
    assert [finding.code for finding in report.findings] == [FindingCode.HEADER_FREE]


def test_what_only_one_look_found_was_a_change_under_way_and_no_drift() -> None:
    with world() as on:
        _play(on)
        _tamper(on, free=5)
        report = reconciler(on, pause=lambda _: _tamper(on, free=0)).pool("standard")
    assert (report.conclusive, report.findings) == (True, [])


def test_a_pool_that_keeps_changing_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as on:
        _play(on)
        read = Reconciler.read

        def while_it_changes(self: Reconciler, pool: str, deadline: float) -> PoolSnapshot:
            snapshot = read(self, pool, deadline)
            _tamper(on, version=snapshot.header.version + 1)
            return snapshot

        monkeypatch.setattr(Reconciler, "read", while_it_changes)
        report = reconciler(on).pool("standard")
    assert (report.conclusive, report.findings) == (False, [])


def test_a_pool_too_large_for_the_time_gives_no_verdict() -> None:
    with world() as on:
        _play(on)
        assert reconciler(on).pool("standard", seconds=0).conclusive is False


def test_an_unknown_pool_is_refused() -> None:
    with world() as on, pytest.raises(Invalid):
        reconciler(on).pool("nowhere")


def _tamper(on: AwsHarness, **values: int) -> None:
    for name, value in values.items():
        on.adbots.store.client.update_item(
            TableName=on.adbots.store.table,
            Key=attribute_values.encode({"pk": "POOL#standard", "sk": "HDR"}),
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues=attribute_values.encode({":value": value}),
        )
