"""Browsers over HTTP: each user has their own notified, and no other user's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.messaging import push_subscriptions as subscriptions
from local.stand_ins.push import PushService
from tests.builders.payments import DEFAULT_SECRETS, rows
from tests.builders.world import Answer, AwsHarness

ADD, REMOVE = "POST /push/subscriptions", "DELETE /push/subscriptions/{id}"


def browser() -> dict[str, Any]:
    return PushService("https://push.example.com").subscribe()


def subscribe(world: AwsHarness, reported: Any, user: str = "cara", role: str = "customer") -> Answer:
    return world.http("delivery", ADD, role=role, user=user, body=reported)


def ids(user: str = "cara") -> list[str]:
    return [one.id for one in subscriptions.from_env().of_user(user)]


def test_a_browsers_own_json_is_taken_and_the_same_browser_is_there_once(on_aws: AwsHarness) -> None:
    reported = browser()

    first, again, other = subscribe(on_aws, reported), subscribe(on_aws, reported), subscribe(on_aws, browser())

    assert (first.status, again.status) == (201, 201)
    assert first.json["subscription_id"] == again.json["subscription_id"] != other.json["subscription_id"]
    assert set(ids()) == {first.json["subscription_id"], other.json["subscription_id"]}


def test_the_secrets_of_a_browser_are_not_shown(on_aws: AwsHarness) -> None:
    reported = browser()

    assert reported["endpoint"] not in subscribe(on_aws, reported).text


@pytest.mark.parametrize("role", ["customer", "viewer", "admin"])
def test_everybody_who_is_signed_in_may(on_aws: AwsHarness, role: str) -> None:
    assert subscribe(on_aws, browser(), role=role).status == 201


def test_one_removes_ones_own_and_twice_is_once(on_aws: AwsHarness) -> None:
    kept, removed = (subscribe(on_aws, browser()).json["subscription_id"] for _ in range(2))

    foreign = on_aws.http("delivery", REMOVE, role="customer", user="mallory", id=removed)
    assert (foreign.status, foreign.json, len(ids())) == (200, {"items": []}, 2)
    for _ in range(2):
        answer = on_aws.http("delivery", REMOVE, role="customer", user="cara", id=removed)
        assert (answer.status, [entry["subscription_id"] for entry in answer.json["items"]]) == (200, [kept])
    assert ids() == [kept]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "http://push.example.com/1"}, "endpoint"),
        ({"endpoint": "https://10.0.0.1/1"}, "endpoint"),
        ({"endpoint": "https://intranet/1"}, "endpoint"),
        ({"endpoint": "https://push.example.com/" + "x" * 2000}, "endpoint"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAAAAAAAAAAAAAAAAAAAA"}}, "keys.p256dh"),
        ({"keys": {}}, "keys.p256dh"),
        ({"keys": None}, "keys"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_sent_to_is_refused_and_named(on_aws: AwsHarness, changes: dict[str, Any], field: str) -> None:
    answer = subscribe(on_aws, browser() | changes)

    assert (answer.status, answer.problem, answer.fields[0]) == (422, "validation", field)
    assert rows(on_aws.env["SYSTEM_TABLE"]) == []


def test_browsers_subscribe_with_the_public_half_of_our_key(on_aws: AwsHarness) -> None:
    held = json.dumps(DEFAULT_SECRETS["web-push"])
    aws.secrets_manager().create_secret(Name="web-push", SecretString=held)

    answer = on_aws.http("delivery", "GET /push/key", role="customer")

    assert answer.json["public_key"].startswith("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmY")


def test_without_a_key_browsers_cannot_subscribe_and_the_setting_is_named(on_aws: AwsHarness) -> None:
    aws.secrets_manager().create_secret(Name="web-push", SecretString='{"private_key": "", "subject": ""}')

    answer = on_aws.http("delivery", "GET /push/key", role="customer")

    assert (answer.status, answer.problem) == (503, "not-configured")
    assert "WebPushSecretArn" in answer.json["detail"]
