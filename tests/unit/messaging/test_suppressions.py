"""Whom nothing is sent to: by which cause, until when, and who removed it."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import pytest

from adbot_queue import ledger
from adbot_queue.core import aws
from adbot_queue.core.errors import NotFound
from adbot_queue.ledger import Actor
from adbot_queue.messaging.suppressions import TTL_MS, Suppressions
from tests.builders.clocks import NOW, FakeClock
from tests.builders.payments import rows, secret
from tests.builders.world import AwsHarness

ADA = Actor("ada", "admin", "req-1")
ADDRESS = "Cara@Example.com"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def suppressed(aws_with_secrets: AwsHarness, clock: FakeClock) -> Suppressions:
    table = aws_with_secrets.env["SYSTEM_TABLE"]
    return Suppressions(aws.dynamodb(), table, ledger.from_env(), lambda: b"key", clock)


def remove_it(suppressed: Suppressions) -> None:
    found = suppressed.look_up("email", ADDRESS)
    assert found
    suppressed.remove(found.id, "she asked", ADA)


def test_an_address_is_known_however_it_is_written_and_others_are_not(suppressed: Suppressions) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW - 1000, "job-1")

    assert suppressed.reason("email", "cara@example.com ") == "bounce"
    assert suppressed.reason("email", "dora@example.com") is None
    assert suppressed.reason("sms", ADDRESS) is None


def test_the_table_alone_gives_no_address_away(suppressed: Suppressions, aws_with_secrets: AwsHarness) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW, "job-1")

    kept = json.dumps(rows(aws_with_secrets.env["SYSTEM_TABLE"]))
    assert "cara" not in kept.lower()
    for guess in ("cara@example.com", "email\x1fcara@example.com", ADDRESS):
        assert hashlib.sha256(guess.encode()).hexdigest()[:32] not in kept


def test_with_another_key_the_list_is_another(suppressed: Suppressions, aws_with_secrets: AwsHarness) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW, None)
    table = aws_with_secrets.env["SYSTEM_TABLE"]

    assert Suppressions(aws.dynamodb(), table, ledger.from_env(), lambda: b"other").reason("email", ADDRESS) is None


def test_removal_is_signed_and_lets_mails_through(suppressed: Suppressions, aws_with_secrets: AwsHarness) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW - 1000, "job-1")
    found = suppressed.look_up("email", ADDRESS)
    assert found

    after = suppressed.remove(found.id, "the mailbox is back", ADA)

    assert not after.in_force
    assert suppressed.reason("email", ADDRESS) is None
    (entry,) = aws_with_secrets.ledger(action="suppression.remove")
    assert (entry["actor"], entry["target"], entry["reason"]) == (
        "ada",
        f"suppression:{found.id}",
        "the mailbox is back",
    )
    assert entry["before"] == {"channel": "email", "reason": "bounce"}


def test_removing_twice_is_signed_once(suppressed: Suppressions, aws_with_secrets: AwsHarness) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW - 1000, "job-1")
    remove_it(suppressed)
    remove_it(suppressed)

    assert len(aws_with_secrets.ledger(action="suppression.remove")) == 1


def test_a_report_from_before_the_removal_does_not_bring_it_back_but_a_new_one_does(
    suppressed: Suppressions, clock: FakeClock
) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW - 5000, "job-1")
    remove_it(suppressed)

    suppressed.add("email", ADDRESS, "bounce", NOW - 5000, "job-1")
    suppressed.add("email", ADDRESS, "spamreport", NOW - 1, "job-1")
    assert suppressed.reason("email", ADDRESS) is None

    clock.advance(60_000)
    suppressed.add("email", ADDRESS, "spamreport", NOW + 30_000, "job-2")
    assert suppressed.reason("email", ADDRESS) == "spamreport"


def test_a_report_from_the_future_can_be_removed(suppressed: Suppressions, clock: FakeClock) -> None:
    suppressed.add("email", ADDRESS, "bounce", NOW + 10**12, "job-1")
    remove_it(suppressed)
    clock.advance(1)

    assert suppressed.reason("email", ADDRESS) is None


def test_a_removed_suppression_is_deleted_after_thirty_days_and_one_in_force_never(
    suppressed: Suppressions, aws_with_secrets: AwsHarness, clock: FakeClock
) -> None:
    def expires() -> Any:
        (item,) = rows(aws_with_secrets.env["SYSTEM_TABLE"])
        return item.get("expires_at")

    suppressed.add("email", ADDRESS, "bounce", NOW, None)
    assert expires() is None
    remove_it(suppressed)
    assert expires() == (NOW + TTL_MS) // 1000
    clock.advance(1000)
    suppressed.add("email", ADDRESS, "bounce", NOW + 500, None)
    assert expires() is None


def test_reports_in_any_order_end_with_the_latest_cause(aws_with_secrets: AwsHarness, clock: FakeClock) -> None:
    table = aws_with_secrets.env["SYSTEM_TABLE"]
    causes = [("bounce", NOW - 3000), ("spamreport", NOW - 2000), ("unsubscribe", NOW - 1000)]
    for number, order in enumerate(itertools.permutations(causes)):
        key = str(number).encode()
        suppressed = Suppressions(aws.dynamodb(), table, ledger.from_env(), lambda key=key: key, clock)  # type: ignore[misc]
        for reason, at in [*order, order[0]]:
            suppressed.add("email", ADDRESS, reason, at, None)
        assert suppressed.reason("email", ADDRESS) == "unsubscribe"


def test_an_unknown_suppression_cannot_be_removed(suppressed: Suppressions) -> None:
    with pytest.raises(NotFound):
        suppressed.remove("nobody", "", ADA)


# Over HTTP


def test_staff_look_up_and_admins_remove(aws_with_secrets: AwsHarness) -> None:
    from adbot_queue.messaging import suppressions  # noqa: PLC0415

    suppressions.from_env().add("email", ADDRESS, "bounce", 1_700_000_000_000, "job-1")
    look, remove_one = "GET /suppressions", "DELETE /suppressions/{id}"

    (found,) = aws_with_secrets.http("delivery", look, role="viewer", query={"address": ADDRESS.lower()}).json["items"]
    assert (found["reason"], found["at"], found["in_force"]) == ("bounce", "2023-11-14T22:13:20.000Z", True)
    answer = aws_with_secrets.http(
        "delivery", remove_one, role="admin", query={"reason": "asked"}, id=found["suppression_id"]
    )
    assert (answer.status, answer.json["in_force"]) == (200, False)
    again = aws_with_secrets.http("delivery", remove_one, role="admin", id=found["suppression_id"])
    assert (again.status, again.json["removed_at"]) == (200, answer.json["removed_at"])
    assert aws_with_secrets.http("delivery", remove_one, role="admin", id="nobody").status == 404
    assert aws_with_secrets.http("delivery", look, role="viewer", query={"address": "dora@x.de"}).json == {"items": []}


def test_without_a_key_for_addresses_the_setting_is_named(aws_with_secrets: AwsHarness) -> None:
    with secret("address-key", "{}"):
        answer = aws_with_secrets.http("delivery", "GET /suppressions", role="viewer", query={"address": "x@y.de"})

    assert (answer.status, answer.problem) == (503, "not-configured")
    assert "ADDRESS_KEY_ID" in answer.json["detail"]
