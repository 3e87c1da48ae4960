"""The one file of a multipart form (RFC 7578), byte by byte as it was. Pure.

`email.parser` reads forms too, but takes one that is cut off as complete, without the rows that are missing.
"""

from __future__ import annotations

import re

from adbot_queue.core.errors import Malformed

_BOUNDARY = re.compile(r";\s*boundary\s*=\s*(?:\"([^\"]{1,70})\"|([^\s;\"]{1,70}))", re.IGNORECASE)
_START = re.compile(rb"--([^\r\n]{1,70})\r\ncontent-(?:disposition|type):", re.IGNORECASE)
_NAME = re.compile(r"(?:^|;)\s*name=(?:\"([^\"]*)\"|([^;\s]*))", re.IGNORECASE)
_VERBATIM = {"", "7bit", "8bit", "binary"}


def boundary_of(raw: bytes, content_type: str) -> bytes | None:
    """Return what separates the parts of a form; None if a body is none.

    A form is one whatever its content type says: a script that sends a form's text as another type still sends a form.

    Raises:
        Malformed: the content type is a form's without a boundary, or another multipart type.
    """
    if not content_type.strip().lower().startswith("multipart/"):
        found = _START.match(raw)
        return found[1] if found else None
    named = _BOUNDARY.search(content_type)
    if not content_type.strip().lower().startswith("multipart/form-data") or named is None:
        raise Malformed("content-type: send multipart/form-data with a boundary")
    return (named[1] or named[2]).encode()


def only_file(raw: bytes, boundary: bytes) -> tuple[bytes, str]:
    """Return a form's file and its content type.

    Raises:
        Malformed: an end that is missing, a part that is encoded, or anything but exactly one part.
    """
    delimiter = b"\r\n--" + boundary
    head, *parts = (b"\r\n" + raw).split(delimiter)
    if not parts or not parts[-1].startswith(b"--"):
        raise Malformed("body: the form ends before its closing boundary")
    if head.strip() or parts[-1][2:].strip():
        raise Malformed("body: text outside the parts of the form")
    if len(parts) != 2:  # noqa: PLR2004  the file and the end
        names = [_name_of(_headers(part)[0]) for part in parts[:-1]]
        raise Malformed(f"body: the form has {len(names)} parts ({', '.join(names)}); send one file and nothing else")
    headers, content = _headers(parts[0])
    encoding = headers.get("content-transfer-encoding", "").lower()
    if encoding not in _VERBATIM:
        raise Malformed("content-transfer-encoding: send the file as it is")
    return content, headers.get("content-type", "")


def _headers(part: bytes) -> tuple[dict[str, str], bytes]:
    block, separator, content = part.partition(b"\r\n\r\n")
    if not separator:
        raise Malformed("body: a part of the form has no end of its headers")
    lines = block.decode("utf-8", "replace").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}, content


def _name_of(headers: dict[str, str]) -> str:
    found = _NAME.search(headers.get("content-disposition", "").partition(";")[2])
    name = (found[1] or found[2] or "") if found else ""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64]) or "without a name"
