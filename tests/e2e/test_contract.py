"""The API answers every request as /openapi.json says: no 5xx, no undeclared status or body.

Schemathesis makes the requests out of the document: of each route one for every limit and every way to break it (its
coverage phase, the same on every run), and some by chance (with a fixed seed). As an admin, and without a token.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local.settings import ROOT
from local.stack import Stack
from tests.e2e.conftest import Api

SECONDS = 300
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
NOT_ASKED = {"/openapi.json": "where Schemathesis has the document from; the first test here asks it"}
"""Path -> why no request is made to it."""


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(api: Api) -> Iterator[None]:
    """An admin may pause queues and flip the switch: other tests shall not notice."""
    yield
    api("owner", "POST", "/admin/system/mode", json={"mode": "async_queue", "reason": "after the contract test"})
    for queue in api("owner", "GET", "/queues").json()["items"]:
        if queue["paused"]:
            api("owner", "POST", f"/queues/{queue['name']}/resume")


def ask(stack: Stack, folder: Path, *options: str) -> str:
    """Run Schemathesis and give what it says; the test fails when it found something."""
    excluded = [option for path in NOT_ASKED for option in ("--exclude-path", path)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", stack["api_url"] + "/openapi.json"),
            *("--url", stack["api_url"], "--checks", ",".join(CHECKS), "--seed", "1", "--workers", "2"),
            *("--continue-on-failure", "--no-color", "--warnings", "off", "--request-timeout", "60"),
            *("--suppress-health-check", "all"),  # a machine with other things to do is no finding
            *excluded,
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def chosen(said: str) -> int:
    """How many operations were chosen; one whose few random requests are all the same is not said to be tested."""
    found = re.search(r"Selected: (\d+)", said)
    assert found, said
    return int(found[1])


def test_the_document_that_is_served_is_the_committed_one(stack: Stack) -> None:
    served = requests.get(stack["api_url"] + "/openapi.json", timeout=60).json()

    assert served == json.loads((ROOT / "functions" / "system" / "openapi.json").read_text())


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 60)
def test_an_admin_is_answered_as_the_document_says(stack: Stack, api: Api, tmp_path: Path) -> None:
    said = ask(
        stack,
        tmp_path,
        *("--header", f"Authorization: Bearer {api.token('admin')}"),
        *("--phases", "coverage,fuzzing", "--max-examples", "5"),
    )

    assert chosen(said) == operations(stack)


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 60)
def test_anonymous_requests_are_answered_as_the_document_says(stack: Stack, tmp_path: Path) -> None:
    said = ask(stack, tmp_path, "--phases", "fuzzing", "--max-examples", "2")

    assert chosen(said) == operations(stack)


def operations(stack: Stack) -> int:
    """How many the document has, less those that are not asked."""
    paths = requests.get(stack["api_url"] + "/openapi.json", timeout=60).json()["paths"]
    return sum(len(methods) for path, methods in paths.items() if path not in NOT_ASKED)
