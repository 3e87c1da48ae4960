"""The embedded AWS (ministack) as a child process: IAM enforced, on loopback, state kept at an orderly stop."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from local.settings import CREDENTIALS, HOST, PUSH_HOST, REGION, ROOT, Refused, Settings

PYTHON = ROOT / ".venv-aws" / "bin" / "python"

_WAY_OUT = {"HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
_START_SECONDS = 60
_STOP_SECONDS = 120
"""The usual stop takes two; a large state on a busy disk is still to be saved."""


@contextmanager
def embedded_aws(settings: Settings, path: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the embedded AWS while the block runs.

    Args:
        settings: where it keeps its state and listens.
        path: directory of further packages for it.

    Raises:
        Refused: it is not installed or did not start; the message names its log.
    """
    if not PYTHON.exists():
        raise Refused("The embedded AWS is not installed: run `make setup`.")
    scratch = settings.state / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)  # workers of a run that was killed leave their unpacked code here
    scratch.mkdir(parents=True)
    _follow_port(settings)
    _forget_stream_positions(settings.state / "aws" / "lambda.json")
    environment = {
        # Lambda workers inherit this environment, so of the operator's own only the way to real providers is passed on.
        **{name: value for name, value in os.environ.items() if name in _WAY_OUT},
        "PATH": os.pathsep.join([str(PYTHON.parent), os.defpath]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        **CREDENTIALS,
        # Where webhooks and notifications for these names end: nothing else leads from the API to this machine.
        "LOCAL_RECEIVERS": f"{PUSH_HOST}={settings.providers_port},{os.environ.get('LOCAL_RECEIVERS', '')}",
        "AUTH": "true",
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(settings.aws_port),
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(settings.state / "aws"),
        # These would listen on all interfaces.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        **({"PYTHONPATH": str(path)} if path else {}),
    }
    try:
        with child(
            [str(PYTHON), "-m", "local.aws_process"], "ministack", settings, environment, _STOP_SECONDS
        ) as process:
            log = settings.state / "log" / "ministack.log"
            wait_until_listening(settings.aws_port, process, "The embedded AWS", log)
            yield process
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _follow_port(settings: Settings) -> None:
    """Have a kept state fit the port that is asked for now.

    The embedded AWS knows its queues by addresses that contain its port; consumers do not find them under another.
    """
    mark = settings.state / "aws_port"
    former = mark.read_text() if mark.exists() else str(settings.aws_port)
    if former != str(settings.aws_port):
        for file in (settings.state / "aws").glob("*.json"):
            file.write_text(file.read_text().replace(f"localhost:{former}", f"localhost:{settings.aws_port}"))
    mark.write_text(str(settings.aws_port))


def _forget_stream_positions(state: Path) -> None:
    """Have stream consumers start at the beginning of what is there after a restart.

    The embedded AWS keeps how many records of a table's stream were read, but not the records: it would skip as many
    new ones.
    """
    if state.exists():
        saved = json.loads(state.read_text())
        if saved.get("payload", saved).pop("dynamodb_stream_positions", None):
            state.write_text(json.dumps(saved))


@contextmanager
def child(
    command: list[str], name: str, settings: Settings, environment: Mapping[str, str], stop_seconds: float = 5
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs, logging to `log/<name>.log`; afterwards no process of its group is left.

    It gets a group of its own, so that Ctrl-C reaches only this process, which then stops its children in order.
    """
    log = settings.state / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "PYTHONTZPATH": ""},  # zones come from the pinned tzdata, not from this machine
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            print(
                f"{name} did not stop within {stop_seconds} s and is killed; its latest state may be lost.",
                file=sys.stderr,
            )
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with_parent() -> None:
    """Have Linux send SIGTERM when the parent is gone, so that even `kill -9` of it leaves no server behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def wait_until_listening(port: int, process: subprocess.Popen[bytes], what: str, log: Path) -> None:
    """Return when something answers on `port`.

    Raises:
        Refused: the process ended, or a minute passed.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise Refused(f"{what} did not start; see {log}")
