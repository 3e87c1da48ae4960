"""Who may ask a model, call a plugin, make a user: one place each, on one thing each."""

from __future__ import annotations

import json
from typing import Any

from adbot_queue.providers import registry
from tests.support.template import RESOURCES, TEMPLATE, conditional_statements
from tests.unit.test_template import FUNCTIONS, get_att


def allowing(prefix: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Role -> the statement that allows an action that begins so, with its condition."""
    return {
        role: (condition, statement)
        for role, condition, statement in conditional_statements()
        if any(action.startswith(prefix) for action in statement["Action"])
    }


def test_only_the_workers_of_texts_ask_a_model_and_that_is_the_one_of_the_parameter() -> None:
    found = allowing("bedrock:")

    assert found.keys() == {"AiContentWorkerRole", "AiSeoWorkerRole"}
    for condition, statement in found.values():
        assert (condition, statement["Action"]) == ("HasModel", ["bedrock:InvokeModel"])
        (model, profile) = (resource["Fn::If"] for resource in statement["Resource"])
        assert all(one["Fn::Sub"].endswith("::foundation-model/${BedrockModelId}") for one in model[1:])
        assert profile[1]["Fn::Sub"].endswith(":inference-profile/${BedrockProfile}${BedrockModelId}")
        assert profile[2] == {"Ref": "AWS::NoValue"}


def test_plugins_are_called_by_one_worker_and_are_those_of_the_parameter() -> None:
    found = {
        role: (condition, statement["Action"])
        for role, condition, statement in conditional_statements()
        if "PluginFunctionArns" in json.dumps(statement)
    }

    assert found == {"PluginWorkerRole": ("HasPlugins", ["lambda:InvokeFunction"])}
    assert allowing("lambda:InvokeFunction")["PluginWorkerRole"][1]["Resource"] == {"Ref": "PluginFunctionArns"}


def test_users_are_made_by_one_worker_in_one_pool_and_never_deleted_or_signed_in() -> None:
    found = {role: statement for role, (_, statement) in allowing("cognito-idp:Admin").items()}
    maker = found["AccountsWorkerRole"]

    assert found.keys() == {"AccountsWorkerRole", "ConsoleRole"}
    assert set(found["ConsoleRole"]["Action"]) == {"cognito-idp:AdminGetUser", "cognito-idp:AdminListGroupsForUser"}
    assert maker["Resource"] == [get_att("UserPool")]
    assert {action.removeprefix("cognito-idp:Admin") for action in maker["Action"]} == {
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
