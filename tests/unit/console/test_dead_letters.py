"""Dead letters: groups, letters, edit and retry, replay and discard of many."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from adbot_queue.console import letter_words
from adbot_queue.console.letter_words import what_now
from adbot_queue.console.views.jobs import diff
from adbot_queue.dead_letters import service as dead_letters
from adbot_queue.dead_letters.service import Group
from adbot_queue.jobs import service
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.ledger import Actor
from tests.builders.console_jobs import MINUTE, PERMANENT, TRANSIENT, ConsoleJobs
from tests.builders.console_world import ConsoleWorld, Shown, counted_calls

NOW = 1_764_000_000_000
QUIET: dict[str, Any] = {
    "mode": {"name": "async_queue"},
    "circuits": [],
    "queues": [
        {"name": name, "paused": False, "paused_by": None, "paused_why": "", "oldest_at": None}
        for name in ("email", "money")
    ],
}
PAUSED = QUIET | {"queues": [one | {"paused": True, "paused_why": "import"} for one in QUIET["queues"]]}
BROKEN = QUIET | {
    "circuits": [{"provider": "sendgrid", "state": "open", "opened_at": NOW, "open_until": NOW + 9_000, "reason": ""}]
}
TIMEOUT = Failure("timeout", "ReadTimeout", "stripe: no answer within 20 s")


def group(failure: Failure | None = TRANSIENT, queue: str = "email") -> Group:
    return Group("f1", queue, "send-email", 3, NOW, NOW, "job1", failure)


def replay(**chosen: Any) -> Job:
    return Job("rep_1", "replay-dead-letters", "maintenance", {"filter": chosen}, NOW)


@pytest.mark.parametrize(
    ("one", "figures", "replays", "word"),
    [
        (group(), QUIET, [], "Ready to replay"),
        (group(), BROKEN, [], "Cause is open"),
        (group(), PAUSED, [], "Queue paused"),
        (group(PERMANENT), QUIET, [], "Edit or discard"),
        (group(TIMEOUT, "money"), QUIET, [], "Look at the provider first"),
        (group(TIMEOUT), QUIET, [], "Ready to replay"),
        (group(None), QUIET, [], "Changed just now"),
        (group(), BROKEN, [replay(fingerprint="f1")], "Replaying"),
        (group(), QUIET, [replay()], "Replaying"),
        (group(), QUIET, [replay(queue="email")], "Replaying"),
        (group(), QUIET, [replay(queue="money"), replay(fingerprint="f2")], "Ready to replay"),
        (group(), QUIET, [replay(job_ids=["job1"])], "Ready to replay"),
    ],
)
def test_each_group_says_what_to_do_now(one: Group, figures: dict[str, Any], replays: list[Job], word: str) -> None:
    assert what_now(one, figures, replays, NOW).word == word


def test_the_bars_of_a_day_are_on_a_scale_that_keeps_single_letters_low() -> None:
    assert letter_words.bars((0,) * 23 + (1,)) == [(94.0, 13.5)]
    assert letter_words.bars((8, 0, 4, 0)) == [(12.0, 0.0), (60.0, 9.0)]


def test_a_diff_shows_what_changes_and_its_surroundings() -> None:
    before = json.dumps({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}, indent=2)
    lines = diff(before, before.replace('"b": 2', '"b": 9'))
    assert [line for kind, line in lines if kind != "same"] == ['-  "b": 2,', '+  "b": 9,']
    assert '   "g": 7' not in [line for _, line in lines]
    assert diff(before, before) == []


@pytest.fixture(scope="module")
def laid(console: ConsoleWorld) -> ConsoleJobs:
    return ConsoleJobs()


@pytest.fixture(scope="module")
def letters(laid: ConsoleJobs) -> list[Job]:
    return [laid.dead(ago=MINUTE * (number + 2)) for number in range(4)]


def sent(page: Shown, dialog: str, *names: str, **changes: str) -> dict[str, str]:
    return {name: page.field(dialog, name) for name in ("key", "cut_off", "count", *names)} | {"in": dialog} | changes


def test_groups_show_count_error_and_money_first(console: ConsoleWorld, laid: ConsoleJobs, letters: list[Job]) -> None:
    refused = laid.failed(queue="money", job_type="payment-process")
    page = console.get("/console/dead-letters")
    assert page.status == 200
    assert "5 dead letters in 2 groups" in page.words
    assert page.text.index(f"group-{refused.fingerprint}") < page.text.index(f"group-{letters[0].fingerprint}")
    assert "Edit or discard" in page.words


def test_a_group_lists_its_letters_and_no_others(console: ConsoleWorld, laid: ConsoleJobs, letters: list[Job]) -> None:
    other = laid.dead([TIMEOUT] * 3)
    page = console.get(f"/console/dead-letters?group={letters[0].fingerprint}")
    assert "<h1>sendgrid answered 503</h1>" in page.text
    assert all(f'id="letter-{letter.id}"' in page.text for letter in letters)
    assert f'id="letter-{other.id}"' not in page.text


@pytest.mark.parametrize(
    ("query", "problem"),
    [("queue=lost", "queue: does not exist"), ("from=yesterday", "from: "), ("cursor=x", "cursor: is not")],
)
def test_a_bad_filter_names_the_field(console: ConsoleWorld, query: str, problem: str) -> None:
    page = console.get(f"/console/dead-letters?view=letters&{query}")
    assert (page.status, problem in page.words) == (422, True)


@pytest.mark.parametrize("path", ["/console/dead-letters", "/console/dead-letters?view=letters"])
def test_a_list_of_dead_letters_makes_four_calls(console: ConsoleWorld, letters: list[Job], path: str) -> None:
    assert letters
    console.get(path)  # the snapshot is fresh now
    with counted_calls() as calls:
        console.get(path)
    assert len(calls) <= 2 + 4, calls


def test_viewers_find_no_action_and_no_selection(console: ConsoleWorld, letters: list[Job]) -> None:
    for query in ("", "?view=letters", f"?group={letters[0].fingerprint}&open=replay", "?open=discard"):
        page = console.get(f"/console/dead-letters{query}", role="viewer").text
        assert "data-select" not in page
        assert "Replay" not in page.partition("<main")[2].partition("</main>")[0].replace("All replays", "")
        assert "/console/dead-letters/" not in page


def test_a_replay_goes_through_what_the_dialog_counted(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    chosen = [laid.dead(queue="webhooks", job_type="http-request", ago=MINUTE * 9) for _ in range(3)]
    group_id = chosen[0].fingerprint
    page = console.get(f"/console/dead-letters?group={group_id}&open=replay")
    assert "Replay 3 dead letters" in page.words
    form = sent(page, "replay", "group", rate="20", reason="receiver is back")
    answer = console.post("/console/dead-letters/replay", form, role="owner")
    location = answer.headers["hx-redirect"]
    job = service.from_env().job(location.partition("?")[0].rpartition("/")[2])
    assert job.payload["count"] == 3
    assert job.payload["rate_per_second"] == 20
    assert job.payload["filter"]["fingerprint"] == group_id
    assert job.payload["started_by"]["id"] == "sub-owner"
    assert console.post("/console/dead-letters/replay", form).headers["hx-redirect"] == location

    running = console.get("/console/dead-letters")
    assert "by sub-owner" in running.words
    assert "Replaying" in running.words
    assert "0 of 3" in console.get(location).words


def test_a_replay_of_selected_letters_names_them(console: ConsoleWorld, letters: list[Job]) -> None:
    ids = [letter.id for letter in letters[:2]]
    query = "&".join(f"id={one}" for one in ids)
    page = console.get(f"/console/dead-letters?view=letters&{query}&open=replay")
    assert "Replay 2 dead letters" in page.words
    form = sent(page, "replay", rate="5", reason="try these")
    assert form["count"] == "2"
    answer = console.post("/console/dead-letters/replay", form | {"id": ids[0], "count": "1"})
    job = service.from_env().job(answer.headers["hx-redirect"].partition("?")[0].rpartition("/")[2])
    assert job.payload["filter"]["job_ids"] == [ids[0]]
    assert job.payload["count"] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rate": "7"}, "rate: must be one of"),
        ({"reason": " "}, "reason: must have 1 to 500 characters"),
        ({"cut_off": "now"}, "cut_off: must be a whole number"),
        ({"count": "all"}, "count: must be a whole number"),
        ({"queue": "lost"}, "queue: does not exist"),
    ],
)
def test_a_bad_replay_is_refused_in_its_dialog(
    console: ConsoleWorld, letters: list[Job], change: dict[str, str], problem: str
) -> None:
    page = console.get(f"/console/dead-letters?group={letters[0].fingerprint}&open=replay")
    answer = console.post("/console/dead-letters/replay", sent(page, "replay", rate="5", reason="x") | change)
    assert (answer.status, problem in answer.words) == (422, True)
    assert answer.text.startswith('<div id="replay-problem"')


def test_a_replay_whose_count_changed_is_refused_and_armed_again(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    chosen = [laid.dead(queue="messages", job_type="send-sms", ago=MINUTE * 7) for _ in range(3)]
    page = console.get("/console/dead-letters?queue=messages&open=replay")
    assert re.search(r'name="canary" value="yes"[^>]* checked', page.text)
    form = sent(page, "replay", "queue", rate="5", reason="the provider is back", canary="yes")
    for gone, text in ((chosen[0], "2 match now, not 3"), (chosen[1], "1 match now, not 2")):
        dead_letters.from_env().discard(gone.id, Actor("sub-other", "admin"), "meanwhile")
        refused = console.post("/console/dead-letters/replay", form)
        assert (refused.status, text in refused.words, "Send again to replay" in refused.words) == (409, True, True)
        assert not replays_of("messages")
        form |= {"count": refused.hidden("count"), "key": refused.hidden("key")}
    started = console.post("/console/dead-letters/replay", form)
    assert started.headers["hx-redirect"].startswith("/console/jobs/rep_")
    (job,) = replays_of("messages")
    assert (job.payload["count"], job.payload["canary"]) == (1, True)
    assert console.post("/console/dead-letters/replay", form).headers["hx-redirect"] == started.headers["hx-redirect"]
    assert len(replays_of("messages")) == 1

    dead_letters.from_env().discard(chosen[2].id, Actor("sub-other", "admin"), "meanwhile")
    nothing = console.post("/console/dead-letters/replay", form | {"key": "another-form-1"})
    assert (nothing.status, "Send again" in nothing.words) == (409, False)
    dialog = console.get("/console/dead-letters?queue=messages&open=replay").text.partition('<dialog id="replay"')[2]
    assert "No dead letter matches" in dialog
    assert "<form" not in dialog.partition("</dialog>")[0]


def test_a_replay_that_waits_for_its_canary_names_it(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    letter = laid.dead(queue="plugin", job_type="execute-plugin", ago=MINUTE * 7)
    page = console.get("/console/dead-letters?queue=plugin&open=replay")
    assert 'name="canary"' not in page.text  # one is its own canary
    console.post("/console/dead-letters/replay", sent(page, "replay", "queue", rate="5", reason="back", canary="yes"))
    (job,) = replays_of("plugin")
    assert "its canary," not in console.get("/console/dead-letters?queue=plugin").words
    kept = Progress(["somewhere", NOW, letter.id], 1, 3, {"replayed": 1}).stored()
    assert service.from_env().store.change(job, job.changed(checkpoint=kept))
    assert "It goes on when its canary," in console.get("/console/dead-letters?queue=plugin").words
    assert f"/console/jobs/{letter.id}" in console.get("/console/dead-letters?queue=plugin").text


def replays_of(queue: str) -> list[Job]:
    """The replays of a queue's dead letters."""
    found, _ = service.from_env().long_running(50, None)
    return [job for job in found if job.payload.get("filter", {}).get("queue") == queue]


def test_discards_are_counted_confirmed_and_signed_one_by_one(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    chosen = [laid.failed(queue="codes", job_type="send-sms", ago=MINUTE * 9) for _ in range(3)]
    address = "/console/dead-letters?queue=codes&open=discard"
    page = console.get(address)
    assert "Discard 3 dead letters" in page.words
    assert "autofocus>Cancel" in page.text
    form = sent(page, "discard", "queue", "count", reason="bad import")
    path = "/console/dead-letters/discard"
    assert "confirm: must be discard" in console.post(path, form).words

    console.post(f"/console/jobs/{chosen[0].id}/retry", {"reason": "this one is fine"})
    changed = console.post(path, form | {"confirm": "discard"})
    assert (changed.status, "2 match now, not 3: nothing was discarded" in changed.words) == (409, True)
    assert service.from_env().job(chosen[1].id).decision is None

    rearmed = form | {"confirm": "discard"} | {name: changed.hidden(name) for name in ("key", "count")}
    assert "Discarded 2 dead letters" in console.post(path, rearmed).words
    for letter in chosen[1:]:
        assert service.from_env().job(letter.id).decision == "discarded"
        entries = console.world.ledger(target=f"job:{letter.id}")
        assert [(one["action"], one["actor"], one["reason"]) for one in entries] == [
            ("dead-letter.discard", "sub-owner", "bad import")
        ]
    assert service.from_env().job(chosen[0].id).state is JobState.WAITING


def test_more_than_a_hundred_discards_need_the_owner(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    for _ in range(101):
        laid.lay(laid._tried([PERMANENT], JobState.FAILED, queue="accounts")[-1])
    address = "/console/dead-letters?queue=accounts&open=discard"
    refused = console.get(address, role="admin")
    assert "101 dead letters need the owner" in refused.words
    page = console.get(address)
    form = sent(page, "discard", "queue", "count", reason="all of them", confirm="discard")
    answer = console.post("/console/dead-letters/discard", form, role="admin")
    assert (answer.status, "needs the role owner" in answer.words) == (403, True)
    assert "Discarded 101 dead letters" in console.post("/console/dead-letters/discard", form).words


def test_an_edited_payload_shows_its_diff_and_runs(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    payload = {"to": "ana@example.com", "subject": "Hello", "text": "Hi"}
    job = laid.dead(payload=payload)
    path = f"/console/jobs/{job.id}/edit"
    assert "&#34;to&#34;: &#34;ana@example.com&#34;" in console.get(path).text
    edited = json.dumps(payload | {"subject": "Hello Ana"}, indent=2)

    shown = console.post(path, {"payload": edited}, script=False)
    assert shown.status == 200, shown.words
    assert "<ins>+  &#34;subject&#34;: &#34;Hello Ana&#34;,</ins>" in shown.text
    form = {"key": shown.field("retry-edited", "key"), "payload": edited, "reason": "wrong subject"}
    answer = console.post(f"/console/jobs/{job.id}/retry", form)
    assert answer.headers["hx-redirect"].startswith(f"/console/jobs/{job.id}?answer=")
    again = service.from_env().job(job.id)
    assert (again.state, again.payload["subject"], again.cycle) == (JobState.WAITING, "Hello Ana", 1)
    assert "runs again with the edited payload" in console.get(answer.headers["hx-redirect"]).words


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "payload: must be JSON"),
        ("[]", "payload: must be a JSON object"),
        ('{"to": "ana@example.com", "nonsense": 1}', "payload.nonsense: unknown field"),
        ('{"to": 1}', "payload.to"),
    ],
)
def test_an_invalid_payload_is_marked_and_the_text_stays(
    console: ConsoleWorld, letters: list[Job], text: str, problem: str
) -> None:
    shown = console.post(f"/console/jobs/{letters[3].id}/edit", {"payload": text}, script=False)
    assert (shown.status, problem in shown.words) == (422, True), shown.words
    assert 'aria-invalid="true"' in shown.text
    assert text in shown.words
    assert service.from_env().job(letters[3].id).cycle == 0


def test_only_an_ended_job_is_edited(console: ConsoleWorld, laid: ConsoleJobs) -> None:
    address = f"/console/jobs/{laid.waiting().id}/edit"
    page = console.get(address)
    assert (page.status, "is waiting" in page.words) == (409, True)
    assert "email, waiting" in console.tick(address).words  # it was retried while the form was open
