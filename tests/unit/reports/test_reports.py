"""generate-report: right figures, safe cells, the same file twice, links that end soon."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from adbot_queue.adbots.model import CreationSource, Order, OrderStatus
from adbot_queue.adbots.storage import items
from adbot_queue.core import attribute_values, aws
from adbot_queue.core.clock import day, system_clock
from adbot_queue.operations.jobs.generate_report import GenerateReport
from adbot_queue.reports import sources
from adbot_queue.reports.model import Table, bars, write_csv, write_html
from adbot_queue.testing.harness import Clock
from adbot_queue.testing.in_process_aws import REGION
from tests.builders.analytics import TODAY, Counting, event
from tests.builders.crash import Killed, crash_after
from tests.builders.world import AwsHarness


@pytest.fixture
def counting(on_aws: AwsHarness) -> Counting:
    aws.s3().create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": REGION})
    return Counting(clock=Clock(system_clock()))


def file(key: str) -> bytes:
    return aws.s3().get_object(Bucket="reports", Key=key)["Body"].read()


def rows(key: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file(key).decode(), newline="")))


def paid(world: AwsHarness, bot: Any, amount: int, currency: str, refunded: int = 0, status: str = "PAID") -> None:
    """Money behind a bot's order, as a payment would have left it."""
    order = Order(
        bot.order_id,
        OrderStatus(status),
        CreationSource.PAYMENT,
        bot.created_at,
        adbot_id=bot.id,
        amount=amount,
        currency=currency,
        amount_refunded=refunded,
    )
    aws.dynamodb().put_item(TableName=world.env["ADBOTS_TABLE"], Item=attribute_values.encode(items.order_item(order)))


def some_orders(world: AwsHarness) -> None:
    world.pool()
    paid(world, world.create(1), 4900, "eur", 900)
    paid(world, world.create(1), 100, "eur")
    paid(world, world.create(1), 500, "jpy")
    paid(world, world.create(1), 700, "usd", status="PENDING")
    world.create(2)
    review = Order("ord_r", OrderStatus.REVIEW, CreationSource.PAYMENT, system_clock(), amount=300, currency="usd")
    aws.dynamodb().put_item(TableName=world.env["ADBOTS_TABLE"], Item=attribute_values.encode(items.order_item(review)))


@pytest.mark.parametrize("steps", [None, 1])
def test_orders_have_bots_and_money_by_day_and_currency_in_however_many_attempts(
    on_aws: AwsHarness, counting: Counting, monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    monkeypatch.setattr(sources, "PAGE_SIZE", 2)
    some_orders(on_aws)
    result = counting.run("generate-report", {"report": "orders", "format": "csv"}, "r-1", steps)

    today = day(system_clock())
    assert rows("reports/r-1.csv") == [
        {
            "day": today,
            "currency": currency,
            **dict(zip(("bots", "orders", "amount", "refunded", "net"), rest, strict=True)),
        }
        for currency, *rest in (
            ("", "1", "1", "0.00", "0.00", "0.00"),
            ("eur", "2", "2", "50.00", "9.00", "41.00"),
            ("jpy", "1", "1", "500", "0", "500"),
            ("usd", "1", "2", "3.00", "0.00", "3.00"),
        )
    ]
    assert result["rows"] == 4


def test_a_report_that_dies_after_any_call_is_right_when_it_is_tried_again(
    on_aws: AwsHarness, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PAGE_SIZE", 2)
    some_orders(on_aws)
    payload = {"report": "orders", "format": "csv"}
    with crash_after(None) as calls:
        counting.run("generate-report", payload, "whole", 2)
    for number in range(1, len(calls.names) + 1, 2):
        with pytest.raises(Killed), crash_after(number):
            counting.run("generate-report", payload, f"r-{number}", 2)
        counting.run("generate-report", payload, f"r-{number}", 2)
        assert file(f"reports/r-{number}.csv") == file("reports/whole.csv")


def test_events_are_reported_as_they_were_counted_and_their_names_are_no_formulas(counting: Counting) -> None:
    counting.clock.now = event().at + 60_000
    counting.record(event("1", what="=HYPERLINK(1)"), event("2", what='a "b", c'), event("3", person="dan"))
    counting.run("process-snapshot", {"hour": f"{TODAY}T12"})
    result = counting.run("generate-report", {"report": "analytics", "from": "2025-11-21", "to": TODAY}, "r-1")

    found = {row["event"]: (row["events"], row["people"]) for row in rows("reports/r-1.csv")}
    assert found == {
        "": ("3", "2"),
        "'=HYPERLINK(1)": ("1", ""),
        'a "b", c': ("1", ""),
        "Article Viewed": ("1", ""),
    }
    assert [entry["key"] for entry in result["files"]] == ["reports/r-1.csv", "reports/r-1.html"]
    assert "Not counted by any snapshot: 2025-11-21." in file("reports/r-1.html").decode()


def test_queues_are_reported_by_day_from_what_snapshots_kept(counting: Counting) -> None:
    counting.clock.now = event().at
    item = {"pk": {"S": "MINUTES#email"}, "sk": {"S": f"{TODAY}T00:00#0"}, "completed": {"N": "7"}, "dead": {"N": "1"}}
    aws.dynamodb().put_item(TableName="SystemTable", Item=item)
    counting.run("process-snapshot", {"hour": f"{TODAY}T11"})
    counting.run("generate-report", {"report": "queues", "from": TODAY, "to": TODAY, "format": "csv"}, "r-1")

    found = {row["queue"]: row for row in rows("reports/r-1.csv")}
    assert (found["email"]["completed"], found["email"]["dead"], found["email"]["failed"]) == ("7", "1", "0")
    assert found["money"]["completed"] == "0"


def test_the_same_job_twice_writes_the_same_files(counting: Counting) -> None:
    for _ in range(2):
        counting.run("generate-report", {"report": "analytics"}, "r-1")

    listed = aws.s3().list_objects_v2(Bucket="reports")["Contents"]
    assert [entry["Key"] for entry in listed] == ["reports/r-1.csv", "reports/r-1.html"]


def test_a_link_opens_the_file_and_ends_after_a_quarter_of_an_hour(on_aws: AwsHarness, counting: Counting) -> None:
    counting.run("generate-report", {"report": "analytics", "format": "csv"}, "r-1")
    answer = on_aws.http("insights", "GET /reports/{id}", role="viewer", id="r-1").json

    (link,) = answer["result"]["files"]
    query = parse_qs(urlsplit(link["url"]).query)
    assert (answer["job_id"], answer["result"]["report"], answer["state"]) == ("r-1", "analytics", "completed")
    assert (link["format"], link["size"]) == ("csv", len(file("reports/r-1.csv")))
    assert query["X-Amz-Expires"] == ["900"]
    assert urlsplit(link["url"]).path.endswith("/reports/r-1.csv")


def test_a_report_that_is_being_made_shows_its_progress(on_aws: AwsHarness, counting: Counting) -> None:
    counting.context("r-1", "generate-report")
    answer = on_aws.http("insights", "GET /reports/{id}", role="viewer", id="r-1").json

    assert (answer["state"], answer["result"]) == ("active", None)
    assert answer["progress"] == {"done": 0, "of": None, "outcomes": {}, "cut_off": None, "note": ""}


def test_a_report_that_was_not_made_or_is_gone_has_no_links(on_aws: AwsHarness, counting: Counting) -> None:
    counting.clock.advance(-31 * 86_400)
    counting.run("generate-report", {"report": "analytics"}, "old")

    counting.clock.advance(31 * 86_400)
    counting.run("rebuild-article-stats", job="other")
    for report in ("old", "none", "other"):
        assert on_aws.http("insights", "GET /reports/{id}", role="viewer", id=report).status == 404


def table(**changes: Any) -> Table:
    baseline: dict[str, Any] = {
        "name": "analytics",
        "since": TODAY,
        "until": TODAY,
        "columns": ("event", "events"),
        "rows": [('<script>alert("x")</script>', 1), ('say "hi",\nthen go', -2)],
        "measure": "Events & more",
        "chart": {TODAY: 4, "<b>": 2, "none": 0},
        "notes": ("a < b",),
    }
    return Table(**(baseline | changes))


def test_no_text_is_a_formula_and_numbers_stay() -> None:
    out = io.BytesIO()
    write_csv(table(rows=[("=1+1", -5), ("-5", Decimal("-5.00"))]), out)
    assert out.getvalue().splitlines()[1:] == [b"'=1+1,-5", b"'-5,-5.00"]


def test_cells_with_quotes_commas_and_line_ends_come_back_as_they_were() -> None:
    out = io.BytesIO()
    write_csv(table(), out)

    read = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))
    assert read == [["event", "events"], ['<script>alert("x")</script>', "1"], ['say "hi",\nthen go', "-2"]]


def test_a_page_shows_texts_as_texts_and_a_bar_for_every_day() -> None:
    out = io.BytesIO()
    write_html(table(), "2025-11-22T12:00:00.000Z", out)
    page = out.getvalue().decode()

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert "a &lt; b" in page
    assert len(re.findall("<rect ", page)) == 3
    assert not re.search(r"(src|href)=", page)


def test_bars_fill_the_chart_and_a_chart_of_nothing_is_flat() -> None:
    heights = [bar.height for bar in bars({"a": 10, "b": 5, "c": -1})]

    assert heights == [200, 100, 0]
    assert [bar.height for bar in bars({"a": 0})] == [0]
    assert list(bars({})) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"report": "ledger"},
        {"report": "orders", "from": TODAY},
        {"report": "orders", "from": "2024-01-01", "to": TODAY},
        {"report": "orders", "from": TODAY, "to": "2025-11-21"},
        {"report": "orders", "format": "pdf"},
    ],
)
def test_a_report_that_cannot_be_made_is_not_enqueued(payload: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GenerateReport.model_validate(payload)


def test_what_is_stored_of_a_job_is_understood_when_it_runs() -> None:
    asked = GenerateReport.model_validate({"report": "orders", "from": TODAY, "to": TODAY})

    assert GenerateReport.model_validate(asked.model_dump(mode="json", exclude_none=True)) == asked
