"""The same questions to our stand-in of Bedrock and to the embedded AWS's own, which has the stand-in for a model."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from adbot_queue.core import aws, telemetry
from adbot_queue.integrations.jobs.generate_content import Content
from adbot_queue.integrations.jobs.optimize_seo import Seo
from adbot_queue.platform import call_log as event_log
from adbot_queue.platform.call_log import CallKind
from local.embedded import PYTHON, child, wait_until_listening
from local.settings import HOST, Settings, free_port
from local.stand_ins.app import StandIns
from tests.builders.calls import providers
from tests.builders.processors import failure, run
from tests.builders.world import AwsHarness, world

WRITE = {"kind": "ad", "topic": "Bots that buy tickets", "max_words": 50}
DESCRIBE = {"title": "Bots", "text": "They wait for you."}


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    app = StandIns("http://peers.test", lambda _payload, _headers: 200, lambda: "whsec_test")
    server = make_server(HOST, 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://{HOST}:{server.port}/bedrock"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def embedded(stand_in: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Without IAM: which permission it takes is for the end-to-end tests."""
    settings = Settings(tmp_path_factory.mktemp("bedrock"), free_port(), free_port(), free_port())
    environment = {
        "PATH": os.pathsep.join([str(PYTHON.parent), os.defpath]),
        "HOME": str(settings.state),
        "LANG": "C.UTF-8",
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(settings.aws_port),
        "MINISTACK_BEDROCK_PROXY_URL": stand_in,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    with child([str(PYTHON), "-m", "ministack"], "ministack", settings, environment) as process:
        log = Path(settings.state / "log" / "ministack.log")
        wait_until_listening(settings.aws_port, process, "The embedded AWS", log)
        yield settings.aws_endpoint


@pytest.fixture(params=["stand_in", "embedded"])
def bedrock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsHarness]:
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    base = request.getfixturevalue(request.param)
    aws.bedrock.cache_clear()
    with world() as made, providers(bedrock={"model": "amazon.nova-lite-v1:0", "price": "60/240", "base": base}):
        yield made


@pytest.mark.parametrize(
    ("job_type", "payload", "form"), [("generate-content", WRITE, Content), ("optimize-seo", DESCRIBE, Seo)]
)
def test_a_model_that_must_call_our_tool_answers_in_its_form(
    bedrock: AwsHarness, job_type: str, payload: dict[str, Any], form: Any
) -> None:
    result = run(job_type, payload)

    form.model_validate({name: result[name] for name in form.model_fields})
    (event,) = event_log.from_env().read(CallKind.AI, None, None, 10, None)[0]
    assert (event["stop_reason"], event["outcome"]) == ("tool_use", "answered")
    assert event["cost_microdollars"] > 0


def test_a_model_that_is_down_is_asked_again(bedrock: AwsHarness, request: pytest.FixtureRequest) -> None:
    """The embedded AWS answers with a text of its own then, which has not the form."""
    payload = WRITE | {"topic": f"fail=503x1 {request.node.name}"}

    assert failure("generate-content", payload)[0].kind == "transient"
    assert run("generate-content", payload)["title"]


def test_an_unknown_model_is_refused(bedrock: AwsHarness) -> None:
    with providers(bedrock={"model": "arn:aws:nothing"}):
        assert failure("generate-content", WRITE)[0].kind == "permanent"
