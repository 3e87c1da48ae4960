"""Templates of Twilio's Content API, with what WhatsApp thinks of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from adbot_queue.providers import registry
from adbot_queue.providers.twilio import ask

CONTENT = "https://content.twilio.com"
PAGE_SIZE = 100
MAX_PAGES = 50
TIMEOUT_S = 10

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template.

    Attributes:
        sid: `HX…`.
        category: MARKETING, UTILITY or AUTHENTICATION; empty before it was submitted.
        status: of WhatsApp's approval: approved, pending, received, rejected, paused, disabled, unsubmitted.
        rejection_reason: WhatsApp's; empty unless it rejected the template.
        variables: names that a message must fill, in order of appearance.
    """

    sid: str
    name: str
    language: str
    category: str
    status: str
    rejection_reason: str
    variables: tuple[str, ...]
    body: str


def templates(timeout_s: float = TIMEOUT_S) -> list[Template]:
    """Return all templates of the account.

    Raises:
        As `twilio.send`.
    """
    url = f"{registry.base('twilio') or CONTENT}/v1/ContentAndApprovals"
    query: Mapping[str, str] = {"PageSize": str(PAGE_SIZE)}
    found: list[Template] = []
    for _ in range(MAX_PAGES):
        page = ask("GET", url, timeout_s, query=query)
        found += [_template(entry) for entry in page.get("contents") or [] if isinstance(entry, dict)]
        # Only the query of Twilio's address is followed: credentials go nowhere else.
        query = dict(parse_qsl(urlsplit((page.get("meta") or {}).get("next_page_url") or "").query))
        if not query:
            break
    return found


def _template(entry: Mapping[str, Any]) -> Template:
    types = entry.get("types") or {}
    approval = entry.get("approval_requests") or {}
    bodies = [kind["body"] for kind in types.values() if isinstance(kind, dict) and kind.get("body")]
    return Template(
        str(entry["sid"]),
        str(approval.get("name") or entry.get("friendly_name") or entry["sid"]),
        str(entry.get("language") or ""),
        str(approval.get("category") or "").upper(),
        str(approval.get("status") or "unsubmitted").lower(),
        str(approval.get("rejection_reason") or ""),
        tuple(dict.fromkeys(_VARIABLE.findall(json.dumps(types)))),
        str(bodies[0]) if bodies else "",
    )
