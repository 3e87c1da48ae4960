"""The local stack itself: that it is the template, with its permissions enforced, and that it comes back as it was."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local import stack as stacks
from local.settings import ROOT, free_port
from local.stack import ROLES, Stack
from tests.e2e.conftest import Api, LocalStack, deployed

Aws = Callable[[str], Any]
Probe = Callable[[str, str, dict[str, Any]], str]

PROBE = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["call"])(**event["arguments"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "done"
"""


@pytest.fixture
def probe(aws: Aws) -> Iterator[Callable[[str], Probe]]:
    """Return a function that makes a given AWS call with a given role."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("probe.py", PROBE)
    made: list[str] = []

    def with_role(role: str) -> Probe:
        name = f"probe-{len(made)}"
        layers = aws("lambda").get_function_configuration(FunctionName=deployed(aws, "System"))["Layers"]
        aws("lambda").create_function(
            FunctionName=name,
            Runtime="python3.11",
            Handler="probe.handler",
            Role=role,
            Code={"ZipFile": archive.getvalue()},
            Layers=[layer["Arn"] for layer in layers],
            Timeout=20,
        )
        made.append(name)

        def call(service: str, operation: str, arguments: dict[str, Any]) -> str:
            event = {"service": service, "call": operation, "arguments": arguments}
            answer = aws("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
            return str(json.loads(answer["Payload"].read()))

        return call

    yield with_role
    for name in made:
        aws("lambda").delete_function(FunctionName=name)


def role_of(aws: Aws, function: str) -> str:
    return str(aws("lambda").get_function_configuration(FunctionName=deployed(aws, function))["Role"])


def test_health_is_open_and_ready_means_tables_and_queues_are_there(api: Api) -> None:
    assert api(None, "GET", "/health").status_code == 200

    ready = api(None, "GET", "/health/ready")

    assert ready.status_code == 200, ready.text


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer nonsense"}, {"authorization": "Bearer a.b.c"}])
def test_requests_without_a_valid_token_are_refused(api: Api, header: dict[str, str]) -> None:
    assert api(None, "GET", "/admin/queue/stats", headers=header).status_code == 401


def test_a_token_with_a_changed_payload_is_refused(api: Api) -> None:
    head, payload, signature = api.token("customer").split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"cognito:groups": ["owner"]}).encode()).decode().rstrip("=")

    answer = api(None, "GET", "/admin/queue/stats", headers={"authorization": f"Bearer {head}.{forged}.{signature}"})

    assert answer.status_code == 401


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("admin", 200), ("viewer", 200), ("customer", 403)])
def test_the_group_of_a_token_decides(api: Api, role: str, status: int) -> None:
    answer = api(role, "GET", "/admin/queue/stats")

    assert answer.status_code == status, answer.text


def test_a_function_may_do_nothing_that_its_role_does_not_say(aws: Aws, stack: Stack, probe: Any) -> None:
    table = stack["outputs"]["AdBotsTable"]
    role = aws("iam").create_role(
        RoleName="probe",
        AssumeRolePolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            }
        ),
    )["Role"]["Arn"]
    call = probe(role)
    read = {"TableName": table, "Key": {"pk": {"S": "POOL#none"}, "sk": {"S": "HDR"}}}
    try:
        assert call("dynamodb", "get_item", read) == "AccessDeniedException"

        statement = {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": f"arn:aws:dynamodb:*:*:table/{table}"}
        aws("iam").put_role_policy(
            RoleName="probe",
            PolicyName="read",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )

        assert call("dynamodb", "get_item", read) == "done"
        assert call("dynamodb", "delete_item", read) == "AccessDeniedException"
    finally:
        aws("iam").delete_role_policy(RoleName="probe", PolicyName="read")
        aws("iam").delete_role(RoleName="probe")


@pytest.mark.parametrize(
    "function", ["Webhook", "SettlePayments", "AdminCreate", "AdBots", "Stock", "Allocate", "System"]
)
def test_no_function_can_change_what_the_ledger_says(aws: Aws, stack: Stack, probe: Any, function: str) -> None:
    call = probe(role_of(aws, function))
    ledger, key = stack["outputs"]["LedgerTable"], {"pk": {"S": "any"}, "sk": {"S": "any"}}
    change = {
        "Update": {
            "TableName": ledger,
            "Key": key,
            "UpdateExpression": "SET reason = :r",
            "ExpressionAttributeValues": {":r": {"S": "forged"}},
        }
    }

    assert call("dynamodb", "delete_item", {"TableName": ledger, "Key": key}) == "AccessDeniedException"
    assert call("dynamodb", "update_item", change["Update"]) == "AccessDeniedException"
    assert call("dynamodb", "transact_write_items", {"TransactItems": [change]}) == "AccessDeniedException"
    overwrite = {"RequestItems": {ledger: [{"PutRequest": {"Item": key}}]}}
    assert call("dynamodb", "batch_write_item", overwrite) == "AccessDeniedException"


def test_the_clocks_and_consumers_of_the_template_run(aws: Aws) -> None:
    schedules = aws("scheduler").list_schedules()["Schedules"]
    mappings = aws("lambda").list_event_source_mappings()["EventSourceMappings"]

    assert {item["Name"] for item in schedules if item["State"] == "ENABLED"} >= {
        "adbot-queue-resolve",
        "adbot-queue-sweep",
        "adbot-queue-sweep-jobs",
    }
    assert {mapping["State"] for mapping in mappings} == {"Enabled"}
    assert len(mappings) >= 4 + 10  # the main job's, and one for each job queue


def test_a_signed_body_reaches_the_function_byte_by_byte(api: Api, stack: Stack) -> None:
    body = '{ "id": "evt_raw",\r\n "object":"event",  "type": "customer.created", "data": {"object": {"name": "Zoë"}}}'
    now = int(time.time())
    signature = hmac.new(stack["stripe_webhook_secret"].encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={now},v1={signature}", "content-type": "application/json; charset=utf-8"}

    as_it_was = api(None, "POST", "/webhooks/stripe", data=body.encode(), headers=headers)
    with_a_blank_less = api(None, "POST", "/webhooks/stripe", data=body.replace("  ", " ").encode(), headers=headers)

    assert as_it_was.status_code == 200, as_it_was.text
    assert with_a_blank_less.status_code == 400


def test_stack_json_says_what_is_needed_and_only_its_owner_may_read_it(
    stack: Stack, own_stack: LocalStack | None
) -> None:
    assert stack.keys() == Stack.__annotations__.keys()
    assert tuple(stack["users"]) == ROLES
    if own_stack:
        assert stat.S_IMODE((own_stack.state / "stack.json").stat().st_mode) == 0o600


def test_the_token_command_prints_the_token_and_nothing_else(own_stack: LocalStack | None, api: Api) -> None:
    if not own_stack:
        pytest.skip("the running stack's settings are not known here")
    command = [sys.executable, "-m", "local.token", "viewer"]

    said = subprocess.run(command, cwd=ROOT, env=own_stack.environment, capture_output=True, text=True, check=True)

    assert said.stdout.count(".") == 2
    assert said.stdout.strip().count("\n") == 0
    headers = {"authorization": f"Bearer {said.stdout.strip()}"}
    assert api(None, "GET", "/admin/queue/stats", headers=headers).status_code == 200


def test_a_taken_port_is_named_with_the_way_to_choose_another() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        ports = {
            "ADBOT_API_PORT": str(taken),
            "ADBOT_AWS_PORT": str(free_port()),
            "ADBOT_PROVIDERS_PORT": str(free_port()),
        }

        said = subprocess.run(
            [sys.executable, "-m", "local"],
            cwd=ROOT,
            env={**os.environ, **ports},
            capture_output=True,
            text=True,
            check=False,
        )

    assert said.returncode == 1
    assert f"Port {taken} on 127.0.0.1 is taken" in said.stderr
    assert "make run API_PORT=" in said.stderr
    assert "Traceback" not in said.stderr


def test_the_layer_for_the_cloud_is_made_for_its_python_and_processor(tmp_path: Path) -> None:
    # Not this machine's: the deploying machine may have neither.
    command = ["make", "-C", "layers/common", "build-CommonLayer", f"ARTIFACTS_DIR={tmp_path}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path, "LAYER_BYTECODE": "no"}, capture_output=True, check=True
    )

    compiled = {file.name for file in tmp_path.rglob("*.so")}
    assert "_pydantic_core.cpython-313-aarch64-linux-gnu.so" in compiled
    assert not [name for name in compiled if "x86_64" in name]
    assert (tmp_path / "python" / "adbot_queue" / "core" / "http.py").exists()
    assert not (tmp_path / "python" / "test").exists()


def test_everything_comes_back_after_a_restart(own_stack: LocalStack | None, stack: Stack, aws: Aws) -> None:
    if not own_stack:
        pytest.skip("a running stack is not ours to restart")
    table = stack["outputs"]["SystemTable"]
    aws("dynamodb").put_item(TableName=table, Item={"pk": {"S": "TEST"}, "sk": {"S": "restart"}})

    assert own_stack.stop() == 0
    own_stack.start()

    assert own_stack.read() == stack
    key = {"pk": {"S": "TEST"}, "sk": {"S": "restart"}}
    assert aws("dynamodb").get_item(TableName=table, Key=key)["Item"]
    aws("dynamodb").delete_item(TableName=table, Key=key)
    after = Api(stack)
    assert after("viewer", "GET", "/admin/queue/stats").status_code == 200
    assert stacks.token(stack, "owner")
    assert len(aws("lambda").list_event_source_mappings()["EventSourceMappings"]) >= 4 + 10
