"""What we ask of Twilio is as its published schema has it, and so is what the stand-in answers.

The same requests go to the stand-in and to Prism, which answers by the schema's examples.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from urllib3 import BaseHTTPResponse, PoolManager
from werkzeug.serving import make_server

from adbot_queue.core.errors import NotConfigured, ProviderFailed
from adbot_queue.providers import registry, twilio
from adbot_queue.providers.twilio import Message
from local.stand_ins.app import StandIns
from tests.builders.payments import DEFAULT_SECRETS
from tests.support import peers
from tests.support.published import _Judge, check_request, schema_of

PUBLISHED = "twilio.com/api"
PATH = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
CARA = "+4915112345678"
REPORTS = "https://api.example.com/webhooks/twilio?job=1&effect=1"
MESSAGES = {
    "a text": Message(CARA, "Grüße & 100% 🎉", status_callback=REPORTS),
    "a text with little time": Message(CARA, "Your code is 123456.", valid_s=200),
    "a WhatsApp text": Message(CARA, "Hello", whatsapp=True, status_callback=REPORTS),
    "a template": Message(
        CARA, content_sid=f"HX{'a' * 32}", content_variables={"1": "Cara", "name": "ü"}, whatsapp=True
    ),
}


@dataclass
class Recorder:
    """urllib3's pool, which remembers what went through it."""

    pool: PoolManager = field(default_factory=PoolManager)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    answers: list[BaseHTTPResponse] = field(default_factory=list)

    def request(self, method: str, url: str, **options: Any) -> BaseHTTPResponse:
        body = options["body"]
        self.asked.append((method, url[url.index("/2010") :], body.decode() if body is not None else None))
        answer = self.pool.request(method, url, **options)
        self.answers.append(answer)
        return answer


@contextmanager
def stand_in() -> Iterator[str]:
    app = StandIns("http://stand-in.test", lambda _payload, _headers: 200, lambda: "whsec_test")
    app.twilio.later = lambda _report: None  # without a webhook
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/twilio"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module", params=["stand-in", "prism"])
def peer(request: pytest.FixtureRequest) -> Iterator[str]:
    # What Prism makes up does not hold against the schema's own patterns: only requests are judged.
    with stand_in() if request.param == "stand-in" else peers.prism(PUBLISHED, PATH, errors=False) as base:
        yield base


@pytest.fixture
def wire(peer: str, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(twilio, "_pool", lambda: recorder)
    monkeypatch.setattr(registry, "base", lambda _provider: peer)
    monkeypatch.setattr(registry, "credential", _credential)
    return recorder


def _credential(provider: str, name: str) -> Any:
    found = DEFAULT_SECRETS[provider][name]
    if not found:
        raise NotConfigured(name)
    return found


def judgement(wire: Recorder) -> None:
    """Every request is as published; what is not, Prism answers with 422."""
    assert wire.asked
    for method, path, body in wire.asked:
        check_request(schema_of(PUBLISHED), method, path, body)


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_kind_of_message_is_taken(wire: Recorder, kind: str) -> None:
    sent = twilio.send(MESSAGES[kind])

    assert sent.sid
    assert sent.status
    judgement(wire)


def test_the_list_of_messages_is_asked_for_as_published(wire: Recorder) -> None:
    twilio.find(MESSAGES["a text"], 0)

    assert wire.answers[-1].status == 200
    judgement(wire)


def test_a_request_that_is_not_as_published_would_be_noticed(wire: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    form = twilio._form
    monkeypatch.setattr(twilio, "_form", lambda message: form(message) | {"ValidityPeriod": "soon"})
    with suppress(ProviderFailed):
        twilio.send(MESSAGES["a text"])

    with pytest.raises(AssertionError, match="ValidityPeriod"):
        judgement(wire)
    assert wire.answers[-1].status in {400, 422}  # Twilio's, and Prism's


def test_requests_without_credentials_are_refused(wire: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio, "make_headers", lambda **_: {})

    with pytest.raises((NotConfigured, ProviderFailed)):
        twilio.send(MESSAGES["a text"])
    assert wire.answers[-1].status == 401


def test_what_the_stand_in_answers_is_as_published() -> None:
    schema = schema_of(PUBLISHED)
    judge = _Judge(schema)
    recorder = Recorder()
    with stand_in() as base, pytest.MonkeyPatch.context() as patch:
        patch.setattr(twilio, "_pool", lambda: recorder)
        patch.setattr(registry, "base", lambda _provider: base)
        patch.setattr(registry, "credential", _credential)
        for message in MESSAGES.values():
            twilio.send(message)
        twilio.find(MESSAGES["a text"], 0)

    operations = schema["paths"][PATH]
    for (method, *_), answer in zip(recorder.asked, recorder.answers, strict=True):
        published = operations[method.lower()]["responses"][str(answer.status)]["content"]["application/json"]
        said = json.loads(answer.data)
        assert judge.problems(_without_nulls(said), published["schema"]) == []
    assert len(recorder.answers) == len(MESSAGES) + 1


def _without_nulls(value: Any) -> Any:
    """OpenAPI 3.0 says `nullable`, which JSON Schema does not know."""
    if isinstance(value, dict):
        return {name: _without_nulls(entry) for name, entry in value.items() if entry is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value
