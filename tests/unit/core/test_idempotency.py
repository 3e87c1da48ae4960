"""Idempotency keys: one rule at every door, and the record that keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.dynamodb import Transaction, TransactionRejected
from adbot_queue.core.errors import IdempotencyMismatch
from adbot_queue.core.idempotency import TAG, DuplicateOf, IdempotencyRecord, key_of
from tests.builders.world import Answer, AwsHarness

UNTIL = 1_000


def add(on_aws: AwsHarness, record: IdempotencyRecord, subject: str, now: int = 0, **options: Any) -> bool:
    """Write a record; False if it was refused."""
    transaction = Transaction(aws.dynamodb())
    record.add(transaction, on_aws.env["JOBS_TABLE"], subject, now, **options)
    try:
        transaction.commit()
    except TransactionRejected as refused:
        return TAG not in refused.failed
    return True


def find(on_aws: AwsHarness, record: IdempotencyRecord, now: int = 0) -> DuplicateOf | None:
    return record.find(aws.dynamodb(), on_aws.env["JOBS_TABLE"], now)


def test_a_key_names_the_first_request_until_its_window_ends(on_aws: AwsHarness) -> None:
    record, other = (IdempotencyRecord(key_of("ada", "k"), text, UNTIL) for text in ("f", "g"))
    assert find(on_aws, record) is None
    assert add(on_aws, record, "first")
    assert not add(on_aws, record, "second", UNTIL - 1)
    assert find(on_aws, record, UNTIL - 1) == DuplicateOf("first", same=True)
    assert find(on_aws, other, UNTIL - 1) == DuplicateOf("first", same=False)

    assert find(on_aws, record, UNTIL) is None
    assert add(on_aws, other, "second", UNTIL)


def test_another_request_under_the_key_is_refused() -> None:
    assert DuplicateOf("first", same=True).checked() == "first"
    with pytest.raises(IdempotencyMismatch):
        DuplicateOf("first", same=False).checked()


def test_a_request_resumes_under_its_key_and_another_one_does_not(on_aws: AwsHarness) -> None:
    record, other = (IdempotencyRecord(key_of("ada", "k"), text, UNTIL) for text in ("f", "g"))
    assert add(on_aws, record, "batch", resumes=True)
    assert add(on_aws, record, "batch", resumes=True)
    assert not add(on_aws, other, "batch", resumes=True)


def test_a_key_is_taken_from_the_named_subject_alone(on_aws: AwsHarness) -> None:
    record = IdempotencyRecord(key_of("ada", "k"), "f", UNTIL)
    assert add(on_aws, record, "first")
    assert not add(on_aws, record, "third", instead_of="second")
    assert add(on_aws, record, "second", instead_of="first")
    assert find(on_aws, record) == DuplicateOf("second", same=True)


CALL = {"type": "http-request", "payload": {"url": "https://example.com/"}}
SCHEDULE = {"name": "hourly", "expression": "rate(1 hour)", **CALL}
BOT = {"user_id": "u", "required_sessions": 1}
REPLAY = {"filter": {"queue": "email"}, "rate_per_second": 1, "reason": "back"}

DOORS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "POST /jobs": ("jobs", CALL, CALL | {"priority": 1}),
    "POST /jobs/batch": ("jobs", {"jobs": [CALL]}, {"jobs": [CALL, CALL]}),
    "POST /schedules": ("schedules", SCHEDULE, SCHEDULE | {"name": "other"}),
    "POST /dead-letters/replays": ("dead_letters", REPLAY, REPLAY | {"rate_per_second": 2}),
    "POST /admin/adbots": (
        "admin_create",
        {"user_id": "u", "required_sessions": 1},
        {"user_id": "u", "required_sessions": 2},
    ),
    "POST /admin/adbots/{id}/cancel": ("adbots", {"reason": "a"}, {"reason": "b"}),
    "POST /admin/stock/sessions": ("stock", {"session_id": "s", "token": "a"}, {"session_id": "s", "token": "b"}),
}
"""Route -> function, a request, another request."""


@pytest.mark.parametrize("route", DOORS)
def test_every_door_replays_with_200_and_refuses_another_request_with_409(on_aws: AwsHarness, route: str) -> None:
    function, body, other = DOORS[route]
    on_aws.pool()
    path = {"id": on_aws.create(1).id} if "{id}" in route else {}

    def call(request: dict[str, Any], key: str = "k") -> Answer:
        return on_aws.http(function, route, role="owner", body=request, headers={"idempotency-key": key}, **path)

    first, again, mismatch = call(body), call(body), call(other)
    assert first.status in {200, 201, 202}
    assert "idempotent-replayed" not in first.headers
    assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
    assert (mismatch.status, mismatch.problem) == (409, "idempotency-key-reused")
    assert "idempotent-replayed" not in call(other, "another").headers
