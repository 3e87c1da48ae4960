"""A step planned from torn reads is thrown away before it is sent, and made again; one item twice is never sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.adbots.allocation import Segment, plan
from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot, AdbotStatus, Run
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from adbot_queue.adbots.resolver import Resolver
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import PoolStore
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import ItemTwice, Transaction
from tests.builders.world import ADMIN, AwsHarness, empty

READS = ["header", "read_inbox", "waiting", "stock_ahead"]
"""The reads of one step, in their order."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """The keys of every transaction that goes out."""
    found: list[list[tuple[str, str]]] = []
    commit = Transaction.commit

    def noted(self: Transaction) -> None:
        bodies = [next(iter(item.values())) for item in self._items]
        rows = [body.get("Key") or body["Item"] for body in bodies]
        found.append([(row["pk"]["S"], row["sk"]["S"]) for row in rows])
        commit(self)

    monkeypatch.setattr(Transaction, "commit", noted)
    return found


def bought(world: AwsHarness, monkeypatch: pytest.MonkeyPatch, number: int) -> list[Adbot]:
    with monkeypatch.context() as patched:
        patched.setattr(Resolver, "run", lambda *_: None)
        return [world.create(2) for _ in range(number)]


def interleave(monkeypatch: pytest.MonkeyPatch, read: str, after: bool, what: Callable[[], Any]) -> None:
    """Have something happen right before or after one read of the next step, once."""
    original = getattr(PoolStore, read)
    pending = [what]

    def torn(self: PoolStore, *arguments: Any, **named: Any) -> Any:
        happens = pending.pop() if pending and threading.current_thread() is threading.main_thread() else None
        if happens and not after:
            happens()
        found = original(self, *arguments, **named)
        if happens and after:
            happens()
        return found

    monkeypatch.setattr(PoolStore, read, torn)


def upload(world: AwsHarness) -> Callable[[], Any]:
    return lambda: world.upload(*(f"late-{number}" for number in range(4)))


def resolve(world: AwsHarness) -> Callable[[], Any]:
    return world.resolve


def cancel(world: AwsHarness) -> Callable[[], Any]:
    def first() -> None:
        header = world.adbots.pools.header("standard")
        entries = world.adbots.store.waiting(header, 1).good
        if entries:
            world.adbots.cancel(entries[0].adbot_id, Command(ADMIN, reason="torn"))

    return first


MEANWHILE = {"another resolver": resolve, "an upload": upload, "a cancellation": cancel}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_whatever_happens_between_two_reads_no_item_is_named_twice_and_all_adds_up(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch, sent: list[list[tuple[str, str]]], meanwhile: str
) -> None:
    for read in READS:
        for after in (False, True):
            empty()
            pool_bots = world_with_work(on_aws, monkeypatch)
            with monkeypatch.context() as patched:
                interleave(patched, read, after, MEANWHILE[meanwhile](on_aws))
                on_aws.resolve()
            on_aws.upload(*(f"end-{read}-{after}-{number}" for number in range(8)))
            on_aws.resolve()
            now = [on_aws.bot(bot.id) for bot in pool_bots]
            assert {bot.status for bot in now} <= {AdbotStatus.READY, AdbotStatus.CANCELLED}, (read, after)
            served = [bot.seq for bot in now if bot.status is AdbotStatus.READY]
            assert served == sorted(served, key=lambda seq: seq or 0), (read, after)
            report = Reconciler(on_aws.adbots.store, on_aws.adbots.ledger, lambda _: None).pool("standard")
            assert (report.conclusive, report.findings) == (True, [])
    assert all(len(set(keys)) == len(keys) for keys in sent)


def world_with_work(world: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> list[Adbot]:
    """Two bots in the queue, two in the inbox, and stock for three."""
    world.pool()
    queued = bought(world, monkeypatch, 2)
    world.adbots.resolver.run("standard", world.time_left)
    arrived = bought(world, monkeypatch, 2)
    world.upload(*(f"s{number}" for number in range(6)))
    return [*queued, *arrived]


def test_a_step_names_a_bot_twice_that_got_its_place_between_two_reads() -> None:
    header = PoolState(
        "p", version=3, free=5, stock_total=5, queue_tail=1, queue_length=1, missing_total=2, next_segment=1
    )
    inbox = [InboxEntry("i1", "bot", 2, 1)]
    queue = [QueueEntry(0, "bot", 2, 1)]

    step = plan(header, inbox, queue, [Segment(0, (Run("u", 0, 5),))], 10)

    assert step.named_twice() == {"bot"}


def test_a_step_gives_a_position_twice_that_came_back_between_two_reads() -> None:
    header = PoolState("p", version=3, free=4, stock_total=4, next_segment=2)
    inbox = [InboxEntry("i1", "a", 2, 1), InboxEntry("i2", "b", 2, 2)]
    overlapping = [Segment(0, (Run("u", 0, 2),)), Segment(1, (Run("u", 1, 2),))]

    assert plan(header, inbox, [], overlapping, 10).gives_twice
    assert not plan(header, inbox, [], [Segment(0, (Run("u", 0, 4),))], 10).gives_twice


def test_a_bot_with_two_entries_is_served_once_and_the_later_entry_is_set_aside(
    on_aws: AwsHarness, sent: list[list[tuple[str, str]]]
) -> None:
    on_aws.pool()
    first, second = on_aws.create(1), on_aws.create(1)
    store, header = on_aws.adbots.store, on_aws.adbots.pools.header("standard")
    transaction = store.transaction()
    again = QueueEntry(header.queue_tail, first.id, 1, header.last_queued_at + 1)
    transaction.create("entry", store.table, items.queue_item("standard", again))
    changed = replace(
        header,
        version=header.version + 1,
        queue_tail=header.queue_tail + 1,
        queue_length=3,
        missing_total=3,
        last_queued_at=again.queued_at,
    )
    store.put_header(transaction, header, changed)
    transaction.commit()
    on_aws.upload("s0", "s1", "s2")
    on_aws.resolve()

    header = on_aws.adbots.pools.header("standard")
    assert [on_aws.bot(bot.id).status for bot in (first, second)] == [AdbotStatus.READY, AdbotStatus.READY]
    assert (header.parked, header.queue_length, header.missing_total, header.free) == (1, 0, 0, 1)
    assert all(len(set(keys)) == len(keys) for keys in sent)


@pytest.mark.parametrize("first", ["put", "create", "update", "delete", "check", "add"])
@pytest.mark.parametrize("second", ["put", "update", "delete", "check", "add"])
def test_a_transaction_that_names_an_item_twice_is_refused_before_it_is_sent(first: str, second: str) -> None:
    class Client:
        def transact_write_items(self, **_: Any) -> None:
            raise AssertionError("it was sent")

    key = {"pk": "a", "sk": "b"}
    arguments: dict[str, Callable[[Transaction], Any]] = {
        "put": lambda transaction: transaction.put("one", "t", key),
        "create": lambda transaction: transaction.create("one", "t", key),
        "update": lambda transaction: transaction.update("one", "t", key, "SET n = :n", condition="n = :n", n=1),
        "delete": lambda transaction: transaction.delete("one", "t", key),
        "check": lambda transaction: transaction.check("one", "t", key, condition="attribute_exists(pk)"),
        "add": lambda transaction: transaction.add("one", "t", key, {"n": 1}),
    }
    transaction = Transaction(Client())  # type: ignore[arg-type]
    arguments[first](transaction)
    transaction.put("other", "another table", key).put("third", "t", {"pk": "a", "sk": "c"})
    with pytest.raises(ItemTwice, match="twice"):
        arguments[second](transaction)


def test_a_transaction_of_too_many_items_is_refused_before_it_is_sent() -> None:
    transaction = Transaction(object())  # type: ignore[arg-type]
    for number in range(101):
        transaction.put("one", "t", {"pk": str(number), "sk": "-"})
    with pytest.raises(ValueError, match="100 items"):
        transaction.commit()


def test_a_key_that_is_asked_for_twice_in_one_call_is_sent_once(on_aws: AwsHarness) -> None:
    on_aws.pool()
    keys = [items.header_key("standard")] * 3

    found = dynamodb.get_many(aws.dynamodb(), on_aws.env["ADBOTS_TABLE"], keys)

    assert [item["pool"] for item in found] == ["standard"]
