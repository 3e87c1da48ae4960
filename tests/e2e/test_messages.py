"""Messages and one-time passwords over real HTTP: a text to its signed report, a code from asking to its one use."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Api, LocalStack

Eventually = Callable[..., Any]


@pytest.fixture
def twilio(own_stack: LocalStack | None) -> Callable[[str], list[dict[str, Any]]]:
    """What the stand-in took for a phone."""
    if own_stack is None:
        pytest.skip("the stand-ins' address is known of a stack of these tests' own only")
    address = f"http://127.0.0.1:{own_stack.environment['ADBOT_PROVIDERS_PORT']}/twilio/messages"

    def taken(phone: str) -> list[dict[str, Any]]:
        return [one for one in requests.get(address, timeout=10).json()["items"] if one["to"].endswith(phone)]

    return taken


@pytest.fixture
def phone() -> str:
    return f"+49151{secrets.randbelow(10**8):08d}"


def test_a_text_is_followed_from_its_job_to_the_phone(
    api: Api, eventually: Eventually, twilio: Callable[[str], list[dict[str, Any]]], phone: str
) -> None:
    for text, state in (("Your bot runs.", "delivered"), ("fate=undelivered:30003", "undelivered")):
        job = api("admin", "POST", "/jobs", json={"type": "send-sms", "payload": {"to": phone, "text": text}}).json()

        def arrived(job_id: str = job["job_id"], state: str = state) -> dict[str, Any] | None:
            found: dict[str, Any] = api("viewer", "GET", f"/messages/{job_id}").json()
            return found if found.get("state") == state else None

        message = eventually(arrived, 60)
        done = api("viewer", "GET", f"/jobs/{job['job_id']}").json()
        assert (done["state"], done["result"]["segments"], done["result"]["sid"]) == (
            "completed",
            1,
            message["message_id"],
        )
    assert (message["error_code"], message["reason"]) == (30003, "the phone is switched off or out of reach")
    assert len(twilio(phone)) == 2


def test_a_report_that_twilio_did_not_sign_is_refused(api: Api) -> None:
    form = {"MessageSid": f"SM{'0' * 32}", "MessageStatus": "delivered"}
    answer = api(None, "POST", "/webhooks/twilio?job=1&effect=1", data=form, headers={"x-twilio-signature": "x"})

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:adbot-queue:problem:bad-signature")


def test_a_code_is_asked_for_read_off_the_phone_and_used_once(
    api: Api, eventually: Eventually, twilio: Callable[[str], list[dict[str, Any]]], phone: str
) -> None:
    about = {"to": phone, "purpose": "login"}
    asked = api("customer", "POST", "/otp", json=about)
    assert asked.status_code == 202
    again = api("customer", "POST", "/otp", json=about)
    assert (again.status_code, 0 < int(again.headers["retry-after"]) <= 60) == (429, True)

    (taken,) = eventually(lambda: twilio(phone), 60)
    found = re.search(r"\b\d{6}\b", taken["body"])
    assert found
    code = {**about, "code": found[0]}
    assert api("admin", "POST", "/otp/verify", json=code).status_code == 422  # not the staff's
    assert api("customer", "POST", "/otp/verify", json=code | {"purpose": "payout"}).status_code == 422
    good = api("customer", "POST", "/otp/verify", json=code)
    assert (good.status_code, good.json()) == (200, {"verified": True})
    assert api("customer", "POST", "/otp/verify", json=code).status_code == 422

    job = api("viewer", "GET", f"/jobs/{asked.json()['job_id']}").json()
    assert job["result"]["sid"] == taken["sid"]
    assert found[0] not in str(job)
    assert phone not in str(job)
