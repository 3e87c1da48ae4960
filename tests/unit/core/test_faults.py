"""Figures that must stay zero ring the alarm that they share."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from adbot_queue.core import telemetry
from adbot_queue.core.faults import FAULTS
from local.settings import ROOT
from tests.support.template import TEMPLATE, of

ALARMS = {alarm["MetricName"]: alarm for name, alarm in of("AWS::CloudWatch::Alarm").items() if name.endswith("Faults")}
FIGURES = sorted((figure, alarm) for alarm, figures in FAULTS.items() for figure in figures)
BUILT = {"JobsUnsupported": 'f"Jobs{'}
"""Figures whose name the code puts together, and how."""


def written(capsys: pytest.CaptureFixture[str]) -> dict[str, list[float]]:
    """The metrics of one flush, as CloudWatch reads them off the line."""
    telemetry.flush()
    line = json.loads(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["service"]]
    return {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]}


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    telemetry.metrics.clear_metrics()


@pytest.mark.parametrize(("figure", "alarm"), FIGURES)
def test_a_figure_above_zero_rings_its_alarm(figure: str, alarm: str, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count(figure)

    values = written(capsys)

    assert values == {figure: [1.0], alarm: [1.0]}
    definition = ALARMS[alarm]
    assert (definition["Statistic"], definition["ComparisonOperator"]) == ("Maximum", "GreaterThanThreshold")
    assert max(values[alarm]) > definition["Threshold"]
    assert definition["Dimensions"] == [{"Name": "service", "Value": "adbot-queue"}]


def test_one_figure_above_zero_among_zeros_rings_and_others_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.gauge("ParkedBots", 0)
    telemetry.gauge("Drift", 2)
    telemetry.gauge("Drift", 0)
    telemetry.gauge("OldestQueuedAge", 5)

    values = written(capsys)

    assert values.keys() == {"ParkedBots", "Drift", "OldestQueuedAge", "BotsFaults"}
    assert values["BotsFaults"] == [2.0]


def test_figures_at_zero_end_an_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.gauge("ParkedBots", 0)

    assert written(capsys)["BotsFaults"] == [0.0]


def test_template_and_code_have_the_same_figures_and_each_belongs_to_one_alarm() -> None:
    listed = {f"{area}Faults": set(about["Figures"]) for area, about in TEMPLATE["Mappings"]["Faults"].items()}

    assert listed == FAULTS
    assert listed.keys() == ALARMS.keys()
    assert len({figure for figure, _ in FIGURES}) == len(FIGURES)


@pytest.mark.parametrize(("figure", "alarm"), FIGURES)
def test_a_figure_is_counted_somewhere_and_explained_in_the_runbook(figure: str, alarm: str) -> None:
    code = "".join(file.read_text() for file in sources())
    rows = re.findall(r"(?m)^\| .+", (ROOT / "docs" / "runbook.md").read_text())

    assert BUILT.get(figure, f'"{figure}"') in code
    (row,) = [row for row in rows if f"`{figure}`" in row.partition(" | ")[0]]
    assert re.search(r"\| `/console/[a-z/]+`\.", row)
    assert any(f"`{alarm}`" in other.partition(" | ")[0] for other in rows)


def sources() -> list[Path]:
    package = ROOT / "layers" / "common" / "adbot_queue"
    return [file for file in [*package.rglob("*.py"), *(ROOT / "functions").rglob("*.py")] if file.name != "faults.py"]
