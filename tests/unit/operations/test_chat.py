"""Alarms and new dead letters in a chat: one post a message, later if the chat is down, its address a secret."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws, outbound, secrets
from adbot_queue.core.errors import NotConfigured
from adbot_queue.core.outbound import Outbound
from adbot_queue.operations.chat import MAX_TEXT, Chat, text_of
from tests.builders.jobs import Jobs
from tests.builders.receiver import Receiver, only_loopback, receiving
from tests.builders.world import AwsHarness, FakeContext

ALARM = {
    "AlarmName": "adbot-queue-ParkedBotsAlarm-1X",
    "AlarmDescription": "ParkedBots is above zero: https://bots.example.com/console/bots",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed: 1 datapoint [2.0] was greater than the threshold (0.0).",
    "Region": "EU (Frankfurt)",
}


def event(*messages: tuple[str, str], subject: str | None = None) -> dict[str, Any]:
    """What SNS invokes a function with."""
    return {
        "Records": [
            {"EventSource": "aws:sns", "Sns": {"MessageId": number, "Subject": subject, "Message": text}}
            for number, text in messages
        ]
    }


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture
def chat(on_aws: AwsHarness) -> Iterator[Receiver]:
    manager = aws.secrets_manager()
    with suppress(manager.exceptions.ResourceExistsException):
        manager.create_secret(Name="webhook", SecretString=json.dumps({"current": "whsec_" + "c2VjcmV0" * 6}))
    secrets._kept.cache_clear()
    with receiving() as made, patch.object(outbound, "from_env", lambda: Outbound(receivers=made.names)):
        yield made


@pytest.fixture
def jobs(on_aws: AwsHarness) -> Jobs:
    made = Jobs(on_aws)
    made.clock.now = round(time.time() * 1000)
    return made


def alert(on: AwsHarness, sent: Any) -> dict[str, Any]:
    answer: dict[str, Any] = on.app("alert").handler(sent, FakeContext())
    return answer


def posted(chat: Receiver) -> list[tuple[str, str]]:
    return [(path, json.loads(body)["text"]) for path, _, body in chat.seen]


def test_an_alarm_is_posted_once_however_often_sns_delivers_it(on_aws: AwsHarness, jobs: Jobs, chat: Receiver) -> None:
    first, again = (alert(on_aws, event(("m-1", json.dumps(ALARM)))) for _ in range(2))
    jobs.settle()

    assert first == again
    text = "\n".join([f"ALARM: {ALARM['AlarmName']}", ALARM["AlarmDescription"], ALARM["NewStateReason"]])
    assert posted(chat) == [("/services/T0/s3cret", text)]


def test_a_chat_that_is_down_gets_the_post_later(on_aws: AwsHarness, jobs: Jobs, chat: Receiver) -> None:
    chat.answers = [(503, {}), (200, {})]
    alert(on_aws, event(("m-1", "Waiting for a decision: 2 dead letters."), subject="[MONEY] 2 dead letters"))
    jobs.settle()

    assert [text for _, text in posted(chat)] == ["[MONEY] 2 dead letters\nWaiting for a decision: 2 dead letters."] * 2


def test_the_address_of_the_chat_is_shown_to_no_person(on_aws: AwsHarness, chat: Receiver) -> None:
    (job_id,) = alert(on_aws, event(("m-1", "x")))["jobs"]
    shown = on_aws.http("jobs", "GET /jobs/{id}", role="owner", id=job_id)

    assert shown.json["payload"]["url"] == "https://hooks.test"
    assert "s3cret" not in shown.text


@pytest.mark.parametrize(
    ("message", "subject", "text"),
    [
        ("plain", "", "plain"),
        ("plain", "subject", "subject\nplain"),
        ("[1]", "", "[1]"),
        ("7", "", "7"),
        ('{"AlarmName": "a"}', "", '{"AlarmName": "a"}'),
        ('{"AlarmName": "a", "NewStateValue": "OK"}', "", "OK: a"),
        ('{"AlarmName": "a", "NewStateValue": "OK", "AlarmDescription": null, "NewStateReason": "b"}', "", "OK: a\nb"),
        ("<!channel> & <https://evil.example|click>", "", "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;"),
    ],
)
def test_a_post_says_what_the_message_says_and_notifies_no_channel(message: str, subject: str, text: str) -> None:
    assert text_of(subject, message) == text


def test_a_long_message_is_cut_to_what_chats_show() -> None:
    assert text_of("", "x" * 100_000) == "x" * (MAX_TEXT - 4) + " ..."
    assert text_of("", "x" * MAX_TEXT) == "x" * MAX_TEXT


def test_without_a_chat_the_run_fails_by_the_name_of_the_parameter() -> None:
    with pytest.raises(NotConfigured, match="AlarmChatUrl"):
        Chat("", lambda _payload, _key: "").post({"MessageId": "m", "Message": "x"})


@pytest.mark.parametrize(
    "other", [{}, None, [], {"Records": []}, {"Records": [{"Sns": {"Message": 7}}]}, {"detail": 1}]
)
def test_an_event_of_another_shape_posts_nothing(on_aws: AwsHarness, other: Any) -> None:
    assert alert(on_aws, other) == {"ignored": "this function takes messages of the alarm topics"}
