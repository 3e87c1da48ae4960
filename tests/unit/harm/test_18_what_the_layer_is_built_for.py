"""Functions run on what their layer is built for, and the layer has bytecode unless someone does without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.settings import ROOT
from local.translate import load, unroll

TEMPLATE = unroll(load((ROOT / "infra" / "template.yaml").read_text()))
LAYER = ROOT / "layers" / "common"
MAKEFILE = (LAYER / "Makefile").read_text()
NO_PYTHON = "3.99"


def default(variable: str) -> str:
    found = re.search(rf"^{variable} \?= (\S+)$", MAKEFILE, re.MULTILINE)
    assert found
    return found[1]


def build(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the layer with dependencies that are there already."""
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    (dependencies / ".complete").touch()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LAYER_", "MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "-C", str(LAYER), "build-CommonLayer", f"ARTIFACTS_DIR={tmp_path / 'layer'}"],  # noqa: S607
        env={**clean, "PATH": path, "LAYER_DEPENDENCIES": str(dependencies), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def bytecode(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "layer" / "python" / "adbot_queue").rglob("*.pyc"))


def test_runtime_and_architecture_are_those_of_the_layer() -> None:
    function = TEMPLATE["Globals"]["Function"]
    layer = TEMPLATE["Resources"]["CommonLayer"]["Properties"]
    architecture = {"aarch64": "arm64", "x86_64": "x86_64"}[default("LAYER_PLATFORM").partition("-")[0]]

    assert function["Runtime"] == f"python{default('LAYER_PYTHON')}"
    assert function["Architectures"] == [architecture]
    assert layer["CompatibleRuntimes"] == [function["Runtime"]]
    assert layer["CompatibleArchitectures"] == [architecture]
    assert not {"PythonRuntime", "Architecture"} & TEMPLATE["Parameters"].keys()


def functions() -> dict[str, dict[str, Any]]:
    return {name: item for name, item in TEMPLATE["Resources"].items() if item["Type"] == "AWS::Serverless::Function"}


@pytest.mark.parametrize("name", sorted(functions()))
def test_no_function_chooses_another_runtime(name: str) -> None:
    properties = functions()[name]["Properties"]

    assert properties.get("Runtime", "python3.13") == TEMPLATE["Globals"]["Function"]["Runtime"]
    assert "Architectures" not in properties


def test_a_build_without_bytecode_stops_and_says_what_to_do(tmp_path: Path) -> None:
    said = build(tmp_path, LAYER_PYTHON=NO_PYTHON)

    assert said.returncode != 0
    assert f"No Python {NO_PYTHON} on this machine" in said.stderr
    assert "LAYER_BYTECODE=no" in said.stderr
    assert not (tmp_path / "layer").exists()


@pytest.mark.parametrize("value", ["yes", "", "0", "No"])
def test_nothing_but_no_lets_a_build_without_bytecode_pass(tmp_path: Path, value: str) -> None:
    assert build(tmp_path, LAYER_PYTHON=NO_PYTHON, LAYER_BYTECODE=value).returncode != 0


def test_a_build_without_bytecode_passes_where_that_is_asked_for(tmp_path: Path) -> None:
    said = build(tmp_path, LAYER_PYTHON=NO_PYTHON, LAYER_BYTECODE="no")

    assert said.returncode == 0, said.stderr
    assert (tmp_path / "layer" / "python" / "adbot_queue" / "core" / "http.py").exists()
    assert not (tmp_path / "layer" / "python" / "adbot_queue" / "testing").exists()
    assert bytecode(tmp_path) == []


def test_a_build_with_the_python_at_hand_has_bytecode(tmp_path: Path) -> None:
    said = build(tmp_path, LAYER_PYTHON=f"{sys.version_info.major}.{sys.version_info.minor}")

    assert said.returncode == 0, said.stderr
    assert bytecode(tmp_path)
