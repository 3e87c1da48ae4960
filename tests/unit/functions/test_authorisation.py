"""Who may call which route: every route by every kind of identity."""

from __future__ import annotations

import itertools
from typing import Any

from adbot_queue.core.callers import PUBLIC, Caller
from adbot_queue.core.http import Route
from local.openapi import all_routes
from tests.builders.payments import configure
from tests.builders.world import AwsHarness

ROUTES = all_routes()

CUSTOMERS_MAY = {
    "GET /adbots",
    "GET /adbots/{id}",
    "GET /orders/{id}",
    "GET /plans",
    "GET /push/key",
    "POST /adbots/{id}/start",
    "POST /adbots/{id}/stop",
    "POST /checkout",
    "POST /otp",
    "POST /otp/verify",
    "POST /push/subscriptions",
    "DELETE /push/subscriptions/{id}",
}
MACHINES_MAY = {
    "jobs.write": {"POST /jobs", "POST /jobs/batch", "DELETE /jobs/{id}"},
    "jobs.read": {"GET /jobs", "GET /jobs/{id}", "GET /job-types", "GET /queues"},
    "metrics.read": {"GET /metrics"},
}
SCOPES = {"jobs.write", "jobs.read", "engine", "metrics.read"}


def person(**claims: Any) -> dict[str, Any]:
    return {"sub": "2b1f", "client_id": "4h1client", "username": "ada", "token_use": "access", **claims}


def machine(*scopes: str, **claims: Any) -> dict[str, Any]:
    found = {"sub": "4h1client", "client_id": "4h1client", "token_use": "access", **claims}
    return found | {"scope": " ".join(f"adbot-queue/{scope}" for scope in scopes)}


IDENTITIES: dict[str, tuple[dict[str, Any] | None, Caller | None]] = {
    "nobody": (None, None),
    "an id token": (person(token_use="id", **{"cognito:groups": "[owner]"}), None),
    "a token without a subject": ({"token_use": "access", "cognito:groups": "[owner]"}, None),
    **{
        role: (person(**{"cognito:groups": f"[{role}]"}), Caller("2b1f", frozenset({role})))
        for role in ("owner", "admin", "viewer", "customer", "sales", "stranger")
    },
    "a person in no group": (person(), Caller("2b1f", frozenset({"customer"}))),
    "a person whose groups cannot be read": (person(**{"cognito:groups": "[owner"}), Caller("2b1f")),
    "a person with scopes": (
        person(scope=" ".join(f"adbot-queue/{scope}" for scope in SCOPES)),
        Caller("2b1f", frozenset({"customer"})),
    ),
    **{scope: (machine(scope), Caller("4h1client", scopes=frozenset({scope}))) for scope in SCOPES},
    "a machine without scopes": (machine(), Caller("4h1client", scopes=frozenset())),
    "a machine with groups": (machine(**{"cognito:groups": "[owner]"}), Caller("4h1client", scopes=frozenset())),
    "a machine with another server's scopes": (
        machine() | {"scope": "jobs.write other/jobs.write adbot-queue/ adbot-queuejobs.write openid"},
        Caller("4h1client", scopes=frozenset()),
    ),
}
"""Claims that the gateway has verified -> the caller they make, None: no caller."""


def may(caller: Caller | None, route: Route) -> bool:
    if route.roles == PUBLIC:
        return True
    if caller is None:
        return False
    if caller.scopes is not None:
        return any(route.key in MACHINES_MAY.get(scope, ()) for scope in caller.scopes)
    return bool(caller.groups & route.roles)


def test_every_route_takes_the_callers_it_declares_and_refuses_all_others(on_aws: AwsHarness) -> None:
    found: dict[tuple[str, str], tuple[int, str | None]] = {}
    for (key, (function, route)), (name, (claims, caller)) in itertools.product(ROUTES.items(), IDENTITIES.items()):
        if may(caller, route):
            route.check(caller)
            continue
        path = {part[1:-1]: "x" for part in route.path.split("/") if part.startswith("{")}
        answer = on_aws.http(function, key, claims=claims, **path)
        found[key, name] = (answer.status, answer.problem)

    wrong = {
        (key, name): said
        for (key, name), said in found.items()
        if said != ((401, "unauthenticated") if IDENTITIES[name][1] is None else (403, "forbidden"))
    }
    assert wrong == {}
    assert len(found) > 800


def test_customers_and_machines_may_call_these_routes_and_no_others() -> None:
    for_customers = {key for key, (_, route) in ROUTES.items() if "customer" in route.roles}
    for_machines = {
        scope: {key for key, (_, route) in ROUTES.items() if route.scope == scope} for scope in MACHINES_MAY
    }

    assert for_customers == CUSTOMERS_MAY
    assert for_machines == MACHINES_MAY
    assert {route.scope for _, route in ROUTES.values()} == {"", *MACHINES_MAY}


def test_a_machine_acts_and_signs_under_the_id_of_its_client(on_aws: AwsHarness) -> None:
    token = machine("jobs.write", "jobs.read")
    body = {"type": "rebuild-article-stats", "payload": {}}
    made = on_aws.http("jobs", "POST /jobs", claims=token, body=body)
    seen = on_aws.http("jobs", "GET /jobs/{id}", claims=token, id=made.json["job_id"])
    gone = on_aws.http("jobs", "DELETE /jobs/{id}", claims=token, id=made.json["job_id"])
    signed = on_aws.http("system", "GET /admin/ledger", role="owner", query={"actor": "4h1client"}).json["items"]

    assert (made.status, seen.status, gone.status) == (202, 200, 200)
    assert seen.json["user_id"] == "4h1client"
    assert {(entry["action"], entry["role"]) for entry in signed} == {
        ("job.enqueue", "machine"),
        ("job.cancel", "machine"),
    }


def test_a_machine_is_bound_by_the_limit_of_those_who_are_not_the_owner(on_aws: AwsHarness) -> None:
    configure()
    body = {"type": "payout-process", "payload": {"kind": "payout", "amount": 100_001, "currency": "eur"}}
    answer = on_aws.http("jobs", "POST /jobs", claims=machine("jobs.write"), body=body)

    assert (answer.status, answer.problem) == (403, "forbidden")
    assert "owner" in answer.json["detail"]
