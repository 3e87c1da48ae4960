"""Dead letters on the deployed template: how they are reported and decided about; messages that point to nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from local.stack import Stack
from tests.e2e.conftest import Api, sweep

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]

pytestmark = pytest.mark.timeout(360)


@pytest.fixture
def alerts(aws: Aws, stack: Stack) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """The alerts since the last look: subject and text."""
    url = aws("sqs").create_queue(QueueName=f"alerts-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = stack["outputs"]["DeadLetterTopicArn"]
    may = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = {"Version": "2012-10-17", "Statement": [may | {"Condition": {"ArnEquals": {"aws:SourceArn": topic}}}]}
    aws("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    subscription = aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)

    def read() -> list[tuple[str, str]]:
        found = aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            aws("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        bodies = [json.loads(message["Body"]) for message in found]
        return [(body["Subject"], body["Message"]) for body in bodies]

    yield read
    aws("sns").unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    aws("sqs").delete_queue(QueueUrl=url)


def letters(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = api("viewer", "GET", "/dead-letters", params={"limit": "100", **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def job(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api("viewer", "GET", f"/jobs/{job_id}").json()
    return found


def throttled(api: Api, mark: str) -> str:
    """A job whose provider takes nothing for a while, and takes it after that."""
    payload = {"event": f"e2e {mark} fail=429x2", "user_id": "e2e"}
    made = api("admin", "POST", "/jobs", json={"type": "analytics-track", "payload": payload})
    assert made.status_code == 202, made.text
    return str(made.json()["job_id"])


def let_the_horizon_pass(aws: Aws, stack: Stack, job_id: str) -> bool:
    """Have a job that waits for another try been tried for two days already; False when it does not wait."""
    table = aws("dynamodb")
    try:
        table.update_item(
            TableName=stack["outputs"]["JobsTable"],
            Key={"pk": {"S": f"JOB#{job_id}"}, "sk": {"S": "J"}},
            UpdateExpression="ADD tried_since :ago",
            ConditionExpression="#state = :delayed AND attribute_exists(tried_since)",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={":delayed": {"S": "delayed"}, ":ago": {"N": "-172800000"}},
        )
    except table.exceptions.ConditionalCheckFailedException:
        return False
    return True


@pytest.mark.parametrize("queue", ["Analytics", "Payments", "Allocation"])
def test_messages_that_point_to_nothing_are_dropped_at_once(
    aws: Aws, stack: Stack, eventually: Eventually, queue: str
) -> None:
    url = stack["outputs"][f"{queue}QueueUrl"]
    dlq = stack["outputs"]["FifoDeadLettersUrl" if queue == "Allocation" else "DeadLettersUrl"]
    mark = uuid.uuid4().hex
    nowhere = {
        "Analytics": {"job": mark, "queue": "analytics"},
        "Payments": {"event": f"EVENT#stripe#evt_{mark}"},
        "Allocation": {"pool": f"none-{mark}"},
    }
    fifo = {"MessageGroupId": mark} if queue == "Allocation" else {}
    for number, body in enumerate((f"not json {mark}", json.dumps(nowhere[queue]))):
        group = fifo | ({"MessageDeduplicationId": f"{mark}-{number}"} if fifo else {})
        aws("sqs").send_message(QueueUrl=url, MessageBody=body, **group)

    def waiting(url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    assert eventually(lambda: waiting(url) == 0, seconds=30)
    assert waiting(dlq) == 0


def test_dead_jobs_are_reported_replayed_one_and_in_bulk_and_discarded(
    api: Api, aws: Aws, stack: Stack, alerts: Callable[[], list[tuple[str, str]]], eventually: Eventually
) -> None:
    mark, began = uuid.uuid4().hex, datetime.now(UTC).isoformat()
    ids = [throttled(api, mark) for _ in range(5)]
    for one in ids:
        eventually(lambda one=one: let_the_horizon_pass(aws, stack, one))
    eventually(lambda: {job(api, one)["state"] for one in ids} == {"dead"}, seconds=90)
    texts: list[str] = []

    def all_reported() -> bool:
        texts.extend(text for _, text in alerts())
        return all(any(one in text for text in texts) for one in ids)

    sweep(aws)
    eventually(all_reported, seconds=150)
    one, discarded, *many = ids

    replayed = api("admin", "POST", f"/dead-letters/{one}/replay", json={"reason": "Segment is back"})
    assert (replayed.status_code, replayed.json()["decision"]) == (202, "replayed")
    eventually(lambda: job(api, one)["state"] == "completed", seconds=120)
    gone = api("admin", "DELETE", f"/dead-letters/{discarded}?reason=rubbish")
    assert (gone.status_code, gone.json()["decision"]) == (200, "discarded")

    assert {*many} <= {letter["job_id"] for letter in letters(api, type="analytics-track")}
    chosen = {"type": "analytics-track", "from": began}
    wanted = {"filter": chosen, "rate_per_second": 20, "reason": "Segment is back"}
    dry = api("admin", "POST", "/dead-letters/replays", json=wanted | {"dry_run": True})
    assert (dry.status_code, dry.json()["job_id"]) == (200, None)
    assert dry.json()["count"] >= len(many)
    assert api("admin", "POST", "/dead-letters/replays", json=wanted).status_code == 422
    confirmed = {"confirm": dry.json()["count"], "cut_off": dry.json()["cut_off"]}
    started = api("admin", "POST", "/dead-letters/replays", json=wanted | confirmed)
    assert started.status_code == 202, started.text
    path = f"/dead-letters/replays/{started.json()['job_id']}"
    eventually(lambda: api("viewer", "GET", path).json()["state"] == "completed", seconds=60)

    ended = api("viewer", "GET", path).json()
    assert ended["progress"]["outcomes"] == {"replayed": started.json()["count"]}
    assert ended == api("viewer", "GET", f"/jobs/{ended['job_id']}").json()
    listed = api("viewer", "GET", "/jobs", params={"long": "true"}).json()["items"]
    assert ended["job_id"] in {one["job_id"] for one in listed}
    eventually(lambda: {job(api, each)["state"] for each in many} == {"completed"}, seconds=120)
    assert job(api, discarded)["state"] == "dead"
    assert not {*ids} & {letter["job_id"] for letter in letters(api)}
    assert api("admin", "DELETE", path).status_code == 409
    actions = [entry["action"] for entry in api("viewer", "GET", f"/admin/ledger?target=job:{many[0]}").json()["items"]]
    assert actions == ["dead-letter.replay", "job.enqueue"]
