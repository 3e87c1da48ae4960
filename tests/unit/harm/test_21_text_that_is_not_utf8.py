"""Text that is not UTF-8 is refused with the name of the problem, on every route, and nothing is stored."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from adbot_queue.core.http import Route
from local.openapi import all_routes
from tests.builders.world import Answer, AwsHarness

ROUTES = {route.key: (function, route) for function, route in all_routes().values()}
WITH_JSON = sorted(key for key, (_, route) in ROUTES.items() if route.body)
WITH_BYTES = sorted(key for key, (_, route) in ROUTES.items() if route.raw)
BULK = "POST /admin/stock/sessions/bulk"
ONE = "POST /admin/stock/sessions"


def call(on_aws: AwsHarness, key: str, raw: bytes, content_type: str | None, **more: Any) -> Answer:
    """As API Gateway passes a body on: base64 where the content type is not one of text."""
    function, route = ROUTES[key]
    path = {part[1:-1]: "standard" for part in route.path.split("/") if part.startswith("{")}
    headers = {"content-type": content_type} if content_type else {}
    headers |= {"x-twilio-signature": "x", "stripe-signature": "x"}
    return on_aws.http(
        function,
        key,
        role=_role(route),
        body=base64.b64encode(raw).decode(),
        base64=True,
        headers=headers,
        **(path | more),
    )


def _role(route: Route) -> str:
    return next((role for role in ("owner", "admin", "customer") if role in route.roles), "owner")


def stock(on_aws: AwsHarness) -> int:
    return on_aws.adbots.pools.header("standard").stock_total


@pytest.mark.parametrize("key", WITH_JSON)
def test_a_byte_of_another_encoding_is_named_on_every_route_with_a_json_body(on_aws: AwsHarness, key: str) -> None:
    answer = call(on_aws, key, b'{\n "name": "M\xfcller"}', "application/json")
    assert (answer.status, answer.problem) == (400, "malformed-body")
    assert answer.json["detail"] == "body: not valid UTF-8 at byte 13 (0xFC), line 2; save the file as UTF-8"


@pytest.mark.parametrize("key", WITH_JSON)
def test_the_mark_of_a_lost_character_is_refused_on_every_route_with_a_json_body(on_aws: AwsHarness, key: str) -> None:
    answer = call(on_aws, key, '{"name": "M\ufffdller"}'.encode(), "application/json")
    assert answer.status == 400
    assert answer.json["detail"].startswith("body: not valid UTF-8 at byte 11 (U+FFFD")


@pytest.mark.parametrize("key", WITH_BYTES)
def test_bytes_of_another_encoding_are_a_bad_request_on_every_route_that_reads_them_itself(
    on_aws: AwsHarness, key: str
) -> None:
    on_aws.pool()
    answer = call(on_aws, key, b'{"session_id": "s1", "name": "M\xfcller"}', "application/json")
    assert answer.status in {400, 503}  # 503: the provider behind this webhook has no credentials here
    assert stock(on_aws) == 0


UNREADABLE = {
    "cp1252": ("Müller".encode("cp1252"), "at byte 18 (0xFC), line 2"),
    "latin-1 after letters in UTF-8": ("ü".encode() + b"\xe9", "at byte 19 (0xE9), line 2"),
    "a byte of nothing": (b"\xff", "at byte 17 (0xFF), line 2"),
    "a sequence cut short": ("€".encode()[:2], "at byte 17 (0xE2), line 2"),
    "an overlong slash": (b"\xc0\xaf", "at byte 17 (0xC0), line 2"),
    "half of a surrogate pair": (b"\xed\xa0\x80", "at byte 17 (0xED), line 2"),
    "beyond Unicode": (b"\xf5\x80\x80\x80", "at byte 17 (0xF5), line 2"),
    "U+FFFD": ("\ufffd".encode(), "at byte 17 (U+FFFD"),
    "NUL": (b"\0", "NUL byte at byte 17"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("content_type", ["text/csv", "application/octet-stream", None])
def test_an_upload_in_another_encoding_is_refused_with_its_place(
    on_aws: AwsHarness, name: str, content_type: str | None
) -> None:
    on_aws.pool()
    text, says = UNREADABLE[name]
    answer = call(on_aws, BULK, b"session_id,key\na," + text + b"\nb,k\n", content_type)
    assert (answer.status, answer.problem, stock(on_aws)) == (400, "malformed-body", 0)
    assert says in answer.json["detail"]
    assert "UTF-8" in answer.json["detail"] or "UTF-16" in answer.json["detail"]


WHOLE_FILES = {
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32": "UTF-32",
    "utf-32-be": "UTF-16",
}


@pytest.mark.parametrize("encoding", WHOLE_FILES)
@pytest.mark.parametrize("key", [BULK, ONE])
def test_a_wide_encoding_is_named(on_aws: AwsHarness, encoding: str, key: str) -> None:
    on_aws.pool()
    answer = call(on_aws, key, '{"session_id": "s1"}'.encode(encoding), "application/json")
    assert (answer.status, stock(on_aws)) == (400, 0)
    assert WHOLE_FILES[encoding] in answer.json["detail"]


@pytest.mark.parametrize(
    ("start", "says"), [(b"PK\x03\x04", "Excel"), (b"\xd0\xcf\x11\xe0", "Excel"), (b"\x1f\x8b", "gzip")]
)
def test_a_file_that_is_no_text_is_named(on_aws: AwsHarness, start: bytes, says: str) -> None:
    on_aws.pool()
    answer = call(on_aws, BULK, start + b"\x08\xff", "application/vnd.ms-excel")
    assert (answer.status, says in answer.json["detail"]) == (400, True)


@pytest.mark.parametrize("key", [BULK, ONE])
@pytest.mark.parametrize("charset", ["iso-8859-1", '"windows-1252"', "UTF-16", "x\u00fcx"])
def test_a_charset_that_is_not_utf8_is_refused_by_its_name(on_aws: AwsHarness, key: str, charset: str) -> None:
    on_aws.pool()
    answer = call(on_aws, key, b'{"session_id": "s1"}', f"application/json; Charset={charset}")
    assert (answer.status, stock(on_aws)) == (400, 0)
    assert answer.json["detail"].startswith("content-type: charset ")
    assert charset.strip('"').replace("\u00fc", "?") in answer.json["detail"]


@pytest.mark.parametrize("key", [BULK, ONE])
@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"', "us-ascii", "utf8"])
def test_utf8_is_taken_under_its_names_with_a_byte_order_mark_and_without(
    on_aws: AwsHarness, key: str, charset: str
) -> None:
    on_aws.pool()
    for number, mark in enumerate(["", "\ufeff"]):
        raw = (mark + json.dumps({"session_id": f"s{number}", "note": "Grüße 😀"}, ensure_ascii=False)).encode()
        assert call(on_aws, key, raw, f"application/json;charset={charset}").json["accepted"] == 1
    assert stock(on_aws) == 2


STRICT = {
    '{"session_id": "s1", "x": "\\ud800"}': "half of a surrogate pair",
    '{"session_id": "s1", "x": {"\\udfff": 1}}': "half of a surrogate pair",
    '{"session_id": "s1", "x": NaN}': "NaN is not a JSON number",
    '{"session_id": "s1", "x": [-Infinity]}': "-Infinity is not a JSON number",
    '{"session_id": "s1", "x": 1e400}': "1e400 is too large",
    '{"session_id": "s1", "x": 1, "x": 2}': "x: named twice",
    '{"session_id": "s1", "x": {"y": 1, "y": 1}}': "y: named twice",
    '{"session_id": "s1", "x": ' + "[" * 101 + "1" + "]" * 101 + "}": "nested deeper than",
    '{"session_id": "s1", "x": ' + "[" * 5000 + "]" * 5000 + "}": "nested",
    '{"session_id": "s1", "x": ' + "9" * 5000 + "}": "5000 digits",
    '{"session_id": "s1",}': "not JSON",
    '{"session_id": "s1", "x": "a\tb"}': "not JSON",
}


@pytest.mark.parametrize("body", STRICT)
def test_json_that_parsers_read_differently_is_refused_by_its_fault(on_aws: AwsHarness, body: str) -> None:
    on_aws.pool()
    answer = call(on_aws, ONE, body.encode(), "application/json")
    assert (answer.status, answer.problem, stock(on_aws)) == (400, "malformed-body", 0)
    assert STRICT[body] in answer.json["detail"]


def test_a_caller_who_means_the_replacement_character_escapes_it(on_aws: AwsHarness) -> None:
    on_aws.pool()
    answer = call(on_aws, ONE, b'{"session_id": "s1", "x": "\\ufffd \\ud83d\\ude00 \\u0000"}', "application/json")
    assert (answer.status, stock(on_aws)) == (201, 1)


@pytest.mark.parametrize("escape", ["%FC", "%e2%82", "a%20%C0%AF", "%ED%A0%80"])
def test_a_query_that_is_not_utf8_is_refused_on_every_route(on_aws: AwsHarness, escape: str) -> None:
    for key in (BULK, "GET /admin/stock", "GET /adbots"):
        function, route = ROUTES[key]
        event = _event(on_aws, key, rawQueryString=f"pool={escape}", queryStringParameters={"pool": "M\ufffdller"})
        answer = Answer(on_aws.app(function).handler(event, _Context()))
        assert (answer.status, answer.problem) == (400, "malformed-body")
        assert answer.json["detail"].startswith("query: not valid UTF-8 (%"), route


@pytest.mark.parametrize("value", ["a\ufffd", "\ud800"])
def test_an_id_in_a_path_that_is_not_utf8_is_refused(on_aws: AwsHarness, value: str) -> None:
    answer = on_aws.http("stock", "GET /admin/stock/sessions/{id}", role="viewer", id=value)
    assert (answer.status, answer.json["detail"]) == (400, "path: not valid UTF-8; encode it as UTF-8")
    answer = on_aws.http("stock", "GET /admin/stock/sessions/{id}", role="viewer", id="\u00fc")
    assert answer.status == 404


def _event(on_aws: AwsHarness, key: str, **more: Any) -> dict[str, Any]:
    claims = {"sub": "ada", "token_use": "access", "cognito:groups": "[owner]"}
    return {
        "version": "2.0",
        "routeKey": key,
        "rawPath": "/",
        "headers": {},
        "requestContext": {"requestId": "r", "authorizer": {"jwt": {"claims": claims, "scopes": None}}},
        "body": "session_id\ns1\n",
        "isBase64Encoded": False,
    } | more


class _Context:
    aws_request_id = "r"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 60_000
