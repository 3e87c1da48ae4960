"""Uploads through the gateway, which passes some content types on as text and others as bytes."""

from __future__ import annotations

import uuid

import pytest

from tests.e2e.conftest import Api

BULK = "/admin/stock/sessions/bulk"
TYPES = [
    "text/csv",
    "text/plain; charset=utf-8",
    "application/json",
    "application/x-ndjson",
    "application/vnd.ms-excel",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    None,
]


@pytest.fixture(scope="module")
def pool(api: Api) -> str:
    name = f"up-{uuid.uuid4().hex[:8]}"
    assert api("admin", "PUT", f"/admin/stock/pools/{name}").status_code == 201
    return name


def headers(content_type: str | None) -> dict[str, str]:
    return {"content-type": content_type} if content_type else {}


def names(number: int) -> list[str]:
    return [f"e{uuid.uuid4().hex[:12]}" for _ in range(number)]


@pytest.mark.parametrize("content_type", TYPES)
def test_a_csv_is_read_under_every_content_type(api: Api, pool: str, content_type: str | None) -> None:
    first, second = names(2)
    body = f"\ufeffsession_id;note\r\n{first};Grüße\r\n\r\n{second};x\r\n".encode()
    answer = api("admin", "POST", f"{BULK}?pool={pool}", data=body, headers=headers(content_type)).json()
    assert (answer["accepted"], [line["line"] for line in answer["lines"]]) == (2, [2, 4])
    again = api("admin", "POST", f"{BULK}?pool={pool}", data=body, headers=headers(content_type)).json()
    assert [(line["status"], line["state"], line["pool"]) for line in again["lines"]] == [
        ("duplicate", "free", pool)
    ] * 2


def test_a_form_is_read_as_its_file(api: Api, pool: str) -> None:
    (name,) = names(1)
    files = {"file": ("a.csv", f"session_id,pool\n{name},{pool}\n".encode(), "text/csv")}
    answer = api("admin", "POST", BULK, files=files).json()
    assert answer["accepted"] == 1
    assert api("admin", "GET", f"/admin/stock/sessions/{name}").json()["pool"] == pool


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_an_upload_in_another_encoding_is_refused_and_stores_nothing(
    api: Api, pool: str, content_type: str | None, encoding: str
) -> None:
    (name,) = names(1)
    body = f"session_id,note\r\n{name},Müller\r\n".encode(encoding)
    answer = api("admin", "POST", f"{BULK}?pool={pool}", data=body, headers=headers(content_type))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:adbot-queue:problem:malformed-body")
    assert ("UTF-16" if encoding == "utf-16" else "not valid UTF-8 at byte") in answer.json()["detail"]
    assert api("admin", "GET", f"/admin/stock/sessions/{name}").status_code == 404


def test_a_mail_in_another_encoding_is_refused(api: Api) -> None:
    body = '{"type":"send-email","payload":{"to":"c@example.com","subject":"Grüße","text":"x"}}'.encode("latin-1")
    answer = api("admin", "POST", "/jobs", data=body, headers=headers("application/json"))
    assert (answer.status_code, "byte 66 (" in answer.json()["detail"]) == (400, True)


def test_a_query_and_a_path_in_another_encoding_are_refused(api: Api) -> None:
    for path in ("/admin/ledger?actor=M%FCller", "/admin/stock/sessions/M%FCller"):
        answer = api("admin", "GET", path)
        assert (answer.status_code, "not valid UTF-8" in answer.json()["detail"]) == (400, True)
