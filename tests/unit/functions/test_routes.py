"""Routes as API Gateway calls them: who may, what is refused and how, what comes back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adbot_queue.core import aws
from adbot_queue.core.http import LARGE_BODY, SLASH
from local.openapi import all_routes
from tests.builders.crash import crash_after
from tests.builders.world import AwsHarness

ROUTES = all_routes()


def test_head_and_a_trailing_slash_answer_as_get_does_on_every_get_route(on_aws: AwsHarness) -> None:
    asked = {key: found for key, found in ROUTES.items() if found[1].method == "GET"}
    for function, route in asked.values():
        role = min(route.roles, default=None)
        path = {part[1:-1]: "x" for part in route.path.split("/") if part.startswith("{")}
        get = on_aws.http(function, route.key, role=role, **path)
        head = on_aws.http(function, f"HEAD {route.path}", role=role, **path)
        slash = {
            method: on_aws.http(function, f"ANY {route.path}{SLASH}", role=role, method=method, proxy="", **path)
            for method in ("GET", "HEAD", "POST")
        }
        below = on_aws.http(function, f"ANY {route.path}{SLASH}", role=role, method="GET", proxy="a/b", **path)

        assert get.text, route.key
        for other in (head, slash["GET"], slash["HEAD"]):
            assert (other.status, other.headers["content-type"]) == (get.status, get.headers["content-type"]), route.key
        assert (head.text, slash["HEAD"].text) == ("", "")
        assert (
            slash["GET"].json.keys() == get.json.keys() if "json" in get.headers["content-type"] else slash["GET"].text
        )
        assert (below.status, below.problem) == (404, "not-found")
        if f"POST {route.path}" not in ROUTES:
            assert slash["POST"].status == 404
    assert len(asked) > 30


def test_a_body_over_the_limit_is_a_problem_document_wherever_one_is_taken(on_aws: AwsHarness) -> None:
    taking = {key: found for key, found in ROUTES.items() if found[1].method != "GET"}
    for key, (function, route) in taking.items():
        path = {part[1:-1]: "x" for part in route.path.split("/") if part.startswith("{")}
        role = min(route.roles, default=None)
        answer = on_aws.http(function, key, role=role, body="x" * (route.limit + 1), **path)

        assert (answer.status, answer.problem, answer.json["limit"]) == (413, "body-too-large", route.limit), key
        assert route.limit <= LARGE_BODY
    assert len(taking) > 30


@pytest.mark.parametrize("long", ["x" * 513, "ü" * 257, "x" * 2100], ids=["513", "ü", "2100"])
def test_an_id_that_is_too_long_is_not_found_without_an_aws_call(on_aws: AwsHarness, long: str) -> None:
    found = {}
    with crash_after(None) as calls:
        for key, (function, route) in ROUTES.items():
            if names := [part[1:-1] for part in route.path.split("/") if part.startswith("{")]:
                role = min(route.roles, default=None)
                found[key] = on_aws.http(function, key, role=role, **dict.fromkeys(names, long)).status
    assert len(found) > 30
    assert set(found.values()) == {404}, found
    assert calls.names == []


def test_an_admin_makes_a_bot_and_sees_it_wait(on_aws: AwsHarness) -> None:
    on_aws.pool()
    answer = on_aws.http(
        "admin_create", "POST /admin/adbots", role="admin", body={"required_sessions": 3, "user_id": "cara"}
    )
    assert answer.status == 201
    assert answer.json["status"] == "QUEUED"
    assert (answer.json["missing_sessions_count"], answer.json["user_id"]) == (3, "cara")
    assert answer.json["queued_reason"] == "INSUFFICIENT_STOCK"


def test_the_same_creation_twice_says_that_it_is_a_replay(on_aws: AwsHarness) -> None:
    on_aws.pool()

    def create(required: int) -> Any:
        return on_aws.http(
            "admin_create",
            "POST /admin/adbots",
            role="admin",
            body={"required_sessions": required},
            headers={"Idempotency-Key": "once"},
        )

    first, second, other = create(1), create(1), create(2)
    assert first.json["adbot_id"] == second.json["adbot_id"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert (other.status, other.problem) == (409, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"required_sessions": 0}, 422, "required_sessions"),
        ({"required_sessions": -1}, 422, "required_sessions"),
        ({"required_sessions": 501}, 422, "required_sessions"),
        ({"required_sessions": "three"}, 422, "required_sessions"),
        ({"required_sessions": "3"}, 422, "required_sessions"),
        ({"required_sessions": 1.5}, 422, "required_sessions"),
        ({}, 422, "required_sessions"),
        ({"required_sessions": 1, "colour": "red"}, 422, "colour"),
        ({"required_sessions": 1, "pool": "nowhere"}, 422, "pool"),
    ],
)
def test_a_bad_order_is_refused_and_the_field_is_named(on_aws: AwsHarness, body: Any, status: int, field: str) -> None:
    on_aws.pool()
    answer = on_aws.http("admin_create", "POST /admin/adbots", role="admin", body=body)
    assert (answer.status, answer.problem, answer.fields) == (status, "validation", [field])


@pytest.mark.parametrize("body", ["{", "", "null", "\x00", pytest.param("[" * 5_000, id="deep")])
def test_a_body_that_is_not_json_is_malformed_or_lacks_the_field(on_aws: AwsHarness, body: str) -> None:
    answer = on_aws.http("admin_create", "POST /admin/adbots", role="admin", body=body)
    assert answer.status in {400, 422}


def test_a_body_over_the_limit_names_the_limit(on_aws: AwsHarness) -> None:
    answer = on_aws.http("admin_create", "POST /admin/adbots", role="admin", body="x" * (256 * 1024 + 1))
    assert (answer.status, answer.problem, answer.json["limit"]) == (413, "body-too-large", 262_144)


def test_a_body_in_base64_is_read_as_what_it_is(on_aws: AwsHarness) -> None:
    on_aws.pool()
    body = base64.b64encode(json.dumps({"required_sessions": 1}).encode()).decode()
    assert on_aws.http("admin_create", "POST /admin/adbots", role="admin", body=body, base64=True).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "a\tb"])
def test_an_idempotency_key_out_of_bounds_is_refused(on_aws: AwsHarness, key: str) -> None:
    on_aws.pool()
    answer = on_aws.http(
        "admin_create",
        "POST /admin/adbots",
        role="admin",
        body={"required_sessions": 1},
        headers={"idempotency-key": key},
    )
    assert (answer.status, answer.fields) == (422, ["Idempotency-Key"])


def test_starting_a_queued_bot_is_403_with_what_is_missing_and_why(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(4, user="cara")
    answer = on_aws.http("start", "POST /adbots/{id}/start", role="customer", user="cara", id=bot.id)
    assert answer.status == 403
    assert (answer.json["missing_sessions_count"], answer.json["queued_reason"]) == (4, "INSUFFICIENT_STOCK")


def test_the_life_of_a_bot_over_http(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    bot = on_aws.create(2, user="cara")
    start, stop = "POST /adbots/{id}/start", "POST /adbots/{id}/stop"
    assert on_aws.http("start", start, role="customer", user="cara", id=bot.id).json["status"] == "RUNNING"
    again = on_aws.http("start", start, role="admin", id=bot.id)
    assert (again.status, again.problem) == (409, "conflict")
    assert on_aws.http("start", stop, role="customer", user="cara", id=bot.id).json["status"] == "STOPPED"
    cancelled = on_aws.http(
        "adbots", "POST /admin/adbots/{id}/cancel", role="admin", id=bot.id, body={"reason": "refund"}
    )
    assert (cancelled.status, cancelled.json["status"]) == (200, "CANCELLED")
    assert on_aws.http("start", start, role="customer", user="cara", id=bot.id).status == 409


@pytest.mark.parametrize(
    ("function", "route"),
    [("adbots", "GET /adbots/{id}"), ("start", "POST /adbots/{id}/start"), ("start", "POST /adbots/{id}/stop")],
)
def test_a_bot_of_another_customer_is_answered_like_a_missing_bot(
    on_aws: AwsHarness, function: str, route: str
) -> None:
    on_aws.pool()
    bot = on_aws.create(1, user="cara")
    foreign = on_aws.http(function, route, role="customer", user="mallory", id=bot.id)
    absent = on_aws.http(function, route, role="customer", user="mallory", id="bot_none")
    assert foreign.status == absent.status == 404
    assert foreign.problem == absent.problem == "not-found"


def test_an_order_of_another_customer_is_not_found(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1, user="cara")
    assert on_aws.http("adbots", "GET /orders/{id}", role="customer", user="mallory", id=bot.order_id).status == 404
    assert on_aws.http("adbots", "GET /orders/{id}", role="customer", user="cara", id=bot.order_id).status == 200


def test_customers_list_their_own_and_staff_all_by_status(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    on_aws.create(1, user="cara")
    on_aws.create(1, user="carl")
    own = on_aws.http("adbots", "GET /adbots", role="customer", user="cara")
    every = on_aws.http("adbots", "GET /adbots", role="viewer")
    waiting = on_aws.http("adbots", "GET /adbots", role="viewer", query={"status": "QUEUED"})
    assert [len(answer.json["items"]) for answer in (own, every, waiting)] == [1, 2, 1]
    assert own.json["next"] is None


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"status": "WAITING"}, {"page": "2"}]
)
def test_a_bad_page_is_refused_and_the_field_is_named(on_aws: AwsHarness, query: dict[str, str]) -> None:
    answer = on_aws.http("adbots", "GET /adbots", role="viewer", query=query)
    assert (answer.status, answer.fields) == (422, list(query))


def test_staff_see_which_sessions_a_bot_has_and_customers_do_not(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    bot = on_aws.create(2, user="cara")
    assert on_aws.http("adbots", "GET /adbots/{id}", role="viewer", id=bot.id).json["session_ids"] == ["s1", "s2"]
    assert (
        on_aws.http("adbots", "GET /adbots/{id}", role="customer", user="cara", id=bot.id).json["session_ids"] is None
    )


def test_sessions_are_reassigned_by_name(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")
    bot = on_aws.create(1)
    other = on_aws.create(1)
    change = "PUT /admin/adbots/{id}/sessions"
    done = on_aws.http("adbots", change, role="admin", id=bot.id, body={"add": ["s3"], "remove": ["s1"]})
    taken = on_aws.http("adbots", change, role="admin", id=bot.id, body={"add": ["s2"], "remove": ["s3"]})
    assert (done.status, on_aws.sessions_of(bot.id)) == (200, ["s3"])
    assert (taken.status, taken.json["session_id"]) == (409, "s2")
    assert on_aws.sessions_of(other.id) == ["s2"]


def test_one_session_is_uploaded_and_the_second_time_refused(on_aws: AwsHarness) -> None:
    on_aws.pool()
    body = {"session_id": "s1", "token": "secret"}
    first = on_aws.http("stock", "POST /admin/stock/sessions", role="admin", body=body)
    on_aws.upload("s2")
    second = on_aws.http(
        "stock",
        "POST /admin/stock/sessions",
        role="admin",
        body={"session_id": "s2", "token": "x"},
        headers={"idempotency-key": "other"},
    )
    assert (first.status, first.json["accepted"]) == (201, 1)
    assert (second.status, second.problem, second.json["session_id"]) == (409, "conflict", "s2")


def test_a_bulk_upload_gives_a_verdict_a_line(on_aws: AwsHarness) -> None:
    on_aws.pool()
    body = '{"session_id": "s1"}\nnonsense\n{"session_id": "s1"}\n{"session_id": "s2"}\n'
    answer = on_aws.http(
        "stock", "POST /admin/stock/sessions/bulk", role="admin", body=body, query={"pool": "standard"}
    )
    assert answer.status == 200
    assert [line["status"] for line in answer.json["lines"]] == [
        "accepted",
        "invalid",
        "duplicate_in_upload",
        "accepted",
    ]
    assert (answer.json["accepted"], answer.json["duplicates"], answer.json["invalid"]) == (2, 1, 1)


def test_a_bulk_upload_of_csv_is_read_by_its_content_type(on_aws: AwsHarness) -> None:
    on_aws.pool()
    answer = on_aws.http(
        "stock",
        "POST /admin/stock/sessions/bulk",
        role="admin",
        body="session_id,token\ns1,a\n",
        headers={"Content-Type": "text/csv"},
    )
    assert (answer.status, answer.json["accepted"]) == (200, 1)


def test_an_upload_to_an_unknown_pool_is_refused(on_aws: AwsHarness) -> None:
    answer = on_aws.http(
        "stock", "POST /admin/stock/sessions/bulk", role="admin", body='{"session_id": "s1"}', query={"pool": "nowhere"}
    )
    assert (answer.status, answer.fields) == (422, ["pool"])


def test_a_pool_is_made_once(on_aws: AwsHarness) -> None:
    def make(pool: str) -> Any:
        return on_aws.http("stock", "PUT /admin/stock/pools/{pool}", role="admin", pool=pool)

    assert [make("vip").status, make("vip").status, make("No!").status] == [201, 200, 422]


def test_a_lost_session_is_said_to_be_lost(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    lost = on_aws.http(
        "stock", "POST /admin/stock/sessions/{id}/lost", role="admin", id="s1", body={"reason": "banned"}
    )
    assert (lost.status, lost.json["state"]) == (200, "lost")
    assert on_aws.http("stock", "GET /admin/stock/sessions/{id}", role="viewer", id="nope").status == 404


def test_the_queue_in_figures(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.pool("vip")
    on_aws.create(3)
    on_aws.upload("s1", pool="vip")
    stats = on_aws.http("queue_stats", "GET /admin/queue/stats", role="viewer").json
    assert (stats["queue_length"], stats["missing_total"], stats["free_stock"]) == (1, 3, 1)
    assert [pool["pool"] for pool in stats["pools"]] == ["standard", "vip"]
    assert stats["oldest_queued_at"] == stats["pools"][0]["oldest_queued_at"]


def test_a_manual_run_asks_for_every_pool_or_one(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.pool("vip")
    every = on_aws.http("resolve", "POST /admin/queue/resolve", role="admin")
    one = on_aws.http("resolve", "POST /admin/queue/resolve", role="admin", body={"pool": "vip"})
    none = on_aws.http("resolve", "POST /admin/queue/resolve", role="admin", body={"pool": "nowhere"})
    assert (every.status, sorted(every.json["pools"])) == (202, ["standard", "vip"])
    assert (one.json["pools"], none.status) == (["vip"], 422)


def test_the_ledger_is_read_with_filters_that_combine(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    target = f"adbot:{bot.id}"
    page = on_aws.http("system", "GET /admin/ledger", role="viewer", query={"target": target, "action": "adbot.create"})
    assert [entry["actor"] for entry in page.json["items"]] == ["ada"]
    assert on_aws.http("system", "GET /admin/ledger", role="viewer", query={"actor": "nobody"}).json["items"] == []
    wide = on_aws.http("system", "GET /admin/ledger", role="viewer", query={"from": "2026-01-01", "to": "2026-02-01"})
    assert (wide.status, wide.fields) == (422, ["from"])


def test_health_answers_and_readiness_names_what_is_missing(on_aws: AwsHarness) -> None:
    assert on_aws.http("system", "GET /health").json == {"status": "ok"}
    assert on_aws.http("system", "GET /health/ready").status == 200


def test_readiness_is_503_when_a_table_is_gone(on_aws: AwsHarness) -> None:
    aws.dynamodb().delete_table(TableName=on_aws.env["LEDGER_TABLE"])
    answer = on_aws.http("system", "GET /health/ready")
    assert (answer.status, answer.json["parts"]["table:ledger"]) == (503, "ResourceNotFoundException")


def test_the_description_of_the_api_has_every_route(on_aws: AwsHarness) -> None:
    described = on_aws.http("system", "GET /openapi.json").json
    keys = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    assert keys == set(ROUTES)


def test_a_throttled_table_is_503_with_a_hint_to_come_back(on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def throttle(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "GetItem")

    monkeypatch.setattr(aws.dynamodb(), "get_item", throttle)
    answer = on_aws.http("adbots", "GET /adbots/{id}", role="viewer", id="bot_1")
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "unavailable", "1")


def test_an_unexpected_error_tells_the_caller_nothing_but_the_request_id(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(**_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(aws.dynamodb(), "get_item", explode)
    answer = on_aws.http("adbots", "GET /adbots/{id}", role="viewer", id="bot_1")
    assert (answer.status, answer.problem, answer.json["request_id"]) == (500, "internal", "req-1")
    assert "secret detail" not in answer.text
