"""Reading uploads: a bad line loses no other."""

from __future__ import annotations

import json

import pytest

from adbot_queue.core.errors import Invalid, Malformed
from adbot_queue.stock.upload import MAX_LINES, LineVerdict, parse

JSONL = "application/x-ndjson"


def line(number: int, **more: object) -> str:
    return json.dumps({"session_id": f"s{number}", **more})


def test_json_lines_carry_the_id_and_whatever_else_as_secret() -> None:
    (read,) = parse(line(1, token="t", port=7).encode(), JSONL)
    assert read.session is not None
    assert (read.session.id, read.session.secret, read.verdict) == (
        "s1",
        {"token": "t", "port": 7},
        LineVerdict.ACCEPTED,
    )


def test_csv_columns_carry_the_same() -> None:
    first, second = parse(b'\xef\xbb\xbfsession_id,token\r\ns1,a\r\ns2,"b,c"\r\n', "text/csv; charset=utf-8")
    assert [one.session.secret for one in (first, second) if one.session] == [{"token": "a"}, {"token": "b,c"}]


def test_one_bad_line_among_ten_thousand_loses_no_other() -> None:
    lines = [line(number) for number in range(MAX_LINES)]
    lines[5_000] = "{not json"
    read = parse("\n".join(lines).encode(), JSONL)
    bad = [one for one in read if one.verdict is not LineVerdict.ACCEPTED]
    assert [(one.number, one.verdict) for one in bad] == [(5_001, LineVerdict.INVALID)]
    assert bad[0].detail.startswith("not JSON")
    assert [one.offset for one in read if one.offset is not None] == list(range(MAX_LINES - 1))


def test_ten_thousand_and_one_lines_are_refused_with_the_limit() -> None:
    body = "\n".join(line(number) for number in range(MAX_LINES + 1)).encode()
    with pytest.raises(Invalid, match="at most 10000 lines"):
        parse(body, JSONL)


@pytest.mark.parametrize(("body", "kind"), [(b"", JSONL), (b"\n \n", JSONL), (b"session_id\n", "text/csv")])
def test_an_empty_upload_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(Invalid, match="holds no session"):
        parse(body, kind)


def test_the_same_id_twice_is_taken_once_and_the_second_names_the_first() -> None:
    read = parse("\n".join([line(1), line(2), line(1)]).encode(), JSONL)
    assert (read[2].verdict, read[2].detail) == (LineVerdict.DUPLICATE_IN_UPLOAD, "first on line 1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "not an object"),
        pytest.param('{"session_id": "s", "x": ' + "[" * 2_000, "not JSON", id="deep"),
        ('{"token": "t"}', "session_id"),
        ('{"session_id": ""}', "session_id"),
        ('{"session_id": 7}', "session_id"),
        ('{"session_id": "a b"}', "session_id"),
        (json.dumps({"session_id": "s" * 65}), "1 to 64"),
        (json.dumps({"session_id": "s", "token": "x" * 5_000}), "over 4096 bytes"),
    ],
)
def test_a_line_that_cannot_be_a_session_says_why(text: str, says: str) -> None:
    (read,) = parse(text.encode(), JSONL)
    assert read.verdict is LineVerdict.INVALID
    assert says in read.detail


def test_csv_rows_of_another_length_than_the_header_say_so() -> None:
    read = parse(b"session_id,token\ns1\ns2,a,b\ns3,c\n", "text/csv")
    assert [one.detail for one in read] == [
        "fewer fields than the header line names",
        "more fields than the header line names",
        "",
    ]


@pytest.mark.parametrize(("body", "kind"), [(b"\xff\xfe", JSONL), (b"id,token\n1,2\n", "text/csv"), (b"", "text/csv")])
def test_a_body_that_cannot_be_read_at_all_is_malformed(body: bytes, kind: str) -> None:
    with pytest.raises(Malformed):
        parse(body, kind)
