"""The API document: what generators of clients and readers rely on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import create_model

from adbot_queue.core.http import Api
from adbot_queue.jobs import job_types
from local.json_schema import jsonschema
from local.openapi import DOCUMENT, document
from local.openapi_rules import violations
from tests.builders.world import AwsHarness

COMMITTED: dict[str, Any] = json.loads(DOCUMENT.read_text())
MODE = COMMITTED["paths"]["/admin/system/mode"]


def broken(change: Callable[[dict[str, Any]], Any]) -> list[str]:
    """What the rules say about the document after a change."""
    changed = copy.deepcopy(COMMITTED)
    change(changed)
    return violations(changed)


def kill_switch(changed: dict[str, Any]) -> Any:
    return changed["paths"]["/admin/system/mode"]["post"]


def renamed(changed: dict[str, Any], name: str) -> None:
    schemas = changed["components"]["schemas"]
    schemas[name] = schemas.pop("ModeView")


def test_the_document_keeps_every_rule() -> None:
    assert violations(COMMITTED) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: kill_switch(made).update(tags=[]), "needs one of the tags"),
        (lambda made: kill_switch(made).update(tags=["Elsewhere"]), "needs one of the tags"),
        (lambda made: renamed(made, "ModeList"), "schema ModeList: an answer with items is named ...Page"),
        (lambda made: made["tags"].append({"name": "Empty"}), "no operation has it"),
        (lambda made: kill_switch(made).update(operationId="getMode"), "another operation is named getMode"),
        (lambda made: kill_switch(made).update(operationId="post_admin_system_mode"), "two to five words"),
        (lambda made: kill_switch(made).update(summary="The kill switch"), "is no verb"),
        (lambda made: kill_switch(made).update(summary="Set the mode."), "no full stop"),
        (lambda made: kill_switch(made).update(summary="Set " + "x" * 80), "at most 80 characters"),
        (lambda made: kill_switch(made).update(description=""), "no docstring"),
        (lambda made: kill_switch(made)["requestBody"]["content"].update({"text/csv": {}}), "generators of clients"),
        (
            lambda made: kill_switch(made)["requestBody"]["content"].update(
                {"application/octet-stream": {}, "application/json": {"schema": {"type": "array"}}}
            ),
            "a JSON array among other bodies",
        ),
        (lambda made: kill_switch(made)["responses"].pop("403"), "403 can come"),
        (lambda made: kill_switch(made)["responses"].pop("413"), "413 can come"),
        (lambda made: kill_switch(made)["responses"].pop("429"), "429 can come"),
        (lambda made: kill_switch(made)["responses"].pop("500"), "500 can come"),
        (lambda made: kill_switch(made)["responses"]["401"].pop("content"), "401: must be application/problem+json"),
        (
            lambda made: kill_switch(made)["responses"]["403"]["content"].update(
                {"application/json": {"schema": {"type": "object"}}}
            ),
            "403: must be a Problem",
        ),
        (lambda made: kill_switch(made)["responses"]["200"].pop("content"), "200: needs one media type"),
        (
            lambda made: kill_switch(made)["responses"]["200"]["content"].update(
                {"application/json": {"schema": {"type": "object"}}}
            ),
            "needs a named schema",
        ),
        (lambda made: renamed(made, "adbot_queue__system__schemas__ModeView"), "is not a plain name"),
        (lambda made: renamed(made, "ModeOf"), "has the title ModeView"),
        (lambda made: made["components"]["schemas"].pop("ModeView"), "schema ModeView: is missing"),
        (
            lambda made: made["components"]["schemas"]["ModeView"]["properties"].update(user={"type": "string"}),
            "schema ModeView: user is not named by the thing",
        ),
        (
            lambda made: made["components"]["schemas"].update(Unused={"title": "Unused"}),
            "schema Unused: nothing refers to it",
        ),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_in_words(change: Callable[[Any], Any], said: str) -> None:
    assert any(said in line for line in broken(change)), broken(change)


def test_two_models_of_one_name_are_refused() -> None:
    api = Api("System")
    for path, module in (("/a", "bots"), ("/b", "jobs")):
        model = create_model("Twice", __module__=module, **{module: (int, ...)})  # type: ignore[call-overload]
        api.get(path, roles=frozenset(), summary="Get it", returns=model)(lambda _request: None)
    with pytest.raises(ValueError, match="Twice"):
        document(list(api.routes.values()))


@pytest.mark.parametrize("status", ["401", "403", "413", "429", "500", "503"])
def test_the_gateways_own_answers_fit_the_promised_schema(status: str) -> None:
    schema = MODE["post"]["responses"][status]["content"]["application/json"]["schema"]
    jsonschema.validate({"message": "Service Unavailable"}, COMMITTED | schema)


def test_a_problem_document_is_all_there_or_refused(on_aws: AwsHarness) -> None:
    schema = COMMITTED | MODE["post"]["responses"]["422"]["content"]["application/problem+json"]["schema"]
    answer = on_aws.http("operations", "POST /admin/system/mode", role="owner", body={"mode": "off"})
    jsonschema.validate(answer.json, schema)
    for cut in ({}, {name: value for name, value in answer.json.items() if name != "detail"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cut, schema)


def test_a_body_without_required_fields_may_be_left_out() -> None:
    assert COMMITTED["paths"]["/queues/{name}/pause"]["post"]["requestBody"]["required"] is False
    assert MODE["post"]["requestBody"]["required"] is True


def test_parameters_share_the_enumerations_of_the_answers_and_are_never_null() -> None:
    parameters = [
        parameter
        for methods in COMMITTED["paths"].values()
        for operation in methods.values()
        for parameter in operation["parameters"]
    ]
    assert {"$ref": "#/components/schemas/JobState", "default": "waiting"} in [entry["schema"] for entry in parameters]
    assert all('"null"' not in json.dumps(entry) for entry in parameters)


@pytest.mark.parametrize("name", [known.name for known in job_types.public()])
def test_the_request_to_enqueue_a_job_knows_the_payload_of_each_type(name: str) -> None:
    schemas = COMMITTED["components"]["schemas"]
    choice = schemas["EnqueueJob"]
    of_type = choice["discriminator"]["mapping"][name]
    validator = jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/EnqueueJob", "components": COMMITTED["components"]}
    )

    assert {"$ref": of_type} in choice["oneOf"]
    assert len(choice["oneOf"]) == len(choice["discriminator"]["mapping"])
    assert list(validator.iter_errors({"type": name, "payload": job_types.find(name).example})) == []
    assert list(validator.iter_errors({"type": name, "payload": {"no such field": 1}}))
