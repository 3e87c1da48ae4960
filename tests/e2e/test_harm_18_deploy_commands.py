"""The documented deploy commands, as printed, in a copy of the repository, against an embedded AWS of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.embedded import embedded_aws
from local.settings import CREDENTIALS, REGION, ROOT, Settings, aws, free_port, sam_program

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TRANSFORM = [
    *("samtranslator", "boto3", "s3transfer"),
    *("jsonschema", "jsonschema_specifications", "referencing", "rpds", "attr", "attrs"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions"),
]
"""The embedded AWS runs SAM's transform itself once it finds the translator, and what that needs."""


def commands() -> list[str]:
    """The commands of SAM on the page about deployment."""
    return re.findall(r"^(sam .+)$", (ROOT / "docs" / "how-to" / "deploy.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded AWS with nothing on it."""
    state, packages = tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("packages")
    (installed,) = (Path(sam_program("sam")).parents[1] / "lib").glob("python*/site-packages")
    for name in TRANSFORM:
        (found,) = [path for path in (installed / name, installed / f"{name}.py") if path.exists()]
        (packages / found.name).symlink_to(found)
    settings = Settings(state, free_port(), free_port(), free_port())
    with embedded_aws(settings, packages):
        yield settings.aws_endpoint


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files, without what was built in it."""
    copy = tmp_path_factory.mktemp("clone") / "adbot-queue"
    left_out = shutil.ignore_patterns(".*", "__pycache__")
    for part in ("infra", "functions", "layers"):
        shutil.copytree(ROOT / part, copy / part, ignore=left_out)
    shutil.copy(ROOT / "samconfig.toml", copy)
    return copy


@pytest.fixture(scope="module")
def said(endpoint: str, clone: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """What each command said; one that fails is the last."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAYER_", "MAKE", "SAM_"))
    }
    environment = {
        **kept,
        **CREDENTIALS,
        "PATH": os.pathsep.join(
            [*(str(Path(tool).parent) for tool in (sys.executable, sam_program("sam"))), os.environ["PATH"]]
        ),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
        "LAYER_BYTECODE": "no",  # there may be no Python 3.13 here
    }
    answers: dict[str, subprocess.CompletedProcess[str]] = {}
    for command in commands():
        answers[command] = subprocess.run(
            ["bash", "-c", command],  # noqa: S607
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answers[command].returncode:
            break
    return answers


@pytest.fixture(scope="module")
def stack(endpoint: str, said: Any) -> dict[str, Any]:
    assert said
    found: dict[str, Any] = aws(endpoint, "cloudformation").describe_stacks(StackName="adbot-queue")["Stacks"][0]
    return found


def test_the_page_builds_deploys_and_deploys_again() -> None:
    assert commands()[0] == "sam build"
    assert len([command for command in commands() if command.startswith("sam deploy")]) >= 2


@pytest.mark.parametrize("command", commands())
def test_a_command_runs_as_printed(said: dict[str, subprocess.CompletedProcess[str]], command: str) -> None:
    assert command in said, "a command before it failed"
    answer = said[command]

    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]


def test_the_stack_is_there_with_the_parameters_of_all_commands(stack: dict[str, Any]) -> None:
    given = dict(re.findall(r"(\w+)=(\S+)", " ".join(commands())))

    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert given
    found = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    assert {name: found[name] for name in given} == given


def test_the_outputs_that_readme_speaks_of_are_listed(said: dict[str, subprocess.CompletedProcess[str]]) -> None:
    (answer,) = [answer for command, answer in said.items() if "stack-outputs" in command]

    assert "ApiUrl" in answer.stdout
    assert "StripeSecretId" in answer.stdout


def test_every_function_has_the_layer_and_the_changed_parameter(endpoint: str, stack: dict[str, Any]) -> None:
    assert stack
    stacks = aws(endpoint, "cloudformation").describe_stacks()["Stacks"]
    others = tuple(f"{one['StackName']}{sign}" for one in stacks if one["StackName"] != "adbot-queue" for sign in "-_")
    pages = aws(endpoint, "lambda").get_paginator("list_functions").paginate()
    functions = [one for page in pages for one in page["Functions"] if not one["FunctionName"].startswith(others)]
    reported = {
        function["Environment"]["Variables"]["PUBLIC_API_URL"]
        for function in functions
        if "PUBLIC_API_URL" in function["Environment"]["Variables"]
    }

    assert len(functions) > 30
    assert all(function["Runtime"] == "python3.13" and function["Layers"] for function in functions)
    assert reported == {"https://api.example.com"}


def test_providers_secrets_have_no_value_that_a_deployment_could_write(endpoint: str, stack: dict[str, Any]) -> None:
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    manager = aws(endpoint, "secretsmanager")

    for provider in ("Stripe", "SendGrid", "Segment", "Twilio", "WebPush", "Solana"):
        # The embedded AWS has an empty text where AWS has no value.
        assert not manager.get_secret_value(SecretId=outputs[f"{provider}SecretId"])["SecretString"]
