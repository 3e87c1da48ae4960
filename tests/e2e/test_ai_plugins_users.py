"""Texts, plugins and accounts over real HTTP, with IAM enforced: what each worker may do, and nothing else."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.stack import Stack
from tests.e2e.conftest import PLUGIN_ARN, Api
from tests.e2e.test_jobs import Aws, Eventually, ended, post
from tests.e2e.test_stack import probe, role_of

__all__ = ["probe"]

PLUGIN = """
import os

def handler(event, context):
    return {"heard": event, "environment": sorted(os.environ)}
"""


def unique() -> str:
    return uuid.uuid4().hex


def run(api: Api, eventually: Eventually, job_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    answer = post(api, {"type": job_type, "payload": payload})
    assert answer.status_code == 202, answer.text
    return ended(api, eventually, answer.json()["job_id"])


def event_of(api: Api, path: str, job: dict[str, Any]) -> dict[str, Any]:
    (event,) = [one for one in api("viewer", "GET", path).json()["items"] if one["job_id"] == job["job_id"]]
    return dict(event)


@pytest.mark.parametrize(
    ("job_type", "payload", "fields"),
    [
        ("generate-content", {"kind": "ad", "topic": "Bots"}, {"title", "body", "summary", "tags"}),
        (
            "optimize-seo",
            {"title": "Bots", "text": "They wait for you."},
            {"title", "description", "slug", "keywords", "suggestions"},
        ),
    ],
)
def test_a_text_is_written_and_what_it_cost_is_seen(
    api: Api, eventually: Eventually, job_type: str, payload: dict[str, Any], fields: set[str]
) -> None:
    job = run(api, eventually, job_type, payload | {"keywords": [unique()]})

    assert (job["state"], job["result"].keys()) == ("completed", fields | {"model", "request_id"})
    event = event_of(api, "/ai/events?limit=100", job)
    assert (event["type"], event["outcome"], event["model"]) == (job_type, "answered", job["result"]["model"])
    assert event["cost_microdollars"] > 0


def test_the_workers_of_texts_may_ask_one_model(aws: Aws, probe: Callable[..., Any]) -> None:
    question = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    for worker, allowed in (
        ("AiContentWorker", "done"),
        ("AiSeoWorker", "done"),
        ("PluginWorker", "AccessDeniedException"),
    ):
        ask = probe(role_of(aws, worker))
        assert ask("bedrock-runtime", "converse", question | {"modelId": "amazon.nova-lite-v1:0"}) == allowed
        assert (
            ask("bedrock-runtime", "converse", question | {"modelId": "amazon.nova-pro-v1:0"})
            == "AccessDeniedException"
        )


@pytest.fixture
def plugin(aws: Aws, own_stack: Any) -> Iterator[str]:
    """A function of the operator's, with a role that may do nothing."""
    if own_stack is None:
        pytest.skip("the running stack does not list this plugin")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("plugin.py", PLUGIN)
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws("iam").create_role(RoleName="e2e-plugin", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    name = PLUGIN_ARN.rpartition(":")[2]
    made = aws("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Handler="plugin.handler",
        Role=role,
        Code={"ZipFile": archive.getvalue()},
    )
    assert made["FunctionArn"] == PLUGIN_ARN
    yield name
    aws("lambda").delete_function(FunctionName=name)
    aws("iam").delete_role(RoleName="e2e-plugin")


def test_a_plugin_is_called_with_its_input_and_without_anything_of_ours(
    api: Api, eventually: Eventually, plugin: str, stack: Stack
) -> None:
    job = run(api, eventually, "execute-plugin", {"plugin": plugin, "input": {"text": "hello"}})

    assert job["state"] == "completed"
    output = job["result"]["output"]
    assert output["heard"] == {"input": {"text": "hello"}, "job_id": job["job_id"], "idempotency_key": job["job_id"]}
    assert not [name for name in output["environment"] if "TABLE" in name or "QUEUE" in name or name == "PROVIDERS"]
    event = event_of(api, "/plugins/executions?limit=100", job)
    assert (event["plugin"], event["outcome"], event["input_bytes"]) == (plugin, "answered", 16)
    assert event["user_id"] not in ("system", "")


def test_a_plugin_that_is_not_listed_is_not_called(api: Api, own_stack: Any) -> None:
    if own_stack is None:
        pytest.skip("the running stack may have no plugins")
    answer = post(api, {"type": "execute-plugin", "payload": {"plugin": "adbot-queue-SystemFunction"}})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["payload.plugin"]


def test_a_user_is_made_in_its_groups_and_written_to(api: Api, eventually: Eventually, aws: Aws, stack: Stack) -> None:
    email = f"{unique()}@example.com"
    job = run(api, eventually, "create-user", {"email": email, "groups": ["viewer"]})

    assert job["state"] == "completed"
    pool, username = stack["outputs"]["UserPoolId"], job["result"]["username"]
    user = aws("cognito-idp").admin_get_user(UserPoolId=pool, Username=username)
    attributes = {entry["Name"]: entry["Value"] for entry in user["UserAttributes"]}
    assert (attributes["email"], attributes["sub"], user["UserStatus"]) == (
        email,
        job["result"]["user_id"],
        "CONFIRMED",
    )
    groups = aws("cognito-idp").admin_list_groups_for_user(UserPoolId=pool, Username=username)["Groups"]
    assert [group["GroupName"] for group in groups] == ["viewer"]
    mail = ended(api, eventually, job["result"]["welcome"])
    assert (mail["type"], mail["state"], mail["payload"]["to"]) == ("send-email", "completed", email)
