"""The kill switch: set once, signed once, known everywhere within 5 seconds."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue import ledger
from adbot_queue.core import aws
from adbot_queue.core.errors import Unavailable
from adbot_queue.ledger import Actor
from adbot_queue.platform.health_log import HealthLog, LogLevel
from adbot_queue.platform.kill_switch import KillSwitch
from adbot_queue.platform.mode import Modes, ProcessingMode
from tests.builders.clocks import FakeClock
from tests.builders.crash import Killed, crash_after
from tests.builders.payments import failing, rows
from tests.builders.world import ADMIN, AwsHarness

BOB = Actor("bob", "owner", "req-2")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Process(Modes):
    """The mode as one process knows and sets it."""

    def __init__(self, world: AwsHarness, clock: FakeClock) -> None:
        super().__init__(aws.dynamodb(), world.env["SYSTEM_TABLE"], clock.seconds)
        self.set = KillSwitch(self, ledger.from_env(), HealthLog(self.client, self.table, clock), clock).set


def process(world: AwsHarness, clock: FakeClock) -> Process:
    return Process(world, clock)


def test_work_is_queued_until_the_switch_is_set(system: AwsHarness, clock: FakeClock) -> None:
    modes = process(system, clock)
    assert modes.current() is ProcessingMode.ASYNC_QUEUE
    assert (modes.read().changed_at, modes.read().version) == (None, 0)


def test_switching_is_signed_and_logged_in_one_transaction(system: AwsHarness, clock: FakeClock) -> None:
    modes = process(system, clock)
    with crash_after(None) as calls:
        switch = modes.set(ProcessingMode.SYNC_DIRECT, "SQS is down", ADMIN)
    assert calls.names == ["GetItem", "TransactWriteItems"]
    assert (switch.mode, switch.actor, switch.reason, switch.version) == (
        ProcessingMode.SYNC_DIRECT,
        "ada",
        "SQS is down",
        1,
    )
    (entry,) = system.ledger(action="mode.set")
    assert (entry["actor"], entry["reason"], entry["target"]) == ("ada", "SQS is down", "system:mode")
    assert (entry["before"], entry["after"]) == ({"mode": "async_queue"}, {"mode": "sync_direct"})
    (logged,), _ = HealthLog(aws.dynamodb(), system.env["SYSTEM_TABLE"], clock).read(LogLevel.SWITCH, 10, None)
    assert logged["detail"] == {
        "before": "async_queue",
        "after": "sync_direct",
        "actor": "ada",
        "reason": "SQS is down",
    }


def test_the_same_mode_again_changes_nothing(system: AwsHarness, clock: FakeClock) -> None:
    modes = process(system, clock)
    modes.set(ProcessingMode.ASYNC_QUEUE, "as it is", ADMIN)
    assert rows(system.env["SYSTEM_TABLE"]) == []
    first = modes.set(ProcessingMode.SYNC_DIRECT, "why", ADMIN)
    again = modes.set(ProcessingMode.SYNC_DIRECT, "again", BOB)
    assert (again.actor, again.version) == (first.actor, 1)
    assert len(system.ledger(action="mode.set")) == 1


def test_there_and_back_are_two_entries(system: AwsHarness, clock: FakeClock) -> None:
    modes = process(system, clock)
    modes.set(ProcessingMode.SYNC_DIRECT, "", ADMIN)
    assert modes.set(ProcessingMode.ASYNC_QUEUE, "", ADMIN).version == 2
    assert len(system.ledger(action="mode.set")) == 2


def test_who_switches_knows_at_once_and_everybody_else_within_five_seconds(
    system: AwsHarness, clock: FakeClock
) -> None:
    ours, theirs = process(system, clock), process(system, clock)
    assert theirs.current() is ProcessingMode.ASYNC_QUEUE
    ours.set(ProcessingMode.SYNC_DIRECT, "", ADMIN)
    assert (ours.current(), theirs.current()) == (ProcessingMode.SYNC_DIRECT, ProcessingMode.ASYNC_QUEUE)
    clock.advance(5_000)
    with crash_after(None) as calls:
        assert [theirs.current() for _ in range(3)] == [ProcessingMode.SYNC_DIRECT] * 3
    assert calls.names == ["GetItem"]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "InternalServerError", None])
def test_while_it_cannot_be_read_the_last_known_mode_is_used(
    system: AwsHarness, clock: FakeClock, code: str | None
) -> None:
    modes = process(system, clock)
    modes.set(ProcessingMode.SYNC_DIRECT, "", ADMIN)
    clock.advance(60_000)
    with failing(aws.dynamodb(), "GetItem", code=code) as calls:
        assert modes.current() is ProcessingMode.SYNC_DIRECT
        asked = len(calls)
        assert modes.current() is ProcessingMode.SYNC_DIRECT
        assert process(system, clock).current() is ProcessingMode.ASYNC_QUEUE
        assert len(calls) >= asked
    assert asked == 1


def test_of_two_who_switch_at_once_both_are_signed_with_what_was_before(
    system: AwsHarness, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = process(system, clock), process(system, clock)
    read = Modes.read

    def and_then_another_process_switches(self: Modes) -> Any:
        found = read(self)
        monkeypatch.undo()
        theirs.set(ProcessingMode.SYNC_DIRECT, "theirs", BOB)
        return found

    monkeypatch.setattr(Modes, "read", and_then_another_process_switches)
    assert ours.set(ProcessingMode.SYNC_DIRECT, "ours", ADMIN).actor == "bob"
    assert [entry["actor"] for entry in system.ledger(action="mode.set")] == ["bob"]


def test_a_switch_that_is_always_overtaken_is_contention(
    system: AwsHarness, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, stale = process(system, clock), process(system, clock).read()
    process(system, clock).set(ProcessingMode.SYNC_DIRECT, "", BOB)
    monkeypatch.setattr(Modes, "read", lambda _: stale)
    with pytest.raises(Unavailable):
        modes.set(ProcessingMode.SYNC_DIRECT, "", ADMIN)


def test_killed_before_the_transaction_nothing_is_said_and_after_it_all_is(
    system: AwsHarness, clock: FakeClock
) -> None:
    for call, entries in ((1, 0), (2, 1)):
        with crash_after(call), pytest.raises(Killed):
            process(system, clock).set(ProcessingMode.SYNC_DIRECT, "", ADMIN)
        assert len(system.ledger(action="mode.set")) == entries
        assert len(rows(system.env["SYSTEM_TABLE"], "HEALTH#")) == entries
        assert (process(system, clock).read().mode is ProcessingMode.SYNC_DIRECT) == bool(entries)
