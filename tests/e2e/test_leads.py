"""A day of outreach on the deployed template: exported file, table and what Twilio received are the same."""

from __future__ import annotations

import pytest

from local.demo import leads
from local.stack import Stack
from tests.e2e.conftest import Api


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [40, pytest.param(leads.LEADS, marks=pytest.mark.long)])
def test_a_day_of_outreach_ends_with_file_table_and_messages_the_same(
    stack: Stack, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    states = leads.play(stack, number)

    assert sum(states.values()) == number
    assert states["cancelled"] == leads.TAKEN
    assert states["failed"] > 0  # those that the paused template met
    assert set(states) == {"delivered", "cancelled", "failed"}
    assert "Done" in capsys.readouterr().out


def test_a_message_that_twilio_did_not_sign_is_refused(api: Api) -> None:
    form = {"MessageSid": f"SM{'0' * 32}", "From": "whatsapp:+4915112345678", "Body": "STOP"}
    answer = api(None, "POST", "/webhooks/twilio/inbound", data=form, headers={"x-twilio-signature": "x"})

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:adbot-queue:problem:bad-signature")
