"""`make run` serves the source tree: a changed line runs without a deployment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local import state
from local.settings import ROOT
from tests.e2e.conftest import LocalStack

COPIED = ("events", "functions", "infra", "layers", "local")
LINKED = (".venv", ".venv-aws", ".venv-sam", ".aws-sam")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a run reads, to be edited; installed packages are shared."""
    copy = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements-aws.lock", copy)
    (ROOT / ".aws-sam").mkdir(exist_ok=True)
    for name in LINKED:
        (copy / name).symlink_to(ROOT / name)
    return copy


@pytest.fixture(scope="module")
def running(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack that serves the copy."""
    started = LocalStack(tmp_path_factory.mktemp("state"), tree, built=False)
    started.start()
    yield started
    assert started.stop() == 0


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, file
    file.write_text(text.replace(old, new))


def test_a_changed_line_of_the_layer_and_of_a_function_runs_without_a_deployment(
    running: LocalStack, tree: Path, eventually: Callable[..., Any]
) -> None:
    api = running.read()["api_url"]
    assert requests.get(f"{api}/health", timeout=30).json() == {"status": "ok"}

    edit(
        tree / "layers/common/adbot_queue/operations/system_schemas.py", 'status: str = "ok"', 'status: str = "changed"'
    )
    eventually(lambda: requests.get(f"{api}/health", timeout=30).json() == {"status": "changed"})

    edit(tree / "functions/system/app.py", "max-age=300", "max-age=301")
    eventually(lambda: "301" in requests.get(f"{api}/openapi.json", timeout=30).headers["cache-control"])

    # Of the same length and perhaps within the same second, which bytecode does not tell apart.
    edit(tree / "functions/system/app.py", "max-age=301", "max-age=302")
    eventually(lambda: "302" in requests.get(f"{api}/openapi.json", timeout=30).headers["cache-control"])


def test_permissions_are_enforced_on_the_source_tree(running: LocalStack) -> None:
    answer = requests.get(f"{running.read()['api_url']}/admin/queue/stats", timeout=30)

    assert answer.status_code == 401


def test_the_state_names_its_layout(running: LocalStack) -> None:
    assert (running.state / "layout").read_text().strip() == state.layout()
