"""`sales` sees and works own leads only, through every route that lets `sales` in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.stand_ins.whatsapp import FIRST
from tests.builders.leads import LeadsApi, phone
from tests.builders.payments import configure
from tests.builders.world import AwsHarness

DATE = "2025-11-23"
ROUTES = {
    f"{method.upper()} {path}"
    for path, methods in json.loads(Path("functions/system/openapi.json").read_text())["paths"].items()
    for method, operation in methods.items()
    if isinstance(operation, dict) and "sales" in operation.get("x-roles", [])
}
SHARED = {
    *("GET /leads/clients", "GET /leads/clients/{id}", "GET /leads/projects", "GET /leads/projects/{id}"),
    *("GET /leads/inbox", "GET /templates"),
}
"""Of the whole team: clients, projects, templates, messages that match no lead."""

OWN = {"GET /push/key", "POST /push/subscriptions", "DELETE /push/subscriptions/{id}"}
"""The caller's own browsers: no route names another user."""

OTHERS_LEAD: dict[str, dict[str, Any]] = {
    "GET /leads/{id}": {},
    "PATCH /leads/{id}": {"body": {"name": "Mine"}},
    "GET /leads/{id}/trail": {},
    "GET /leads/{id}/messages": {},
    "POST /leads/{id}/messages": {"body": {"text": "Hi"}},
    "POST /leads/{id}/take": {},
    "POST /leads/{id}/release": {},
    "POST /leads/{id}/assign": {"body": {"owner_id": "tom"}},
}
"""Of a lead of sam's: tom gets 404, as if it did not exist."""

OTHERS_NAME: dict[str, dict[str, Any]] = {
    "GET /leads": {"query": {"owner_id": "sam"}},
    "GET /leads/export.csv": {"query": {"owner_id": "sam"}},
    "GET /leads/figures": {"query": {"owner_id": "sam", "from": DATE}},
    "GET /leads/queue": {"query": {"owner_id": "sam", "date": DATE}},
    "GET /leads/queue/export.csv": {"query": {"owner_id": "sam", "date": DATE}},
    "GET /leads/settings": {"query": {"user_id": "sam"}},
    "PUT /leads/settings": {"query": {"user_id": "sam"}, "body": {"capacity": 1}},
    "POST /leads": {"body": {"owner_id": "sam", "client_id": "acme", "name": "X", "phone": phone(9)}},
    "POST /leads/import": {
        "query": {"owner_id": "sam", "client_id": "acme"},
        "body": f"name;phone\nX;{phone(9)}\n",
        "headers": {"content-type": "text/csv"},
    },
    "POST /leads/queue/prepare": {"body": {"owner_id": "sam", "date": DATE}},
    "POST /leads/queue/start": {"body": {"owner_id": "sam", "date": DATE}},
    "POST /leads/queue/stop": {"body": {"owner_id": "sam", "date": DATE}},
}
"""Naming sam as owner: tom gets 422 with the field."""

BY_CLIENT = ("GET /leads", "GET /leads/export.csv")
MATCH = "POST /leads/inbox/{id}/match"


@pytest.fixture
def api(on_aws: AwsHarness) -> LeadsApi:
    configure()
    made = LeadsApi(on_aws)
    made.client()
    steps = {"first": {"content_sid": FIRST, "variables": {"1": "name"}}}
    for user in ("sam", "tom"):
        assert made("PUT /leads/settings", user=user, body={"steps": steps}).status == 200
    assert made.add(1).status == 201
    return made


def call(api: LeadsApi, route: str, **options: Any) -> Any:
    if route.partition(" ")[2].startswith(("/leads/queue/st", "/leads/inbox", "/leads/{id}/messages", "/templates")):
        return api.world.http("outreach", route, role="sales", user="tom", **options)
    return api(route, user="tom", **options)


def test_every_route_of_sales_is_in_one_of_the_tables() -> None:
    assert {*SHARED, *OWN, *OTHERS_LEAD, *OTHERS_NAME, MATCH} == ROUTES


def test_sales_neither_see_nor_change_a_colleagues_leads_through_any_route(api: LeadsApi) -> None:
    def seen() -> list[Any]:
        queue = api("GET /leads/queue", query={"date": DATE})
        return [api("GET /leads").json, api("GET /leads/settings").json, queue.json]

    lead = api("GET /leads").json["items"][0]
    before = seen()
    for route, options in OTHERS_LEAD.items():
        answer = call(api, route, id=lead["lead_id"], **options)
        assert (route, answer.status) == (route, 404)
        assert phone(1) not in answer.text
    for route, options in OTHERS_NAME.items():
        answer = call(api, route, **options)
        assert (route, answer.status) == (route, 422)
        assert "must be your own id" in answer.text, route
        assert phone(1) not in answer.text
    for route in BY_CLIENT:
        answer = call(api, route, query={"client_id": "acme"})
        assert answer.status == 200
        assert phone(1) not in answer.text
    assert call(api, MATCH, id="SM1", body={"lead_id": lead["lead_id"]}).status == 404
    assert phone(1) not in call(api, "GET /leads/figures", query={"from": DATE}).text
    assert seen() == before
