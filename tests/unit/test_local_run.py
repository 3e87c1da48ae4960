"""The parts of `make run` that need no embedded AWS: its state's layout, changed files, targets with a kind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local import state, watch
from local.settings import ROOT, Refused


def test_a_new_state_gets_the_layout_of_this_version_and_is_used_again(tmp_path: Path) -> None:
    directory = tmp_path / "state"

    state.claim(directory)
    (directory / "aws").mkdir()
    state.claim(directory)

    assert (directory / "layout").read_text() == f"{state.layout()}\n"


def test_the_layout_names_the_embedded_aws_that_wrote_it() -> None:
    assert "ministack 1." in state.layout()


@pytest.mark.parametrize("mark", [None, "layout 1, ministack 1.5.33", "layout 99, ministack 1.5.33"])
def test_a_state_of_another_layout_is_refused_with_the_way_out_and_left_as_it_was(
    tmp_path: Path, mark: str | None
) -> None:
    (tmp_path / "aws").mkdir()
    if mark:
        (tmp_path / "layout").write_text(mark)
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(Refused, match=f"{mark or 'unknown layout'}.*{state.layout()}.*make clean"):
        state.claim(tmp_path)

    assert sorted(tmp_path.rglob("*")) == before
    assert not mark or (tmp_path / "layout").read_text() == mark


def test_files_of_tools_next_to_the_state_do_not_count_as_state(tmp_path: Path) -> None:
    (tmp_path / "dynamodb-local").mkdir()

    state.claim(tmp_path)

    assert (tmp_path / "layout").exists()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with a module and its bytecode."""
    monkeypatch.setattr(watch, "ROOT", tmp_path)
    for folder in ("layers/common/adbot_queue/__pycache__", "functions/system", "infra"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "functions/system/app.py").write_text("one")
    (tmp_path / "layers/common/adbot_queue/retry.py").write_text("one")
    watch.bytecode(tmp_path / "layers/common/adbot_queue/retry.py").touch()
    return tmp_path


def test_written_added_and_deleted_files_are_reported_once(tree: Path) -> None:
    sources = watch.SourceWatch()
    (tree / "layers/common/adbot_queue/retry.py").write_text("two")
    (tree / "functions/system/openapi.json").touch()
    (tree / "functions/system/app.py").unlink()

    found = sources.changed()

    assert found == [
        "functions/system/app.py",
        "functions/system/openapi.json",
        "layers/common/adbot_queue/retry.py",
    ]
    assert sources.changed() == []


def test_bytecode_is_not_watched_and_that_of_a_changed_module_is_deleted(tree: Path) -> None:
    sources, module = watch.SourceWatch(), tree / "layers/common/adbot_queue/retry.py"
    watch.bytecode(module).write_text("made anew")
    assert sources.changed() == []

    os.utime(module, ns=(0, 0))

    assert sources.changed() == ["layers/common/adbot_queue/retry.py"]
    assert not watch.bytecode(module).exists()


def test_the_template_takes_effect_at_the_next_start(tree: Path) -> None:
    sources = watch.SourceWatch()
    (tree / "infra/template.yaml").touch()

    assert set(sources.changed()) <= set(watch.DEPLOYED)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`make -n`: which commands would run."""
    return subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (("bench", "T=allocation"), "bench.allocation"),
        (("bench-cold",), "bench.cold"),
        (("demo",), "local.demo.main"),
        (("demo", "T=main"), "local.demo.main"),
        (("demo-main",), "local.demo.main"),
    ],
)
def test_a_kind_names_the_module_that_runs(arguments: tuple[str, ...], module: str) -> None:
    assert f"python -m {module}\n" in make(*arguments).stdout


@pytest.mark.parametrize("arguments", [("bench",), ("bench", "T=units"), ("bench-nothing",), ("bench", "T=a b")])
def test_an_unknown_kind_of_benchmark_is_refused_with_those_there_are(arguments: tuple[str, ...]) -> None:
    answer = make(*arguments)

    assert answer.returncode == 2
    assert "T is one of: allocation jobs queues cold" in answer.stderr


def test_an_unknown_kind_of_demo_is_refused_with_those_there_are() -> None:
    answer = make("demo", "T=nothing")

    assert answer.returncode == 2
    assert "T is one of: main" in answer.stderr


def test_the_bill_of_materials_has_each_pinned_package_of_the_layer(tmp_path: Path) -> None:
    bill = tmp_path / "sbom.json"
    (recipe,) = [line for line in make("sbom").stdout.splitlines() if line.startswith("cyclonedx-py ")]

    command = recipe.replace("sbom.json", str(bill)).split()
    subprocess.run([str(Path(sys.executable).with_name(command[0])), *command[1:]], cwd=ROOT, check=True)

    pinned = re.findall(r"^(\S+)==(\S+)", (ROOT / "layers/common/requirements.txt").read_text(), re.MULTILINE)
    found = json.loads(bill.read_text())
    assert found["bomFormat"] == "CycloneDX"
    assert {(part["name"], part["version"]) for part in found["components"]} == set(pinned)
    assert all(part["externalReferences"][0]["hashes"] for part in found["components"])


LOCKS = ("requirements-dev.lock", "requirements-aws.lock", "requirements-sam.lock", "layers/common/requirements.txt")


@pytest.mark.parametrize("lock", LOCKS)
def test_each_pinned_package_has_hashes(lock: str) -> None:
    packages = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.IGNORECASE)[1:]

    assert packages
    assert [package.split()[0] for package in packages if "==" not in package or "--hash=sha256:" not in package] == []


def test_the_layer_has_the_versions_that_the_tests_run_with() -> None:
    def pins(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^(\S+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))

    layer, tools = pins("layers/common/requirements.txt"), pins("requirements-dev.lock")
    assert {name: tools.get(name) for name in layer} == layer


def test_processes_that_tests_start_find_the_project_from_any_directory(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", "import adbot_queue, local, tests"], cwd=tmp_path, check=True)
