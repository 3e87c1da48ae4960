"""Templates as Twilio knows them, and free text while WhatsApp's window is open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.leads import templates
from adbot_queue.leads.model import Lead
from adbot_queue.messaging import opt_outs
from adbot_queue.testing.harness import Jobs
from local.stand_ins.whatsapp import FIRST, FOLLOW_UP, PENDING
from tests.builders.leads import GRANTED, phone
from tests.builders.outreach import HOUR_MS, Outreach, outreach, outreach_platform
from tests.builders.payments import rows
from tests.builders.world import FakeContext

ROUTE = "POST /leads/{id}/messages"


@pytest.fixture(scope="module")
def platform() -> Iterator[Jobs]:
    with outreach_platform() as made:
        yield made


@pytest.fixture
def out(platform: Jobs) -> Iterator[Outreach]:
    with outreach(platform) as made:
        yield made


def text(out: Outreach, lead: Lead, text: str = "Shall I call you?", **options: Any) -> Any:
    return out.api(ROUTE, id=lead.id, body={"text": text}, **options)


def replied(out: Outreach) -> Lead:
    (lead,) = out.leads([1])
    out.write(lead.phone, "Hi")
    return lead


# Free text


def test_a_text_goes_out_within_the_window_and_is_followed(out: Outreach) -> None:
    lead = replied(out)
    answer = text(out, lead)
    assert answer.status == 202
    shown = out.api("GET /leads/{id}/messages", id=lead.id).json["items"]
    assert [(one["direction"], one["state"], one["by"]) for one in shown] == [
        ("out", "waiting", "sam"),
        ("in", "received", None),
    ]

    out.run(1)
    (newest, _) = out.api("GET /leads/{id}/messages", id=lead.id).json["items"]
    assert (newest["state"], newest["text"], newest["message_id"]) == (
        "delivered",
        "Shall I call you?",
        answer.json["message_id"],
    )
    assert out.peers.texts[-1]["body"] == "Shall I call you?"
    assert out.lead(lead).last_out is not None
    assert "Shall I call you?" not in str(rows(out.world.env["LEDGER_TABLE"]))
    assert [row["action"] for row in rows(out.world.env["LEDGER_TABLE"])].count("lead.write") == 1


def test_outside_the_window_a_text_is_refused_and_says_until_when_it_was_open(out: Outreach) -> None:
    (lead,) = out.leads([1])
    assert text(out, lead).problem == "conflict"

    out.write(lead.phone, "Hi")
    closes = iso(out.lead(lead).window_until or 0)
    out.jobs.advance(24 * 3600)
    refused = text(out, lead)
    assert (refused.status, refused.json["window_until"]) == (409, closes)
    assert "only templates may be sent" in refused.json["detail"]


@pytest.mark.parametrize("meanwhile", ["window", "STOP", "STOP under WhatsApp's id", "another phone"])
def test_a_text_is_withheld_if_the_window_closes_or_the_person_stops_meanwhile(out: Outreach, meanwhile: str) -> None:
    lead = replied(out)
    job = text(out, lead).json["job_id"]
    if meanwhile == "STOP":
        out.write(lead.phone, "STOP")
    elif meanwhile == "STOP under WhatsApp's id":  # of which the lead learns only later
        opt_outs.stop("DE.1", out.jobs.clock.now)
        out.team.leads.change(lead.id, {"wa_id": "DE.1"}, None, out.team.by())
    elif meanwhile == "another phone":
        out.team.leads.change(lead.id, {"phone": phone(2)}, None, out.team.by())
    else:
        out.jobs.advance(24 * 3600)
    out.jobs.drain()

    confirmed = ["You get no more messages from us."] if meanwhile == "STOP" else []
    assert [message["body"] for message in out.peers.texts] == confirmed
    assert out.jobs.get(job).state == "cancelled"
    assert {message.state for message in out.messages(lead) if message.direction == "out"} == {"not_sent"}
    assert text(out, lead).status == (202 if meanwhile.startswith("STOP under") else 409)


@pytest.mark.parametrize("brings", [False, True], ids=["no consent", "its consent"])
def test_a_new_phone_has_neither_consent_nor_window_nor_id_of_the_old_one(out: Outreach, *, brings: bool) -> None:
    lead = out.lead(replied(out))
    assert lead.wa_id
    assert lead.window_until
    wanted = {"phone": phone(2), **({"consent": GRANTED} if brings else {})}
    after = out.team.leads.change(lead.id, wanted, None, out.team.by())

    assert after == out.lead(lead)
    assert (after.consent.state, after.window_until, after.wa_id) == ("granted" if brings else "unknown", None, None)
    assert out.store.find([lead.phone, lead.wa_id or ""]) == []


def test_a_text_whose_answer_is_lost_is_found_and_not_sent_again(out: Outreach) -> None:
    lead = replied(out)
    text(out, lead)
    out.lose_answer()
    out.run(2)

    assert len(out.peers.texts) == 1
    assert out.messages(lead)[0].state == "delivered"


def test_a_key_sends_one_text(out: Outreach) -> None:
    lead = replied(out)
    first, again = (text(out, lead, headers={"idempotency-key": "k"}) for _ in range(2))
    other = text(out, lead, "Another text", headers={"idempotency-key": "k"})
    out.run(1)

    assert (first.status, again.status, other.status) == (202, 200, 409)
    assert again.headers["idempotent-replayed"] == "true"
    assert first.json == again.json
    assert len(out.peers.texts) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "  "}, "text: must not be empty"),
        ({"text": "x" * 1601}, "text: must have at most 1600 characters"),
        ({}, "text: is required"),
        ({"text": "x", "to": "y"}, "to: is not known here"),
    ],
)
def test_a_bad_text_is_refused_with_field_and_limit(out: Outreach, body: dict[str, str], message: str) -> None:
    lead = replied(out)
    answer = out.api(ROUTE, id=lead.id, body=body)
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == message.partition(":")[0]


def test_sales_write_to_their_own_leads_only(out: Outreach) -> None:
    lead = replied(out)
    out.user("tom")
    assert text(out, lead, user="tom").status == 404
    assert out.api("GET /leads/{id}/messages", id=lead.id, user="tom").status == 404
    assert text(out, lead, role="viewer").status == 403
    assert text(out, lead, user="ada", role="admin").status == 202


def test_a_conversation_shows_templates_as_the_person_reads_them(out: Outreach) -> None:
    (lead,) = out.leads([1])
    out.queue([lead])
    out.start()
    out.run(1)

    (shown,) = out.api("GET /leads/{id}/messages", id=lead.id).json["items"]
    assert shown["text"] == "Hello Lead 1, may we show you bots? Reply STOP to end."
    assert shown["content_sid"] == FIRST


# Templates


def test_templates_are_shown_with_their_approval_and_when_they_were_read(out: Outreach) -> None:
    page = out.api("GET /templates").json

    by_id = {one["content_sid"]: one for one in page["items"]}
    assert [one["name"] for one in page["items"]] == sorted(one["name"] for one in page["items"])
    assert (by_id[FIRST]["status"], by_id[FIRST]["category"], by_id[FIRST]["variables"]) == (
        "approved",
        "MARKETING",
        ["1", "2"],
    )
    assert by_id[PENDING]["status"] == "pending"
    assert page["refreshed_at"] == iso(out.jobs.clock())


def test_the_hourly_tick_reads_what_changed(out: Outreach) -> None:
    out.twilio.whatsapp.put_template(FIRST, {"status": "disabled"})
    del out.twilio.whatsapp.templates[PENDING]
    out.twilio.whatsapp.put_template(f"HX{'9' * 32}", {"name": "brand_new"})
    tick = {"source": "aws.scheduler"}
    answer = out.world.app("outreach").handler(tick, FakeContext())

    shown = {one["content_sid"]: one["status"] for one in out.api("GET /templates").json["items"]}
    assert answer == {"closed": 0, "templates": len(shown)}
    assert (shown[FIRST], shown[f"HX{'9' * 32}"]) == ("disabled", "approved")
    assert PENDING not in shown


def test_what_is_known_stays_while_twilio_cannot_be_read(out: Outreach) -> None:
    known = templates.from_env()
    before = known.listed()
    out.peers.instead.append(lambda: (503, {"code": 20503}))
    with pytest.raises(ProviderFailed):
        known.refresh()
    assert known.listed() == before


def test_a_failure_that_a_refresh_overtakes_is_kept(out: Outreach) -> None:
    known = templates.from_env()
    known.failed(FOLLOW_UP, 63041)
    stale = known.get(FOLLOW_UP)
    assert stale
    assert stale.template.status == "paused"

    out.jobs.advance(HOUR_MS / 1000)
    known.refresh()
    found = known.get(FOLLOW_UP)
    assert found
    assert (found.template.status, found.failures, found.last_code) == ("approved", 1, 63041)
    known.failed(f"HX{'0' * 32}", 63013)
    assert known.get(f"HX{'0' * 32}") is None
