"""Queues in figures, paused and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adbot_queue.core import aws
from adbot_queue.core.dynamodb import put_if
from adbot_queue.core.errors import NotFound, Unavailable
from adbot_queue.core.settings import MissingSetting
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import item_of
from adbot_queue.ledger import Actor
from adbot_queue.platform import health_log
from adbot_queue.platform.queue_pauses import DesiredState, Pauses
from adbot_queue.queues import counters
from adbot_queue.queues import mappings as queue_mappings
from adbot_queue.queues import pause as queues_control
from adbot_queue.queues import service as queues
from adbot_queue.queues.mappings import PENDING, Mappings
from adbot_queue.queues.pause import PauseControl
from tests.builders import mappings
from tests.builders.clocks import NOW, FakeClock
from tests.builders.crash import Killed, crash_after
from tests.builders.job_stream import Stream, claimed, died, failed, job
from tests.builders.payments import empty, failing
from tests.builders.world import ADMIN, AwsHarness, world

BOB = Actor("bob", "owner", "req-2")


@pytest.fixture(scope="module")
def one_world() -> Iterator[tuple[AwsHarness, dict[str, str]]]:
    """Making clients and tables takes most of a second: the tests of this module share them."""
    with world() as made:
        yield made, mappings.create(made)


@pytest.fixture
def mapped(one_world: tuple[AwsHarness, dict[str, str]]) -> Iterator[dict[str, str]]:
    """All mappings are on, the tables empty."""
    empty()
    with mappings.known(one_world[1]):
        yield one_world[1]


@pytest.fixture
def shop(one_world: tuple[AwsHarness, dict[str, str]], mapped: dict[str, str]) -> AwsHarness:
    return one_world[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, shop: AwsHarness) -> FakeClock:
    """The clock of all readers and writers of counters."""
    clock = FakeClock(NOW + 30_000)
    monkeypatch.setattr(counters.from_env(), "_now", clock)
    return clock


def keep(world: AwsHarness, *jobs: Job) -> None:
    for one in jobs:
        put_if(aws.dynamodb(), world.env["JOBS_TABLE"], item_of(one), condition="attribute_not_exists(pk)")


def tally(*records: Any) -> None:
    for start in range(0, len(records), counters.MAX_RECORDS):
        counters.from_env().tally(records[start : start + counters.MAX_RECORDS])


def queue_of(world: AwsHarness, name: str) -> Any:
    items = world.http("queues", "GET /queues", role="viewer").json["items"]
    assert [item["name"] for item in items] == list(job_queues.QUEUES)
    return next(item for item in items if item["name"] == name)


# Figures


def test_a_queue_shows_its_jobs_and_its_totals(shop: AwsHarness, clock: FakeClock) -> None:
    stream = Stream()
    waiting = [job(number, at=NOW + number * 1000) for number in range(3)]
    keep(shop, *waiting, job(9, "email", NOW - 1))
    active = claimed(job(4), NOW + 10)
    tally(
        *(record for one in waiting for record in stream.life(one)),
        *stream.life(job(4), active, active.completed({}, NOW + 20)),
        *stream.life(job(5), claimed(job(5), NOW), died(claimed(job(5), NOW), NOW)),
    )
    reported = queue_of(shop, "money")
    assert {state: number for state, number in reported["states"].items() if number} == {
        "waiting": 3,
        "completed": 1,
        "dead": 1,
    }
    assert {event: number for event, number in reported["totals"].items() if number} == {
        "enqueued": 5,
        "completed": 1,
        "dead": 1,
    }
    assert reported["oldest_waiting_at"] == "2025-11-22T00:00:00.000Z"
    assert reported["oldest_waiting_seconds"] > 0
    assert (reported["paused"], reported["switch"]["changed_at"]) == (False, None)
    idle = queue_of(shop, "plugin")
    assert (idle["oldest_waiting_at"], idle["oldest_waiting_seconds"], sum(idle["states"].values())) == (None, 0, 0)


def test_all_queues_are_read_with_five_calls_and_one_more_for_each_in_which_jobs_wait(shop: AwsHarness) -> None:
    def calls() -> list[str]:
        with crash_after(None) as made:
            shop.http("queues", "GET /queues", role="viewer")
        return made.names

    assert calls() == ["Query"] * 5
    found = []
    for numbers in (range(1), range(1, 30)):
        keep(shop, *map(job, numbers))
        tally(*(Stream().record(None, job(number)) for number in numbers))
        found.append(calls())
    assert found == [["Query"] * 6] * 2


def test_a_level_that_runs_ahead_of_its_records_is_not_shown_as_negative(shop: AwsHarness) -> None:
    tally(Stream().record(job(), claimed(job(), NOW)))
    assert queue_of(shop, "money")["states"]["waiting"] == 0


def test_statistics_of_the_last_minutes(shop: AwsHarness, clock: FakeClock) -> None:
    stream = Stream()
    for number in range(10):
        start = NOW - number * 60_000
        new = job(number, at=start)
        active = claimed(new, start + 30)
        end = start + 30 + (200 if number else 4_000)
        after = failed(active, end, "permanent") if number == 3 else active.completed({}, end)
        tally(*stream.life(new, active, after, at=start))
    with crash_after(None) as calls:
        stats = shop.http("queues", "GET /queues/{name}/stats", role="viewer", name="money", query={"minutes": "5"})
    assert calls.names == ["Query"]
    reported = stats.json
    assert (reported["name"], reported["minutes"]) == ("money", 5)
    assert {event: number for event, number in reported["counts"].items() if number} == {
        "enqueued": 5,
        "completed": 4,
        "failed": 1,
    }
    assert (reported["completed_per_minute"], reported["failure_rate"]) == (0.8, 0.2)
    assert reported["wait"] == {"count": 5, "average_ms": 30, "p50_ms": 38, "p95_ms": 49, "p99_ms": 50}
    assert (reported["run"]["count"], reported["run"]["average_ms"]) == (5, 960)
    assert reported["run"]["p50_ms"] <= 250
    assert 2_500 < reported["run"]["p99_ms"] <= 5_000
    assert reported["per_minute"][0] == {
        "minute": "2025-11-21T23:56:00Z",
        "enqueued": 1,
        "completed": 1,
        "failed": 0,
        "dead": 0,
    }
    assert len(reported["per_minute"]) == 5


def test_statistics_of_a_queue_that_did_nothing(shop: AwsHarness) -> None:
    reported = shop.http("queues", "GET /queues/{name}/stats", role="viewer", name="plugin").json
    assert (reported["minutes"], reported["completed_per_minute"], reported["failure_rate"]) == (60, 0, None)
    assert reported["wait"] == {"count": 0, "average_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert reported["per_minute"] == []


@pytest.mark.parametrize("minutes", ["0", "1441", "x", "-5"])
def test_statistics_reach_back_at_most_a_day(shop: AwsHarness, minutes: str) -> None:
    answer = shop.http("queues", "GET /queues/{name}/stats", role="viewer", name="money", query={"minutes": minutes})
    assert (answer.status, answer.fields) == (422, ["minutes"])


def test_statistics_of_an_unknown_queue_are_not_found(shop: AwsHarness) -> None:
    answer = shop.http("queues", "GET /queues/{name}/stats", role="viewer", name="nowhere")
    assert (answer.status, answer.problem) == (404, "not-found")


# Pause and resume


def switch(world: AwsHarness, action: str, name: str = "money", reason: str = "") -> Any:
    body = {"reason": reason} if reason else {}
    return world.http("queues", f"POST /queues/{{name}}/{action}", role="admin", name=name, body=body)


def test_pausing_turns_the_mapping_off_and_resuming_on_and_both_are_signed(
    shop: AwsHarness, mapped: dict[str, str]
) -> None:
    paused = switch(shop, "pause", reason="provider is down")
    assert paused.status == 200
    assert (paused.json["paused"], paused.json["mapping"]) == (True, "Disabled")
    assert mappings.state(mapped, "money") == "Disabled"
    assert {mappings.state(mapped, name) for name in job_queues.QUEUES if name != "money"} == {"Enabled"}
    reported = queue_of(shop, "money")
    assert (reported["paused"], reported["switch"]["actor"], reported["switch"]["reason"]) == (
        True,
        "ada",
        "provider is down",
    )
    resumed = switch(shop, "resume")
    assert (resumed.json["paused"], resumed.json["mapping"]) == (False, "Enabled")
    assert mappings.state(mapped, "money") == "Enabled"
    signed = shop.ledger(target="queue:money")
    assert [(entry["action"], entry["before"], entry["after"]) for entry in signed] == [
        ("queue.resume", {"paused": True}, {"paused": False}),
        ("queue.pause", {"paused": False}, {"paused": True}),
    ]


def test_saying_it_twice_changes_nothing_and_is_signed_once(shop: AwsHarness, mapped: dict[str, str]) -> None:
    assert switch(shop, "resume").json["mapping"] == "Enabled"
    assert shop.ledger(target="queue:money") == []
    first, second = switch(shop, "pause", reason="one"), switch(shop, "pause", reason="two")
    assert first.json == second.json
    assert len(shop.ledger(target="queue:money")) == 1


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_an_unknown_queue_is_not_found(shop: AwsHarness, action: str) -> None:
    answer = switch(shop, action, "nowhere")
    assert (answer.status, answer.problem) == (404, "not-found")


def test_when_lambda_refuses_the_sweeper_applies_the_desired_state(shop: AwsHarness, mapped: dict[str, str]) -> None:
    with failing(aws.functions(), "UpdateEventSourceMapping", code="ResourceInUseException"):
        answer = switch(shop, "pause")
    assert (answer.status, answer.json["paused"], answer.json["mapping"]) == (200, True, PENDING)
    assert mappings.state(mapped, "money") == "Enabled"
    (entry,), _ = health_log.from_env().read(health_log.LogLevel.WARNING, 10, None)
    assert entry["detail"] == {"queue": "money", "error": "ResourceInUseException"}
    assert queue_mappings.reconcile() == ["money"]
    assert mappings.state(mapped, "money") == "Disabled"
    assert queue_mappings.reconcile() == []


def test_killed_anywhere_the_mapping_obeys_the_intent_in_the_end(shop: AwsHarness, mapped: dict[str, str]) -> None:
    for call in (1, 2):
        with crash_after(call), pytest.raises(Killed):
            queues_control.from_env().pause("money", "", ADMIN)
        intended = Pauses(aws.dynamodb(), shop.env["SYSTEM_TABLE"], job_queues.QUEUES).desired_states()["money"].paused
        queue_mappings.reconcile()
        assert mappings.state(mapped, "money") == ("Disabled" if intended else "Enabled")
        assert intended == (call == 2)
        assert len(shop.ledger(target="queue:money")) == intended


def test_a_mapping_changed_elsewhere_is_set_right(shop: AwsHarness, mapped: dict[str, str]) -> None:
    aws.functions().update_event_source_mapping(UUID=mapped["email"], Enabled=False)
    switch(shop, "pause")
    aws.functions().update_event_source_mapping(UUID=mapped["money"], Enabled=True)
    assert sorted(queue_mappings.reconcile()) == ["email", "money"]
    assert (mappings.state(mapped, "email"), mappings.state(mapped, "money")) == ("Enabled", "Disabled")


class Changing:
    """Lambda, while a mapping is being changed or cannot be read."""

    def __init__(self, state: str | None) -> None:
        self.state = state
        self.updated: list[str] = []

    def get_event_source_mapping(self, UUID: str) -> dict[str, str]:  # noqa: N803
        if self.state is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetEventSourceMapping")
        return {"State": self.state}

    def update_event_source_mapping(self, UUID: str, Enabled: bool) -> dict[str, str]:  # noqa: N803
        self.updated.append(UUID)
        return {"State": "Updating"}


@pytest.mark.parametrize("state", ["Enabling", "Disabling", "Updating", "Creating", None])
def test_a_mapping_that_is_being_changed_is_left_to_the_next_run(shop: AwsHarness, state: str | None) -> None:
    changing: Any = Changing(state)
    changed = Mappings(lambda: changing, {"money": "m", "email": "e"}, health_log.from_env())
    assert changed.reconcile([("money", DesiredState()), ("email", DesiredState())]) == []
    assert changing.updated == []


def test_of_two_who_switch_at_once_the_later_one_knows_what_the_other_did(
    shop: AwsHarness, mapped: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    control = queues_control.from_env()
    transaction = PauseControl._transaction

    def and_then_another_process_pauses(self: PauseControl, *arguments: Any) -> Any:
        made = transaction(self, *arguments)
        monkeypatch.undo()
        control.pause("money", "theirs", BOB)
        return made

    monkeypatch.setattr(PauseControl, "_transaction", and_then_another_process_pauses)
    assert control.pause("money", "ours", ADMIN).desired.actor == "bob"
    assert [entry["actor"] for entry in shop.ledger(target="queue:money")] == ["bob"]


def test_a_switch_that_is_always_overtaken_is_contention(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    queues_control.from_env().pause("money", "", BOB)
    monkeypatch.setattr(queues_control, "desired_state_of", lambda _: DesiredState())
    with pytest.raises(Unavailable):
        queues_control.from_env().pause("money", "", ADMIN)


def test_a_function_that_may_not_change_mappings_does_not_know_them(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENT_SOURCE_MAPPINGS")
    queue_mappings.from_env.cache_clear()
    queues_control.from_env.cache_clear()
    with pytest.raises(MissingSetting, match="EVENT_SOURCE_MAPPINGS"):
        queues_control.from_env()


def test_no_queue_is_known_that_the_registry_does_not_have(shop: AwsHarness) -> None:
    with pytest.raises(NotFound):
        queues_control.from_env().pause("nowhere", "", ADMIN)
    with pytest.raises(NotFound):
        queues.from_env().stats("nowhere", 60)


# Pauses as workers and requests know them


def test_pauses_are_known_within_five_seconds_and_read_once_in_them(shop: AwsHarness, mapped: dict[str, str]) -> None:
    clock = FakeClock()
    known = Pauses(aws.dynamodb(), shop.env["SYSTEM_TABLE"], job_queues.QUEUES, clock.seconds)
    assert known.paused() == frozenset()
    queues_control.from_env().pause("money", "", ADMIN)
    queues_control.from_env().pause("ai-seo", "", ADMIN)
    assert known.paused() == frozenset()
    clock.advance(5_000)
    with crash_after(None) as calls:
        assert [known.paused() for _ in range(3)] == [frozenset({"money", "ai-seo"})] * 3
    assert calls.names == ["BatchGetItem"]
    clock.advance(5_000)
    with failing(aws.dynamodb(), "BatchGetItem", code="InternalServerError"):
        assert known.paused() == {"money", "ai-seo"}
    queues_control.from_env().resume("money", "", ADMIN)
    clock.advance(5_000)
    assert known.paused() == {"ai-seo"}
