"""Queues over real HTTP: figures from the real stream, real event source mappings, the kill switch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adbot_queue.jobs import job_queues
from local.stack import Stack
from tests.e2e.conftest import Api, deployed
from tests.e2e.test_jobs import ended, mail, post, track

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]


def queue_of(api: Api, name: str) -> dict[str, Any]:
    answer = api("viewer", "GET", "/queues")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = next(queue for queue in answer.json()["items"] if queue["name"] == name)
    return found


def switch(api: Api, action: str, name: str = "analytics") -> dict[str, Any]:
    answer = api("admin", "POST", f"/queues/{name}/{action}", json={"reason": "tested"})
    assert answer.status_code == 200, answer.text
    reported: dict[str, Any] = answer.json()
    return reported


def mapping_of(aws: Aws, tier: str = "Analytics") -> dict[str, Any]:
    arn = aws("lambda").get_function_configuration(FunctionName=f"adbot-queue_{tier}Worker")["FunctionArn"]
    (found,) = [
        mapping
        for mapping in aws("lambda").list_event_source_mappings()["EventSourceMappings"]
        if mapping["FunctionArn"].startswith(arn)
    ]
    return dict(found)


@pytest.fixture
def running(api: Api) -> Any:
    """Whatever a test does, its queue runs afterwards."""
    yield
    switch(api, "resume")


def test_a_paused_queue_loses_nothing_and_others_go_on(
    api: Api, aws: Aws, eventually: Eventually, running: None
) -> None:
    paused = switch(api, "pause")
    assert (paused["paused"], paused["mapping"]) == (True, "Disabled")
    assert mapping_of(aws)["State"] == "Disabled"
    assert queue_of(api, "analytics")["switch"]["reason"] == "tested"

    held = [post(api, track()).json()["job_id"] for _ in range(3)]
    assert ended(api, eventually, post(api, mail()).json()["job_id"])["state"] == "completed"

    assert {api("viewer", "GET", f"/jobs/{job}").json()["state"] for job in held} == {"waiting"}
    eventually(lambda: queue_of(api, "analytics")["states"]["waiting"] >= 3)
    assert queue_of(api, "analytics")["oldest_waiting_at"] is not None
    assert switch(api, "resume")["mapping"] == "Enabled"
    assert {ended(api, eventually, job)["state"] for job in held} == {"completed"}
    signed = api("viewer", "GET", "/admin/ledger?target=queue:analytics").json()["items"]
    assert [entry["action"] for entry in signed[:2]] == ["queue.resume", "queue.pause"]


def test_the_sweeper_sets_a_mapping_right_that_does_not_obey(api: Api, aws: Aws, running: None) -> None:
    switch(api, "pause")
    aws("lambda").update_event_source_mapping(UUID=mapping_of(aws)["UUID"], Enabled=True)
    answer = aws("lambda").invoke(FunctionName=deployed(aws, "SweepJobs"), Payload=b"{}")
    done = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, done
    assert mapping_of(aws)["State"] == "Disabled"
    entries = api("viewer", "GET", "/admin/system/logs?level=WARNING").json()["items"]
    assert any(entry["event"] == "queue.mapping" and entry["detail"]["queue"] == "analytics" for entry in entries)


def test_an_unknown_queue_is_not_found_and_viewers_do_not_switch(api: Api) -> None:
    assert api("admin", "POST", "/queues/nowhere/pause", json={}).status_code == 404
    assert api("viewer", "GET", "/queues/nowhere/stats").status_code == 404
    assert api("viewer", "POST", "/queues/money/pause", json={}).status_code == 403
    assert api("customer", "GET", "/queues").status_code == 403


def test_what_happened_is_counted(api: Api, eventually: Eventually) -> None:
    before = queue_of(api, "analytics")["totals"]
    jobs = [post(api, track()).json()["job_id"] for _ in range(5)]
    assert {ended(api, eventually, job)["state"] for job in jobs} == {"completed"}

    def counted() -> bool:
        now = queue_of(api, "analytics")["totals"]
        return all(now[event] >= before[event] + 5 for event in ("enqueued", "completed"))

    eventually(counted)
    stats = api("viewer", "GET", "/queues/analytics/stats?minutes=5").json()
    assert stats["counts"]["completed"] >= 5
    assert stats["wait"]["count"] >= 5
    assert stats["run"]["p50_ms"] > 0
    assert sum(minute["completed"] for minute in stats["per_minute"]) == stats["counts"]["completed"]


def test_counters_say_what_the_rows_say(api: Api, aws: Aws, stack: Stack, eventually: Eventually) -> None:
    """Of all that the tests before have done: every job of every queue in its state, none twice, none forgotten."""

    def rows() -> Counter[str]:
        pages = aws("dynamodb").get_paginator("scan").paginate(TableName=stack["outputs"]["JobsTable"])
        items = [item for page in pages for item in page["Items"] if item["pk"]["S"].startswith("JOB#")]
        return Counter(f"{item['queue']['S']} {item['state']['S']}" for item in items)

    def counted() -> Counter[str]:
        queues = api("viewer", "GET", "/queues").json()["items"]
        return +Counter({f"{q['name']} {state}": n for q in queues for state, n in q["states"].items()})

    eventually(lambda: counted() == rows(), 60, 1)


def test_prometheus_reads_the_figures(api: Api) -> None:
    assert api("customer", "GET", "/metrics").status_code == 403
    answer = api("viewer", "GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {"adbot_jobs", "adbot_jobs_ended", "adbot_job_wait_seconds", "adbot_mode", "adbot_bots_queued"} <= set(
        families
    )
    assert families["adbot_job_run_seconds"].type == "histogram"
    overview = api("viewer", "GET", "/admin/system/metrics").json()
    assert len(overview["queues"]) == len(job_queues.QUEUES)
    assert overview["mode"]["mode"] == "async_queue"


def test_the_kill_switch_makes_requests_run_jobs_and_is_in_the_health_log(api: Api, eventually: Eventually) -> None:
    reason = "tested end to end"
    try:
        switched = api("owner", "POST", "/admin/system/mode", json={"mode": "sync_direct", "reason": reason})
        assert (switched.status_code, switched.json()["mode"]) == (200, "sync_direct")

        def direct() -> Any:
            answer = post(api, mail())  # a function follows within 5 seconds
            return answer.json() if answer.status_code == 201 else None

        job = eventually(direct)
        assert (job["state"], job["execution_mode"]) == ("completed", "sync_direct")
    finally:
        back = api("owner", "POST", "/admin/system/mode", json={"mode": "async_queue", "reason": reason})
    assert back.json()["mode"] == "async_queue"
    newest = api("viewer", "GET", "/admin/system/logs?level=SWITCH&limit=2").json()["items"]
    assert [entry["detail"]["after"] for entry in newest] == ["async_queue", "sync_direct"]
    signed = api("viewer", "GET", "/admin/ledger?target=system:mode").json()["items"]
    assert [entry["reason"] for entry in signed[:2]] == [reason, reason]
    eventually(lambda: post(api, mail()).status_code == 202)
