"""An outage of one second of an AWS service reaches no caller and costs no attempt; libraries keep to themselves."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import botocore
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError

from adbot_queue import ledger
from adbot_queue.core import aws, patience, queue_batches
from adbot_queue.jobs import service
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.service import Enqueued, JobRequest
from tests.builders.calls import _Raw
from tests.builders.effects import charging, new_provider
from tests.builders.jobs import known_types
from tests.builders.world import AwsHarness, FakeContext

ROOT = Path(__file__).resolve().parents[3]


def played() -> dict[str, Any]:
    """What `tests/support/outage.py` found, in a process without this one's patches."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {"PYTHONPATH": str(ROOT / "layers" / "common"), "NO_PROXY": "127.0.0.1"}
    program = [sys.executable, str(ROOT / "tests" / "support" / "outage.py")]
    answer = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2_000:]
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_forty_outages_with_one_client_reach_no_caller() -> None:
    found = played()

    assert found.pop("botocore") == botocore.__version__
    assert {name.split()[0] for name in found} >= {"dynamodb", "sqs", "secretsmanager"}
    assert {name: outage["failed"] for name, outage in found.items() if outage["failed"]} == {}
    for name, outage in found.items():
        assert 2 * outage["calls"] <= outage["attempts"] <= patience.ATTEMPTS * outage["calls"], name


def test_the_pauses_outlast_a_second_at_their_shortest_and_leave_the_api_time_at_their_longest() -> None:
    with patch.object(random, "uniform", lambda low, _: low):
        assert sum(map(patience.pause_before, range(2, patience.ATTEMPTS + 1))) > 1.0
    with patch.object(random, "uniform", lambda _, high: high):
        assert sum(map(patience.pause_before, range(2, patience.ATTEMPTS + 1))) < 4.0
    hangs = aws.CONFIG.connect_timeout + aws.CONFIG.read_timeout  # type: ignore[attr-defined]
    assert patience.LAST_START_S + hangs < 15


CLIENTS = (aws.dynamodb, aws.sqs, aws.sns, aws.events, aws.secrets_manager, aws.s3)


@pytest.mark.parametrize("make", CLIENTS, ids=lambda make: make.__name__)
def test_every_client_that_repeats_calls_has_chosen_how(make: Any) -> None:
    client = make()

    assert client.meta.config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (2, 5)


class Outage:
    """Answers the requests of a client's process with an error, or an exception, until its second has passed."""

    def __init__(self, status: int = 500, error: Exception | None = None, seconds: float = 1.0) -> None:
        self.status, self.error, self.seconds = status, error, seconds
        self.now, self.began = 1_000.0, -1.0
        self.attempts = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        self.began = self.now if self.began < 0 else self.began
        if self.now - self.began >= self.seconds:
            return None
        self.attempts += 1
        if self.error:
            self.now += 5
            raise self.error
        body = b'{"__type": "InternalServerError", "message": "down"}'
        return AWSResponse(request.url, self.status, {"content-type": "application/json"}, _Raw(body))


@contextmanager
def outage_of(*clients: Any, **how: Any) -> Iterator[Outage]:
    outage = Outage(**how)
    clock = SimpleNamespace(sleep=outage.sleep, monotonic=lambda: outage.now)
    with ExitStack() as stack:
        stack.enter_context(patch("botocore.endpoint.time", clock))
        stack.enter_context(patch.object(patience, "time", clock))
        for client in clients:
            client.meta.events.register_first("before-send", outage)
            stack.callback(client.meta.events.unregister, "before-send", outage)
        yield outage


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_an_outage_costs_a_job_no_attempt(on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("JOB_QUEUE", "money")
    monkeypatch.setenv("JOB_BATCH", "10")
    provider = new_provider()
    with known_types(charging()):
        (made,) = service.from_env().enqueue_many(
            [JobRequest("charge", {"name": "a", "goes": []})], ledger.SYSTEM, lambda: 60_000
        )
        assert isinstance(made, Enqueued)
        record = {"messageId": "m", "body": json.dumps({"job": made.job.id, "queue": "money"})}
        with outage_of(aws.dynamodb(), aws.sqs(), status=status) as outage:
            answer = on_aws.app("work").handler({"Records": [record]}, FakeContext())

    done = service.from_env().job(made.job.id)
    assert answer == {"batchItemFailures": []}
    assert (done.state, done.attempt, provider.effects["a"]) == (JobState.COMPLETED, 1, 1)
    assert outage.attempts >= 2


@pytest.mark.parametrize("status", [500, 503])
def test_an_outage_reaches_no_caller_of_the_api(on_aws: AwsHarness, status: int) -> None:
    on_aws.pool()
    with outage_of(aws.dynamodb(), aws.sqs(), aws.secrets_manager(), status=status) as outage:
        bought = on_aws.http(
            "admin_create",
            "POST /admin/adbots",
            role="admin",
            body={"user_id": "cara", "required_sessions": 1, "pool": "standard"},
        )

    assert bought.status == 201
    assert outage.attempts >= 2


def test_a_service_that_hangs_is_asked_twice_and_then_given_up(on_aws: AwsHarness) -> None:
    error = ReadTimeoutError(endpoint_url="https://dynamodb")
    with outage_of(aws.dynamodb(), error=error, seconds=1e9) as outage, pytest.raises(ReadTimeoutError):
        aws.dynamodb().get_item(TableName=on_aws.env["ADBOTS_TABLE"], Key={"pk": {"S": "a"}, "sk": {"S": "b"}})

    assert outage.attempts == 2


def test_an_error_that_stays_is_not_repeated(on_aws: AwsHarness) -> None:
    with outage_of(aws.dynamodb(), status=400, seconds=1e9) as outage, pytest.raises(Exception, match="InternalServer"):
        aws.dynamodb().get_item(TableName=on_aws.env["ADBOTS_TABLE"], Key={"pk": {"S": "a"}, "sk": {"S": "b"}})
    assert outage.attempts == patience.ATTEMPTS  # the code says that it passes, whatever the status

    body = {"Error": {"Code": "ValidationException"}}
    assert not patience._passes(SimpleNamespace(status_code=400), body)


@pytest.mark.parametrize(
    ("codes", "passes"),
    [
        (["None", "ThrottlingError"], True),
        (["ProvisionedThroughputExceeded", "ThrottlingError"], True),
        (["None", "TransactionConflict"], False),
        (["ThrottlingError", "ConditionalCheckFailed"], False),
        (["ValidationError"], False),
        ([], False),
    ],
)
def test_a_cancelled_transaction_is_sent_again_if_it_was_throttled_and_nothing_else(
    codes: list[str], passes: bool
) -> None:
    parsed = {
        "Error": {"Code": "TransactionCanceledException"},
        "CancellationReasons": [{"Code": code} for code in codes],
    }

    assert patience._passes(SimpleNamespace(status_code=400), parsed) is passes


class Queue:
    """Fails some entries of its first calls, as SQS does when a part of it is down."""

    def __init__(self, *failing: dict[str, bool]) -> None:
        self.failing = list(failing)
        self.sent: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.sent.append([entry["Id"] for entry in Entries])
        failing = self.failing.pop(0) if self.failing else {}
        return {"Failed": [{"Id": name, "SenderFault": fault} for name, fault in failing.items()]}


def send(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return queue_batches.send_many(queue, "https://sqs/q", [({"n": n}, 0) for n in range(4)])  # type: ignore[arg-type]


def test_entries_that_sqs_failed_on_are_sent_again_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue({"1": False, "2": True}, {"1": False})

    assert send(queue, monkeypatch) == [2]
    assert queue.sent == [["0", "1", "2", "3"], ["1"], ["1"]]


def test_entries_that_sqs_keeps_failing_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(*[{"3": False}] * 20)

    assert send(queue, monkeypatch) == [3]
    assert len(queue.sent) == patience.ATTEMPTS


SDK_CALL = """
import sys
from adbot_queue.providers import stripe_client
client = stripe_client.make("sk_test_1", "http://127.0.0.1:9")
try: client.v1.customers.list()
except Exception as error: print(type(error).__name__)
import sendgrid, python_http_client, standardwebhooks, solders.keypair
sendgrid.SendGridAPIClient("SG.x"); solders.keypair.Keypair()
"""


def test_no_library_writes_into_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT / "layers" / "common"), "NO_PROXY": "127.0.0.1"}
    answer = subprocess.run(
        [sys.executable, "-c", SDK_CALL], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert (answer.returncode, answer.stdout.strip()) == (0, "APIConnectionError"), answer.stderr
    assert list(tmp_path.rglob("*")) == [home]


def test_stripes_telemetry_is_off() -> None:
    import stripe  # noqa: PLC0415

    from adbot_queue.providers import stripe_client  # noqa: PLC0415

    with patch.object(stripe, "enable_telemetry", new=True):
        stripe_client.make.__wrapped__("sk_test_1", "")
        assert stripe.enable_telemetry is False
