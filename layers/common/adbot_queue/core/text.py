r"""Text that callers send: UTF-8, or refused with the name of the problem. Pure.

A byte that is not UTF-8 does not always arrive as one. API Gateway passes a body of type text/* or application/json
on as text, and a gateway may put U+FFFD in place of each byte that it cannot read (the embedded AWS does, with
`errors="replace"` in `ministack/services/apigateway.py`). U+FFFD itself is therefore refused, as the mark of a lost
character. A caller who means the character writes it as the JSON escape `\ufffd`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from adbot_queue.core.errors import Malformed

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
LOST = "\N{REPLACEMENT CHARACTER}"
_LOST_BYTES = LOST.encode()

_SIGNATURES = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"PK\x03\x04", "an Excel workbook or a ZIP file"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"\x1f\x8b", "compressed with gzip"),
)
"""How files begin that are often taken for text."""

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]*)", re.IGNORECASE)
_READ_AS_UTF8 = {"utf-8", "utf8", "us-ascii", "ascii"}
_ADVICE = "save the file as UTF-8"


def decode(raw: bytes, content_type: str = "") -> str:
    """Return a body as text, without a byte order mark.

    Raises:
        Malformed: the content type names another charset; the body is not UTF-8, holds U+FFFD or a NUL byte.
    """
    for charset in _CHARSET.findall(content_type):
        if charset.lower() not in _READ_AS_UTF8:
            raise Malformed(f"content-type: charset {_shown(charset)} is not supported; send UTF-8")
    for start, name in _SIGNATURES:
        if raw.startswith(start):
            raise Malformed(f"body: {name}, not UTF-8 text; {_ADVICE}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(raw, error.start, f"0x{raw[error.start]:02X}") from error
    if "\0" in text:
        # UTF-16 without a byte order mark, or with one that was lost on the way, is Latin text with NUL bytes between.
        raise Malformed(f"body: NUL byte at byte {raw.index(0)}, as in UTF-16; {_ADVICE}")
    if LOST in text:
        raise _not_utf8(raw, raw.index(_LOST_BYTES), "U+FFFD, the mark of a lost character")
    return text.removeprefix(BOM)


def _not_utf8(raw: bytes, at: int, found: str) -> Malformed:
    line = len(re.findall(rb"\r\n?|\n", raw[:at])) + 1
    return Malformed(f"body: not valid UTF-8 at byte {at} ({found}), line {line}; {_ADVICE}")


def _shown(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:-]", "?", name)[:40]


def check_address(part: str, raw: str, values: Iterable[str]) -> None:
    """Refuse a path or a query string that is not UTF-8.

    Args:
        part: `path` or `query`, for the error.
        raw: as the caller sent it; a path arrives without the escapes that the gateway decoded.
        values: as the gateway decoded it, with U+FFFD for an escape that it could not decode.

    Raises:
        Malformed: it is not UTF-8.
    """
    for escapes in re.findall(r"(?:%[0-9A-Fa-f]{2})+", raw):
        try:
            unquote_to_bytes(escapes).decode()
        except UnicodeDecodeError as error:
            wrong = escapes[error.start * 3 :][:3]
            raise Malformed(f"{part}: not valid UTF-8 ({wrong}); encode it as UTF-8") from error
    if any(LOST in value or has_lone_surrogate(value) for value in values):
        raise Malformed(f"{part}: not valid UTF-8; encode it as UTF-8")


def has_lone_surrogate(text: str) -> bool:
    r"""Whether a text holds half of a surrogate pair, which UTF-8 cannot express but a JSON escape can (`\ud800`)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
