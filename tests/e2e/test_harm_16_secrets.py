"""An upgrade to another version of the template leaves the values of secrets alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Aws = Callable[[str], Any]

STACK = "adbot-queue"


def values(aws: Aws) -> dict[str, str]:
    """The value of every secret of the stack."""
    resources = aws("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    return {
        item["LogicalResourceId"]: aws("secretsmanager").get_secret_value(SecretId=item["PhysicalResourceId"])[
            "SecretString"
        ]
        for item in resources
        if item["ResourceType"] == "AWS::SecretsManager::Secret"
    }


def deploy(aws: Aws, template: dict[str, Any], eventually: Callable[..., Any]) -> None:
    """Update the stack to `template` with the parameters that it has."""
    cloudformation = aws("cloudformation")
    parameters = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["Parameters"]
    aws("s3").put_object(Bucket="adbot-queue-artifacts", Key="other.json", Body=json.dumps(template).encode())
    cloudformation.update_stack(
        StackName=STACK,
        TemplateURL=f"{aws('s3').meta.endpoint_url}/adbot-queue-artifacts/other.json",
        Parameters=[{"ParameterKey": one["ParameterKey"], "UsePreviousValue": True} for one in parameters],
        Capabilities=["CAPABILITY_IAM"],
    )

    def status() -> str:
        found = str(cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])
        return "" if found.endswith("IN_PROGRESS") else found

    assert eventually(status, seconds=120) == "UPDATE_COMPLETE"


def test_an_upgrade_keeps_what_the_operator_put_and_what_was_generated(
    aws: Aws, eventually: Callable[..., Any]
) -> None:
    template = aws("cloudformation").get_template(StackName=STACK)["TemplateBody"]
    upgraded = json.loads(json.dumps(template))
    for resource in upgraded["Resources"].values():
        if resource["Type"] == "AWS::SecretsManager::Secret":
            resource["Properties"]["Description"] += ", as of the next version"
            if isinstance(resource["Properties"].get("SecretString"), str):  # one field more, as versions before added
                held = json.loads(resource["Properties"]["SecretString"])
                resource["Properties"]["SecretString"] = json.dumps(held | {"added": ""})
    before = values(aws)
    assert len(before) == 10
    assert all(json.loads(value) for value in before.values())

    deploy(aws, upgraded, eventually)
    after = values(aws)
    deploy(aws, template, eventually)

    assert after == before
    assert values(aws) == before
