"""The figures of a tab that stays open while jobs wait in every queue: what a renewal reads, and what it takes over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.console import figures, snapshot
from adbot_queue.console.figures import Snapshot
from adbot_queue.console.snapshot import FRESH_MS, KEY, lease_of
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import iso, system_clock
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import item_of
from adbot_queue.platform.queue_pauses import DesiredState, desired_state_item
from tests.builders.console_world import ConsoleWorld, counted_calls

OLD_MS = 300_000
"""Since when the oldest job of a queue waits, before now."""

TICK_MS = 5_000


class Tab:
    """A tab on the overview, refreshed every five seconds of a clock of its own."""

    def __init__(self, console: ConsoleWorld) -> None:
        self.console = console
        self.now = system_clock()
        for key in (KEY, lease_of(KEY)):
            aws.dynamodb().delete_item(TableName=settings().system_table, Key=encode(key))

    def tick(self, **headers: str) -> list[str]:
        """Refresh, five seconds later; the calls."""
        self.now += TICK_MS
        return self.look("/console", hx_request="true", x_tick="1", **headers)

    def look(self, path: str, **headers: str) -> list[str]:
        """Ask for a page, or refresh it; the calls."""
        with counted_calls() as calls:
            assert self.console.get(path, **headers).status == 200
        return calls

    @property
    def seen(self) -> dict[str, Any]:
        """The figures that all viewers share now."""
        return snapshot.from_env().get().figures

    def queue(self, name: str) -> dict[str, Any]:
        """Figures of a queue."""
        return next(queue for queue in self.seen["queues"] if queue["name"] == name)


def put(table: str, item: dict[str, Any]) -> None:
    aws.dynamodb().put_item(TableName=table, Item=encode(item))


def wait(queue: str, at: int, count: int = 1) -> None:
    """Have jobs wait, and be counted."""
    job = Job(f"{at:012x}{queue:>014}".replace(" ", "0"), "send-email", queue, {}, at).waiting(at)
    put(settings().jobs_table, item_of(job))
    put(settings().system_table, {"pk": "COUNTERS#0", "sk": queue, "level_waiting": count})


@pytest.fixture
def tab(console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> Tab:
    monkeypatch.setattr(snapshot, "FRESH_MS", FRESH_MS)
    opened = Tab(console)
    monkeypatch.setattr(snapshot.from_env(), "now", lambda: opened.now)
    for queue in job_queues.QUEUES:
        wait(queue, opened.now - OLD_MS)
    return opened


def test_a_renewal_takes_at_most_26_calls_while_jobs_wait_in_every_queue(tab: Tab) -> None:
    tab.tick()
    counts = [len(tab.tick()) - 1 for _ in range(24)]
    assert max(counts) <= 26, counts
    assert all(queue["levels"]["waiting"] and queue["oldest_at"] for queue in tab.seen["queues"])


def test_the_first_renewal_after_a_while_reads_everything(tab: Tab) -> None:
    tab.tick()
    tab.now += figures.HOUR_MS
    assert tab.tick().count("Query") == 13 + 13 + 7  # oldest jobs, minutes; totals, pauses, pools, changes
    assert tab.queue("email")["oldest_at"] < tab.now - OLD_MS


def test_a_renewal_that_reads_the_hour_takes_over_since_when_jobs_wait(tab: Tab) -> None:
    put(settings().system_table, {"pk": "COUNTERS#0", "sk": "email", "level_waiting": 0})
    tab.tick()
    assert tab.queue("email")["oldest_at"] is None
    wait("email", tab.now)
    while tab.seen["hour"]["at"] + figures.HOUR_MS > tab.now + TICK_MS:
        last, before = tab.now, tab.tick()
    assert before.count("Query") == 13 + 5 + 1
    last = tab.now
    assert tab.tick().count("Query") == 13 + 5 + 1 + 1  # the hour, and the changes of its day
    assert tab.seen["hour"]["at"] == tab.now
    assert tab.queue("money")["oldest_at"] < last - OLD_MS
    tab.tick()
    assert tab.queue("email")["oldest_at"] < tab.now


def test_a_queue_that_was_empty_before_the_hour_is_read_waits_since_the_last_renewal(tab: Tab) -> None:
    put(settings().system_table, {"pk": "COUNTERS#0", "sk": "email", "level_waiting": 0})
    tab.tick()
    empty = Snapshot(tab.now, tab.seen)
    wait("email", tab.now + 1_000)
    empty.figures["hour"]["at"] = tab.now - figures.HOUR_MS
    found = figures.gather(tab.now + TICK_MS, empty)
    assert next(queue["oldest_at"] for queue in found["queues"] if queue["name"] == "email") == tab.now


def test_what_jobs_did_is_shown_half_a_minute_later_at_most(tab: Tab) -> None:
    tab.tick()
    minute = {"pk": "MINUTES#codes", "sk": f"{iso(system_clock())[:16]}#0", "completed": 120}
    put(settings().system_table, minute)
    for _ in range(figures.HOUR_MS // TICK_MS):
        tab.tick()
    assert (tab.queue("codes")["per_minute"], sum(tab.seen["hour"]["completed"])) == (2, 120)


def test_a_queue_that_the_last_figures_do_not_know_is_read_at_once(tab: Tab) -> None:
    tab.tick()
    known = Snapshot(tab.now, {**tab.seen, "queues": [one for one in tab.seen["queues"] if one["name"] != "http"]})
    found = figures.gather(tab.now + TICK_MS, known)
    assert [queue["name"] for queue in found["queues"]] == list(job_queues.QUEUES)


def test_a_pause_is_read_strongly_by_every_renewal(tab: Tab) -> None:
    asked: list[dict[str, Any]] = []

    def keep(params: dict[str, Any], **_: Any) -> None:
        asked.append(json.loads(params["body"]))

    events = aws.dynamodb().meta.events
    events.register("before-call.dynamodb", keep)
    try:
        tab.tick()
        put(settings().system_table, desired_state_item("http", DesiredState(True, iso(tab.now), "sub-owner", "x", 1)))
        tab.tick()
    finally:
        events.unregister("before-call.dynamodb", keep)
    assert tab.queue("http")["paused"]
    pauses = [one for one in asked if "PAUSES" in str(one.get("ExpressionAttributeValues"))]
    assert len(pauses) == 2
    assert all(one["ConsistentRead"] for one in pauses)
    modes = [one for one in asked if one.get("Key", {}).get("pk") == {"S": "MODE"}]
    assert len(modes) == 2
    assert all(one["ConsistentRead"] for one in modes)


def test_a_person_finds_what_they_did_among_the_changes_at_once(tab: Tab) -> None:
    tab.tick()
    tab.console.post("/console/queues/plugin/pause", {"reason": "a change to see"}, "owner")
    tab.tick(x_acted="1")
    assert tab.seen["changes"][0]["target"] == "queue:plugin"
    assert tab.seen["names"]["sub-owner"] == "Owner"


def test_a_page_that_opens_with_an_answer_gathers_once_and_its_refreshes_share(tab: Tab) -> None:
    tab.tick()
    answered = "/console?answer=form-key-1"
    assert len(tab.look(answered)) > 20
    assert len(tab.look(answered, hx_request="true", x_tick="1")) <= 2
