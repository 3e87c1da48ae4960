"""A thousand jobs of three kinds on the embedded AWS, some of which fail, with the kill switch flipped twice meanwhile.

Each is accounted for three times: by its row, by its queue's counters, and by the provider's stand-in, which tells how
often something happened under the job's key.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Api, eventually

TOTAL = 1000
BATCH = 100
BATCHES = 8
DIRECT = 20
SENDERS = 2
SECONDS = 240
FOLLOWED_S = 6
"""Every process knows of a flip after 5 s."""

QUEUES = ("email", "money", "analytics")
PROVIDERS = {"email": "sendgrid", "money": "stripe", "analytics": "segment"}
FAIL_ONCE = {3, 14, 25, 36, 47, 58, 69, 70, 81, 92}
"""Of a hundred: 10 meet a busy provider on their first attempt, of each kind as many as it has of all."""

REFUSED = {15, 88}
"""Of a hundred: 2 are refused for good."""


@dataclass(frozen=True)
class Wish:
    """A job to enqueue, and what must become of it."""

    index: int
    body: dict[str, Any]
    queue: str
    state: str
    attempts: int


def wish(run: str, index: int) -> Wish:
    """Job number `index` of a run: 4 of 10 are mails, 3 payments, 3 events."""
    part = index % 100
    busy, refused = part in FAIL_ONCE, part in REFUSED
    note = f"{run} {index}" + (" fail=503x1" if busy else " fail=400" if refused else "")
    state, attempts = ("failed" if refused else "completed"), (2 if busy else 1)
    match index % 10:
        case 0 | 1 | 2 | 3:
            mail = {"to": "cara@example.com", "subject": note, "text": "Here it is."}
            return Wish(index, {"type": "send-email", "payload": mail}, "email", state, attempts)
        case 4 | 5 | 6:
            card = "pm_card_chargeDeclined" if refused else "pm_card_visa"
            payment = {"amount": 500, "currency": "eur", "payment_method": card, "metadata": {"note": note}}
            if refused:
                payment["metadata"] = {"note": run, "index": str(index)}
            return Wish(index, {"type": "payment-process", "payload": payment}, "money", state, attempts)
    event = {"event": "Ticket Bought", "user_id": "cara", "properties": {"note": note}}
    return Wish(index, {"type": "analytics-track", "payload": event}, "analytics", state, attempts)


@dataclass
class Load:
    """A run: what was wanted, what was answered, and what became of it."""

    api: Api
    providers: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    ids: dict[int, str] = field(default_factory=dict)
    direct: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wishes = [wish(self.run, index) for index in range(TOTAL)]
        self._batches = [list(range(start, start + BATCH)) for start in range(0, BATCHES * BATCH, BATCH)]
        self._singles = list(range(BATCHES * BATCH, TOTAL))

    def post(self, path: str, body: dict[str, Any], key: str | None = None, user: int = 0) -> dict[str, Any]:
        """Enqueue; what is not answered in time is sent again under the same keys, as a caller would."""
        headers = {"idempotency-key": key} if key else {}

        def answered() -> dict[str, Any] | None:
            answer = self.api(("owner", "admin")[user % 2], "POST", path, json=body, headers=headers)
            if answer.status_code >= 500:
                return None
            assert answer.status_code in {200, 201, 202}, answer.text  # 200: asked again
            found: dict[str, Any] = answer.json()
            return found

        found: dict[str, Any] = eventually(answered, 90)
        return found

    def batch(self, indexes: list[int]) -> dict[str, Any]:
        """Enqueue jobs together."""
        bodies = [{**self.wishes[index].body, "idempotency_key": f"{self.run}-{index}"} for index in indexes]
        view = self.post("/jobs/batch", {"jobs": bodies}, user=indexes[0] // BATCH)
        self.ids |= {index: item["job_id"] for index, item in zip(indexes, view["items"], strict=True)}
        return view

    def single(self) -> dict[str, Any] | None:
        """Enqueue one more on its own; None when there is none left."""
        if not self._singles:
            return None
        index = self._singles.pop()
        view = self.post("/jobs", self.wishes[index].body, f"{self.run}-{index}", index)
        self.ids[index] = view["job_id"]
        return view

    def batches(self, number: int) -> None:
        """Enqueue that many batches, several at once."""
        now, self._batches = self._batches[:number], self._batches[number:]
        with ThreadPoolExecutor(SENDERS) as senders:
            list(senders.map(self.batch, now))

    def flip(self, mode: str) -> None:
        """Throw the switch, and go on enqueuing until every process has heard of it."""
        answer = self.api("owner", "POST", "/admin/system/mode", json={"mode": mode, "reason": "load test"})
        assert answer.status_code == 200, answer.text
        flipped = datetime.fromisoformat(answer.json()["changed_at"])

        def followed() -> bool:
            self.single()
            return (datetime.now(UTC) - flipped).total_seconds() > FOLLOWED_S

        eventually(followed)

    def directly(self) -> None:
        """Enqueue some that are executed within their requests."""
        with ThreadPoolExecutor(SENDERS) as senders:
            self.direct = [view for view in senders.map(lambda _: self.single(), range(DIRECT)) if view]

    def rest(self) -> None:
        """Enqueue everything that is left."""
        self.batches(len(self._batches))
        while self.single():
            pass

    def effects(self, queue: str) -> dict[str, dict[str, int]]:
        """By job: how often its provider was asked, and how often something happened."""
        shown = requests.get(f"{self.providers}/_effects", timeout=60).json()[PROVIDERS[queue]]
        mine = set(self.ids.values())
        return {key: counts for key, counts in shown.items() if key in mine}

    def happened(self) -> int:
        """Effects of all jobs together."""
        return sum(counts["effects"] for queue in QUEUES for counts in self.effects(queue).values())

    def look(self) -> int:
        """Read the lists of ended jobs; how many of ours are in them."""
        mine = set(self.ids.values())
        for queue in QUEUES:
            for state in ("completed", "failed", "dead", "cancelled"):
                self.jobs |= {job["job_id"]: job for job in self._listed(queue, state) if job["job_id"] in mine}
        return len(self.jobs)

    def _listed(self, queue: str, state: str) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            query = {"state": state, "limit": "100"} | ({"cursor": cursor} if cursor else {})
            page = self.api("viewer", "GET", f"/queues/{queue}/jobs", params=query).json()
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return


def standings(api: Api) -> dict[str, dict[str, Any]]:
    """What GET /queues says, by queue."""
    return {queue["name"]: queue for queue in api("viewer", "GET", "/queues").json()["items"]}


@pytest.fixture(scope="module")
def before(api: Api) -> dict[str, dict[str, Any]]:
    return standings(api)


@pytest.fixture(scope="module")
def load(api: Api, aws: Callable[[str], Any], before: dict[str, dict[str, Any]]) -> Load:
    worker = aws("lambda").get_function_configuration(FunctionName="adbot-queue_MoneyWorker")
    providers = json.loads(worker["Environment"]["Variables"]["PROVIDERS"])["stripe"]["base"].removesuffix("/stripe")
    made = Load(api, providers)
    made.batches(BATCHES // 2)
    made.flip("sync_direct")
    made.directly()
    made.flip("async_queue")
    made.rest()
    expected = sum(entry.state == "completed" for entry in made.wishes)
    eventually(lambda: made.happened() >= expected, SECONDS, every=1)
    eventually(lambda: made.look() == TOTAL, SECONDS, every=1)
    return made


pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(2 * SECONDS + 240),
]  # the first of them waits for the stack and for the load


def test_every_job_is_there_once_and_ended_as_its_provider_decided(load: Load) -> None:
    assert len(set(load.ids.values())) == TOTAL
    assert {entry.index: load.jobs[load.ids[entry.index]]["state"] for entry in load.wishes} == {
        entry.index: entry.state for entry in load.wishes
    }
    assert Counter(job["state"] for job in load.jobs.values()) == {"completed": 980, "failed": 20}


def test_a_busy_provider_cost_an_attempt_and_a_refusal_was_not_repeated(load: Load) -> None:
    assert {entry.index: load.jobs[load.ids[entry.index]]["attempt"] for entry in load.wishes} == {
        entry.index: entry.attempts for entry in load.wishes
    }
    kinds = Counter(
        (attempt["error"] or {"kind": "none"})["kind"] for job in load.jobs.values() for attempt in job["attempts"]
    )
    assert kinds == {"none": 980, "transient": 100, "permanent": 20}


@pytest.mark.parametrize("queue", QUEUES)
def test_every_completed_job_had_exactly_one_effect_and_a_failed_one_none(load: Load, queue: str) -> None:
    assert load.effects(queue) == {
        load.ids[entry.index]: {"requests": entry.attempts, "effects": int(entry.state == "completed")}
        for entry in load.wishes
        if entry.queue == queue
    }


def test_the_kill_switch_was_obeyed_by_what_was_enqueued_under_it(load: Load) -> None:
    assert len(load.direct) == DIRECT
    assert {(view["execution_mode"], view["attempt"]) for view in load.direct} == {("sync_direct", 1)}
    assert {job["execution_mode"] for job in load.jobs.values()} == {"async_queue", "sync_direct"}
    assert load.api("viewer", "GET", "/admin/system/mode").json()["mode"] == "async_queue"


def test_the_same_requests_again_are_the_same_jobs_and_nothing_happens_twice(load: Load) -> None:
    known = dict(load.ids)
    effects = load.happened()

    view = load.batch(list(range(BATCH)))

    assert load.ids == known
    assert all(item["replayed"] for item in view["items"])
    assert load.happened() == effects


def test_the_counters_agree_with_the_jobs(load: Load, before: dict[str, dict[str, Any]]) -> None:
    wanted = {
        queue: {
            "enqueued": sum(entry.queue == queue for entry in load.wishes),
            "completed": sum(entry.queue == queue and entry.state == "completed" for entry in load.wishes),
            "failed": sum(entry.queue == queue and entry.state == "failed" for entry in load.wishes),
            "dead": 0,
        }
        for queue in QUEUES
    }

    def counted() -> bool:
        now = standings(load.api)
        return all(
            now[queue]["totals"][event] - before[queue]["totals"][event] == number
            for queue, numbers in wanted.items()
            for event, number in numbers.items()
        ) and all(now[queue]["states"][state] == 0 for queue in QUEUES for state in ("waiting", "delayed", "active"))

    eventually(counted, 60)
