"""Invokes functions as AWS would, over an AWS in the process, and counts what AWS bills for.

Each call is counted where botocore makes it, DynamoDB's units by AWS's published rules (`bench.units`). What is written
to a table with a stream comes back as its records.

Assumed, because nothing here can show it: an invocation lasts `BASE_MS`, `CALL_MS` for each call of AWS and
`PROVIDER_MS` for each mail or message. Prices are those of us-east-1 on demand, without any free tier; November 2026.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")

from botocore.session import get_session

from adbot_queue.core import aws
from adbot_queue.jobs import job_queues
from adbot_queue.testing.in_process_aws import REGION
from bench.units import Meter, Wire, size
from tests.builders.world import AwsHarness, FakeContext

BASE_MS, CALL_MS, PROVIDER_MS = 5, 6, 200
MILLION = 1_000_000
PRICES = {
    "DynamoDB write units": 0.625 / MILLION,
    "DynamoDB read units": 0.125 / MILLION,
    "SQS requests": 0.40 / MILLION,
    "Lambda requests": 0.20 / MILLION,
    "Lambda GB-seconds": 0.0000133334,
    "API requests": 1.00 / MILLION,
    "events": 1.00 / MILLION,
    "GB of logs": 0.50,
    "Secrets Manager requests": 0.05 / 10_000,
    "secrets": 0.40,
    "alarms": 0.10,
}
MEMORY_GB = 1.0
Figures = dict[str, float]
STREAMS = {"AdBotsTable": ("tally", ("ADBOT#", "ORDER#")), "JobsTable": ("tally_jobs", ("JOB#",))}
QUEUES_OF = {"payments": "settle_payments", "allocation": "allocate"}


class Counting(Meter):
    """Counts all calls and units, and keeps the stream records of what is written."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.reads = 0.0
        self.others: Counter[str] = Counter()
        self.written = 0
        uncounted = get_session().create_client("dynamodb", region_name=REGION)
        super().__init__(aws.dynamodb(), uncounted)  # type: ignore[arg-type]
        self._clients = [aws.dynamodb(), aws.sqs(), aws.events(), aws.sns(), aws.secrets_manager()]
        for client in self._clients:
            client.meta.events.register("after-call", self._answered, unique_id="cost")

    def close(self) -> None:
        """Leave the clients as they were: other benchmarks share them."""
        aws.dynamodb().meta.events.unregister("provide-client-params.dynamodb", self._begin)
        aws.dynamodb().meta.events.unregister("after-call.dynamodb", self._end)
        for client in self._clients:
            client.meta.events.unregister("after-call", unique_id="cost")

    def _answered(self, model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        service = model.service_model.service_name
        if service != "dynamodb":
            self.others[service] += 1
        else:
            self.reads += _read_units(model.name, parsed, consistent=context.get("consistent", True))

    def _begin(self, params: dict[str, Any], model: Any, context: dict[str, Any], **more: Any) -> None:
        super()._begin(params=params, model=model, context=context, **more)
        asked = list(params.get("RequestItems", {}).values()) if model.name == "BatchGetItem" else [params]
        context["consistent"] = any(isinstance(one, dict) and one.get("ConsistentRead", False) for one in asked)

    def _changed(self, table: str, before: Wire | None, after: Wire | None) -> None:
        if table not in STREAMS or before == after:
            return
        image = after or before or {}
        if not image["pk"]["S"].startswith(STREAMS[table][1]):
            return
        self.written += 1
        name = "INSERT" if before is None else "REMOVE" if after is None else "MODIFY"
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": 1_800_000_000,
            "Keys": {"pk": image["pk"], "sk": image["sk"]} if "sk" in image else {"pk": image["pk"]},
            "SequenceNumber": str(10**20 + self.written),
        }
        if before is not None:
            change["OldImage"] = before
        if after is not None:
            change["NewImage"] = after
        self.records.append((table, {
            "eventID": f"e{self.written}", "eventName": name, "eventSource": "aws:dynamodb", "dynamodb": change,
            "eventSourceARN": f"arn:aws:dynamodb:{REGION}:123456789012:table/{table}/stream/2026",
        }))  # fmt: skip


def _read_units(operation: str, answer: dict[str, Any], *, consistent: bool) -> float:
    """Units of 4 KB, halves for reads that may be old. What a filter leaves out is not seen."""
    each = 1.0 if consistent else 0.5
    match operation:
        case "GetItem":
            return each * _blocks(size(answer.get("Item", {})))
        case "BatchGetItem":
            return each * sum(_blocks(size(item)) for found in answer["Responses"].values() for item in found)
        case "Query" | "Scan":
            return each * _blocks(sum(map(size, answer.get("Items", ()))))
        case "TransactGetItems":
            return 2.0 * sum(_blocks(size(one.get("Item", {}))) for one in answer["Responses"])
    return 0.0


def _blocks(number_of_bytes: int) -> int:
    return max(1, -(-number_of_bytes // 4096))


@dataclass
class Account:
    """An installation whose functions are invoked as AWS would, and what that is billed for."""

    world: AwsHarness
    counting: Counting
    used: Figures = field(default_factory=lambda: defaultdict(float))
    units: Figures = field(default_factory=lambda: defaultdict(float))

    def invoke(self, name: str, event: dict[str, Any]) -> Any:
        """Invoke a function."""
        with self.invocation(name):
            return self.world.app(name).handler(event, FakeContext())

    @contextmanager
    def invocation(self, name: str, provider_calls: int = 0) -> Iterator[None]:
        """What a block calls is one invocation's."""
        counting, lines = self.counting, io.StringIO()
        before = (
            counting.calls.total() + counting.others.total(),
            counting.units,
            counting.reads,
            counting.others.copy(),
        )
        with contextlib.redirect_stdout(lines):
            yield
        calls = counting.calls.total() + counting.others.total() - before[0]
        used = {
            "DynamoDB write units": counting.units - before[1],
            "DynamoDB read units": counting.reads - before[2],
            "SQS requests": counting.others["sqs"] - before[3]["sqs"],
            "events": counting.others["events"] - before[3]["events"],
            "Secrets Manager requests": counting.others["secretsmanager"] - before[3]["secretsmanager"],
            "Lambda requests": 1,
            "Lambda GB-seconds": MEMORY_GB * (BASE_MS + CALL_MS * calls + PROVIDER_MS * provider_calls) / 1000,
            "GB of logs": (len(lines.getvalue().encode()) + 200) / 1e9,
        }
        for what, number in used.items():
            self.used[what] += number
        self.units[name] += counting.units - before[1]

    def api(self, function: str, route: str, **options: Any) -> Any:
        """Call a route."""
        self.used["API requests"] += 1
        with self.invocation(function):
            answer = self.world.http(function, route, **options)
        expect(answer.status < 300, answer.text)
        return answer

    def work_off(self, *, batch: int = 10, records: int = 40) -> None:
        """Bring to functions what queues and streams hold, until nothing is left."""
        while self._messages(batch) or self.stream(records):
            pass

    def _messages(self, batch: int) -> int:
        number = 0
        names = QUEUES_OF | dict.fromkeys(job_queues.QUEUES, "work")
        for queue, function in names.items():
            bodies = self._uncounted(self.world.messages, queue)
            for start in range(0, len(bodies), batch):
                part = bodies[start : start + batch]
                number += len(part)
                self.used["SQS requests"] += 2  # Lambda's pollers receive and delete
                with self._job_queue(queue):
                    failures = self.invoke(function, {"Records": [_message(body, queue) for body in part]})
                expect(not (failures or {}).get("batchItemFailures"), failures)
        return number

    def stream(self, records: int) -> int:
        """Bring what was written to the tables' streams to their functions; how much there was."""
        waiting, self.counting.records = self.counting.records, []
        for table, (function, _prefixes) in STREAMS.items():
            found = [record for name, record in waiting if name == table]
            for start in range(0, len(found), records):
                failures = self.invoke(function, {"Records": found[start : start + records]})
                expect(not (failures or {}).get("batchItemFailures"), failures)
        return len(waiting)

    def _uncounted(self, ask: Callable[..., Any], *given: Any) -> Any:
        before = self.counting.others.copy()
        answer = ask(*given)
        self.counting.others = before
        return answer

    @contextmanager
    def _job_queue(self, name: str) -> Iterator[None]:
        from adbot_queue.jobs.worker import worker  # noqa: PLC0415  its cache is what is meant

        with patch.dict(os.environ, {"JOB_QUEUE": name, "JOB_BATCH": "10"}):
            worker.from_env.cache_clear()
            yield

    def spent(self, work: Callable[[], None], number: int) -> tuple[Figures, Figures]:
        """What is used, and the write units by function, for each of a number of things."""
        self.used.clear()
        self.units.clear()
        work()
        return each(self.used, number), each(self.units, number)


def each(used: Figures, number: int) -> Figures:
    """What each of a number of things took."""
    return {name: value / number for name, value in used.items() if value}


def _message(body: Any, queue: str) -> dict[str, Any]:
    source = f"arn:aws:sqs:{REGION}:123456789012:test_{queue}"
    return {"messageId": json.dumps(body), "body": json.dumps(body), "eventSource": "aws:sqs", "receiptHandle": "r",
            "attributes": {}, "eventSourceARN": source}  # fmt: skip


def expect(condition: object, seen: object) -> None:
    """Stop where the counted work failed: its figures would be too small."""
    if not condition:
        raise RuntimeError(f"what is counted did not happen: {seen}")
