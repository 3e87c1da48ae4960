"""One job harms itself only: its row cannot be read, or it raises what is no Exception. Cleaning goes by ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws, telemetry
from adbot_queue.core.errors import Conflict, Invalid, Unavailable
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.pages import DeadLetterPages
from adbot_queue.jobs import job_types as registered
from adbot_queue.jobs.api.list_schemas import CleanQuery
from adbot_queue.jobs.api.purge import clean
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.worker.message import JobMessage
from tests.builders import effects
from tests.builders.effects import Provider, charging, new_provider
from tests.builders.jobs import Jobs, known_types
from tests.builders.world import ADMIN, AwsHarness

Raw = dict[str, Any]

DAMAGE: dict[str, Raw | None] = {
    # attribute -> how it lies in the row, None: it is missing
    "version above ours": {"v": {"N": "2"}},
    "version that is none": {"v": {"S": "two"}},
    "mode of a newer version": {"mode": {"S": "quantum"}},
    "no time of creation": {"created_at": None},
    "no type": {"type": None},
    "no payload": {"payload": None},
    "payload that is no JSON": {"payload": {"S": "{"}},
    "payload that is no object": {"payload": {"S": "[1]"}},
    "payload as a map": {"payload": {"M": {"name": {"S": "a"}}}},
    "checkpoint that is no object": {"checkpoint": {"S": "7"}},
    "priority as text": {"priority": {"S": "high"}},
    "priority as a truth": {"priority": {"BOOL": True}},
    "fairness_delay_ms with a fraction": {"fairness_delay_ms": {"N": "1.5"}},
    "tenant in bytes": {"tenant": {"B": "YWRh"}},
    "no tenant": {"tenant": None},
    "tags as text": {"tags": {"S": "abc"}},
    "tags of numbers": {"tags": {"L": [{"N": "1"}]}},
    "children of numbers": {"children": {"NS": ["1"]}},
    "attempts as text": {"attempts": {"S": "none"}},
    "attempt without a worker": {
        "attempts": {"L": [{"M": {"number": {"N": "1"}, "started_at": {"N": "1"}, "ended_at": {"N": "2"}}}]}
    },
    "failure as text": {"failure": {"S": "no"}},
    "failure without a kind": {"failure": {"M": {"error": {"S": "E"}, "message": {"S": "m"}}}},
}


@pytest.fixture
def provider() -> Provider:
    return new_provider()


@pytest.fixture
def jobs(on_aws: AwsHarness, provider: Provider) -> Iterator[Jobs]:
    with known_types(charging(), charging("mail", "email"), charging("note", "analytics")):
        yield Jobs(on_aws)


@pytest.fixture
def counted() -> Iterator[Counter[str]]:
    """What was counted, by metric."""
    found: Counter[str] = Counter()

    def add(name: str, unit: Any, value: float) -> None:
        found[name] += int(value)

    with patch.object(telemetry.metrics, "add_metric", add):
        yield found


def raw(jobs: Jobs, job: Job) -> Raw:
    """A row as it lies in the table."""
    key = {"pk": {"S": f"JOB#{job.id}"}, "sk": {"S": "J"}}
    return dict(aws.dynamodb().get_item(TableName=jobs.store.table, Key=key, ConsistentRead=True)["Item"])


def damage(jobs: Jobs, job: Job, change: Raw) -> Raw:
    """Change a row behind everybody's back; the row as it lies then."""
    row = raw(jobs, job)
    row.update({name: value for name, value in change.items() if value is not None})
    for name in [name for name, value in change.items() if value is None]:
        row.pop(name, None)
    aws.dynamodb().put_item(TableName=jobs.store.table, Item=row)
    return row


def damaged(jobs: Jobs, **options: Any) -> dict[str, Job]:
    """A job for each damage; the damage is done by the caller."""
    return {name: jobs.enqueue("note", {"name": name}, **options) for name in DAMAGE}


def test_a_sweep_sends_every_good_due_job_and_leaves_unreadable_rows_as_they_are(
    jobs: Jobs, counted: Counter[str]
) -> None:
    bad = damaged(jobs, run_at=jobs.clock() + 3_600_000)
    good = [jobs.enqueue("note", {"name": f"g{number}"}, run_at=jobs.clock() + 3_600_000) for number in range(5)]
    before = {name: damage(jobs, job, DAMAGE[name] or {}) for name, job in bad.items()}
    before["state"] = damage(jobs, bad["no type"], {"type": {"S": "note"}, "state": {"S": "on-hold"}})
    before.pop("no type")

    jobs.advance(3601)
    done = jobs.sweep()

    assert done["failed"] == 0
    assert {jobs.get(job).state for job in good} == {JobState.WAITING}
    after = {row["pk"]["S"]: row for row in (raw(jobs, job) for job in bad.values())}
    assert [after[row["pk"]["S"]] for row in before.values()] == list(before.values())
    assert counted["JobsUnreadable"] == len(bad)
    jobs.drain()
    assert {jobs.get(job).state for job in good} == {JobState.COMPLETED}


def test_lost_messages_are_sent_again_despite_unreadable_rows(jobs: Jobs) -> None:
    bad = damaged(jobs)
    good = [jobs.enqueue("note", {"name": f"g{number}"}) for number in range(3)]
    for name, job in bad.items():
        damage(jobs, job, DAMAGE[name] or {})
    while jobs.receive("analytics"):
        jobs.delete("analytics")

    jobs.advance(61)
    assert (jobs.sweep()["failed"], jobs.drain() >= len(good)) == (0, True)

    assert {jobs.get(job).state for job in good} == {JobState.COMPLETED}


def test_a_batch_runs_its_good_jobs_and_an_unreadable_one_spends_no_attempt(jobs: Jobs, counted: Counter[str]) -> None:
    bad = damaged(jobs)
    good = [jobs.enqueue("note", {"name": f"g{number}"}) for number in range(4)]
    for name, job in bad.items():
        damage(jobs, job, DAMAGE[name] or {})

    jobs.worker.work([JobMessage(job.id, job.queue, job.rank) for job in (*bad.values(), *good)], lambda: 60_000)

    assert {jobs.get(job).state for job in good} == {JobState.COMPLETED}
    rows = {name: raw(jobs, job) for name, job in bad.items()}
    # A worker writes a mode of its own, so such a row is readable as soon as it is claimed.
    assert rows.pop("mode of a newer version")["state"]["S"] == "completed"
    assert {row["state"]["S"] for row in rows.values()} <= {"waiting", "delayed"}
    assert {row["attempt"]["N"] for row in rows.values()} == {"0"}
    assert not any("lease" in row for row in rows.values())
    assert counted["JobsUnreadable"] >= len(rows)


@pytest.mark.parametrize("name", ["version above ours", "payload that is no JSON", "no tenant"])
def test_an_unreadable_job_completes_in_its_first_attempt_when_its_row_can_be_read_again(
    jobs: Jobs, provider: Provider, name: str
) -> None:
    job = jobs.enqueue("note", {"name": "a"})
    whole = raw(jobs, job)
    damage(jobs, job, DAMAGE[name] or {})
    jobs.work(job)
    jobs.advance(61)
    jobs.sweep()

    damage(jobs, job, {attribute: whole.get(attribute) for attribute in DAMAGE[name] or {}})
    jobs.advance(61)
    jobs.sweep()
    jobs.drain()

    done = jobs.get(job)
    assert (done.state, done.attempt, provider.effects["a"]) == (JobState.COMPLETED, 1, 1)


def test_a_list_shows_the_readable_jobs_and_names_the_others(jobs: Jobs) -> None:
    bad = damaged(jobs)
    good = [jobs.enqueue("note", {"name": f"g{number}"}).id for number in range(3)]
    for name, job in bad.items():
        damage(jobs, job, DAMAGE[name] or {})

    query = {"state": "waiting", "limit": "100"}
    page = jobs.world.http("queues", "GET /queues/{name}/jobs", role="viewer", name="analytics", query=query)

    assert page.status == 200, page.json
    assert {item["job_id"] for item in page.json["items"]} == set(good)
    assert set(page.json["unreadable"]) == {job.id for job in bad.values()}


def test_an_unreadable_job_alone_is_answered_with_the_attribute_and_never_its_value(jobs: Jobs) -> None:
    job = jobs.enqueue("note")
    damage(jobs, job, {"priority": {"S": "tip-top-secret"}})

    answer = jobs.world.http("jobs", "GET /jobs/{id}", role="viewer", id=job.id)

    assert (answer.status, answer.problem) == (503, "unavailable")
    assert "attribute priority" in answer.json["detail"]
    assert "tip-top-secret" not in str(answer.json)


def test_dead_letters_are_listed_despite_an_unreadable_one(jobs: Jobs) -> None:
    dead = [jobs.enqueue("mail", {"name": str(number), "goes": ["transient"] * 9}) for number in range(3)]
    jobs.settle()
    damage(jobs, dead[1], {"failure": {"S": "no"}})

    found, _ = DeadLetterPages(aws.dynamodb(), jobs.store.table).page(DeadLetterFilter(), 10, None)

    assert {letter.id for letter in found} == {dead[0].id, dead[2].id}


DOORS: list[tuple[str, str, Raw]] = [
    ("jobs", "GET /jobs/{id}", {}),
    ("jobs", "DELETE /jobs/{id}", {}),
    ("jobs", "POST /jobs/{id}/retry", {"body": {"reason": "x"}}),
    ("dead_letters", "GET /dead-letters/{id}", {}),
    ("dead_letters", "POST /dead-letters/{id}/replay", {"body": {"reason": "x"}}),
    ("dead_letters", "DELETE /dead-letters/{id}", {"query": {"reason": "x"}}),
]


def test_no_door_changes_an_unreadable_job_and_each_says_why(jobs: Jobs) -> None:
    job = jobs.enqueue("mail", {"name": "a", "goes": ["transient"] * 9})
    jobs.settle()
    whole = raw(jobs, job)
    for name, change in (DAMAGE | {"queue of a newer version": {"queue": {"S": "faxes"}}}).items():
        before = damage(jobs, job, change or {})
        for function, route, asked in DOORS:
            answer = jobs.world.http(function, route, role="owner", id=job.id, **asked)
            assert (answer.status, answer.problem) == (503, "unavailable"), (name, route, answer.text)
        assert raw(jobs, job) == before, name
        aws.dynamodb().put_item(TableName=jobs.store.table, Item=whole)


@pytest.mark.parametrize("attribute", ["type", "queue", "fingerprint"])
def test_groups_of_dead_letters_are_counted_despite_an_unreadable_one(jobs: Jobs, attribute: str) -> None:
    dead = [jobs.enqueue("mail", {"name": str(number), "goes": ["transient"] * 9}) for number in range(3)]
    jobs.settle()
    damage(jobs, dead[1], {attribute: {"N": "7"}})

    query = {"group": "true"}
    answer = jobs.world.http("dead_letters", "GET /dead-letters", role="viewer", query=query)

    assert answer.status == 200, answer.text
    assert sum(group["count"] for group in answer.json["groups"]) == 3


def test_a_parent_that_cannot_be_read_has_not_ended(jobs: Jobs, provider: Provider) -> None:
    parent = jobs.enqueue("charge", {"name": "parent"})
    child = jobs.enqueue("note", {"name": "child"}, depends_on=(parent.id,))
    damage(jobs, parent, {"tenant": None})

    with pytest.raises(Unavailable):
        jobs.enqueue("note", {"name": "late"}, depends_on=(parent.id,))
    for _ in range(3):
        jobs.advance(3600)
        jobs.sweep()
        jobs.drain("analytics")

    assert (jobs.get(child).state, provider.effects["child"]) == (JobState.DELAYED, 0)


def test_a_child_that_cannot_be_read_does_not_keep_its_siblings(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge")
    children = [jobs.enqueue("note", {"name": str(number)}, depends_on=(parent.id,)) for number in range(3)]
    children.sort(key=lambda job: job.id)
    damage(jobs, children[0], {"tenant": None})

    jobs.work(parent)

    assert {jobs.get(child).state for child in children[1:]} == {JobState.WAITING}


class PanicException(BaseException):
    """As solders raises it."""


@pytest.mark.parametrize("raised", [PanicException, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("where", ["processor", "its import"])
def test_what_is_raised_and_is_no_exception_is_a_transient_failure_of_its_own_job(
    jobs: Jobs, raised: type[BaseException], where: str
) -> None:
    def process(payload: effects.Charge, context: Any) -> Any:
        raise raised("boom")

    def broken_import(name: str) -> JobType | None:
        if name == "broken":
            raise raised("boom")
        return known(name)

    known = registered.get
    with known_types(replace(charging("broken", "email"), handler=process)):
        bad = jobs.enqueue("broken")
        good = [jobs.enqueue("mail", {"name": str(number)}) for number in range(9)]
        with patch.object(registered, "get", broken_import if where == "its import" else known):
            jobs.worker.work([JobMessage(job.id, "email", job.rank) for job in (bad, *good)], lambda: 60_000)

        assert {jobs.get(job).state for job in good} == {JobState.COMPLETED}
        failed = jobs.get(bad)
        assert (failed.state, failed.attempt) == (JobState.DELAYED, 1)
        assert failed.failure
        assert (failed.failure.kind, failed.failure.error) == ("transient", raised.__name__)


def test_a_keyboard_interrupt_ends_the_worker(jobs: Jobs) -> None:
    job = jobs.enqueue("mail")

    def process(*_: Any) -> Any:
        raise KeyboardInterrupt

    with (
        patch.object(JobType, "run", process),
        pytest.raises(KeyboardInterrupt),
    ):
        jobs.work(job)


# Cleaning


def ask(**query: Any) -> CleanQuery:
    return CleanQuery.model_validate(query)


def cleaned(jobs: Jobs, **query: Any) -> Any:
    return clean(jobs.service, "money", ask(**query), ADMIN, lambda: 60_000)


def test_a_job_that_was_created_long_ago_and_has_just_ended_is_not_cleaned(jobs: Jobs) -> None:
    long_ago = jobs.enqueue("charge", run_at=jobs.clock() + 7_200_000)
    jobs.advance(7_201)
    jobs.sweep()
    jobs.drain()
    jobs.advance(5)

    assert cleaned(jobs, older_than_seconds=60).count == 0
    assert cleaned(jobs, older_than_seconds=60, confirm=0).deleted == 0
    jobs.advance(60)
    assert cleaned(jobs, older_than_seconds=60, confirm=1).deleted == 1
    assert jobs.store.get(long_ago.id) is None


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_a_clean_is_confirmed_by_count_and_cut_off_while_other_jobs_end(jobs: Jobs, state: str) -> None:
    def end(name: str) -> Job:
        job = jobs.enqueue("charge", {"name": name, "goes": ["permanent"] * (state == "failed")})
        if state == "cancelled":
            return jobs.lifecycle.cancel(job.id, ADMIN)
        jobs.work(job)
        return jobs.get(job)

    old = [end(f"old {number}") for number in range(3)]
    jobs.advance(90)
    query = {"state": state, "older_than_seconds": "0"}

    def call(**more: Any) -> Any:
        with patch("adbot_queue.jobs.service.from_env", lambda: jobs.service):
            return jobs.world.http("queues", "DELETE /queues/{name}/clean", role="owner", name="money", query=more)

    counted = call(**query).json
    young = [end(f"young {number}") for number in range(4)]
    jobs.advance(5)
    done = call(state=state, cut_off=counted["cut_off"], confirm=str(counted["count"]))

    assert (counted["count"], done.status, done.json["deleted"]) == (3, 200, 3), done.json
    assert {job.id for job in jobs.all()} == {job.id for job in young}
    assert not {job.id for job in old} & {job.id for job in jobs.all()}
    wrong = call(state=state, cut_off=counted["cut_off"], confirm="3")
    assert wrong.status == 409


def test_a_job_that_was_retried_since_is_not_cleaned(jobs: Jobs) -> None:
    job = jobs.run("charge", {"goes": ["permanent"]})
    jobs.advance(60)
    counted = cleaned(jobs, state="failed", older_than_seconds=10)
    jobs.lifecycle.retry(job.id, ADMIN)
    jobs.work(jobs.get(job))

    with pytest.raises(Conflict):
        cleaned(jobs, state="failed", cut_off=counted.cut_off, confirm=counted.count)
    assert jobs.get(job).finished_at == jobs.clock()


def test_a_cut_off_is_no_younger_than_the_age_and_does_not_lie_ahead(jobs: Jobs) -> None:
    later = "2099-01-01T00:00:00Z"
    with pytest.raises(Invalid, match="cut_off: must be at most"):
        cleaned(jobs, cut_off=later, confirm=0)
    counted = cleaned(jobs, older_than_seconds=0)
    with pytest.raises(Invalid, match="cut_off: must be at most"):
        cleaned(jobs, cut_off=counted.cut_off, older_than_seconds=60, confirm=0)
    with pytest.raises(ValueError, match="older_than_seconds"):
        ask(confirm=0)
