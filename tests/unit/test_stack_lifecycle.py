"""What CloudFormation makes of the template: without parameters and with all, twice, and when it fails at first."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any

import pytest

from local.embedded import PYTHON
from local.settings import ROOT
from local.translate import expand
from tests.unit.harm.test_15_room_in_the_template import GIVEN, MAX_RESOURCES, packaged

pytestmark = pytest.mark.xdist_group("template")  # SAM makes the template once a process

SETTINGS = {
    "AlarmUrl": "https://pager.example.com/hook",
    "AlarmChatUrl": "https://chat.example.com/hook",
    "ConsoleUrl": "https://bots.example.com",
    "KnownUsers": "any",
    "MoneyConcurrency": "5",
    "SelfSignUp": "false",
    "SignInBase": "https://sign-in.example.com",
    "SignInPrefix": "bots",
    "UserMailIdentityArn": "arn:aws:ses:us-east-1:123456789012:identity/bots@example.com",
    "WorkerScale": "few",
}
"""With the parameters of the test of room, so that every condition is another than by default."""
LAST = ["AdBotsTable", "LedgerTable", "UserPool", "ReportsBucket", "StripeSecret", "AddressKey", "DeadLetters"]


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return expand(packaged(), {})


@pytest.fixture(scope="module")
def created(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Three stacks, one after the other in one account: name -> what became of it."""
    broken = copy.deepcopy(template)
    refused = {"EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold", "Metrics": []}
    broken["Resources"]["Refused"] = {"Type": "AWS::CloudWatch::Alarm", "DependsOn": LAST, "Properties": refused}
    every = {name: value for name, value in GIVEN.items() if name in template["Parameters"]} | SETTINGS
    asked = [
        {"stack": "bots-first", "template": broken, "parameters": {"DeletionProtection": "false"}},
        {"stack": "bots", "template": template, "parameters": {}},
        {"stack": "bots-staging", "template": template, "parameters": every},
    ]
    command = [str(PYTHON), "-m", "tests.support.embedded_cloudformation"]
    answer = subprocess.run(
        command,
        cwd=ROOT,
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return {one["stack"]: made for one, made in zip(asked, json.loads(answer.stdout), strict=True)}


def test_a_first_deployment_that_fails_leaves_nothing_that_holds_data(created: dict[str, Any]) -> None:
    failed = created["bots-first"]

    assert failed["status"] == "ROLLBACK_COMPLETE"
    assert failed["failed"].keys() == {"Refused"}
    assert failed["there"] == {
        **{kind: [] for kind in ("tables", "pools", "secrets", "alarms", "queues")},
        "buckets": ["bucket"],  # of the packages
    }


def test_the_stack_is_made_with_no_parameter_and_with_every_one(
    created: dict[str, Any], template: dict[str, Any]
) -> None:
    conditional = {item["Condition"] for item in template["Resources"].values() if "Condition" in item}

    assert {name: (one["status"], one["failed"]) for name, one in created.items() if name != "bots-first"} == {
        "bots": ("CREATE_COMPLETE", {}),
        "bots-staging": ("CREATE_COMPLETE", {}),
    }
    assert conditional >= {"HasAlarmEmail", "HasAlarmUrl", "HasAlarmChat", "HasModel", "HasPlugins"}
    assert len(template["Resources"]) <= MAX_RESOURCES


def test_two_stacks_of_one_account_share_no_name(created: dict[str, Any]) -> None:
    one, both = created["bots"]["there"], created["bots-staging"]["there"]

    assert set(both["queues"]) > set(one["queues"])
    assert set(both["alarms"]) > set(one["alarms"])
    for kind in ("tables", "alarms", "queues"):
        assert len(both[kind]) == 2 * len(one[kind]), kind
