"""Mails over real HTTP: sent by a job, reported by signed events, shown, and suppressed."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

from local.stack import Stack
from local.stand_ins import sendgrid_events
from tests.e2e.conftest import Api

Eventually = Callable[..., Any]
ENDED = {"completed", "failed", "dead", "cancelled"}


def send(api: Api, eventually: Eventually, address: str) -> dict[str, Any]:
    """The job of one more mail, when it has ended."""
    payload = {"to": address, "subject": f"Hello {uuid.uuid4().hex}", "text": "Hello."}
    return ended(
        api, eventually, api("admin", "POST", "/jobs", json={"type": "send-email", "payload": payload}).json()["job_id"]
    )


def ended(api: Api, eventually: Eventually, job: str) -> dict[str, Any]:
    """A job, when it has ended."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api("viewer", "GET", f"/jobs/{job}").json()
        return found if found["state"] in ENDED else None

    found: dict[str, Any] = eventually(look, 60)
    return found


def test_a_mail_is_delivered_and_its_course_is_shown(api: Api, eventually: Eventually) -> None:
    job = send(api, eventually, f"cara-{uuid.uuid4().hex}@example.com")

    def delivered() -> dict[str, Any] | None:
        (shown,) = api("viewer", "GET", f"/deliveries/{job['job_id']}").json()["items"]
        return shown if shown["status"] == "delivered" else None

    shown = eventually(delivered, 30)
    assert shown["message_id"] == job["result"]["message_id"]
    assert sorted(report["status"] for report in shown["history"]) == ["accepted", "delivered", "processed"]


def test_after_a_bounce_nothing_is_sent_until_an_operator_removes_the_suppression(
    api: Api, eventually: Eventually
) -> None:
    address = f"bounce-{uuid.uuid4().hex}@example.com"
    assert send(api, eventually, address)["state"] == "completed"

    def suppressed() -> Any:
        return api("viewer", "GET", "/suppressions", params={"address": address}).json()["items"]

    (entry,) = eventually(suppressed, 30)
    second = send(api, eventually, address)
    assert (second["state"], second["error"]["message"]) == ("failed", "suppressed: bounce")
    assert api("viewer", "GET", f"/deliveries/{second['job_id']}").json()["items"] == []

    lifted = api(
        "admin", "DELETE", f"/suppressions/{entry['suppression_id']}", params={"reason": "the mailbox is back"}
    )
    assert (lifted.status_code, lifted.json()["in_force"]) == (200, False)
    assert send(api, eventually, address)["state"] == "completed"
    actions = api("viewer", "GET", "/admin/ledger", params={"target": f"suppression:{entry['suppression_id']}"}).json()[
        "items"
    ]
    assert [entry["action"] for entry in actions] == ["suppression.remove"]


def test_a_users_browser_is_notified_until_it_has_unsubscribed(
    api: Api, eventually: Eventually, stack: Stack, own_stack: Any
) -> None:
    if own_stack is None:
        pytest.skip("only a stack of these tests' own says where its stand-ins are")
    service = f"http://127.0.0.1:{own_stack.environment['ADBOT_PROVIDERS_PORT']}/push"
    browser = requests.post(f"{service}/subscribe", timeout=10).json()
    claims = api.token("customer").split(".")[1]
    user = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    assert api("customer", "GET", "/push/key").status_code == 200
    added = api("customer", "POST", "/push/subscriptions", json=browser)
    assert added.status_code == 201

    def notify() -> dict[str, Any]:
        """The job for the browser, when it has ended."""
        push = {"user_id": user, "title": f"Hello {uuid.uuid4().hex}"}
        parent = api("admin", "POST", "/jobs", json={"type": "send-push", "payload": push}).json()["job_id"]
        spread = ended(api, eventually, parent)
        assert spread["state"] == "completed", spread["error"]
        return ended(api, eventually, spread["result"]["jobs"][added.json()["subscription_id"]]) | {
            "title": push["title"]
        }

    job = notify()
    assert (job["state"], job["result"]["status"]) == ("completed", 201)
    shown = requests.get(f"{service}/messages", timeout=10).json()["items"]
    assert job["title"] in [entry["message"]["title"] for entry in shown]

    requests.delete(f"{service}/{browser['endpoint'].rsplit('/', 1)[1]}", timeout=10)
    job = notify()
    assert (job["state"], job["error"]["message"]) == ("failed", "the subscription is gone (HTTP 410)")
    left = api("customer", "DELETE", "/push/subscriptions/nothing").json()["items"]
    assert added.json()["subscription_id"] not in [entry["subscription_id"] for entry in left]


def test_events_that_sendgrid_did_not_sign_are_refused(api: Api, stack: Stack) -> None:
    batch = json.dumps([{"event": "bounce", "type": "bounce", "email": "dora@example.com"}]).encode()
    own, other = stack["sendgrid_webhook_key"], sendgrid_events.new_key()

    def post(key: str) -> int:
        headers = sendgrid_events.signed(batch, key, int(time.time()))
        return api(None, "POST", "/webhooks/sendgrid", data=batch, headers=headers).status_code

    assert (post(own), post(other)) == (200, 400)
