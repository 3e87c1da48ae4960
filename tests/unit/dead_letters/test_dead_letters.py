"""Dead letters: found, decided about one by one, and reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adbot_queue.core import aws
from adbot_queue.core.errors import Conflict, Forbidden, Invalid, NotFound
from adbot_queue.dead_letters import alerts
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.jobs.model import Job, JobState
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.dead_letters import DeadLetterHarness
from tests.builders.effects import Provider, charging
from tests.builders.jobs import Jobs, known_types
from tests.builders.payments import snapshot
from tests.builders.world import ADMIN

DAY_S = 86_400


@pytest.fixture
def office(jobs: Jobs) -> DeadLetterHarness:
    return DeadLetterHarness(jobs)


def test_dead_and_failed_jobs_are_one_list_newest_first(office: DeadLetterHarness) -> None:
    first = office.dead_job(name="a")
    office.jobs.advance(1)
    second = office.failed_job("charge", "b")
    office.jobs.advance(1)
    third = office.dead_job("note", name="c", goes=2)

    assert [office.jobs.get(job).state for job in (first, second)] == [JobState.DEAD, JobState.FAILED]
    assert office.listed() == [third.id, second.id, first.id]


def test_the_list_is_filtered_by_queue_type_state_fingerprint_and_time(office: DeadLetterHarness) -> None:
    mail = office.dead_job("mail")
    office.jobs.advance(60)
    note = office.dead_job("note", goes=2)
    office.jobs.advance(60)
    refused = office.failed_job("charge")

    assert office.listed(queue="email") == [mail.id]
    assert office.listed(type="charge") == [refused.id]
    assert office.listed(state="failed") == [refused.id]
    assert office.listed(state="dead") == [note.id, mail.id]
    assert office.listed(fingerprint=note.fingerprint) == [note.id]
    assert office.listed(since=mail.finished_at + 1, until=refused.finished_at - 1) == [note.id]
    assert office.listed(since=5, until=4) == []
    assert office.listed(queue="nowhere") == []


def test_named_letters_are_found_by_their_ids_in_pages_and_in_order(office: DeadLetterHarness) -> None:
    letters = office.lay(5)
    alive = office.jobs.enqueue("mail", {"name": "alive"})
    chosen = DeadLetterFilter(job_ids=(letters[3].id, letters[0].id, alive.id, "none", letters[4].id))

    first, cursor = office.store.entries(chosen, 2, None)
    rest, end = office.store.entries(chosen, 2, cursor)
    forward, _ = office.store.entries(chosen, 5, None, forward=True)

    assert {entry.job_id for entry in (*first, *rest)} == {letters[one].id for one in (0, 3, 4)}
    assert [entry.job_id for entry in (*first, *rest)] == [entry.job_id for entry in forward][::-1]
    assert end is None
    other = DeadLetterFilter(queue="money", job_ids=(letters[0].id,))
    assert office.store.entries(other, 5, None) == ([], None)


def test_a_group_counts_its_last_day_by_hour(office: DeadLetterHarness) -> None:
    now = office.jobs.clock()
    for hours, number in ((0, 2), (5, 1), (23, 1), (24, 3)):
        office.lay(number, at=now - hours * 3_600_000)

    (group,), _ = office.letters.groups(DeadLetterFilter())

    assert (group.count, sum(group.hours), len(group.hours)) == (7, 4, 24)
    assert (group.hours[-1], group.hours[-6], group.hours[0]) == (2, 1, 1)


def test_many_discards_are_exactly_those_that_were_counted(office: DeadLetterHarness) -> None:
    letters = office.lay(60)
    dry = office.letters.count_discards(DeadLetterFilter(queue="email"))
    office.jobs.advance(5)
    later = office.lay(1)

    done = office.letters.discard_many(
        DeadLetterFilter(queue="email"), dry.count, dry.cut_off, ADMIN, "old", lambda: 60_000
    )

    assert (dry.count, done.discarded, done.more) == (60, 60, False)
    assert {office.jobs.get(letter).decision for letter in letters} == {"discarded"}
    assert office.listed() == [later[0].id]
    assert len(office.jobs.world.ledger(action="dead-letter.discard")) == 60


@pytest.mark.parametrize("left", [[60_000, 1_000], [1_000]])
def test_many_discards_stop_in_time_and_say_that_more_are_left(office: DeadLetterHarness, left: list[int]) -> None:
    office.lay(60)
    dry = office.letters.count_discards(DeadLetterFilter())
    times = iter(left)

    done = office.letters.discard_many(DeadLetterFilter(), dry.count, dry.cut_off, ADMIN, "", lambda: next(times))

    assert (done.discarded, done.more) == (50 if left[0] > 1_000 else 0, True)


def test_many_discards_are_refused_when_another_number_matches_or_too_many_do(office: DeadLetterHarness) -> None:
    def refuse(number: int) -> None:
        raise Forbidden(f"{number} are too many")

    letters = office.lay(2)
    dry = office.letters.count_discards(DeadLetterFilter())
    with pytest.raises(Conflict, match="2 dead letters match, not 3"):
        office.letters.discard_many(DeadLetterFilter(), 3, dry.cut_off, ADMIN, "", lambda: 60_000)
    with pytest.raises(Forbidden, match="2 are too many"):
        office.letters.discard_many(DeadLetterFilter(), 2, dry.cut_off, ADMIN, "", lambda: 60_000, refuse)

    assert {office.jobs.get(letter).decision for letter in letters} == {None}


def test_many_discards_spare_a_letter_that_was_replayed_at_that_moment(
    office: DeadLetterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = office.lay(3)
    dry = office.letters.count_discards(DeadLetterFilter())
    rows = office.store.rows

    def read_and_replayed(entries: list[Any]) -> Any:
        found = rows(entries)
        monkeypatch.undo()
        office.letters.replay(letters[1].id, ADMIN)
        return found

    monkeypatch.setattr(office.letters.store, "rows", read_and_replayed)
    done = office.letters.discard_many(DeadLetterFilter(), dry.count, dry.cut_off, ADMIN, "", lambda: 60_000)

    assert done.discarded == 2
    assert [office.jobs.get(letter).decision for letter in letters] == ["discarded", None, "discarded"]


def test_pages_follow_each_other_without_gap_or_repetition_also_under_a_filter(office: DeadLetterHarness) -> None:
    ids = []
    for _ in range(7):
        ids += [job.id for job in office.lay(1, queue="money", kind="permanent")]
        office.lay(1)

    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = office.letters.page(DeadLetterFilter(queue="money"), 3, cursor)
        seen += [job.id for job in page]
        if cursor is None:
            break

    assert seen == ids[::-1]


def test_a_cursor_that_was_never_given_is_refused(office: DeadLetterHarness) -> None:
    with pytest.raises(Invalid):
        office.letters.page(DeadLetterFilter(), 10, "nonsense")


def test_the_lists_of_a_queue_keep_dead_and_failed_apart(office: DeadLetterHarness) -> None:
    dead, failed = office.dead_job(), office.failed_job(name="b")
    office.dead_job("note", goes=2)

    listed = {
        state: office.jobs.service.page("email", state, 10, None)[0] for state in (JobState.DEAD, JobState.FAILED)
    }

    assert {state: [job.id for job in found] for state, found in listed.items()} == {
        JobState.DEAD: [dead.id],
        JobState.FAILED: [failed.id],
    }


def test_jobs_that_died_of_the_same_are_one_group_with_the_right_count(office: DeadLetterHarness) -> None:
    refused = [office.failed_job("charge", name) for name in "abc"]
    dead = [office.dead_job(name=name) for name in "xy"]

    groups, complete = office.letters.groups(DeadLetterFilter())

    assert complete
    assert [(group.queue, group.type, group.count) for group in groups] == [
        ("money", "charge", 3),
        ("email", "mail", 2),
    ]
    assert {job.fingerprint for job in refused} == {groups[0].fingerprint}
    assert groups[1].fingerprint == dead[0].fingerprint == dead[1].fingerprint
    assert [group.failure.message if group.failure else None for group in groups] == ["card declined", "HTTP 503"]
    assert (groups[1].latest, groups[1].first_at) == (dead[1].id, dead[0].finished_at)


# Replaying one


def test_a_dead_job_is_replayed_and_signed_for(office: DeadLetterHarness, provider: Provider) -> None:
    dead = office.dead_job()

    replayed = office.letters.replay(dead.id, ADMIN, "provider is back")
    assert replayed.state is JobState.WAITING
    assert office.listed() == []
    office.jobs.settle()

    assert office.jobs.get(dead).state is JobState.COMPLETED
    assert provider.effects == {"a": 1}
    (entry,) = office.jobs.world.ledger(target=f"job:{dead.id}")
    assert (entry["action"], entry["actor"], entry["reason"]) == ("dead-letter.replay", "ada", "provider is back")


def test_a_failed_job_is_replayed_with_another_payload_that_keeps_its_types_rules(
    office: DeadLetterHarness, provider: Provider
) -> None:
    failed = office.failed_job()
    with pytest.raises(Invalid) as refused:
        office.letters.replay(failed.id, ADMIN, payload={"name": 5})
    assert refused.value.errors[0].field == "payload.name"

    office.letters.replay(failed.id, ADMIN, payload={"name": "other"})
    office.jobs.settle()

    assert provider.effects == {"other": 1}
    assert office.listed() == []


def test_a_failed_job_whose_key_another_one_has_taken_is_not_replayed(
    office: DeadLetterHarness, provider: Provider
) -> None:
    with known_types(charging("ticket", is_once=True)):
        payload = {"name": "seat 4", "goes": ["permanent"]}
        first = office.jobs.run("ticket", payload, tenant="cara")
        second = office.jobs.run("ticket", payload, tenant="cara")
        office.jobs.advance(1)

        with pytest.raises(Conflict, match=second.id):
            office.letters.replay(first.id, ADMIN)
        ended = office.finish(office.start(type="ticket"))

    assert ended.checkpoint["outcomes"] == {"replayed": 1, "refused": 1}
    assert [office.jobs.get(job).cycle for job in (first, second)] == [0, 1]


def test_only_dead_letters_are_replayed_or_discarded(office: DeadLetterHarness) -> None:
    done = office.jobs.run("charge")
    dead = office.dead_job()
    office.letters.replay(dead.id, ADMIN)

    for job_id in (done.id, dead.id):
        with pytest.raises(Conflict):
            office.letters.replay(job_id, ADMIN)
        with pytest.raises(Conflict):
            office.letters.discard(job_id, ADMIN)
        with pytest.raises(NotFound):
            office.letters.show(job_id)
    with pytest.raises(NotFound):
        office.letters.replay("nobody", ADMIN)


def test_a_retry_takes_a_failed_job_off_the_list_and_a_second_failure_puts_it_back(office: DeadLetterHarness) -> None:
    failed = office.failed_job()

    office.jobs.lifecycle.retry(failed.id, ADMIN)
    assert office.listed() == []
    office.jobs.settle()

    assert office.jobs.get(failed).state is JobState.FAILED
    assert office.listed() == [failed.id]


# Discarding


@pytest.mark.parametrize("make", [DeadLetterHarness.dead_job, DeadLetterHarness.failed_job])
def test_a_discarded_job_leaves_the_list_and_is_kept_for_ninety_days(
    office: DeadLetterHarness, make: Callable[[DeadLetterHarness], Job]
) -> None:
    dead = make(office)

    office.letters.discard(dead.id, ADMIN, "customer is gone")
    office.letters.discard(dead.id, ADMIN, "again")

    kept = office.jobs.get(dead)
    assert (kept.state, kept.decision) == (dead.state, "discarded")
    assert kept.expires_at == office.jobs.clock() // 1000 + 90 * DAY_S
    assert office.listed() == []
    assert office.letters.show(dead.id) == kept
    assert [entry["action"] for entry in office.jobs.world.ledger(target=f"job:{dead.id}")] == ["dead-letter.discard"]
    with pytest.raises(Conflict):
        office.letters.replay(dead.id, ADMIN)


def test_a_discarded_job_stays_at_least_as_long_as_its_key_means_it(office: DeadLetterHarness) -> None:
    with known_types(charging("ticket", is_once=True, window_s=365 * DAY_S)):
        dead = office.dead_job("ticket", goes=20)
        office.letters.discard(dead.id, ADMIN)

    kept = office.jobs.get(dead)
    assert kept.expires_at == (kept.idempotency_expires_at or 0) // 1000 > office.jobs.clock() // 1000 + 300 * DAY_S


def test_a_dead_letter_that_waits_for_a_decision_never_expires(office: DeadLetterHarness) -> None:
    office.failed_job()
    office.dead_job()

    found = aws.dynamodb().scan(TableName=office.store.table)["Items"]

    assert not [item for item in found if item["sk"]["S"] == "J" and "expires_at" in item]


# Alerts


def test_money_is_reported_first_and_by_itself_without_personal_data(office: DeadLetterHarness) -> None:
    mail = office.dead_job("mail", name="secret of cara")
    office.failed_job("charge", "secret of carl")
    office.failed_job("mail", "secret of cora")

    assert office.alerts.report() == 3

    (money, _), (others, text) = office.mails()
    assert money == "[MONEY] AdBot Queue: 1 dead letter in money"
    assert others == "AdBot Queue: 2 dead letters in email"
    assert f"- email: mail {mail.id}, TransientError, fingerprint {mail.fingerprint}" in text
    assert "secret" not in text


def test_a_storm_is_one_mail_that_says_how_many(office: DeadLetterHarness) -> None:
    office.lay(40)

    office.alerts.report()

    ((subject, text),) = office.mails()
    assert "40 dead letters" in subject
    assert "and 20 more" in text


def test_a_dead_letter_is_reported_once_however_often_the_sweeper_looks(office: DeadLetterHarness) -> None:
    reported = []
    for _ in range(3):
        office.lay(2)
        reported += [office.alerts.report(), office.alerts.report()]
        office.jobs.advance(700)

    assert reported == [2, 0, 2, 0, 2, 0]
    assert len(office.mails()) == 3


def test_a_job_that_dies_again_after_a_replay_is_reported_again(office: DeadLetterHarness) -> None:
    (job,) = office.lay(1, goes=20)
    office.alerts.report()

    office.letters.replay(job.id, ADMIN)
    office.die(job)

    assert office.alerts.report() == 1


@pytest.mark.parametrize("late_s", [0, 1, 30, 800])
def test_a_row_that_appears_in_the_index_after_a_younger_one_is_reported(
    office: DeadLetterHarness, late_s: int
) -> None:
    office.jobs.advance(3600)
    office.lay(3)
    office.alerts.report()

    (late,) = office.lay(1, at=office.jobs.clock() - 1000 - late_s * 1000)

    assert office.alerts.report() == 1
    assert late.id in office.mails()[-1][1]


def test_after_an_outage_of_the_sweeper_everything_is_reported(office: DeadLetterHarness) -> None:
    office.lay(1)
    office.alerts.report()
    for _ in range(4):
        office.lay(1, queue="money")
        office.jobs.advance(3600)

    assert office.alerts.report() == 4


def test_a_storm_that_the_row_cannot_remember_is_reported_and_ends(
    office: DeadLetterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MAX_REPORTED", 4), ("PAGE_SIZE", 3), ("MAX_PAGES", 3)):
        monkeypatch.setattr(alerts, name, value)
    for _ in range(20):
        office.lay(1)

    reported = [office.alerts.report() for _ in range(6)]

    assert (sum(reported), reported[-1]) == (20, 0)
    item = aws.dynamodb().get_item(
        TableName=office.jobs.world.env["SYSTEM_TABLE"], Key={"pk": {"S": "ALERTS"}, "sk": {"S": "A"}}
    )["Item"]
    assert len(item["reported"]["L"]) == 4


def test_when_sns_refuses_dead_letters_are_reported_later(
    office: DeadLetterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.lay(1)
    with monkeypatch.context() as broken:
        broken.setattr(office.alerts, "_topic", "arn:aws:sns:eu-central-1:123456789012:none")
        with pytest.raises(ClientError):
            office.alerts.report()

    assert office.alerts.report() == 1


def test_killed_after_any_call_of_an_alert_everything_is_reported_and_twice_at_most(office: DeadLetterHarness) -> None:
    ids = [job.id for job in (*office.lay(1), *office.lay(1, queue="money"))]
    restore = snapshot()
    with crash_after(None) as calls:
        office.alerts.report()
    office.mails()
    for call in every_call(len(calls.names)):
        restore()
        with crash_after(call), pytest.raises(Killed):
            office.alerts.report()
        office.alerts.report()
        texts = [text for _, text in office.mails()]
        times = [sum(job_id in text for text in texts) for job_id in ids]
        assert set(times) <= {1, 2}, f"after call {call}"


def test_two_sweepers_at_once_tell_everything_and_neither_forgets(
    office: DeadLetterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.lay(2)
    page, rival = office.store.entries, [office.alerts.report]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        found = page(*arguments, **options)
        if rival:
            rival.pop()()
        return found

    monkeypatch.setattr(office.store, "entries", interrupted)
    office.alerts.report()

    assert office.alerts.report() == 0
    assert 1 <= len(office.mails()) <= 2


# HTTP


def test_the_routes_answer_as_they_say(office: DeadLetterHarness) -> None:
    world = office.jobs.world
    dead, failed = office.dead_job(), office.failed_job("charge", "x" * 5000)
    world.app("dead_letters")

    listed = world.http("dead_letters", "GET /dead-letters", role="viewer").json
    shown = {item["job_id"]: item for item in listed["items"]}
    assert {job_id: item["state"] for job_id, item in shown.items()} == {dead.id: "dead", failed.id: "failed"}
    assert (shown[failed.id]["truncated"], shown[failed.id]["payload"]) == (True, None)
    assert shown[dead.id]["payload"]["name"] == "a"
    whole = world.http("dead_letters", "GET /dead-letters/{id}", role="viewer", id=failed.id).json
    assert (whole["payload"]["name"], whole["truncated"]) == ("x" * 5000, False)
    one = world.http("dead_letters", "GET /dead-letters", role="viewer", query={"state": "failed"}).json
    assert [item["job_id"] for item in one["items"]] == [failed.id]
    groups = world.http("dead_letters", "GET /dead-letters", role="viewer", query={"group": "true"}).json
    assert [(group["count"], groups["complete"]) for group in groups["groups"]] == [(1, True)] * 2
    assert {group["latest_job_id"] for group in groups["groups"]} == {dead.id, failed.id}

    route = "POST /dead-letters/{id}/replay"
    replayed = world.http("dead_letters", route, role="admin", id=dead.id, body={"reason": "x"})
    assert (replayed.status, replayed.json["state"], replayed.json["decision"]) == (202, "waiting", "replayed")
    again = world.http("dead_letters", route, role="admin", id=dead.id, body={})
    assert (again.status, again.problem) == (409, "conflict")
    discarded = world.http(
        "dead_letters", "DELETE /dead-letters/{id}", role="admin", id=failed.id, query={"reason": "rubbish"}
    )
    assert (discarded.status, discarded.json["decision"]) == (200, "discarded")
    assert world.http("dead_letters", "GET /dead-letters/{id}", role="viewer", id="nope").status == 404


@pytest.mark.parametrize(
    "query", [{"from": "yesterday"}, {"limit": "0"}, {"cursor": "e30"}, {"colour": "red"}, {"state": "completed"}]
)
def test_a_bad_list_is_refused(office: DeadLetterHarness, query: dict[str, str]) -> None:
    answer = office.jobs.world.http("dead_letters", "GET /dead-letters", role="viewer", query=query)

    assert (answer.status, answer.fields) == (422, list(query))


def test_a_replay_is_tried_dry_started_watched_and_cancelled(office: DeadLetterHarness) -> None:
    office.failed_job("charge")
    world = office.jobs.world

    def start(**body: Any) -> Any:
        wanted = {"filter": {"queue": "money", "state": "failed"}, "reason": "mended"} | body
        return world.http(
            "dead_letters",
            "POST /dead-letters/replays",
            role="admin",
            body=wanted,
            headers={"idempotency-key": "one"},
        )

    dry = start(dry_run=True, rate_per_second=0.5)
    assert (dry.status, dry.json["count"], dry.json["seconds"], dry.json["job_id"]) == (200, 1, 2.0, None)
    unconfirmed = start(confirm=2, cut_off=dry.json["cut_off"])
    assert (unconfirmed.status, unconfirmed.problem, unconfirmed.json["count"]) == (409, "conflict", 1)
    confirmed = {"confirm": 1, "cut_off": dry.json["cut_off"], "canary": True}
    started, again, other = start(**confirmed), start(**confirmed), start()
    assert (started.status, started.json["count"], started.json["count_is_lower_bound"]) == (202, 1, False)
    assert again.json == started.json
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.problem) == (409, "idempotency-key-reused")
    one = {"id": started.json["job_id"]}
    watched = world.http("dead_letters", "GET /dead-letters/replays/{id}", role="viewer", **one).json
    assert (watched["state"], watched["progress"]["done"]) == ("waiting", 0)
    assert watched == world.http("jobs", "GET /jobs/{id}", role="viewer", **one).json
    route = "DELETE /dead-letters/replays/{id}"
    assert [world.http("dead_letters", route, role="admin", **one).json["state"] for _ in "ab"] == ["cancelled"] * 2
    actions = [entry["action"] for entry in world.ledger(target=f"job:{one['id']}")]
    assert sorted(actions) == ["job.cancel", "replay.start"]
    other_job = {"id": office.jobs.enqueue("mail").id}
    assert world.http("dead_letters", "GET /dead-letters/replays/{id}", role="viewer", **other_job).status == 404
    assert world.http("dead_letters", route, role="admin", **other_job).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filter": {}, "rate_per_second": 0},
        {"filter": {"queue": ""}},
        {"filter": {}, "confirm": 1},
        {"filter": {}, "cut_off": "2026-11-28T00:00:00Z"},
        {"filter": {}, "confirm": -1, "cut_off": "2026-11-28T00:00:00Z"},
    ],
)
def test_a_bad_replay_is_refused(office: DeadLetterHarness, body: dict[str, Any]) -> None:
    assert office.jobs.world.http("dead_letters", "POST /dead-letters/replays", role="admin", body=body).status == 422
