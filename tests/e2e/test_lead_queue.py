"""Leads over HTTP on the deployed template: every route of the core under its role's own rights."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections import Counter
from typing import Any

import pytest

from adbot_queue.leads.import_file import MAX_LINES
from tests.e2e.conftest import Api

ALWAYS = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "00:00-24:00")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def test_sales_import_prepare_take_and_export_their_leads(api: Api) -> None:
    client, first = f"c-{uuid.uuid4().hex[:12]}", uuid.uuid4().int % 900_000
    assert api("admin", "PUT", f"/leads/clients/{client}", json={"name": "Acme"}).status_code == 200
    assert api("admin", "PUT", f"/leads/projects/{client}", json={"name": "P", "client_id": client}).status_code == 200
    assert api("sales", "PUT", f"/leads/clients/{client}", json={"name": "x"}).status_code == 403
    steps = {"first": {"content_sid": f"HX{1:032x}", "variables": {"1": "name", "2": "client"}}}
    settings = api("sales", "PUT", "/leads/settings", json={"week": ALWAYS, "capacity": 5, "steps": steps}).json()
    assert api("sales", "GET", "/leads/settings").json()["version"] == settings["version"]
    assert api("sales", "GET", f"/leads/clients/{client}").json()["name"] == "Acme"
    assert api("sales", "GET", f"/leads/projects/{client}").json()["client_id"] == client

    lines = "".join(f"Lead {number};+49151{12_000_000 + first + number};yes\n" for number in range(7))
    declared = {"client_id": client, "project_id": client, "consent_source": "fair", "consent_proof": "card"}
    text = f"name;phone;consent\n{lines}bad;0;yes\n"
    headers = {"content-type": "text/csv", "idempotency-key": client}
    imported = api("sales", "POST", "/leads/import", params=declared, data=text, headers=headers).json()
    assert (imported["created"], imported["refused"], imported["is_complete"]) == (7, 1, True)
    assert api("sales", "POST", "/leads/import", params=declared, data=text, headers=headers).json() == imported
    lead_id = imported["lines"][0]["lead_id"]
    assert api("sales", "GET", f"/leads/{lead_id}").json()["client_id"] == client
    assert api("viewer", "GET", "/leads", params={"client_id": client, "limit": "3"}).json()["next"]

    prepared = api("sales", "POST", "/leads/queue/prepare", json={}).json()
    assert (prepared["prepared"], prepared["skipped"]["over_capacity"] >= 2) == (5, True)
    queue = api("sales", "GET", "/leads/queue", params={"date": prepared["date"], "preview": "true"}).json()
    assert (queue["counts"]["queued"], queue["preview"]["prepared"], len(queue["items"])) == (5, 0, 5)
    queued = queue["items"][0]["lead_id"]

    taken = api("sales", "POST", f"/leads/{queued}/take").json()
    assert (taken["message"], taken["lead"]["status"]) == ("cancelled", "engaged")
    lost = api("admin", "POST", f"/leads/{queued}/take")
    assert (lost.status_code, lost.json()["taken_by"]) == (409, taken["lead"]["owner_id"])
    changed = api("sales", "PATCH", f"/leads/{queued}", json={"status": "qualified", "priority": 9}).json()
    assert (changed["status"], changed["priority"]) == ("qualified", 9)
    assert api("sales", "POST", f"/leads/{queued}/release").json()["lead"]["taken_by"] is None
    whats = [entry["what"] for entry in api("sales", "GET", f"/leads/{queued}/trail").json()["items"]]
    assert whats[:2] == ["released", "changed"]
    assert {"imported", "prepared", "cancelled", "taken"} <= set(whats)

    exported = rows(api("sales", "GET", "/leads/queue/export.csv", params={"date": prepared["date"]}).text)
    assert sorted(row["state"] for row in exported) == ["cancelled", *["queued"] * 4]
    leads = rows(api("viewer", "GET", "/leads/export.csv", params={"client_id": client}).text)
    assert len(leads) == 7
    assert {row["phone"][:3] for row in leads} == {"'+4"}
    figures = api("sales", "GET", "/leads/figures", params={"from": prepared["date"]}).json()["items"]
    assert (figures[0]["counts"]["prepared"], figures[0]["counts"]["taken"]) == (5, 1)
    assert api("viewer", "GET", "/leads/figures", params={"from": prepared["date"]}).json()["items"]
    assert api("customer", "GET", "/leads").status_code == 403


@pytest.mark.long
@pytest.mark.timeout(1_500)
def test_the_largest_import_has_a_verdict_for_every_line_and_one_line_more_is_refused(api: Api) -> None:
    client, first = f"c-{uuid.uuid4().hex[:12]}", uuid.uuid4().int % 80_000
    assert api("admin", "PUT", f"/leads/clients/{client}", json={"name": "Acme"}).status_code == 200
    params = {"client_id": client, "country": "DE", "consent_declared": "true", "consent_source": "fair"}
    params["consent_proof"] = "cards"
    headers = {"content-type": "text/csv", "idempotency-key": client}

    def line(number: int) -> str:
        if number % 100 == 99:
            return f"Lead {number};{'0' if number % 200 == 99 else '+49151' + str(10_000_000 + first * 100)}"
        return f"Lead {number};+49151{10_000_000 + first * 100 + number}"

    lines = [line(number) for number in range(MAX_LINES)]

    def send(several: list[str]) -> tuple[int, dict[str, Any]]:
        answer = api(
            "sales", "POST", "/leads/import", params=params, data="\n".join(["name;phone", *several]), headers=headers
        )
        return answer.status_code, answer.json()

    requests, began = 0, time.monotonic()
    while True:  # an embedded AWS takes longer than a request: the same request goes on
        status, imported = send(lines)
        requests += 1
        assert status == 200, imported
        if imported["is_complete"]:
            break
    took = time.monotonic() - began
    verdicts = Counter(one["verdict"] for one in imported["lines"])
    print(
        f"{MAX_LINES:,} lines: {requests} requests, {took:.0f} s, {dict(verdicts)}, {len(json.dumps(imported)):,} bytes"
    )
    assert [one["line"] for one in imported["lines"]] == list(range(2, MAX_LINES + 2))
    assert verdicts["refused"] == MAX_LINES // 100
    assert verdicts["created"] == MAX_LINES - MAX_LINES // 100
    assert all(one["detail"].startswith("phone: ") for one in imported["lines"] if one["verdict"] == "refused")
    assert len({one["lead_id"] for one in imported["lines"] if one["lead_id"]}) == verdicts["created"]
    assert send(lines)[1] == imported

    headers["idempotency-key"] = f"{client}-more"
    status, refused = send([*lines, line(MAX_LINES)])
    assert status == 422
    assert refused["errors"] == [{"field": "body", "message": "must have at most 10000 lines"}]
