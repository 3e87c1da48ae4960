"""An upload whose request died is finished by a job: killed, doubled, overtaken by its request."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from adbot_queue.adbots.storage import items
from adbot_queue.core.clock import system_clock
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.stock import uploads
from adbot_queue.stock.claims import Claims
from adbot_queue.stock.jobs import finish_upload
from adbot_queue.stock.service import Stock
from adbot_queue.stock.upload import LineVerdict, UploadLine
from adbot_queue.stock.uploads import STAGED_FOR_MS
from tests.builders.crash import Killed, before_transactions, crash_after, every_call
from tests.builders.jobs import Jobs
from tests.builders.payments import rows
from tests.builders.uploads import abandoned, finish
from tests.builders.world import AwsHarness, FakeContext, world

IDS = tuple(f"s{number}" for number in range(6))
"""Three records of settled lines."""


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines a record, two records a slice. A killed request has no other threads that go on storing sessions."""

    def settle_all(_: Stock, claims: Claims, lines: list[UploadLine]) -> None:
        for number in claims.open:
            claims.settle(number, lines)

    monkeypatch.setattr(Stock, "_claim_ids", settle_all)
    monkeypatch.setattr(items, "CLAIM", 2)
    monkeypatch.setattr(finish_upload, "CLAIMS_PER_SLICE", 2)


def dead_upload(on_aws: AwsHarness, stored: int = 1) -> str:
    """An upload whose request died after that many transactions of sessions; its id."""
    with suppress(Killed), crash_after(3 + stored) as calls:
        on_aws.upload(*IDS, key="k")
    assert calls.names == ["GetItem", "PutItem", "BatchWriteItem", *["TransactWriteItems"] * stored]
    (found,) = listed(on_aws, "staged")
    return str(found["upload_id"])


def listed(on_aws: AwsHarness, state: str) -> list[dict[str, Any]]:
    answer = on_aws.http("stock", "GET /admin/stock/uploads", role="viewer", query={"state": state}).json
    assert answer["next"] is None
    found: list[dict[str, Any]] = answer["items"]
    return found


def progress(on_aws: AwsHarness, upload_id: str) -> dict[str, Any]:
    answer = on_aws.http("stock", "GET /admin/stock/uploads/{id}", role="viewer", id=upload_id)
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def free(on_aws: AwsHarness) -> int:
    return on_aws.adbots.pools.header("standard").free


def states(on_aws: AwsHarness) -> set[JobState]:
    return {job.state for job in Jobs(on_aws).all()}


def test_a_young_upload_is_left_to_its_request(on_aws: AwsHarness) -> None:
    on_aws.pool()
    dead_upload(on_aws)
    assert abandoned(on_aws, Jobs(on_aws), STAGED_FOR_MS - 60_000) == 0


def test_what_the_request_stored_becomes_stock_and_the_rest_is_not_stored(on_aws: AwsHarness) -> None:
    on_aws.pool()
    upload_id = dead_upload(on_aws, 1)
    (job,) = finish(on_aws)

    assert (job.state, free(on_aws)) == (JobState.COMPLETED, 2)
    assert job.result == {"done": 6, "of": 6, "outcomes": {"accepted": 2, "not_stored": 4}, "cut_off": None}
    assert progress(on_aws, upload_id)["progress"]["outcomes"] == {"accepted": 2, "not_stored": 4}
    (entry,) = on_aws.ledger(action="stock.upload")
    assert (entry["actor"], entry["reason"]) == ("system", "the upload did not finish by itself")
    assert on_aws.messages("allocation")


def test_the_sweeper_enqueues_one_job_for_an_upload(on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    on_aws.pool()
    upload_id = dead_upload(on_aws)
    monkeypatch.setattr(uploads.from_env(), "_now", lambda: system_clock() + STAGED_FOR_MS + 1)
    assert [on_aws.app("sweep").handler({}, FakeContext())["uploads_abandoned"] for _ in range(2)] == [1, 1]

    (job,) = Jobs(on_aws).all()
    assert (job.type, job.payload, job.long_running) == ("finish-upload", {"upload_id": upload_id}, True)
    assert [message["job"] for message in on_aws.messages("maintenance")] == [job.id]


def jobs_of(on_aws: AwsHarness) -> tuple[Jobs, Job]:
    jobs = Jobs(on_aws)
    abandoned(on_aws, jobs)
    (job,) = jobs.all()
    return jobs, job


def test_a_worker_killed_after_any_call_leaves_an_upload_that_is_published_once() -> None:
    with world() as on_aws:
        on_aws.pool()
        dead_upload(on_aws, 2)
        jobs, job = jobs_of(on_aws)
        with crash_after(None) as calls:
            jobs.work(job)
    for number in every_call(len(calls.names)):
        with world() as on_aws:
            on_aws.pool()
            dead_upload(on_aws, 2)
            jobs, job = jobs_of(on_aws)
            with suppress(Killed), crash_after(number):
                jobs.work(job)
            jobs.settle()
            ended = jobs.get(job)
            assert (ended.state, free(on_aws)) == (JobState.COMPLETED, 4), number
            assert ended.result["outcomes"] == {"accepted": 4, "not_stored": 2}
            assert len(on_aws.ledger(action="stock.upload")) == 1


def test_a_worker_without_its_lease_publishes_nothing(on_aws: AwsHarness) -> None:
    on_aws.pool()
    dead_upload(on_aws, 1)
    jobs, job = jobs_of(on_aws)
    other = jobs.new_worker("worker-2")
    met: list[int] = []

    def overtake(_: dict[str, Any]) -> None:
        if not met:
            met.append(1)
            jobs.clock.advance(3600)
            jobs.sweeper.sweep(lambda: 60_000)
            jobs.clock.advance(60)
            jobs.work(jobs.get(job), other)

    with before_transactions(overtake):
        jobs.work(job)
    assert (jobs.get(job).state, free(on_aws), len(on_aws.ledger(action="stock.upload"))) == (JobState.COMPLETED, 2, 1)


@pytest.mark.parametrize("meets", range(1, 5))
def test_a_request_that_wakes_up_between_any_two_slices_has_every_line_in_stock(on_aws: AwsHarness, meets: int) -> None:
    on_aws.pool()
    dead_upload(on_aws, 1)
    jobs, job = jobs_of(on_aws)
    seen: list[int] = []

    def wake(_: dict[str, Any]) -> None:
        seen.append(1)
        if len(seen) == meets:
            answer = on_aws.upload(*IDS, key="k")
            assert Counter(line.verdict for line in answer.lines) == {LineVerdict.ACCEPTED: 6}

    with before_transactions(wake):
        jobs.work(job)
    assert jobs.get(job).state is JobState.COMPLETED
    again = on_aws.upload(*IDS, key="k")
    assert (free(on_aws), {line.verdict for line in again.lines}) == (6, {LineVerdict.ACCEPTED})


@pytest.mark.parametrize("meets", range(1, 4))
@pytest.mark.parametrize("dies", range(4, 8))
def test_what_a_request_stores_that_wakes_up_and_dies_again_is_in_stock(
    on_aws: AwsHarness, meets: int, dies: int
) -> None:
    on_aws.pool()
    dead_upload(on_aws, 1)
    jobs, job = jobs_of(on_aws)
    seen: list[int] = []

    def wake(_: dict[str, Any]) -> None:
        seen.append(1)
        if len(seen) == meets:
            with suppress(Killed), crash_after(dies):
                on_aws.upload(*IDS, key="k")

    with before_transactions(wake):
        jobs.work(job)
    assert jobs.get(job).state is JobState.COMPLETED
    stored = rows(on_aws.env["ADBOTS_TABLE"], "SESSION#")
    assert free(on_aws) == len(stored)
    again = on_aws.upload(*IDS, key="k")
    assert (free(on_aws), {line.verdict for line in again.lines}) == (6, {LineVerdict.ACCEPTED})


def test_a_job_of_an_upload_that_its_request_published_changes_nothing(on_aws: AwsHarness) -> None:
    on_aws.pool()
    dead_upload(on_aws, 1)
    jobs, job = jobs_of(on_aws)
    on_aws.upload(*IDS, key="k")
    jobs.work(job)
    assert (free(on_aws), jobs.get(job).result["outcomes"]) == (6, {"accepted": 6})
    assert len(on_aws.ledger(action="stock.upload")) == 1


def test_progress_counts_lines_that_are_settled(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s0", "x")
    upload_id = dead_upload(on_aws, 3)  # the first of its transactions is refused, for s0
    staged = progress(on_aws, upload_id)
    document = {"done": 4, "of": 6, "outcomes": {"accepted": 3, "duplicates": 1}, "cut_off": None, "note": ""}
    assert staged == {"upload_id": upload_id, "pool": "standard", "published_at": None, "progress": document}

    on_aws.upload(*IDS, key="k")
    published = progress(on_aws, upload_id)
    assert published["published_at"].endswith("Z")
    assert published["progress"]["outcomes"] == {"accepted": 5, "duplicates": 1}
    assert listed(on_aws, "staged") == []
    newest, other = listed(on_aws, "published")
    assert (newest, other["progress"]["outcomes"]) == (published, {"accepted": 2})


def test_an_unknown_upload_is_not_found(on_aws: AwsHarness) -> None:
    answer = on_aws.http("stock", "GET /admin/stock/uploads/{id}", role="viewer", id="up_x")
    assert (answer.status, answer.problem) == (404, "not-found")
