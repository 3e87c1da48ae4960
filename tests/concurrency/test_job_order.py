"""The order of service under load, several workers at once: priority, and fairness between tenants."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import pytest

from adbot_queue.core import telemetry
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import job_types
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import item_of
from adbot_queue.jobs.worker import worker as execute
from adbot_queue.platform.rate import Rate
from adbot_queue.testing.tables import create_tables
from bench.pools import write
from tests.builders.clocks import FakeClock
from tests.builders.sqs import FakeSqs
from tests.concurrency.job_provider import PROVIDERS, Provider
from tests.concurrency.job_run import TYPES, Platform, Run
from tests.support.dynamodb_local import client, lacking

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.xdist_group("dynamodb-local"),
    pytest.mark.skipif(lacking() is not None, reason=str(lacking())),
    pytest.mark.timeout(300),
]

WORKERS = 4


class Load(Run):
    """A backlog in one queue, and workers on it. The clock does not move."""

    def __init__(self, endpoint: str, name: str) -> None:
        super().__init__(0, endpoint, 0)
        self.name = name
        self.clean = client(endpoint)
        self.tables = create_tables(
            self.clean, "JobsTable", "SystemTable", "LedgerTable", prefix=f"{name}{time.monotonic_ns()}-"
        )
        self.clock = FakeClock()  # type: ignore[assignment]
        self.provider = PROVIDERS[name] = Provider(name, calm=True)
        self.sqs = FakeSqs(self.clock, seed=name)
        self.platform = Platform(self, self.clean)
        self.refused = 0

    def job(self, name: str, virtual_time: int, priority: int = 0, tenant: str = "system") -> Job:
        payload = {"run": self.name, "name": name}
        made = Job(time_ordered_id(self.clock()), "order-money", "money", payload, self.clock(), priority=priority)
        return made.changed(tenant=tenant).waiting(virtual_time)

    def put(self, jobs: Sequence[Job]) -> None:
        """Rows and messages, as enqueueing leaves them."""
        write(self.clean, self.tables["JobsTable"], [item_of(job) for job in jobs])
        assert self.platform.service.dispatcher.send(jobs) == []

    def serve_until(self, names: set[str], least: int = 0) -> list[str]:
        """Run several workers at once until these jobs, and that many in all, are done; return what was served, in
        order.
        """
        counted: Counter[str] = Counter()
        lock = threading.Lock()

        def count(name: str, value: int = 1) -> None:
            with lock:
                counted[name] += value

        def work() -> None:
            platform = Platform(self, client(self.endpoint))
            while len(self.provider.served) < least or not names <= set(self.provider.served):
                platform.serve(self.sqs, "money")

        with patch.object(execute, "count", count), patch.object(telemetry.metrics, "add_metric"):
            workers = [threading.Thread(target=work) for _ in range(WORKERS)]
            for one in workers:
                one.start()
            for one in workers:
                one.join(120)
        served = self.provider.served
        self.refused = counted["ClaimsRefused"]
        print(f"{len(served)} served, {self.refused} claims refused: {self.refused / len(served):.2f} a job")
        return served


@pytest.fixture(autouse=True)
def types() -> Iterator[None]:
    with patch.dict(job_types.LOADED, TYPES):
        yield


def test_twenty_urgent_jobs_are_done_before_a_tenth_of_the_backlog(endpoint: str) -> None:
    load, backlog = Load(endpoint, "priority"), 1_000
    load.put([load.job(f"low {n}", load.clock() + n) for n in range(backlog)])
    urgent = [load.job(f"urgent {n}", load.clock() + backlog + n, priority=5) for n in range(20)]
    load.put(urgent)  # their messages are the last of all

    served = load.serve_until({job.payload["name"] for job in urgent}, least=200)

    last = max(served.index(job.payload["name"]) for job in urgent)
    assert last < backlog // 10
    assert max(Counter(served).values()) == 1
    assert load.refused < len(served) / 2  # workers that look at the same window seldom race for the same job


def test_ten_thousand_jobs_of_one_tenant_do_not_make_another_tenants_one_wait_for_them(endpoint: str) -> None:
    load, number = Load(endpoint, "tenants"), 10_000
    with patch.object(load.platform.service, "_rate", Rate(20, number)):
        taken = [load.platform.service.acquire("ada", 100) for _ in range(number // 100)]
        load.put([load.job(f"ada {n}", taken[n // 100].virtual_time_of(n % 100), tenant="ada") for n in range(number)])
        bob = load.job("bob", load.platform.service.acquire("bob").virtual_time_ms, tenant="bob")
    load.put([bob])

    served = load.serve_until({"bob"})

    assert served.index("bob") < number // 100
    assert max(Counter(served).values()) == 1
