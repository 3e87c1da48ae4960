"""`stack.json`: what tests, demo and tools need to know of a running local stack, and what they do with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypedDict

import requests

from local.settings import Refused, Settings, aws

ROLES = ("owner", "admin", "viewer", "sales", "customer")
CLIENTS = ("shop", "engine", "metrics")
"""Machines; each is an app client of the template."""


class User(TypedDict):
    """A seeded user: in the one group of its role, but for the customer, who is in none."""

    username: str
    password: str


class Client(TypedDict):
    """The credentials of a machine."""

    client_id: str
    client_secret: str


class Stack(TypedDict):
    """A running local stack. `outputs` are the outputs of the CloudFormation stack."""

    api_url: str
    console_url: str
    aws_endpoint: str
    providers_url: str
    region: str
    stripe_webhook_secret: str
    sendgrid_webhook_key: str  # private, of the stand-in
    vapid_key: str
    users: dict[str, User]
    clients: dict[str, Client]
    outputs: dict[str, str]


def path(settings: Settings) -> Path:
    """Where the running stack describes itself. It holds passwords: readable by its owner only."""
    return settings.state / "stack.json"


def write(settings: Settings, stack: Stack) -> None:
    """Replace the file in one step."""
    target = path(settings)
    fresh = target.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(stack, file, indent=2)
        file.write("\n")
    fresh.replace(target)


def read(file: Path) -> Stack:
    """The stack described by `file`.

    Raises:
        Refused: there is none.
    """
    try:
        stack: Stack = json.loads(file.read_text())
    except FileNotFoundError:
        raise Refused(f"No local stack has been started ({file} is missing): `make run` first.") from None
    return stack


def client(stack: Stack, service: str) -> Any:
    """A boto3 client of the embedded AWS, as its root user."""
    return aws(stack["aws_endpoint"], service)


def token(stack: Stack, role: str) -> str:
    """A fresh access token, valid for an hour, of the user seeded for `role`.

    Raises:
        Refused: there is no such role.
    """
    if role not in stack["users"]:
        raise Refused(f"ROLE={role} is none of {', '.join(stack['users'])}")
    user = stack["users"][role]
    answer = client(stack, "cognito-idp").admin_initiate_auth(
        UserPoolId=stack["outputs"]["UserPoolId"],
        ClientId=stack["outputs"]["ClientId"],
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": user["username"], "PASSWORD": user["password"]},
    )
    return str(answer["AuthenticationResult"]["AccessToken"])


def client_token(stack: Stack, name: str) -> str:
    """A fresh access token, valid for an hour, of a machine's client.

    Raises:
        Refused: there is no such client.
    """
    if name not in stack["clients"]:
        raise Refused(f"CLIENT={name} is none of {', '.join(stack['clients'])}")
    client = stack["clients"][name]
    answer = requests.post(
        f"{stack['aws_endpoint']}/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(client["client_id"], client["client_secret"]),
        timeout=30,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])
