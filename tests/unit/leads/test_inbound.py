"""Messages of persons: each once, in the queue of every owner, whatever they say and however they hide."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest

from adbot_queue.core.errors import Malformed
from adbot_queue.leads import inbound_messages
from adbot_queue.leads.inbound_messages import spellings
from adbot_queue.leads.model import Lead
from adbot_queue.messaging import opt_outs
from adbot_queue.testing.harness import Jobs
from local.stand_ins.twilio import signature
from local.stand_ins.whatsapp import bsuid
from tests.builders.crash import Killed, crash_after
from tests.builders.outreach import HOUR_MS, Outreach, outreach, outreach_platform

PATH = "/webhooks/twilio/inbound"
URL = f"https://api.example.com{PATH}"
STRANGER = "+4915199999999"


@pytest.fixture(scope="module")
def platform() -> Iterator[Jobs]:
    with outreach_platform() as made:
        yield made


@pytest.fixture
def out(platform: Jobs) -> Iterator[Outreach]:
    with outreach(platform) as made:
        yield made


def queued(out: Outreach, *owners: str) -> list[Lead]:
    """One person as a lead of each owner, with a message queued in each one's day."""
    leads = []
    for owner in owners or ("sam",):
        out.user(owner)
        (lead,) = out.leads([1], owner)
        out.queue([lead], owner)
        leads.append(lead)
    return leads


def test_a_reply_stops_automation_in_the_queue_of_every_owner_and_opens_the_window(out: Outreach) -> None:
    leads = queued(out, "sam", "tom", "eva")
    answer = out.write(leads[0].phone, "Who is this?")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml")
    assert answer.text.endswith("<Response/>")
    for lead in leads:
        found = out.lead(lead)
        assert (found.status, found.open_entry, found.last_in) == ("engaged", None, out.jobs.clock())
        assert found.window_until == out.jobs.clock() + 24 * HOUR_MS
        assert found.wa_id == bsuid(lead.phone)
        (message,) = out.messages(lead)
        assert (message.direction, message.text, message.state) == ("in", "Who is this?", "received")
        assert out.states(lead.owner_id) == {"cancelled": 1}
        assert sorted(out.trail(lead)) == ["cancelled", "created", "replied"]


@pytest.mark.parametrize("word", ["STOP", "Stopp", "BAJA", "PARAR", "ARRÊT", "СТОП"])
def test_a_stop_ends_every_channel_and_every_queue(out: Outreach, word: str) -> None:
    leads = queued(out, "sam", "tom")
    assert out.write(leads[0].phone, word).status == 200

    assert [out.lead(lead).status for lead in leads] == ["opted_out"] * 2
    assert [out.states(lead.owner_id) for lead in leads] == [{"cancelled": 1}] * 2
    assert opt_outs.is_stopped(leads[0].phone)
    assert opt_outs.is_stopped(bsuid(leads[0].phone))
    assert out.day().counts.get("replied") is None


@pytest.mark.parametrize(
    ("said", "opted_out"),
    [
        ({"text": "please stop by at noon"}, False),
        ({"text": "STOP SENDING"}, False),
        ({"text": "No more", "button": "STOP"}, True),
        ({"text": "STOP", "advanced": True}, True),
        ({"text": "STOP", "hides_phone": True}, True),
        ({"text": "HELP"}, False),
    ],
)
def test_a_stop_is_a_whole_message_a_button_or_what_twilio_says(
    out: Outreach,
    said: dict[str, Any],
    opted_out: bool,
) -> None:
    (lead,) = queued(out)
    out.write(lead.phone, "Hi")  # by which the person's id is known
    out.write(lead.phone, **said)

    assert (out.lead(lead).status == "opted_out") is opted_out


def test_only_the_persons_start_lifts_an_opt_out(out: Outreach) -> None:
    (lead,) = queued(out)
    out.write(lead.phone, "STOP")
    out.jobs.advance(60)
    out.write(lead.phone, "Hello again")
    assert out.lead(lead).status == "opted_out"

    out.jobs.advance(60)
    out.write(lead.phone, "START")
    assert out.lead(lead).status == "contacted"
    assert not opt_outs.is_stopped(lead.phone)
    assert out.lead(lead).eligible_place is None


def test_a_message_that_is_posted_again_changes_nothing(out: Outreach) -> None:
    (lead,) = queued(out)
    out.write(lead.phone, "Hi", sid=f"SM{'7' * 32}", times=2)
    first = out.lead(lead)
    out.jobs.advance(3600)
    out.write(lead.phone, "Hi", sid=f"SM{'7' * 32}")

    assert out.lead(lead) == first
    assert len(out.messages(lead)) == 1


def test_a_stop_that_is_posted_again_after_a_start_changes_nothing(out: Outreach) -> None:
    (lead,) = queued(out)
    for text, sid in (("STOP", "7"), ("START", "8"), ("STOP", "7")):
        out.write(lead.phone, text, sid=f"SM{sid * 32}")
        out.jobs.advance(60)

    assert out.lead(lead).status == "contacted"
    assert not opt_outs.is_stopped(lead.phone)


def test_a_person_without_a_phone_is_known_after_a_first_report(out: Outreach) -> None:
    (lead,) = queued(out)
    out.start()
    out.run()
    assert out.lead(lead).wa_id == bsuid(lead.phone)

    out.write(lead.phone, "Tell me more", hides_phone=True)
    found = out.lead(lead)
    assert (found.status, len(out.messages(lead))) == ("engaged", 2)
    day = out.day()
    assert day.counts["replied"] == 1
    assert day.first_reply_ms == (found.last_in or 0) - (found.last_out or 0)

    out.write(lead.phone, "Still there?", hides_phone=True)
    assert out.day().counts["replied"] == 1


def test_what_matches_no_lead_is_kept_shown_and_matched_once(out: Outreach) -> None:
    (lead,) = out.leads([1])
    out.write(STRANGER, "It is me, from another phone", hides_phone=True, name="Cara")

    (shown,) = out.api("GET /leads/inbox").json["items"]
    assert (shown["phone"], shown["wa_id"], shown["name"]) == (None, bsuid(STRANGER), "Cara")
    match = {"id": shown["message_id"], "body": {"lead_id": lead.id}}
    answer = out.api("POST /leads/inbox/{id}/match", **match)
    assert [message["text"] for message in answer.json["items"]] == ["It is me, from another phone"]
    assert out.api("GET /leads/inbox").json["items"] == []
    assert out.api("POST /leads/inbox/{id}/match", **match).status == 404
    found = out.lead(lead)
    assert (found.status, found.wa_id) == ("engaged", bsuid(STRANGER))

    out.write(STRANGER, "And again", hides_phone=True)
    assert len(out.messages(lead)) == 2
    assert out.api("GET /leads/inbox").json["items"] == []


def test_a_match_is_refused_without_its_message_or_lead(out: Outreach) -> None:
    out.user("tom")
    (other,) = out.leads([1], "tom")
    out.write(STRANGER, "Hi")
    (shown,) = out.api("GET /leads/inbox").json["items"]

    assert out.api("POST /leads/inbox/{id}/match", id="SM0", body={"lead_id": other.id}, user="tom").status == 404
    for lead_id in ("nobody", other.id):
        assert out.api("POST /leads/inbox/{id}/match", id=shown["message_id"], body={"lead_id": lead_id}).status == 404
    assert len(out.api("GET /leads/inbox").json["items"]) == 1


def test_a_stranger_who_stops_stays_opted_out_when_he_becomes_a_lead(out: Outreach) -> None:
    out.write(STRANGER, "STOP")

    lead = out.team.lead(1, phone=STRANGER)
    assert (lead.status, lead.eligible_place) == ("opted_out", None)
    assert opt_outs.is_stopped(STRANGER)


def test_a_stranger_by_text_message_may_stop_as_well(out: Outreach) -> None:
    (lead,) = queued(out)
    form = {"MessageSid": f"SM{'6' * 32}", "From": lead.phone, "To": "+15005550006", "Body": "STOP"}
    assert post(out, form).status == 200

    assert out.lead(lead).status == "opted_out"
    assert out.lead(lead).window_until is None


def post(out: Outreach, form: dict[str, str], signed: str | None = None) -> Any:
    return out.world.http(
        "inbound",
        f"POST {PATH}",
        body=base64.b64encode(urlencode(form).encode()).decode(),
        base64=True,
        headers={"x-twilio-signature": signature(URL, form, "1" * 32) if signed is None else signed},
    )


def test_what_twilio_did_not_sign_is_refused_and_changes_nothing(out: Outreach) -> None:
    (lead,) = queued(out)
    form = {"MessageSid": f"SM{'6' * 32}", "From": f"whatsapp:{lead.phone}", "Body": "STOP"}
    right = signature(URL, form, "1" * 32)

    for signed in ("", "nonsense", signature(URL, form, "2" * 32), signature(URL + "?a=1", form, "1" * 32)):
        assert post(out, form, signed).problem == "bad-signature"
    assert post(out, form | {"Body": "START"}, right).problem == "bad-signature"
    assert out.lead(lead).status == "new"
    assert not opt_outs.is_stopped(lead.phone)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"MessageSid": "SM1"},
        {"From": "whatsapp:", "Body": "STOP"},
        {"MessageSid": "SM1", "From": "whatsapp:nobody"},
    ],
)
def test_a_form_without_its_sender_is_refused(out: Outreach, form: dict[str, str]) -> None:
    assert post(out, form).problem == "malformed-body"


def test_wherever_an_inbound_message_dies_the_next_delivery_completes_it_once(out: Outreach) -> None:
    sid = f"SM{'5' * 32}"

    def said(here: Outreach, text: str) -> list[Lead]:
        leads = queued(here, "sam", "tom")
        here.twilio._hear(leads[0].phone, {"text": text, "sid": sid})
        return leads

    for text in ("STOP", "Hello"):
        with outreach(out.jobs) as whole, crash_after(None) as calls:
            said(whole, text)
        for number in range(1, len(calls.names) + 1):
            with outreach(out.jobs) as again:
                leads = queued(again, "sam", "tom")
                with suppress(Killed), crash_after(number):
                    again.twilio._hear(leads[0].phone, {"text": text, "sid": sid})
                again.twilio._hear(leads[0].phone, {"text": text, "sid": sid})
                for lead in leads:
                    assert len(again.messages(lead)) == 1
                    assert again.states(lead.owner_id) == {"cancelled": 1}
                    assert again.lead(lead).status == ("opted_out" if text == "STOP" else "engaged")
                    assert len(again.trail(lead)) == 3
                begun = sorted(
                    job.type for job in again.jobs.all() if job.type in {"notify-lead-reply", "answer-keyword"}
                )
                assert begun == (["answer-keyword"] if text == "STOP" else ["notify-lead-reply"] * 2)


@pytest.mark.parametrize(
    ("phone", "others"),
    [
        ("+5215512345678", ["+525512345678"]),
        ("+525512345678", ["+5215512345678"]),
        ("+5491123456789", ["+541123456789"]),
        ("+541123456789", ["+5491123456789"]),
        ("+5511987654321", ["+551187654321"]),
        ("+551187654321", ["+5511987654321"]),
        ("+4915112345678", []),
        ("+14155550100", []),
    ],
)
def test_a_phone_is_found_in_the_spellings_of_whatsapp(phone: str, others: list[str]) -> None:
    assert spellings(phone) == [phone, *others]


def test_a_form_is_read_as_twilio_posts_it() -> None:
    form = {
        "MessageSid": "SM1",
        "From": "whatsapp:DE.123",
        "WaId": "4915112345678",
        "Body": "x" * 5000,
        "NumMedia": "2",
    }
    read = inbound_messages.read(form)

    assert (read.phone, read.wa_id, len(read.text), read.media) == ("+4915112345678", "DE.123", 4096, 2)
    assert inbound_messages.read({"SmsSid": "SM1", "From": "+4915112345678", "NumMedia": "x"}).channel == "sms"
    with pytest.raises(Malformed):
        inbound_messages.read({"MessageSid": "SM1", "From": "whatsapp:+0"})
