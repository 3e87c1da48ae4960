"""Clients that other people's generators make from /openapi.json: complete, typed, and answered by our functions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import day, system_clock
from adbot_queue.jobs.store.items import item_of
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.messaging import suppressions
from adbot_queue.testing.harness import Clock
from adbot_queue.testing.in_process_aws import REGION
from local.openapi import DOCUMENT
from tests.builders import job_stream
from tests.builders.analytics import Counting, event
from tests.builders.payments import configure
from tests.builders.world import AwsHarness, world
from tests.clients.bridge import bridge

PYTHON_GENERATOR = "openapi-python-client==0.29.1"
TYPESCRIPT_GENERATOR = ("@hey-api/openapi-ts@0.95.0", "typescript@5.9.3", "@types/node@20.19.0")
HERE = Path(__file__).parent
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation | {"method": method, "path": path}
    for path, methods in json.loads(DOCUMENT.read_text())["paths"].items()
    for method, operation in methods.items()
}
READS = sorted(name for name, operation in OPERATIONS.items() if operation["method"] == "get")

pytestmark = pytest.mark.long


def run(*command: str | Path, cwd: Path, stdin: str | None = None, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, input=stdin, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-10_000:]}\n{done.stderr[-10_000:]}"
    return done.stdout + done.stderr if stdin is None else done.stdout


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[AwsHarness, str]]:
    with world() as made:
        configure()
        aws.s3().create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": REGION})
        with bridge(made) as url:
            yield made, url


@pytest.fixture(scope="module")
def python_client(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The interpreter of the generator's environment, and the folder with the package `generated`."""
    folder = tmp_path_factory.mktemp("python")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", PYTHON_GENERATOR, cwd=folder)
    generate = (folder / "venv" / "bin" / "openapi-python-client", "generate", "--meta", "none")
    said = run(*generate, "--path", DOCUMENT, "--output-path", folder / "generated", cwd=folder)
    assert "WARNING" not in said.upper(), said
    return python, folder


@pytest.fixture(scope="module")
def typescript_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "package.json").write_text('{"private": true, "type": "commonjs"}')
    run("npm", "install", "--no-audit", "--no-fund", *TYPESCRIPT_GENERATOR, cwd=folder)
    run("npx", "openapi-ts", "-i", DOCUMENT, "-o", "generated", cwd=folder)
    return folder


def some_of_everything(on: AwsHarness) -> dict[str, dict[str, str]]:
    """Rows for every read; operation id -> its arguments."""
    on.pool()
    on.upload("s1", "s2")
    bot = on.create(1)
    clock = Clock(system_clock())
    today = day(clock.now)

    def post(function: str, route: str, body: Any) -> Any:
        answer = on.http(function, route, role="owner", body=body)
        assert answer.status < 300, answer.text
        return answer.json

    dead = job_stream.died(job_stream.claimed(job_stream.job(at=clock.now), clock.now), clock.now)
    aws.dynamodb().put_item(TableName=on.env["JOBS_TABLE"], Item=encode(item_of(dead)))
    schedule = {"name": "nightly", "expression": "rate(1 day)", "type": "process-snapshot", "payload": {}}
    post("schedules", "POST /schedules", schedule)
    replay = post("dead_letters", "POST /dead-letters/replays", {"filter": {}, "reason": "mended"})
    plan = {"name": "Pro", "pool": "standard", "required_sessions": 5, "amount": 4900, "currency": "eur"}
    assert on.http("checkout", "PUT /admin/plans/{id}", role="admin", body=plan, id="pro").status == 201
    named: dict[str, dict[str, str]] = {
        "clients": {"name": "Acme"},
        "projects": {"name": "Spring", "client_id": "acme"},
    }
    for kind, body in named.items():
        answer = on.http("lead_queue", f"PUT /leads/{kind}/{{id}}", role="owner", body=body, id=body["name"].lower())
        assert answer.status < 300, answer.text
    lead = post("leads", "POST /leads", {"client_id": "acme", "phone": "+4915112345678", "name": "Cara"})
    upload = on.upload("s3")
    counting = Counting(clock=clock)
    counting.record(event("1", clock.now - 60_000, article="a"))
    counting.run("process-snapshot", {"hour": f"{today}T{clock.now // 3_600_000 % 24:02}"})
    counting.run("rebuild-article-stats", {"article_id": "a"}, "stats")
    counting.run("generate-report", {"report": "analytics"}, "report-1")
    suppressions.from_env().add("email", "cara@example.com", "bounce", clock.now, dead.id)
    texts = messages.from_env()
    texts.begin(dead.id)
    texts.sent(f"SM{'5' * 32}", "sent", dead.id, dead.id)
    return {
        "getAdbot": {"id": bot.id},
        "getOrder": {"id": bot.order_id},
        "getSession": {"id": "s1"},
        "getJob": {"id": dead.id},
        "getQueueStats": {"name": "money"},
        "listJobs": {"long": "true"},
        "listQueueJobs": {"name": "money"},
        "getSchedule": {"name": "nightly"},
        "getDeadLetter": {"id": dead.id},
        "getReplay": {"id": replay["job_id"]},
        "getReport": {"id": "report-1"},
        "getArticleStats": {"id": "a"},
        "getMessage": {"id": dead.id},
        "listDeliveries": {"job_id": dead.id},
        "listSuppressions": {"address": "cara@example.com"},
        "getAnalytics": {"from_": today, "to": today},
        "getUpload": {"id": upload.upload_id},
        "getClient": {"id": "acme"},
        "getProject": {"id": "spring"},
        "getFigures": {"from_": today},
        **{name: {"id": lead["lead_id"]} for name in ("getLead", "listLeadMessages", "listTrail")},
    }


def model_of(operation: str, status: str = "200") -> str:
    """The name of the model that an operation answers with; `str` for text."""
    (content,) = OPERATIONS[operation]["responses"][status]["content"].values()
    return content["schema"]["$ref"].rsplit("/", 1)[1] if "$ref" in content["schema"] else "str"


def test_every_operation_is_in_the_python_client(python_client: tuple[Path, Path]) -> None:
    _, folder = python_client
    made = {path.stem for path in (folder / "generated" / "api").glob("*/*.py")} - {"__init__"}
    assert made == {re.sub("([A-Z])", r"_\1", name).lower() for name in OPERATIONS}


def test_every_get_and_the_kill_switch_answer_typed_objects_in_python(
    served: tuple[AwsHarness, str], python_client: tuple[Path, Path]
) -> None:
    on, url = served
    python, folder = python_client
    arguments = some_of_everything(on)
    switch = {"model": "SetMode", "value": {"mode": "sync_direct", "reason": "a test"}}
    calls = [
        {"operation": name, "tag": OPERATIONS[name]["tags"][0], "arguments": arguments.get(name, {})}
        for name in ["setMode", *READS]
    ]
    calls[0]["body"] = switch
    plan = json.dumps({"url": url, "token": "owner", "calls": calls})
    answers = json.loads(run(python, HERE / "python_driver.py", cwd=folder, stdin=plan, PYTHONPATH=str(folder)))
    assert answers == [
        {"operation": name, "status": 200, "type": model_of(name), "same": True, "detail": None}
        for name in ["setMode", *READS]
    ]


def test_files_are_uploaded_in_python(served: tuple[AwsHarness, str], python_client: tuple[Path, Path]) -> None:
    on, url = served
    python, folder = python_client
    on.pool("files")
    arguments = {"uploadSessions": {"pool": "files"}, "importLeads": {"country": "de"}}
    calls = [
        {"operation": name, "tag": OPERATIONS[name]["tags"][0], "arguments": given, "file": "session_id,token\nf1,x\n"}
        for name, given in arguments.items()
    ]
    plan = json.dumps({"url": url, "token": "owner", "calls": calls})
    answers = json.loads(run(python, HERE / "python_driver.py", cwd=folder, stdin=plan, PYTHONPATH=str(folder)))
    assert [(answer["operation"], answer["status"], answer["type"]) for answer in answers] == [
        ("uploadSessions", 200, "UploadView"),
        ("importLeads", 422, "Problem"),  # the file names no lead's columns
    ]


def test_a_refusal_is_a_problem_with_its_detail_in_python(
    served: tuple[AwsHarness, str], python_client: tuple[Path, Path]
) -> None:
    python, folder = python_client
    calls = [
        {"operation": "getJob", "tag": "Jobs", "arguments": {"id": "none"}},
        {"operation": "getMode", "tag": "System", "arguments": {}},
    ]
    said = []
    for token in ("viewer", "customer"):
        plan = json.dumps({"url": served[1], "token": token, "calls": calls})
        said += json.loads(run(python, HERE / "python_driver.py", cwd=folder, stdin=plan, PYTHONPATH=str(folder)))
    assert [(answer["status"], answer["type"]) for answer in said] == [
        (404, "Problem"),
        (200, "ModeView"),
        (403, "Problem"),
        (403, "Problem"),
    ]
    assert all(answer["detail"] for answer in said if answer["type"] == "Problem")


def test_every_get_and_the_kill_switch_answer_typed_objects_in_typescript(
    served: tuple[AwsHarness, str], typescript_client: Path
) -> None:
    folder = typescript_client
    checks = [
        f"const {name}Is: Same<api.{name[0].upper()}{name[1:]}Responses[200], "
        f"{'string' if model_of(name) == 'str' else f'api.{model_of(name)}'}> = true;\nvoid {name}Is;"
        for name in ["setMode", *READS]
    ]
    (folder / "usage.ts").write_text("\n".join([(HERE / "usage.ts").read_text(), *checks, ""]))
    strict = ("--strict", "--noUncheckedIndexedAccess", "--skipLibCheck", "--target", "es2022", "--module", "commonjs")
    run("npx", "tsc", *strict, "--outDir", "built", "usage.ts", cwd=folder)
    said = json.loads(run("node", "built/usage.js", served[1], "owner", cwd=folder))
    assert said["after"] == "sync_direct"
    assert (said["error"], said["field"], said["typo"]) == (None, "reason", "a test")
