"""`samconfig.toml`: a stack for each environment, each complete."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from local.settings import ROOT
from tests.support.template import TEMPLATE

CONFIG: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = ("dev", "staging", "prod")
OWN = {"parameter_overrides", "tags"}
"""What one environment says otherwise than the default."""


def commands(environment: str) -> dict[str, dict[str, Any]]:
    return {
        command: {name: value for name, value in about["parameters"].items() if name not in OWN}
        for command, about in CONFIG[environment].items()
        if command != "global"
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_complete(environment: str) -> None:
    assert commands(environment) == commands("default")
    assert set(CONFIG[environment]["deploy"]["parameters"]) >= OWN


def test_each_environment_is_a_stack_of_its_own() -> None:
    stacks = {CONFIG[name]["global"]["parameters"]["stack_name"] for name in ("default", *ENVIRONMENTS)}

    assert len(stacks) == 1 + len(ENVIRONMENTS)
    assert all(len(stack) <= 32 for stack in stacks)  # for which there is room: harm/test_15_room_in_the_template.py


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_parameters_of_an_environment_exist_and_take_their_values(environment: str) -> None:
    for given in CONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]:
        name, _, value = given.partition("=")
        assert value in TEMPLATE["Parameters"][name]["AllowedValues"], given


def test_production_alone_refuses_to_be_deleted() -> None:
    protected = {
        name: "DeletionProtection=true" in CONFIG[name]["deploy"]["parameters"]["parameter_overrides"]
        for name in ENVIRONMENTS
    }

    assert protected == {"dev": False, "staging": False, "prod": True}
