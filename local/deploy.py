"""Build infra/template.yaml and put it onto the embedded AWS; nothing is done when nothing has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.settings import CREDENTIALS, REGION, ROOT, STACK_NAME, Refused, Settings, aws

_BUCKET = "adbot-queue-artifacts"
_SOURCES = (
    "infra/template.yaml",
    "layers/common",
    "functions",
    "local/translate.py",
    "local/deploy.py",
    "requirements-aws.lock",
)


def deploy(settings: Settings, parameters: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """Make the deployed stack equal to the sources.

    Returns:
        The stack's outputs, and whether anything was deployed.

    Raises:
        Refused: build or deployment failed; the message has the reasons.
    """
    cloudformation = aws(settings.aws_endpoint, "cloudformation")
    mark = settings.state / "deployed.sha256"
    fingerprint = _fingerprint(parameters)
    existing = _describe(cloudformation)
    if existing and existing["StackStatus"].endswith("_COMPLETE") and mark.exists() and mark.read_text() == fingerprint:
        return _outputs(existing), False
    print("Deploying infra/template.yaml (the first time takes a minute) ...", flush=True)
    # SAM takes seconds to import, and a start with nothing to deploy does without.
    from local.translate import expand, load  # noqa: PLC0415

    packaged = _build_and_package(settings)
    body = json.dumps(expand(load(packaged.read_text()), parameters))
    _apply(cloudformation, settings, body, parameters, update=existing is not None)
    mark.write_text(fingerprint)
    return _outputs(_describe(cloudformation) or {}), True


def _fingerprint(parameters: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps([dict(sorted(parameters.items())), sys.version]).encode())
    for file in sorted(_files()):
        digest.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _files() -> Iterable[Path]:
    for source in _SOURCES:
        root = ROOT / source
        for file in [root] if root.is_file() else root.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def _build_and_package(settings: Settings) -> Path:
    """Run SAM as for the cloud, but with a layer for this machine's Python, which the embedded AWS runs."""
    for cache in (ROOT / "functions").rglob("__pycache__"):
        shutil.rmtree(cache)  # SAM would pack it
    build = settings.state / "build"
    dependencies = hashlib.sha256(
        (ROOT / "layers/common/requirements.txt").read_bytes() + sys.version.encode()
    ).hexdigest()[:16]
    # Not below the state: stacks of tests come and go, dependencies stay.
    layer = {"LAYER_PYTHON": "host", "LAYER_DEPENDENCIES": str(ROOT / ".aws-sam" / "layer" / dependencies)}
    packaged = settings.state / "packaged.yaml"
    aws(settings.aws_endpoint, "s3").create_bucket(Bucket=_BUCKET)
    _sam(settings, layer, "build", "--build-dir", str(build))
    files = ["--template-file", str(build / "template.yaml"), "--output-template-file", str(packaged)]
    _sam(settings, {}, "package", *files, "--s3-bucket", _BUCKET, "--region", REGION, "--language-extensions")
    return packaged


def _sam(settings: Settings, extra: Mapping[str, str], *arguments: str) -> None:
    """Run SAM CLI; it must not see this machine's own AWS account.

    Raises:
        Refused: it failed; the message has the end of its output.
    """
    programs = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    environment |= {
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
        "AWS_ENDPOINT_URL": settings.aws_endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
        **CREDENTIALS,
        **extra,
    }
    result = subprocess.run(
        [str(programs / "sam"), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    with (settings.state / "log" / "sam.log").open("a") as log:
        log.write(result.stdout + result.stderr)
    if result.returncode:
        raise Refused(f"sam {arguments[0]} failed:\n{(result.stdout + result.stderr)[-3000:]}")


def _apply(cloudformation: Any, settings: Settings, body: str, parameters: Mapping[str, str], *, update: bool) -> None:
    # Too long to be sent along.
    aws(settings.aws_endpoint, "s3").put_object(Bucket=_BUCKET, Key="template.json", Body=body.encode())
    request = {
        "StackName": STACK_NAME,
        "TemplateURL": f"{settings.aws_endpoint}/{_BUCKET}/template.json",
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    try:
        (cloudformation.update_stack if update else cloudformation.create_stack)(**request)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return
        raise Refused(f"the stack was refused: {error} (`make clean` starts afresh)") from error
    deadline = time.monotonic() + 300
    while (stack := _describe(cloudformation) or {}).get("StackStatus", "").endswith("IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise Refused("the stack was not ready within 5 minutes")
        time.sleep(0.1)
    if stack.get("StackStatus") not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
        reasons = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
            for event in events
            if "FAILED" in event["ResourceStatus"]
        ]
        raise Refused("the stack was not deployed:\n" + "\n".join(reasons or [str(stack.get("StackStatusReason"))]))


def _describe(cloudformation: Any) -> dict[str, Any] | None:
    try:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    except ClientError:
        return None
    return stack


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
