"""The edge of the API over the deployed gateway: methods, slashes, paths that do not exist."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Api


def test_head_and_a_trailing_slash_answer_as_get_does_on_every_get_route(api: Api) -> None:
    document = api(None, "GET", "/openapi.json").json()
    paths = {
        path.replace("{", "").replace("}", ""): next(iter(operations["get"].get("x-roles", [])), None)
        for path, operations in document["paths"].items()
        if "get" in operations
    }
    found = {}
    for path, role in paths.items():
        expected = api(role, "GET", path).status_code
        found[path] = [
            (answer.status_code == expected, answer.text == "" or method == "GET")
            for method, asked in (("HEAD", path), ("GET", f"{path}/"), ("HEAD", f"{path}/"))
            for answer in [api(role, method, asked)]
        ]

    assert len(found) > 30
    assert {path for path, answers in found.items() if answers != [(True, True)] * 3} == set()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nope"), ("HEAD", "/nope"), ("POST", "/health"), ("PUT", "/checkout"), ("GET", "/health/nope")],
)
def test_what_no_route_matches_is_a_problem_document(api: Api, method: str, path: str) -> None:
    answer = api(None, method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    if method != "HEAD":
        assert answer.json()["type"] == "urn:adbot-queue:problem:not-found"


def test_the_gateway_asks_for_a_token_before_a_path_below_a_protected_one_is_looked_at(api: Api) -> None:
    assert api(None, "GET", "/jobs/").status_code == 401
    assert api(None, "HEAD", "/jobs").status_code == 401
