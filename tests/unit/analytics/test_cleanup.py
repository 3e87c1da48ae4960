"""cleanup-old-data: counted first, confirmed by a person, signed for once, deleted in slices."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adbot_queue.analytics.model import DAY_MS
from adbot_queue.core import aws
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.model import JobState
from adbot_queue.ledger import Actor
from adbot_queue.operations.jobs.cleanup_old_data import CleanupOldData
from tests.builders.analytics import NOON, Counting, event
from tests.builders.crash import Killed, crash_after
from tests.builders.effects import charging
from tests.builders.jobs import Jobs, known_types
from tests.builders.world import AwsHarness

RAW = {"what": ["raw-events"], "older_than_days": 5}


def clean(counting: Counting, job: str, steps: int | None = None, **payload: Any) -> Any:
    return counting.run("cleanup-old-data", payload, job, steps)


def for_real(number: int) -> dict[str, Any]:
    return {"dry_run": False, "confirm": number}


def events_left(counting: Counting) -> set[str]:
    items = aws.dynamodb().scan(TableName=counting.store.table)["Items"]
    return {item["pk"]["S"] for item in items if item["pk"]["S"].startswith("EVENT#")}


@pytest.fixture
def old_events(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Three that are older than five days, two that are not."""
    monkeypatch.setattr("adbot_queue.operations.cleanup.RAW_TTL_MS", 8 * DAY_MS)  # fewer empty hours to look into
    monkeypatch.setattr("adbot_queue.operations.cleanup.OVERDUE_MS", 0)
    for number, days in enumerate((7, 7, 6, 5, 0)):
        counting.record(event(str(number), NOON - days * DAY_MS))
    return counting


def test_a_dry_run_counts_and_deletes_nothing_and_signs_for_nothing(on_aws: AwsHarness, old_events: Counting) -> None:
    assert clean(old_events, "dry", **RAW) == {
        "before": "2025-11-17",
        "matching": {"raw-events": 3},
        "deleted": {},
        "total": 3,
    }
    assert len(events_left(old_events)) == 5
    assert on_aws.ledger(action="data.clean") == []


def test_what_is_confirmed_is_deleted_and_signed_for_and_its_hours_are_not_counted_again(
    on_aws: AwsHarness, old_events: Counting
) -> None:
    result = clean(old_events, "real", **RAW, **for_real(3))

    assert (result["matching"], result["deleted"]) == ({"raw-events": 3}, {"raw-events": 3})
    assert events_left(old_events) == {"EVENT#evt-3", "EVENT#evt-4"}
    (entry,) = on_aws.ledger(action="data.clean")
    assert (entry["target"], entry["actor"]) == ("job:real", "system")
    assert entry["after"] == {"what": ["raw-events"], "created_before": "2025-11-17", "items": 3}
    with pytest.raises(PermanentError):
        old_events.run("process-snapshot", {"hour": "2025-11-16T12"}, "again")


def test_another_number_than_the_confirmed_one_deletes_nothing(on_aws: AwsHarness, old_events: Counting) -> None:
    with pytest.raises(PermanentError, match="3 match, not 2"):
        clean(old_events, "real", **RAW, **for_real(2))

    assert len(events_left(old_events)) == 5
    assert on_aws.ledger(action="data.clean") == []


@pytest.mark.long
def test_a_cleanup_that_dies_anywhere_is_signed_for_once_and_ends_with_everything_deleted(
    on_aws: AwsHarness, old_events: Counting
) -> None:
    payload = RAW | for_real(3)
    kept = [event(str(number), NOON - days * DAY_MS) for number, days in enumerate((7, 7, 6))]
    with crash_after(None) as calls:
        clean(old_events, "whole", **payload)
    first = next(number for number, name in enumerate(calls.names, 1) if name == "TransactWriteItems")
    after = [first - 1, first, first + 1, *(n for n, name in enumerate(calls.names, 1) if name == "BatchWriteItem")]
    for number in after:
        old_events.record(*kept)
        job = f"dies-{number}"
        with pytest.raises(Killed), crash_after(number):
            clean(old_events, job, **payload)
        try:
            clean(old_events, job, steps=9, **payload)
        except PermanentError:
            raise AssertionError("what it has deleted itself counts as confirmed") from None
        assert events_left(old_events) == {"EVENT#evt-3", "EVENT#evt-4"}
        assert len(on_aws.ledger(target=f"job:{job}")) == 1


def test_old_days_go_with_their_articles_and_queues_and_younger_ones_stay(counting: Counting) -> None:
    for number in range(3):
        counting.record(event(str(number), article=f"a{number}"))
    counting.run("process-snapshot", {"hour": "2025-11-22T12"})
    counting.clock.advance(100 * 86_400)
    counting.record(event("new", counting.clock.now, article="a1"))
    counting.run("process-snapshot", job="later")
    payload = {"what": ["aggregates"], "older_than_days": 90}

    total = clean(counting, "dry", **payload)["total"]
    assert total == 1 + 3 + len(job_queues.QUEUES)
    result = clean(counting, "real", steps=2, **payload, **for_real(total))

    assert result["deleted"] == {"aggregates": total}
    assert "2025-11-22" not in {one.start for one in counting.store.days("0", "9")}
    assert counting.store.queue_days("2025-11-22", "2025-11-22") == []
    assert counting.store.article_days("a0") == []
    assert len(counting.store.article_days("a1")) == 1
    assert clean(counting, "dry-again", **payload)["total"] == 0


def test_ended_jobs_are_deleted_and_open_and_dead_ones_never_and_the_person_signs(on_aws: AwsHarness) -> None:
    with known_types(charging("note", "email")):
        jobs = Jobs(on_aws)
        done, dead = jobs.enqueue("note", tenant="ada"), jobs.enqueue("note")
        waiting = jobs.enqueue("note")
        for job, state in ((done, JobState.COMPLETED), (dead, JobState.DEAD)):
            claimed = jobs.store.claim(job.id, "email", "w", "lease", jobs.clock(), jobs.clock() + 1000)
            assert claimed
            jobs.store.release(claimed, claimed._end(state, jobs.clock()))
        counting = Counting(clock=jobs.clock)
        jobs.advance(3 * 86_400)
        boss = jobs.enqueue(
            "cleanup-old-data",
            {"what": ["jobs"], "older_than_days": 1, **for_real(1)},
            Actor("ada", "admin"),
            tenant="ada",
        )
        result = clean(counting, boss.id, **boss.payload)

        assert result["deleted"] == {"jobs": 1}
        assert {job.id for job in jobs.all()} == {dead.id, waiting.id, boss.id}
    (entry,) = on_aws.ledger(action="data.clean")
    assert entry["actor"] == "ada"


@pytest.mark.parametrize(
    "payload",
    [
        {"what": [], "older_than_days": 100},
        {"what": ["jobs", "jobs"], "older_than_days": 100},
        {"what": ["ledger"], "older_than_days": 100},
        {"what": ["orders"], "older_than_days": 100},
        {"what": ["jobs"], "older_than_days": 0},
        {"what": ["raw-events"], "older_than_days": 1},
        {"what": ["jobs", "aggregates"], "older_than_days": 89},
        {"what": ["jobs"], "older_than_days": 5, "dry_run": False},
        {"what": ["jobs"], "older_than_days": 5, "confirm": 3},
    ],
)
def test_what_must_not_be_deleted_or_is_not_confirmed_is_not_enqueued(payload: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CleanupOldData.model_validate(payload)
