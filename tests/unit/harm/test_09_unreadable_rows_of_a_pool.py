"""A bot, entry or segment that this version cannot read harms itself only: its pool goes on, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.adbots.audit.findings import Finding, FindingCode
from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot, AdbotStatus
from adbot_queue.adbots.resolver import Resolver
from adbot_queue.adbots.storage import items
from adbot_queue.core import aws, dynamodb, telemetry
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.errors import Conflict, Unavailable
from tests.builders.world import ADMIN, AwsHarness, FakeContext, empty

Wire = dict[str, Any]
DROP: Any = object()

TEXTS = [DROP, {"N": "7"}]
NUMBERS = [DROP, {"S": "seven"}, {"N": "1.5"}]
CHOICES = [DROP, {"S": "NEWER"}]
LISTS = [DROP, {"S": "u:0:1"}]
NEWER = [{"N": "2"}, {"S": "2"}]

ENTRY: dict[str, list[Any]] = {"adbot_id": TEXTS, "v": NEWER}
QUEUE = ENTRY | {"missing": [*NUMBERS, {"N": "0"}, {"B": "eA=="}], "queued_at": NUMBERS}
INBOX = ENTRY | {"required": [*NUMBERS, {"N": "0"}], "bought_at": NUMBERS}
RANGES = [*LISTS, {"L": [{"S": "u"}]}, {"L": [{"L": [{"S": "u"}, {"N": "0"}]}]}, {"L": [{"L": [{"N": "1"}] * 3}]}]
SEGMENT = {"ranges": RANGES, "dead": [{"S": "1"}, {"L": []}, {"SS": ["a"]}], "v": NEWER}
BOT: dict[str, list[Any]] = {
    **dict.fromkeys(("id", "order_id", "user_id", "pool"), TEXTS),
    **dict.fromkeys(("status", "creation_source", "execution_mode", "queued_reason"), CHOICES),
    **dict.fromkeys(("required", "assigned", "missing", "created_at", "version"), NUMBERS[:2]),
    "runs": LISTS,
    "on_hold": [{"S": "no"}],
    "releases": [{"S": "x"}],
    "v": NEWER,
}
SERVED_BY = ("status", "assigned", "missing", "version", "runs", "v")
"""Attributes of a bot that a step compares or computes with."""
HEADER = {
    **dict.fromkeys(("version", "free", "stock_total", "queue_head", "queue_tail", "queue_length"), NUMBERS[:3]),
    **dict.fromkeys(("missing_total", "last_queued_at", "cursor_segment", "next_segment", "parked"), NUMBERS[:2]),
    "head_missing": [{"S": "x"}],
    "oldest_queued_at": [{"S": "x"}],
    "aside": [{"S": "x"}, {"L": [{"N": "1"}]}],
    "pool": TEXTS[:2],
    "v": NEWER,
}


def cases(spoils: dict[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, values in spoils.items() for value in values)


@dataclass
class Rows:
    """The table of bots, as it is stored."""

    table: str

    def get(self, key: dict[str, str]) -> Wire:
        wire = {name: {"S": value} for name, value in key.items()}
        found: Wire = aws.dynamodb().get_item(TableName=self.table, Key=wire, ConsistentRead=True)["Item"]  # type: ignore[arg-type]
        return found

    def put(self, row: Wire) -> None:
        aws.dynamodb().put_item(TableName=self.table, Item=row)

    def spoil(self, key: dict[str, str], name: str, value: Any) -> Wire:
        """Change one attribute; the row as it was."""
        row = self.get(key)
        changed = {other: kept for other, kept in row.items() if other != name}
        self.put(changed if value is DROP else changed | {name: value})
        return row


@pytest.fixture
def rows(on_aws: AwsHarness) -> Rows:
    return Rows(on_aws.env["ADBOTS_TABLE"])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    found: Counter[str] = Counter()
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: found.update({name: value}))
    monkeypatch.setattr(telemetry, "gauge", lambda name, value, *_: found.__setitem__(name, int(value)))
    return found


@contextmanager
def no_allocation() -> Iterator[None]:
    """Bots are bought, and stay in the inbox."""
    with patch.object(Resolver, "run", lambda *_: None):
        yield


def findings(world: AwsHarness, pool: str) -> list[Finding]:
    reconciler = Reconciler(world.adbots.store, world.adbots.ledger, lambda _: None)
    report = reconciler.pool(pool)
    assert report.conclusive
    return report.findings


def others(found: list[Finding], *subjects: str) -> list[Finding]:
    """Findings about anything but what was spoilt."""
    return [one for one in found if not any(subject in one.subject for subject in subjects)]


def pools(world: AwsHarness, prefix: str) -> Iterator[str]:
    """One pool after the other, each on empty tables: moto copies them for every transaction."""
    for number in count():
        empty()
        yield world.pool(f"{prefix}-{number}")


def served(world: AwsHarness, bots: list[Adbot]) -> list[int | None]:
    now = [world.bot(bot.id) for bot in bots]
    assert [bot.status for bot in now] == [AdbotStatus.READY] * len(now)
    return [bot.seq for bot in now]


def check_in_order(
    world: AwsHarness, rows: Rows, where: str, spoils: dict[str, list[Any]], counted: Counter[str]
) -> None:
    """The second of three bots, or its entry, is spoilt; the others are served in order and nothing else is wrong."""
    for pool, (name, value) in zip(pools(world, "p"), cases(spoils), strict=False):
        counted.clear()
        with no_allocation():
            bots = [world.create(2, pool=pool) for _ in range(3)]
        if where != "inbox":
            world.resolve(pool)
        bad = world.bot(bots[1].id)
        key = {
            "bot": items.adbot_key(bad.id),
            "queue": items.queue_key(pool, bad.seq or 0),
            "inbox": items.key(items.inbox_pk(pool), bad.inbox_id or ""),
        }[where]
        was = rows.spoil(key, name, value)
        world.upload(*(f"{pool}-{number}" for number in range(7)), pool=pool)
        world.resolve(pool)

        case = f"{where} {name} {value}"
        places = served(world, [bots[0], bots[2]])
        assert places == sorted(places, key=lambda seq: seq or 0), case
        header = world.adbots.pools.header(pool)
        assert (header.parked, header.queue_length, header.missing_total, header.free) == (1, 0, 0, 3), case
        assert counted["AdbotsParked"] == 1, case
        reported = findings(world, pool)
        assert (
            others(reported, bad.id, str(bad.inbox_id or "?"), f"{bad.seq:012d}" if bad.seq is not None else "?") == []
        ), case

        # The version that wrote it is back: the operator lets the bot wait again.
        if where == "bot":
            rows.put(was)
        world.adbots.unpark(bad.id, Command(ADMIN))
        world.resolve(pool)
        assert world.bot(bad.id).status is AdbotStatus.READY, case
        assert world.adbots.pools.header(pool).parked == 0, case
        assert findings(world, pool) == [], case


def test_a_bot_that_cannot_be_served_is_parked(on_aws: AwsHarness, rows: Rows, counted: Counter[str]) -> None:
    check_in_order(on_aws, rows, "bot", {name: BOT[name] for name in SERVED_BY}, counted)


def test_a_bot_that_is_damaged_elsewhere_is_served_and_reported(
    on_aws: AwsHarness, rows: Rows, counted: Counter[str]
) -> None:
    for pool, (name, value) in zip(pools(on_aws, "p"), cases(BOT), strict=False):
        if name in SERVED_BY:
            continue
        bots = [on_aws.create(2, pool=pool) for _ in range(3)]
        key = items.adbot_key(bots[1].id)
        before = rows.spoil(key, name, value)
        on_aws.upload(*(f"{pool}-{number}" for number in range(7)), pool=pool)
        on_aws.resolve(pool)

        case = f"{name} {value}"
        served(on_aws, [bots[0], bots[2]])
        after = rows.get(key)
        assert (after["assigned"], after["status"]) == ({"N": "2"}, {"S": "READY"}), case
        assert on_aws.adbots.pools.header(pool).parked == 0, case
        if name == "queued_reason":  # the step has removed it
            assert findings(on_aws, pool) == [], case
            continue
        assert [one.code for one in findings(on_aws, pool)] == [FindingCode.ROW_UNREADABLE], case
        counted.clear()
        change = {"Keys": key, "NewImage": after, "OldImage": before, "SequenceNumber": "1"}
        record = {"eventID": "1", "eventName": "MODIFY", "dynamodb": change}
        on_aws.app("tally").handler({"Records": [record]}, FakeContext())
        assert counted["StreamRecordsUnreadable"] == 1, case


@pytest.mark.parametrize("name", QUEUE)
def test_an_unreadable_entry_of_the_queue_is_parked(
    on_aws: AwsHarness, rows: Rows, counted: Counter[str], name: str
) -> None:
    check_in_order(on_aws, rows, "queue", {name: QUEUE[name]}, counted)


@pytest.mark.parametrize("name", INBOX)
def test_an_unreadable_entry_of_the_inbox_is_parked(
    on_aws: AwsHarness, rows: Rows, counted: Counter[str], name: str
) -> None:
    check_in_order(on_aws, rows, "inbox", {name: INBOX[name]}, counted)


@pytest.mark.parametrize("which", [0, 2], ids=["first", "last"])
@pytest.mark.parametrize("name", ["adbot_id", "missing", "queued_at"])
def test_an_unreadable_entry_at_either_end_of_the_queue_is_parked(
    on_aws: AwsHarness, rows: Rows, name: str, which: int
) -> None:
    on_aws.pool()
    bots = [on_aws.create(2) for _ in range(3)]
    on_aws.upload("s0")  # the first one is served in part
    on_aws.resolve()
    rows.spoil(items.queue_key("standard", bots[which].seq or 0), name, {"B": "eA=="})
    on_aws.upload(*(f"t{number}" for number in range(9)))
    on_aws.resolve()

    served(on_aws, [bot for bot in bots if bot is not bots[which]])
    header = on_aws.adbots.pools.header("standard")
    assert (header.parked, header.queue_length, header.missing_total) == (1, 0, 0)
    assert others(findings(on_aws, "standard"), bots[which].id, f"{bots[which].seq:012d}") == []


def test_nothing_of_what_a_newer_version_wrote_is_lost(on_aws: AwsHarness, rows: Rows) -> None:
    on_aws.pool()
    first, second = on_aws.create(1), on_aws.create(1)
    entry, bot = items.queue_key("standard", first.seq or 0), items.adbot_key(second.id)
    rows.spoil(entry, "v", {"N": "2"})
    rows.spoil(entry, "plan", {"M": {"score": {"N": "1.5"}, "blob": {"B": "eA=="}}})
    written = rows.get(entry)
    rows.spoil(bot, "status", {"S": "NEWER"})
    kept = rows.get(bot)
    on_aws.upload("s0", "s1", "s2")
    on_aws.resolve()

    park = rows.get(items.park_key("standard", first.id))
    assert {name: park[name] for name in written if name not in {"pk", "sk"}} == {
        name: value for name, value in written.items() if name not in {"pk", "sk"}
    }
    assert rows.get(bot) == kept


def test_a_bot_that_a_newer_version_served_meanwhile_only_leaves_the_park(on_aws: AwsHarness, rows: Rows) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    was = rows.spoil(items.adbot_key(bot.id), "v", {"N": "2"})
    on_aws.upload("s0", "s1")
    on_aws.resolve()
    rows.put(was | {"status": {"S": "CANCELLED"}, "missing": {"N": "0"}})

    on_aws.adbots.unpark(bot.id, Command(ADMIN))

    assert on_aws.bot(bot.id).status is AdbotStatus.CANCELLED
    assert on_aws.adbots.pools.header("standard").parked == 0
    with pytest.raises(Conflict):
        on_aws.adbots.unpark(bot.id, Command(ADMIN))


def test_a_bot_that_is_readable_again_can_be_cancelled_out_of_the_park(on_aws: AwsHarness, rows: Rows) -> None:
    on_aws.pool()
    for spoil_inbox in (False, True):
        with no_allocation():
            bot = on_aws.create(1)
        if not spoil_inbox:
            on_aws.resolve()
        was = rows.spoil(items.adbot_key(bot.id), "status", {"S": "NEWER"})
        on_aws.upload(f"s{spoil_inbox}")
        on_aws.resolve()
        rows.put(was)
        assert on_aws.adbots.pools.header("standard").parked == 1

        on_aws.adbots.cancel(bot.id, Command(ADMIN, reason="asked"))

        assert on_aws.adbots.pools.header("standard").parked == 0
        assert findings(on_aws, "standard") == []


def test_a_command_that_meets_an_unreadable_entry_sets_it_aside_and_goes_on(on_aws: AwsHarness, rows: Rows) -> None:
    on_aws.pool()
    first, second, third = (on_aws.create(1) for _ in range(3))
    rows.spoil(items.queue_key("standard", second.seq or 0), "queued_at", {"S": "yesterday"})

    on_aws.adbots.cancel(first.id, Command(ADMIN, reason="asked"))

    header = on_aws.adbots.pools.header("standard")
    assert (header.queue_head, header.queue_length, header.parked) == (third.seq, 1, 1)
    assert others(findings(on_aws, "standard"), second.id) == []


# Stock


def test_an_unreadable_segment_is_skipped_counted_apart_and_comes_back(
    on_aws: AwsHarness, rows: Rows, counted: Counter[str]
) -> None:
    for pool, (name, value) in zip(pools(on_aws, "p"), cases(SEGMENT), strict=False):
        case = f"segment {name} {value}"
        for number in range(3):
            on_aws.upload(*(f"{pool}-{number}-{n}" for n in range(3)), pool=pool)
        first = on_aws.create(1, pool=pool)
        assert first.status is AdbotStatus.READY
        bad = 0 if name == "ranges" else 1  # 0: partly served already
        was = rows.spoil(items.segment_key(pool, bad), name, value)
        counted.clear()
        bot = on_aws.create(6, pool=pool)

        held = 2 if bad == 0 else 3
        header = on_aws.adbots.pools.header(pool)
        assert (bot.assigned, header.free, header.set_aside, header.stock_total) == (8 - held, 0, held, 9) or (
            bot.status is AdbotStatus.READY and header.set_aside == held
        ), case
        assert counted["RowsUnreadable"] >= 1, case
        assert others(findings(on_aws, pool), f"{bad:08d}", "owner of") == [], case
        figures = on_aws.http("stock", "GET /admin/stock", role="viewer").json["items"]
        assert next(one["set_aside"] for one in figures if one["pool"] == pool) == held, case

        rows.put(was)
        on_aws.resolve(pool)
        header = on_aws.adbots.pools.header(pool)
        assert (header.set_aside, header.aside, header.stock_total) == (0, (), 9), case
        more = on_aws.create(2, pool=pool)
        assert (on_aws.bot(bot.id).status, more.status) == (AdbotStatus.READY, AdbotStatus.READY), case
        sessions = [one for made in (first, bot, more) for one in on_aws.sessions_of(made.id)]
        assert len(set(sessions)) == len(sessions) == 9, case
        assert findings(on_aws, pool) == [], case
        assert {on_aws.adbots.sessions.locate(one).adbot_id for one in sessions} == {first.id, bot.id, more.id}


def test_a_session_in_a_segment_that_came_back_is_found_and_can_be_lost(on_aws: AwsHarness, rows: Rows) -> None:
    on_aws.pool()
    on_aws.upload("s0", "s1")
    was = rows.spoil(items.segment_key("standard", 0), "ranges", DROP)
    waiting = on_aws.create(1)
    assert waiting.status is AdbotStatus.QUEUED
    assert on_aws.adbots.sessions.locate("s1").place is None
    rows.put(was)
    on_aws.resolve()

    assert on_aws.bot(waiting.id).status is AdbotStatus.READY
    assert on_aws.adbots.lose_session("s1", Command(ADMIN)) is None
    assert findings(on_aws, "standard") == []


# Pools and lists


def test_a_pool_with_an_unreadable_header_stops_no_other_pool(
    on_aws: AwsHarness, rows: Rows, counted: Counter[str]
) -> None:
    on_aws.pool("alpha"), on_aws.pool("omega")
    key = items.header_key("standard")
    on_aws.pool()
    on_aws.create(1)
    was = rows.get(key)
    for name, value in cases(HEADER):
        rows.spoil(key, name, value)
        case = f"header {name} {value}"

        on_aws.resolve()  # ends, and its message does not come back
        assert [pool for pool in on_aws.adbots.pools.with_work() if pool != "standard"] == [], case
        stock = on_aws.http("stock", "GET /admin/stock", role="viewer").json
        stats = on_aws.http("queue_stats", "GET /admin/queue/stats", role="viewer").json
        assert [one["pool"] for one in stock["items"]] == [one["pool"] for one in stats["pools"]] == ["alpha", "omega"]
        assert stock["unreadable"] == stats["unreadable"] == ["standard"], case
        one = on_aws.http("queue_stats", "GET /admin/queue/stats", role="viewer", query={"pool": "standard"})
        assert one.status == 503, case
        rows.put(was)
    assert counted["RowsUnreadable"] > 0


def test_money_that_was_taken_becomes_a_bot_although_the_header_is_unreadable(on_aws: AwsHarness, rows: Rows) -> None:
    on_aws.pool()
    was = rows.spoil(items.header_key("standard"), "free", {"S": "many"})
    bot = on_aws.create(1)
    rows.put(was)
    on_aws.upload("s0")
    on_aws.resolve()

    assert on_aws.bot(bot.id).status is AdbotStatus.READY


def test_a_list_leaves_an_unreadable_bot_out_and_the_bot_itself_is_answered_in_words(
    on_aws: AwsHarness, rows: Rows, counted: Counter[str]
) -> None:
    on_aws.pool()
    bots = [on_aws.create(1) for _ in range(3)]
    key = items.adbot_key(bots[1].id)
    was = rows.get(key)
    for name, value in cases(BOT):
        if (name, value) == ("queued_reason", DROP):
            continue  # a bot that is complete has none
        rows.spoil(key, name, value)
        counted.clear()
        for role, user in (("viewer", "vera"), ("customer", "cara")):
            listed = on_aws.http("adbots", "GET /adbots", role=role, user=user)
            assert [one["adbot_id"] for one in listed.json["items"]] == [
                bots[2].id,
                bots[0].id,
            ], f"{name} {value}"
        answer = on_aws.http("adbots", "GET /adbots/{id}", role="viewer", id=bots[1].id)
        assert (answer.status, answer.problem) == (503, "unavailable")
        assert name in answer.json["detail"]
        assert counted["RowsUnreadable"] >= 1
        rows.put(was)


def test_an_unreadable_order_in_review_leaves_the_others_in_the_list(on_aws: AwsHarness, rows: Rows) -> None:
    from adbot_queue.adbots.model import CreationSource, Order, OrderStatus  # noqa: PLC0415

    store = on_aws.adbots.store
    for number in range(3):
        transaction = store.transaction()
        store.put_order(transaction, None, Order(f"ord_{number}", OrderStatus.REVIEW, CreationSource.PAYMENT, number))
        transaction.commit()
    rows.spoil(items.order_key("ord_1"), "status", {"S": "NEWER"})

    listed = on_aws.http("adbots", "GET /orders", role="viewer").json["items"]

    assert [order["order_id"] for order in listed] == ["ord_2", "ord_0"]


# Verdicts


@pytest.fixture
def three(on_aws: AwsHarness) -> AwsHarness:
    for pool in ("alpha", "beta", "gamma"):
        on_aws.pool(pool)
        on_aws.upload(f"{pool}-0", f"{pool}-1", pool=pool)
        on_aws.create(1, pool=pool)
    return on_aws


Harm = Callable[[AwsHarness, Rows], Any]
HARMS: dict[str, Harm] = {
    "header": lambda _, rows: rows.spoil(items.header_key("beta"), "free", {"S": "many"}),
    "no header": lambda world, _: aws.dynamodb().delete_item(
        TableName=world.env["ADBOTS_TABLE"], Key={"pk": {"S": "POOL#beta"}, "sk": {"S": "HDR"}}
    ),
    "owner index": lambda _, rows: rows.put(
        {"pk": {"S": upload_of(rows)}, "sk": {"S": "ALLOC#x#y"}, "count": {"N": "1"}, "adbot_id": {"S": "b"}}
    ),
}


def upload_of(rows: Rows) -> str:
    ranges = rows.get(items.segment_key("beta", 0))["ranges"]
    return f"UPLOAD#{ranges['L'][0]['L'][0]['S']}"


@pytest.mark.parametrize("harm", HARMS)
def test_a_pool_that_cannot_be_reconciled_stops_no_other(
    three: AwsHarness, rows: Rows, harm: str, counted: Counter[str]
) -> None:
    HARMS[harm](three, rows)

    answer = three.app("reconcile").handler({}, FakeContext())

    assert (answer["pools"], answer["without_verdict"], answer["findings"]) == (3, 1, 0)
    with patch("adbot_queue.adbots.audit.verdicts.DUE_MS", -1):
        three.app("sweep").handler({}, FakeContext())
    assert counted["PoolsWithoutVerdict"] == 3


def test_a_day_without_a_verdict_is_measured(three: AwsHarness, rows: Rows, counted: Counter[str]) -> None:
    three.app("sweep").handler({}, FakeContext())
    assert counted["PoolsWithoutVerdict"] == 0  # new ones have a day
    rows.spoil(items.key("POOLS", "beta"), "created_at", {"N": "1"})
    rows.spoil(items.key("POOLS", "gamma"), "created_at", DROP)
    three.app("sweep").handler({}, FakeContext())
    assert counted["PoolsWithoutVerdict"] == 2

    asked = three.http("reconcile", "POST /admin/queue/reconcile", role="admin", query={"pool": "beta"})

    assert asked.json["conclusive"] is True
    three.app("sweep").handler({}, FakeContext())
    assert counted["PoolsWithoutVerdict"] == 1


def test_what_is_set_aside_is_measured(three: AwsHarness, rows: Rows, counted: Counter[str]) -> None:
    rows.spoil(items.segment_key("alpha", 0), "ranges", DROP)
    three.create(1, pool="alpha")
    rows.spoil(items.header_key("beta"), "free", DROP)

    three.app("sweep").handler({}, FakeContext())

    assert counted["RowsSetAside"] == 2


def test_an_order_paid_again_after_its_bot_was_cancelled_does_not_end_the_nightly_run(three: AwsHarness) -> None:
    """Settling it as the runbook says makes two bots of one order: they were asked for in one call as one key twice."""
    from dataclasses import replace  # noqa: PLC0415

    from adbot_queue.adbots.model import OrderStatus  # noqa: PLC0415
    from adbot_queue.adbots.operator_order import AdbotSpec  # noqa: PLC0415

    bot = three.create(1, pool="alpha")
    three.adbots.cancel(bot.id, Command(ADMIN, reason="asked"))
    order = three.adbots.order(bot.order_id)
    transaction = three.adbots.store.transaction()
    paid_again = replace(order, status=OrderStatus.REVIEW, review_reason="paid again", version=order.version + 1)
    three.adbots.store.put_order(transaction, order, paid_again)
    transaction.commit()
    three.adbots.create(AdbotSpec("cara", 1, "alpha", order_id=order.id), Command(ADMIN), three.time_left)

    answer = three.app("reconcile").handler({}, FakeContext())

    assert answer == {"findings": 0, "pools": 3, "without_verdict": 0}


def test_a_ledger_entry_of_another_shape_does_not_end_the_nightly_run(three: AwsHarness) -> None:
    table = three.env["LEDGER_TABLE"]
    for action in ("adbot.create", "stock.upload", "session.lost", "adbot.cancel"):
        entry = {"pk": "2026-01-01", "sk": action, "action": action, "target": "adbot", "at": "2026-01-01"}
        aws.dynamodb().put_item(TableName=table, Item={name: {"S": value} for name, value in entry.items()})

    answer = three.app("reconcile").handler({}, FakeContext())

    assert answer == {"findings": 0, "pools": 3, "without_verdict": 0}


def test_an_unreadable_row_is_a_finding_of_its_own_while_it_is_not_set_aside(three: AwsHarness, rows: Rows) -> None:
    waiting = three.create(5, pool="alpha")
    rows.spoil(items.adbot_key(waiting.id), "status", {"S": "NEWER"})

    assert [(one.code, one.subject) for one in findings(three, "alpha")] == [(FindingCode.ROW_UNREADABLE, waiting.id)]


def test_an_unreadable_bot_is_refused_in_words() -> None:
    from adbot_queue.adbots.storage.rows import UnreadableRow  # noqa: PLC0415

    error = UnreadableRow({"pk": "ADBOT#b"}, "status is missing")

    assert isinstance(error, Unavailable)
    assert "status is missing" in error.detail


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("count", "two"), ("count", None), ("pool", 7), ("outcomes", "none"), ("published_at", "then"), ("v", 2)],
)
def test_an_unreadable_upload_leaves_the_others_in_the_list(on_aws: AwsHarness, attribute: str, value: Any) -> None:
    on_aws.pool()
    first, second = on_aws.upload("s1").upload_id, on_aws.upload("s2").upload_id
    table, key = on_aws.env["ADBOTS_TABLE"], items.upload_key(second)
    found = dynamodb.get(aws.dynamodb(), table, key)
    assert found is not None
    aws.dynamodb().put_item(TableName=table, Item=encode({**found, attribute: value}))

    listed = on_aws.http("stock", "GET /admin/stock/uploads", role="viewer")
    alone = on_aws.http("stock", "GET /admin/stock/uploads/{id}", role="viewer", id=second)

    assert [upload["upload_id"] for upload in listed.json["items"]] == [first]
    assert (alone.status, alone.problem) == (503, "unavailable")
    assert attribute in alone.json["detail"]
