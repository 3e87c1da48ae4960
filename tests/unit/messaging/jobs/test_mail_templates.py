"""The product's own mails: their variables, and their texts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from jinja2 import meta
from pydantic import ValidationError

from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.payloads import check_payload
from adbot_queue.messaging import mail_templates
from adbot_queue.messaging.jobs import send_email as email
from tests.builders.processors import run
from tests.builders.providers import Peers

MINT = "7xKXtg2CW87d97TXJSDpbD5jBkheTqA83TZRuJosgAsU"
FULL: dict[str, dict[str, Any]] = {
    "welcome": {"name": "Cara", "sign_in_url": "https://adbots.example/sign-in"},
    "ticket": {
        "name": "Cara",
        "event": "Night of the Bots",
        "mint_address": MINT,
        "starts_at": "2026-05-01T19:00:00+02:00",
        "venue": "Hall 3",
        "explorer_url": f"https://explorer.solana.com/address/{MINT}",
    },
    "order-confirmation": {
        "name": "Cara",
        "order_id": "ord_1",
        "lines": [{"description": "Starter", "amount": 4900}, {"description": "Setup", "amount": 1000}],
        "total": 5900,
        "currency": "eur",
    },
    "report-ready": {
        "name": "Cara",
        "report": "Sales in April",
        "url": "https://reports.example/1?a=1&b=2",
        "expires_at": "2026-05-08T00:00:00Z",
    },
}


def refused(payload: dict[str, Any]) -> dict[str, str]:
    """The fields that enqueueing such a mail names, and why."""
    with pytest.raises(Invalid) as error:
        check_payload(job_types.find("send-email"), {"to": "cara@example.com", **payload})
    return {entry.field: entry.message for entry in error.value.errors}


def test_every_template_has_a_model_both_parts_and_a_name_that_callers_may_say() -> None:
    files = {file.name for file in mail_templates.MAILS.iterdir()} - {"base.html.j2", "parts.html.j2"}

    assert files == {f"{name}.{part}.j2" for name in mail_templates.TEMPLATES for part in ("txt", "html")}
    assert set(get_args(email.Template)) == set(mail_templates.TEMPLATES) == set(FULL)


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_template_asks_for_nothing_that_its_model_does_not_have(name: str) -> None:
    mails = mail_templates._environment()
    asked: set[str] = set()
    for part in ("txt", "html"):
        source = (mail_templates.MAILS / f"{name}.{part}.j2").read_text()
        asked |= meta.find_undeclared_variables(mails.parse(source))

    assert asked == set(mail_templates.TEMPLATES[name].model_fields)


def test_a_ticket_says_what_when_where_and_which_token(peers: Peers) -> None:
    run("send-email", {"to": "cara@example.com", "template": "ticket", "variables": FULL["ticket"]})

    (mail,) = peers.mails
    text, html = (part["value"] for part in mail["content"])
    assert mail["subject"] == "Your ticket for Night of the Bots"
    for said in ("Hello Cara", "1 May 2026, 19:00 (UTC+02:00)", "Hall 3", MINT, "https://explorer.solana.com/"):
        assert said in text
        assert said in html


def test_what_may_be_left_out_leaves_no_trace() -> None:
    mail = mail_templates.render("ticket", {"name": "Cara", "event": "Bots", "mint_address": MINT})

    assert "When" not in mail.text + mail.html
    assert "Where" not in mail.text + mail.html
    assert "None" not in mail.text + mail.html


def test_a_receipt_counts_money_as_its_currency_does() -> None:
    receipt = mail_templates.render("order-confirmation", FULL["order-confirmation"])
    in_yen = mail_templates.render("order-confirmation", FULL["order-confirmation"] | {"currency": "jpy"})

    assert receipt.subject == "Your order ord_1"
    assert "- Starter: 49.00 EUR\n- Setup: 10.00 EUR\n" in receipt.text
    assert "Paid in total: 59.00 EUR" in receipt.text
    assert "<td>Setup</td>" in receipt.html
    assert "5900 JPY" in in_yen.text


def test_what_a_caller_says_is_text_in_html_and_as_it_is_in_text() -> None:
    mail = mail_templates.render("report-ready", FULL["report-ready"] | {"report": '<b>"R&D"</b>'})

    assert "&lt;b&gt;&#34;R&amp;D&#34;&lt;/b&gt;" in mail.html
    assert 'href="https://reports.example/1?a=1&amp;b=2"' in mail.html
    assert '<b>"R&D"</b> is ready' in mail.text
    assert mail.subject == 'Your report is ready: <b>"R&D"</b>'
    assert "https://reports.example/1?a=1&b=2" in mail.text


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_variable_that_is_missing_is_refused_when_the_mail_is_enqueued_and_named(name: str) -> None:
    model = mail_templates.TEMPLATES[name]
    needed = {field for field, info in model.model_fields.items() if info.is_required()}

    assert refused({"template": name}) == {f"payload.variables.{field}": "is required" for field in needed}


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("welcome", {"name": "Cara\r\nBcc: all@example.com"}, "name"),
        ("welcome", {"colour": "red"}, "colour"),
        ("welcome", {"sign_in_url": "javascript:alert(1)"}, "sign_in_url"),
        ("welcome", {"sign_in_url": "http://adbots.example"}, "sign_in_url"),
        ("ticket", {"mint_address": "0OIl" * 10}, "mint_address"),
        ("ticket", {"starts_at": "2026-05-01T19:00:00"}, "starts_at"),
        ("order-confirmation", {"total": "5900"}, "total"),
        ("order-confirmation", {"lines": [{"description": "Starter"}]}, "lines.0.amount"),
    ],
)
def test_a_variable_that_does_not_fit_is_refused_when_the_mail_is_enqueued_and_named(
    name: str, changes: dict[str, Any], field: str
) -> None:
    assert list(refused({"template": name, "variables": FULL[name] | changes})) == [f"payload.variables.{field}"]


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({"template": "no-such"}, ["payload.template"]),
        ({"template": "welcome", "variables": FULL["welcome"], "subject": "Mine"}, ["payload.subject"]),
        ({"template": "welcome", "variables": FULL["welcome"], "text": "Mine"}, ["payload.text"]),
        ({"variables": {}, "subject": "Mine", "text": "Mine"}, ["payload.variables"]),
        ({"text": "Mine"}, ["payload.subject"]),
        ({}, ["payload.subject"]),
    ],
)
def test_a_mail_says_things_itself_or_by_a_template_and_not_both(payload: dict[str, Any], fields: list[str]) -> None:
    assert list(refused(payload)) == fields


@pytest.mark.parametrize("name", sorted(FULL))
def test_what_is_kept_of_a_mail_until_it_is_sent_makes_the_same_mail(name: str) -> None:
    kept = check_payload(
        job_types.find("send-email"), {"to": "cara@example.com", "template": name, "variables": FULL[name]}
    )

    first = mail_templates.render(name, FULL[name])
    again = mail_templates.render(name, kept["variables"])
    assert (first.subject, first.text, first.html) == (again.subject, again.text, again.html)


def test_a_template_with_an_unknown_variable_makes_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(mail_templates.Input):
        pass

    monkeypatch.setitem(mail_templates.TEMPLATES, "welcome", Nothing)
    with pytest.raises(Exception, match="'name' is undefined"):
        mail_templates.render("welcome", {})


def test_validating_the_variables_of_a_template_does_not_import_jinja() -> None:
    script = (
        "import sys; from adbot_queue.messaging.jobs.send_email import SendEmail; "
        "SendEmail.model_validate({'to': 'a@b.example', 'template': 'welcome', "
        "'variables': {'name': 'x', 'sign_in_url': 'https://a.example'}}); "
        "sys.exit('jinja2' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_rendering_refuses_what_enqueueing_would_have_refused() -> None:
    with pytest.raises(ValidationError):
        mail_templates.render("welcome", {"name": "Cara"})
