"""Who calls: groups by their exact names, as API Gateway hands them over, and access tokens alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core.callers import STAFF, groups_of
from local.settings import ROOT
from tests.builders.world import AwsHarness, FakeContext, world

SAMPLE = json.loads((ROOT / "events" / "lambda" / "queue_stats.json").read_text())
ROLES = {"owner", "admin", "viewer", "customer"}


def as_api_gateway_says(groups: list[str]) -> str:
    return "[" + " ".join(groups) + "]"


# Cognito's own pattern of a group's name: [\p{L}\p{M}\p{S}\p{N}\p{P}]+
names = st.text(st.characters(categories=["L", "M", "S", "N", "P"]), min_size=1, max_size=20)
alike = st.sampled_from(
    [
        *ROLES,
        *(
            f"{left}{role}{right}"
            for role in ROLES
            for left in ("", "[", "(", ",", "x,", '"')
            for right in ("", "]", ",x")
        ),
    ]
)


@given(st.lists(st.one_of(names, alike), min_size=1, max_size=8))
def test_a_caller_is_in_the_groups_of_the_token_and_in_no_others(groups: list[str]) -> None:
    assert groups_of(as_api_gateway_says(groups)) == frozenset(groups)


@pytest.mark.parametrize("claim", [None, "[]", []])
def test_a_person_in_no_group_is_a_customer(claim: Any) -> None:
    assert groups_of(claim) == {"customer"}


NO_CALLER: dict[str, Any] = {
    "empty": "",
    "a comma": "[partners,owner]",
    "commas": "[owner,admin]",
    "a comma and a space": "[owner, admins]",
    "brackets": "[[owner]]",
    "an inner bracket": "[[owner]",
    "an outer bracket": "[owner]]",
    "a space before": "[ owner]",
    "a space after": "[owner ]",
    "two spaces": "[x  owner]",
    "a space outside": " [owner]",
    "a line": "[owner\n]",
    "a tab": "[x\towner]",
    "a space that does not break": "[x\u00a0owner]",
    "quotes": '["owner"]',
    "JSON": '["x", "owner"]',
    "no brackets": "owner",
    "only brackets": "][",
    "one bracket": "[",
    "capitals": "[Owner OWNER]",
    "wide letters": "[\uff4fwner]",
    "another o": "[\u043ewner]",
    "a joiner": "[owner\u200b]",
    "a plural": "[owners]",
    "a dash": "[owner-eu]",
    "a number": 7,
    "an object": {"owner": True},
    "a list with spaces": [" owner", "owner "],
    "a list of lists": [["owner"]],
    "a list with an empty name": ["owner", ""],
}


@pytest.mark.parametrize("claim", NO_CALLER.values(), ids=NO_CALLER.keys())
def test_what_only_looks_like_a_group_gives_no_role(claim: Any) -> None:
    assert not groups_of(claim) & ROLES


@pytest.fixture(scope="module", autouse=True)
def on() -> Iterator[AwsHarness]:
    with world() as made:
        yield made


def answer_to(on: AwsHarness, claims: dict[str, Any]) -> tuple[int, str]:
    event = copy.deepcopy(SAMPLE)
    event["requestContext"]["authorizer"]["jwt"]["claims"] = claims
    answer = on.app("queue_stats").handler(event, FakeContext())
    return answer["statusCode"], json.loads(answer["body"]).get("detail", "")


@pytest.mark.parametrize("claim", NO_CALLER.values(), ids=str)
def test_a_route_of_the_staff_refuses_what_only_looks_like_a_group(on: AwsHarness, claim: Any) -> None:
    status, detail = answer_to(on, {"sub": "eve", "token_use": "access", "cognito:groups": claim})
    assert (status, detail[:27]) == (403, "needs one of the roles admi")


@pytest.mark.parametrize("role", sorted(STAFF))
def test_a_route_of_the_staff_takes_a_group_among_others(on: AwsHarness, role: str) -> None:
    claims = {"sub": "ada", "token_use": "access"}
    assert answer_to(on, claims | {"cognito:groups": f"[partners,owner {role} [x]]"})[0] == 200
    assert answer_to(on, claims | {"cognito:groups": [role]})[0] == 200


@pytest.mark.parametrize("use", ["id", "refresh", "", None, "Access", " access", ["access"], True, ...], ids=str)
def test_a_token_that_is_no_access_token_is_refused_in_words(on: AwsHarness, use: Any) -> None:
    claims = {"sub": "ada", "cognito:groups": "[owner]"} | ({} if use is ... else {"token_use": use})
    assert answer_to(on, claims) == (401, "an access token is needed; an id token gives no access")


def test_a_token_without_a_subject_is_nobodys(on: AwsHarness) -> None:
    for subject in (None, "", 7, ["ada"]):
        assert answer_to(on, {"sub": subject, "token_use": "access", "cognito:groups": "[owner]"})[0] == 401
