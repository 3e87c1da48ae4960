"""Files that browsers keep for a year: their address holds a hash of all of them, so that a change is a new address.

Script and style are one file each, joined from the parts below. A build leaves `<name>.br` and `<name>.gz` in
`static/packed` (`console.build`), which are served to browsers that take them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).with_name("static")
PACKED = FOLDER / "packed"
PATH = "/console/static"

PARTS = {
    "console.css": ("tokens.css", "frame.css", "parts.css", "jobs.css", "sell.css", "public.css", "leads.css"),
    "console.js": ("htmx.min.js", "live.js", "news.js", "select.js", "upload.js", "keys.js", "chart.js"),
}
"""Joined files and their parts, in order."""

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
    "woff2": "font/woff2",
}
KEPT = "public, max-age=31536000, immutable"
_ENCODINGS = (("br", "br"), ("gzip", "gz"))


def names() -> list[str]:
    """Names of all files that are served."""
    alone = [file.name for kind in ("svg", "woff2") for file in FOLDER.glob(f"*.{kind}")]
    return sorted([*PARTS, *alone])


@lru_cache(maxsize=16)
def content(name: str) -> bytes:
    """Return a file as it is, joined from its parts."""
    return b"\n".join((FOLDER / part).read_bytes() for part in PARTS.get(name, (name,)))


@lru_cache(maxsize=1)
def version() -> str:
    """Return the hash of all files."""
    digest = hashlib.sha256()
    for name in names():
        digest.update(hashlib.sha256(content(name)).digest())
    return digest.hexdigest()[:12]


def address(name: str) -> str:
    """Return where a file is served."""
    return f"{PATH}/{version()}/{name}"


def serve(wanted: str, name: str, accepted: str) -> tuple[bytes, dict[str, str]] | None:
    """Return the bytes and headers of a file; None: there is no such file.

    Args:
        wanted: the hash in the address. A file of an older or newer deployment is served as it is now, and not kept.
        name: of the file.
        accepted: the browser's Accept-Encoding.
    """
    if name not in names():
        return None
    headers = {
        "content-type": _TYPES[name.rpartition(".")[2]],
        "cache-control": KEPT if wanted == version() else "no-cache",
        "vary": "Accept-Encoding",
    }
    offered = set(re.findall(r"[a-z]+(?=\s*(?:,|$))", accepted.lower()))
    for encoding, suffix in _ENCODINGS:
        packed = PACKED / f"{name}.{suffix}"
        if encoding in offered and packed.exists():
            return packed.read_bytes(), {**headers, "content-encoding": encoding}
    return content(name), headers


def as_body(raw: bytes) -> dict[str, object]:
    """Return bytes as Lambda hands them to API Gateway."""
    return {"body": base64.b64encode(raw).decode(), "isBase64Encoded": True}
