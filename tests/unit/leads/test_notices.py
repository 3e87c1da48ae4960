"""What a message of a person begins: notices to the user who works the lead, and the answer to a STOP or a HELP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import job_types
from adbot_queue.leads import notices
from adbot_queue.leads.jobs import notify_lead_reply
from adbot_queue.messaging import opt_outs
from adbot_queue.providers import cognito
from adbot_queue.testing.harness import Jobs
from local.stand_ins.whatsapp import bsuid
from tests.builders.calls import providers
from tests.builders.outreach import Outreach, outreach, outreach_platform

CONFIRMED, HELPED = "You get no more messages from us.", "This is Acme. Reply STOP to get no more messages."
STRANGER = "+4915199999999"
MAILS = {"sam": "sam@example.com", "tom": "tom@example.com"}


@pytest.fixture(scope="module")
def platform() -> Iterator[Jobs]:
    with outreach_platform() as made:
        yield made


@pytest.fixture
def out(platform: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outreach]:
    monkeypatch.setattr(cognito, "email_of", MAILS.get)
    with outreach(platform) as made:
        yield made


def test_a_reply_is_pushed_at_once_and_mailed_when_it_stays_unread(out: Outreach) -> None:
    (lead,) = out.leads([1])
    out.write(lead.phone, "Call me, I am Cara")
    out.run(minutes=1)
    (push,) = out.jobs.assert_enqueued("send-push", payload={"user_id": "sam", "data": {"lead_id": lead.id}})
    out.jobs.refute_enqueued("send-email")

    out.run(minutes=5)
    (mail,) = out.jobs.assert_enqueued("send-email", payload={"to": "sam@example.com"})
    assert push.state == "completed"
    assert f"/console/leads/{lead.id}" in mail.payload["text"]
    for said in ("Cara", lead.name, lead.phone):
        assert said not in str(mail.payload) + str(push.payload)
    assert out.lead(lead).unread


def test_replies_of_one_unread_conversation_are_one_mail_and_a_push_each(out: Outreach) -> None:
    (lead,) = out.leads([1])
    for _ in range(3):
        out.write(lead.phone, "Hello?")
        out.run(minutes=2)
    out.run(minutes=6)
    out.jobs.assert_enqueued("send-push", count=3)
    out.jobs.assert_enqueued("send-email", count=1)

    out.api("GET /leads/{id}/messages", id=lead.id)
    out.write(lead.phone, "Thanks")
    out.run(minutes=6)
    out.jobs.assert_enqueued("send-email", count=2)


def _read(out: Outreach, lead: Any, user: str = "sam") -> None:
    assert out.api("GET /leads/{id}/messages", id=lead.id, user=user, role="admin").status == 200


def _answer(out: Outreach, lead: Any) -> None:
    assert out.api("POST /leads/{id}/messages", id=lead.id, body={"text": "Hi"}).status == 202


@pytest.mark.parametrize(
    ("act", "mails"),
    [
        (_read, []),
        (lambda out, lead: _read(out, lead, "tom"), ["sam@example.com"]),
        (_answer, []),
        (lambda out, lead: out.take(lead), []),
        (lambda out, lead: out.take(lead, "tom"), []),
    ],
    ids=["read", "read by a colleague", "answered", "taken", "taken by a colleague"],
)
def test_a_mail_is_not_sent_once_the_reply_is_read_answered_or_taken(out: Outreach, act: Any, mails: list[str]) -> None:
    (lead,) = out.leads([1])
    out.write(lead.phone, "Hello?")
    version = out.lead(lead).version
    out.run(minutes=2)
    act(out, out.lead(lead))
    out.run(minutes=8)

    assert [job.payload["to"] for job in out.jobs.all() if job.type == "send-email"] == mails
    if act is _read:
        assert out.lead(lead).version == version  # reading meets no change of the lead


def test_the_colleague_who_took_the_lead_is_notified_and_no_mail_goes_to_an_unknown_address(out: Outreach) -> None:
    (lead, other) = out.leads([1, 2])
    out.user("eva")
    out.take(lead, "tom")
    out.take(other, "eva")
    out.jobs.advance(60)
    for one in (lead, other):
        out.write(one.phone, "Hello?")
    out.run(minutes=7)

    assert {job.payload["user_id"] for job in out.jobs.all() if job.type == "send-push"} == {"tom", "eva"}
    assert [job.payload["to"] for job in out.jobs.all() if job.type == "send-email"] == ["tom@example.com"]
    assert {job.state for job in out.jobs.assert_enqueued("notify-lead-reply", count=4)} == {"completed"}


def test_a_match_notifies_the_owner_unless_it_was_the_owner_who_matched(out: Outreach) -> None:
    (lead,) = out.leads([1])
    for number, (user, notified) in enumerate([("sam", 0), ("ada", 1)]):
        out.write(f"{STRANGER[:-1]}{number}", "It is me")
        (shown,) = out.api("GET /leads/inbox").json["items"]
        body = {"lead_id": lead.id}
        assert (
            out.api("POST /leads/inbox/{id}/match", id=shown["message_id"], body=body, user=user, role="admin").status
            == 200
        )
        assert len([job for job in out.jobs.all() if job.type == "notify-lead-reply"]) == notified


def test_every_job_of_a_message_is_on_the_queue_of_its_type() -> None:
    assert {job_types.find(name).queue for name in (notices.NOTIFY, notices.ANSWER)} == {notices.QUEUE}
    assert notify_lead_reply.JOB.internal


# STOP and HELP


def answers(out: Outreach) -> list[str]:
    out.jobs.drain()
    return [message["body"] for message in out.peers.texts]


def test_a_stop_is_confirmed_once_however_many_leads_and_repetitions(out: Outreach) -> None:
    (lead,) = out.leads([1])
    for owner in ("tom", "eva"):
        out.user(owner)
        out.leads([1], owner)
    for text in ("STOP", "Stopp", "stop"):
        out.write(lead.phone, text, times=2)
        out.jobs.advance(3600)
    assert answers(out) == [CONFIRMED]
    assert opt_outs.is_stopped(lead.phone)
    assert out.sent_to(lead) == 0

    for text in ("START", "STOP"):
        out.write(lead.phone, text)
        out.jobs.advance(60)
    assert answers(out) == [CONFIRMED] * 2


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({"text": "STOP"}, [CONFIRMED]),
        ({"text": "No more", "button": "STOP"}, [CONFIRMED]),
        ({"text": "STOP", "advanced": True}, []),
        ({"text": "STOP", "hides_phone": True}, []),
        ({"text": "HELP"}, [HELPED]),
        ({"text": "Ayuda"}, [HELPED]),
        ({"text": "START"}, []),
        ({"text": "please stop by at noon"}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_lead", [True, False], ids=["lead", "stranger"])
def test_keywords_on_whatsapp_are_answered_where_twilio_does_not(
    out: Outreach, said: dict[str, Any], sent: list[str], *, is_lead: bool
) -> None:
    if is_lead:
        out.leads([1], phone=STRANGER)
    out.write(STRANGER, **said)
    assert answers(out) == sent


def test_help_is_answered_once_an_hour_and_to_those_who_opted_out_as_well(out: Outreach) -> None:
    (lead,) = out.leads([1])
    out.write(lead.phone, "STOP")
    for _ in range(3):
        out.write(lead.phone, "HELP")
    out.jobs.advance(3600)
    out.write(lead.phone, "HELP")
    assert sorted(answers(out)) == sorted([CONFIRMED, HELPED, HELPED])
    assert [message.text for message in out.messages(lead)].count("HELP") == 4


def test_an_empty_setting_answers_nothing(out: Outreach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPT_OUT_REPLY", " ")
    monkeypatch.setenv("HELP_REPLY", "")
    for text in ("STOP", "HELP"):
        out.write(STRANGER, text)
    assert answers(out) == []
    assert opt_outs.is_stopped(STRANGER)


@pytest.mark.parametrize("matched", [False, True], ids=["known by the id", "matched later"])
def test_a_stop_without_a_phone_ends_messages_to_the_phone_as_well(out: Outreach, *, matched: bool) -> None:
    (lead,) = out.leads([1])
    if not matched:
        out.write(lead.phone, "Hi")  # by which the person's id is known
    sender = STRANGER if matched else lead.phone
    out.write(sender, "STOP", hides_phone=True)
    if matched:
        (shown,) = out.api("GET /leads/inbox").json["items"]
        assert not opt_outs.is_stopped(lead.phone)
        out.api("POST /leads/inbox/{id}/match", id=shown["message_id"], body={"lead_id": lead.id})

    assert out.lead(lead).status == "opted_out"
    assert opt_outs.is_stopped(lead.phone)
    assert opt_outs.is_stopped(bsuid(sender))

    out.jobs.advance(60)
    out.write(sender, "START", hides_phone=True)
    assert out.lead(lead).status == "contacted"
    assert not opt_outs.is_stopped(lead.phone)


def test_the_later_wish_of_a_stranger_counts_whatever_is_posted_again(out: Outreach) -> None:
    stop, start = (f"SM{digit * 32}" for digit in "78")
    for text, sid in (("STOP", stop), ("START", start), ("STOP", stop)):
        out.write(STRANGER, text, sid=sid)
        out.jobs.advance(60)
    assert out.team.lead(1, phone=STRANGER).status == "new"
    assert answers(out) == [CONFIRMED]


@pytest.mark.usefixtures("out")
def test_a_users_address_is_the_verified_one_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pool = aws.cognito().create_user_pool(PoolName="people")["UserPool"]["Id"]
    subs = {}
    for name, verified in (("sam", "true"), ("tom", "false")):
        attributes: list[Any] = [{"Name": "email", "Value": MAILS[name]}, {"Name": "email_verified", "Value": verified}]
        made = aws.cognito().admin_create_user(UserPoolId=pool, Username=name, UserAttributes=attributes)["User"]
        subs[name] = next(one["Value"] for one in made["Attributes"] if one["Name"] == "sub")
    with providers(cognito={"pool": pool, "sign_in": ""}):
        found = [cognito.email_of(sub) for sub in (subs["sam"], subs["tom"], "nobody")]
    assert found == ["sam@example.com", None, None]
