"""A parameter that is changed at a deployment reaches every function, whichever way the function is called."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Api

Aws = Callable[[str], Any]

STACK = "adbot-queue"
HIDDEN = "****"
"""What is shown of a parameter that is not echoed."""
CHANGED = {"DefaultPool": "parameter-test", "JobsPerSecond": "19", "LogLevel": "DEBUG"}


def deploy(aws: Aws, parameters: dict[str, str], eventually: Callable[..., Any]) -> None:
    """Update the stack with the template that it has, and wait for the end."""
    cloudformation = aws("cloudformation")
    request = [
        {"ParameterKey": name, **({"UsePreviousValue": True} if value == HIDDEN else {"ParameterValue": value})}
        for name, value in parameters.items()
    ]
    template = cloudformation.get_template(StackName=STACK)["TemplateBody"]
    aws("s3").put_object(Bucket="adbot-queue-artifacts", Key="same.json", Body=json.dumps(template).encode())
    url = f"{aws('s3').meta.endpoint_url}/adbot-queue-artifacts/same.json"
    cloudformation.update_stack(StackName=STACK, TemplateURL=url, Parameters=request, Capabilities=["CAPABILITY_IAM"])

    def status() -> str:
        found = str(cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])
        return "" if found.endswith("IN_PROGRESS") else found

    assert eventually(status, seconds=120) == "UPDATE_COMPLETE"


@pytest.fixture(scope="module")
def changed(aws: Aws, eventually: Callable[..., Any]) -> Iterator[None]:
    """The stack with three parameters changed; afterwards as it was."""
    before = {
        parameter["ParameterKey"]: parameter["ParameterValue"]
        for parameter in aws("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["Parameters"]
    }
    deploy(aws, before | CHANGED, eventually)
    yield
    deploy(aws, before, eventually)


def callers(aws: Aws) -> dict[str, str]:
    """Everything that calls a function of the stack, and the ARN or name that it calls."""
    api = aws("cloudformation").describe_stack_resource(StackName=STACK, LogicalResourceId="Api")
    integrations = aws("apigatewayv2").get_integrations(ApiId=api["StackResourceDetail"]["PhysicalResourceId"])
    mappings = aws("lambda").list_event_source_mappings()["EventSourceMappings"]
    clocks = aws("scheduler").list_schedules()["Schedules"]
    return (
        {f"route {item['IntegrationId']}": item["IntegrationUri"] for item in integrations["Items"]}
        | {f"mapping {item['UUID']}": item["FunctionArn"] for item in mappings}
        | {f"clock {item['Name']}": item["Target"]["Arn"] for item in clocks}
    )


@pytest.mark.usefixtures("changed")
def test_every_caller_of_a_function_finds_the_changed_parameters(aws: Aws) -> None:
    called = callers(aws)
    assert len(called) > 30

    stale = {}
    for caller, function in called.items():
        name = function.rpartition("/functions/")[2].removesuffix("/invocations")
        variables = aws("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        if (variables["DEFAULT_POOL"], variables["JOBS_PER_SECOND"]) != ("parameter-test", "19"):
            stale[caller] = function

    assert not stale


@pytest.mark.usefixtures("changed")
def test_a_running_function_answers_by_the_changed_parameter(api: Api) -> None:
    assert api("owner", "PUT", f"/admin/stock/pools/{CHANGED['DefaultPool']}").status_code == 201
    order = {"required_sessions": 1, "reason": "test of a parameter"}

    answer = api("owner", "POST", "/admin/adbots", json=order)

    assert answer.json()["pool"] == CHANGED["DefaultPool"], answer.text
