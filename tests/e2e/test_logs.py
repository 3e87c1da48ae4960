"""The last of the end-to-end tests: the logs of all the others hold no secret and no personal data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.stack import Stack
from tests.support.leaks import leaks

MIN_LINES = 20
"""Fewer would mean that nothing was logged, or that nothing was read."""


def lines(logs: Any) -> Iterator[str]:
    for group in (
        group for page in logs.get_paginator("describe_log_groups").paginate() for group in page["logGroups"]
    ):
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            for event in page["events"]:
                yield event["message"]


def secrets_of(stack: Stack, manager: Any) -> Iterator[tuple[str, str]]:
    """Every text of every secret, and the users' passwords."""
    for user in stack["users"].values():
        yield f"the password of {user['username']}", user["password"]
    for page in manager.get_paginator("list_secrets").paginate():
        for secret in page["SecretList"]:
            held = json.loads(manager.get_secret_value(SecretId=secret["ARN"])["SecretString"])
            for field, text in held.items():
                if isinstance(text, str) and len(text) >= 8 and not text.startswith(("http", "mailto:")):
                    yield f"{field} of {secret['Name']}", text


STACKS = [pytest.param(group, marks=pytest.mark.xdist_group(group)) for group in ("stack", "second stack")]


@pytest.mark.parametrize("_group", STACKS)
def test_no_log_holds_a_secret_or_personal_data(stack: Stack, aws: Callable[[str], Any], _group: str) -> None:
    said = list(lines(aws("logs")))

    assert len(said) >= MIN_LINES
    assert list(dict.fromkeys(leaks(said, dict(secrets_of(stack, aws("secretsmanager"))))))[:20] == []
