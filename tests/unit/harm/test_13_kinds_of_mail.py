"""A mail is transactional or marketing: an unsubscribe ends marketing, never a receipt, a ticket or a password."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from adbot_queue.core import aws, dynamodb, settings
from adbot_queue.messaging import suppressions
from adbot_queue.messaging.jobs.send_email import SendEmail
from adbot_queue.messaging.mail_templates import TEMPLATES
from adbot_queue.messaging.suppressions import MailKind
from adbot_queue.providers import registry
from local.stand_ins import sendgrid_events
from tests.builders.payments import SENDGRID_KEY, configure, empty, rows
from tests.builders.processors import failure, run
from tests.builders.providers import Peers, connect
from tests.builders.world import AwsHarness, world

ADDRESS = "cara@example.com"
AT = 1_795_000_000
TEMPLATED: dict[str, dict[str, Any]] = {
    "welcome": {"name": "Cara", "sign_in_url": "https://example.com/in"},
    "ticket": {"name": "Cara", "event": "Concert", "mint_address": "1" * 40},
    "order-confirmation": {
        "name": "Cara",
        "order_id": "o-1",
        "lines": [{"description": "Bot", "amount": 1}],
        "total": 1,
        "currency": "eur",
    },
    "report-ready": {
        "name": "Cara",
        "report": "orders",
        "url": "https://example.com/r",
        "expires_at": "2026-12-01T00:00:00Z",
    },
}
PLAIN = {"subject": "Hello", "text": "Hello."}
MAILS: dict[str, tuple[MailKind, int | None, dict[str, Any]]] = {
    "plain": (MailKind.TRANSACTIONAL, None, PLAIN),
    "transactional": (MailKind.TRANSACTIONAL, None, PLAIN | {"kind": "transactional"}),
    "marketing": (MailKind.MARKETING, None, PLAIN | {"kind": "marketing"}),
    "group 5": (MailKind.MARKETING, 5, PLAIN | {"kind": "marketing", "group": 5}),
    "group 6": (MailKind.MARKETING, 6, PLAIN | {"kind": "marketing", "group": 6}),
    **{
        name: (MailKind.TRANSACTIONAL, None, {"template": name, "variables": variables})
        for name, variables in TEMPLATED.items()
    },
}
EVENTS: dict[str, dict[str, Any]] = {
    "bounce": {"event": "bounce", "type": "bounce"},
    "blocked": {"event": "bounce", "type": "blocked"},
    "dropped": {"event": "dropped", "reason": "Unsubscribed Address"},
    "complaint": {"event": "spamreport"},
    "unsubscribe": {"event": "unsubscribe"},
    "unsubscribe by a mail of group 5": {"event": "unsubscribe", "asm_group_id": 5},
    "unsubscribe from group 5": {"event": "group_unsubscribe", "asm_group_id": 5},
    "unsubscribe from group 5 as text": {"event": "group_unsubscribe", "asm_group_id": "5"},
    "unsubscribe from an unknown group": {"event": "group_unsubscribe", "asm_group_id": None},
}
ALL = set(MAILS)
MARKETING = {"marketing", "group 5", "group 6"}
ENDED: dict[str, set[str]] = {
    "bounce": ALL,
    "blocked": set(),
    "dropped": set(),
    "complaint": ALL,
    "unsubscribe": MARKETING,
    "unsubscribe by a mail of group 5": MARKETING,
    "unsubscribe from group 5": {"group 5"},
    "unsubscribe from group 5 as text": {"group 5"},
    "unsubscribe from an unknown group": MARKETING,
}


@pytest.fixture(scope="module", autouse=True)
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    empty()
    made = connect(monkeypatch)
    settings.settings.cache_clear()
    yield made
    monkeypatch.undo()
    settings.settings.cache_clear()
    registry._places.cache_clear()


def post(on: AwsHarness, *events: dict[str, Any]) -> Any:
    raw = json.dumps([{"email": ADDRESS, "timestamp": AT} | event for event in events]).encode()
    headers = sendgrid_events.signed(raw, SENDGRID_KEY, int(time.time()))
    answer = on.http("delivery", "POST /webhooks/sendgrid", body=raw.decode(), headers=headers)
    assert answer.status == 200
    return answer.json


def entries(on: AwsHarness) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = on.http(
        "delivery", "GET /suppressions", role="viewer", query={"address": ADDRESS}
    ).json["items"]
    return items


def refused(mail: str) -> str | None:
    return suppressions.from_env().reason("email", ADDRESS, *MAILS[mail][:2])


@pytest.mark.parametrize("event", EVENTS)
def test_what_an_event_ends(on: AwsHarness, peers: Peers, event: str) -> None:
    post(on, EVENTS[event])

    assert {mail for mail in MAILS if refused(mail)} == ENDED[event]


@pytest.mark.parametrize("mail", MAILS)
def test_a_mail_goes_out_after_an_unsubscribe_unless_it_is_marketing(on: AwsHarness, peers: Peers, mail: str) -> None:
    post(on, EVENTS["unsubscribe"])
    payload = {"to": ADDRESS} | MAILS[mail][2]

    if mail in MARKETING:
        found, _ = failure("send-email", payload)
        assert (found.kind, found.message, peers.requests) == ("permanent", "suppressed: unsubscribe", [])
    else:
        assert run("send-email", payload)["message_id"]


@pytest.mark.parametrize("mail", MAILS)
def test_after_a_bounce_or_a_complaint_no_mail_goes_out(on: AwsHarness, peers: Peers, mail: str) -> None:
    for reason, event in (("bounce", "bounce"), ("spamreport", "complaint")):
        empty()
        post(on, EVENTS[event])
        assert failure("send-email", {"to": ADDRESS} | MAILS[mail][2])[0].message == f"suppressed: {reason}"
    assert peers.requests == []


def test_every_template_of_the_product_declares_a_kind_and_is_transactional() -> None:
    assert TEMPLATED.keys() == TEMPLATES.keys()
    assert {model.kind for model in TEMPLATES.values()} == {MailKind.TRANSACTIONAL}


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (PLAIN | {"kind": "newsletter"}, "kind"),
        (PLAIN | {"kind": ""}, "kind"),
        (PLAIN | {"group": 5}, "group"),
        (PLAIN | {"kind": "transactional", "group": 5}, "group"),
        (PLAIN | {"kind": "marketing", "group": 0}, "group"),
        (PLAIN | {"kind": "marketing", "group": "5"}, "group"),
        (PLAIN | {"kind": "marketing", "group": 2**31}, "group"),
        ({"template": "ticket", "variables": TEMPLATED["ticket"], "kind": "marketing"}, "kind"),
        ({"template": "ticket", "variables": TEMPLATED["ticket"], "group": 5}, "group"),
    ],
)
def test_a_kind_that_cannot_be_is_refused_by_its_name(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SendEmail.model_validate({"to": ADDRESS} | payload)

    assert [error["loc"] for error in refusal.value.errors()] == [(field,)]


def test_a_template_may_be_given_its_own_kind() -> None:
    given = {"to": ADDRESS, "template": "ticket", "variables": TEMPLATED["ticket"], "kind": "transactional"}

    assert SendEmail.model_validate(given).kind == "transactional"


@pytest.mark.parametrize("order", list(itertools.permutations(["bounce", "unsubscribe", "unsubscribe from group 5"])))
def test_one_cause_never_hides_another(on: AwsHarness, peers: Peers, order: tuple[str, ...]) -> None:
    for number, event in enumerate(order):
        post(on, EVENTS[event] | {"timestamp": AT + number})

    assert {mail for mail in MAILS if refused(mail)} == ALL
    assert {(entry["scope"], entry["group"], entry["reason"]) for entry in entries(on)} == {
        ("everything", None, "bounce"),
        ("marketing", None, "unsubscribe"),
        ("group", 5, "group_unsubscribe"),
    }


def test_each_scope_is_lifted_by_itself(on: AwsHarness, peers: Peers) -> None:
    post(on, EVENTS["bounce"], EVENTS["unsubscribe"], EVENTS["unsubscribe from group 5"])
    ids = {entry["scope"]: entry["suppression_id"] for entry in entries(on)}
    left = []
    for scope in ("everything", "marketing", "group"):
        lifted = on.http("delivery", "DELETE /suppressions/{id}", role="admin", id=ids[scope])
        assert (lifted.status, lifted.json["scope"], lifted.json["in_force"]) == (200, scope, False)
        left.append({mail for mail in MAILS if refused(mail)})

    assert left == [MARKETING, {"group 5"}, set()]
    assert {entry["target"] for entry in on.ledger(action="suppression.remove")} == {
        f"suppression:{one}" for one in ids.values()
    }


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ([("group_unsubscribe", 5, 1), ("group_resubscribe", 5, 2)], set()),
        ([("group_unsubscribe", 5, 1), ("group_resubscribe", 6, 2)], {"group 5"}),
        ([("group_unsubscribe", 5, 2), ("group_resubscribe", 5, 1)], {"group 5"}),
        ([("group_unsubscribe", 5, 1), ("group_resubscribe", 5, 1)], set()),
        ([("group_unsubscribe", 5, 1), ("group_resubscribe", 5, 2), ("group_unsubscribe", 5, 3)], {"group 5"}),
        ([("unsubscribe", None, 1), ("group_resubscribe", 5, 2)], MARKETING),
        ([("bounce", None, 1), ("group_resubscribe", 5, 2)], ALL),
        ([("group_resubscribe", 5, 2)], set()),
    ],
)
def test_a_group_is_as_its_latest_event_says_in_whatever_order_they_come(
    on: AwsHarness, peers: Peers, events: list[tuple[str, int | None, int]], ended: set[str]
) -> None:
    for order in itertools.permutations(events):
        empty()
        for event, group, after in [*order, order[0]]:
            post(on, {"event": event, "asm_group_id": group, "timestamp": AT + after})
        assert {mail for mail in MAILS if refused(mail)} == ended, order


@pytest.mark.parametrize("group", [None, "", "five", 0, -5, 5.5, True, [5], 10**30, "9" * 5000])
def test_a_resubscribe_without_a_group_undoes_nothing(on: AwsHarness, peers: Peers, group: Any) -> None:
    post(on, EVENTS["unsubscribe from group 5"], EVENTS["unsubscribe"])

    assert post(on, {"event": "group_resubscribe", "asm_group_id": group, "timestamp": AT + 9})["ignored"] == 1
    assert {mail for mail in MAILS if refused(mail)} == MARKETING


@pytest.mark.parametrize(("reason", "ended"), [("bounce", ALL), ("spamreport", ALL), ("unsubscribe", MARKETING)])
def test_rows_of_before_keep_their_meaning(on: AwsHarness, peers: Peers, reason: str, ended: set[str]) -> None:
    post(on, EVENTS["bounce"])
    (row,) = rows(on.env["SYSTEM_TABLE"], "SUPPRESSED#")
    dynamodb.put_if(aws.dynamodb(), on.env["SYSTEM_TABLE"], row | {"reason": reason}, condition="attribute_exists(pk)")

    assert row["sk"] == "S"
    assert {mail for mail in MAILS if refused(mail)} == ended
    (entry,) = entries(on)
    lifted = on.http("delivery", "DELETE /suppressions/{id}", role="admin", id=entry["suppression_id"])
    assert (lifted.status, {mail for mail in MAILS if refused(mail)}) == (200, set())


def test_a_mail_without_a_kind_is_bound_by_every_suppression(on: AwsHarness, peers: Peers) -> None:
    post(on, EVENTS["unsubscribe"])

    assert suppressions.from_env().reason("email", ADDRESS) == "unsubscribe"


def test_a_list_that_cannot_be_read_lets_no_mail_out(
    on: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalServerError", "Message": ""}}, "Query")

    monkeypatch.setattr(aws.dynamodb(), "query", refuse)

    with pytest.raises(ClientError):
        run("send-email", {"to": ADDRESS} | PLAIN)
    assert peers.requests == []


# SendGrid keeps a list of its own


@pytest.mark.parametrize("mail", MAILS)
def test_sendgrid_is_asked_to_bypass_its_unsubscribes_for_what_is_no_marketing(peers: Peers, mail: str) -> None:
    run("send-email", {"to": ADDRESS} | MAILS[mail][2])

    (sent,) = peers.mails
    kind, group, _ = MAILS[mail]
    bypass = None if kind is MailKind.MARKETING else {"bypass_unsubscribe_management": {"enable": True}}
    assert sent.get("mail_settings") == bypass
    assert sent.get("asm") == ({"group_id": group} if group else None)


@pytest.mark.parametrize(
    ("listed_by", "group", "mail", "dropped"),
    [
        ("unsubscribe", None, "plain", False),
        ("unsubscribe", None, "ticket", False),
        ("unsubscribe", None, "marketing", True),
        ("unsubscribe", 5, "plain", False),
        ("unsubscribe", 5, "group 5", True),
        ("unsubscribe", 5, "group 6", False),
        ("spamreport", None, "plain", True),
        ("bounce", None, "plain", True),
        ("blocked", None, "marketing", False),
    ],
)
def test_the_stand_ins_own_list_drops_what_sendgrids_would(
    peers: Peers, listed_by: str, group: int | None, mail: str, dropped: bool
) -> None:
    batches: list[list[dict[str, Any]]] = []
    events = sendgrid_events.Events(
        lambda batch, _headers: batches.append(json.loads(batch)) or 200, lambda: SENDGRID_KEY
    )  # type: ignore[func-returns-value]
    events._reporter.submit = lambda *_: None  # type: ignore[method-assign, assignment]
    address = f"{listed_by}-1@example.com"
    run("send-email", {"to": address} | MAILS[mail][2])
    (sent,) = peers.mails
    first = {"personalizations": [{"to": [{"email": address}]}]} | ({"asm": {"group_id": group}} if group else {})

    events.follow("m-1", first)
    events.follow("m-2", sent)

    listing, reported = events._courses.get(), events._courses.get()
    assert [event["event"] for event in reported][:1] == (["dropped"] if dropped else ["processed"])
    assert (listing[-1]["event"] == "group_unsubscribe") == bool(group)
