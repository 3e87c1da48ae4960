"""Is what we stand on there? The route is public: `LastKnown` bounds how often AWS is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.last_known import LastKnown
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues


class Readiness:
    """Asks every table for its status and every queue for its attributes."""

    def __init__(self, checks: dict[str, Callable[[], bool]], seconds: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._known: LastKnown[dict[str, str]] = LastKnown("readiness", self._ask, {}, seconds)

    def check(self) -> dict[str, str]:
        """Name of each part -> `ok`, or the kind of error that asking gave. At most 5 s old."""
        return self._known.get()

    def _ask(self) -> dict[str, str]:
        return {name: _outcome(check) for name, check in self._checks.items()}


def _outcome(check: Callable[[], bool]) -> str:
    try:
        return "ok" if check() else "not active"
    except (ClientError, BotoCoreError) as error:
        return type(error).__name__


def _table(name: str) -> Callable[[], bool]:
    return lambda: aws.dynamodb().describe_table(TableName=name)["Table"]["TableStatus"] in {"ACTIVE", "UPDATING"}


def _queue(url: str) -> Callable[[], bool]:
    return lambda: bool(aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"])


@lru_cache(maxsize=1)
def from_env() -> Readiness:
    """The check of everything that the template names."""
    env = settings()
    tables = {
        "adbots": env.adbots_table,
        "payments": env.payments_table,
        "ledger": env.ledger_table,
        "system": env.system_table,
        "jobs": env.jobs_table,
    }
    queues = {
        "payments": env.payments_queue_url,
        "allocation": env.allocation_queue_url,
    } | job_queues.queue_urls(env.queue_url)
    return Readiness(
        {f"table:{name}": _table(table) for name, table in tables.items()}
        | {f"queue:{name}": _queue(url) for name, url in queues.items()}
    )
