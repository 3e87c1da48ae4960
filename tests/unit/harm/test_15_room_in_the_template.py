"""What the template has room for: 4 KB of environment a function, 10,240 letters of policies a role, 500 resources."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from dataclasses import fields
from typing import Any

import pytest

from adbot_queue.core.settings import Settings
from adbot_queue.jobs import job_queues
from local.settings import ROOT
from local.translate import load, transform, unroll
from tests.support.template import statements

pytestmark = pytest.mark.xdist_group("template")  # SAM makes the template once a process

SOURCE = load((ROOT / "infra" / "template.yaml").read_text())
TEMPLATE = unroll(SOURCE)
RESOURCES = TEMPLATE["Resources"]
FUNCTIONS = {name: item for name, item in RESOURCES.items() if item["Type"] == "AWS::Serverless::Function"}

MAX_ENVIRONMENT = 3600
"""Bytes of a function's environment as JSON, at the longest names. AWS refuses a deployment above 4,096."""
MAX_RESOURCES = 240
"""AWS refuses a stack of more than 500."""
MAX_POLICIES = 6000
"""Letters of a role's policies, blanks left out. AWS takes 10,240."""
OF_A_QUEUE = 4
"""Resources of one more queue: itself, its worker with role and mapping."""
MORE_QUEUES = 15

ACCOUNT = "123456789012"
AWS_REGION = "ap-southeast-2"
STACK = "adbot-queue-production-australia"
"""32 letters. CloudFormation puts it before most names that it makes."""


def secret(name: str) -> str:
    return f"arn:aws:secretsmanager:{AWS_REGION}:{ACCOUNT}:secret:adbot-queue/production/{name}-AbCdEf"


GIVEN = {
    "AWS::StackName": STACK,
    "AWS::Region": AWS_REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AdminEmail": "operations-of-the-shop@adbot-queue.example.com",
    "MailFrom": "your-advertising-bots@mail.adbot-queue.example.com",
    "AlarmEmail": "operations-on-call@adbot-queue.example.com",
    "KmsKeyArn": f"arn:aws:kms:{AWS_REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef",
    "StripeSecretArn": secret("stripe"),
    "SendGridSecretArn": secret("sendgrid"),
    "SegmentSecretArn": secret("segment"),
    "TwilioSecretArn": secret("twilio"),
    "WebPushSecretArn": secret("web-push"),
    "SolanaSecretArn": secret("solana"),
    "WebhookSecretArn": secret("result-webhooks"),
    "StripeApiBase": "https://stripe.proxy.adbot-queue.example.com",
    "SendGridApiBase": "https://api.eu.sendgrid.com",
    "SegmentApiBase": "https://events.eu1.segmentapis.com",
    "TwilioApiBase": "https://api.sydney.au1.twilio.com",
    "BedrockApiBase": "https://vpce-0123456789abcdef0.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com",
    "BedrockModelId": "anthropic.claude-3-5-sonnet-20241022-v2:0",
    "BedrockProfile": "global.",
    "BedrockPrice": "3000/15000",
    "PluginFunctionArns": ",".join(
        f"arn:aws:lambda:{AWS_REGION}:{ACCOUNT}:function:adbot-queue-plugin-{name}:live"
        for name in ("resize", "review")
    ),
    "SignInUrl": "https://console.adbot-queue.example.com/sign-in?forgot",
    "PublicApiUrl": "https://api.adbot-queue.example.com",
    "CheckoutSuccessUrl": "https://shop.adbot-queue.example.com/orders/thanks?from=checkout",
    "CheckoutCancelUrl": "https://shop.adbot-queue.example.com/plans?from=checkout",
    "DefaultPool": "p" * 32,
    "JobsPerSecond": "100000",
    "JobsBurst": "1000000",
    "LogLevel": "DEBUG",
}


def name_of(logical: str, attribute: str = "") -> str:
    """What CloudFormation puts in place of a name: about as long as there."""
    if logical in GIVEN:
        return GIVEN[logical]
    if logical in TEMPLATE["Parameters"]:
        return str(TEMPLATE["Parameters"][logical]["Default"])
    if logical not in RESOURCES:  # a mapping that SAM makes of an event
        return "01234567-89ab-cdef-0123-456789abcdef"
    return physical_name(logical, attribute, RESOURCES[logical])


def physical_name(logical: str, attribute: str, resource: dict[str, Any]) -> str:
    own = resource["Properties"].get("QueueName") or resource["Properties"].get("Name")
    name = text_of(own) if own else f"{STACK}-{logical}-1AbCdEfGhIjK"
    match resource["Type"], attribute:
        case "AWS::SQS::Queue", "":
            return f"https://sqs.{AWS_REGION}.amazonaws.com/{ACCOUNT}/{name[-80:]}"
        case "AWS::SecretsManager::Secret", _:
            return f"arn:aws:secretsmanager:{AWS_REGION}:{ACCOUNT}:secret:{logical}-1AbCdEfGhIjK-AbCdEf"
        case ("AWS::SNS::Topic", _) | (_, "Arn"):
            return f"arn:aws:service:{AWS_REGION}:{ACCOUNT}:{name}"
        case "AWS::Cognito::UserPool", _:
            return f"{AWS_REGION}_AbCdEfGhI"
    return name


def text_of(value: Any) -> str:  # noqa: PLR0911 - a line for each function of CloudFormation
    """A value of the template as CloudFormation resolves it, every condition on or off: the longer way."""
    if not isinstance(value, dict):
        return str(value)
    ((kind, inner),) = value.items()
    match kind:
        case "Ref":
            return name_of(inner)
        case "Fn::GetAtt":
            return name_of(*inner)
        case "Fn::Sub":
            text, names = (inner, {}) if isinstance(inner, str) else inner
            known = {name: text_of(item) for name, item in names.items()}
            return re.sub(r"\$\{([^}]+)\}", lambda found: known.get(found[1]) or name_of(*found[1].split(".")), text)
        case "Fn::If":
            return max(map(text_of, inner[1:]), key=len)
        case "Fn::Join":
            if isinstance(inner[1], dict):
                return text_of(inner[1])  # a list that is one parameter, whose value has the separators
            return str(inner[0]).join(map(text_of, inner[1]))
        case "Fn::Select":
            mark, whole = inner[1]["Fn::Split"]
            return text_of(whole).split(mark)[inner[0]]
        case "Fn::FindInMap":
            mapping, first, second = inner
            return str(TEMPLATE["Mappings"][mapping][text_of(first)][second])
    raise AssertionError(f"{kind} is not known to this test")


def environment(function: str) -> dict[str, str]:
    own = FUNCTIONS[function]["Properties"].get("Environment", {}).get("Variables", {})
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"] | own
    return {name: text_of(value) for name, value in variables.items()}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_the_environment_of_every_function_has_room_with_every_parameter_set(function: str) -> None:
    assert len(STACK) == 32

    size = len(json.dumps(environment(function)))

    assert size <= MAX_ENVIRONMENT, f"{function}: {size} bytes"


@pytest.mark.parametrize("queue", sorted(job_queues.QUEUES))
def test_a_job_queues_address_follows_from_its_name(queue: str) -> None:
    pattern = environment("JobsFunction")["QUEUE_URL"]

    assert job_queues.queue_urls(pattern)[queue] == name_of(f"{job_queues.logical_id(queue)}Queue")


def test_the_addresses_of_the_main_jobs_queues_follow_from_their_names() -> None:
    known = Settings(**{field.name: environment("JobsFunction")[field.name.upper()] for field in fields(Settings)})

    assert known.payments_queue_url == name_of("PaymentsQueue")
    assert known.allocation_queue_url == name_of("AllocationQueue")


def packaged() -> dict[str, Any]:
    """The template as `sam package` leaves it."""
    template = copy.deepcopy(SOURCE)
    for key, part in template["Resources"].items():
        for resource in (part[2] if key.startswith("Fn::ForEach") else {key: part}).values():
            for place in ("CodeUri", "ContentUri"):
                if place in resource.get("Properties", {}):
                    resource["Properties"][place] = "s3://bucket/archive"
    return template


def kinds(resources: dict[str, Any]) -> Counter[str]:
    return Counter(resource["Type"] for resource in resources.values())


def with_more_queues() -> dict[str, Any]:
    """The packaged template with further rows and words, and nothing else."""
    template = packaged()
    tiers, words = template["Mappings"]["Tiers"], template["Resources"]["Fn::ForEach::JobQueues"][1]
    for number in range(MORE_QUEUES):
        tiers[f"Extra{number}"] = tiers["Http"] | {"Queue": f"extra-{number}"}
        words.append(f"Extra{number}")
    return template


def test_the_stack_has_room_and_a_queue_more_is_a_row_a_word_and_four_resources() -> None:
    now = kinds(transform(packaged(), {})["Resources"])
    then = kinds(transform(with_more_queues(), {})["Resources"])

    assert now.total() <= MAX_RESOURCES
    assert now["AWS::CloudWatch::Alarm"] <= 30
    assert now["AWS::Logs::LogGroup"] <= 8
    assert then - now == Counter(
        dict.fromkeys(
            ("AWS::SQS::Queue", "AWS::Lambda::Function", "AWS::IAM::Role", "AWS::Lambda::EventSourceMapping"),
            MORE_QUEUES,
        )
    )
    assert then.total() - now.total() == OF_A_QUEUE * MORE_QUEUES


def test_all_queues_share_two_for_dead_letters() -> None:
    targets = {
        json.dumps(one["Properties"]["RedrivePolicy"]["deadLetterTargetArn"])
        for one in RESOURCES.values()
        if one["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" in one["Properties"]
    }

    assert len(targets) == 2


def resolved(value: Any) -> Any:
    """A part of a policy as CloudFormation writes it."""
    if isinstance(value, list):
        return [resolved(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value == {"Ref": "PluginFunctionArns"}:
        return GIVEN["PluginFunctionArns"].split(",")
    if len(value) == 1 and next(iter(value)) in {"Ref", "Fn::GetAtt", "Fn::Sub", "Fn::If"}:
        return text_of(value)
    return {name: resolved(one) for name, one in value.items()}


@pytest.mark.parametrize("role", sorted(name for name, item in RESOURCES.items() if item["Type"] == "AWS::IAM::Role"))
def test_the_policies_of_a_role_have_room(role: str) -> None:
    written = [resolved(statement) for name, statement in statements() if name == role]

    assert len(json.dumps(written, separators=(",", ":"))) <= MAX_POLICIES


def test_wildcards_stay_inside_the_stack() -> None:
    for role, statement in statements():
        for resource in statement["Resource"] if isinstance(statement["Resource"], list) else []:
            for text in re.findall(r'"([^"]*[*][^"]*)"', json.dumps(resource)):
                own = re.search(r"^\$\{\w+\.Arn\}/(index|reports)/\*$|\$\{AWS::StackName\}_[\w-]*\*", text)
                assert own or "::foundation-model/" in text, f"{role}: {text}"


def test_the_packaged_template_can_be_read_from_a_bucket() -> None:
    """CloudFormation reads 1 MB, its transforms make about three of one."""
    assert len(json.dumps(packaged())) <= 400_000
