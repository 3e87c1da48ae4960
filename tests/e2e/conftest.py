"""The deployed template, over real HTTP: on the stack that ADBOT_STACK names, or on one of these tests' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local import stack as stacks
from local.settings import ROOT, free_port
from local.stack import Stack
from tests.builders.receiver import Receiver, receiving

FOLDER = str(Path(__file__).parent) + os.sep
ON_THE_SECOND = {
    "test_ai_plugins_users.py",
    "test_dead_letters.py",
    "test_delivery.py",
    "test_edges.py",
    "test_harm_15_parameters.py",
    "test_lead_queue.py",
    "test_leads.py",
    "test_source_tree.py",
}
"""About half of the time of all."""
START_SECONDS = 240
STOP_SECONDS = 150
RECEIVER_HOST = "hooks.test"
"""The name under which the stack reaches the receiver of these tests."""
PLUGIN_ARN = "arn:aws:lambda:us-east-1:000000000000:function:e2e-plugin"
"""A function that the tests of plugins create; the stack knows it when it is deployed."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is in this folder needs a stack. There are two, for a worker each: most of the time is waiting."""
    for item in items:
        if str(item.path).startswith(FOLDER):
            item.add_marker("e2e")
            if not item.get_closest_marker("xdist_group"):
                group = "second stack" if item.path.name in ON_THE_SECOND else "stack"
                item.add_marker(pytest.mark.xdist_group(group))
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(START_SECONDS + 120))  # the first of them waits for the start
    # What asks everything leaves things behind that others might count; what reads the logs reads those of all.
    last = {"test_contract.py": 1, "test_logs.py": 2}
    places = [place for place, item in enumerate(items) if str(item.path).startswith(FOLDER)]
    in_order = sorted((items[place] for place in places), key=lambda item: last.get(item.path.name, 0))
    for place, item in zip(places, in_order, strict=True):
        items[place] = item


class LocalStack:
    """`python -m local` on free ports, with a state of its own: what SAM builds, or the source tree as it is."""

    def __init__(self, state: Path, root: Path = ROOT, *, built: bool = True) -> None:
        ports = {name: str(free_port()) for name in ("ADBOT_API_PORT", "ADBOT_AWS_PORT", "ADBOT_PROVIDERS_PORT")}
        self.receiver_port = free_port()  # where tests may receive webhooks
        receivers = {"LOCAL_RECEIVERS": f"{RECEIVER_HOST}={self.receiver_port}"}
        plugins = {"PLUGIN_FUNCTION_ARNS": PLUGIN_ARN, "ALARM_CHAT_URL": f"https://{RECEIVER_HOST}/chat/s3cret"}
        own = {"ADBOT_STATE": str(state), "ADBOT_PLAY": "0", "ADBOT_BUILT": str(int(built))}
        paths = {"PYTHONPATH": f"{root / 'layers' / 'common'}{os.pathsep}{root}"}
        self.environment = {**os.environ, **ports, **receivers, **plugins, **own, **paths}
        self.root, self.state = root, state
        self.receiver: Receiver | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Return the seconds it took until it was ready."""
        began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local"],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        said = ""
        assert self._process.stdout
        for line in self._process.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                timer.cancel()
                return time.monotonic() - began
        timer.cancel()
        pytest.fail(f"the local stack did not start:\n{said}")

    def stop(self) -> int:
        """Return its exit code."""
        assert self._process
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=STOP_SECONDS)
        assert "is killed" not in said, said  # its state would be that of some time before
        return self._process.returncode

    def read(self) -> Stack:
        """What it says of itself."""
        return stacks.read(self.state / "stack.json")


@pytest.fixture(scope="package")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack | None]:
    """The stack that these tests started themselves; None when they use a running one."""
    if os.environ.get("ADBOT_STACK"):
        yield None
        return
    started = LocalStack(tmp_path_factory.mktemp("stack"))
    # It listens all the time: alarms of any test are posted to its host, and a refusal would open the host's circuit.
    with receiving(port=started.receiver_port) as started.receiver:
        started.start()
        yield started
        started.stop()


@pytest.fixture(scope="package")
def stack(own_stack: LocalStack | None) -> Stack:
    """A running stack."""
    return own_stack.read() if own_stack else stacks.read(Path(os.environ["ADBOT_STACK"]))


class Api:
    """The HTTP API, called with one of the roles or (None) without a token."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._tokens: dict[str, str] = {}

    def token(self, role: str) -> str:
        """A bearer token of a role."""
        return self._tokens.get(role) or self._tokens.setdefault(role, stacks.token(self._stack, role))

    def __call__(self, role: str | None, method: str, path: str, **request: Any) -> requests.Response:
        """Send a request; arguments as `requests` takes them."""
        headers = dict(request.pop("headers", {}))
        if role:
            headers["authorization"] = f"Bearer {self.token(role)}"
        return requests.request(method, self._stack["api_url"] + path, headers=headers, timeout=60, **request)


@pytest.fixture(scope="package")
def api(stack: Stack) -> Api:
    return Api(stack)


@pytest.fixture(scope="package")
def aws(stack: Stack) -> Callable[[str], Any]:
    """boto3 clients of the embedded AWS's root user, by service."""
    clients: dict[str, Any] = {}
    return lambda service: clients.get(service) or clients.setdefault(service, stacks.client(stack, service))


def eventually(check: Callable[[], Any], seconds: float = 30, every: float = 0.2) -> Any:
    """The first true answer of `check`; the test fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(every)
    pytest.fail(f"did not happen within {seconds} s")


@pytest.fixture(scope="package", name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


def deployed(aws: Callable[[str], Any], function: str) -> str:
    """The physical name of a function of the template."""
    answer = aws("cloudformation").describe_stack_resource(
        StackName="adbot-queue", LogicalResourceId=f"{function}Function"
    )
    return str(answer["StackResourceDetail"]["PhysicalResourceId"])


def sweep(aws: Callable[[str], Any]) -> None:
    """What the sweeper's own schedule does every minute."""
    answer = aws("lambda").invoke(FunctionName=deployed(aws, "SweepJobs"), Payload=b"{}")
    assert "FunctionError" not in answer, answer["Payload"].read()
