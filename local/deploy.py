"""Put infra/template.yaml onto the embedded AWS; nothing is done when nothing has changed.

`make run` deploys packages that point at the source tree, so that a changed line runs without a deployment. With
`ADBOT_BUILT=1`, as in the end-to-end tests, SAM builds the packages as for the cloud.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.settings import CREDENTIALS, REGION, ROOT, STACK_NAME, Refused, Settings, aws, sam_program
from local.translate import Template, expand, load, place_code, unroll

_BUCKET = "adbot-queue-artifacts"
_TEMPLATE = ROOT / "infra" / "template.yaml"
_LAYER = ROOT / "layers" / "common"
_DEPLOYED = (
    "infra/template.yaml",
    "layers/common/requirements.txt",
    "local/translate.py",
    "local/aws_http_api.py",
    "local/deploy.py",
    "requirements-aws.lock",
)
"""What a deployment consists of when the packages point at the sources."""
_BUILT = ("layers/common", "functions")
"""Further inputs of SAM's packages."""


def deploy(settings: Settings, parameters: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """Make the deployed stack equal to the template and its parameters.

    Returns:
        The stack's outputs, and whether anything was deployed.

    Raises:
        Refused: build or deployment failed; the message has the reasons.
    """
    cloudformation = aws(settings.aws_endpoint, "cloudformation")
    mark = settings.state / "deployed.sha256"
    fingerprint = _fingerprint(settings, parameters)
    existing = _describe(cloudformation)
    if existing and existing["StackStatus"].endswith("_COMPLETE") and mark.exists() and mark.read_text() == fingerprint:
        return _outputs(existing), False
    aws(settings.aws_endpoint, "s3").create_bucket(Bucket=_BUCKET)
    template = _build_and_package(settings) if settings.built else _point_at_sources(settings)
    print("Expanding infra/template.yaml ...", flush=True)
    body = expand(template, parameters)
    print(f"Deploying {len(body['Resources'])} resources ...", flush=True)
    _apply(cloudformation, settings, json.dumps(body), parameters, update=existing is not None)
    mark.write_text(fingerprint)
    return _outputs(_describe(cloudformation) or {}), True


def _fingerprint(settings: Settings, parameters: Mapping[str, str]) -> str:
    facts = [dict(sorted(parameters.items())), sys.version, str(ROOT), settings.built]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for file in sorted(_files((*_DEPLOYED, *_BUILT) if settings.built else _DEPLOYED)):
        digest.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _files(sources: Iterable[str]) -> Iterable[Path]:
    for source in sources:
        root = ROOT / source
        for file in [root] if root.is_file() else root.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def _dependencies() -> Path:
    """Where the layer's dependencies for this machine's Python are: not in the state, which comes and goes."""
    pinned = (_LAYER / "requirements.txt").read_bytes() + sys.version.encode()
    return ROOT / ".aws-sam" / "layer" / hashlib.sha256(pinned).hexdigest()[:16]


def _layer_settings() -> dict[str, str]:
    return {"LAYER_PYTHON": "host", "LAYER_DEPENDENCIES": str(_dependencies())}


def _point_at_sources(settings: Settings) -> Template:
    """Give each function a package that names its folder, and the layer one that puts that folder on the path.

    The layer's package adds the layer's own sources and dependencies too. The embedded AWS runs a function in its
    unpacked package and reads `.pth` files of layers, so nothing of this project is copied.
    """
    complete = _dependencies() / ".complete"
    if not complete.exists():
        print("Installing the layer's dependencies ...", flush=True)
        _run(settings, _layer_settings(), "make", "-s", "-C", str(_LAYER), str(complete))
    function = "*([open('SOURCE').read()] if os.path.exists('SOURCE') else [])"
    path = f"[{function}, {str(_LAYER)!r}, {str(_dependencies())!r}]"
    layer = {"python/lib/local/site-packages/sources.pth": f"import os, sys; sys.path[:0] = {path}\n".encode()}
    store = partial(_store, aws(settings.aws_endpoint, "s3"))

    def package(folder: str) -> str:
        source = (_TEMPLATE.parent / folder).resolve()
        return store(layer if source == _LAYER else {"SOURCE": str(source).encode()})

    template = unroll(load(_TEMPLATE.read_text()))
    place_code(template, package)
    return template


def _store(s3: Any, files: Mapping[str, bytes]) -> str:
    """Put a package with these files into the bucket under a name that follows from them; return its address."""
    digest = hashlib.sha256()
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        for name, content in sorted(files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            package.writestr(name, content)
    key = f"{digest.hexdigest()[:32]}.zip"
    s3.put_object(Bucket=_BUCKET, Key=key, Body=archive.getvalue())
    return f"s3://{_BUCKET}/{key}"


def _build_and_package(settings: Settings) -> Template:
    """Run SAM as for the cloud, but with a layer for this machine's Python, which the embedded AWS runs.

    `sam package` takes seven seconds for what follows the build, and leaves a temporary folder for each package.
    """
    print("Building with SAM ...", flush=True)
    build = (settings.state / "build").resolve()
    _run(settings, _layer_settings(), sam_program("sam"), "build", "--build-dir", str(build))
    store = partial(_store, aws(settings.aws_endpoint, "s3"))

    def package(folder: str) -> str:
        source = (build / folder).resolve()
        # SAM builds the layer, with its bytecode; functions are in the source tree, next to what tests have compiled.
        is_built = source.is_relative_to(build)
        files = (file for file in source.rglob("*") if file.is_file() and (is_built or "__pycache__" not in file.parts))
        return store({str(file.relative_to(source)): file.read_bytes() for file in files})

    template = unroll(load((build / "template.yaml").read_text()))
    place_code(template, package)
    return template


def _run(settings: Settings, extra: Mapping[str, str], *command: str) -> None:
    """Run a build tool; it must not see this machine's own AWS account.

    Raises:
        Refused: it failed; the message has the end of its output.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "AWS_ENDPOINT_URL": settings.aws_endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
        **CREDENTIALS,
        **extra,
    }
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    with (settings.state / "log" / "build.log").open("a") as log:
        log.write(result.stdout + result.stderr)
    if result.returncode:
        tool = f"{Path(command[0]).name} {command[1]}"
        raise Refused(f"{tool} failed:\n{(result.stdout + result.stderr)[-3000:]}")


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
