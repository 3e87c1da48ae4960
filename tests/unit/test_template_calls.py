"""Who may ask a model, call a plugin, make a user: one place each, on one thing each."""

from __future__ import annotations

import json
from typing import Any

from adbot_queue.providers import registry
from tests.unit.test_template import FUNCTIONS, RESOURCES, TEMPLATE, get_att, of, statements

POLICIES = of("AWS::IAM::Policy")


def allowing(prefix: str) -> dict[str, dict[str, Any]]:
    """Role or policy -> the statement that allows an action that begins so."""
    return {
        name: statement
        for name, statement in statements()
        if any(action.startswith(prefix) for action in statement["Action"])
    }


def roles(policy: str) -> list[str]:
    return [role["Ref"] for role in POLICIES[policy]["Roles"]]


def test_only_the_workers_of_texts_ask_a_model_and_that_is_the_one_of_the_parameter() -> None:
    found = allowing("bedrock:")

    assert found.keys() == {"AiModel"}
    assert roles("AiModel") == ["AiContentWorkerRole", "AiSeoWorkerRole"]
    assert RESOURCES["AiModel"]["Condition"] == "HasModel"
    assert found["AiModel"]["Action"] == ["bedrock:InvokeModel"]
    (model, profile) = (resource["Fn::If"] for resource in found["AiModel"]["Resource"])
    assert all(one["Fn::Sub"].endswith("::foundation-model/${BedrockModelId}") for one in model[1:])
    assert profile[1]["Fn::Sub"].endswith(":inference-profile/${BedrockProfile}${BedrockModelId}")
    assert profile[2] == {"Ref": "AWS::NoValue"}


def test_plugins_are_called_by_one_worker_and_are_those_of_the_parameter() -> None:
    statement = allowing("lambda:InvokeFunction")["CallPlugins"]

    assert statement["Resource"] == {"Ref": "PluginFunctionArns"}
    assert roles("CallPlugins") == ["PluginWorkerRole"]
    assert RESOURCES["CallPlugins"]["Condition"] == "HasPlugins"


def test_users_are_made_by_one_worker_in_one_pool_and_never_deleted_or_signed_in() -> None:
    found = allowing("cognito-idp:Admin")

    assert found.keys() == {"MakeUsers", "ConsoleRole"}
    assert set(found["ConsoleRole"]["Action"]) == {"cognito-idp:AdminGetUser", "cognito-idp:AdminListGroupsForUser"}
    assert roles("MakeUsers") == ["AccountsWorkerRole"]
    assert found["MakeUsers"]["Resource"] == [get_att("UserPool")]
    assert {action.removeprefix("cognito-idp:Admin") for action in found["MakeUsers"]["Action"]} == {
        "CreateUser",
        "GetUser",
        "AddUserToGroup",
        "SetUserPassword",
    }


def test_the_pool_has_the_immutable_attribute_by_which_a_job_knows_its_user() -> None:
    (mark,) = RESOURCES["UserPool"]["Properties"]["Schema"]

    assert (mark["Name"], mark["Mutable"]) == ("job", False)


def test_every_setting_that_a_provider_must_have_is_in_the_template_under_its_parameter() -> None:
    text, names = FUNCTIONS["JobsFunction"]["Environment"]["Variables"]["PROVIDERS"]["Fn::Sub"]
    places = json.loads(text)

    for provider in registry.PROVIDERS.values():
        assert provider.name in places
        for setting, parameter in provider.settings.items():
            assert places[provider.name][setting]
            assert parameter in TEMPLATE["Parameters"] or parameter in RESOURCES
    assert names["Plugins"] == {"Fn::Join": [",", {"Ref": "PluginFunctionArns"}]}
