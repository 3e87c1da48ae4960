"""Dead letters: found, decided about one by one, and told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.jobs.alerts import arrivals
from adbot_queue.jobs.letters import Wanted
from adbot_queue.jobs.model import State
from tests.builders.dead_letters import Office, record
from tests.builders.effects import Provider
from tests.builders.job_stream import Stream, claimed, died, job
from tests.builders.jobs import Jobs
from tests.builders.world import ADMIN


@pytest.fixture
def office(jobs: Jobs) -> Office:
    return Office(jobs)


def test_dead_jobs_and_dead_messages_are_one_list_newest_first(office: Office) -> None:
    first = office.dead_job(name="a")
    office.jobs.advance(1)
    second = office.dead_message()
    office.jobs.advance(1)
    third = office.dead_job("note", name="b", goes=2)

    assert office.listed() == [third.id, second.id, first.id]


def test_the_list_is_filtered_by_queue_type_fingerprint_and_time(office: Office) -> None:
    mail = office.dead_job("mail")
    office.jobs.advance(60)
    note = office.dead_job("note", goes=2)
    office.jobs.advance(60)
    message = office.dead_message()

    assert office.listed(queue="email") == [mail.id]
    assert office.listed(type="message") == [message.id]
    assert office.listed(fingerprint=note.fingerprint) == [note.id]
    assert office.listed(since=mail.finished_at + 1, until=message.died_at - 1) == [note.id]
    assert office.listed(since=5, until=4) == []
    assert office.listed(queue="nowhere") == []


def test_pages_follow_each_other_without_gap_or_repetition_also_under_a_filter(office: Office) -> None:
    letters = []
    for number in range(7):
        letters.append(office.dead_message(message_id=f"m{number}").id)
        office.dead_message(queue="dead-email", message_id=f"e{number}")
        office.jobs.advance(1)

    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = office.letters.page(Wanted(queue="money"), 3, cursor)
        seen += [dead.id for dead in page]
        if cursor is None:
            break

    assert seen == letters[::-1]


def test_a_cursor_that_was_never_given_is_refused(office: Office) -> None:
    with pytest.raises(Invalid):
        office.letters.page(Wanted(), 10, "nonsense")


def test_letters_that_died_of_the_same_are_one_group_with_the_right_number(office: Office) -> None:
    for number, body in enumerate(("not json", "{", "[" * 2_000)):
        office.dead_message(body, message_id=f"a{number}")
    office.dead_message('{"job": "1", "queue": "money"}', message_id="b")
    dead = [office.dead_job(name=name) for name in "xy"]

    groups, complete = office.letters.groups(Wanted())

    assert complete
    assert [(group.queue, group.type, group.number) for group in groups] == [
        ("money", "message", 3),
        ("email", "mail", 2),
        ("money", "message", 1),
    ]
    assert groups[1].fingerprint == dead[0].fingerprint == dead[1].fingerprint
    assert groups[1].failure
    assert groups[1].failure.message == "HTTP 503"
    assert (groups[1].latest, groups[1].first_at) == (dead[1].id, dead[0].finished_at)


def test_a_message_is_kept_with_its_body_whatever_its_size(office: Office) -> None:
    body = "ü€" * 130_000

    letter = office.dead_message(body)

    assert (letter.size, letter.pieces) == (len(body.encode()), 4)
    assert office.letters.show(letter.id) == (letter, body)


def test_the_same_message_twice_is_one_letter_and_one_alert(office: Office) -> None:
    first = office.dead_message()
    office.jobs.advance(5)

    assert office.dead_message() == first
    assert len(office.mails()) == 1


def test_a_letter_that_was_decided_about_is_not_brought_back_by_its_message(office: Office) -> None:
    letter = office.dead_message()
    office.letters.discard(letter.id, ADMIN)

    office.bury(record("not json"))

    assert office.listed() == []


def test_one_message_that_cannot_be_kept_stops_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = office.store.bury

    def bury(letter: Any, body: str) -> Any:
        if letter.id == "msg_bad":
            aws.dynamodb().get_item(TableName="none", Key={"pk": {"S": "x"}})
        return whole(letter, body)

    monkeypatch.setattr(office.store, "bury", bury)

    assert office.bury(record("a", message_id="good"), record("b", message_id="bad")) == ["bad"]
    assert office.listed() == ["msg_good"]


# Replaying one


def test_a_dead_job_is_replayed_and_signed_for(office: Office, provider: Provider) -> None:
    dead = office.dead_job()

    decided = office.letters.replay(dead.id, ADMIN, "provider is back")
    assert decided.job.state is State.WAITING
    assert office.listed() == []
    office.jobs.settle()

    assert office.jobs.get(dead).state is State.COMPLETED
    assert provider.effects == {"a": 1}
    (entry,) = office.jobs.world.ledger(target=f"job:{dead.id}")
    assert (entry["action"], entry["actor"], entry["reason"]) == ("dead-letter.replay", "ada", "provider is back")


def test_a_dead_job_is_replayed_with_another_payload_that_keeps_its_types_rules(office: Office) -> None:
    dead = office.dead_job()
    with pytest.raises(Invalid) as refused:
        office.letters.replay(dead.id, ADMIN, payload={"name": 5})
    assert refused.value.errors[0].field == "payload.name"

    office.letters.replay(dead.id, ADMIN, payload={"name": "other"})

    assert office.jobs.get(dead).payload["name"] == "other"


def test_only_what_is_dead_is_replayed_or_discarded(office: Office) -> None:
    done = office.jobs.run("charge")
    dead = office.dead_job()
    office.letters.replay(dead.id, ADMIN)

    for job_id in (done.id, dead.id):
        with pytest.raises(Conflict):
            office.letters.replay(job_id, ADMIN)
        with pytest.raises(Conflict):
            office.letters.discard(job_id, ADMIN)
    for unknown in ("nobody", "msg_nobody"):
        with pytest.raises(NotFound):
            office.letters.replay(unknown, ADMIN)


def test_a_dead_message_goes_back_to_its_queue_once(office: Office) -> None:
    letter = office.dead_message('{"job": "j1", "queue": "money"}')

    job = office.letters.replay(letter.id, ADMIN, "worker is mended").job
    with pytest.raises(Conflict):
        office.letters.replay(letter.id, ADMIN)
    office.jobs.drain("maintenance")

    assert office.jobs.get(job).result == {"queue": "money"}
    assert office.jobs.receive("money") == [{"job": "j1", "queue": "money"}]
    kept = office.store.get(letter.id)
    assert kept
    assert (kept.state, kept.job) == ("replayed", job.id)
    assert kept.expires_at == office.jobs.clock() // 1000 + 90 * 86_400
    (entry,) = office.jobs.world.ledger(target=f"dead-letter:{letter.id}")
    assert (entry["action"], entry["after"]["job"]) == ("dead-letter.replay", job.id)


def test_a_dead_message_goes_back_edited_and_its_own_body_is_kept(office: Office) -> None:
    letter = office.dead_message("not json")

    office.letters.replay(letter.id, ADMIN, body='{"job": "j1", "queue": "money"}')
    office.jobs.drain("maintenance")

    assert office.jobs.receive("money") == [{"job": "j1", "queue": "money"}]
    assert office.letters.show(letter.id)[1] == "not json"


def test_a_message_of_a_fifo_queue_goes_back_into_its_group(office: Office) -> None:
    letter = office.dead_message('{"pool": "vip"}', "dead-allocation.fifo", group="vip")

    office.letters.replay(letter.id, ADMIN)
    office.jobs.drain("maintenance")

    url = office.jobs.world.queues["allocation"]
    (message,) = aws.sqs().receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    assert (message["Body"], message["Attributes"]["MessageGroupId"]) == ('{"pool": "vip"}', "vip")


def test_what_has_no_queue_to_go_back_to_says_so(office: Office) -> None:
    letter = office.dead_message("{}", "dead-tally")

    with pytest.raises(Conflict, match="stream records"):
        office.letters.replay(letter.id, ADMIN)


@pytest.mark.parametrize(("kind", "edited"), [("job", {"body": "{}"}), ("message", {"payload": {}})])
def test_a_job_has_a_payload_and_a_message_a_body(office: Office, kind: str, edited: dict[str, Any]) -> None:
    letter = office.dead_job().id if kind == "job" else office.dead_message().id

    with pytest.raises(Invalid):
        office.letters.replay(letter, ADMIN, **edited)


# Discarding


def test_a_discarded_job_leaves_the_list_and_is_kept_for_ninety_days(office: Office) -> None:
    dead = office.dead_job()

    office.letters.discard(dead.id, ADMIN, "customer is gone")
    office.letters.discard(dead.id, ADMIN, "again")

    kept = office.jobs.get(dead)
    assert (kept.state, kept.decision) == (State.DEAD, "discarded")
    assert kept.expires_at == office.jobs.clock() // 1000 + 90 * 86_400
    assert office.listed() == []
    assert [entry["action"] for entry in office.jobs.world.ledger(target=f"job:{dead.id}")] == ["dead-letter.discard"]
    with pytest.raises(Conflict):
        office.letters.replay(dead.id, ADMIN)


def test_a_discarded_message_leaves_the_list_and_goes_with_its_body(office: Office) -> None:
    letter = office.dead_message("x" * 100_000)

    office.letters.discard(letter.id, ADMIN, "rubbish")

    until = office.jobs.clock() // 1000 + 90 * 86_400
    pk = {"S": f"LETTER#{letter.id}"}
    items = aws.dynamodb().query(
        TableName=office.store.table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": pk}
    )["Items"]
    assert [(item["sk"]["S"], item["expires_at"]["N"]) for item in items] == [
        (sk, str(until)) for sk in ("B#000", "B#001", "L")
    ]
    assert office.listed() == []


def test_a_dead_letter_that_waits_for_a_decision_never_expires(office: Office) -> None:
    office.dead_message()
    office.dead_job()

    found = aws.dynamodb().scan(TableName=office.store.table)["Items"]

    assert not [item for item in found if item["sk"]["S"] in {"J", "L"} and "expires_at" in item]


# Alerts


def test_money_is_told_first_and_by_itself_and_nobodys_data_is_in_it(office: Office) -> None:
    office.bury(
        record("secret of cara", "dead-email", "e1"),
        record("secret of carl", "dead-money", "m1"),
        record("secret of cora", "dead-email", "e2"),
    )

    (money, _), (others, text) = office.mails()
    assert money == "[MONEY] AdBot Queue: 1 dead letter in money"
    assert others == "AdBot Queue: 2 dead letters in email"
    assert "msg_e1" in text
    assert "secret" not in text


def test_a_storm_is_one_mail_that_says_how_many(office: Office) -> None:
    office.bury(*(record("x", "dead-email", f"m{number}") for number in range(40)))

    ((subject, text),) = office.mails()
    assert "40 dead letters" in subject
    assert "and 20 more" in text


def test_jobs_that_die_are_told_from_the_tables_stream_once(office: Office) -> None:
    stream = Stream()
    new = job(1)
    active = claimed(new, new.created_at)
    dead = died(active, new.created_at + 1)
    records = [
        *stream.life(new, active, dead, dead.discarded(5)),
        *stream.life(job(2), claimed(job(2), 5)),
    ]

    found = arrivals(records)
    assert [(arrival.id, arrival.queue) for arrival in found] == [(dead.id, "money")]
    office.alerts.tell(found)
    office.alerts.tell(found)

    assert [subject for subject, _ in office.mails()] == ["[MONEY] AdBot Queue: 1 dead letter in money"]


def test_when_sns_refuses_messages_stay_where_they_are_and_are_told_later(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(office.alerts, "_topic", "arn:aws:sns:eu-central-1:123456789012:none")
        assert office.bury(record("x")) == ["m1"]
    assert office.listed() == ["msg_m1"]

    assert office.bury(record("x")) == []

    assert len(office.mails()) == 1


# HTTP


def test_the_routes_answer_as_they_say(office: Office) -> None:
    world = office.jobs.world
    dead, letter = office.dead_job(), office.dead_message("x" * 5000)
    world.app("dead_letters")

    listed = world.http("dead_letters", "GET /dead-letters", role="viewer").json
    assert {item["kind"]: item["id"] for item in listed["items"]} == {"job": dead.id, "message": letter.id}
    shown = {item["kind"]: item for item in listed["items"]}
    assert (shown["message"]["truncated"], len(shown["message"]["body"])) == (True, 4096)
    assert shown["job"]["payload"]["name"] == "a"
    whole = world.http("dead_letters", "GET /dead-letters/{id}", role="viewer", id=letter.id).json
    assert (whole["body"], whole["truncated"]) == ("x" * 5000, False)
    groups = world.http("dead_letters", "GET /dead-letters", role="viewer", query={"group": "true"}).json
    assert [(group["number"], groups["complete"]) for group in groups["groups"]] == [(1, True)] * 2

    route = "POST /dead-letters/{id}/replay"
    replayed = world.http("dead_letters", route, role="admin", id=dead.id, body={"reason": "x"})
    assert (replayed.status, replayed.json["state"], replayed.json["decision"]) == (202, "waiting", "replayed")
    again = world.http("dead_letters", route, role="admin", id=dead.id, body={})
    assert (again.status, again.problem) == (409, "conflict")
    discarded = world.http(
        "dead_letters", "DELETE /dead-letters/{id}", role="admin", id=letter.id, query={"reason": "rubbish"}
    )
    assert (discarded.status, discarded.json["decision"]) == (200, "discarded")
    assert world.http("dead_letters", "GET /dead-letters/{id}", role="viewer", id="nope").status == 404


@pytest.mark.parametrize("query", [{"from": "yesterday"}, {"limit": "0"}, {"cursor": "e30"}, {"colour": "red"}])
def test_a_bad_list_is_refused(office: Office, query: dict[str, str]) -> None:
    answer = office.jobs.world.http("dead_letters", "GET /dead-letters", role="viewer", query=query)

    assert (answer.status, answer.fields) == (422, list(query))


def test_a_replay_is_tried_dry_started_watched_and_cancelled(office: Office) -> None:
    office.dead_message()
    world = office.jobs.world

    def start(**body: Any) -> Any:
        wanted = {"filter": {"queue": "money"}, "reason": "mended"} | body
        return world.http(
            "dead_letters",
            "POST /dead-letters/replays",
            role="admin",
            body=wanted,
            headers={"idempotency-key": "one"},
        )

    dry = start(dry_run=True, rate_per_second=0.5)
    assert (dry.status, dry.json["total"], dry.json["seconds"], dry.json["id"]) == (200, 1, 2.0, None)
    started, again, other = start(), start(), start(rate_per_second=1)
    assert (started.status, started.json["state"], started.json["total"]) == (202, "running", 1)
    assert again.json["id"] == started.json["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.problem) == (409, "idempotency-key-reused")
    one = {"id": started.json["id"]}
    assert world.http("dead_letters", "GET /dead-letters/replays/{id}", role="viewer", **one).json["replayed"] == 0
    route = "DELETE /dead-letters/replays/{id}"
    assert [world.http("dead_letters", route, role="admin", **one).json["state"] for _ in "ab"] == ["cancelled"] * 2
    actions = [entry["action"] for entry in world.ledger(target=f"replay:{one['id']}")]
    assert sorted(actions) == ["replay.cancel", "replay.start"]


@pytest.mark.parametrize("body", [{}, {"filter": {}, "rate_per_second": 0}, {"filter": {"queue": ""}}])
def test_a_bad_replay_is_refused(office: Office, body: dict[str, Any]) -> None:
    assert office.jobs.world.http("dead_letters", "POST /dead-letters/replays", role="admin", body=body).status == 422


def test_the_consumer_of_the_dead_letter_queues_reports_what_it_could_not_keep(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAD_LETTER_SOURCES", json.dumps({"dead-money": "money"}))
    handler = office.jobs.world.app("bury").handler

    assert handler({"Records": [record("x")]}, None) == {"batchItemFailures": []}
    assert office.listed() == ["msg_m1"]
    aws.sns().delete_topic(TopicArn=office.topic)
    assert handler({"Records": [record("y", message_id="m2")]}, None) == {
        "batchItemFailures": [{"itemIdentifier": "m2"}]
    }
