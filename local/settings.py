"""Where the local stack lives and listens; environment variables move it, so several fit on a machine."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import boto3

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PUSH_HOST = "push.test"
"""The stand-in of push services, as browsers' subscriptions name it (`core.outbound.local_receivers`)."""
REGION = "us-east-1"
STACK_NAME = "adbot-queue"
# The embedded AWS knows one root user by these; they open nothing else.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Refused(Exception):
    """The local stack cannot run as asked; the message tells the operator what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Directories and ports of one local stack.

    Attributes:
        state: survives a restart: the embedded AWS's state, stack.json, logs.
        port: the API (and console) for people and programs.
        aws_port: the embedded AWS.
        providers_port: stand-ins for payment and mail providers.
        built: deploy what SAM builds, as for the cloud, instead of the source tree.
    """

    state: Path
    port: int
    aws_port: int
    providers_port: int
    built: bool = False

    @classmethod
    def from_environment(cls) -> Settings:
        """Read ADBOT_STATE, ADBOT_API_PORT, ADBOT_AWS_PORT, ADBOT_PROVIDERS_PORT and ADBOT_BUILT.

        Raises:
            Refused: a port is not a number.
        """
        return cls(
            state=Path(os.environ.get("ADBOT_STATE", ROOT / ".local")).resolve(),
            port=_port("ADBOT_API_PORT", 8080),
            aws_port=_port("ADBOT_AWS_PORT", 4566),
            providers_port=_port("ADBOT_PROVIDERS_PORT", 8099),
            built=os.environ.get("ADBOT_BUILT") == "1",
        )

    @property
    def api_url(self) -> str:
        """The API's plain address."""
        return f"http://{HOST}:{self.port}"

    @property
    def console_origin(self) -> str:
        """Where browsers reach the console: the sign-in leads back over plain http to `localhost` alone."""
        return f"http://localhost:{self.port}"

    @property
    def aws_endpoint(self) -> str:
        """Where AWS clients connect."""
        return f"http://{HOST}:{self.aws_port}"

    @property
    def providers_url(self) -> str:
        """Where the stand-ins answer."""
        return f"http://{HOST}:{self.providers_port}"

    def check_ports(self) -> None:
        """Make sure that all ports are free.

        Raises:
            Refused: names the first taken port and the variable that chooses another.
        """
        for name, port in (
            ("ADBOT_API_PORT", self.port),
            ("ADBOT_AWS_PORT", self.aws_port),
            ("ADBOT_PROVIDERS_PORT", self.providers_port),
        ):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise Refused(
                        f"Port {port} on {HOST} is taken ({error.strerror}). Stop what uses it (another `make run`?) "
                        f"or choose another: make run {name.removeprefix('ADBOT_')}={free_port()}"
                    ) from error


def aws(endpoint: str, service: str) -> Any:
    """A boto3 client of an embedded AWS, as its root user."""
    return cast("Any", boto3).client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def sam_program(name: str) -> str:
    """Path of a program of SAM CLI's environment, `.venv-sam`, or of this one where it has SAM CLI itself.

    Raises:
        Refused: SAM CLI is not installed.
    """
    for programs in (ROOT / ".venv-sam" / "bin", Path(sys.executable).parent):
        if (programs / "sam").exists():
            return str(programs / name)
    raise Refused("SAM CLI is not installed: run `make setup`.")


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise Refused(f"{name}={text} is not a port number")
    return int(text)
