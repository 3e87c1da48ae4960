"""A message that fails comes back within seconds, dies within about a minute, and holds up no other for longer."""

from __future__ import annotations

import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs import sqs_backends

from adbot_queue.adbots.resolver import Resolver
from adbot_queue.core import aws, consume
from adbot_queue.core.errors import TargetGone
from adbot_queue.core.faults import FAULTS
from adbot_queue.payments.service import PaymentService
from adbot_queue.testing.in_process_aws import REGION
from tests.builders.world import AwsHarness, FakeContext, empty, world
from tests.support.template import RESOURCES, statements

MAX_RECEIVES = 5
VISIBILITY_S = 360


class Queue:
    """A queue with dead letters, on a clock of its own; a function gets its messages as from Lambda."""

    def __init__(self, url: str, dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.dead, self.now_ms = url, dead, 1_800_000_000_000.0
        monkeypatch.setattr("moto.sqs.models.unix_time_millis", lambda *_: self.now_ms)
        arn = self._attribute(dead, "QueueArn")
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES})
        attributes = {"VisibilityTimeout": str(VISIBILITY_S), "RedrivePolicy": policy}
        aws.sqs().set_queue_attributes(QueueUrl=url, Attributes=attributes)
        self.arn = self._attribute(url, "QueueArn")
        self._kept = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[url.rpartition("/")[2]]

    @staticmethod
    def _attribute(url: str, name: str) -> str:
        return aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]  # type: ignore[index]

    def send(self, body: str, group: str | None = None) -> None:
        fifo: Any = {} if group is None else {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex}
        aws.sqs().send_message(QueueUrl=self.url, MessageBody=body, **fifo)

    def receive(self) -> list[dict[str, Any]]:
        found = aws.sqs().receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"])
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
                "eventSourceARN": self.arn,
            }
            for message in found.get("Messages", [])
        ]

    def run(self, handler: Callable[[Any, Any], Any], seconds: int = 200) -> None:
        """Call the function whenever there is something for it, and let time pass otherwise."""
        for _ in range(seconds):
            while records := self.receive():
                answer = handler({"Records": records}, FakeContext())
                failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
                for record in records:
                    if record["messageId"] not in failed:
                        aws.sqs().delete_message(QueueUrl=self.url, ReceiptHandle=record["receiptHandle"])
            if not self._kept._messages:  # moto's own list: those in flight included
                break
            self.now_ms += 1000

    def dead_letters(self) -> list[str]:
        found = aws.sqs().receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10).get("Messages", [])
        return [message["Body"] for message in found]


@pytest.fixture(scope="module")
def one_world() -> Iterator[AwsHarness]:
    with world() as made:
        yield made


@pytest.fixture
def shop(one_world: AwsHarness) -> AwsHarness:
    empty()
    return one_world


@pytest.fixture
def allocation(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    dead = aws.sqs().create_queue(QueueName="test_dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    url = shop.queues["allocation"]
    yield Queue(url, dead, monkeypatch)
    aws.sqs().set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "30", "RedrivePolicy": ""})
    aws.sqs().delete_queue(QueueUrl=dead)


@pytest.fixture
def payments(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    dead = aws.sqs().create_queue(QueueName="test_dead")["QueueUrl"]
    url = shop.queues["payments"]
    yield Queue(url, dead, monkeypatch)
    aws.sqs().set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "30", "RedrivePolicy": ""})
    aws.sqs().delete_queue(QueueUrl=dead)


class Runs:
    """Runs of the allocator: which pool when, and those that fail."""

    def __init__(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        self._began_ms = queue.now_ms
        self.served: list[tuple[str, int]] = []
        self.failures: dict[str, int] = defaultdict(int)  # pool -> runs that fail yet
        self.tried: list[str] = []

        def resolve(_resolver: Resolver, pool: str, _time_left: Callable[[], int]) -> None:
            self.tried.append(pool)
            if pool == "gone":
                raise TargetGone("there is no pool gone")
            if self.failures[pool]:
                self.failures[pool] -= 1
                raise RuntimeError("no luck")
            self.served.append((pool, round((queue.now_ms - self._began_ms) / 1000)))

        monkeypatch.setattr(Resolver, "run", resolve)

    def when(self, pool: str) -> int:
        return dict(self.served)[pool]


@pytest.fixture
def runs(allocation: Queue, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(allocation, monkeypatch)


WITHOUT_TARGET = ["no JSON", "{}", "[]", "null", '"pool"', '{"pool": ', '{"pool": 5}', '{"pool": "gone"}']
"""Bodies that point to nothing."""


@pytest.mark.parametrize("body", WITHOUT_TARGET)
def test_a_message_that_points_to_nothing_is_dropped_at_once_and_holds_up_no_other(
    shop: AwsHarness, allocation: Queue, runs: Runs, body: str
) -> None:
    allocation.send(body, "group")
    allocation.send('{"pool": "behind"}', "group")

    allocation.run(shop.app("allocate").handler)

    assert runs.when("behind") == 0
    assert allocation.dead_letters() == []


@pytest.mark.parametrize("before", [0, 1])
def test_a_poison_message_dies_in_a_minute_and_those_behind_it_are_served(
    shop: AwsHarness, allocation: Queue, runs: Runs, before: int
) -> None:
    poison = '{"pool": "poison"}'
    runs.failures["poison"] = 1000
    for number in range(before):
        allocation.send(json.dumps({"pool": f"before-{number}"}), "group")
    allocation.send(poison, "group")
    for number in range(3):
        allocation.send(json.dumps({"pool": f"behind-{number}"}), "group")
    allocation.send('{"pool": "other"}', "another group")

    allocation.run(shop.app("allocate").handler)

    assert runs.when("other") == 0
    assert [pool for pool, _ in runs.served if pool.startswith("behind")] == ["behind-0", "behind-1", "behind-2"]
    assert runs.when("behind-2") <= 60
    assert allocation.dead_letters() == [poison]


def test_a_poison_message_is_in_the_dlq_after_about_a_minute(shop: AwsHarness, allocation: Queue, runs: Runs) -> None:
    runs.failures["poison"] = 1000
    allocation.send('{"pool": "poison"}', "group")

    allocation.run(shop.app("allocate").handler, seconds=70)

    assert runs.served == []
    assert allocation.dead_letters() == ['{"pool": "poison"}']


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_a_message_that_fails_for_a_while_is_done_in_its_turn(
    shop: AwsHarness, allocation: Queue, runs: Runs, failures: int
) -> None:
    runs.failures["first"] = failures
    for pool in ("first", "second", "third"):
        allocation.send(json.dumps({"pool": pool}), "group")

    allocation.run(shop.app("allocate").handler)

    waited = sum(2**n for n in range(1, failures + 1))
    assert [pool for pool, _ in runs.served] == ["first", "second", "third"]
    assert waited <= runs.when("third") <= waited + 2 * failures
    assert allocation.dead_letters() == []


@pytest.mark.parametrize("seed", range(12))
def test_order_holds_in_every_group_whatever_fails(shop: AwsHarness, allocation: Queue, runs: Runs, seed: int) -> None:
    chance = random.Random(seed)
    sent: dict[str, list[str]] = defaultdict(list)
    for number in range(chance.randint(1, 25)):
        group = f"g{chance.randint(0, 3)}"
        pool = f"{group}-{number}"
        sent[group].append(pool)
        allocation.send(json.dumps({"pool": pool}), group)
    for members in sent.values():
        runs.failures[chance.choice(members)] = chance.choice([0, 1, 4, 1000])
    poison = {pool for pool, number in runs.failures.items() if number == 1000}

    allocation.run(shop.app("allocate").handler, seconds=150)

    served: dict[str, list[str]] = defaultdict(list)
    for pool, _ in runs.served:
        served[pool.partition("-")[0]].append(pool)
    for group, members in sent.items():
        assert served[group] == [pool for pool in members if pool not in poison]
    assert {json.loads(body)["pool"] for body in allocation.dead_letters()} == poison


def test_no_message_is_tried_before_the_failed_one_in_front_of_it(
    shop: AwsHarness, allocation: Queue, runs: Runs
) -> None:
    runs.failures["first"] = 1
    for pool in ("first", "second"):
        allocation.send(json.dumps({"pool": pool}), "group")

    answer = shop.app("allocate").handler({"Records": allocation.receive()}, FakeContext())

    assert len(answer["batchItemFailures"]) == 2
    assert runs.tried == ["first"]


def no_luck(*_: Any, **__: Any) -> None:
    raise RuntimeError("no luck")


@pytest.mark.parametrize(("received", "wait"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (999, 60)])
@pytest.mark.parametrize("function", ["allocate", "settle_payments"])
def test_a_failed_message_says_when_it_comes_back(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, function: str, received: int, wait: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(aws.sqs(), "change_message_visibility_batch", lambda **request: asked.append(request) or {})
    queue = {"allocate": "allocation", "settle_payments": "payments"}[function]
    arn = Queue._attribute(shop.queues[queue], "QueueArn")
    attributes = {"ApproximateReceiveCount": str(received), "MessageGroupId": "g"}
    monkeypatch.setattr(Resolver, "run", no_luck)
    monkeypatch.setattr(PaymentService, "settle", no_luck)
    body = json.dumps({"pool": "p", "event": "e"})
    record = {"messageId": "m", "receiptHandle": "r", "body": body, "attributes": attributes, "eventSourceARN": arn}

    answer = shop.app(function).handler({"Records": [record]}, FakeContext())

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m"}]}
    (request,) = asked
    assert request["QueueUrl"] == shop.queues[queue]
    assert request["Entries"] == [{"Id": "0", "ReceiptHandle": "r", "VisibilityTimeout": wait}]


def test_a_payment_that_cannot_be_settled_is_in_the_dlq_in_a_minute_and_holds_up_no_other(
    shop: AwsHarness, payments: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []

    def settle(_service: PaymentService, event: str, **_: Any) -> None:
        settled.append(event) if event == "good" else no_luck()

    monkeypatch.setattr(PaymentService, "settle", settle)
    payments.send('{"event": "bad"}')
    payments.send('{"event": "good"}')

    payments.run(shop.app("settle_payments").handler, seconds=70)

    assert settled == ["good"]
    assert payments.dead_letters() == ['{"event": "bad"}']


def test_messages_that_sqs_will_not_give_back_early_are_reported_all_the_same(
    shop: AwsHarness, allocation: Queue, runs: Runs
) -> None:
    runs.failures["first"] = 1
    allocation.send('{"pool": "first"}', "a group without messages in flight")
    records = [record | {"receiptHandle": "expired"} for record in allocation.receive()]

    answer = shop.app("allocate").handler({"Records": records}, FakeContext())

    assert answer == {"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}


def test_the_template_allows_as_many_receives_as_the_code_counts() -> None:
    policies = {
        name: item["Properties"]["RedrivePolicy"]["maxReceiveCount"]
        for name, item in RESOURCES.items()
        if item["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" in item["Properties"]
    }

    assert set(policies.values()) == {consume.MAX_RECEIVES} == {MAX_RECEIVES}


@pytest.mark.parametrize("name", [n for n, i in RESOURCES.items() if i["Type"] == "AWS::Serverless::Function"])
def test_a_consumer_may_change_the_visibility_of_its_own_queues_alone(name: str) -> None:
    function = RESOURCES[name]["Properties"]
    sources = [event["Properties"]["Queue"] for event in function.get("Events", {}).values() if event["Type"] == "SQS"]
    role = function["Role"]["Fn::GetAtt"][0]
    allowed = [
        resource
        for name, statement in statements()
        if name == role and "sqs:ChangeMessageVisibility" in statement["Action"]
        for resource in statement["Resource"]
    ]

    assert sorted(map(str, allowed)) == sorted(map(str, sources))


def test_a_failed_message_and_a_dead_one_ring_an_alarm() -> None:
    metrics = {
        (alarm["Properties"]["MetricName"], str(alarm["Properties"].get("Dimensions")))
        for alarm in RESOURCES.values()
        if alarm["Type"] == "AWS::CloudWatch::Alarm"
    }

    assert "MessagesFailed" in FAULTS["MessagesFaults"]
    assert any(name == "MessagesFaults" and "adbot-queue" in where for name, where in metrics)
    assert any(name == "ApproximateNumberOfMessagesVisible" and "FifoDeadLetters" in where for name, where in metrics)
