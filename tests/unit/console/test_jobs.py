"""Queues and jobs: lists, filters, the drawer, reasons in words, and what people do about a job."""

from __future__ import annotations

import html
from itertools import pairwise
from typing import Any

import pytest

from adbot_queue.console import job_words
from adbot_queue.console.job_words import why
from adbot_queue.jobs import service
from adbot_queue.jobs.api.schemas import JobView
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.pages import JobFilter
from adbot_queue.messaging import sent_messages
from adbot_queue.messaging import service as messaging
from adbot_queue.messaging.model import DeliveryEvent, DeliveryReport, DeliveryStatus
from tests.builders.console_jobs import MINUTE, PERMANENT, SNOOZED, TRANSIENT, ConsoleJobs
from tests.builders.console_world import ConsoleWorld, counted_calls

NOW = 1_764_000_000_000
QUIET: dict[str, Any] = {
    "mode": {"name": "async_queue"},
    "circuits": [],
    "queues": [{"name": "email", "paused": False, "paused_by": None, "paused_why": "", "oldest_at": None}],
}
PAUSED = QUIET | {"queues": [QUIET["queues"][0] | {"paused": True, "paused_by": "ada", "paused_why": "import"}]}
BROKEN = QUIET | {
    "circuits": [{"provider": "sendgrid", "state": "open", "opened_at": NOW, "open_until": NOW + 30_000, "reason": ""}]
}
DIRECT = QUIET | {"mode": {"name": "sync_direct"}}
NEW = Job("job1", "send-email", "email", {}, NOW - MINUTE)
RUNS = NEW.waiting(NOW).changed(state=JobState.ACTIVE, started_at=NOW - 3_000, attempt=2)


@pytest.mark.parametrize(
    ("job", "figures", "word", "text"),
    [
        (NEW.waiting(NOW), QUIET, "Waiting", "as soon as one is free"),
        (NEW.waiting(NOW), PAUSED, "Queue paused", "Paused by ada: import."),
        (NEW.waiting(NOW), BROKEN, "Circuit open", "Waiting spends no attempt"),
        (NEW.waiting(NOW), DIRECT, "Direct mode", "sweeper"),
        (NEW.delayed(NOW + 5 * MINUTE, NOW), PAUSED, "Scheduled", "Runs in 5 min"),
        (NEW.blocked(frozenset({"a", "b"}), NOW), BROKEN, "Blocked", "2 other jobs"),
        (NEW.blocked(frozenset({"a"}), NOW), QUIET, "Blocked", "1 other job to end"),
        (NEW.delayed(NOW + 5_000, NOW).changed(failure=TRANSIENT, attempt=1), QUIET, "Retries", "Attempt 1 of 3"),
        (NEW.delayed(NOW + 5_000, NOW).changed(failure=SNOOZED), QUIET, "Snoozed", "no attempt was spent"),
        (RUNS, QUIET, "Running", "Attempt 2 of 3 for 3.0 s"),
        (RUNS.changed(cancel_requested=True), QUIET, "Stopping", "Cancellation was requested"),
        (NEW.changed(state=JobState.COMPLETED, started_at=NOW, finished_at=NOW + 900), QUIET, "Completed", "900 ms"),
        (NEW.changed(state=JobState.FAILED, failure=PERMANENT), QUIET, "Failed", "your card was declined"),
        (NEW.changed(state=JobState.DEAD, failure=TRANSIENT), QUIET, "Dead", "503"),
        (NEW.changed(state=JobState.DEAD, decision="discarded"), QUIET, "Discarded", "a person decided"),
        (NEW.cancelled("no longer wanted", NOW), QUIET, "Cancelled", "no longer wanted"),
    ],
)
def test_every_state_and_every_obstacle_has_its_words(job: Job, figures: dict[str, Any], word: str, text: str) -> None:
    found = why(job, figures, NOW)
    assert found.word == word
    assert text in found.text


def test_the_waterfall_is_one_axis_without_gaps_and_names_every_span() -> None:
    laid = ConsoleJobs()
    made = laid._tried([TRANSIENT, SNOOZED, TRANSIENT], JobState.DEAD)[-1]
    spans = job_words.waterfall(made, laid.now)

    names = [span.text for span in spans]
    assert names == ["Waiting", "Attempt 1", "Backoff", "Put back", "Snoozed", "Attempt 2"]
    assert spans[0].x == 0
    assert spans[-1].x + spans[-1].width == pytest.approx(100, abs=0.1)
    assert all(b.start == a.start + a.length for a, b in pairwise(spans))


def test_a_span_that_dwarfs_the_rest_is_drawn_broken_and_says_so() -> None:
    made = ConsoleJobs().new(ago=90 * MINUTE)
    tried = job_words.Attempt(1, made.created_at + 300, made.created_at + 2_000, "w", TRANSIENT)
    spans = job_words.waterfall(made.changed(attempts=(tried,)).delayed(NOW, NOW), made.created_at + 90 * MINUTE)

    assert [span.is_broken for span in spans] == [False, False, True]
    assert spans[-1].width == pytest.approx(40, abs=0.1)


@pytest.fixture(scope="module")
def laid(console: ConsoleWorld) -> ConsoleJobs:
    """One job in every state, and some more that waited."""
    made = ConsoleJobs()
    made.active()
    made.completed()
    made.scheduled()
    made.cancelled()
    made.retrying()
    return made


@pytest.fixture(scope="module")
def dead(laid: ConsoleJobs) -> Job:
    return laid.dead()


@pytest.mark.parametrize("state", [state.value for state in JobState])
def test_each_state_has_a_tab_that_lists_its_jobs(console: ConsoleWorld, dead: Job, state: str) -> None:
    page = console.get(f"/console/queues/email?state={state}")
    assert page.status == 200
    assert f'href="/console/queues/email?state={state}" aria-current="page"' in page.text
    if state == "dead":
        assert f'id="job-{dead.id}"' in page.text


def test_filters_combine_and_each_is_taken_away_by_itself(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    wanted = laid.waiting(queue="webhooks", job_type="http-request", tags=("gold",), tenant="user-9")
    others = [
        laid.waiting(queue="webhooks", job_type="http-request", tags=("gold",)),
        laid.waiting(queue="webhooks", job_type="http-request", tenant="user-9"),
        laid.waiting(queue="webhooks", tags=("gold",), tenant="user-9"),
    ]
    page = console.get("/console/queues/webhooks?type=http-request&tag=gold&user_id=user-9")
    assert f'id="job-{wanted.id}"' in page.text
    assert not [job.id for job in others if f'id="job-{job.id}"' in page.text]
    assert 'href="/console/queues/webhooks?type=http-request&amp;user_id=user-9" aria-current="true"' in page.text


def test_an_empty_list_says_why(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    assert "No waiting jobs" in console.get("/console/queues/plugin").words
    assert "No waiting job matches" in console.get("/console/queues/plugin?tag=none").words


def test_a_bad_filter_names_the_field(console: ConsoleWorld) -> None:
    assert "state: must be" in console.get("/console/queues/email?state=lost").words
    assert "limit: must be" in console.get("/console/queues/email?limit=1000").words


def test_a_result_that_repeats_what_it_was_given_shows_no_secret(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    sent = {"url": "https://a.example", "headers": {"Authorization": "Bearer s3cret"}, "secret_path": "/hook/s3cret"}
    job = laid.completed(result={"status": 204, "request": sent, "tries": [sent]}, queue="webhooks")
    for path in (f"/console/jobs/{job.id}", f"/console/queues/webhooks?state=completed&job={job.id}"):
        page = console.get(path)
        assert "&#34;status&#34;: 204" in page.text
        assert "s3cret" not in page.text
    shown = JobView.of(job).model_dump_json()
    assert '"status":204' in shown
    assert "s3cret" not in shown


def test_the_drawer_and_the_page_show_the_whole_job(console: ConsoleWorld, dead: Job) -> None:
    drawer = console.get(f"/console/queues/email?state=dead&job={dead.id}", hx_request="true", x_part="drawer")
    whole = console.get(f"/console/jobs/{dead.id}")
    for shown in (drawer, whole):
        assert shown.status == 200
        assert "sendgrid answered 503" in shown.words
        assert "3 of 3 spent" in shown.words
        assert '"template": "receipt"' in shown.words
    assert drawer.text.lstrip().startswith(f'<div class="job" id="drawer-{dead.id}">')
    assert "<html" in whole.text


def test_the_page_shows_how_far_mails_and_texts_are(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    mail, text = laid.completed(), laid.completed(queue="messages", job_type="send-sms")
    bounced = DeliveryEvent("e-1", DeliveryStatus.BOUNCED, laid.now, "550")
    messaging.from_env().record([DeliveryReport("email", mail.id, mail.id, "m-77", bounced)])
    sent_messages.from_env().reported("SM77", "undelivered", text.id, text.id, 30003)

    assert "m-77 email Bounced 550" in console.get(f"/console/jobs/{mail.id}").words
    assert "SM77 phone Undelivered error 30003" in console.get(f"/console/jobs/{text.id}").words


def test_a_refresh_renews_the_drawer_that_the_browser_shows(console: ConsoleWorld, dead: Job) -> None:
    here = f"https://console.example.com/console/queues/email?state=dead&job={dead.id}"
    assert (
        f'hx-target="#drawer-{dead.id}"' in console.tick("/console/queues/email?state=dead", hx_current_url=here).text
    )
    assert "drawer-" not in console.tick("/console/queues/email?state=dead").text


def test_a_job_that_does_not_exist_is_a_page_that_says_so(console: ConsoleWorld) -> None:
    assert console.get("/console/jobs/none").status == 404


def test_retry_needs_a_reason_moves_the_job_and_signs_for_the_person(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    job = laid.dead()
    path = f"/console/jobs/{job.id}/retry"
    assert "reason: must have 1 to 500 characters" in console.post(path, {"in": "retry-job"}, role="admin").words

    answer = console.post(path, {"reason": "sendgrid is back"}, role="admin")
    assert "runs again" in answer.words
    assert service.from_env().job(job.id).state is JobState.WAITING
    (entry,) = console.world.ledger(target=f"job:{job.id}")
    assert (entry["actor"], entry["action"], entry["reason"]) == ("sub-admin", "job.retry", "sendgrid is back")
    assert "job.retry by sub-admin" in console.get(f"/console/jobs/{job.id}").words


def test_a_retry_that_is_sent_twice_acts_once_and_answers_the_same(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    job = laid.dead()
    key = console.get(f"/console/jobs/{job.id}").key("retry-job")
    first, again = (
        console.post(f"/console/jobs/{job.id}/retry", {"key": key, "reason": "again"}).words for _ in range(2)
    )
    assert first == again
    assert service.from_env().job(job.id).cycle == 1


def test_cancel_ends_what_waits_and_offers_the_way_back(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    job = laid.waiting()
    answer = console.post(f"/console/jobs/{job.id}/cancel", {"reason": "sent twice"})
    assert "Cancelled send-email" in answer.words
    assert "Undo" in answer.words
    assert service.from_env().job(job.id).state is JobState.CANCELLED
    late = console.post(f"/console/jobs/{laid.completed().id}/cancel", {"reason": "x"})
    assert (late.status, "is completed" in late.words) == (409, True)


def test_viewers_find_no_action_in_any_part(console: ConsoleWorld, dead: Job) -> None:
    pages = (f"/console/jobs/{dead.id}", f"/console/queues/email?state=dead&job={dead.id}", "/console/queues/email")
    for path in pages:
        forms = console.get(path, role="viewer").text.split("<form")
        posts = [form for form in forms if 'method="post"' in form.partition(">")[0]]
        assert all("/console/sign-out" in form or "/console/theme" in form for form in posts), path


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/console/queues", 0),
        ("/console/queues/email", 3),
        ("/console/queues/email?state=dead", 3),
        ("/console/queues/email?type=send-email", 4),
        ("/console/queues/email?job={dead}", 6),
        ("/console/jobs/{dead}", 3),
    ],
)
def test_a_page_makes_few_calls_after_session_and_snapshot(
    console: ConsoleWorld, dead: Job, path: str, most: int
) -> None:
    address = path.format(dead=dead.id)
    console.get(address)  # the snapshot is fresh now
    with counted_calls() as calls:
        console.get(address)
    assert len(calls) <= 2 + most, calls


def test_cleaning_counts_first_and_deletes_exactly_that(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    for _ in range(3):
        laid.completed(queue="analytics", job_type="track-event")
    address = "/console/queues/analytics?state=completed&open=clean&older=0"
    page = console.get(address)
    assert "Delete 3 completed jobs of analytics" in page.words
    assert "Delete" not in console.get(address, role="admin").words

    sent = {name: page.field("clean", name) for name in ("key", "state", "confirm_count", "cut_off")}
    sent |= {"reason": "old", "in": "clean"}
    path = "/console/queues/analytics/clean"
    assert "confirm: must be delete" in console.post(path, sent).words
    laid.cancelled(queue="analytics")
    service.from_env().store.delete(next(iter(service.from_env().page("analytics", JobState.COMPLETED, 5, None)[0])))

    changed = console.post(path, sent | {"confirm": "delete"})
    assert (changed.status, "2 jobs match now, not 3: nothing was deleted" in changed.words) == (409, True)
    rearmed = sent | {name: changed.hidden(name) for name in ("key", "confirm_count")}
    assert "Deleted 2 completed jobs" in console.post(path, rearmed | {"confirm": "delete"}).words
    assert service.from_env().page("analytics", JobState.COMPLETED, 5, None)[0] == []
    (entry,) = console.world.ledger(target="queue:analytics")
    assert (entry["actor"], entry["reason"]) == ("sub-owner", "old")


def test_a_failure_that_spends_no_attempt_has_no_number() -> None:
    assert not job_words.counts(job_words.Attempt(1, 0, 1, "w", SNOOZED))
    assert job_words.counts(job_words.Attempt(1, 0, 1, "w", Failure("timeout", "T", "m")))


def test_a_job_is_enqueued_by_hand_once_for_each_form(console: ConsoleWorld) -> None:
    page = console.get("/console/jobs/new?type=http-request")
    example = html.unescape(page.text.partition("<textarea")[2].partition(">")[2].partition("</textarea>")[0])
    form = {"key": page.field("enqueue", "key"), "type": "http-request", "payload": example, "tags": "gold new"}
    answers = [console.post("/console/jobs", form) for _ in range(2)]
    assert answers[0].headers["hx-redirect"] == answers[1].headers["hx-redirect"], answers[0].words
    shown = console.get(answers[0].headers["hx-redirect"])
    assert "202 Accepted: http-request is waiting in http." in shown.words
    (job,) = service.from_env().page("http", JobState.WAITING, 5, None, JobFilter(tag="gold"))[0]
    assert (job.tenant, job.tags) == ("sub-owner", ("gold", "new"))
    (entry,) = console.world.ledger(target=f"job:{job.id}")
    assert (entry["actor"], entry["action"]) == ("sub-owner", "job.enqueue")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"payload": "{"}, "payload: must be JSON"),
        ({"payload": '{"nonsense": 1}'}, "payload.nonsense: unknown field"),
        ({"type": "none"}, "type: does not exist"),
        ({"tags": "x" * 65}, "tags"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused_at_its_form(
    console: ConsoleWorld, change: dict[str, str], problem: str
) -> None:
    form = {"type": "http-request", "payload": "{}", "tags": "", "in": "enqueue"} | change
    answer = console.post("/console/jobs", form)
    assert (answer.status, problem in answer.words) == (422, True), answer.words
    assert answer.text.startswith('<div id="enqueue-problem"')


def test_a_type_without_credentials_is_refused_at_the_form_and_says_what_is_missing(console: ConsoleWorld) -> None:
    page = console.get("/console/jobs/new?type=analytics-track")
    for status in ("40x", "42x", "50x"):
        assert f'hx-status:{status}="swap:outerMorph target:#enqueue-problem"' in page.text
    form = {"type": "analytics-track", "payload": '{"event": "Sold", "user_id": "cara"}', "tags": "", "in": "enqueue"}
    answer = console.post("/console/jobs", form)
    assert answer.status == 503
    assert answer.text.startswith('<div id="enqueue-problem"')
    assert "segment" in answer.words.lower()


def test_long_running_work_is_listed_with_its_progress(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    begun = {"done": 3, "of": 9, "outcomes": {"replayed": 2, "skipped": 1, "refused": 0}}
    payload = {"filter": {"queue": "email"}, "reason": "back"}
    job = laid.active(
        job_type="replay-dead-letters", queue="maintenance", payload=payload, long_running=True, checkpoint=begun
    )
    page = console.get("/console/replays")
    assert "replay-dead-letters queue email Running 3 of 9 2 replayed, 1 skipped" in page.words
    drawer = console.get(f"/console/replays?job={job.id}", hx_request="true", x_part="drawer")
    assert "3 of 9" in drawer.words
    assert "6 to go" in drawer.words
