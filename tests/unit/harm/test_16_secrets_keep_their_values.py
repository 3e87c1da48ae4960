"""What operators put into secrets stays there: the template has no value to write over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import aws, secrets
from adbot_queue.core.errors import NotConfigured, Unavailable
from adbot_queue.providers import registry
from local.settings import ROOT
from local.translate import load, unroll
from tests.builders.console_world import counted_calls
from tests.builders.payments import failing
from tests.builders.world import AwsHarness, world

RESOURCES = unroll(load((ROOT / "infra" / "template.yaml").read_text()))["Resources"]
SECRETS = {name: item for name, item in RESOURCES.items() if item["Type"] == "AWS::SecretsManager::Secret"}

LETTERS_AND_DIGITS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
GENERATED = {
    "WebhookSecret": {
        "SecretStringTemplate": '{"previous": ""}',
        "GenerateStringKey": "current",
        "PasswordLength": 64,
        "ExcludeCharacters": LETTERS_AND_DIGITS,
    },
    "OtpSecret": {
        "SecretStringTemplate": "{}",
        "GenerateStringKey": "pepper",
        "PasswordLength": 64,
        "ExcludePunctuation": True,
    },
    "AddressKey": {
        "SecretStringTemplate": "{}",
        "GenerateStringKey": "key",
        "PasswordLength": 64,
        "ExcludePunctuation": True,
    },
}

COPIED = {"ConsoleClientSecret": '{"client_id": "${ConsoleClient}", "client_secret": "${ConsoleClient.ClientSecret}"}'}
"""Secret -> what it repeats of a resource that the template makes too: no operator puts a value there."""


@pytest.mark.parametrize("name", sorted(COPIED))
def test_a_copied_secret_holds_what_its_resource_says_and_nothing_else(name: str) -> None:
    assert SECRETS[name]["Properties"]["SecretString"] == {"Fn::Sub": COPIED[name]}


@pytest.mark.parametrize("name", sorted(SECRETS.keys() - COPIED.keys()))
def test_the_template_has_no_value_of_a_secret(name: str) -> None:
    assert "SecretString" not in SECRETS[name]["Properties"], (
        f"{name} has a SecretString: CloudFormation would write it over the operator's value when its text changes"
    )


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_generator_of_a_value_ever_changes(name: str) -> None:
    assert SECRETS[name]["Properties"].get("GenerateSecretString") == GENERATED.get(name), (
        f"the GenerateSecretString of {name} differs: CloudFormation would generate a new value at the next "
        "deployment, and what was signed or hashed with the old one would be lost. Leave the block as it was"
    )


@pytest.mark.parametrize("name", sorted(SECRETS.keys() - COPIED.keys()))
def test_a_secret_outlives_its_stack_and_its_resource(name: str) -> None:
    assert SECRETS[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert SECRETS[name]["UpdateReplacePolicy"] == "Retain"
    assert "Name" not in SECRETS[name]["Properties"]  # a changed name would make another secret, without the value


@pytest.fixture(scope="module")
def empty_secrets() -> Iterator[AwsHarness]:
    """Secrets as the template makes them: without a value."""
    with world() as made:
        for name in [*registry.PROVIDERS, "webhook", "otp", "address-key"]:
            aws.secrets_manager().create_secret(Name=name)
        yield made


@pytest.fixture
def shop(empty_secrets: AwsHarness) -> AwsHarness:
    secrets._kept.cache_clear()
    return empty_secrets


KEPT = sorted(name for name, provider in registry.PROVIDERS.items() if provider.fields)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("provider", KEPT)
def test_a_provider_whose_secret_has_no_value_is_not_configured(provider: str) -> None:
    with counted_calls() as calls, pytest.raises(NotConfigured, match=r"has no value$"):
        registry.check(provider)
    assert calls == ["DescribeSecret"]  # who asks may not read it


def nothing(text: Any) -> Any:
    return lambda **_: text


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("answer", [{"SecretString": ""}, {"SecretBinary": b"key"}, {}])
def test_a_secret_without_a_text_is_not_configured(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    monkeypatch.setattr(aws.secrets_manager(), "get_secret_value", nothing(answer))

    with pytest.raises(NotConfigured, match="the secret that StripeSecretArn names has no value"):
        secrets.read("any", "api_key", "StripeSecretArn")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    "text",
    ["no JSON", "[]", "null", "1", '"text"', "{}", '{"api_key": ""}', '{"api_key": null}', '{"other": "x"}', " "],
)
def test_a_secret_that_is_not_filled_in_is_not_configured(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(aws.secrets_manager(), "get_secret_value", nothing({"SecretString": text}))

    with pytest.raises(NotConfigured):
        secrets.read("any", "api_key", "StripeSecretArn")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalServiceError", "DecryptionFailure", None])
def test_a_secret_that_cannot_be_read_now_is_unavailable(code: str | None) -> None:
    with failing(aws.secrets_manager(), "GetSecretValue", code=code), pytest.raises(Unavailable):
        secrets.read("any", "api_key", "StripeSecretArn")


@pytest.mark.usefixtures("shop")
def test_a_secret_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        secrets.read("no-such-secret", "api_key", "StripeSecretArn")


def test_a_value_that_the_operator_puts_is_found(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = aws.secrets_manager()
    manager.create_secret(Name="filled-in-later")
    with pytest.raises(NotConfigured):
        secrets.read("filled-in-later", "api_key", "StripeSecretArn")

    manager.put_secret_value(SecretId="filled-in-later", SecretString=json.dumps({"api_key": "sk_live"}))

    assert secrets.replaced("filled-in-later")
    assert secrets.read("filled-in-later", "api_key", "StripeSecretArn") == "sk_live"


ROUTES = [
    ("webhook", "POST /webhooks/stripe", None, "{}", {"stripe-signature": "t=1,v1=0"}),
    (
        "delivery",
        "POST /webhooks/sendgrid",
        None,
        "[]",
        {"x-twilio-email-event-webhook-signature": "MEUCIQ==", "x-twilio-email-event-webhook-timestamp": "1"},
    ),
    (
        "delivery",
        "POST /webhooks/twilio",
        None,
        "MessageSid=SM1&MessageStatus=sent",
        {"x-twilio-signature": "x", "content-type": "application/x-www-form-urlencoded"},
    ),
    ("delivery", "GET /push/key", "customer", None, {}),
    ("otp", "POST /otp", "customer", {"to": "+4917612345678", "purpose": "login"}, {}),
    (
        "jobs",
        "POST /jobs",
        "owner",
        {"type": "send-email", "payload": {"to": "a@example.com", "subject": "s", "text": "t"}},
        {},
    ),
]


@pytest.mark.parametrize(("function", "route", "role", "body", "headers"), ROUTES)
def test_a_route_that_reads_a_secret_answers_the_same_without_a_value_and_with_empty_fields(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, function: str, route: str, role: Any, body: Any, headers: Any
) -> None:
    without = shop.http(function, route, role=role, body=body, headers=headers)
    secrets._kept.cache_clear()
    fields = {field: "" for provider in registry.PROVIDERS.values() for field in provider.fields}
    empty = {"SecretString": json.dumps(fields | {"pepper": "", "webhook_secret": "", "webhook_public_key": ""})}
    monkeypatch.setattr(aws.secrets_manager(), "get_secret_value", nothing(empty))

    with_empty = shop.http(function, route, role=role, body=body, headers=headers)

    assert (without.status, with_empty.status) == (503, 503), (without.text, with_empty.text)
