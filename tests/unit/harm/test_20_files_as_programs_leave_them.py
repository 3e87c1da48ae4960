"""What programs leave in files (a second header, unseen marks, a form's lines) makes no session and loses none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.core.errors import AppError
from adbot_queue.leads import import_file
from adbot_queue.stock.upload import LineVerdict, UploadLine, parse

FORM = (
    b"--f0\r\n%s\r\n\r\nsession_id,key\r\na1,k1\r\n--f0--\r\n",
    [
        b'Content-Disposition: form-data; name="f"',
        b'content-disposition: form-data; name="f"; filename="a.csv"\r\nContent-Type: text/csv',
        b'Content-Type: text/csv\r\nContent-Disposition: form-data; name="f"',
    ],
)


def verdicts(lines: list[UploadLine]) -> list[tuple[int, str | None]]:
    return [(line.number, line.session.id if line.session else None) for line in lines]


def imported(text: str) -> list[import_file.ImportLine]:
    return import_file.parse(text.encode(), "text/csv", import_file.Defaults(client_id="acme"))


# One quote too few, and another one later: the rows between are part of no value

SWALLOWED = {
    'session_id,key\na1,"k1\nb2,k2"\nc3,k3\n': (2, 3),
    'session_id,key\na1,"k1\nb2,k2\nc3,k3"\nd4,k4\n': (2, 4),
    'session_id,key\na1,"k1\nb2,k2\n\n\nc3,k3 ""x""\n"\nd4,k4\n': (2, 7),
    'session_id,key,note\na1,"k1,n1\nb2,k2",n2\nc3,k3,n3\n': (2, 3),
    'session_id,key,note\na1,"k1,n1\nb2,k2,n2\nc3,k3",n3\nd4,k4,n4\n': (2, 4),
    'session_id,key,note\na1,k1,"n1\nb2,k2,n2"\nc3,k3,n3\n': (2, 3),
    'key,session_id\nk1,a1\n"k2,b2\nk3,c3\nk4",d4\nk5,e5\n': (3, 5),
    'session_id,key,,\na1,"k1,,\nb2,k2,,\nc3,k3,"\nd4,k4,,\n': (2, 4),
}


@pytest.mark.parametrize("text", SWALLOWED)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_within_a_quoted_value_are_refused_with_their_lines(text: str, delimiter: str, end: str) -> None:
    first, last = SWALLOWED[text]
    lines = parse(text.replace(",", delimiter).replace("\n", end).encode(), "text/csv")
    (wrong,) = [line for line in lines if line.verdict is not LineVerdict.ACCEPTED]
    assert (wrong.number, wrong.verdict) == (first, LineVerdict.INVALID)
    assert wrong.detail.endswith(f"(lines {first} to {last}: is a quote not closed?)")
    assert len(lines) == text.count("\n") - 1 - (last - first)  # those outside are there


LONG_VALUES = [
    "-----BEGIN KEY-----\nMIIB, x\n-----END KEY-----",
    "Ring twice,\nthen wait",
    "a\nb\nc",
    json.dumps({"cookies": [{"name": "c", "value": "v,w"}], "x": 1}, indent=1),
    "first\n\n  second line with spaces, and a comma, and another",
]


@pytest.mark.parametrize("value", LONG_VALUES)
def test_a_value_of_several_lines_is_read(value: str) -> None:
    quoted = value.replace('"', '""')
    for text, number in (
        (f'session_id,key,note\na1,"{quoted}",n\n', 2),
        (f'key,session_id,note\n"{quoted}",a1,n\n', 2),
        (f'session_id,note,key\na1,n,"{quoted}"\nb2,n,k\n', 2),
    ):
        line = parse(text.encode(), "text/csv")[0]
        assert (line.number, line.detail) == (number, "")
        assert line.session is not None
        assert line.session.secret["key"] == value


def test_leads_within_a_quoted_name_are_refused_with_their_lines() -> None:
    lines = imported('phone,name\n+4915112345678,"Ann\n+49 151 12345679,Bob\n+4915112345680,Cara"\n+4915112345681,D\n')
    assert [(line.number, line.spec is not None) for line in lines] == [(2, False), (5, True)]
    assert "(lines 2 to 4: is a quote not closed?)" in lines[0].problem


@pytest.mark.parametrize(
    "row", ['b2, "k, x",n', 'b2, "k2",n', 'b2,   "k",n', 'b2, "k,n', 'b2,k, "n"', ' "b2",k,n', 'b2,k, "n\nc3,k,n"']
)
def test_a_quote_behind_a_space_is_refused_and_loses_no_other_row(row: str) -> None:
    lines = parse(f"session_id,key,note\na1,k,n\n{row}\nz9,k,n\n".encode(), "text/csv")
    assert [one for _, one in verdicts(lines)][::2] == ["a1", "z9"] or row.count("\n")
    assert lines[1].detail.startswith("a space before a quote")
    assert [line.session.id for line in lines if line.session and line.session.secret["key"] != "k"] == []


def test_quotes_behind_spaces_are_read_where_every_delimiter_has_its_space() -> None:
    for text in ('"session_id", "key"\n"a1", "k, 1"\n', '"key", "session_id"\n"k, 1", "a1"\n'):
        (line,) = parse(text.encode(), "text/csv")
        assert line.session is not None
        assert (line.session.id, line.session.secret) == ("a1", {"key": "k, 1"})


# A header that comes again

AGAIN = {
    "session_id,key\na1,k1\nsession_id,key\nb2,k2\n": 3,
    "session_id,key\na1,k1\n\ufeffsession_id,key\nb2,k2\n": 3,
    'session_id;key\na1;k1\n"session_id";"key"\nb2;k2\n': 3,
    "session_id,key\na1,k1\nkey,session_id\nb2,k2\n": 3,
    "session_id\na1\nsession_id\nb2\n": 3,
    "a1\nsession_id\nb2\n": 2,
    "\n\na1\n session_id \nb2\n": 4,
}


@pytest.mark.parametrize("text", AGAIN)
def test_a_header_that_comes_again_is_no_session(text: str) -> None:
    lines = parse(text.encode(), "")
    assert [one for _, one in verdicts(lines)] == ["a1", None, "b2"]
    assert lines[1].number == AGAIN[text]
    assert "header" in lines[1].detail


def test_a_header_that_comes_again_is_no_lead() -> None:
    lines = imported("Phone,Name\n+4915112345678,Ann\nPhone,Name\n+4915112345679,Bob\n")
    assert [line.problem for line in lines] == ["", "repeats the header line", ""]


# Unseen marks

INVISIBLE = ["\ufeff", "\u200b", "\u00a0", "\u2060", "\ufeff\ufeff", "\u200e", "\u3000", " \t"]


@pytest.mark.parametrize("mark", INVISIBLE)
def test_an_invisible_mark_at_the_name_of_a_column_changes_nothing(mark: str) -> None:
    headers = [
        f"{mark}session_id,key",
        f"session_id{mark},key",
        f'"{mark}session_id","key{mark}"',
        f"session_id,{mark}key",
    ]
    for header in headers:
        for start in ("", "\ufeff"):
            (line,) = parse(f"{start}{header}\na1,k1\n".encode(), "text/csv")
            assert line.session is not None, header
            assert (line.session.id, line.session.secret) == ("a1", {"key": "k1"}), header
    with pytest.raises(AppError, match="the column key is named twice"):
        parse(f"session_id,key,key{mark}\na1,k1,k2\n".encode(), "text/csv")


# Other files


@pytest.mark.parametrize("head", FORM[1])
@pytest.mark.parametrize(
    "content_type", ["", "text/csv", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_a_form_is_read_as_one_under_every_content_type(head: bytes, content_type: str) -> None:
    (line,) = parse(FORM[0] % head, content_type)
    assert line.session is not None
    assert (line.session.id, line.session.secret) == ("a1", {"key": "k1"})
    with pytest.raises(AppError, match="closing boundary"):
        parse((FORM[0] % head)[:-10], content_type)


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html>\n<p>\nLogin\n", "\n  <html>\nx\n", '<?xml version="1.0"?>\n<a>\nb\n</a>']
)
def test_a_page_is_no_list_of_ids(text: str) -> None:
    with pytest.raises(AppError, match="HTML or XML"):
        parse(text.encode(), "text/plain")


@pytest.mark.parametrize("name", ["4915112345678.0", "49151123.00", "5.E+10", "4.E12", "+491511234567.0"])
def test_a_number_that_a_program_rewrote_is_no_id(name: str) -> None:
    for text in (f"session_id,key\n{name},k\n", f"a1\n{name}\n", json.dumps({"session_id": name})):
        refused: list[Any] = [line.detail for line in parse(text.encode(), "") if line.session is None]
        assert refused == [f"session_id: {name} is a number that a spreadsheet rounded; format the column as text"]


@pytest.mark.parametrize("name", ["1.0", "2.0.0", "1234567.10", "v1234567.0"])
def test_an_id_that_looks_like_a_version_is_taken(name: str) -> None:
    assert verdicts(parse(f"session_id,key\n{name},k\n".encode(), "")) == [(2, name)]
