"""What `send-email` posts, held against SendGrid's published schema, by the stand-in and by Prism alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from werkzeug.serving import make_server

from adbot_queue.core.errors import ProviderFailed
from adbot_queue.messaging import mail_templates
from adbot_queue.providers import registry, sendgrid_mail
from adbot_queue.providers.sendgrid_mail import Message
from local.stand_ins.app import StandIns
from tests.support import peers
from tests.support.published import check_request, schema_of
from tests.unit.messaging.jobs.test_mail_templates import FULL

SEND = "/v3/mail/send"


@contextmanager
def stand_in() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, StandIns("http://127.0.0.1", lambda *_: 200, lambda: ""), threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/sendgrid"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def prism() -> Iterator[str]:
    with peers.prism("sendgrid.com", SEND) as base:
        yield base


@pytest.fixture(scope="module", params=[stand_in, prism], ids=["stand-in", "prism"])
def sendgrid(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as base:
        yield base


@pytest.fixture(autouse=True)
def _ours(sendgrid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Env:
        mail_from = "bots@example.com"

    monkeypatch.setattr(registry, "credential", lambda *_: "SG.1")
    monkeypatch.setattr(registry, "base", lambda _provider: sendgrid)
    monkeypatch.setattr(sendgrid_mail, "settings", Env)


def mail(**changes: Any) -> Message:
    baseline = {
        "to": "cara@example.com",
        "subject": "Hello",
        "text": "Hello.",
        "html": "<p>Hello.</p>",
        "custom_args": {"job": "job-1", "key": "job-1"},
        "categories": ("tickets",),
    }
    return Message(**(baseline | changes))


@pytest.mark.parametrize(
    "changes",
    [{}, {"text": None}, {"html": None}, {"categories": ()}, {"subject": "Ünïcode ✓", "text": "✓" * 20_000}],
)
def test_every_form_of_a_mail_is_taken(changes: dict[str, Any]) -> None:
    sendgrid_mail.send(mail(**changes), 20)


@pytest.mark.parametrize("template", sorted(FULL))
def test_every_template_is_taken(template: str) -> None:
    made = mail_templates.render(template, FULL[template])

    sendgrid_mail.send(mail(subject=made.subject, text=made.text, html=made.html), 20)


@pytest.mark.parametrize("changes", [{"to": "nobody"}, {"subject": None}, {"categories": ("x" * 256,)}])
def test_what_is_not_as_published_is_refused_for_good(changes: dict[str, Any], sendgrid: str) -> None:
    with pytest.raises(ProviderFailed) as refused:
        sendgrid_mail.send(mail(**changes), 20)

    assert refused.value.extra["retryable"] is False


def test_what_is_posted_has_nothing_that_the_schema_does_not_name() -> None:
    check_request(schema_of("sendgrid.com"), "POST", SEND, sendgrid_mail._request(mail(), "bots@example.com"))
