"""The template is code too: what must hold for every resource of a kind is asserted here."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core.http import SLASH
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.enqueue.request import MAX_BATCH
from adbot_queue.jobs.worker import worker as execute
from local.openapi import all_routes
from local.settings import ROOT
from tests.support.template import RESOURCES, TEMPLATE, conditional_statements, of, rights, statements

REASONS_FOR_ALL_RESOURCES: dict[tuple[str, str], str] = {}
"""(role, action) -> why it cannot name its resource. None needs it so far."""


FUNCTIONS = of("AWS::Serverless::Function")
QUEUES = of("AWS::SQS::Queue")
TABLES = of("AWS::DynamoDB::Table")
ALARMS = of("AWS::CloudWatch::Alarm")
CONSOLE = (
    "$default",
    "ANY /",
    "ANY /console",
    "ANY /console/{proxy+}",
    "ANY /docs",
    "ANY /docs/{proxy+}",
    "ANY /my",
    "ANY /my/{proxy+}",
)
"""What reaches the console's function, which matches its pages itself: tests/unit/console/test_routes.py."""

DEAD_LETTERS = {"DeadLetters", "FifoDeadLetters"}
OWN = str({"Fn::Sub": "AdBotQueue/${AWS::StackName}"})
SINKS = DEAD_LETTERS | {"GivenUpBatches"}
"""Queues that no mapping reads."""


def get_att(name: str, attribute: str = "Arn") -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, attribute]}


def number(value: Any) -> int:
    """A number of the template, looked up in its mappings where it says so."""
    if isinstance(value, dict):
        if "Fn::If" in value:  # as in a full installation: no condition here holds by default but those of size
            return number(value["Fn::If"][2])
        value = found_in_map(value)
    return int(value)


def found_in_map(value: dict[str, Any]) -> Any:
    mapping, first, second = value["Fn::FindInMap"]
    return TEMPLATE["Mappings"][mapping][first][second]


def timeout(function: str) -> int:
    return number(FUNCTIONS[function].get("Timeout", TEMPLATE["Globals"]["Function"]["Timeout"]))


def consumers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, function in FUNCTIONS.items():
        for event in function.get("Events", {}).values():
            if event["Type"] == "SQS":
                yield name, event["Properties"]["Queue"]["Fn::GetAtt"][0], event["Properties"]


def routes() -> dict[str, tuple[str, bool]]:
    """Route key, as API Gateway has it -> the function, whether it is public."""
    found = {}
    for path, operations in RESOURCES["Api"]["Properties"]["DefinitionBody"]["paths"].items():
        for method, operation in operations.items():
            uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
            (function,) = re.findall(r"\$\{(\w+)\.Arn\}", uri)
            verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
            key = "$default" if path == "/$default" else f"{verb} {path}"
            found[key] = (function, "security" not in operation)
            assert operation.get("security", [{"Cognito": []}]) == [{"Cognito": []}]
    return found


@pytest.mark.parametrize("queue", sorted(QUEUES.keys() - SINKS))
def test_every_queue_has_a_dead_letter_queue_of_its_own_kind(queue: str) -> None:
    target = QUEUES[queue]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]

    assert target in DEAD_LETTERS
    assert QUEUES[target].get("FifoQueue") == QUEUES[queue].get("FifoQueue")
    assert QUEUES[target]["MessageRetentionPeriod"] >= QUEUES[queue]["MessageRetentionPeriod"]


@pytest.mark.parametrize("queue", sorted(SINKS))
def test_every_queue_that_no_mapping_reads_has_an_alarm_on_its_depth(queue: str) -> None:
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

    assert number(QUEUES[queue]["VisibilityTimeout"]) >= 6 * timeout(function) + wait_for_a_batch


def test_every_consumer_reports_which_of_a_batch_failed() -> None:
    mappings = [
        event["Properties"]
        for function in FUNCTIONS.values()
        for event in function.get("Events", {}).values()
        if event["Type"] in {"SQS", "DynamoDB"}
    ]

    assert len(mappings) >= 4 + len(job_queues.QUEUES)
    assert all(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for mapping in mappings)


@pytest.mark.parametrize("queue", sorted(job_queues.QUEUES))
def test_every_job_queue_has_a_worker_that_outlives_its_longest_job(queue: str) -> None:
    tier = job_queues.logical_id(queue)
    (mapping,) = [mapping for name, source, mapping in consumers() if source == f"{tier}Queue"]

    assert mapping["Queue"] == get_att(f"{tier}Queue")
    worker = f"{tier}WorkerFunction"
    needed = (1000 * job_queues.QUEUES[queue].max_run_s + execute.RESERVE_MS) / 1000
    assert timeout(worker) > needed + 10
    assert FUNCTIONS[worker]["FunctionName"] == {"Fn::Sub": "${AWS::StackName}_" + f"{tier}Worker"}
    assert number(mapping["BatchSize"]) <= execute.PARALLEL


def test_the_tiers_of_the_template_are_the_queues_of_the_registry() -> None:
    assert {tier: worker["Queue"] for tier, worker in TEMPLATE["Mappings"]["Tiers"].items()} == {
        job_queues.logical_id(queue): queue for queue in job_queues.QUEUES
    }
    for tier in TEMPLATE["Mappings"]["Tiers"]:
        reported = FUNCTIONS[f"{tier}WorkerFunction"]["Environment"]["Variables"]["JOB_QUEUE"]
        assert reported == {"Fn::FindInMap": ["Tiers", tier, "Queue"]}


def test_the_least_burst_has_room_for_the_largest_batch_and_its_callback() -> None:
    assert TEMPLATE["Parameters"]["JobsBurst"]["MinValue"] == MAX_BATCH + 1


def test_accounts_are_made_five_at_a_time() -> None:
    (mapping,) = [mapping for _, source, mapping in consumers() if source == "AccountsQueue"]

    assert number(mapping["BatchSize"]) * number(mapping["ScalingConfig"]["MaximumConcurrency"]) == 5


def streams() -> dict[str, dict[str, Any]]:
    return {
        name: event["Properties"]
        for name, function in FUNCTIONS.items()
        for event in function.get("Events", {}).values()
        if event["Type"] == "DynamoDB"
    }


@pytest.mark.parametrize("function", sorted(streams()))
def test_no_stream_consumer_loses_a_record_silently(function: str) -> None:
    stream = streams()[function]
    behind = [
        alarm
        for alarm in ALARMS.values()
        if alarm["MetricName"] == "IteratorAge"
        and alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": function}}]
    ]

    assert stream["MaximumRetryAttempts"] > 0
    assert stream["DestinationConfig"]["OnFailure"]["Destination"] == get_att("GivenUpBatches")
    assert stream["StartingPosition"] == "TRIM_HORIZON"
    assert len(behind) == 1


def test_the_sweeper_may_do_for_given_up_batches_what_the_functions_of_the_streams_may() -> None:
    needed = {
        (action, resource)
        for action, resource in rights("TallyRole", "TallyJobsRole")
        if not action.startswith("logs:") and action not in {"dynamodb:DescribeStream", "dynamodb:ListStreams"}
    } - {("sqs:SendMessage", json.dumps(get_att("GivenUpBatches")))}

    assert needed <= rights("SweepRole")
    assert ("sqs:ReceiveMessage", json.dumps(get_att("GivenUpBatches"))) in rights("SweepRole")
    assert FUNCTIONS["SweepFunction"]["Environment"]["Variables"]["GIVEN_UP_BATCHES_URL"] == {"Ref": "GivenUpBatches"}


@pytest.mark.parametrize("function", sorted(streams()))
def test_a_batch_whose_place_cannot_be_written_down_rings_an_alarm(function: str) -> None:
    watched = [alarm for alarm in ALARMS.values() if alarm["MetricName"] == "DestinationDeliveryFailures"]

    assert [{"Name": "FunctionName", "Value": {"Ref": function}}] in [alarm["Dimensions"] for alarm in watched]


def test_a_bad_record_is_singled_out_except_where_batches_must_stay_as_they_are() -> None:
    assert {name: stream["BisectBatchOnFunctionError"] for name, stream in streams().items()} == {
        "TallyFunction": True,
        "TallyJobsFunction": False,  # counts exactly; skips what it cannot read
    }


def test_only_functions_that_may_change_event_source_mappings_know_them() -> None:
    allowed = {
        name: [resource["Fn::Sub"].rpartition(":")[2] for resource in statement["Resource"]]
        for name, statement in statements()
        if "lambda:UpdateEventSourceMapping" in statement["Action"]
    }
    reported = {
        name
        for name, function in FUNCTIONS.items()
        if "EVENT_SOURCE_MAPPINGS" in function.get("Environment", {}).get("Variables", {})
    }
    workers = [f"${{{name}Jobs}}" for name, queue, _ in consumers() if name.endswith("WorkerFunction")]

    assert {f"{name.removesuffix('Role')}Function" for name in allowed} == reported
    for mappings in allowed.values():
        assert sorted(mappings) == sorted(workers)
    for name in reported:
        environment = FUNCTIONS[name]["Environment"]["Variables"]
        (comma, pairs) = environment["EVENT_SOURCE_MAPPINGS"]["Fn::Join"]
        named = dict(pair["Fn::Sub"].split("=") for pair in pairs)
        assert comma == ","
        assert named == {queue: f"${{{job_queues.logical_id(queue)}WorkerFunctionJobs}}" for queue in job_queues.QUEUES}


def log_group(function: str) -> str:
    return str(FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"])


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_writes_to_the_log_group_of_its_capability_alone(function: str) -> None:
    role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
    may_log_to = [
        statement["Resource"] for name, statement in statements() if name == role and "logs:" in statement["Action"][0]
    ]

    assert may_log_to == [[get_att(log_group(function))]]


def test_every_log_group_forgets_and_is_encrypted_with_the_customers_key() -> None:
    for group in of("AWS::Logs::LogGroup").values():
        assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        assert group["KmsKeyId"] == {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}


def test_every_failed_run_of_every_function_is_counted_by_a_filter_and_rings() -> None:
    """Lambda writes platform.report as JSON only to logs of that format, at this level for every run."""
    filters = {one["LogGroupName"]["Ref"]: one for one in of("AWS::Logs::MetricFilter").values()}
    lines = TEMPLATE["Globals"]["Function"]["LoggingConfig"]

    assert (lines["LogFormat"], lines["SystemLogLevel"]) == ("JSON", "INFO")
    assert filters.keys() == {log_group(function) for function in FUNCTIONS}
    for one in filters.values():
        assert one["FilterPattern"] == '{ ($.type = "platform.report") && ($.record.status != "success") }'
        (counted,) = one["MetricTransformations"]
        alarm = ALARMS["FunctionErrors"]
        assert (counted["MetricNamespace"], counted["MetricName"]) == (alarm["Namespace"], alarm["MetricName"])
        assert (alarm["Statistic"], alarm["Threshold"], counted["MetricValue"]) == ("Sum", 0, "1")
        assert "Dimensions" not in alarm


def test_what_takes_money_in_is_watched_without_a_log() -> None:
    watched = {a["Dimensions"][0]["Value"]["Ref"] for a in ALARMS.values() if a["MetricName"] == "Errors"}

    assert watched == {f"{name}Function" for name in ("Webhook", "SettlePayments")}


def test_metrics_of_two_stacks_are_kept_apart() -> None:
    namespace = {"Fn::Sub": "AdBotQueue/${AWS::StackName}"}
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]

    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == namespace
    assert [a for a in ALARMS.values() if "AdBotQueue" in str(a["Namespace"]) and a["Namespace"] != namespace] == []


def test_throttling_is_watched_for_all_functions_at_once() -> None:
    (alarm,) = [a for a in ALARMS.values() if a["MetricName"] == "Throttles"]

    assert alarm["Namespace"] == "AWS/Lambda"
    assert "Dimensions" not in alarm


CONSOLE_PAGES = {"health", "queues", "queues/codes", "bots", "orders", "stock", "schedules", "ledger", "leads"}


def test_every_alarm_leads_to_the_page_of_the_console_that_shows_its_cause() -> None:
    console = {"Fn::If": ["HasConsoleUrl", {"Ref": "ConsoleUrl"}, get_att("Api", "ApiEndpoint")]}
    for name, alarm in ALARMS.items():
        text, values = alarm["AlarmDescription"]["Fn::Sub"]
        page = re.fullmatch(r"(?:P[12]|\$\{Urgency\}): .+[.] \$\{Console\}/console/(\S+)", text)
        assert page, name
        assert values["Console"] == console, name
        shown = found_in_map(values["Page"]) if page[1] == "${Page}" else page[1]
        assert shown in CONSOLE_PAGES, name
        assert f"`/console/{shown}`." in runbook_row(name), name


def runbook_row(alarm: str) -> str:
    rows = re.findall(r"(?m)^\| .+", (ROOT / "docs" / "runbook.md").read_text())
    names = [f"`{alarm.removesuffix('Alarm')}`"]
    names += [f"`…{word}`" for word in ("Errors", "Silent") if alarm.endswith(word)]
    (first, *_) = [row for name in names for row in rows if name in row.partition(" | ")[0]]
    return first


@pytest.mark.parametrize("topic", ["Alarm", "DeadLetter"])
def test_both_topics_reach_a_mailbox_a_pager_and_a_chat(topic: str) -> None:
    subscribed = {
        resource["Condition"]: (properties["Protocol"], properties["Endpoint"])
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::SNS::Subscription"
        for properties in [resource["Properties"]]
        if properties["TopicArn"] == {"Ref": f"{topic}Topic"}
    }

    assert subscribed == {
        "HasAlarmEmail": ("email", {"Ref": "AlarmEmail"}),
        "HasAlarmUrl": ("https", {"Ref": "AlarmUrl"}),
        "HasAlarmChat": ("lambda", get_att("AlertFunction")),
    }
    (permission,) = [
        one
        for one in of("AWS::Lambda::Permission").values()
        if one["Principal"] == "sns.amazonaws.com" and one["SourceArn"] == {"Ref": f"{topic}Topic"}
    ]
    assert permission["FunctionName"] == {"Ref": "AlertFunction"}


def test_addresses_that_are_secrets_are_echoed_nowhere() -> None:
    hidden = {name for name, parameter in TEMPLATE["Parameters"].items() if parameter.get("NoEcho")}
    shown = {
        name
        for name, function in FUNCTIONS.items()
        if {"Ref": "AlarmChatUrl"} in function.get("Environment", {}).get("Variables", {}).values()
    }

    assert hidden == {"AlarmUrl", "AlarmChatUrl"}
    assert shown == {"AlertFunction"}


def test_the_function_that_posts_alarms_enqueues_http_requests_alone() -> None:
    sends = {resource for action, resource in rights("AlertRole") if action.startswith("sqs:")}

    assert sends == {json.dumps(get_att("HttpQueue"))}
    assert not [action for action, _ in rights("AlertRole") if "Delete" in action or "Update" in action]


def test_every_alarm_tells_the_one_topic() -> None:
    assert all(alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}] for alarm in ALARMS.values())


def test_api_failures_age_drift_parked_bots_and_a_stream_that_lags_are_alarmed() -> None:
    watched = {(str(alarm["Namespace"]), alarm["MetricName"]) for alarm in ALARMS.values()}

    assert watched >= {
        ("AWS/ApiGateway", "5xx"),
        (OWN, "OldestQueuedAge"),
        (OWN, "BotsFaults"),
        (OWN, "MoneyFaults"),
        ("AWS/Lambda", "IteratorAge"),
    }


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_has_a_role_of_its_own(function: str) -> None:
    roles = [other["Role"]["Fn::GetAtt"][0] for other in FUNCTIONS.values()]

    assert roles.count(FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]) == 1
    assert "Policies" not in FUNCTIONS[function]
    assert "ManagedPolicyArns" not in RESOURCES[FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]]["Properties"]


def test_no_two_policies_of_a_role_have_one_name() -> None:
    """The second would take the place of the first."""
    names = [
        (name, policy["PolicyName"])
        for name, role in of("AWS::IAM::Role").items()
        for policy in role.get("Policies", [])
    ]
    names += [
        (role["Ref"], policy["PolicyName"]) for policy in of("AWS::IAM::Policy").values() for role in policy["Roles"]
    ]

    assert len(names) == len(set(names))


def test_no_permission_is_wider_than_a_reason_allows() -> None:
    for role, statement in statements():
        for action, resource in itertools.product(statement["Action"], statement["Resource"]):
            assert "*" not in action, f"{role} may {action}"
            if resource == "*":
                assert (role, action) in REASONS_FOR_ALL_RESOURCES, f"{role} may {action} on everything"


def test_a_providers_credentials_are_read_only_where_it_is_spoken_to() -> None:
    readers: dict[str, set[str]] = {}
    for name, statement in statements():
        if "secretsmanager:GetSecretValue" in statement["Action"]:
            for resource in statement["Resource"]:
                if "Fn::If" in resource:  # others are secrets of the installation's own
                    readers.setdefault(resource["Fn::If"][0], set()).add(name)

    assert readers == {
        "OwnsStripeSecret": {"WebhookRole", "CheckoutRole", "ConsoleRole", "MoneyWorkerRole"},
        "OwnsSendGridSecret": {"EmailWorkerRole", "DeliveryRole"},
        "OwnsSegmentSecret": {"AnalyticsWorkerRole"},
        "OwnsTwilioSecret": {
            *("CodesWorkerRole", "MessagesWorkerRole", "DeliveryRole", "OutreachRole", "InboundRole"),
            "ConsoleRole",
        },
        "OwnsSolanaSecret": {"MoneyWorkerRole"},
        "OwnsWebPushSecret": {"MessagesWorkerRole", "DeliveryRole"},
        "OwnsWebhookSecret": {"WebhooksWorkerRole", "HttpWorkerRole"},
    }


def test_who_takes_jobs_learns_whether_a_provider_has_credentials_without_reading_them() -> None:
    askers = {name for name, statement in statements() if "secretsmanager:DescribeSecret" in statement["Action"]}

    assert askers == {"JobsRole", "SchedulesRole", "ConsoleRole", "OtpRole"}


def test_no_function_may_change_or_delete_ledger_entries() -> None:
    allowed = {
        action
        for _, statement in statements()
        for action in statement["Action"]
        if any("LedgerTable" in str(resource) for resource in statement["Resource"])
    }

    assert allowed == {"dynamodb:PutItem", "dynamodb:Query", "dynamodb:DescribeTable"}


def test_schedules_of_people_exist_in_no_service_of_aws() -> None:
    actions = {action for _, statement in statements() for action in statement["Action"]}

    assert not [action for action in actions if action.startswith("scheduler:")]
    assert "iam:PassRole" not in actions
    assert not of("AWS::Scheduler::ScheduleGroup")


def test_only_the_workers_that_sign_requests_read_the_signing_secret() -> None:
    readers = {name for name, statement in statements() if "WebhookSecret" in str(statement["Resource"])}

    assert readers == {"WebhooksWorkerRole", "HttpWorkerRole"}


def test_only_who_draws_codes_and_who_compares_them_reads_the_pepper() -> None:
    readers = {name for name, statement in statements() if "OtpSecret" in str(statement["Resource"])}

    assert readers == {"OtpRole", "CodesWorkerRole"}


def test_what_addresses_are_hashed_with_is_read_where_messages_are_sent_and_reported() -> None:
    readers = {name for name, statement in statements() if "AddressKey" in str(statement["Resource"])}

    messages = {"EmailWorkerRole", "MessagesWorkerRole", "DeliveryRole"}
    assert readers == messages | {"LeadsRole", "LeadQueueRole", "OutreachRole", "InboundRole", "ConsoleRole"}


def test_what_leads_refer_to_is_deleted_by_no_function_that_works_leads() -> None:
    for role in ("LeadsRole", "LeadQueueRole"):
        actions = {action for name, statement in statements() if name == role for action in statement["Action"]}
        assert not {"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"} & actions


def test_keys_are_only_spoken_of_when_there_is_one() -> None:
    speaking = [
        (role, condition, statement["Resource"])
        for role, condition, statement in conditional_statements()
        if any(action.startswith("kms:") for action in statement["Action"])
    ]
    roles = sorted(function["Role"]["Fn::GetAtt"][0] for function in FUNCTIONS.values())

    assert sorted(role for role, _, _ in speaking) == roles
    assert {(condition, json.dumps(key)) for _, condition, key in speaking} == {("HasKey", '[{"Ref": "KmsKeyArn"}]')}


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_can_be_restored_is_encrypted_and_refuses_to_be_deleted(table: str) -> None:
    properties = TABLES[table]

    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["SSESpecification"]["SSEEnabled"] is True
    assert properties["SSESpecification"]["KMSMasterKeyId"]["Fn::If"][0] == "HasKey"
    assert properties["DeletionProtectionEnabled"] == {"Fn::If": ["Protected", True, False]}
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_what_holds_data_outlives_the_stack_but_not_a_first_deployment_that_failed() -> None:
    kinds = {"AWS::DynamoDB::Table", "AWS::Cognito::UserPool", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"}
    holding = {name: one for name, one in RESOURCES.items() if one["Type"] in kinds and name != "ConsoleClientSecret"}

    assert len(holding) > 15
    for name, resource in holding.items():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain"), name
    assert "DeletionPolicy" not in RESOURCES["ConsoleClientSecret"]  # written again by each deployment


def test_concurrency_is_reserved_where_money_comes_in_if_the_installation_says_how_much() -> None:
    reserving = {
        name: function["ReservedConcurrentExecutions"]
        for name, function in FUNCTIONS.items()
        if "ReservedConcurrentExecutions" in function
    }
    kept = {"Fn::If": ["HasMoneyConcurrency", {"Ref": "MoneyConcurrency"}, {"Ref": "AWS::NoValue"}]}

    assert reserving == dict.fromkeys(("WebhookFunction", "SettlePaymentsFunction", "AllocateFunction"), kept)


def test_the_user_pool_sends_as_the_identity_of_the_parameter() -> None:
    (condition, sender, default) = RESOURCES["UserPool"]["Properties"]["EmailConfiguration"]["Fn::If"]

    assert (condition, default) == ("HasUserMailIdentity", {"Ref": "AWS::NoValue"})
    assert sender == {"EmailSendingAccount": "DEVELOPER", "SourceArn": {"Ref": "UserMailIdentityArn"}}


def test_reports_are_private_encrypted_asked_for_by_tls_alone_and_forgotten() -> None:
    bucket = RESOURCES["ReportsBucket"]["Properties"]
    (deny,) = RESOURCES["ReportsBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]["Fn::If"][0] == "HasKey"
    assert [rule["ExpirationInDays"] for rule in bucket["LifecycleConfiguration"]["Rules"]] == [30]
    assert (deny["Effect"], deny["Action"], deny["Principal"]) == ("Deny", "s3:*", "*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_reports_are_written_by_one_role_and_deleted_by_none() -> None:
    allowed = {
        (name, action) for name, statement in statements() for action in statement["Action"] if action.startswith("s3:")
    }

    assert allowed == {
        ("MaintenanceWorkerRole", "s3:PutObject"),
        ("MaintenanceWorkerRole", "s3:GetObject"),
        ("InsightsRole", "s3:GetObject"),
    }


def test_the_cleanup_may_delete_no_orders_payments_or_ledger_entries() -> None:
    deleting = [
        str(statement["Resource"])
        for name, statement in statements()
        if {"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"} & set(statement["Action"])
        and name == "MaintenanceWorkerRole"
    ]

    assert deleting
    assert not [one for one in deleting if re.search("AdBots|Payments|Ledger", one)]


def test_only_what_must_be_is_open_to_everybody() -> None:
    public = {route for route, (_, is_public) in routes().items() if is_public}
    read = {"/health", "/health/ready", "/openapi.json"}

    assert public == {
        *CONSOLE,
        "POST /webhooks/stripe",
        "POST /webhooks/twilio",
        "POST /webhooks/twilio/inbound",
        "POST /webhooks/twilio/leads",
        "POST /webhooks/sendgrid",
        *(f"{method} {path}" for method in ("GET", "HEAD") for path in read),
        *(f"ANY {path}{SLASH}" for path in read),
    }
    assert "DefaultAuthorizer" not in RESOURCES["Api"]["Properties"]["Auth"]


def test_the_routes_of_template_and_code_are_the_same_and_as_open() -> None:
    folders = {name: function["CodeUri"].rstrip("/").rsplit("/", 1)[-1] for name, function in FUNCTIONS.items()}
    deployed = {route: (folders[function], is_public) for route, (function, is_public) in routes().items()}
    declared = dict.fromkeys(CONSOLE, ("console", True))
    for folder, route in all_routes().values():
        keys = [route.key]
        if route.method == "GET":
            keys += [f"HEAD {route.path}", f"ANY {route.path}{SLASH}"]
        declared |= dict.fromkeys(keys, (folder, not route.roles))

    assert deployed == declared


def test_no_function_declares_a_route_of_its_own() -> None:
    """It would be a second description: `make docs` writes all routes from the code."""
    events = [event["Type"] for function in FUNCTIONS.values() for event in function.get("Events", {}).values()]

    assert "HttpApi" not in events


def test_user_names_ignore_case_from_the_first_day() -> None:
    assert RESOURCES["UserPool"]["Properties"]["UsernameConfiguration"] == {"CaseSensitive": False}


def test_customers_sign_up_unless_the_installation_says_no() -> None:
    invites = RESOURCES["UserPool"]["Properties"]["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"]

    assert invites == {"Fn::If": ["InvitesOnly", True, False]}
    assert TEMPLATE["Conditions"]["InvitesOnly"] == {"Fn::Equals": [{"Ref": "SelfSignUp"}, "false"]}
    assert TEMPLATE["Parameters"]["SelfSignUp"]["Default"] == "true"


def test_no_client_lets_people_write_what_the_system_says_about_them() -> None:
    for name, client in of("AWS::Cognito::UserPoolClient").items():
        if client.get("AllowedOAuthFlows") != ["client_credentials"]:
            assert set(client["WriteAttributes"]) <= {"email", "name"}, name


def test_no_function_puts_people_into_groups_but_the_worker_of_accounts() -> None:
    roles = {name for name, statement in statements() if "cognito-idp:AdminAddUserToGroup" in statement["Action"]}

    assert roles == {"AccountsWorkerRole"}


def test_machines_have_a_secret_and_scopes_that_exist_and_no_way_in_for_people() -> None:
    server = RESOURCES["ResourceServer"]["Properties"]
    scopes = {f"{server['Identifier']}/{scope['ScopeName']}" for scope in server["Scopes"]}
    machines = {name: one for name, one in of("AWS::Cognito::UserPoolClient").items() if "AllowedOAuthScopes" in one}
    machines = {name: one for name, one in machines.items() if "client_credentials" in one["AllowedOAuthFlows"]}
    given = {name: found_in_map(one["AllowedOAuthScopes"]) for name, one in machines.items()}

    assert given == {
        "ShopClient": ["adbot-queue/jobs.write", "adbot-queue/jobs.read"],
        "EngineClient": ["adbot-queue/engine"],
        "MetricsClient": ["adbot-queue/metrics.read"],
    }
    assert {scope for listed in given.values() for scope in listed} == scopes
    for one in machines.values():
        assert one["GenerateSecret"] is True
        assert one["AllowedOAuthFlows"] == ["client_credentials"]
        assert one["ExplicitAuthFlows"] == ["ALLOW_REFRESH_TOKEN_AUTH"]


def test_the_api_takes_tokens_of_these_clients_and_of_no_others() -> None:
    authorizer = RESOURCES["Api"]["Properties"]["Auth"]["Authorizers"]["Cognito"]

    assert [client["Ref"] for client in authorizer["JwtConfiguration"]["audience"]] == [
        "UserPoolClient",
        "ShopClient",
        "EngineClient",
        "MetricsClient",
    ]


def test_the_api_has_room_for_routes() -> None:
    """AWS allows 300 an API, and more on request."""
    assert len(routes()) <= 280


def test_the_gateway_may_call_every_function_that_has_a_route_and_calls_it_as_its_role() -> None:
    called = {name for name, _ in routes().values()}
    paths = RESOURCES["Api"]["Properties"]["DefinitionBody"]["paths"]
    integrations = [one["x-amazon-apigateway-integration"] for path in paths.values() for one in path.values()]

    assert rights("GatewayRole") == {("lambda:InvokeFunction", json.dumps(get_att(name))) for name in called}
    assert [one for one in integrations if one["credentials"] != get_att("GatewayRole")] == []
    assert not [one for one in of("AWS::Lambda::Permission").values() if "apigateway" in one["Principal"]]


def test_the_dashboard_is_json_that_shows_every_figure_of_an_alarm() -> None:
    text, names = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    titles = {widget["properties"]["title"] for widget in json.loads(text)["widgets"]}
    areas = [one["Fn::Join"][1]["Fn::FindInMap"][1] for one in names["Figures"]["Fn::Join"][1]]

    assert titles >= {"Must stay zero", "Failed runs", "Messages in queues"}
    assert areas == list(TEMPLATE["Mappings"]["Faults"])


def test_throttles_name_routes_that_exist_and_all_that_do_the_same() -> None:
    throttled = RESOURCES["Api"]["Properties"]["RouteSettings"]

    assert throttled.keys() <= routes().keys()
    for key, settings in throttled.items():
        method, path = key.split(" ")
        if method == "GET":
            assert [throttled.get(f"HEAD {path}"), throttled.get(f"ANY {path}{SLASH}")] == [settings, settings]


def test_every_schedule_of_the_system_itself_ticks_as_often_as_its_docstring_says() -> None:
    schedules = {
        function: event["Properties"]["ScheduleExpression"]
        for function, definition in FUNCTIONS.items()
        for event in definition.get("Events", {}).values()
        if event["Type"] == "ScheduleV2"
    }

    assert schedules == {
        "ResolveFunction": "rate(5 minutes)",
        "OutreachFunction": "rate(1 hour)",
        "SweepFunction": "rate(5 minutes)",
        "SweepJobsFunction": "rate(1 minute)",
        "ReconcileFunction": "rate(1 day)",
    }


def test_no_function_is_called_by_a_version_which_would_keep_the_parameters_of_its_day() -> None:
    versioned = {"AutoPublishAlias", "AutoPublishAliasAllProperties", "VersionDeletionPolicy", "SnapStart"}

    for function in [TEMPLATE["Globals"]["Function"], *FUNCTIONS.values()]:
        assert not versioned & function.keys()
    assert not of("AWS::Lambda::Version")
    assert not of("AWS::Lambda::Alias")
    assert not re.search(r":live\b", json.dumps(TEMPLATE))
