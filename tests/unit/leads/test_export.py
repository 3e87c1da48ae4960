"""Exports open in spreadsheets as what they are: text, whatever is in it."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core.errors import Invalid
from adbot_queue.core.spreadsheets import FORMULAS
from adbot_queue.leads import export
from adbot_queue.leads.export import LEAD_COLUMNS, Exporter, write
from adbot_queue.leads.model import Lead, Status
from tests.builders.leads import GRANTED, LeadsApi, Team, phone


def rows(file: bytes) -> list[dict[str, str]]:
    assert file.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(file.decode("utf-8-sig"), newline="")))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=5))
def test_every_cell_is_read_back_and_none_is_a_formula(texts: list[str]) -> None:
    columns: dict[str, Any] = {f"c{place}": lambda row, place=place: row[place] for place in range(len(texts))}
    file = write(columns, [texts])
    header, read = csv.reader(io.StringIO(file.decode("utf-8-sig"), newline=""), strict=True)
    assert header == list(columns)
    assert [text.removeprefix("'") for text in read] == [text.removeprefix("'") for text in texts]
    assert not any(text.startswith(FORMULAS) for text in read)


def test_leads_are_exported_with_the_filters_of_the_list(api: LeadsApi) -> None:
    api.add(1, name='=HYPERLINK("http://x")', fields={"city": "Bonn;\nBeuel"})
    taken = api.add(2).json["lead_id"]
    api("POST /leads/{id}/take", id=taken)
    answer = api("GET /leads/export.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    second, first = rows(answer.text.encode())
    assert (first["name"], first["phone"], first["fields"]) == (
        '\'=HYPERLINK("http://x")',
        f"'{phone(1)}",
        "city=Bonn;\nBeuel",
    )
    assert (second["lead_id"], second["status"], second["taken_by"]) == (taken, "engaged", "sam")
    assert answer.text.count("\r\n") == 3
    only = rows(api("GET /leads/export.csv", query={"status": "engaged"}).text.encode())
    assert [row["lead_id"] for row in only] == [taken]
    assert rows(api("GET /leads/export.csv", user="tom").text.encode()) == []
    assert api("GET /leads/export.csv", user="tom").text.startswith("\ufefflead_id,owner_id,")
    assert api("GET /leads/export.csv", query={"owner_id": "tom"}).status == 422


def test_the_queue_of_a_day_is_exported_as_it_is_shown(team: Team) -> None:
    team.fill(range(120))
    date = team.prepare().plan.date
    found = rows(Exporter(team.store).queue("sam", date))
    assert [(row["place"], row["phone"], row["state"], row["variables"]) for row in found] == [
        (str(number), f"'{phone(number)}", "queued", f"1=Lead {number}") for number in range(100)
    ]


def many(number: int) -> Iterator[Lead]:
    for n in range(number):
        yield Lead(f"{n:026x}", "sam", "acme", f"Lead {n}", phone(n % 1_000_000), 1, 1, consent=GRANTED)


def test_an_export_has_5000_rows_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(rows(write(LEAD_COLUMNS, many(5_000)))) == 5_000
    with pytest.raises(Invalid, match="narrow the filter: an export has at most 5000 rows"):
        write(LEAD_COLUMNS, many(5_001))
    monkeypatch.setattr(export, "MAX_BYTES", 10_000)
    with pytest.raises(Invalid, match="narrow the filter"):
        write(LEAD_COLUMNS, many(500))


def test_a_filter_that_searches_too_much_is_to_be_narrowed(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE_SIZE", 10)
    monkeypatch.setattr(export, "MAX_SEARCHED", 20)
    team.fill(range(20))
    exporter = Exporter(team.store)
    assert len(rows(exporter.leads("by_owner", "sam", lambda _: True))) == 20
    team.fill([20])
    with pytest.raises(Invalid, match="narrow the filter"):
        exporter.leads("by_owner", "sam", lambda lead: lead.status is Status.LOST)


def test_memory_holds_the_file_and_one_row() -> None:
    def peak(number: int) -> tuple[int, int]:
        tracemalloc.start()
        size = len(write(LEAD_COLUMNS, many(number)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most, size

    peak(10)
    most, size = peak(5_000)
    assert most < 3 * size + 200_000
