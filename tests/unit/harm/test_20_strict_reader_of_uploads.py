"""One strict reader for every format of an upload: what was written is read, the rest is refused by its line."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core.errors import AppError
from adbot_queue.core.record_files import UnreadableFile
from adbot_queue.stock.upload import SESSION_ID, LineVerdict, UploadLine, parse

CONTENT_TYPES = [
    "text/csv",
    "text/csv; charset=utf-8; header=present",
    "text/plain",
    "text/tab-separated-values",
    "application/vnd.ms-excel",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "application/json",
    "application/x-ndjson",
    "application/jsonl",
    "image/png",
    "",
]

CSV = "session_id,key\na1,k1\nb2,k2\n"
READ = [("a1", {"key": "k1"}), ("b2", {"key": "k2"})]
TEXTS = {
    "comma": (CSV, READ),
    "semicolon": (CSV.replace(",", ";"), READ),
    "tab": (CSV.replace(",", "\t"), READ),
    "sep=": ("sep=;\n" + CSV.replace(",", ";"), READ),
    "quoted sep= of another delimiter": ('"sep=|"\n' + CSV.replace(",", "|"), READ),
    "byte order mark": ("\ufeff" + CSV, READ),
    "CRLF": (CSV.replace("\n", "\r\n"), READ),
    "CR alone": (CSV.replace("\n", "\r"), READ),
    "no last line end": (CSV.rstrip(), READ),
    "padded columns": ("session_id,key,,\na1,k1,,\nb2,k2\n", READ),
    "padded rows": ("session_id,key\na1,k1,,,\nb2,k2,\n", READ),
    "empty rows": ("\n,,\nsession_id,key\n\n,,\na1,k1\n \nb2,k2\n,\n", READ),
    "column without a name": ("session_id,,key\na1,,k1\nb2,,k2\n", READ),
    "spaces in the header": (" session_id , key \na1,k1\nb2,k2\n", READ),
    "spaces after each delimiter": ('session_id, key\na1, k1\nb2, "k2"\n', READ),
    "spaces around ids": ("session_id,key\n a1,k1\nb2 ,k2\n", READ),
    "quotes everywhere": ('"session_id","key"\n"a1","k1"\n"b2","k2"\n', READ),
    "columns in another order": ("key,session_id\nk1,a1\nk2,b2\n", READ),
    "one id a line": ("a1\n\nb2\n", [("a1", {}), ("b2", {})]),
    "one column": ("session_id\na1\nb2\n", [("a1", {}), ("b2", {})]),
    "JSON lines": ('{"session_id": "a1", "key": "k1"}\n\n{"session_id": "b2", "key": "k2"}', READ),
    "JSON lines with CR": ('{"session_id": "a1", "key": "k1"}\r{"session_id": "b2", "key": "k2"}\r', READ),
    "JSON array": ('[{"session_id": "a1", "key": "k1"},{"session_id": "b2", "key": "k2"}]', READ),
    "JSON array over lines": (json.dumps([{"session_id": name} | rest for name, rest in READ], indent=2), READ),
    "JSON object over lines": (
        json.dumps({"session_id": "a1", "key": {"x": 1}}, indent=1),
        [("a1", {"key": {"x": 1}})],
    ),
}


def sessions(lines: list[UploadLine]) -> list[tuple[str, dict[str, Any]]]:
    assert [line.detail for line in lines if line.verdict is not LineVerdict.ACCEPTED] == []
    return [(line.session.id, line.session.secret) for line in lines if line.session]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_the_same_under_every_content_type(name: str, content_type: str) -> None:
    text, wanted = TEXTS[name]
    assert sessions(parse(text.encode(), content_type)) == wanted


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("part", ["", "Content-Type: text/csv; charset=UTF-8\r\n"])
def test_a_form_with_one_file_is_read_as_the_file(name: str, part: str) -> None:
    text, wanted = TEXTS[name]
    head = f'--x\'y\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n{part}\r\n'
    raw = head.encode() + text.encode() + b"\r\n--x'y--\r\n"
    assert sessions(parse(raw, 'multipart/form-data; boundary="x\'y"')) == wanted
    assert sessions(parse(raw, "multipart/form-data;boundary=x'y")) == wanted


FORM_OF_TWO = b"""--b\r
Content-Disposition: form-data; name="f"\r
\r
a1\r
--b\r
Content-Disposition: form-data; name="pool"\r
\r
vip\r
--b--"""


@pytest.mark.parametrize(
    ("raw", "content_type", "says"),
    [
        (b"--b\r\n\r\nsession_id\r\na1", "multipart/form-data; boundary=b", "closing boundary"),
        (b"--b\r\n\r\nsession_id\r\na1\r\n--b", "multipart/form-data; boundary=b", "closing boundary"),
        (b"session_id\na1\n", "multipart/form-data; boundary=b", "closing boundary"),
        (b"--b\r\n\r\na1\r\n--b--", "multipart/form-data", "boundary"),
        (b"--b\r\n\r\na1\r\n--b--", "multipart/mixed; boundary=b", "multipart/form-data"),
        (b"--b\r\n\r\na1\r\n--b--a2", "multipart/form-data; boundary=b", "outside the parts"),
        (b"a2\r\n--b\r\n\r\na1\r\n--b--", "multipart/form-data; boundary=b", "outside the parts"),
        (
            b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYTE=\r\n--b--",
            "multipart/form-data; boundary=b",
            "as it is",
        ),
        (
            b"--b\r\nContent-Type: text/csv; charset=latin1\r\n\r\na1\r\n--b--",
            "multipart/form-data; boundary=b",
            "latin1",
        ),
        (
            FORM_OF_TWO,
            "multipart/form-data; boundary=b",
            "2 parts (f, pool)",
        ),
    ],
)
def test_a_form_that_is_not_one_whole_file_is_refused(raw: bytes, content_type: str, says: str) -> None:
    with pytest.raises(AppError, match=re.escape(says)):
        parse(raw, content_type)


# The whole file is refused where it cannot be cut into records

BROKEN = {
    'session_id,key\na1,k1\nb2,"k2\nc3,k3\nd4,k4\n': "line 3: a quote is not closed",
    'session_id,key\n"a1,k1\nb2,k2\n': "line 2: a quote is not closed",
    'session_id,key\na1,k1\nb2,k2\nc3,"': "line 4: a quote is not closed",
    'session_id,key\na1,"k1\nb2,"k2"\nc3,k3\n': "line 2: text follows a closing quote, up to line 3",
    'session_id,key\na1,"x\ny"\n\nb2,"k2\n': "line 5: a quote is not closed",
    'session_id,key\na1,"k"1\nb2,k2\n': "line 2: text follows a closing quote",
    '"session_id,key\na1,k1\nb2,k2\n': "line 1: a quote is not closed",
    '\n\n"session_id,key\na1,k1\n': "line 3: a quote is not closed",
    '"session_id,key\n' + "a1,k1\n" * 30_000: "line 1: a value is longer than 131072 characters",
    f"session_id,key\na1,k1\nb2,{'x' * 140_000}\n": "line 3: a value is longer than 131072 characters",
    "session_id,key,key\na1,A,B\n": "line 1: the column key is named twice",
    "session_id;key; key \na1;A;B\n": "line 1: the column key is named twice",
    "\n\nsession_id,session_id\na1,a1\n": "line 3: the column session_id is named twice",
    'session_id,"ke\ny"\na1,k1\n': "line 1: the column ke?y has a control character",
    "id,key\na1,k1\n": "line 1: must name the columns, session_id among them",
    "\nid;key\na1;k1\n": "line 2: must name the columns, session_id among them",
    "a1,k1\nb2,k2\n": "line 1: must name the columns, session_id among them",
    "sessionid\na1\n": "line 1: must name the columns, session_id among them",
    "Session ID\na1\n": "line 1: must name the columns, session_id among them",
    "token\na1\n": "line 1: must name the columns, session_id among them",
    "sep=\nsession_id\na1\n": "line 1: sep= must name one character",
    "sep=x\nsession_id\na1\n": "line 1: sep= must name one character",
    '[{"session_id": "a1"},\n{"session_id": "b2" "x"}]': "line 2: not JSON",
    '[{"session_id": "a1"},\n{"session_id": "b2"}': "line 2: a comma or ] must follow",
    '[\n{"session_id": "a1"},\n]': "line 3: not JSON",
    '[\n{"session_id": "a1"}\n]\n{"session_id": "b2"}': "line 4: text after the end",
}


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("content_type", ["text/csv", "", "application/json"])
def test_a_file_that_cannot_be_cut_into_records_is_refused_with_its_line(text: str, content_type: str) -> None:
    with pytest.raises(AppError) as error:
        parse(text.encode(), content_type)
    assert BROKEN[text] in error.value.detail
    assert error.value.status == 422


# A record that can be cut out is refused by itself

CELLS = "session_id,key\na1,k1\n{}\nc3,k3\n"
ROWS = {
    "b2": "fewer fields than the header line names",
    "b2,k,x": "more fields than the header line names",
    "b2,k,,x": "more fields than the header line names",
    ",k2": "session_id: must be text of 1 to 64",
    "b 2,k2": "session_id: must be text of 1 to 64",
    "#REF!,k2": "session_id: must be text of 1 to 64",
    "b2,k\x012": "key: must not have the control character U+0001",
    "b2,k\x7f": "key: must not have the control character U+007F",
    'b2,"' + "k" * 5_000 + '"': "over 4096 bytes",
    'b2,"' + "k\n" * 2_100 + '"': "(lines 3 to 2103: is a quote not closed?)",
    "4.91577E+12,k2": "a number that a spreadsheet rounded",
    "4.91577e+12,k2": "a number that a spreadsheet rounded",
    "1E+15,k2": "a number that a spreadsheet rounded",
    "1.5E-05,k2": "a number that a spreadsheet rounded",
    '"4,91577E+12",k2': "a number that a spreadsheet rounded",
    "-4.9E+12,k2": "a number that a spreadsheet rounded",
    "4.9E12,k2": "a number that a spreadsheet rounded",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_does_not_fit_is_refused_and_loses_no_other(row: str) -> None:
    lines = parse(CELLS.format(row).encode(), "text/csv")
    assert [line.verdict for line in lines] == [LineVerdict.ACCEPTED, LineVerdict.INVALID, LineVerdict.ACCEPTED]
    assert (lines[1].number, lines[2].number) == (3, 4 + row.count("\n"))
    assert ROWS[row] in lines[1].detail


VALUES = {
    '"b2", "x": NaN': "NaN is not a JSON number",
    '"b2", "x": [1, Infinity]': "Infinity is not a JSON number",
    '"b2", "x": {"y": -1e400}': "-1e400 is too large",
    '"b2", "x": 0.12345678901234567890123': "more digits than a number keeps",
    '"b2", "x": 1e-99999999999999999999': "more digits than a number keeps",
    '"b2", "x": 1, "x": 1': "x: named twice",
    '"b2", "session_id": "d4"': "session_id: named twice",
    '"b2", "x": {"y": 1, "y": 2}': "y: named twice",
    '"b2", "x": "\\ud800"': "half of a surrogate pair",
    '"b2", "x": ' + "[" * 40 + "]" * 40: "nested deeper than 32 levels",
    '"4.91577E+12"': "a number that a spreadsheet rounded",
    "4915771234567": "session_id: must be text",
    "null": "session_id: must be text",
    '"b2", "pool": 7': "pool: must be the name of a pool",
}


@pytest.mark.parametrize("member", VALUES)
@pytest.mark.parametrize("shape", ["lines", "array"])
def test_a_json_record_that_is_not_strict_is_refused_and_loses_no_other(member: str, shape: str) -> None:
    records = ['{"session_id": "a1"}', '{"session_id": ' + member + "}", '{"session_id": "c3"}']
    text = "\n".join(records) if shape == "lines" else "[" + ",\n".join(records) + "]"
    lines = parse(text.encode(), "application/json")
    assert [line.verdict for line in lines] == [LineVerdict.ACCEPTED, LineVerdict.INVALID, LineVerdict.ACCEPTED]
    assert [line.number for line in lines] == [1, 2, 3]
    assert VALUES[member] in lines[1].detail


@pytest.mark.parametrize(
    "line", ["nonsense", "{bad", '{"a": 1} x', "[1, 2]", "7", '{"session_id": "x", "k": "a\tb"}', '"a1"', "{'a': 1}"]
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_line_that_is_no_json_object_is_refused_under_the_line_of_the_file(line: str, place: int) -> None:
    good = '{"session_id": "a1"}'
    rows = ["", line, "", good] if place == 0 else ["", good, "", line]
    lines = parse("\r\n".join(rows).encode(), "application/x-ndjson")
    assert sorted((one.number, one.verdict) for one in lines) == sorted(
        [(2, LineVerdict.INVALID), (4, LineVerdict.ACCEPTED)]
        if place == 0
        else [(2, LineVerdict.ACCEPTED), (4, LineVerdict.INVALID)]
    )


@pytest.mark.parametrize(
    "name", ["1e5abc", "1e5", "12E34", "0x1e+5", "e+5", "1e+5x", "1.5", "a4.9E+12", "4915771234567"]
)
def test_ids_that_only_resemble_rounded_numbers_are_taken(name: str) -> None:
    assert sessions(parse(f"session_id,key\n{name},k\n".encode(), "text/csv")) == [(name, {"key": "k"})]
    assert sessions(parse(name.encode(), "text/plain")) == [(name, {})]


def test_of_two_lines_with_one_id_the_first_counts() -> None:
    lines = parse(b"\nsession_id,key\na1,x\n\na1,y\nb2,z\n", "text/csv")
    assert [(line.number, line.verdict, line.detail) for line in lines] == [
        (3, LineVerdict.ACCEPTED, ""),
        (5, LineVerdict.DUPLICATE_IN_UPLOAD, "first on line 3"),
        (6, LineVerdict.ACCEPTED, ""),
    ]


def test_a_pool_is_no_secret_in_any_format() -> None:
    for text in ("session_id,pool,key\na1,vip,k\n", '{"session_id":"a1","pool":"vip","key":"k"}'):
        (line,) = parse(text.encode(), "")
        assert line.session is not None
        assert (line.session.pool, line.session.secret) == ("vip", {"key": "k"})
    for text in ("session_id,pool,key\na1, ,k\n", '{"session_id":"a1","pool":null,"key":"k"}'):
        (line,) = parse(text.encode(), "")
        assert line.session is not None
        assert (line.session.pool, line.session.secret) == (None, {"key": "k"})


# Generated files

IDS = st.from_regex(SESSION_ID, fullmatch=True).filter(
    lambda name: (
        not re.fullmatch(r"\d+(\.\d+)?[eE][+-]?\d+", name) and name.lower() not in {"session", "id", "sessionid"}
    )
)
NAMES = (
    st.text("abcdefgh_-. ", min_size=1, max_size=6)
    .map(str.strip)
    .filter(lambda n: n and n not in {"pool", "session_id"})
)
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd") | st.sampled_from("\",;\t\n\r'| "),
    max_size=12,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def tables(
    draw: st.DrawFn, values: st.SearchStrategy[str] = TEXT
) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    ids = draw(st.lists(IDS, min_size=1, max_size=6, unique=True))
    return names, [(one, {name: draw(values) for name in names}) for one in ids]


def written(
    names: list[str], model: list[tuple[str, dict[str, str]]], delimiter: str, end: str, *, blank: bool, padding: int
) -> tuple[str, list[int]]:
    """The file, and the line on which each record begins."""
    out, numbers = io.StringIO(newline=""), []
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["session_id", *names, *[""] * padding])
    for one, secret in model:
        if blank:
            out.write(end)
        numbers.append(len(re.findall(r"\r\n?|\n", out.getvalue())) + 1)
        writer.writerow([one, *secret.values(), *[""] * padding])
    return out.getvalue(), numbers


@given(
    tables(),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.integers(0, 2),
    st.data(),
)
def test_what_a_csv_writer_wrote_is_read_exactly_with_its_lines(
    table: tuple[list[str], list[tuple[str, dict[str, str]]]],
    delimiter: str,
    end: str,
    blank: bool,
    padding: int,
    data: st.DataObject,
) -> None:
    names, model = table
    text, numbers = written(names, model, delimiter, end, blank=blank, padding=padding)
    mark = data.draw(st.sampled_from(["", "\ufeff"]))
    lines = parse((mark + text).encode(), data.draw(st.sampled_from(CONTENT_TYPES)))
    assert [line.number for line in lines] == numbers
    for line, (one, secret) in zip(lines, model, strict=True):
        if line.session is None:  # a line of a value would be a row by itself: that is said, and never guessed
            assert "looks like rows" in line.detail
            assert any(re.search(rf"[\r\n].*{re.escape(delimiter)}", value, re.DOTALL) for value in secret.values())
        else:
            assert (line.session.id, line.session.secret) == (one, secret)


@given(
    st.lists(st.tuples(IDS, st.dictionaries(st.text(max_size=6), JSON, max_size=3)), min_size=1, max_size=5), st.data()
)
def test_what_a_json_writer_wrote_is_read_exactly(model: list[tuple[str, dict[str, Any]]], data: st.DataObject) -> None:
    unique = {
        one: {name: secret[name] for name in secret if name not in {"pool", "session_id"}} for one, secret in model
    }
    records = [{"session_id": one} | secret for one, secret in unique.items()]
    ascii_only = data.draw(st.booleans()) or "\ufffd" in repr(records)
    if data.draw(st.booleans()):
        text = json.dumps(records, indent=data.draw(st.sampled_from([None, 0, 2])), ensure_ascii=ascii_only)
    else:
        end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
        text = end.join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    lines = parse(text.encode(), data.draw(st.sampled_from(CONTENT_TYPES)))
    assert sessions(lines) == list(unique.items())


@given(
    tables(st.text("xyz1 ", min_size=1, max_size=4).filter(str.strip)).filter(lambda table: bool(table[0])),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.data(),
)
def test_one_wrong_quote_delimiter_or_line_end_makes_no_session_vanish_silently(
    table: tuple[list[str], list[tuple[str, dict[str, str]]]], quoting: Any, data: st.DataObject
) -> None:
    names, model = table
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=quoting)
    writer.writerows([["session_id", *names], *([one, *secret.values()] for one, secret in model)])
    text = out.getvalue()
    body = range(text.index("\n") + 1, len(text))
    at = data.draw(st.sampled_from(body))
    if text[at] in '",\n' and data.draw(st.booleans()):
        text = text[:at] + text[at + 1 :]
    else:
        text = text[:at] + data.draw(st.sampled_from('",\n')) + text[at:]
    try:
        lines = parse(text.encode(), "text/csv")
    except UnreadableFile as error:
        assert error.line > 1  # noqa: PT017  the other outcomes are as good
        return
    if all(line.verdict is LineVerdict.ACCEPTED for line in lines):
        assert [line.session.id for line in lines if line.session] == [one for one, _ in model]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_a_file_of_blanks_is_refused(content_type: str) -> None:
    for blank in ("", " ", "\n", "\r\n\r\n", "\t", "\f", "\v", "\x1c\x1d", "\x85", "\u2003", "\u2028", "\ufeff"):
        with pytest.raises(AppError) as refused:
            parse(blank.encode(), content_type)
        assert refused.value.status in {400, 422}, repr(blank)


@given(st.text(st.sampled_from('",;\t\n\r[]{}: abs1\\u0=\0\ufeff\ufffdé') | st.characters(), max_size=60), st.data())
def test_whatever_is_sent_is_read_or_refused_and_every_line_has_one_verdict(text: str, data: st.DataObject) -> None:
    start = data.draw(
        st.sampled_from(["", "session_id,key\n", '{"session_id":', '[{"session_id":"a"},', "sep=;\n", "a1\n"])
    )
    raw = (start + text).encode("utf-8", "surrogatepass")
    try:
        lines = parse(raw, data.draw(st.sampled_from([*CONTENT_TYPES, "multipart/form-data; boundary=a"])))
    except AppError as error:
        assert error.status in {400, 422}  # noqa: PT017  to be read is as good
        return
    numbers = [line.number for line in lines]
    assert numbers == sorted(numbers)
    assert [line.offset for line in lines if line.verdict is LineVerdict.ACCEPTED] == list(
        range(sum(line.verdict is LineVerdict.ACCEPTED for line in lines))
    )
    assert all(line.detail for line in lines if line.verdict is not LineVerdict.ACCEPTED)
