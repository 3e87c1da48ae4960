"""POST /webhooks/twilio/leads: believed only under Twilio's signature, which covers the lead in the address."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from adbot_queue.leads import reports
from adbot_queue.leads.messages import MessageKey
from adbot_queue.leads.model import Entry, Lead
from adbot_queue.testing.harness import Jobs
from local.stand_ins.twilio import signature
from tests.builders.outreach import Outreach, outreach, outreach_platform
from tests.builders.world import Answer

TOKEN = "1" * 32


@pytest.fixture(scope="module")
def platform() -> Iterator[Jobs]:
    with outreach_platform() as made:
        yield made


@pytest.fixture
def out(platform: Jobs) -> Iterator[Outreach]:
    with outreach(platform) as made:
        yield made


def sent(out: Outreach) -> tuple[Lead, Entry, str]:
    """A lead, its entry that Twilio has, and the query of its reports."""
    (lead,) = out.leads([1])
    out.queue([lead])
    out.start()
    out.run(1)  # no report comes: none is asked for
    out.peers.reports.clear()
    (entry,) = out.entries()
    message = MessageKey(lead.id, entry.changed_at, entry.job_id or "")
    return lead, entry, urlsplit(reports.address(message, entry.key)).query


def post(
    out: Outreach, form: dict[str, str], query: str, signed: str | None = None, given: str | None = None
) -> Answer:
    url = f"https://api.example.com{reports.PATH}?{query if given is None else given}"
    return out.world.http(
        "inbound",
        f"POST {reports.PATH}",
        body=base64.b64encode(urlencode(form).encode()).decode(),
        base64=True,
        headers={"x-twilio-signature": signature(url, form, TOKEN) if signed is None else signed},
        query=parse_qsl(query, keep_blank_values=True),
    )


@pytest.fixture
def silent(out: Outreach) -> Outreach:
    """Twilio takes messages and reports nothing."""
    out.twilio.later = lambda _report: None
    return out


def test_the_address_says_where_to_report_and_to_repeat_it(out: Outreach, monkeypatch: pytest.MonkeyPatch) -> None:
    message = MessageKey("lead", 1, "job")
    assert reports.address(message, None).startswith(f"https://api.example.com{reports.PATH}?lead=lead&at=1&job=job")
    assert reports.address(message, None).endswith("#rc=3&rp=all")
    monkeypatch.setenv("PUBLIC_API_URL", "")
    assert reports.address(message, None) == ""


def test_a_signed_report_counts_and_another_order_of_parameters_is_believed(silent: Outreach) -> None:
    _, entry, query = sent(silent)
    form = {"MessageSid": entry.sid or "", "MessageStatus": "delivered", "To": "whatsapp:+4915112000001"}
    reordered = urlencode(list(reversed(parse_qsl(query, keep_blank_values=True))))

    assert post(silent, form, reordered, given=query).status == 204
    assert silent.states() == {"delivered": 1}


def test_what_twilio_did_not_sign_changes_nothing(silent: Outreach) -> None:
    lead, entry, query = sent(silent)
    form = {"MessageSid": entry.sid or "", "MessageStatus": "read"}
    other = query.replace(lead.id, "another")

    for signed in ("", "nonsense", signature("https://evil.example", form, TOKEN)):
        assert post(silent, form, query, signed).problem == "bad-signature"
    assert post(silent, form, query, given=other).problem == "bad-signature"
    assert (
        post(
            silent,
            form | {"MessageStatus": "failed"},
            query,
            signature(f"https://api.example.com{reports.PATH}?{query}", form, TOKEN),
        ).problem
        == "bad-signature"
    )
    assert silent.states() == {"sending": 1}


@pytest.mark.parametrize(
    ("changes", "query", "status"),
    [
        ({"MessageStatus": "levitating"}, None, 204),
        ({"MessageStatus": ""}, None, 400),
        ({"MessageSid": ""}, None, 400),
        ({}, "lead=&at=1", 400),
        ({}, "lead=x&at=yesterday", 400),
        ({}, "", 400),
        ({}, "lead=unknown&at=1&job=j&owner=sam&date=2026-09-21&place=0", 204),
        ({"ErrorCode": "not a code"}, None, 204),
    ],
)
def test_what_cannot_be_read_is_refused_and_what_is_unknown_is_ignored(
    silent: Outreach, changes: dict[str, str], query: str | None, status: int
) -> None:
    _, entry, right = sent(silent)
    form = {"MessageSid": entry.sid or "", "MessageStatus": "accepted"} | changes

    assert post(silent, form, right if query is None else query).status == status
    assert silent.states() == {"sending": 1}
