"""An AWS in the process (moto), with the project's tables, queues and bus."""

from __future__ import annotations

import copyreg
import json
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

from botocore import UNSIGNED
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.events.models import events_backends
from moto.sqs.models import sqs_backends

from adbot_queue.core import aws
from adbot_queue.jobs import job_queues
from adbot_queue.providers.declarations import PROVIDERS
from adbot_queue.testing.moto_partiql import partiql
from adbot_queue.testing.moto_threads import one_call_at_a_time
from adbot_queue.testing.tables import create_tables

REGION = "eu-central-1"
ALL_QUEUES = tuple(job_queues.QUEUES)
"""As declared: a test that knows fewer may be the first to ask for an AWS."""

BASE_ENV = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "EVENT_BUS": "events",
    # Every provider's secret has its provider's name.
    "PROVIDERS": json.dumps({name: {"secret": name, "base": ""} for name in PROVIDERS}),
    "WEBHOOK_SECRET_ID": "webhook",
    "ADDRESS_KEY_ID": "address-key",
    "DEAD_LETTER_TOPIC": "arn:aws:sns:eu-central-1:123456789012:dead-letters",
    "DEFAULT_POOL": "standard",
    # The users of most tests are in no pool.
    "KNOWN_USERS": "any",
    "JOB_WORKER": "test_%sWorker",
    "JOBS_PER_SECOND": "20",
    "JOBS_BURST": "2000",
    "EVENT_SOURCE_MAPPINGS": "",
    "PUBLIC_API_URL": "https://api.example.com",
    "OTP_SECRET_ID": "otp",
    "REPORTS_BUCKET": "reports",
    "CONSOLE_URL": "",
    "OPT_OUT_REPLY": "You get no more messages from us.",
    "HELP_REPLY": "This is Acme. Reply STOP to get no more messages.",
    "ALARM_CHAT_URL": "https://hooks.test/services/T0/s3cret",
    "ADMIN_EMAIL": "admin@example.com",
    "MAIL_FROM": "bots@example.com",
    "CHECKOUT_SUCCESS_URL": "https://shop.example.com/thanks",
    "CHECKOUT_CANCEL_URL": "https://shop.example.com/plans",
    "POWERTOOLS_METRICS_NAMESPACE": "AdBotQueue",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}


@dataclass(frozen=True, slots=True)
class InProcessAws:
    """What a function finds in its environment, and the URL of each queue by its name."""

    env: dict[str, str]
    queues: dict[str, str]


_KEPT = (aws.__name__, "adbot_queue.testing", "adbot_queue.console.render")
"""Modules whose caches outlive a test: clients, and compiled templates."""


def forget_cached() -> None:
    """Drop every cached setting and service: the next test has an AWS of its own.

    Clients stay: moto answers those that were made before as well, and making one takes as long as a whole test.
    """
    for name, module in sys.modules.copy().items():  # a thread or a finaliser may import meanwhile
        if name.startswith("adbot_queue") and not name.startswith(_KEPT):
            for clear in _caches(module):
                clear()


@cache
def _caches(module: ModuleType) -> list[Callable[[], None]]:
    values = [value for value in vars(module).values() if hasattr(value, "cache_clear")]
    return [value.cache_clear for value in values if getattr(value, "__module__", "").startswith("adbot_queue")]


_BACKENDS = (dynamodb_backends, sqs_backends, events_backends)
copyreg.pickle(threading.Condition, lambda _one: (threading.Condition, ()))  # each of moto's queues has one


@cache
def _made() -> tuple[dict[str, str], dict[str, str], bytes]:
    """Tables by logical id, queues by name, and what moto holds of them: made once, copied for each world.

    Asking moto for all of it takes a hundred times as long as copying it.
    """
    tables = create_tables(aws.dynamodb())
    queues = {
        "payments": aws.sqs().create_queue(QueueName="test_payments")["QueueUrl"],
        "allocation": aws.sqs().create_queue(QueueName="test_allocation.fifo", Attributes={"FifoQueue": "true"})[
            "QueueUrl"
        ],
        "given-up": aws.sqs().create_queue(QueueName="test-given-up")["QueueUrl"],
    }
    jobs = {name: aws.sqs().create_queue(QueueName=f"test_jobs-{name}")["QueueUrl"] for name in ALL_QUEUES}
    aws.events().create_event_bus(Name="events")
    held = pickle.dumps([vars(backends[DEFAULT_ACCOUNT_ID][REGION]) for backends in _BACKENDS])
    return tables, queues | jobs, held


@contextmanager
def _unsigned() -> Iterator[None]:
    """Do not sign what is sent to DynamoDB: moto does not look, and signing takes a quarter of a call's time."""
    events, choice = aws.dynamodb().meta.events, ("choose-signer.dynamodb", lambda **_: UNSIGNED)
    events.register(*choice)
    try:
        yield
    finally:
        events.unregister(*choice)


@contextmanager
def in_process_aws() -> Iterator[InProcessAws]:
    """An empty AWS with the project's tables, queues and bus, and nothing else."""
    one_call_at_a_time()
    with mock_aws(), partiql(), patch.dict(os.environ, BASE_ENV):
        forget_cached()
        tables, queues, held = _made()
        for backends, state in zip(_BACKENDS, pickle.loads(held), strict=True):  # noqa: S301  our own
            backend: Any = backends[DEFAULT_ACCOUNT_ID][REGION]  # type: ignore[index]
            backend.__dict__.update(state)
        env = {
            "ADBOTS_TABLE": tables["AdBotsTable"],
            "PAYMENTS_TABLE": tables["PaymentsTable"],
            "LEDGER_TABLE": tables["LedgerTable"],
            "SYSTEM_TABLE": tables["SystemTable"],
            "JOBS_TABLE": tables["JobsTable"],
            "ANALYTICS_TABLE": tables["AnalyticsTable"],
            "LEADS_TABLE": tables["LeadsTable"],
            "QUEUE_URL": queues["payments"].replace("payments", "%s"),
            "GIVEN_UP_BATCHES_URL": queues["given-up"],
        }
        with patch.dict(os.environ, env), _unsigned():
            yield InProcessAws(env, queues)
        forget_cached()
