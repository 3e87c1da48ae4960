"""A delivery is the same in any order and with any repetition of its reports."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.messaging.model import MAX_HISTORY, Delivery, DeliveryEvent, DeliveryReport, DeliveryStatus

FIRST = DeliveryReport("email", "job-1", "job-1", "m-1", DeliveryEvent("e-0", DeliveryStatus.ACCEPTED, 1000))


def after(*reports: DeliveryEvent) -> Delivery:
    """Apply reports one after the other."""
    return reduce(lambda known, report: known.updated([report]), reports, Delivery.of(FIRST))


stories = st.lists(
    st.builds(
        DeliveryEvent,
        st.uuids().map(str),
        st.sampled_from(DeliveryStatus),
        st.integers(0, 50),
        st.sampled_from(["", "5.1.1"]),
    ),
    min_size=1,
    max_size=2 * MAX_HISTORY,
    unique_by=lambda report: report.event_id,
)


@given(data=st.data(), story=stories)
def test_order_and_repetition_and_batches_change_nothing(data: st.DataObject, story: list[DeliveryEvent]) -> None:
    again = data.draw(st.lists(st.sampled_from(story), max_size=10))
    shuffled = data.draw(st.permutations([*story, *again]))
    cut = data.draw(st.integers(0, len(shuffled)))

    one_by_one = after(*story)
    in_two_batches = Delivery.of(FIRST).updated(shuffled[:cut]).updated(shuffled[cut:])

    assert one_by_one == in_two_batches
    assert in_two_batches.updated(again) == in_two_batches


@given(story=stories)
def test_a_status_never_goes_back(story: list[DeliveryEvent]) -> None:
    known, ranks = Delivery.of(FIRST), list(DeliveryStatus)
    for report in story:
        further = known.updated([report])
        assert ranks.index(further.furthest.status) >= ranks.index(known.furthest.status)
        known = further
    assert known.furthest.status is max([FIRST.report, *story], key=lambda report: ranks.index(report.status)).status


@given(story=stories)
def test_the_history_is_the_latest_in_the_order_in_which_it_happened(story: list[DeliveryEvent]) -> None:
    history = after(*story).history

    assert len(history) == min(MAX_HISTORY, len({*story, FIRST.report}))
    assert [report.at for report in history] == sorted(report.at for report in history)
    left_out = {*story, FIRST.report} - {*history}
    assert all(report.at <= history[0].at for report in left_out)


@pytest.mark.parametrize(
    ("course", "status"),
    [
        (["processed", "delivered"], "delivered"),
        (["delivered", "processed"], "delivered"),
        (["processed", "deferred", "deferred", "delivered"], "delivered"),
        (["delivered", "deferred"], "delivered"),
        (["processed", "deferred", "bounced"], "bounced"),
        (["delivered", "bounced"], "bounced"),  # from a server behind the one that took it
        (["bounced", "delivered"], "bounced"),
        (["reported", "delivered", "processed"], "reported"),
        (["unsubscribed", "reported"], "reported"),
        (["dropped", "processed"], "dropped"),
    ],
)
def test_the_furthest_report_is_the_status(course: list[str], status: str) -> None:
    reports = [
        DeliveryEvent(f"e-{number}", DeliveryStatus(name), 2000 + number) for number, name in enumerate(course, 1)
    ]

    assert after(*reports).furthest.status == status
