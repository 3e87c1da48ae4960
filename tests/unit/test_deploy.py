"""Against what the SAM translator really makes of the template."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from local.settings import ROOT, Refused, Settings
from local.translate import expand, load, transform, unroll

pytestmark = pytest.mark.xdist_group("template")  # SAM makes the template once a process

PACKAGED = load((ROOT / "infra" / "template.yaml").read_text())
for _key, _part in PACKAGED["Resources"].items():
    for _resource in (_part[2] if _key.startswith("Fn::ForEach") else {_key: _part}).values():
        if _resource["Type"] == "AWS::Serverless::Function":
            _resource["Properties"]["CodeUri"] = "s3://bucket/code"
        if _resource["Type"] == "AWS::Serverless::LayerVersion":
            _resource["Properties"]["ContentUri"] = "s3://bucket/layer"


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    """The OpenAPI document that SAM gives to API Gateway."""
    document: dict[str, Any] = transform(copy.deepcopy(PACKAGED), {})["Resources"]["Api"]["Properties"]["Body"]
    return document


@pytest.fixture(scope="module")
def expanded() -> dict[str, Any]:
    return expand(copy.deepcopy(PACKAGED), {})


def of(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: item["Properties"] for name, item in template["Resources"].items() if item["Type"] == kind}


def test_sam_keeps_every_route_of_the_template_and_adds_none(body: dict[str, Any]) -> None:
    declared = PACKAGED["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"]

    assert body["paths"] == declared
    assert len(declared) > 100


@pytest.mark.parametrize(
    ("action", "also"),
    [
        ("sqs:SendMessage", "sqs:SendMessageBatch"),
        ("sqs:ChangeMessageVisibility", "sqs:ChangeMessageVisibilityBatch"),
        ("lambda:GetEventSourceMapping", "lambda:ListEventSourceMappings"),
    ],
)
def test_an_allowed_call_is_allowed_under_the_embedded_names_too(
    expanded: dict[str, Any], action: str, also: str
) -> None:
    policies = [policy for role in of(expanded, "AWS::IAM::Role").values() for policy in role.get("Policies", [])]
    allowing = [
        statement["Action"]
        for policy in [*policies, *of(expanded, "AWS::IAM::Policy").values()]
        for statement in policy["PolicyDocument"]["Statement"]
        if action in statement.get("Action", ())
    ]

    assert allowing
    assert all(also in actions for actions in allowing)


def test_the_authorizer_takes_tokens_of_the_stacks_own_pool(body: dict[str, Any]) -> None:
    authorizer = body["components"]["securitySchemes"]["Cognito"]["x-amazon-apigateway-authorizer"]

    assert "${UserPool}" in authorizer["jwtConfiguration"]["issuer"]["Fn::Sub"]


def test_a_change_of_the_layer_alone_reaches_every_function(expanded: dict[str, Any]) -> None:
    changed = copy.deepcopy(PACKAGED)
    changed["Resources"]["CommonLayer"]["Properties"]["ContentUri"] = "s3://bucket/another-layer"

    after = of(expand(changed, {}), "AWS::Lambda::Function")

    for name, function in of(expanded, "AWS::Lambda::Function").items():
        assert after[name]["Layers"] != function["Layers"]


def test_nothing_is_left_for_a_transform(expanded: dict[str, Any]) -> None:
    assert "Transform" not in expanded
    assert not [name for name in expanded["Resources"] if name.startswith("Fn::")]
    assert not [item for item in expanded["Resources"].values() if item["Type"].startswith("AWS::Serverless")]


def test_loops_are_unrolled_with_names_in_keys_values_and_references() -> None:
    loop = [
        "X",
        ["A", "B"],
        {"${X}Alarm": {"Value": {"Ref": {"Fn::Sub": "${X}Function"}}, "Text": {"Fn::Sub": "${X}-${Y}"}}},
    ]
    template = {"Transform": ["AWS::LanguageExtensions", "Other"], "Resources": {"Fn::ForEach::Loop": loop, "C": {}}}

    unrolled = unroll(template)

    assert unrolled["Transform"] == ["Other"]
    assert list(unrolled["Resources"]) == ["AAlarm", "BAlarm", "C"]
    assert unrolled["Resources"]["BAlarm"] == {"Value": {"Ref": "BFunction"}, "Text": {"Fn::Sub": "B-${Y}"}}


def test_a_port_that_is_no_number_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADBOT_API_PORT", "eighty")

    with pytest.raises(Refused, match="ADBOT_API_PORT=eighty"):
        Settings.from_environment()


def test_what_a_bucket_denies_without_tls_is_left_out_and_nothing_else_of_its_policy() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    other = {"Effect": "Deny", "Action": "s3:DeleteObject"}
    template = copy.deepcopy(PACKAGED)
    for name, found in (("Plain", [deny]), ("Mixed", [deny, other])):
        policy = {"Bucket": "b", "PolicyDocument": {"Statement": found}}
        template["Resources"][name] = {"Type": "AWS::S3::BucketPolicy", "Properties": policy}
    policies = of(expand(template, {}), "AWS::S3::BucketPolicy")

    assert {name: policy["PolicyDocument"]["Statement"] for name, policy in policies.items()} == {"Mixed": [other]}
