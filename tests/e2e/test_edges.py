"""The edge of the API over the deployed gateway: methods, slashes, paths that do not exist, people and machines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

from local import stack as stacks
from local.settings import ROOT
from local.stack import Stack
from tests.e2e.conftest import Api, LocalStack


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


ASKED = {
    "POST /jobs": {"json": {"type": "rebuild-article-stats", "payload": {}}},
    "GET /jobs?long=true": {},
    "GET /job-types": {},
    "GET /queues": {},
    "GET /metrics": {},
    "GET /adbots": {},
    "GET /admin/ledger": {},
    "POST /admin/queue/resolve": {},
}
ALLOWED = {
    "shop": {"POST /jobs", "GET /jobs?long=true", "GET /job-types", "GET /queues"},
    "engine": set(),
    "metrics": {"GET /metrics"},
}


@pytest.mark.parametrize("client", ALLOWED)
def test_a_machine_may_do_what_its_scopes_say_and_nothing_else(stack: Stack, api: Api, client: str) -> None:
    headers = {"authorization": f"Bearer {stacks.client_token(stack, client)}"}
    answers = {
        key: api(None, *key.split(" "), headers=headers, **request).status_code for key, request in ASKED.items()
    }

    assert {key for key, status in answers.items() if status < 300} == ALLOWED[client]
    assert {status for key, status in answers.items() if key not in ALLOWED[client]} == {403}


def test_cognito_gives_a_machine_no_scope_that_its_client_does_not_have(stack: Stack) -> None:
    client = stack["clients"]["metrics"]
    asked = {"grant_type": "client_credentials", "scope": "adbot-queue/jobs.write"}
    for secret, error in ((client["client_secret"], "invalid_grant"), ("x", "invalid_client")):
        answer = requests.post(
            f"{stack['aws_endpoint']}/oauth2/token", data=asked, auth=(client["client_id"], secret), timeout=30
        )
        assert answer.status_code in {400, 401}
        assert answer.json()["error"] == error


def test_the_token_command_prints_a_machines_token(own_stack: LocalStack | None, api: Api) -> None:
    if not own_stack:
        pytest.skip("the running stack's settings are not known here")
    command = [sys.executable, "-m", "local.token", "owner", "metrics"]

    said = subprocess.run(command, cwd=ROOT, env=own_stack.environment, capture_output=True, text=True, check=True)

    headers = {"authorization": f"Bearer {said.stdout.strip()}"}
    assert api(None, "GET", "/metrics/", headers=headers).status_code == 200


def test_who_signs_up_is_a_customer_once_the_address_is_confirmed(
    stack: Stack, aws: Callable[[str], Any], api: Api
) -> None:
    cognito, pool, client = aws("cognito-idp"), stack["outputs"]["UserPoolId"], stack["outputs"]["ClientId"]
    name, password = f"cara-{uuid.uuid4().hex[:8]}", "Aa1-correct-horse"
    email = [{"Name": "email", "Value": f"{name}@example.com"}]
    sign_in = {
        "UserPoolId": pool,
        "ClientId": client,
        "AuthFlow": "ADMIN_USER_PASSWORD_AUTH",
        "AuthParameters": {"USERNAME": name, "PASSWORD": password},
    }
    cognito.sign_up(ClientId=client, Username=name, Password=password, UserAttributes=email)
    with pytest.raises(cognito.exceptions.UserNotConfirmedException):
        cognito.admin_initiate_auth(**sign_in)
    box = f"{stack['providers_url']}/mailbox"
    listed = requests.get(box, params={"to": f"{name}@example.com"}, timeout=30).text
    (mail,) = re.findall(r'href="/mailbox(/mail/[^"]+)"', listed)
    (code,) = re.findall(r"code is (\d{6})", requests.get(box + mail, timeout=30).text)
    cognito.confirm_sign_up(ClientId=client, Username=name, ConfirmationCode=code)
    token = cognito.admin_initiate_auth(**sign_in)["AuthenticationResult"]["AccessToken"]
    headers = {"authorization": f"Bearer {token}"}

    assert api(None, "GET", "/adbots", headers=headers).json() == {"items": [], "next": None}
    assert api(None, "POST", "/checkout", headers=headers, json={"plan_id": "starter"}).status_code < 300
    assert api(None, "GET", "/queues", headers=headers).status_code == 403


def test_an_alarm_is_posted_in_the_chat(
    own_stack: LocalStack | None, stack: Stack, aws: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    if not own_stack or not own_stack.receiver:
        pytest.skip("the running stack's chat is not known here")
    chat = own_stack.receiver
    alarm = {"AlarmName": "ParkedBots", "NewStateValue": "ALARM", "AlarmDescription": "see /console/bots"}

    def posted() -> list[bytes]:
        return [content for path, _, content in chat.seen if path == "/chat/s3cret" and b"ParkedBots" in content]

    aws("sns").publish(TopicArn=stack["outputs"]["AlarmTopicArn"], Message=json.dumps(alarm))
    eventually(posted)

    (body,) = posted()
    assert json.loads(body) == {"text": "ALARM: ParkedBots\nsee /console/bots"}
