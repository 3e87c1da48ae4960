"""What operators steer and watch, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adbot_queue.core import aws
from adbot_queue.core.dynamodb import put_if
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.store.items import item_of
from adbot_queue.platform import health_log, mode
from adbot_queue.platform.health_log import LogLevel
from adbot_queue.queues import counters
from tests.builders.clocks import NOW, FakeClock
from tests.builders.crash import crash_after
from tests.builders.job_stream import Stream, claimed, died, job
from tests.builders.payments import failing
from tests.builders.world import AwsHarness


@pytest.fixture
def shop(system: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> AwsHarness:
    for cached in (mode.from_env, health_log.from_env, counters.from_env):
        cached.cache_clear()
    monkeypatch.setattr(counters.from_env(), "_now", FakeClock(NOW + 30_000))
    return system


def get(world: AwsHarness, path: str, **query: str) -> Any:
    return world.http("operations", f"GET {path}", role="viewer", query=query or None)


def set_mode(world: AwsHarness, **body: Any) -> Any:
    return world.http("operations", "POST /admin/system/mode", role="owner", body=body)


def test_the_mode_is_read_and_switched(shop: AwsHarness) -> None:
    assert get(shop, "/admin/system/mode").json == {
        "mode": "async_queue",
        "changed_at": None,
        "actor": None,
        "reason": "",
    }
    switched = set_mode(shop, mode="sync_direct", reason="SQS is down")
    assert (switched.status, switched.json["mode"], switched.json["actor"]) == (200, "sync_direct", "ada")
    assert get(shop, "/admin/system/mode").json == switched.json
    assert set_mode(shop, mode="sync_direct", reason="again").json == switched.json
    (entry,) = get(shop, "/admin/system/logs", level="SWITCH").json["items"]
    assert (entry["event"], entry["detail"]["after"], entry["detail"]["reason"]) == (
        "mode.set",
        "sync_direct",
        "SQS is down",
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "fast", "reason": "x"}, "mode"),
        ({"mode": 1, "reason": "x"}, "mode"),
        ({"mode": "sync_direct"}, "reason"),
        ({"mode": "sync_direct", "reason": ""}, "reason"),
        ({"mode": "sync_direct", "reason": "x" * 501}, "reason"),
        ({"mode": "sync_direct", "reason": "x", "force": True}, "force"),
    ],
)
def test_a_bad_switch_is_refused_and_the_field_is_named(shop: AwsHarness, body: dict[str, Any], field: str) -> None:
    answer = set_mode(shop, **body)
    assert (answer.status, answer.fields) == (422, [field])
    assert get(shop, "/admin/system/mode").json["mode"] == "async_queue"


def test_the_health_log_is_read_page_by_page(shop: AwsHarness) -> None:
    log = health_log.from_env()
    for number in range(5):
        log.record(LogLevel.WARNING if number % 2 else LogLevel.INFO, f"e{number}", "something")
    first = get(shop, "/admin/system/logs", limit="3").json
    second = get(shop, "/admin/system/logs", limit="3", cursor=first["next"]).json
    assert sorted(entry["event"] for page in (first, second) for entry in page["items"]) == [f"e{n}" for n in range(5)]
    assert second["next"] is None
    warnings = get(shop, "/admin/system/logs", level="WARNING").json["items"]
    assert {entry["level"] for entry in warnings} == {"WARNING"}
    assert len(warnings) == 2


@pytest.mark.parametrize(
    "query", [{"level": "DEBUG"}, {"limit": "0"}, {"limit": "101"}, {"cursor": "!"}, {"from": "x"}]
)
def test_a_bad_page_of_the_log_is_refused(shop: AwsHarness, query: dict[str, str]) -> None:
    answer = get(shop, "/admin/system/logs", **query)
    assert (answer.status, answer.fields) == (422, list(query))


def fill(world: AwsHarness) -> None:
    """Two jobs of money: one done, one dead; one of e-mail that waits; a bot that waits."""
    world.pool()
    world.create(3)
    stream = Stream()
    active = claimed(job(1), NOW + 10)
    dying = claimed(job(2), NOW + 700)
    waiting = job(3, "email", NOW - 60_000)
    put_if(aws.dynamodb(), world.env["JOBS_TABLE"], item_of(waiting), condition="attribute_not_exists(pk)")
    counters.from_env().tally(
        [
            *stream.life(job(1), active, active.completed({}, NOW + 210)),
            *stream.life(job(2), dying, died(dying, NOW + 800)),
            *stream.life(waiting, at=NOW - 30 * 60_000),
        ]
    )


def test_the_overview_has_mode_queues_rates_dead_letters_and_bots(shop: AwsHarness) -> None:
    fill(shop)
    reported = get(shop, "/admin/system/metrics").json
    assert reported["mode"]["mode"] == "async_queue"
    assert reported["dead_letters"] == 1
    assert (reported["bots"]["queued"], reported["bots"]["missing_sessions"]) == (1, 3)
    by_name = {queue["name"]: queue for queue in reported["queues"]}
    assert list(by_name) == list(job_queues.QUEUES)
    money, email = by_name["money"], by_name["email"]
    assert (money["states"]["completed"], money["states"]["dead"], money["totals"]["enqueued"]) == (1, 1, 2)
    last = money["last_5_minutes"]
    assert (last["counts"]["completed"], last["completed_per_minute"], last["failure_rate"]) == (1, 0.2, 0.5)
    assert email["oldest_waiting_seconds"] > 60
    assert (email["last_5_minutes"]["counts"]["enqueued"], email["last_60_minutes"]["counts"]["enqueued"]) == (0, 1)


def test_the_overview_reads_no_more_however_much_there_is(shop: AwsHarness) -> None:
    shop.pool()

    def calls(path: str) -> list[str]:
        with crash_after(None) as made:
            assert get(shop, path).status == 200
        return made.names

    paths = ("/metrics", "/admin/system/metrics")
    fill(shop)
    before = {path: calls(path) for path in paths}
    more = [job(number, "email", NOW - 60_000) for number in range(10, 40)]
    for one in more:
        put_if(aws.dynamodb(), shop.env["JOBS_TABLE"], item_of(one), condition="attribute_not_exists(pk)")
    counters.from_env().tally([record for one in more for record in Stream().life(one)])
    for _ in range(5):
        shop.create(3)
    assert {path: calls(path) for path in paths} == before


def scrape(world: AwsHarness) -> dict[str, Any]:
    answer = get(world, "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(family: Any, name: str, **labels: str) -> float:
    (found,) = [s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items()]
    return float(found)


def test_prometheus_reads_levels_counters_and_histograms(shop: AwsHarness) -> None:
    fill(shop)
    families = scrape(shop)
    assert value(families["adbot_jobs"], "adbot_jobs", queue="email", state="waiting") == 1
    assert value(families["adbot_jobs_enqueued"], "adbot_jobs_enqueued_total", queue="money") == 2
    assert value(families["adbot_jobs_ended"], "adbot_jobs_ended_total", queue="money", state="dead") == 1
    assert (
        value(families["adbot_queue_oldest_waiting_seconds"], "adbot_queue_oldest_waiting_seconds", queue="email") > 60
    )
    assert value(families["adbot_queue_paused"], "adbot_queue_paused", queue="money") == 0
    assert value(families["adbot_mode"], "adbot_mode", mode="async_queue") == 1
    assert value(families["adbot_bots_queued"], "adbot_bots_queued") == 1
    wait = families["adbot_job_wait_seconds"]
    assert wait.type == "histogram"
    buckets = {
        s.labels["le"]: s.value for s in wait.samples if s.name.endswith("_bucket") and s.labels["queue"] == "money"
    }
    assert (buckets["0.01"], buckets["0.5"], buckets["1.0"], buckets["+Inf"]) == (1, 1, 2, 2)
    assert list(buckets.values()) == sorted(buckets.values())
    assert value(wait, "adbot_job_wait_seconds_count", queue="money") == 2
    assert value(wait, "adbot_job_wait_seconds_sum", queue="money") == pytest.approx(0.71)
    assert value(families["adbot_job_run_seconds"], "adbot_job_run_seconds_sum", queue="money") == pytest.approx(0.3)


def test_prometheus_gets_every_metric_of_an_empty_system_too(shop: AwsHarness) -> None:
    families = scrape(shop)
    assert len(families["adbot_jobs"].samples) == len(job_queues.QUEUES) * 7
    assert all(sample.value == 0 for sample in families["adbot_jobs"].samples)


def test_a_table_that_is_busy_is_503(shop: AwsHarness) -> None:
    with failing(aws.dynamodb(), "BatchGetItem", code="ProvisionedThroughputExceededException"):
        answer = get(shop, "/metrics")
    assert (answer.status, answer.problem) == (503, "unavailable")


def test_jobs_table_and_queues_are_among_what_readiness_asks_for(shop: AwsHarness) -> None:
    parts = shop.http("system", "GET /health/ready").json["parts"]
    assert parts["table:jobs"] == "ok"
    assert {f"queue:{name}" for name in job_queues.QUEUES} <= parts.keys()
