"""A provider repeats its reports under new ids: what says the same is one report, and pushes no other out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.messaging.model import MAX_HISTORY, Delivery, DeliveryEvent, DeliveryReport, DeliveryStatus
from local.stand_ins import sendgrid_events
from tests.builders.payments import SENDGRID_KEY, configure, empty, rows
from tests.builders.world import AwsHarness, world

COPIES = 2 * MAX_HISTORY
FIRST = DeliveryEvent("e-0", DeliveryStatus.DEFERRED, 1000, "4.2.2")


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture(autouse=True)
def _empty(on: AwsHarness) -> None:
    empty()


def known() -> Delivery:
    return Delivery.of(DeliveryReport("email", "job-1", "job-1", "m-1", FIRST))


def copies(report: DeliveryEvent, number: int = COPIES) -> list[DeliveryEvent]:
    return [DeliveryEvent(f"copy-{copy}", report.status, report.at, report.reason) for copy in range(number)]


@pytest.mark.parametrize("status", list(DeliveryStatus))
@pytest.mark.parametrize("reason", ["", "4.2.2", "5.1.1 Invalid Address"])
def test_copies_of_a_report_push_no_other_out(status: DeliveryStatus, reason: str) -> None:
    report = DeliveryEvent("e-1", status, 2000, reason)

    after = known().updated(copies(report))

    assert [(one.status, one.at, one.reason) for one in after.history] == [
        (DeliveryStatus.DEFERRED, 1000, "4.2.2"),
        (status, 2000, reason),
    ]


@pytest.mark.parametrize(
    "other",
    [
        DeliveryEvent("e-0", DeliveryStatus.DELIVERED, 1000, "4.2.2"),
        DeliveryEvent("e-0", DeliveryStatus.DEFERRED, 1001, "4.2.2"),
        DeliveryEvent("e-0", DeliveryStatus.DEFERRED, 1000, "4.4.1"),
    ],
)
def test_reports_that_say_something_else_are_different_whatever_their_id(other: DeliveryEvent) -> None:
    assert set(known().updated([other]).history) == {FIRST, other}


@given(
    said=st.lists(
        st.tuples(st.sampled_from(DeliveryStatus), st.integers(1, 9), st.sampled_from(["", "5.1.1"])),
        unique=True,
        max_size=30,
    ),
    data=st.data(),
)
def test_in_whatever_order_and_under_whatever_ids_repetitions_change_nothing(said: Any, data: st.DataObject) -> None:
    reports = [DeliveryEvent(f"e-{number}", *what) for number, what in enumerate(said, 1)]
    repeated = [DeliveryEvent(f"again-{number}", *what) for number, what in enumerate(said, 1)]
    shuffled = data.draw(st.permutations([*reports, *repeated]))

    assert known().updated(shuffled) == known().updated(reports)
    assert known().updated(reports).updated(repeated) == known().updated(reports)


def test_sendgrids_copies_are_one_report_and_are_not_written_again(on: AwsHarness) -> None:
    event = {"email": "cara@example.com", "job": "job-1", "key": "job-1", "sg_message_id": "m-1"}

    def post(status: str, at: int, number: int) -> None:
        reported = [event | {"event": status, "timestamp": at, "sg_event_id": f"{status}-{number}"}]
        raw = json.dumps(reported).encode()
        headers = sendgrid_events.signed(raw, SENDGRID_KEY, int(time.time()))
        answer = on.http("delivery", "POST /webhooks/sendgrid", body=raw.decode(), headers=headers)
        assert answer.status == 200

    post("deferred", 1_795_000_000, 0)
    post("delivered", 1_795_000_060, 0)
    before = rows(on.env["SYSTEM_TABLE"], "DELIVERY#")
    for number in range(1, COPIES):
        post("delivered", 1_795_000_060, number)

    (shown,) = on.http("delivery", "GET /deliveries/{job_id}", role="viewer", job_id="job-1").json["items"]
    assert [report["status"] for report in shown["history"]] == ["deferred", "delivered"]
    assert rows(on.env["SYSTEM_TABLE"], "DELIVERY#") == before
