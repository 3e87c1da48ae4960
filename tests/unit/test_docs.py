"""The documentation holds: links, paths, targets, routes, metrics and settings exist, code blocks run."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from adbot_queue.jobs import job_types
from local.json_schema import jsonschema
from local.openapi import load_app
from local.settings import ROOT
from tests.builders.jobs import Jobs, known_types
from tests.builders.world import AwsHarness

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/*/*.md", "findings/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "api.md"  # generated from the routes
)
CURRENT = [path for path in PAGES if path.name != "CHANGELOG.md"]
"""Pages that describe what is; the others may name what was."""
TO_RUN = [path for path in PAGES if path.parent.name == "how-to" or path.name in {"README.md", "getting-started.md"}]

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROUTE = re.compile(r"\b(GET|POST|PUT|DELETE)(?:\|(GET|POST|PUT|DELETE))? (/[^\s`\"']*)")
PATH = re.compile(r"(?<![\w/.<-])([\w.-]+/)*[\w.-]+\.(?:py|md|ya?ml|sh|toml|json|txt|lock|j2)\b")
MAKE = re.compile(r"\bmake ((?:-\w )?[a-z][a-z-]*)((?: [A-Z_]+=\S+)*)")

OPENAPI: dict[str, Any] = json.loads((ROOT / "functions" / "system" / "openapi.json").read_text())
CONSOLE = load_app(ROOT / "functions" / "console" / "app.py").console.routes
OURS = ROOT / "layers" / "common" / "adbot_queue"
NAMES = {
    path.name
    for folder in ("", "layers", "functions", "infra", "local", "tests", "bench", "docs", "findings", "examples")
    for path in (ROOT / folder).glob("**/*" if folder else "*")
}
"""Names of the project's files, for those that a page names without their folder."""
WRITTEN_BY_READERS = {"greet.py", "test_greet.py", "archive_notes.py", "stack.json", "sbom.json", "ministack.log"}
"""Files that a reader, a build or a run makes."""

RECORD = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv) + "\\n")
print("answer")
"""


def pages(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", paths, ids=lambda path: str(path.relative_to(ROOT)))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def code_of(page: Path) -> list[str]:
    """Everything on a page that is set as code: its blocks and its spans."""
    text = page.read_text()
    blocks = [block for _, language, block in FENCE.findall(text) if language != "mermaid"]
    return blocks + SPAN.findall(FENCE.sub("", text))


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(page, block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in TO_RUN
        for number, (_, found, block) in enumerate(FENCE.findall(page.read_text()))
        if found == language
    ]


def is_declared(method: str, path: str) -> bool:
    """Whether a route of the API has this form; names of parameters are free."""
    wanted = re.sub(r"\{[^}]*\}|<[^>]*>|\$\w+|…", "{}", path.split("?", maxsplit=1)[0].rstrip("/.,:;)"))
    return any(
        method.lower() in operations
        and re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(declared)), wanted or "/")
        for declared, operations in OPENAPI["paths"].items()
    ) or any(route.key == f"{method} {wanted}" for route in CONSOLE)


@pages(PAGES)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE) if found.suffix == ".md" else []
        if not found.exists() or (anchor and anchor not in map(slug, headings)):
            broken.append(target)

    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        todo += [
            (page.parent / target.split("#")[0]).resolve()
            for target in LINK.findall(page.read_text())
            if "://" not in target and target.split("#")[0]
        ]

    assert set(PAGES) - reached == set()


@pages(CURRENT)
def test_routes_exist(page: Path) -> None:
    found = [(method, path) for code in code_of(page) for pair in ROUTE.findall(code) for method, path in both(pair)]

    assert [route for route in found if not is_declared(*route)] == []


def both(pair: tuple[str, str, str]) -> list[tuple[str, str]]:
    """`GET|DELETE /x` names two routes."""
    return [(method, pair[2]) for method in pair[:2] if method]


@pages(CURRENT)
def test_files_exist(page: Path) -> None:
    places = (ROOT, OURS, OURS.parent, page.parent)
    missing = []
    for code in code_of(page):
        for match in PATH.finditer(code):
            name = match.group()
            if Path(name).name in WRITTEN_BY_READERS or ("/" not in name and name in NAMES):
                continue
            if not any((place / name).exists() for place in places):
                missing.append(name)

    assert missing == []


@pages(CURRENT)
def test_make_targets_exist(page: Path) -> None:
    named = [match for code in code_of(page) for match in MAKE.findall(code)]

    assert [match for match in named if not target_exists(*match)] == []


def target_exists(target: str, settings: str) -> bool:
    name = target.rsplit(maxsplit=1)[-1]
    given = dict(part.split("=", 1) for part in settings.split())
    folders = {"bench": ROOT / "bench", "demo": ROOT / "local" / "demo"}
    if name in folders and "T" in given and given["T"].isidentifier():
        return (folders[name] / f"{given['T']}.py").exists()
    return re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None


def test_settings_are_the_templates_parameters() -> None:
    class Loader(yaml.SafeLoader):
        """Reads what is not about AWS."""

    Loader.add_multi_constructor("!", lambda *_: None)
    template = yaml.load((ROOT / "infra" / "template.yaml").read_text(), Loader)  # noqa: S506
    rows = [
        f"| `{name}` | {'empty' if about['Default'] == '' else '`' + str(about['Default']) + '`'} "
        f"| {' '.join(about['Description'].split())} |"
        for name, about in template["Parameters"].items()
    ]

    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_metrics_are_those_that_the_code_counts() -> None:
    sources = "\n".join(path.read_text() for folder in (OURS, ROOT / "functions") for path in folder.rglob("*.py"))
    counted = set(re.findall(r"\b(?:count|gauge)\(\s*\"([A-Z]\w+)\"", sources))
    _, cloudwatch = (ROOT / "docs" / "reference" / "metrics.md").read_text().split("## CloudWatch")

    rows = [line for line in cloudwatch.splitlines() if line.startswith("| ")]
    assert {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)} == counted


def test_prometheus_metrics_are_those_that_the_code_names() -> None:
    source = (OURS / "operations" / "prometheus.py").read_text()
    gauges = set(re.findall(r"\"(adbot_\w+)\"", source)) - {"adbot_jobs_ended"}
    counters = {f"adbot_jobs_{name}_total" for name in re.findall(r"^    \"(\w+)\": \"", source, re.MULTILINE)}
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()

    assert set(re.findall(r"`(adbot_\w+)`", page)) == gauges | counters | {"adbot_jobs_ended_total"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of commands that write down how they were called, and do nothing."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("curl", "make", "sam", "aws", "pip", "python"):
        (folder / name).write_text(RECORD.format(python=sys.executable))
        (folder / name).chmod(0o755)
    return folder


def calls_of(block: str, commands: Path, directory: Path) -> list[list[str]]:
    """Run a shell block in an empty folder; the commands that it called."""
    log = directory / "calls"
    environment = {"PATH": f"{commands}:{os.environ['PATH']}", "CALLS": str(log), "API": "https://api.test"}
    environment |= {"TOKEN": "token", "JOB_ID": "job", "DLQ_URL": "https://sqs.test/queue"}
    shell = ["/bin/bash", "-euo", "pipefail", "-c", block]
    ran = subprocess.run(shell, env=environment, cwd=directory, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    lines = log.read_text().splitlines() if log.exists() else []
    return [[Path(arguments[0]).name, *arguments[1:]] for arguments in map(json.loads, lines)]


def request_of(arguments: list[str]) -> tuple[str, str, str | None]:
    """Method, path and body of a call of curl."""
    options, address = {}, ""
    rest = iter(arguments)
    for argument in rest:
        if argument in {"-X", "-d", "-H"}:
            options[argument] = next(rest)
        elif not argument.startswith("-"):
            address = argument
    method = options.get("-X", "POST" if "-d" in options else "GET")
    return method, re.sub(r"^https?://[^/]+", "", address), options.get("-d")


@pytest.mark.parametrize(("page", "block"), blocks("bash"))
def test_shell_blocks_run_and_send_what_the_api_takes(
    page: Path, block: str, commands: Path, tmp_path: Path, greet: ModuleType
) -> None:
    del page, greet
    for name, *arguments in calls_of(block, commands, tmp_path):
        if name == "make":
            words = [argument for argument in arguments if "=" not in argument and not argument.startswith("-")]
            given = " ".join(argument for argument in arguments if "=" in argument)
            assert words
            assert target_exists(words[0], given)
        if name == "curl":
            method, path, body = request_of(arguments)
            assert is_declared(method, path), (method, path)
            if body is not None:
                takes(path, body)


def takes(path: str, text: str) -> None:
    """Assert that a body is JSON, fits the API document, and is what its job type takes."""
    body = json.load(io.StringIO(text))
    operations = [
        operations
        for declared, operations in OPENAPI["paths"].items()
        if re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(declared)), path.split("?", maxsplit=1)[0])
    ]
    methods = [operation for operation in ("post", "put") if operation in operations[0]]
    (content,) = [operations[0][method]["requestBody"]["content"]["application/json"] for method in methods]
    job_type = body.get("type")
    if job_type == "no-such-type":
        return
    if job_type != "greet":  # which the document does not know: the reader has just written it
        jsonschema.validate(body, {**content["schema"], "components": OPENAPI["components"]})
    if job_type:
        known = job_types.find(job_type)
        payload = known.payload.model_validate(body.get("payload", {}))
        assert not known.check or list(known.check(payload, None)) == []


def block_of(page: str, first_line: str) -> str:
    """The Python block of a how-to page that begins with this line."""
    found = [
        block
        for _, language, block in FENCE.findall((ROOT / "docs" / "how-to" / page).read_text())
        if language == "python" and block.startswith(first_line)
    ]
    assert len(found) == 1
    return str(found[0])


def loaded(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102
    return module


@pytest.fixture
def greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of `add-a-job-type.md`, as a file that the platform finds by its name."""
    from adbot_queue.messaging import jobs as room  # noqa: PLC0415

    (tmp_path / "greet.py").write_text(block_of("add-a-job-type.md", "# layers/common/adbot_queue/messaging/jobs/"))
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    yield room
    job_types.LOADED.pop("greet", None)
    sys.modules.pop("adbot_queue.messaging.jobs.greet", None)
    vars(room).pop("greet", None)


@pytest.mark.parametrize(("name", "folder"), [("greet.py", "layers/"), ("test_greet.py", "tests/")])
def test_the_example_is_the_job_type_of_the_how_to(name: str, folder: str) -> None:
    printed = block_of("add-a-job-type.md", f"# {folder}").partition("\n")[2]

    assert (ROOT / "examples" / "greet" / name).read_text() == printed


@pytest.mark.parametrize("folder", ["layers/", "tests/"])
def test_the_job_type_of_the_how_to_keeps_the_rules_of_the_check(folder: str) -> None:
    printed = block_of("add-a-job-type.md", f"# {folder}")
    name = printed.splitlines()[0].removeprefix("# ")

    for command in (["check"], ["format", "--check"]):
        ruff = [str(Path(sys.executable).parent / "ruff"), *command, "--no-cache", "--stdin-filename", name, "-"]
        ran = subprocess.run(ruff, input=printed, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_job_type_of_the_how_to_passes_its_test_when_both_are_saved_as_printed(tmp_path: Path) -> None:
    copied = ("layers/common/adbot_queue", "infra", "local", "tests/builders", "tests/support")
    for folder in copied:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("node_modules"))
    for file in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py", "tests/unit/conftest.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for start in ("# layers/", "# tests/"):
        block = block_of("add-a-job-type.md", start)
        path = block.splitlines()[0].removeprefix("# ")
        assert (ROOT / path).parent.is_dir()
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(block)
    page = (ROOT / "docs" / "how-to" / "add-a-job-type.md").read_text()

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *re.findall(r"make test-one T=(\S+)", page)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


def test_the_long_running_job_of_the_how_to_completes(on_aws: AwsHarness) -> None:
    source = block_of("write-a-long-running-job.md", "# layers/common/adbot_queue/operations/jobs/")
    declared = loaded("archive_notes", source)
    jobs = Jobs(on_aws)

    with known_types(replace(declared.JOB, name="archive-notes")):
        job = jobs.run("archive-notes", {})

    assert jobs.get(job).checkpoint["done"] == len(declared.NOTES)


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_blocks_are_whole(page: Path, block: str) -> None:
    assert loaded(page.stem, block).__dict__.keys() > {"__builtins__"}
