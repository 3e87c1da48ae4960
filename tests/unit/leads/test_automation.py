"""The run of a day: started once, in batches over its window, stopped at once, carried over, never left hanging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.jobs.lifecycle import Lifecycle
from adbot_queue.leads import automation, templates
from adbot_queue.leads.settings import Spread
from adbot_queue.testing.harness import Jobs
from local.stand_ins import whatsapp
from tests.builders.crash import Killed, crash_after
from tests.builders.outreach import DATE, HOUR_MS, SAM, Outreach, outreach, outreach_platform
from tests.builders.payments import rows


@pytest.fixture(scope="module")
def platform() -> Iterator[Jobs]:
    with outreach_platform() as made:
        yield made


@pytest.fixture
def out(platform: Jobs) -> Iterator[Outreach]:
    with outreach(platform) as made:
        yield made


def test_start_and_stop_answer_in_words_and_numbers(out: Outreach) -> None:
    out.queue(out.leads(range(3)))
    first = out.api("POST /leads/queue/start", body={})
    assert (first.status, first.json["state"], first.json["date"], first.json["repeated"]) == (
        202,
        "running",
        DATE,
        False,
    )
    assert first.json["counts"]["queued"] == 3
    again = out.api("POST /leads/queue/start", body={})
    assert (again.status, again.json["job_id"], again.json["repeated"]) == (200, first.json["job_id"], True)

    stopped = out.api("POST /leads/queue/stop", body={})
    assert (stopped.status, stopped.json["state"], stopped.json["reason"]) == (200, "stopping", "stopped")
    assert out.api("POST /leads/queue/stop", body={}).json["repeated"] is True
    signed = [entry["action"] for entry in rows(out.world.env["LEDGER_TABLE"])]
    assert signed.count("lead-queue.start") == signed.count("lead-queue.stop") == 1


@pytest.mark.parametrize(
    ("body", "role", "user", "status", "says"),
    [
        ({}, "sales", "sam", 404, "no queue is prepared for 2026-09-21"),
        ({"owner_id": "tom"}, "sales", "sam", 422, "must be your own id"),
        ({}, "sales", "zoe", 404, "user zoe has no settings for leads"),
        ({"date": "2026-13-01"}, "sales", "sam", 422, "does not exist"),
        ({}, "viewer", "sam", 403, "needs one of the roles"),
    ],
)
def test_a_start_that_cannot_be_says_why(
    out: Outreach, body: dict[str, str], role: str, user: str, status: int, says: str
) -> None:
    answer = out.api("POST /leads/queue/start", role=role, user=user, body=body)
    assert answer.status == status
    assert says in answer.text


@pytest.mark.parametrize(
    ("status", "says"),
    [("paused", "is paused, not approved"), ("rejected", "is rejected, not approved: No."), ("pending", "is pending")],
)
def test_without_an_approved_template_nothing_starts(out: Outreach, status: str, says: str) -> None:
    out.queue(out.leads([1]))
    out.twilio.whatsapp.put_template(whatsapp.FIRST, {"status": status, "rejection_reason": "No."})
    out.jobs.advance(3600)

    with pytest.raises(Conflict, match=says):
        out.start()
    assert out.day().state == "prepared"


def test_a_template_with_a_variable_that_the_settings_do_not_fill_does_not_start(out: Outreach) -> None:
    out.queue(out.leads([1]))
    out.twilio.whatsapp.put_template(whatsapp.FIRST, {"body": "Hello {{1}}, {{2}} and {{3}} for {{city}}"})
    out.jobs.advance(3600)

    with pytest.raises(Conflict, match=r"needs variable 3, city; set steps\.first\.variables"):
        out.start()


def test_approvals_are_read_again_at_a_start_unless_they_are_fresh(out: Outreach) -> None:
    out.queue(out.leads([1]))
    out.start()
    assert out.peers.requests == []
    out.stop()
    out.jobs.advance(3600)
    out.start()
    assert len(out.peers.requests) == 1


def test_nothing_is_sent_outside_the_window(out: Outreach) -> None:
    now = out.jobs.clock()
    leads = out.leads(range(3))
    out.queue(leads, window_from=now + HOUR_MS, window_to=now + 2 * HOUR_MS)
    out.start()
    out.run(59)
    assert out.states() == {"queued": 3}
    out.run(5)
    assert out.states() == {"delivered": 3}


def test_a_pause_holds_while_running(out: Outreach) -> None:
    out.queue(out.leads([1]))
    out.user(pause_until=out.jobs.clock() + HOUR_MS)
    out.start()
    out.run(59)
    assert out.peers.texts == []
    out.run(5)
    assert len(out.peers.texts) == 1


def test_what_the_window_leaves_is_carried_over_and_may_be_queued_again(out: Outreach) -> None:
    leads = out.leads(range(30))
    out.user(batch=5)
    out.queue(leads, window_to=out.jobs.clock() + 60_000)
    out.start()
    out.twilio.later = lambda _report: None  # no report: the first batch is all
    out.run(10)

    assert out.states() == {"sending": 5, "carried_over": 25}
    assert out.day().state == "done"
    found = [out.lead(lead) for lead in leads]
    assert sum(lead.open_entry is None and lead.eligible_place is not None for lead in found) == 25
    with pytest.raises(Conflict, match="the window of 2026-09-21 ended at"):
        out.start()


def test_after_a_stop_nothing_goes_out_and_a_start_sends_the_rest(out: Outreach) -> None:
    leads = out.leads(range(12))
    out.user(batch=4)
    out.queue(leads)
    run = out.start()
    out.only(run.day.job_id)  # four are handed over, none is sent
    out.stop()
    out.run(2)
    assert (out.peers.texts, out.states(), out.day().state) == ([], {"queued": 12}, "stopped")

    again = out.start()
    assert again.day.job_id != run.day.job_id
    out.run(5)
    assert out.states() == {"delivered": 12}
    assert [out.sent_to(lead) for lead in leads] == [1] * 12


def test_what_a_stop_leaves_is_carried_over_when_the_window_closes(out: Outreach) -> None:
    lead = out.leads([1])[0]
    out.queue([lead])
    out.start()
    out.stop()
    out.jobs.settle()

    assert out.states() == {"carried_over": 1}
    assert (out.day().state, out.lead(lead).open_entry) == ("done", None)


@pytest.mark.parametrize("how", ["never started", "run died", "stopped and run died"])
def test_the_hourly_tick_carries_over_what_no_run_looks_after(out: Outreach, how: str) -> None:
    leads = out.leads(range(3))
    out.queue(leads, window_to=out.jobs.clock() + HOUR_MS)
    if how != "never started":
        run = out.start()
        Lifecycle(out.jobs.service).cancel(run.day.job_id or "", SAM, "")
    if how == "stopped and run died":
        out.stop()
    assert automation.from_env().close_left() == 0
    out.jobs.advance(3600)
    assert [automation.from_env().close_left() for _ in range(2)] == [1, 0]
    out.jobs.settle()

    assert out.states() == {"carried_over": 3}
    assert out.day().state == "done"
    assert all(out.lead(lead).eligible_place for lead in leads)
    assert out.peers.texts == []


def test_a_batch_bounds_what_has_no_report(out: Outreach) -> None:
    out.user(batch=3)
    out.queue(out.leads(range(10)))
    out.start()
    for _ in range(20):
        out.jobs.drain()
        counts = out.day().counts
        assert counts.get("handed", 0) + counts.get("sending", 0) <= 3
        out.peers.report()
        out.jobs.advance(5)
    assert out.states() == {"delivered": 10}


def test_an_even_day_is_spread_over_its_window(out: Outreach) -> None:
    out.user(spread=Spread.EVEN)
    out.queue(out.leads(range(8)), window_to=out.jobs.clock() + 4 * HOUR_MS)
    out.start()
    out.run(120, step_s=120)
    assert 2 <= len(out.peers.texts) <= 6
    out.run(125, step_s=120)
    assert len(out.peers.texts) == 8


def test_a_template_that_whatsapp_pauses_stops_the_run_and_says_so(out: Outreach) -> None:
    out.user(batch=2)
    out.queue(out.leads(range(10)))
    out.start()
    out.only(out.day().job_id)
    out.twilio.whatsapp.put_template(whatsapp.FIRST, {"status": "paused"})
    out.run(5)

    day = out.day()
    assert (day.state, day.reason) == ("stopped", "template_paused")
    assert out.states() == {"failed": 2, "queued": 8}
    known = templates.from_env().get(whatsapp.FIRST)
    assert known
    assert (known.template.status, known.failures, known.last_code) == ("paused", 2, 63041)
    with pytest.raises(Conflict, match="paused"):
        out.start()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_used_up_messaging_limit_stops_the_run(out: Outreach, at_once: bool) -> None:
    limited, *rest = out.leads([1], phone="+4915100063018"), *out.leads(range(2, 6))
    out.user(batch=1)
    out.queue([*limited, *rest] if not at_once else rest)
    out.start()
    if at_once:
        out.peers.instead.append(lambda: (429, {"code": 63018, "message": "limit", "status": 429}))
    out.run(10)

    day = out.day()
    assert (day.state, day.reason) == ("stopped", "messaging_limit")
    assert out.peers.texts == [] if at_once else len(out.peers.texts) == 1
    assert out.states() == ({"queued": 4} if at_once else {"failed": 1, "queued": 4})


def test_a_run_that_an_operator_cancelled_can_be_started_again(out: Outreach) -> None:
    out.queue(out.leads(range(3)))
    run = out.start()
    job = out.jobs.get(run.day.job_id or "")
    Lifecycle(out.jobs.service).cancel(job.id, SAM, "")
    again = out.start()
    assert not again.repeated
    out.run()
    assert out.states() == {"delivered": 3}


def test_wherever_a_start_dies_a_second_one_is_the_same_run(out: Outreach) -> None:
    out.queue(out.leads(range(3)))
    with crash_after(None) as calls:
        out.start()
    for number in range(1, len(calls.names) + 1):
        with outreach(out.jobs) as again:
            again.queue(again.leads(range(3)))
            with suppress(Killed), crash_after(number):
                again.start()
            again.start()
            again.run(2)
            assert again.states() == {"delivered": 3}
            assert len([job for job in again.jobs.all() if job.type == "run-lead-queue"]) == 1


def test_wherever_a_run_dies_each_lead_gets_one_message(out: Outreach) -> None:
    leads = out.leads(range(4))
    out.queue(leads)
    out.start()
    with crash_after(None) as calls:
        out.only("run-lead-queue")
    for number in range(1, len(calls.names) + 1):
        with outreach(out.jobs) as again:
            leads = again.leads(range(4))
            again.queue(leads, window_to=again.jobs.clock() + HOUR_MS)
            again.start()
            with suppress(Killed), crash_after(number):
                again.only("run-lead-queue")
            for _ in range(6):  # the sweeper finds what the dead worker held
                again.run(1)
                again.jobs.sweeper.sweep(lambda: 900_000)
            assert [again.sent_to(lead) for lead in leads] == [1] * 4
            again.states()


def test_a_user_without_a_queue_is_named(out: Outreach) -> None:
    with pytest.raises(NotFound, match="no queue is prepared"):
        automation.from_env().stop("sam", DATE, SAM)
