"""Stock: pools, uploading sessions with a verdict for every line, uploads and the bots that they served."""

from __future__ import annotations

import csv
import io
from typing import Any

from adbot_queue.adbots import service
from adbot_queue.adbots.commands import Command
from adbot_queue.console import bot_words, figures
from adbot_queue.console.formats import number
from adbot_queue.console.request import Done, Page, Raw, Reply, Visit
from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import fingerprint
from adbot_queue.core.settings import settings
from adbot_queue.stock import service as stock
from adbot_queue.stock import upload as reading
from adbot_queue.stock import uploads
from adbot_queue.stock.publication import PUBLISHED, STAGED
from adbot_queue.stock.service import Uploaded
from adbot_queue.stock.upload import LineVerdict, UploadLine

RECENT = 8
PAGE_SIZE = 50
MAX_SHOWN = 100
"""Refused lines that the answer shows; the file has all of them."""

PREVIEWED = 5
"""Lines of a list that are shown before it is sent."""

MAX_REASON = 500
WORDS = {
    LineVerdict.ACCEPTED: ("ok", "circle-check", "Accepted"),
    LineVerdict.DUPLICATE: ("warn", "copy", "Duplicate"),
    LineVerdict.DUPLICATE_IN_UPLOAD: ("warn", "copy", "Twice in this list"),
    LineVerdict.INVALID: ("bad", "circle-x", "Invalid"),
}


def show(visit: Visit) -> Reply:
    """Pools, uploads under way and the latest ones. Three reads, two more while an upload is under way."""
    pools = list(visit.snapshot.figures["bots"]["pools"])
    running, _ = uploads.from_env().page(STAGED, RECENT, None)
    recent, following = uploads.from_env().page(PUBLISHED, RECENT, None)
    asked = visit.query.get("pool", "")
    if asked and asked not in {
        pool["name"] for pool in pools
    }:  # made since the figures were gathered, or a typing error
        pools.append(figures.pool(service.from_env().pools.header(asked)))
    wanted = asked or settings().default_pool
    shown = {
        "pools": [(pool, bot_words.state_of(pool)) for pool in pools],
        "sums": {name: sum(pool[name] for pool in pools) for name in ("free", "total", "queued", "missing")},
        "chosen": next((pool["name"] for pool in pools if pool["name"] == wanted), ""),
        "running": running,
        "recent": recent,
        "more": following is not None,
    }
    return Page("stock.html", "Stock", shown)


def index(visit: Visit) -> Reply:
    """Published uploads, newest first. Two reads."""
    found, following = uploads.from_env().page(PUBLISHED, PAGE_SIZE, visit.query.get("cursor") or None)
    return Page("uploads.html", "Uploads", {"recent": found, "following": following})


def one(visit: Visit) -> Reply:
    """An upload: what became of its lines, and the bots that its sessions were assigned to. Three reads at most."""
    known = uploads.from_env()
    found = known.get(visit.params["id"])
    served, following = known.assignments(found.upload.id, PAGE_SIZE, visit.query.get("cursor") or None)
    shown = {"stored": found, "served": served, "following": following}
    return Page("upload.html", f"Upload to {found.upload.pool}", shown)


def upload(visit: Visit) -> Reply:
    """Store the sessions of a list. The same list from the same form has the same answer, however often it is sent."""
    pool, text = visit.form.get("pool", ""), visit.form.get("sessions", "")
    if len(visit.reason) > MAX_REASON:
        raise Invalid.field("reason", f"must have at most {MAX_REASON} characters")
    if not text.strip():
        raise Invalid.field("sessions", "paste a list or choose a file")
    key = fingerprint(f"{visit.form.get('key', '')}\n{pool}\n{text}")
    lines = _lines(text)
    done = stock.from_env().upload(pool, lines, Command(visit.actor, visit.reason, key, visit.path))
    return Page("upload_done.html", "Upload", _verdicts(pool, done), headers={"cache-control": "no-store"})


def preview(visit: Visit) -> Reply:
    """Show the first lines of a list as an upload would read them, without their secrets; nothing is stored."""
    text = visit.form.get("sessions", "")
    if not text.strip():
        raise Invalid.field("sessions", "paste a list or choose a file")
    lines = _lines(text)
    shown = {
        "pool": visit.form.get("pool", ""),
        "lines": [(line, WORDS[line.verdict]) for line in lines[:PREVIEWED]],
        "total": len(lines),
        "bad": sum(line.verdict is not LineVerdict.ACCEPTED for line in lines),
    }
    return Page("upload_preview.html", "Preview", shown, headers={"cache-control": "no-store"})


def _lines(text: str) -> list[UploadLine]:
    try:
        return reading.parse(text.encode(), "application/octet-stream")
    except Invalid as wrong:
        raise Invalid.field("sessions", wrong.errors[0].message) from wrong


def _verdicts(pool: str, done: Uploaded) -> dict[str, Any]:
    refused = [line for line in done.lines if line.verdict is not LineVerdict.ACCEPTED]
    counts = [(verdict, *WORDS[verdict], sum(line.verdict is verdict for line in done.lines)) for verdict in WORDS]
    return {
        "upload": done.upload_id,
        "pool": pool,
        "total": len(done.lines),
        "counts": [count for count in counts if count[-1]],
        "shares": _shares(counts, len(done.lines)),
        "refused": [(line, WORDS[line.verdict]) for line in refused[:MAX_SHOWN]],
        "all_refused": len(refused),
        "file": refused_file(refused) if refused else "",
    }


def _shares(counts: list[tuple[LineVerdict, str, str, str, int]], total: int) -> list[tuple[str, float, float]]:
    """The verdicts as parts of a bar: kind, place and width in percent."""
    found, at = [], 0.0
    for _, kind, _, _, count in counts:
        found.append((kind, round(at, 2), round(100 * count / total, 2)))
        at += 100 * count / total
    return [share for share in found if share[2]]


def refused_file(lines: list[UploadLine]) -> str:
    """Return lines as CSV without their secrets: where they stand in the list, and why they were refused."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("line", "session_id", "verdict", "why"))
    for line in lines:
        rows.writerow((line.number, line.session.id if line.session else "", line.verdict.value, line.detail))
    return out.getvalue()


def refused(visit: Visit) -> Reply:
    """Send back the refused lines that the page of an upload carries, as a file: verdicts are not stored."""
    name = "".join(letter for letter in visit.form.get("upload", "") if letter.isascii() and letter.isalnum())[:64]
    headers = {
        "content-type": "text/csv; charset=utf-8",
        "content-disposition": f'attachment; filename="refused-{name}.csv"',
    }
    return Raw(b"\xef\xbb\xbf" + visit.form.get("lines", "").encode(), headers)


def make_pool(visit: Visit) -> Reply:
    """Make an empty pool."""
    command = Command(visit.actor, visit.reason[:MAX_REASON])
    header, new = service.from_env().pools.create(visit.form.get("pool", "").strip(), command)
    if not new:
        return Done(f"Pool {header.pool} exists already, with {number(header.free)} free sessions.")
    return Done(f"Made pool {header.pool}. Upload sessions into it.", back="/console/stock")
