"""The template is code too: what must hold for every resource of a kind is asserted here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from local.openapi import all_routes
from local.settings import ROOT
from local.translate import load, unroll

TEMPLATE = unroll(load((ROOT / "infra" / "template.yaml").read_text()))
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
REASONS_FOR_ALL_RESOURCES: dict[tuple[str, str], str] = {}
"""(role, action) -> why it cannot name its resource. None needs it so far."""


def of(kind: str) -> dict[str, Any]:
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


FUNCTIONS = of("AWS::Serverless::Function")
QUEUES = of("AWS::SQS::Queue")
TABLES = of("AWS::DynamoDB::Table")
ALARMS = of("AWS::CloudWatch::Alarm")
DEAD_LETTERS = {name for name in QUEUES if name.endswith("DeadLetters")}


def get_att(name: str, attribute: str = "Arn") -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, attribute]}


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in of("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            yield from ((name, statement) for statement in policy["PolicyDocument"]["Statement"])
    for name, policy in of("AWS::IAM::Policy").items():
        yield from ((name, statement) for statement in policy["PolicyDocument"]["Statement"])


def timeout(function: str) -> int:
    return int(FUNCTIONS[function].get("Timeout", TEMPLATE["Globals"]["Function"]["Timeout"]))


def consumers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, function in FUNCTIONS.items():
        for event in function["Events"].values():
            if event["Type"] == "SQS":
                yield name, event["Properties"]["Queue"]["Fn::GetAtt"][0], event["Properties"]


def routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, function in FUNCTIONS.items():
        for event in function["Events"].values():
            if event["Type"] == "HttpApi":
                properties = event["Properties"]
                yield name, f"{properties['Method']} {properties['Path']}", properties


@pytest.mark.parametrize("queue", sorted(QUEUES.keys() - DEAD_LETTERS))
def test_every_queue_has_a_dead_letter_queue_of_its_own_kind(queue: str) -> None:
    target = QUEUES[queue]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]

    assert target in DEAD_LETTERS
    assert QUEUES[target].get("FifoQueue") == QUEUES[queue].get("FifoQueue")
    assert QUEUES[target]["MessageRetentionPeriod"] >= QUEUES[queue]["MessageRetentionPeriod"]


@pytest.mark.parametrize("queue", sorted(DEAD_LETTERS))
def test_every_dead_letter_queue_has_an_alarm_on_its_depth(queue: str) -> None:
    watched = [
        alarm
        for alarm in ALARMS.values()
        if alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
        and alarm["Dimensions"] == [{"Name": "QueueName", "Value": get_att(queue, "QueueName")}]
    ]

    assert len(watched) == 1
    assert watched[0]["Threshold"] == 0


@pytest.mark.parametrize(("function", "queue", "mapping"), list(consumers()))
def test_a_message_stays_invisible_for_six_runs_of_its_consumer(
    function: str, queue: str, mapping: dict[str, Any]
) -> None:
    wait_for_a_batch = mapping.get("MaximumBatchingWindowInSeconds", 0)

    assert QUEUES[queue]["VisibilityTimeout"] >= 6 * timeout(function) + wait_for_a_batch


def test_every_consumer_reports_which_of_a_batch_failed() -> None:
    mappings = [
        event["Properties"]
        for function in FUNCTIONS.values()
        for event in function["Events"].values()
        if event["Type"] in {"SQS", "DynamoDB"}
    ]

    assert len(mappings) == 4
    assert all(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for mapping in mappings)


def test_the_stream_consumer_cannot_be_stopped_by_one_bad_record_and_loses_none_silently() -> None:
    (stream,) = [
        event["Properties"]
        for function in FUNCTIONS.values()
        for event in function["Events"].values()
        if event["Type"] == "DynamoDB"
    ]

    assert stream["BisectBatchOnFunctionError"]
    assert stream["MaximumRetryAttempts"] > 0
    assert stream["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] in DEAD_LETTERS
    assert stream["StartingPosition"] == "TRIM_HORIZON"


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_writes_to_a_log_group_of_its_own_that_forgets(function: str) -> None:
    group = FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"]
    role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
    may_log_to = [
        statement["Resource"]
        for name, statement in statements()
        if name == role and statement["Action"][0].startswith("logs:")
    ]

    assert RESOURCES[group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert may_log_to == [[get_att(group)]]
    assert sum(other["LoggingConfig"]["LogGroup"]["Ref"] == group for other in FUNCTIONS.values()) == 1


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_every_function_is_watched(function: str, metric: str) -> None:
    dimensions = [{"Name": "FunctionName", "Value": {"Ref": function}}]

    assert [a for a in ALARMS.values() if a["MetricName"] == metric and a["Dimensions"] == dimensions]


def test_every_alarm_tells_the_one_topic() -> None:
    assert all(alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}] for alarm in ALARMS.values())


def test_api_failures_age_drift_parked_bots_and_a_stream_that_lags_are_alarmed() -> None:
    watched = {(alarm["Namespace"], alarm["MetricName"]) for alarm in ALARMS.values()}

    assert watched >= {
        ("AWS/ApiGateway", "5xx"),
        ("AdBotQueue", "OldestQueuedAge"),
        ("AdBotQueue", "ParkedBots"),
        ("AdBotQueue", "Drift"),
        ("AWS/Lambda", "IteratorAge"),
    }


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_has_a_role_of_its_own(function: str) -> None:
    roles = [other["Role"]["Fn::GetAtt"][0] for other in FUNCTIONS.values()]

    assert roles.count(FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]) == 1
    assert "Policies" not in FUNCTIONS[function]
    assert "ManagedPolicyArns" not in RESOURCES[FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]]["Properties"]


def test_no_permission_is_wider_than_a_reason_allows() -> None:
    for role, statement in statements():
        for action, resource in itertools.product(statement["Action"], statement["Resource"]):
            assert "*" not in action, f"{role} may {action}"
            if resource == "*":
                assert (role, action) in REASONS_FOR_ALL_RESOURCES, f"{role} may {action} on everything"


def test_nobody_may_change_or_delete_what_the_ledger_says() -> None:
    allowed = {
        action
        for _, statement in statements()
        for action in statement["Action"]
        if any("LedgerTable" in str(resource) for resource in statement["Resource"])
    }

    assert allowed == {"dynamodb:PutItem", "dynamodb:Query", "dynamodb:DescribeTable"}


def test_keys_are_only_spoken_of_when_there_is_one() -> None:
    speaking = {
        name for name, statement in statements() if any(action.startswith("kms:") for action in statement["Action"])
    }

    assert speaking == {"KeyAccess"}
    assert RESOURCES["KeyAccess"]["Condition"] == "HasKey"
    assert len(RESOURCES["KeyAccess"]["Properties"]["Roles"]) == len(FUNCTIONS)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_can_be_restored_is_encrypted_and_outlives_the_stack(table: str) -> None:
    properties = TABLES[table]

    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["SSESpecification"]["SSEEnabled"] is True
    assert properties["SSESpecification"]["KMSMasterKeyId"]["Fn::If"][0] == "HasKey"
    assert properties["DeletionProtectionEnabled"] == {"Fn::If": ["Protected", True, False]}
    assert RESOURCES[table]["DeletionPolicy"] == RESOURCES[table]["UpdateReplacePolicy"] == "Retain"
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_only_what_must_be_is_open_to_everybody() -> None:
    public = {route for _, route, event in routes() if event.get("Auth", {}).get("Authorizer") == "NONE"}

    assert public == {"POST /webhooks/stripe", "GET /health", "GET /health/ready", "GET /openapi.json"}
    assert RESOURCES["Api"]["Properties"]["Auth"]["DefaultAuthorizer"] == "Cognito"


def test_the_routes_of_template_and_code_are_the_same_and_as_open() -> None:
    deployed = {
        route: (FUNCTIONS[function]["CodeUri"].rstrip("/").rsplit("/", 1)[-1], "Auth" in event)
        for function, route, event in routes()
    }
    declared = {route: (folder, not declaration.roles) for route, (folder, declaration) in all_routes().items()}

    assert deployed == declared


def test_throttles_name_routes_that_exist() -> None:
    assert RESOURCES["Api"]["Properties"]["RouteSettings"].keys() <= {route for _, route, _ in routes()}


def test_the_resolver_and_the_sweeper_tick_every_five_minutes_and_pools_are_reconciled_daily() -> None:
    schedules = {
        function: event["Properties"]["ScheduleExpression"]
        for function, definition in FUNCTIONS.items()
        for event in definition["Events"].values()
        if event["Type"] == "ScheduleV2"
    }

    assert schedules == {
        "ResolveFunction": "rate(5 minutes)",
        "SweepFunction": "rate(5 minutes)",
        "ReconcileFunction": "rate(1 day)",
    }


def test_a_change_of_anything_the_layer_included_publishes_a_new_version() -> None:
    assert TEMPLATE["Globals"]["Function"]["AutoPublishAlias"] == "live"
    assert RESOURCES["CommonLayer"]["Properties"]["PublishLambdaVersion"] is True
    assert all(function["AutoPublishAliasAllProperties"] for function in FUNCTIONS.values())
