"""From a tracked event to the figure in a downloaded report, over real HTTP."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from tests.e2e.conftest import Api

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]


def run(api: Api, eventually: Eventually, job_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The job, when it has ended well."""
    answer = api("admin", "POST", "/jobs", json={"type": job_type, "payload": payload})
    assert answer.status_code == 202, answer.text

    def ended() -> dict[str, Any] | None:
        job = api("viewer", "GET", f"/jobs/{answer.json()['job_id']}").json()
        return job if job["state"] in {"completed", "failed", "dead", "cancelled"} else None

    job: dict[str, Any] = eventually(ended, 90)
    assert job["state"] == "completed", job
    return job


def test_events_are_counted_shown_reported_and_downloaded(api: Api, eventually: Eventually, aws: Aws) -> None:
    moment = datetime.now(UTC) - timedelta(days=3)
    hour, day = moment.strftime("%Y-%m-%dT%H"), moment.strftime("%Y-%m-%d")
    nonce = uuid.uuid4().hex
    name, article = f"=Read {nonce}", f"article-{nonce}"
    for user, event in (("u-1", "Article Viewed"), ("u-1", "Article Viewed"), ("u-2", "Article Viewed"), ("u-3", name)):
        happened = {"event": event, "user_id": user, "occurred_at": moment.isoformat()}
        run(api, eventually, "analytics-track", happened | {"properties": {"article_id": article}})

    counted = run(api, eventually, "process-snapshot", {"hour": hour})["result"]
    again = run(api, eventually, "process-snapshot", {"from": hour, "to": hour})["result"]
    assert counted["events"] == again["events"] >= 4
    query = {"from": day, "to": day, "by": "hour"}
    (shown,) = [i for i in api("viewer", "GET", "/analytics", params=query).json()["items"] if i["start"] == hour]
    assert shown["by_event"][name] == 1
    assert shown["events"] == counted["events"]

    run(api, eventually, "rebuild-article-stats", {"article_id": article})
    stats = api("viewer", "GET", f"/articles/{article}/stats").json()
    assert (stats["views"], stats["readers"], stats["by_event"][name]) == (3, 2, 1)
    assert [entry["day"] for entry in stats["by_day"]] == [day]

    job = run(api, eventually, "generate-report", {"report": "analytics", "from": day, "to": day})
    report = api("viewer", "GET", f"/reports/{job['job_id']}").json()
    files = {entry["format"]: requests.get(entry["url"], timeout=10) for entry in report["result"]["files"]}
    rows = list(csv.DictReader(io.StringIO(files["csv"].text, newline="")))
    assert [row["events"] for row in rows if row["event"] == f"'{name}"] == ["1"]
    assert [row["events"] for row in rows if row["event"] == ""] == [str(counted["events"])]
    assert nonce in files["html"].text
    assert files["html"].headers["content-disposition"].startswith("attachment")
    assert requests.get(job["result"]["files"][0]["url"], timeout=10).content == files["csv"].content
    assert api("customer", "GET", f"/reports/{job['job_id']}").status_code == 403


def test_orders_are_reported_and_a_cleanup_counts_before_it_deletes(api: Api, eventually: Eventually) -> None:
    bot = api("admin", "POST", "/admin/adbots", json={"required_sessions": 1}).json()
    job = run(api, eventually, "generate-report", {"report": "orders", "format": "csv"})
    (entry,) = api("viewer", "GET", f"/reports/{job['job_id']}").json()["result"]["files"]
    rows = list(csv.DictReader(io.StringIO(requests.get(entry["url"], timeout=10).text, newline="")))
    assert sum(int(row["bots"]) for row in rows if row["day"] == bot["created_at"][:10]) >= 1

    wanted = {"what": ["jobs", "aggregates", "raw-events"], "older_than_days": 90}
    total = run(api, eventually, "cleanup-old-data", wanted)["result"]["total"]
    done = run(api, eventually, "cleanup-old-data", wanted | {"dry_run": False, "confirm": total})
    assert sum(done["result"]["deleted"].values()) == total
    actions = api("viewer", "GET", "/admin/ledger", params={"target": f"job:{done['job_id']}"}).json()["items"]
    assert [entry["action"] for entry in actions] == ["data.clean", "job.enqueue"]
    assert len({entry["actor"] for entry in actions}) == 1
