"""One message of a queue: sent once, or not at all and for a reason; only Twilio says what becomes of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from adbot_queue.leads import sending
from adbot_queue.leads.messages import MessageKey
from adbot_queue.leads.model import Lead
from adbot_queue.leads.sending import Report
from adbot_queue.messaging import opt_outs
from adbot_queue.testing.harness import Jobs
from local.stand_ins import whatsapp
from tests.builders.crash import Killed, crash_after
from tests.builders.outreach import DATE, HOUR_MS, Outreach, outreach, outreach_platform
from tests.builders.payments import DEFAULT_SECRETS, secret

NEVER: dict[str, Callable[[Outreach, Lead], object]] = {
    "taken": lambda out, lead: out.take(lead),
    "replied": lambda out, lead: out.write(lead.phone, "Who is this?"),
    "opted_out": lambda out, lead: out.write(lead.phone, "STOP"),
    "opted out by text message": lambda out, lead: opt_outs.stop(lead.phone, out.jobs.clock()),
    "stopped": lambda out, lead: out.stop(),
    "window_over": lambda out, lead: out.jobs.advance(9 * 3600),
    "lost": lambda out, lead: out.set_status(lead, "lost"),
}
"""What may happen between the dispatch of a message and its job."""

ENDS = {
    "taken": "cancelled",
    "replied": "cancelled",
    "opted_out": "cancelled",
    "opted out by text message": "cancelled",
    "stopped": "queued",
    "window_over": "carried_over",
    "lost": "cancelled",
}


@pytest.fixture(scope="module")
def platform() -> Iterator[Jobs]:
    with outreach_platform() as made:
        yield made


@pytest.fixture
def out(platform: Jobs) -> Iterator[Outreach]:
    with outreach(platform) as made:
        yield made


def dispatched(out: Outreach, minutes: int = 480) -> Lead:
    """A lead whose message has a job that has not run, with some minutes left of the window."""
    (lead,) = out.leads([1])
    out.queue([lead], window_to=out.jobs.clock() + minutes * 60_000)
    run = out.start()
    out.only(run.day.job_id)
    assert out.states() == {"handed": 1}
    return lead


def test_a_queue_is_sent_and_every_report_counts(out: Outreach) -> None:
    leads = out.leads(range(5))
    out.queue(leads)
    run = out.start()
    assert (run.repeated, run.day.state) == (False, "running")

    out.run()

    assert out.states() == {"delivered": 5}
    assert [out.sent_to(lead) for lead in leads] == [1] * 5
    day = out.day()
    assert {name: day.counts.get(name) for name in ("prepared", "sent", "delivered", "read")} == {
        "prepared": 5,
        "sent": 5,
        "delivered": 5,
        "read": None,
    }
    assert day.state == "done"
    first = out.lead(leads[0])
    assert (first.status, first.reach, first.touches, first.open_entry) == ("contacted", "ok", 1, None)
    assert first.wa_id == whatsapp.bsuid(first.phone)
    assert sorted(out.trail(leads[0])) == sorted(["created", "handed", "sending", "sent", "delivered"])
    (message,) = out.messages(leads[0])
    assert (message.state, message.content_sid) == ("delivered", whatsapp.FIRST)


@pytest.mark.parametrize("what", NEVER)
def test_nothing_is_sent_after_what_speaks_against_it(out: Outreach, what: str) -> None:
    lead = dispatched(out)
    NEVER[what](out, lead)
    out.jobs.drain()

    assert out.sent_to(lead) == 0
    assert out.entries()[0].state == ENDS[what]
    (job,) = [job for job in out.jobs.all() if job.type == "send-lead-message"]
    assert job.state == "cancelled"
    out.states()


@pytest.mark.parametrize("what", NEVER)
def test_a_message_at_twilio_is_sent_once_whatever_happens_then(out: Outreach, what: str) -> None:
    lead = dispatched(out)
    out.jobs.drain()
    NEVER[what](out, lead)
    out.run(1)

    assert out.sent_to(lead) == 1
    assert out.entries()[0].state == "delivered"
    out.states()


def test_wherever_an_attempt_dies_the_message_is_sent_at_most_once_and_its_end_is_known(out: Outreach) -> None:
    lead = dispatched(out)
    with crash_after(None) as calls:
        out.jobs.drain()
    assert out.sent_to(lead) == 1

    ends: dict[str, int] = {}
    for number in range(1, len(calls.names) + 1):
        with outreach(out.jobs) as again:
            lead = dispatched(again, minutes=30)
            with suppress(Killed), crash_after(number):
                again.jobs.drain()
            again.peers.reports.clear()  # nothing but the row is known
            again.jobs.settle()
            assert again.sent_to(lead) <= 1
            (entry,) = again.entries()
            ends[entry.state.value] = ends.get(entry.state.value, 0) + 1
            if again.sent_to(lead) == 0:
                assert entry.state in {"unsure", "carried_over"}, calls.names[number - 1]
            again.states()
    assert set(ends) <= {"sending", "unsure", "carried_over"}
    assert ends["unsure"] >= 1


def refused_connection() -> Any:
    raise NewConnectionError(None, "refused")  # type: ignore[arg-type]


def no_answer() -> Any:
    raise ReadTimeoutError(None, "", "timed out")  # type: ignore[arg-type]


def says(code: int, status: int = 400) -> Callable[[], tuple[int, Any]]:
    return lambda: (status, {"code": code, "message": "no", "status": status})


@pytest.mark.parametrize(
    ("answer", "state", "job", "touches"),
    [
        (refused_connection, "handed", "delayed", 0),
        (says(20429, 429), "handed", "delayed", 0),
        (says(20003, 401), "handed", "delayed", 0),
        (no_answer, "unsure", "failed", 1),
        (says(20500, 500), "unsure", "failed", 1),
        (lambda: (201, "<html>"), "unsure", "failed", 1),
        (says(63024), "failed", "failed", 1),
        (says(21610), "failed", "failed", 1),
        (says(63013), "failed", "failed", 1),
        (says(63018, 429), "handed", "delayed", 0),
    ],
    ids=["refused connection", "429", "401", "no answer", "500", "unreadable", "63024", "21610", "63013", "63018"],
)
def test_each_answer_of_twilio_ends_as_it_must(
    out: Outreach, answer: Callable[[], Any], state: str, job: str, touches: int
) -> None:
    lead = dispatched(out)
    out.peers.instead.append(answer)
    out.only("send-lead-message")

    (entry,) = out.entries()
    (sent,) = [one for one in out.jobs.all() if one.type == "send-lead-message"]
    assert (entry.state, sent.state, out.lead(lead).touches) == (state, job, touches)
    out.states()


def test_what_twilio_did_not_take_can_still_be_taken_over(out: Outreach) -> None:
    lead = dispatched(out)
    out.peers.instead.append(refused_connection)
    out.only("send-lead-message")

    assert out.take(lead).message == "cancelled"
    out.run(30)
    assert out.sent_to(lead) == 0
    assert out.messages(lead) == []


def test_what_twilio_did_not_take_is_sent_later(out: Outreach) -> None:
    lead = dispatched(out)
    out.peers.instead += [refused_connection, says(20429, 429)]
    out.run(30)

    assert out.sent_to(lead) == 1
    assert out.states() == {"delivered": 1}
    assert out.lead(lead).touches == 1


@pytest.mark.parametrize("late", [True, False])
def test_a_lost_answer_is_never_sent_again_and_a_late_report_settles_it(out: Outreach, late: bool) -> None:
    lead = dispatched(out)
    out.lose_answer()
    out.only("send-lead-message")
    assert out.states() == {"unsure": 1}
    assert out.sent_to(lead) == 1

    if not late:
        out.peers.reports.clear()
    out.run(20)
    out.jobs.settle()

    assert out.sent_to(lead) == 1
    assert out.states() == {"delivered" if late else "unsure": 1}
    assert out.lead(lead).eligible_place is None


def test_an_opt_out_that_twilio_knows_ends_every_channel(out: Outreach) -> None:
    lead = dispatched(out)
    out.peers.instead.append(says(21610))
    out.jobs.drain()

    assert out.lead(lead).status == "opted_out"
    assert opt_outs.is_stopped(lead.phone)


def test_a_phone_without_whatsapp_is_not_picked_again(out: Outreach) -> None:
    (lead,) = out.leads([1], phone="+4915100063024")
    out.queue([lead])
    out.start()
    out.run()

    found = out.lead(lead)
    assert (found.reach, found.refusal()) == ("none", "no_whatsapp")
    assert out.entries()[0].code == 63024
    assert out.messages(lead)[0].code == 63024


@pytest.mark.parametrize(
    ("code", "reason"), [(63049, "marketing_limit"), (63032, "marketing_limit"), (63013, "template"), (63016, "window")]
)
def test_a_message_that_whatsapp_does_not_deliver_ends_with_its_reason(out: Outreach, code: int, reason: str) -> None:
    (lead,) = out.leads([1], phone=f"+49151000{code}")
    out.queue([lead])
    out.start()
    out.run()

    (entry,) = out.entries()
    assert (entry.state, entry.code, entry.reason) == ("failed", code, reason)
    assert out.states() == {"failed": 1}


@pytest.mark.parametrize(
    ("suffix", "state"),
    [(whatsapp.LOST, "sending"), (whatsapp.TWICE, "delivered"), (whatsapp.REVERSED, "delivered")],
)
def test_reports_that_are_lost_doubled_or_reversed_count_once(out: Outreach, suffix: int, state: str) -> None:
    (lead,) = out.leads([1], phone=f"+49151000{suffix}")
    out.queue([lead])
    out.start()
    out.run()

    assert out.states() == {state: 1}
    expected = {} if state == "sending" else {"sent": 1, "delivered": 1}
    assert {name: n for name in ("sent", "delivered", "read") if (n := out.day().counts.get(name))} == expected
    assert out.lead(lead).status == ("new" if state == "sending" else "contacted")


def test_a_message_without_a_report_is_asked_for_after_four_hours(out: Outreach) -> None:
    (lead,) = out.leads([1], phone=f"+49151000{whatsapp.LOST}")
    out.queue([lead])
    out.start()
    out.run(2)
    out.jobs.advance(3.9 * 3600)
    out.jobs.drain()
    assert out.states() == {"sending": 1}

    out.jobs.settle()
    assert out.states() == {"delivered": 1}
    assert out.jobs.clock() - out.entries()[0].changed_at < 5 * HOUR_MS
    assert out.lead(lead).status == "contacted"


STATES = ("accepted", "queued", "sent", "delivered", "read", "undelivered")


@pytest.mark.parametrize("order", list(itertools.permutations(("sent", "delivered", "read"))))
def test_in_whatever_order_reports_come_the_furthest_stays(out: Outreach, order: tuple[str, ...]) -> None:
    lead = dispatched(out)
    out.only("send-lead-message")
    out.peers.reports.clear()
    (entry,) = out.entries()
    message = MessageKey(lead.id, entry.changed_at, entry.job_id or "")
    for state in order:
        for _ in range(2):
            sending.from_env().report(Report(message, entry.key, state, entry.sid or ""))

    assert out.states() == {"read": 1}
    counts = out.day().counts
    assert {name: counts.get(name) for name in ("sent", "delivered", "read")} == {"sent": 1, "delivered": 1, "read": 1}


def test_a_report_that_overtakes_the_answer_stays(out: Outreach) -> None:
    lead = dispatched(out)
    out.report_at_once()
    out.only("send-lead-message")

    assert out.states() == {"delivered": 1}
    assert out.entries()[0].sid
    assert out.sent_to(lead) == 1


def test_without_credentials_nothing_is_lost(out: Outreach) -> None:
    lead = dispatched(out)
    with secret("twilio", json.dumps(DEFAULT_SECRETS["twilio"] | {"auth_token": "", "whatsapp_from": ""})):
        out.only("send-lead-message")
        assert out.states() == {"handed": 1}
    out.run(30)
    assert out.sent_to(lead) == 1


def test_the_day_is_named_by_the_owner(out: Outreach) -> None:
    assert out.store.day("sam", DATE) is None
