"""Peers: servers which others wrote after a provider's contract, on loopback, for `make test-providers`.

What our stand-ins promise is held against them. Each is a context manager that yields the peer's address; it ends with
the block, and also when this process is killed: the server's standard input ends then. What comes from npm is pinned
by `npm/package-lock.json`, with the integrity of every package, and is fetched once into `.local/peers`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from local.settings import ROOT, free_port
from tests.support import published

PINNED = Path(__file__).with_name("npm")
LOCK = PINNED / "package-lock.json"
HOME = ROOT / ".local" / "peers" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
START_SECONDS = 60


def lacking() -> str | None:
    """Why peers cannot run here, None when they can."""
    if not shutil.which("node"):
        return "the providers' peers need Node.js 20 or later: node is not on the PATH"
    if not (HOME.is_dir() and published.there()) and not shutil.which("npm"):
        return "the providers' peers are fetched once with npm: npm is not on the PATH"
    return None


@contextmanager
def localstripe() -> Iterator[str]:
    """Stripe, an empty account. No idempotency keys, no transfers, payouts in EUR only, refunds without a limit."""
    with _serving(sys.executable, "-m", "tests.support.localstripe_server") as base:
        yield base


@contextmanager
def prism(provider: str, *paths: str, errors: bool = True) -> Iterator[str]:
    """A server that holds requests against a provider's published schema and answers by the schema's examples.

    Args:
        provider: as `published.schema_of`.
        paths: those to serve, as the schema has them with the server's own path before them: `/v3/mail/send`. None:
            all, which takes seconds longer to start.
        errors: answer 422 to what is wrong; otherwise Prism only says so in headers (`sl-violations`).
    """
    with tempfile.TemporaryDirectory() as scratch:
        document = Path(scratch) / "schema.json"
        document.write_text(json.dumps(_only(published.schema_of(provider), paths)))
        command = ["mock", "--port", str(free_port()), *(["--errors"] if errors else []), str(document)]
        with _node("@stoplight/prism-cli/dist/index.js", *command) as base:
            yield base


@contextmanager
def web_push() -> Iterator[str]:
    """A push service with its browsers: POST /subscribe, and POST /get-notifications has what they could decrypt."""
    with _node("web-push-testing/src/bin/server.js", str(free_port())) as base:
        yield base


def _only(schema: published.Schema, paths: Collection[str]) -> published.Schema:
    if unknown := set(paths) - set(schema["paths"]):
        raise KeyError(f"the schema has no {', '.join(sorted(unknown))}")
    return schema | {"paths": {path: schema["paths"][path] for path in paths}} if paths else schema


@contextmanager
def _node(script: str, *arguments: str) -> Iterator[str]:
    _install()
    loopback = str(PINNED / "loopback.cjs")
    with _serving("node", "--require", loopback, str(HOME / "node_modules" / script), *arguments) as base:
        yield base


@contextmanager
def _serving(*command: str) -> Iterator[str]:
    if reason := lacking():
        raise RuntimeError(reason)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
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
        for pipe in (process.stdin, process.stdout):
            assert pipe
            pipe.close()


def _port(process: subprocess.Popen[str], output: IO[str]) -> int:
    """The port from the server's first lines; keeps reading the rest, so that the pipe never fills."""
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    said: list[str] = []
    try:
        for line in output:
            if line.startswith("listening on "):
                threading.Thread(target=_drain, args=[output], daemon=True).start()
                return int(line.split()[-1])
            said.append(line)
    finally:
        watchdog.cancel()
    raise RuntimeError(f"{process.args[:4]!r} did not start:\n{''.join(said[-20:])}")


def _drain(output: IO[str]) -> None:
    try:
        for _ in output:
            pass
    except ValueError:  # closed, at the end
        return


@cache
def _install() -> None:
    """Fetch what the lock names, once; a second process that does it at the same time does no harm."""
    if HOME.is_dir():
        return
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
        work = Path(scratch) / "work"
        shutil.copytree(PINNED, work)
        published.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=work)
        try:
            work.rename(HOME)
        except OSError:
            if not HOME.is_dir():
                raise
