"""Schedules follow the rules of the pinned tzdata, whatever zone files the machine has."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from adbot_queue.schedules.plan import BadZone, Recurrence, zone

ROOT = Path(__file__).resolve().parents[3]
PINNED = Path(str(files("tzdata") / "zoneinfo"))
NAMES = sorted(set((files("tzdata") / "zones").read_text("utf-8").split()) - {"Factory"})
DAYS = [datetime(year, month, 15, 12, tzinfo=UTC) for year in (2024, 2026, 2027) for month in (1, 4, 7, 11)]


class AnyTag(yaml.SafeLoader):
    """Reads CloudFormation's tags as plain values."""


AnyTag.add_multi_constructor("!", lambda loader, _, node: None if loader is None else str(node.value))  # type: ignore[no-untyped-call]


@pytest.fixture
def poisoned(tmp_path: Path) -> Iterator[Path]:
    """A machine on which every zone's file has the rules of Kiritimati (+14), and on which Mars has a zone."""
    for name in [*NAMES, "Mars/Base", "localtime", "posixrules", "posix/Europe/Berlin"]:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PINNED / "Pacific" / "Kiritimati", target)
    zoneinfo.ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    yield tmp_path
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()


def offset(name: str, at: datetime) -> timedelta | None:
    return at.astimezone(zone(name)).utcoffset()


@pytest.mark.parametrize(
    ("name", "hours", "at"),
    [
        ("America/Vancouver", -7, datetime(2026, 11, 20, tzinfo=UTC)),
        ("America/Vancouver", -7, datetime(2027, 1, 20, tzinfo=UTC)),
        ("America/Edmonton", -6, datetime(2027, 1, 20, tzinfo=UTC)),
        ("America/Winnipeg", -5, datetime(2027, 1, 20, tzinfo=UTC)),
        ("Africa/Casablanca", 0, datetime(2026, 11, 20, tzinfo=UTC)),
        ("America/Asuncion", -3, datetime(2027, 1, 20, tzinfo=UTC)),
        ("America/Asuncion", -3, datetime(2027, 7, 20, tzinfo=UTC)),
        ("Europe/Berlin", 1, datetime(2027, 1, 20, tzinfo=UTC)),
    ],
)
def test_rules_that_changed_since_2024_are_known(name: str, hours: int, at: datetime) -> None:
    assert offset(name, at) == timedelta(hours=hours)


@pytest.mark.usefixtures("poisoned")
def test_no_zone_is_read_from_the_machine() -> None:
    found = {(name, at): offset(name, at) for name in NAMES for at in DAYS}

    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    assert found == {(name, at): at.astimezone(zoneinfo.ZoneInfo(name)).utcoffset() for name in NAMES for at in DAYS}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("America/Vancouver", "2026-12-01T16:00:00"),
        ("Europe/Berlin", "2026-12-01T08:00:00"),
        ("UTC", "2026-12-01T09:00:00"),
    ],
)
def test_the_next_run_of_a_schedule_follows_the_pinned_rules(name: str, expected: str) -> None:
    recurrence = Recurrence.parse("cron(0 9 * * ? *)", name, None, None, 0)

    midnight = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000)
    run = recurrence.next(midnight)

    assert run is not None
    assert datetime.fromtimestamp(run / 1000, tz=UTC).replace(tzinfo=None).isoformat() == expected


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(
    "name",
    [
        "Mars/Base",
        "localtime",
        "posixrules",
        "posix/Europe/Berlin",
        "Factory",
        "",
        ".",
        "..",
        "../zones",
        "Europe",
        "x" * 60,
        "/UTC",
        "UTC/",
        "UTC\0",
        "europe/berlin",
    ],
)
def test_a_zone_that_the_pinned_data_lack_is_refused(name: str) -> None:
    with pytest.raises(BadZone):
        zone(name)


def test_a_process_started_on_a_poisoned_machine_reads_the_pinned_data(poisoned: Path) -> None:
    program = (
        "from datetime import UTC, datetime; from adbot_queue.schedules.plan import zone\n"
        "print(datetime(2026, 11, 20, tzinfo=UTC).astimezone(zone('America/Vancouver')).isoformat())"
    )
    environment = os.environ | {"PYTHONTZPATH": str(poisoned), "PYTHONPATH": str(ROOT / "layers" / "common")}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "2026-11-19T17:00:00-07:00"


def test_every_function_ignores_the_machines_zones() -> None:
    template: dict[str, Any] = yaml.load((ROOT / "infra" / "template.yaml").read_text("utf-8"), AnyTag)  # noqa: S506

    assert template["Globals"]["Function"]["Environment"]["Variables"]["PYTHONTZPATH"] == ""


def test_tests_and_what_they_start_do_not_read_the_machines_zones() -> None:
    assert os.environ["PYTHONTZPATH"] == ""
    assert zoneinfo.TZPATH == ()


def test_make_hands_no_zones_of_the_machine_to_what_it_starts() -> None:
    answer = subprocess.run(
        [shutil.which("make") or "make", "-s", "-f", str(ROOT / "Makefile"), "-f", "/dev/stdin", "shown"],
        input='shown:\n\t@echo "zones=$${PYTHONTZPATH-unset}"\n',
        env=os.environ | {"PYTHONTZPATH": "/usr/share/zoneinfo"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.strip() == "zones="


def test_zones_are_made_in_one_place() -> None:
    makers = []
    for file in [
        *(ROOT / "layers").rglob("*.py"),
        *(ROOT / "functions").rglob("*.py"),
        *(ROOT / "local").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            named = (
                isinstance(node, ast.ImportFrom)
                and node.module == "zoneinfo"
                and any(name.name == "ZoneInfo" for name in node.names)
            )
            whole = isinstance(node, ast.Import) and any(name.name == "zoneinfo" for name in node.names)
            if named or whole:
                makers.append(file.relative_to(ROOT).as_posix())

    assert makers == ["layers/common/adbot_queue/core/zones.py"]
